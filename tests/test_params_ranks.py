"""Versions that many ranks write together, and any box of any tensor."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._errors import ConflictError, InvalidArgumentError, NotFoundError
from persisting.params import Box, ParameterStore
from persisting.params._boxes import Range, reads
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ParameterStore]:
    with ParameterStore(tmp_path / "store") as opened:
        yield opened


def noise(shape: tuple[int, ...], dtype: str = "f4") -> np.ndarray[Any, Any]:
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    rng = np.random.default_rng(size)
    return rng.integers(0, 256, size, dtype=np.uint8).view(dtype).reshape(shape)


def cut(array: Any, counts: tuple[int, ...]) -> list[Box]:
    """Cut a tensor into a grid of boxes."""
    bounds = [
        [n * i // count for i in range(count + 1)]
        for n, count in zip(array.shape, counts, strict=True)
    ]
    boxes = []
    for cell in itertools.product(*map(range, counts)):
        where = tuple(slice(b[i], b[i + 1]) for b, i in zip(bounds, cell, strict=True))
        boxes.append(Box(array[where], array.shape, tuple(s.start for s in where)))
    return boxes


def write(
    store: ParameterStore,
    name: str,
    parts: list[dict[str, Any]],
    base: int | str | None = "latest",
    **options: Any,
) -> Any:
    transaction = store.begin(name, len(parts), base=base)
    for rank, part in enumerate(parts):
        store.part(transaction, rank, part)
    return store.commit(transaction, **options)


def same(found: Any, saved: Any) -> None:
    assert (found.dtype, found.shape) == (saved.dtype, saved.shape)
    assert found.tobytes() == np.ascontiguousarray(saved).tobytes()


@pytest.mark.parametrize("counts", [(1, 1, 1), (4, 1, 1), (1, 3, 1), (1, 1, 5), (2, 3, 2)])
@pytest.mark.parametrize("dtype", ["u1", "f2", "f8", "c16"])
def test_a_tensor_of_many_boxes_is_whole_again(
    store: ParameterStore, counts: tuple[int, ...], dtype: str
) -> None:
    w, b = noise((8, 9, 10), dtype), noise((7,), dtype)
    boxes = cut(w, counts)
    parts: list[dict[str, Any]] = [{"w": box} for box in boxes]
    parts[0]["b"] = b
    info = write(store, "m", parts, tags=["sharded"], metadata={"step": 1})
    assert (info.version, info.tensors, info.nbytes) == (1, 2, w.nbytes + b.nbytes)
    found = store.load("m", "sharded")
    assert [*found] == ["w", "b"]
    same(found["w"], w)
    same(found["b"], b)
    into = {"w": np.empty_like(w)}
    store.load("m", out=into)
    same(into["w"], w)
    same(store.load("m", slices={"w": (3, 7)}, keys=["w"])["w"], w[3:7])
    assert store.verify() == []


def test_any_box_of_any_division(store: ParameterStore) -> None:
    w = noise((13, 11, 6), "f4")
    rng = random.Random(1)
    store.save("whole", {"w": w})
    for counts in [(1, 1, 1), (5, 1, 1), (1, 4, 1), (3, 2, 2)]:
        name = str(counts) if counts != (1, 1, 1) else "whole"
        if name != "whole":
            write(store, name, [{"w": box} for box in cut(w, counts)])
        with store.open(name) as opened:
            assert len(opened.boxes("w")) == np.prod(counts)
            for _ in range(60):
                bounds = [sorted(rng.choices(range(n + 1), k=2)) for n in w.shape]
                where = tuple(slice(*pair) for pair in bounds)[: rng.randint(1, 3)]
                same(opened.load(keys=["w"], slices={"w": where})["w"], w[where])
                into = np.empty_like(w[where], order="C")
                opened.load(slices={"w": where}, out={"w": into}, verify=False)
                same(into, w[where])


def test_boxes_of_many_blocks(store: ParameterStore) -> None:
    """Of 3 MB each, so that rows begin in one block and end in another, and pass over some."""
    w = noise((6, 500, 2000), "f2")
    write(store, "m", [{"w": box} for box in cut(w, (2, 1, 2))])
    same(store.load("m")["w"], w)
    for where in [
        (slice(1, 5), slice(3, 490), slice(7, 1333)),
        (slice(0, 6), slice(0, 500), slice(999, 1001)),
        (slice(2, 3), slice(7, 8), slice(0, 2000)),
        (slice(0, 6), slice(499, 500), slice(5, 1995)),
    ]:
        same(store.load("m", slices={"w": where})["w"], w[where])
        into = np.empty_like(w[where], order="C")
        store.load("m", slices={"w": where}, out={"w": into}, verify=False)
        same(into, w[where])


@pytest.mark.parametrize("shape", [(40, 3, 5, 7), (4, 30, 5, 7), (4, 3, 50, 2), (400,), (20, 30)])
def test_rows_of_a_box_are_as_few_as_can_be(shape: tuple[int, ...]) -> None:
    """A slice of one dimension is one read, however many dimensions there are around it."""
    whole = Range((0,) * len(shape), shape)
    for dim, size in enumerate(shape):
        offsets = [0] * len(shape)
        offsets[dim] = 1
        sizes = [*shape]
        sizes[dim] = size - 1
        (read,) = reads([(0, whole)], Range(tuple(offsets), tuple(sizes)))
        assert read.nbytes * read.rows == np.prod(sizes)
        assert read.rows == np.prod(shape[:dim], dtype=int)


def test_what_overlaps_or_is_missing_is_named(store: ParameterStore) -> None:
    w = noise((8, 4))
    transaction = store.begin("m", 2)
    store.part(transaction, 0, {"w": Box(w[:5], w.shape, (0, 0))})
    with pytest.raises(ConflictError, match=r"of 2 ranks these have not written their part: 1$"):
        store.commit(transaction)
    store.part(transaction, 1, {"w": Box(w[4:], w.shape, (4, 0))})
    with pytest.raises(InvalidArgumentError, match=r'"w": rank 0 has \[0:5, 0:4\] of it and'):
        store.commit(transaction)
    assert store.names() == []
    store.abort(transaction)
    with pytest.raises(NotFoundError, match="there is no transaction"):
        store.commit(transaction)
    with pytest.raises(InvalidArgumentError, match=r'"w": no rank has its element \[3 0\]'):
        write(store, "m", [{"w": Box(w[4:], w.shape, (4, 0))}, {"w": Box(w[:3], w.shape, (0, 0))}])
    with pytest.raises(InvalidArgumentError, match="F32 of 32 bits in rank 0, F64 of 64 bits"):
        write(
            store,
            "m",
            [
                {"w": Box(w[:4], w.shape, (0, 0))},
                {"w": Box(w[4:].astype("f8"), w.shape, (4, 0))},
            ],
        )
    assert store.names() == []


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"w": Box(np.ones((2, 2)), (3, 2), (2, 0))}, "not within shape"),
        ({"w": Box(np.ones((2, 2)), (4,), (0,))}, r"shape \(2, 2\) and offsets \(0,\)"),
        ({"w": [Box(np.ones(2), (4,), (0,)), np.ones(2)]}, "is no tensor"),
        ({"\0box:4:0:w": np.ones(4)}, "is a str"),
        ({"\0object:w": np.ones(4)}, "is a str"),
        ({7: np.ones(4)}, "is a str"),
    ],
)
def test_parts_that_are_none(store: ParameterStore, part: dict[str, Any], says: str) -> None:
    transaction = store.begin("m", 1)
    with pytest.raises(InvalidArgumentError, match=says):
        store.part(transaction, 0, part)
    store.part(transaction, 0, {})
    with pytest.raises(ConflictError, match="rank 0 has written its part already"):
        store.part(transaction, 0, {})
    with pytest.raises(InvalidArgumentError, match="want 0 to 0"):
        store.part(transaction, 1, {})


def test_selections_that_are_none(store: ParameterStore) -> None:
    store.save("m", {"w": np.ones((4, 4)), "one": np.float32(1)})
    selections: list[tuple[Any, str]] = [
        ((slice(0, 1),) * 3, "3 slices"),
        ((slice(0, 4, 2),), "step"),
        ((0, 5), "0 to 4"),
        ((3, 1), "are none"),
    ]
    for selection, says in selections:
        with pytest.raises(InvalidArgumentError, match=says):
            store.load("m", slices={"w": selection}, keys=["w"])
    with pytest.raises(InvalidArgumentError, match="no rows"):
        store.load("m", slices={"one": (slice(0, 1),)}, keys=["one"])


def halves(w: Any, v: Any) -> list[dict[str, Any]]:
    pairs = zip(cut(w, (2, 1)), cut(v, (2, 1)), strict=True)
    return [{"w": first, "v": second} for first, second in pairs]


def test_a_difference_counts_tensors_not_boxes(store: ParameterStore) -> None:
    w, v = noise((8, 4)), noise((4, 4))
    write(store, "m", halves(w, v))
    changed = w.copy()
    changed[7] += 1
    write(store, "m", halves(changed, v))
    found = store.diff("m", 1, 2)
    assert (found.added, found.removed, found.changed, found.same) == ((), (), ("w",), 1)
    store.save("m", {"w": changed, "new": v})
    found = store.diff("m", 2, 3)
    assert (found.added, found.removed, found.changed, found.same) == (("new",), ("v",), ("w",), 0)


def test_shards_are_stored_once(store: ParameterStore) -> None:
    w = noise((256, 1024))
    first = write(store, "m", [{"w": box} for box in cut(w, (4, 1))])
    again = write(store, "m", [{"w": box} for box in cut(w, (4, 1))])
    assert first.stored > w.nbytes
    assert again.stored < 8192


def test_objects_beside_the_tensors(store: ParameterStore) -> None:
    objects = {"a": b"bytes", "nothing": b""}
    store.save("m", {"w": np.ones(3)}, objects=objects)
    transaction = store.begin("n", 2)
    store.part(transaction, 0, {"w": np.ones(3)}, objects={"a": b"bytes"})
    store.part(transaction, 1, {}, objects={"nothing": b""})
    store.commit(transaction)
    for name in ("m", "n"):
        with store.open(name) as opened:
            assert opened.objects == {"a": 5, "nothing": 0}
            assert {key: opened.read_object(key) for key in opened.objects} == objects
            assert [*opened.tensors] == ["w"]
            with pytest.raises(NotFoundError, match="'b'"):
                opened.read_object("b")
    with pytest.raises(InvalidArgumentError, match="an object is bytes"):
        store.save("m", {}, objects={"a": "text"})  # type: ignore[dict-item]


def test_sharded_versions_are_exported(store: ParameterStore, tmp_path: Path) -> None:
    w = noise((64, 6))
    write(store, "m", [{"w": box} for box in cut(w, (2, 2))])
    store.save("m", {"w": w})
    for version in (1, 2):
        store.export_safetensors("m", tmp_path / f"{version}.safetensors", version)
    one, two = ((tmp_path / f"{version}.safetensors").read_bytes() for version in (1, 2))
    assert one == two


RANK = """
import json, os, sys
import numpy as np
from persisting.params import Box, ParameterStore
path, rank, world, wait = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
store = ParameterStore(path)
transaction = store.begin("m", world) if rank == -1 else json.loads(sys.stdin.readline())
if rank == -1:
    print(json.dumps(transaction), flush=True)
