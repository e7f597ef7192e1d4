"""Tasks consume records: the tensor API of Pulsing on the backends, without Pulsing."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting import LanceBackend, PersistingBackend
from persisting._errors import (
    ClosedError,
    InvalidArgumentError,
    NotFoundError,
    RemovedError,
    SchemaError,
)
from persisting.queue.metadata import BatchMeta
from persisting.sampler import GRPOGroupNSampler, RankAwareSampler, SequentialSampler
from tests.records import same

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


@pytest.fixture(params=[LanceBackend, PersistingBackend], ids=["lance", "persisting"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LanceBackend]:
    async with request.param(0, tmp_path / "bucket") as opened:
        yield opened


async def reopened(backend: LanceBackend) -> LanceBackend:
    await backend.aclose()
    return type(backend)(0, backend.storage_path)


def numbered(first: int, last: int) -> list[dict[str, Any]]:
    return [{"x": i, "y": float(i)} for i in range(first, last)]


async def indexes(backend: LanceBackend, *arguments: Any, **more: Any) -> list[int]:
    return (await backend.get_meta(*arguments, **more)).global_indexes


async def test_a_batch_is_put_chosen_and_read(backend: LanceBackend) -> None:
    put = await backend.put_tensor(
        {"x": np.arange(6).reshape(3, 2), "text": ["a", "b", "c"], "flag": (True, False, None)},
        partition_id="p",
    )
    assert (put.size, put.global_indexes) == (3, [0, 1, 2])
    assert put.field_names == ["x", "text", "flag"]
    assert put.samples[0].fields["x"].to_dict() == {
        "name": "x",
        "dtype": "int64",
        "shape": (2,),
        "production_status": "ready",
    }
    meta = await backend.get_meta(["x", "text"], 2, "train", partition_id="p")
    assert meta.global_indexes == [0, 1]
    assert {sample.partition_id for sample in meta.samples} == {"p"}
    wanted = [{"x": np.array([0, 1]), "text": "a"}, {"x": np.array([2, 3]), "text": "b"}]
    assert same(await backend.get_data(meta, fields=["x", "text"]), wanted)
    assert same(await backend.get_data(meta.to_dict(), ["x", "text"]), wanted)
    whole = await backend.get_data(BatchMeta.of("p", [2, 0], []))
    assert same(whole[0], {"x": np.array([4, 5]), "text": "c", "flag": None})
    stacked = await backend.get_data(meta, stack=True)
    wanted_columns = {"x": np.array([[0, 1], [2, 3]]), "text": ["a", "b"], "flag": [True, False]}
    assert same(stacked, wanted_columns)
    assert await indexes(backend, ["flag"], 5, "train") == []  # two are consumed, one has None
    assert await indexes(backend, ["x"], 5, "train") == [2]


async def test_offsets_of_a_batch_are_those_it_got(backend: LanceBackend) -> None:
    """Of batches beside puts, of which some are refused."""
    await backend.put_batch(numbered(0, 5))

    async def refused() -> None:
        with pytest.raises(SchemaError):
            await backend.put({"x": "text"})

    async def tensor(n: int) -> None:
        meta = await backend.put_tensor({"x": [n] * 3, "y": np.zeros(3)[:3].tolist()})
        assert [row["x"] for row in await backend.get_data(meta)] == [n] * 3

    puts = [tensor(i) if i % 3 else refused() for i in range(60)]
    await asyncio.gather(*puts, *[backend.put({"x": -1, "new": i}) for i in range(20)])
    assert backend.total_count() == 5 + 40 * 3 + 20


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"x": [1, 2], "y": [1]}, "columns of one length, got {'x': 2, 'y': 1}"),
        ({"x": "text"}, "column 'x' is a str"),
        ({"x": 3}, "column 'x' is a int without"),
        ({"x": np.array(3)}, "column 'x' is a ndarray without"),
        (7, "want a dict of columns, a list of dicts or a TensorDict, got int"),
        ([1], "got list"),
    ],
)
async def test_what_is_no_batch_is_refused(backend: LanceBackend, data: Any, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        await backend.put_tensor(data)
    assert backend.total_count() == 0


async def test_what_is_consumed_stays_so(backend: LanceBackend) -> None:
    await backend.put_batch(numbered(0, 100))
    assert await indexes(backend, ["x"], 10, "a") == [*range(10)]
    assert await indexes(backend, ["x", "nope"], 10, "a") == []
    await backend.mark_consumed("a", [10, 12])
    assert await indexes(backend, ["x"], 2, "b") == [0, 1]
    backend = await reopened(backend)
    try:
        assert await backend.consumption() == {"a": 12, "b": 2}
        assert await indexes(backend, ["y"], 3, task_name="a") == [11, 13, 14]
        await backend.clear([15, 99])
        await backend.clear([15])
        assert await indexes(backend, ["y"], 3, task_name="a") == [16, 17, 18]
        await backend.reset_consumption("a")
        assert await indexes(backend, ["y"], 17, task_name="a") == [*range(15), 16, 17]
        assert len(await indexes(backend, ["x"], 1000, "a")) == 81
        with pytest.raises(RemovedError):
            await backend.get_by_indices([14, 15])
        records = await backend.get_data({"global_indexes": [14, 15, 99, 16, 14]})
        assert [record["x"] for record in records] == [14, 16, 14]
        await backend.put({"x": 100, "y": 1.0})
        assert await indexes(backend, ["x"], 10, "a") == [100]
        with pytest.raises(NotFoundError):
            await backend.mark_consumed("a", [101])
        with pytest.raises(InvalidArgumentError):
            await backend.mark_consumed("", [1])
        with pytest.raises(InvalidArgumentError):
            await backend.get_meta(["x"], -1)
    finally:
        await backend.aclose()
    with pytest.raises(ClosedError):
        await backend.get_meta(["x"], 1)


async def test_two_of_a_task_never_get_the_same(backend: LanceBackend) -> None:
    samplers = [None, SequentialSampler(), GRPOGroupNSampler(2)]

    async def take(i: int) -> list[int]:
        return await indexes(backend, ["x"], 4, "a", samplers[i % 3])

    found: list[int] = []
    for start in range(0, 400, 40):
        await backend.put_batch(numbered(start, start + 40))
        for taken in await asyncio.gather(*[take(i) for i in range(10)]):
            found += taken
    assert len(found) == len({*found})
    assert {*found} <= {*range(400)}


class Middle:
    """A sampler that takes one from the middle, and says what it was given."""

    def __init__(self) -> None:
        self.ready: Sequence[int] = ()
        self.given: dict[str, Any] = {}

    def sample(self, ready: Sequence[int], size: int, **given: Any) -> tuple[list[int], list[int]]:
        self.ready, self.given = ready, given
        middle = ready[len(ready) // 2]
        return [middle], [*ready[:1], middle]


class Strict:
    def sample(self, ready: Sequence[int], size: int) -> tuple[list[int], list[int]]:
        return [ready[-1]], []


async def test_a_sampler_chooses_from_a_sequence(backend: LanceBackend) -> None:
    await backend.put_batch(numbered(0, 1000))
    await backend.mark_consumed("a", [*range(0, 1000, 2)])
    sampler: Any = Middle()
    assert await indexes(backend, ["x"], 1, "a", sampler, partition_id="p", extra=3) == [501]
    assert sampler.given == {"task_name": "a", "partition_id": "p", "extra": 3}
    ready = sampler.ready
    wanted = [*range(1, 1000, 2)]
    assert not isinstance(ready, list)
    assert [*ready] == wanted
    assert len(ready) == 500
    assert 501 in ready
    assert 500 not in ready
    assert (ready[-1], ready[3], ready[-500]) == (999, 7, 1)
    for cut in (slice(10), slice(490, None), slice(3, 100, 7), slice(None, None, -1), slice(5, 5)):
        assert ready[cut] == wanted[cut]
    with pytest.raises(IndexError):
        ready[500]
    assert await backend.consumption() == {"a": 502}
    strict: Any = Strict()
    assert await indexes(backend, ["x"], 1, "a", strict) == [999]
    assert await indexes(backend, ["x"], 1, "a", strict) == [999]  # it consumes nothing
    rank = {"dp_rank": 0, "batch_index": 0}
    first = await indexes(backend, ["x"], 3, "a", sampler := RankAwareSampler(), **rank)
    assert await indexes(backend, ["x"], 3, "a", sampler, **rank) == first == [3, 5, 7]


async def test_marks_are_those_of_plain_sets(tmp_path: Path) -> None:
    """Do at random what tasks do, beside puts, flushes and restarts."""
    chance = random.Random(7)
    marks: dict[str, set[int]] = {"a": set(), "b": set()}
    gone: set[int] = set()
    backend = PersistingBackend(0, tmp_path, flush_threshold=50)
    for _ in range(300):
        total, task = backend.total_count(), chance.choice("ab")
        step = chance.randrange(12)
        if step < 3:
            await backend.put_batch(numbered(total, total + chance.randrange(1, 20)))
        elif step < 7:
            size = chance.randrange(1, 15)
            left = [i for i in range(total) if i not in gone | marks[task]]
            assert await indexes(backend, ["x"], size, task) == left[:size]
            marks[task] |= {*left[:size]}
        elif step < 9 and total:
            chosen = chance.sample(range(total), min(total, 5))
            await backend.mark_consumed(task, chosen)
            marks[task] |= {*chosen}
        elif step == 9 and total:
            chosen = chance.sample(range(total), min(total, 3))
            await backend.clear(chosen)
            gone |= {*chosen}
            for each in marks.values():
                each -= {*chosen}
        elif step == 10:
            if chance.randrange(5) == 0:
                await backend.reset_consumption(task)
                marks[task].clear()
            await backend.flush()
        else:
            backend = await reopened(backend)  # type: ignore[assignment]
    await backend.aclose()
