"""ParameterStore: what was saved comes back, and of what was not there is nothing."""

from __future__ import annotations

import json
import os
import re
from array import array
from typing import TYPE_CHECKING, Any, Literal

import ml_dtypes
import numpy as np
import pytest

from persisting._errors import (
    ClosedError,
    ConflictError,
    CorruptError,
    InvalidArgumentError,
    NotFoundError,
)
from persisting.params import Box, ParameterStore, TensorInfo
from tests.support import python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RNG = np.random.default_rng(7)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ParameterStore]:
    with ParameterStore(tmp_path / "store") as opened:
        yield opened


def same(found: Any, saved: Any) -> None:
    """Hold an array against the one that was saved: dtype, shape and every bit."""
    assert isinstance(found, np.ndarray)
    assert found.dtype == saved.dtype.newbyteorder("=")
    assert found.shape == saved.shape
    assert found.tobytes() == saved.astype(found.dtype).tobytes()


# ---- tensors ----

DTYPES = [
    *[
        "?",
        "u1",
        "i1",
        "u2",
        "i2",
        "f2",
        "u4",
        "i4",
        "f4",
        "u8",
        "i8",
        "f8",
        "c8",
        "c16",
        ">i4",
        ">f8",
        "S5",
        "U3",
        "M8[ns]",
    ],
    *(
        getattr(ml_dtypes, name)
        for name in [
            "bfloat16",
            "float8_e4m3fn",
            "float8_e5m2",
            "float8_e8m0fnu",
            "float8_e4m3fnuz",
            "float8_e5m2fnuz",
            "float8_e4m3b11fnuz",
            "float8_e3m4",
            "float6_e2m3fn",
            "float4_e2m1fn",
            "int4",
            "uint2",
        ]
    ),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back(store: ParameterStore, dtype: Any) -> None:
    kind = np.dtype(dtype)
    values = np.frombuffer(RNG.bytes(kind.itemsize * 24), kind)
    if kind.kind == "U":
        values = np.array(["abc", "", "ä"] * 8, kind)
    saved = {
        "matrix": values.reshape(4, 6),
        "turned": values.reshape(4, 6).T,
        "every other": values[::2],
        "backwards": values[::-1],
        "one": values[3:4].reshape(()),
        "none": values[:0].reshape(0, 5),
    }
    store.save("m", saved)
    found = store.load("m")
    assert [*found] == [*saved]
    for name, value in saved.items():
        same(found[name], value)
    into = {name: np.empty(v.shape, v.dtype.newbyteorder("=")) for name, v in saved.items()}
    again = store.load("m", out=into)
    for name, value in saved.items():
        assert again[name] is into[name]
        same(into[name], value)
    for rows in ((1, 3), (0, 0), slice(-2, None)):
        part = store.load("m", keys=["matrix", "none"], slices={"matrix": rows})
        cut = rows if isinstance(rows, slice) else slice(*rows)
        same(part["matrix"], saved["matrix"][cut])
        same(part["none"], saved["none"])


KEYS = [
    "",
    " ",
    "a.b/c\\d",
    'quote"',
    "line\n",
    "nul\0",
    "ä",
    "\U0001f600",
    "__metadata__",
    "x" * 9,
]


def test_odd_keys(store: ParameterStore) -> None:
    store.save("org/model", {key: np.full(3, i) for i, key in enumerate(KEYS)})
    found = store.load("org/model")
    assert [*found] == KEYS
    assert [int(value[0]) for value in found.values()] == [*range(len(KEYS))]
    assert store.load("org/model", keys=["ä", "ä"]).keys() == {"ä"}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"abc", np.frombuffer(b"abc", np.uint8)),
        (bytearray(b"abc"), np.frombuffer(b"abc", np.uint8)),
        (array("d", range(6)), np.arange(6.0)),
        (np.float32(1.5), np.array(1.5, np.float32)),
        (type("Own", (), {"__array__": lambda *_, **__: np.ones(2)})(), np.ones(2)),
    ],
)
def test_what_has_a_buffer_is_a_tensor(store: ParameterStore, value: Any, wanted: Any) -> None:
    store.save("m", {"t": value})
    same(store.load("m")["t"], wanted)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"t": "text"}, "tensor 't': str is no tensor"),
        ({"t": 1.5}, "float is no tensor"),
        ({"t": np.array([object()])}, "object is no dtype of plain values"),
        ({"t": np.zeros(2, "i4,f4")}, "no dtype of plain values"),
        ({1: np.zeros(2)}, "a str, not 1"),
        ({"\ud800": np.zeros(2)}, "no Unicode"),
        ({"\0file:x": np.zeros(2)}, "not '\\x00file:x'"),
    ],
)
def test_what_is_no_tensor(store: ParameterStore, tensors: Any, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=re.escape(says)):
        store.save("m", tensors)
    assert store.names() == []