else:
    rows = np.full((100, 1000), rank, np.float32)
    store.part(transaction, rank, {"w": Box(rows, (100 * world, 1000), (100 * rank, 0))})
    print("done", flush=True)
if wait == "wait":
    sys.stdin.read()
"""


def process(path: Path, rank: int, world: int, *, wait: bool) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", RANK, str(path), str(rank), str(world), "wait" if wait else ""],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def told(rank: subprocess.Popen[str], transaction: str) -> None:
    assert rank.stdin is not None
    rank.stdin.write(json.dumps(transaction) + "\n")
    rank.stdin.flush()


def said(rank: subprocess.Popen[str]) -> str:
    assert rank.stdout is not None
    return rank.stdout.readline().strip()


def test_ranks_in_processes_of_their_own(tmp_path: Path) -> None:
    with ParameterStore(tmp_path) as store:
        transaction = store.begin("m", 3)
        ranks = [process(tmp_path, rank, 3, wait=False) for rank in range(3)]
        for rank in ranks:
            told(rank, transaction)
        assert [said(rank) for rank in ranks] == ["done"] * 3
        assert [rank.wait(30) for rank in ranks] == [0] * 3
        store.gc()
        store.commit(transaction)
        w = store.load("m")["w"]
    assert w.shape == (300, 1000)
    assert (w == np.repeat(np.arange(3, dtype="f4"), 100)[:, None]).all()
    for rank in ranks:
        rank.communicate()


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.rglob("*") if file.name.endswith((".tmp", ".pk")))


def test_a_coordinator_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    with ParameterStore(tmp_path) as store:
        coordinator = process(tmp_path, -1, 2, wait=True)
        transaction = json.loads(said(coordinator))
        store.part(transaction, 0, {"w": np.ones((100, 1000), np.float32)})
        assert store.gc()["staged"] == 0  # it lives
        os.kill(coordinator.pid, signal.SIGKILL)
        coordinator.communicate()
        assert store.gc()["staged"] == 3
        assert files(tmp_path) == []
        with pytest.raises(NotFoundError, match="the process that began it had died"):
            store.part(transaction, 1, {})
        assert store.names() == []


@pytest.mark.parametrize("moments", [range(3), pytest.param(range(60), marks=pytest.mark.slow)])
def test_a_rank_that_is_killed_at_any_moment(tmp_path: Path, moments: range) -> None:
    with ParameterStore(tmp_path) as store:
        store.save("m", {"w": np.zeros(3)})
        for moment in moments:
            transaction = store.begin("m", 2)
            rank = process(tmp_path, 1, 2, wait=False)
            told(rank, transaction)
            rows = np.full((100, 1000), 0, np.float32)
            store.part(transaction, 0, {"w": Box(rows, (200, 1000), (0, 0))})
            if moment % 3:
                said(rank)  # it has written, and has ended or ends now
            os.kill(rank.pid, signal.SIGKILL)
            rank.communicate()
            try:
                store.commit(transaction)
            except ConflictError:
                assert moment % 3 == 0
                assert store.latest("m") == store.versions("m")[-1].version
                store.abort(transaction)
            else:
                assert store.load("m")["w"][100:].all()
            store.gc()
            assert not [name for name in files(tmp_path) if name.endswith(".tmp")]
        assert store.verify() == []


def moved(array: Any, share: float = 0.005) -> Any:
    """Return what a step of training makes of a tensor of float16: few values move, by little."""
    rng = np.random.default_rng(array.nbytes)
    bits = array.view(np.uint16).copy()
    at = rng.random(bits.shape) < share
    bits[at] += 1
    return bits.view(array.dtype)


@pytest.mark.parametrize("counts", [(3, 1), (1, 4), (2, 2)])
def test_a_step_of_ranks_costs_what_changed(store: ParameterStore, counts: tuple[int, int]) -> None:
    w = noise((400, 600), "f2")
    first = write(store, "m", [{"w": box} for box in cut(w, counts)])
    after = moved(w)
    told = write(store, "m", [{"w": box} for box in cut(after, counts)])
    assert (told.base, told.stored < first.stored / 4) == (1, True)
    same(store.load("m", 1)["w"], w)
    same(store.load("m", 2)["w"], after)
    whole = write(store, "m", [{"w": box} for box in cut(moved(after), counts)], base=None)
    assert (whole.base, whole.stored > first.nbytes) == (0, True)
    with pytest.raises(NotFoundError, match="version 9"):
        store.begin("m", 1, base=9)
    assert store.verify() == []


def test_pull_and_patches_of_versions_of_ranks(store: ParameterStore) -> None:
    w = noise((400, 600), "f2")
    cuts: list[tuple[int, int] | None] = [(2, 1), (2, 1), (1, 3), (1, 3), (2, 2), None, None]
    served = {"w": w.copy()}
    for version, counts in enumerate(cuts, 1):
        before = cuts[version - 2] if version > 1 else None
        boxes = int(np.prod(counts)) if counts else 1
        if counts is None:
            store.save("m", {"w": w})
        else:
            write(store, "m", [{"w": box} for box in cut(w, counts)])
        if version > 1:
            pulled = store.pull("m", served, version - 1)
            told = boxes if counts == before else 0
            assert (pulled.told, pulled.loaded) == (told, boxes - told)
            same(served["w"], w)
            (patch,) = store.patches("m", version - 1)
            flat = store.load("m", version - 1)["w"].reshape(-1)
            flat[patch.indices] = patch.values
            same(flat.reshape(w.shape), w)
        w = moved(w)
    store.save("again", {"w": w})
    write(store, "again", [{"w": box} for box in cut(w, (2, 2))])
    assert [*store.patches("again", 1)] == []  # it lies in other boxes only
    served["w"][7, 500] += 1
    with pytest.raises(ConflictError, match="block 0"):
        store.pull("m", served, 3, 4)
