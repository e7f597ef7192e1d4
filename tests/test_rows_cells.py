"""Values that C copies into rows of cells, beside numpy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from persisting._records import _rows

NUMBERS = {"int64": "q", "float64": "d", "bool": "?"}
COLUMNS = {
    "frame": ("float32", (2, 3)),
    "mask": ("bool", (5,)),
    "action": ("int64", ()),
    "reward": ("float64", ()),
    "done": ("bool", ()),
    "small": ("int8", ()),
    "half": ("float16", ()),
}
ROWS = 4


class World:
    """Cells of all columns, filled with what nothing writes."""

    def __init__(self) -> None:
        self.arrays = {
            name: np.frombuffer(
                bytearray(b"\x55" * 4096), dtype, ROWS * int(np.prod(shape))
            ).reshape(ROWS, *shape)
            for name, (dtype, shape) in COLUMNS.items()
        }
        columns = []
        for name, (dtype, shape) in COLUMNS.items():
            known = np.dtype(dtype)
            number = "" if shape else NUMBERS.get(dtype, "")
            scalar: type = type(None) if shape else known.type
            place, size = self.arrays[name].ctypes.data, known.itemsize * int(np.prod(shape))
            columns.append((name, place, size, ord(number or "\0"), scalar, known, shape))
        self.cells = _rows.cells(np.ndarray, tuple(columns), ROWS)

    def put(self, row: int, **values: Any) -> list[str]:
        """Put the values of a row, and return the columns whose values did not fit."""
        unfit = _rows.put(self.cells, right() | values, row)
        return [[*COLUMNS][i] for i in unfit or ()]


def right() -> dict[str, Any]:
    """Return a value that each column takes."""
    return {
        "frame": np.arange(6, dtype=np.float32).reshape(2, 3),
        "mask": np.array([True, False, True, True, False]),
        "action": -7,
        "reward": 0.5,
        "done": True,
        "small": np.int8(-3),
        "half": np.float16(1.5),
    }


@pytest.mark.parametrize("row", range(ROWS))
def test_a_row_is_written_and_no_other(row: int) -> None:
    world = World()
    before = {name: array.copy() for name, array in world.arrays.items()}
    assert world.put(row) == []
    for name, array in world.arrays.items():
        assert np.array_equal(array[row], right()[name])
        others = np.arange(ROWS) != row
        assert array[others].tobytes() == before[name][others].tobytes()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("action", np.int64(1 << 62)),
        ("action", -(1 << 63)),
        ("action", np.array(5)),
        ("reward", float("nan")),
        ("reward", -0.0),
        ("reward", np.float64(3)),
        ("done", False),
        ("done", np.False_),
        ("frame", np.zeros((4, 3), np.float32)[1:3]),
    ],
)
def test_values_that_are_copied(name: str, value: Any) -> None:
    world = World()
    assert world.put(1, **{name: value}) == []
    dtype = COLUMNS[name][0]
    assert world.arrays[name][1].tobytes() == np.asarray(value, dtype).tobytes()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("action", 1 << 63),
        ("action", True),
        ("action", 1.0),
        ("action", np.int32(1)),
        ("action", np.array([5])),
        ("action", np.array(5.0)),
        ("reward", 1),
        ("reward", np.float32(1)),
        ("done", 1),
        ("done", np.int64(1)),
        ("small", 3),
        ("half", 1.5),
        ("half", np.float32(1.5)),
        ("frame", np.zeros((3, 2), np.float32)),
        ("frame", np.zeros(6, np.float32)),
        ("frame", np.zeros((2, 3), np.float64)),
        ("frame", np.zeros((2, 3), ">f4")),
        ("frame", np.zeros((3, 2), np.float32).T),
        ("frame", np.zeros((2, 6), np.float32)[:, ::2]),
        ("frame", np.ma.zeros((2, 3), np.float32)),
        ("frame", [[0, 0, 0], [0, 0, 0]]),
        ("frame", bytes(24)),
        ("mask", np.zeros(5, np.uint8)),
        ("frame", None),
    ],
)
def test_values_that_are_left_to_the_caller(name: str, value: Any) -> None:
    world = World()
    before = world.arrays[name].tobytes()
    assert world.put(1, **{name: value}) == [name]
    assert world.arrays[name].tobytes() == before


def test_several_are_left_at_once() -> None:
    assert World().put(0, action=1.0, half=None) == ["action", "half"]


def test_what_cannot_be() -> None:
    world = World()
    for row in (-1, ROWS, 1 << 70):
        with pytest.raises((IndexError, OverflowError)):
            world.put(row)
    missing = right()
    del missing["done"]
    with pytest.raises(KeyError, match="done"):
        _rows.put(world.cells, missing, 0)
    for arguments in ((1, (), 1), (np.ndarray, [], 1), (np.ndarray, (("x", 1),), 1), (np.ndarray,)):
        with pytest.raises(TypeError):
            _rows.cells(*arguments)  # type: ignore[call-arg, arg-type]
    with pytest.raises((ValueError, TypeError)):
        _rows.put("cells", {}, 0)  # type: ignore[arg-type]


def test_nothing_is_kept() -> None:
    value, world = np.zeros((2, 3), np.float32), World()
    step = right() | {"frame": value, "half": "unfit"}
    world.put(0, frame=value)
    before = sys.getrefcount(value), sys.getrefcount(step["half"]), sys.getrefcount(value.dtype)
    for _ in range(1000):
        _rows.put(world.cells, step, 2)
    after = sys.getrefcount(value), sys.getrefcount(step["half"]), sys.getrefcount(value.dtype)
    assert after == before