def test_tied_tensors_are_one_again(store: ParameterStore) -> None:
    table = np.arange(100_000.0)
    equal = table.copy()
    info = store.save("m", {"in": table, "out": table, "part": table[:50], "equal": equal})
    assert info.stored < table.nbytes + 20_000
    found = store.load("m")
    assert found["in"] is found["out"]
    assert not np.shares_memory(found["in"], found["equal"])
    same(found["equal"], equal)
    into = np.empty_like(table)
    found = store.load("m", out={"out": into}, keys=["in", "out"])
    assert found["out"] is into
    same(found["in"], table)
    with store.open("m") as weights:
        assert weights.tensors["in"] == TensorInfo("F64", (100_000,), 800_000, tie=1)
        assert weights.tensors["equal"].tie == 0


@pytest.mark.parametrize("framework", ["numpy", "bytes"])
def test_small_tensors_do_not_share_memory(
    store: ParameterStore, framework: Literal["numpy", "bytes"]
) -> None:
    sizes = [0, 1, 63, 64, 65, 1000, 65_535, 65_536, 70_000]
    saved = {str(i): RNG.integers(0, 255, sizes[i % 9], np.uint8) for i in range(120)}
    store.save("m", saved)
    found = store.load("m", framework=framework)
    for name, value in saved.items():
        same(found[name], value)
        assert not value.size or found[name].ctypes.data % 64 == 0
    for name, value in found.items():
        value.fill(int(name))
    assert all((value == int(name)).all() for name, value in found.items())


def test_what_did_not_change_is_stored_once(store: ParameterStore) -> None:
    model = {str(i): RNG.random(50_000) for i in range(10)}
    first = store.save("m", model)
    again = store.save("m", model)
    other = store.save("other", {f"renamed {key}": value for key, value in model.items()})
    assert first.stored > 4_000_000
    assert max(again.stored, other.stored) < first.nbytes / 1000
    model["3"] = model["3"] + 1
    assert store.save("m", model).stored < 0.11 * first.nbytes
    assert store.diff("m", 1).changed == ("3",)
    assert store.diff("m", 1, 2).same == 10
    assert store.diff("m", 2, other="other", after=1).added[0] == "renamed 0"


def test_slices_are_read_alone(store: ParameterStore) -> None:
    table = RNG.random((3000, 1000))
    store.save("m", {"t": table})
    for begin, end in [(0, 1), (1234, 1240), (2999, 3000), (0, 3000), (500, 2500)]:
        same(store.load("m", slices={"t": (begin, end)})["t"], table[begin:end])
    into = np.empty((7, 1000))
    store.load("m", slices={"t": (3, 10)}, out={"t": into})
    same(into, table[3:10])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"keys": ["x"]}, NotFoundError, "no 'x'"),
        ({"slices": {"t": (1, 9)}}, InvalidArgumentError, r"slices\['t'\]"),
        ({"slices": {"t": slice(0, 2, 2)}}, InvalidArgumentError, "step"),
        ({"slices": {"s": (0, 0)}}, InvalidArgumentError, "no rows"),
        ({"out": {"t": np.zeros((4, 2))}}, InvalidArgumentError, r"F64 \[4, 2\].*F32 \[4, 2\]"),
        ({"out": {"t": np.zeros((2, 4), "f4").T}}, InvalidArgumentError, "contiguous"),
        ({"out": {"t": bytes(32)}}, InvalidArgumentError, r"U8 \[32\]"),
        ({"framework": "jax"}, InvalidArgumentError, "'jax'.*numpy, torch, bytes"),
        ({"version": "none"}, NotFoundError, "tag"),
        ({"version": 2}, NotFoundError, "version 2"),
        ({"version": 0}, InvalidArgumentError, "at least 1"),
    ],
)
def test_what_cannot_be_loaded(
    store: ParameterStore, arguments: Any, error: type[Exception], says: str
) -> None:
    store.save("m", {"t": np.zeros((4, 2), "f4"), "s": np.array(1)})
    with pytest.raises(error, match=says):
        store.load("m", **arguments)


