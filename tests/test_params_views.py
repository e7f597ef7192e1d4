"""Views of tensors: what is read of them, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._errors import (
    ClosedError,
    CorruptError,
    InvalidArgumentError,
    NotFoundError,
)
from persisting.params import Box, ParameterStore, TensorView

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RNG = np.random.default_rng(5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ParameterStore]:
    with ParameterStore(tmp_path / "store") as opened:
        yield opened


def same(found: Any, wanted: Any) -> None:
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert found.tobytes() == wanted.tobytes()


INDICES: list[Any] = [
    ...,
    (),
    3,
    -1,
    np.int64(2),
    slice(None),
    slice(2, 5),
    slice(-3, None),
    slice(5, 2),
    slice(100, 200),
    slice(None, None, 3),
    slice(7, 1, -2),
    slice(None, None, -1),
    (slice(1, 4), 2),
    (..., 2),
    (2, ..., slice(0, 3)),
    (slice(None), slice(1, 3), slice(None, None, 4)),
    (1, 2, 3),
    (-1, slice(0, 0)),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
@pytest.mark.parametrize("boxed", [False, True])
def test_a_view_is_indexed_as_an_array_is(store: ParameterStore, index: Any, boxed: bool) -> None:
    table = RNG.normal(size=(9, 6, 11)).astype(np.float32)
    if boxed:
        transaction = store.begin("m", 1)
        halves = [
            Box(table[:, :4], table.shape, (0, 0, 0)),
            Box(table[:, 4:], table.shape, (0, 4, 0)),
        ]
        store.part(transaction, 0, {"t": halves})
        store.commit(transaction)
    else:
        store.save("m", {"t": table})
    with store.open("m") as opened:
        same(opened["t"][index], table[index])


def test_an_open_version_is_a_mapping_of_views(store: ParameterStore) -> None:
    model = {"b": np.arange(6.0).reshape(2, 3), "a": np.array(7), "none": np.zeros((0, 4), "i2")}
    store.save("m", model, objects={"note": b"text"})
    with store.open("m") as opened:
        assert [*opened] == opened.keys() == [*model]
        assert len(opened) == 3
        assert "a" in opened
        assert "note" not in opened
        for (name, view), value in zip(opened.items(), opened.values(), strict=True):
            assert isinstance(view, TensorView)
            assert (view.name, value.name) == (name, name)
            assert (view.shape, view.ndim, view.size) == (
                model[name].shape,
                model[name].ndim,
                model[name].size,
            )
            assert view.nbytes == model[name].nbytes
            same(np.asarray(view), model[name])
        assert opened["b"].dtype == "F64"
        assert repr(opened["b"]) == "TensorView('b', F64, (2, 3))"
        assert len(opened["b"]) == 2
        assert [row.tolist() for row in opened["b"]] == model["b"].tolist()
        same(np.asarray(opened["b"], np.float32), model["b"].astype(np.float32))
        with pytest.raises(NotFoundError, match="'c'"):
            opened["c"]
        with pytest.raises(TypeError, match="no dimensions"):
            len(opened["a"])
        with pytest.raises(ValueError, match="copy"):
            np.array(opened["b"], copy=False)


@pytest.mark.parametrize(
    ("index", "error", "says"),
    [
        (4, IndexError, "no 4 of 4"),
        (-5, IndexError, "no -5 of 4"),
        ((0, 0, 0), IndexError, "another shape"),
        ((..., ...), IndexError, "another shape"),
        (True, InvalidArgumentError, "True is no integer"),
        (np.array([0, 1]), InvalidArgumentError, "no integer"),
        ([0, 1], InvalidArgumentError, "no integer"),
        (1.5, InvalidArgumentError, "1.5"),
        (None, InvalidArgumentError, "None"),
    ],
)
def test_indices_that_are_none(
    store: ParameterStore, index: Any, error: type[Exception], says: str
) -> None:
    store.save("m", {"t": np.zeros((4, 2))})
    with store.open("m") as opened, pytest.raises(error, match=says):
        opened["t"][index]


def test_a_view_ends_with_its_version(store: ParameterStore) -> None:
    store.save("m", {"t": np.zeros(4)})
    with store.open("m") as opened:
        view = opened["t"]
    with pytest.raises(ClosedError):
        view[0]


def test_views_are_saved_as_tensors(store: ParameterStore) -> None:
    table = RNG.normal(size=(50, 40))
    store.save("m", {"t": table})
    with store.open("m") as opened:
        store.save("copy", dict(opened))
    same(store.load("copy")["t"], table)


def test_a_view_reads_no_more_than_it_needs(store: ParameterStore, tmp_path: Path) -> None:
    """A bit that flips in one block is told by who reads that block, and by nobody else."""
    table = RNG.integers(0, 255, (4096, 1024), np.uint8)
    store.save("m", {"t": table})
    (pack,) = (tmp_path / "store" / "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[4096 + 64 + 3000 * 1024] ^= 1
    pack.write_bytes(content)
    with store.open("m") as opened:
        view = opened["t"]
        same(view[:2000, 100:105], table[:2000, 100:105])
        indices: list[Any] = [(3000, 7), (slice(None), 5), slice(2990, 3010)]
        for index in indices:
            with pytest.raises(CorruptError, match='"t"'):
                view[index]
