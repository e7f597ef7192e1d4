"""Queue and KVInterface through a real Pulsing system, as programs of persisting 0.3.0 use them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any

import numpy as np
import pulsing
import pytest
from pulsing.exceptions import PulsingError

from persisting import GRPOGroupNSampler, KVInterface, Queue
from persisting._errors import InvalidArgumentError
from tests.records import same
from tests.test_queue import Rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

# Pulsing never closes a backend: the collector does, with a warning.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[None]:
    """Start the global system, as programs do, and end it."""
    await pulsing.init()
    try:
        yield
    finally:
        await pulsing.shutdown()
        gc.collect()


async def bucket_of(queue: Queue, partition: str) -> Any:
    remote = await queue._place.bucket(partition)
    return await remote.stats()


async def test_batches_have_their_offsets(tmp_path: Path) -> None:
    """Put from many tasks at once, and read what each was told."""
    async with started():
        queue = Queue("offsets", str(tmp_path), num_buckets=2)

        async def produce(task: int) -> None:
            for turn in range(5):
                rows = Rows({"x": np.full((3, 2), task * 10 + turn)}, 3)
                meta = await queue.put(rows, partition_id=f"p{task % 3}")
                assert meta is not None
                assert meta.size == 3
                assert meta.field_names == ["x"]
                got = await queue.get_data(meta, f"p{task % 3}")
                assert [r["x"].tolist() for r in got] == [[task * 10 + turn] * 2] * 3

        await asyncio.gather(*map(produce, range(8)))
        stats = (await queue.stats())["buckets"]
        assert sum(bucket["total_count"] for bucket in stats.values()) == 8 * 5 * 3
        assert {bucket["backend"] for bucket in stats.values()} == {"persisting"}


async def test_records_tasks_and_restarts(tmp_path: Path) -> None:
    async with started():
        queue = Queue("topic", str(tmp_path), enable_metrics=True)
        assert await queue.put({"id": "a", "x": 0}) is None
        await queue.put([{"id": "a", "x": i} for i in range(1, 6)])
        await queue.writer().put_batch([{"id": "b", "x": 100}])
        with pytest.raises(ValueError, match="Missing partition column 'id'"):
            await queue.put({"x": 1})
        with pytest.raises(TypeError, match="has no len"):
            len(queue)
        with pytest.raises(InvalidArgumentError, match="offset: want 0, got 3"):
            await queue.get(10, 3)
        assert sorted(r["x"] for r in await queue.get(5) + await queue.get(5)) == [*range(6), 100]
        assert await queue.get() == []
        streamed = [r async for part in Queue("topic", str(tmp_path)).stream(6) for r in part]
        assert len(streamed) == 6
        reader = queue.reader()
        meta = await reader.get_meta(["x"], 2, "train", "a")
        assert await reader.get_data(meta, "a") == [{"x": 0}, {"x": 1}]
        got = await reader.get_batch(["x"], 2, "train", "a", GRPOGroupNSampler(2))
        assert got == [{"x": 2}, {"x": 3}]
        await queue.clear([4], "a")
        await queue.mark_consumed("eval", [0, 1], "a")
        await queue.flush()
        assert (await bucket_of(queue, "a"))["storage_path"].startswith(str(tmp_path / "topic"))
        queue.close()
    async with started():
        reader = Queue("topic", str(tmp_path)).reader()
        assert await reader.get_batch(["x"], 9, "train", "a") == [{"x": 5}]
        assert await reader.get_batch(["x"], 2, "eval", "a") == [{"x": 2}, {"x": 3}]
        await reader.reset("train", "a")
        meta = await reader.get_meta(["x"], 9, "train", "a")
        assert meta.global_indexes == [0, 1, 2, 3, 5]


async def test_keys_survive_a_restart_of_the_system(tmp_path: Path) -> None:
    async with started():
        kv = KVInterface(Queue("kv", str(tmp_path)))
        rows = Rows({"x": np.arange(6).reshape(3, 2)}, 3)
        await kv.kv_batch_put(["a", "b", "c"], rows, "p", [{"n": 1}, {}, {"n": (3, 4)}])
        await kv.kv_put("d", Rows({"x": np.zeros((1, 2), int)}, 1), "p", {"n": 4})
        await kv.kv_put("a", {"x": np.array([7, 8])}, "p")
        await kv.kv_put("a", {"x": np.array([9, 9])}, "other partition")
        other = KVInterface(Queue("kv", str(tmp_path)))
        assert [key for key, _ in await other.kv_list("p")] == ["b", "c", "d", "a"]
        await other.kv_clear(["b", "nope"], "p")
        with pytest.raises(ValueError, match="duplicate keys"):
            await kv.kv_batch_put(["e", "e"], [{}, {}], "p")
    async with started():
        kv = KVInterface(Queue("kv", str(tmp_path)))
        assert await kv.kv_list("p") == [("c", {"n": (3, 4)}), ("d", {"n": 4}), ("a", {})]
        got = await kv.kv_batch_get(["c", "b", "a"], "p")
        assert same(got, [{"x": np.array([4, 5])}, {"x": np.array([7, 8])}])
        assert await kv.kv_batch_get(["b"], "p") == []
        got = await kv.kv_batch_get(["a"], "other partition", fields=["x"])
        assert same(got, [{"x": np.array([9, 9])}])


async def test_a_refused_batch_reaches_the_caller(tmp_path: Path) -> None:
    async with started():
        queue = Queue("refused", str(tmp_path))
        await queue.put(Rows({"x": [1, 2]}, 2))
        with pytest.raises(PulsingError, match="'x'"):
            await queue.put(Rows({"x": ["text"]}, 1))
        meta = await queue.put(Rows({"x": [3]}, 1))
        assert meta is not None
        assert await queue.get_data(meta) == [{"x": 3}]


async def test_a_queue_stays_where_it_was_begun(tmp_path: Path) -> None:
    """Neither hides the records of the other."""
    async with Queue("here", str(tmp_path)) as queue:
        await queue.put({"id": "a", "x": 1})
    async with started():
        with pytest.raises(InvalidArgumentError, match="was written without Pulsing"):
            Queue("here", str(tmp_path))
        await Queue("far", str(tmp_path), num_buckets=1).put({"id": "a", "x": 1})
    with pytest.raises(InvalidArgumentError, match="has buckets of Pulsing"):
        Queue("far", str(tmp_path))