def test_read_only_memory_is_not_written_to(store: ParameterStore) -> None:
    store.save("m", {"t": np.zeros(4, np.uint8)})
    with pytest.raises(InvalidArgumentError, match="writable"):
        store.load("m", out={"t": b"1234"})


def test_bytes_of_any_dtype(store: ParameterStore) -> None:
    saved = np.arange(6, dtype=np.float32).astype(ml_dtypes.bfloat16).reshape(2, 3)
    store.save("m", {"t": saved})
    found = store.load("m", framework="bytes")["t"]
    assert (found.dtype, found.tobytes()) == (np.uint8, saved.tobytes())


# ---- the catalog ----


def test_versions_tags_and_metadata(store: ParameterStore) -> None:
    for step in range(3):
        info = store.save(
            "m", {"t": np.array(step)}, tags=["newest"], metadata={"step": step, "why": "ä"}
        )
        assert info.version == step + 1
    assert info.metadata == {"step": 2, "why": "ä"}
    assert info.tags == ("newest",)
    assert store.set_tag("m", "prod", 2, expect=0) == 2
    with pytest.raises(ConflictError, match="is at version 2, not at 1"):
        store.set_tag("m", "prod", "newest", expect=1)
    with pytest.raises(ConflictError, match='newest version of "m" is 3, not 2'):
        store.save("m", {}, expect=2)
    assert store.tags("m") == {"newest": 3, "prod": 2}
    assert [(v.version, v.tags) for v in store.versions("m")] == [
        (1, ()),
        (2, ("prod",)),
        (3, ("newest",)),
    ]
    assert store.latest("m") == 3
    assert int(store.load("m", "prod")["t"]) == 1
    assert int(store.load("m", "latest")["t"]) == 2
    for versions in (2, [1, 3]):
        with pytest.raises(ConflictError):
            store.delete("m", versions)
    store.delete("m", 1)
    store.delete_tag("m", "prod", expect=2)
    assert [v.version for v in store.versions("m")] == [2, 3]
    store.drop("m")
    assert store.names() == []
    with pytest.raises(NotFoundError, match='no "m"'):
        store.versions("m")
    assert store.save("m", {}).version == 4


def test_an_open_version_stays(store: ParameterStore) -> None:
    first = RNG.random(100_000)
    store.save("m", {"t": first}, metadata={"n": 1})
    with store.open("m") as weights:
        store.save("m", {"t": first + 1})
        store.delete("m", 1)
        assert store.gc()["leased"] == 1
        same(weights.load()["t"], first)
        assert (weights.name, weights.version, weights.metadata) == ("m", 1, {"n": 1})
        assert weights.keys() == ["t"]
    assert store.gc() | {"bytes": 0} == {
        "packs": 1,
        "manifests": 1,
        "staged": 0,
        "bytes": 0,
        "leased": 0,
    }
    with pytest.raises(ClosedError):
        weights.load()
    same(store.load("m")["t"], first + 1)


def test_what_a_dead_process_left_is_removed(store: ParameterStore) -> None:
    store.save("m", {"t": np.zeros(100_000)})
    python(
        "import os, sys; from persisting.params import ParameterStore\n"
        "store = ParameterStore(sys.argv[1]); opened = store.open('m'); os._exit(0)",
        store.path,
    )
    assert len(os.listdir(os.path.join(store.path, "leases"))) == 1  # noqa: PTH118, PTH208
    assert store.gc()["leased"] == 0
    assert os.listdir(os.path.join(store.path, "leases")) == []  # noqa: PTH118, PTH208


def test_stores_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no parameter store"):
        ParameterStore(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgumentError, match="holds file"):
        ParameterStore(tmp_path)
    store = ParameterStore(tmp_path / "store")
    store.close()
    store.close()
    with pytest.raises(ClosedError):
        store.names()


def test_damage_is_told_with_its_place(store: ParameterStore, tmp_path: Path) -> None:
    store.save("m", {"sound": RNG.random(100_000), "damaged": RNG.random(100_000)})
    (pack,) = (tmp_path / "store" / "packs").iterdir()
    content = bytearray(pack.read_bytes())
    content[1_000_000] ^= 1
    pack.write_bytes(content)
    with pytest.raises(CorruptError, match=f'tensor "damaged": .*{pack.name} at 8'):
        store.load("m")
    assert store.load("m", keys=["sound"])
    assert store.load("m", verify=False)
    (fault,) = store.verify()
    assert "damaged" in fault
    assert store.verify("m") == [fault]


def test_files_have_the_mode_of_others(store: ParameterStore, tmp_path: Path) -> None:
    store.save("m", {"t": np.zeros(3)})
    plain = tmp_path / "plain"
    plain.touch(0o644)
    for file in (tmp_path / "store").rglob("*"):
        if file.is_file() and file.name != "GATE":
            assert file.stat().st_mode == plain.stat().st_mode, file


def test_many_tensors(store: ParameterStore) -> None:
    count = 20_000
    block = RNG.integers(0, 1 << 60, (count, 4))
    store.save("m", {f"t.{i}": block[i] for i in range(count)})
    found = store.load("m")
    assert len(found) == count
    assert np.array_equal(np.stack([*found.values()]), block)
    assert np.array_equal(store.load("m", keys=["t.777"])["t.777"], block[777])


def test_the_catalog_is_small_and_has_no_place_in_it(store: ParameterStore, tmp_path: Path) -> None:
    store.save("m", {"t": np.zeros(3)})
    content = (tmp_path / "store" / "catalog" / "m.cat").read_bytes()
    assert json.loads(content[24:])["latest"] == 1
    for file in (tmp_path / "store").rglob("*"):
        if file.is_file():
            assert str(tmp_path).encode() not in file.read_bytes(), file


def test_some_of_many_are_found_without_a_look_at_all(
    store: ParameterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"t.{i}" for i in range(2000)] + ["\0odd", "", "t.7:x"]
    tensors = {name: np.full((3, 5), i) for i, name in enumerate(names)}
    transaction = store.begin("boxes", 1)
    halves = {
        name: [Box(value[:1], (3, 5), (0, 0)), Box(value[1:], (3, 5), (1, 0))]
        for name, value in tensors.items()
    }
    store.save("m", tensors)
    store.part(transaction, 0, halves)
    store.commit(transaction)
    for version in ("m", "boxes"):
        with store.open(version) as opened:
            monkeypatch.setattr(type(opened), "_contents", property(lambda _: 1 / 0))
            for name in ("t.7", "t.70", "t.1999", "\0odd", "", "t.7:x"):
                same(opened[name][1:, 2:4], tensors[name][1:, 2:4])
                assert len(opened.boxes(name)) == (1 if version == "m" else 2)
            found = opened.load(keys=["t.9", "t.7:x", "t.9"])
            assert [*found] == ["t.9", "t.7:x"]
            same(found["t.9"], tensors["t.9"])
            for missing in ("t.2000", "t.", "x", "\ud800", 7):
                with pytest.raises(NotFoundError, match=re.escape(f"has no {missing!r}")):
                    opened[missing]  # type: ignore[index]
            monkeypatch.undo()
            assert len(opened.load(keys=names)) == len(names)
