"""Queue and KVInterface, as programs of persisting 0.3.0 use them, in one process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import persisting
from persisting import (
    GRPOGroupNSampler,
    KVInterface,
    PersistingBackend,
    Queue,
    SequentialSampler,
    get_sampled_batch,
)
from persisting._errors import ClosedError, InvalidArgumentError, LockedError, SchemaError
from tests.records import same

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

UPSTREAM = {
    *("Queue", "QueueWriter", "QueueReader", "KVInterface", "BatchMeta", "LanceBackend"),
    *("PersistingBackend", "BaseSampler", "SequentialSampler", "RankAwareSampler"),
    *("GRPOGroupNSampler", "get_sampled_batch"),
}


class Rows:
    """As much of a TensorDict as a batch needs."""

    def __init__(self, columns: dict[str, Any], *batch_size: int) -> None:
        self.batch_size = batch_size
        self._columns = columns

    def items(self) -> Any:
        return self._columns.items()


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    async with Queue("topic", str(tmp_path)) as opened:
        yield opened


async def again(queue: Queue, tmp_path: Path) -> Queue:
    await queue.aclose()
    return Queue("topic", str(tmp_path))


def test_the_names_of_upstream_are_there() -> None:
    assert {*persisting.__all__} >= UPSTREAM


# ---- the queue ----


async def test_records_and_batches(queue: Queue, tmp_path: Path) -> None:
    assert await queue.put({"id": "1", "value": 42}) is None
    assert await queue.put([{"id": "2", "value": 43}], partition_id="p") is None
    await queue.put_batch([{"id": "3", "value": 44}])
    meta = await queue.put(Rows({"x": np.arange(6).reshape(3, 2)}, 3), partition_id="p")
    assert meta is not None
    assert (meta.size, meta.global_indexes, meta.field_names) == (3, [3, 4, 5], ["x"])
    assert {sample.partition_id for sample in meta.samples} == {"p"}
    empty = await queue.put([])
    assert empty is not None
    assert empty.size == 0
    await queue.flush()
    assert [r["value"] for r in await queue.get(limit=2, offset=1)] == [43, 44]
    assert same(await queue.get_data(meta, "p"), [{"x": np.array([i, i + 1])} for i in (0, 2, 4)])
    assert len(queue) == 6
    assert queue
    streamed = [r async for part in queue.stream(limit=3, offset=1) for r in part]
    assert [record.get("id") for record in streamed] == ["2", "3", None]
    assert (await queue.stats())["storage_path"] == str(tmp_path / "topic")
    assert (await queue.stats())["wal_enabled"] is True


async def test_tasks_read_through_writer_and_reader(queue: Queue, tmp_path: Path) -> None:
    writer, reader = queue.writer(), queue.reader()
    await writer.put([{"x": i, "y": -i} for i in range(8)])
    await writer.put_batch([{"x": 8}, {"x": 9}], partition_id="p")
    await writer.flush()
    meta = await reader.get_meta(["x", "y"], 2, "train", "p")
    assert meta.global_indexes == [0, 1]
    assert await reader.get_data(meta, "p") == [{"x": 0, "y": 0}, {"x": 1, "y": -1}]
    groups = GRPOGroupNSampler(2)
    assert await reader.get_batch(["x"], 4, "train", sampler=groups, extra=1) == [
        {"x": i} for i in range(2, 6)
    ]
    await queue.mark_consumed("train", [6])
    await queue.clear([7], "p")
    queue = await again(queue, tmp_path)
    try:
        reader = queue.reader()
        assert await reader.get_batch(["x"], 9, "train") == [{"x": 8}, {"x": 9}]
        assert await reader.get_batch(["x"], 9, "train") == []
        await reader.reset("train", "p")
        assert len(await reader.get_batch([], 9, "train", "p")) == 9
        backend: Any = queue._place._backend  # type: ignore[union-attr]
        await queue.reset_consumption("train")
        config = {"fields": ["y"], "task_name": "train"}
        records, offset = await get_sampled_batch(
            backend, SequentialSampler(), 3, 0, sampling_config=config
        )
        assert ([r["x"] for r in records], offset) == ([0, 1, 2], 3)
    finally:
        await queue.aclose()
    with pytest.raises(ClosedError):
        await queue.get()


async def test_reads_pass_over_what_was_cleared(queue: Queue) -> None:
    await queue.put([{"x": i} for i in range(300)])
    gone = {0, 1, 50, 51, 200, 299}
    await queue.clear([*gone])
    left = [i for i in range(300) if i not in gone]
    assert [r["x"] for r in await queue.get(1000)] == left
    assert [r["x"] for r in await queue.get(3, 49)] == [49, 52, 53]
    assert [r["x"] for r in await queue.get(9, -3)] == [297, 298]
    assert await queue.get(0) == await queue.get(5, 299) == await queue.get(5, 300) == []
    lists = [part async for part in queue.stream(250, 10)]
    assert [r["x"] for part in lists for r in part] == left[8:258]
    assert max(map(len, lists)) <= 100
    later = asyncio.ensure_future(anext(queue.stream(1, 299, wait=True)))
    await asyncio.sleep(0.05)
    await queue.put({"x": 300})
    assert await later == [{"x": 300}]


async def test_what_a_queue_refuses(queue: Queue, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="name: want a string"):
        Queue("", str(tmp_path))
    with pytest.raises(InvalidArgumentError, match="zerocopy_mode: want"):
        Queue("other", str(tmp_path), zerocopy_mode="force")
    with pytest.raises(InvalidArgumentError, match="unknown option 'wal'"):
        Queue("other", str(tmp_path), backend_options={"wal": 1})
    with pytest.raises(LockedError):
        Queue("topic", str(tmp_path))
    (tmp_path / "far" / "bucket_0").mkdir(parents=True)
    with pytest.raises(InvalidArgumentError, match="has buckets of Pulsing"):
        Queue("far", str(tmp_path))
    with pytest.raises(SchemaError):
        await queue.put(7)
    with pytest.raises(TypeError, match="set"):
        await queue.put({"x": {1, 2}})
    assert len(queue) == 0
    queue.close()
    queue.close()


def test_options_reach_the_bucket(tmp_path: Path) -> None:
    queue = Queue("t", str(tmp_path), enable_metrics=True, auto_flush_interval_sec=2.5)
    backend: Any = queue._place._backend  # type: ignore[union-attr]
    assert isinstance(backend, PersistingBackend)
    assert backend.get_metrics()
    queue.close()
    options = {"wal_sync_interval": 0}
    queue = Queue("t", str(tmp_path), zerocopy_mode="off", backend_options=options)
    assert not queue._place._backend.get_metrics()  # type: ignore[union-attr]
    queue.close()


# ---- keys ----


async def test_keys_survive(queue: Queue, tmp_path: Path) -> None:
    kv = KVInterface(queue)
    await kv.kv_put("k1", {"x": 1}, "p", tag={"stage": "train", "n": (1, 2)})
    columns = {"x": np.arange(2), "y": ["a", None]}
    await kv.kv_batch_put(["k2", "k3"], columns, "p", tags=[{"n": 2}, {}])
    await kv.kv_batch_put(["k1"], [{"x": 100}], "q")
    await kv.kv_put("k4", Rows({"z": np.arange(4).reshape(1, 4)}, 1), "p")
    await kv.kv_put("k5", Rows({"x": 5}), "p")
    tags = {"k1": {"stage": "train", "n": (1, 2)}, "k2": {"n": 2}, "k3": {}, "k4": {}, "k5": {}}

    async def look(kv: KVInterface) -> None:
        assert await kv.kv_list("p") == [*tags.items()]
        assert await kv.kv_list("q") == [("k1", {})]
        assert await kv.kv_list("never") == []
        got = await kv.kv_batch_get(["k3", "k1", "nope", "k2", "k1"], "p", ["x", "other"])
        assert [record["x"] for record in got] == [1, 1, 0, 1]
        assert await kv.kv_batch_get(["k3"], "p") == [{"x": 1, "y": None}]
        assert await kv.kv_batch_get(["k2"], "q") == []
        assert same(await kv.kv_batch_get(["k4"], "p"), [{"z": np.arange(4)}])

    await look(kv)
    await look(KVInterface(queue))
    queue = await again(queue, tmp_path)
    kv = KVInterface(queue)
    await look(kv)
    await kv.kv_clear(["k1", "k3", "nope"], "p")
    assert [key for key, _ in await kv.kv_list("p")] == ["k2", "k4", "k5"]
    assert await kv.kv_batch_get(["k1", "k3"], "p") == []
    assert await kv.kv_batch_get(["k1"], "q") == [{"x": 100}]
    await kv.kv_clear([], "p")
    queue = await again(queue, tmp_path)
    assert [key for key, _ in await KVInterface(queue).kv_list("p")] == ["k2", "k4", "k5"]
    await queue.aclose()


async def test_a_key_has_its_newest_record(queue: Queue, tmp_path: Path) -> None:
    kv = KVInterface(queue)
    for n in range(3):
        await kv.kv_put("k", {"n": n}, "p", {"turn": n})
    assert await kv.kv_batch_get(["k"], "p") == [{"n": 2}]
    await queue.clear([2])
    assert await kv.kv_list("p") == [("k", {"turn": 1})]
    queue = await again(queue, tmp_path)
    kv = KVInterface(queue)
    assert await kv.kv_list("p") == [("k", {"turn": 1})]
    await kv.kv_clear(["k"], "p")
    assert await kv.kv_list("p") == []
    assert await queue.get() == []
    await kv.kv_put("k", {"n": 9}, "p")
    assert await kv.kv_batch_get(["k"], "p") == [{"n": 9}]
    queue = await again(queue, tmp_path)
    assert await KVInterface(queue).kv_batch_get(["k"], "p") == [{"n": 9}]
    await queue.aclose()


async def test_keys_of_records_that_come_and_go_otherwise(tmp_path: Path) -> None:
    async with Queue("topic", str(tmp_path)) as queue:
        kv, backend = KVInterface(queue), queue._place._backend  # type: ignore[union-attr]
        await queue.put([{"x": i} for i in range(5)])
        assert await kv.kv_list("p") == []
        await kv.kv_put("a", {"x": 5}, "p")
        version = await backend.snapshot("tag")
        await queue.put({"x": 6, "_key": "b", "_partition_id": "p", "_tag": {"t": 1}})
        await queue.put([{"x": 7, "_key": "no partition"}, {"x": 8, "_partition_id": "p"}])
        assert await kv.kv_list("p") == [("a", {}), ("b", {"t": 1})]
        await backend.delete("x = 5")
        assert await kv.kv_list("p") == [("b", {"t": 1})]
        assert await kv.kv_batch_get(["a", "b"], "p") == [{"x": 6}]
        await backend.restore(version)
        assert await kv.kv_list("p") == [("a", {})]
        await backend.truncate_before(6)
        assert await kv.kv_list("p") == []
        await kv.kv_put("c", {"x": 1}, "p")
        await backend.rename_column("_key", "other")
        assert await kv.kv_list("p") == []


async def test_many_keys(tmp_path: Path) -> None:
    """Look at them as the rows come, and by a query at the next open."""
    async with Queue("topic", str(tmp_path)) as queue:
        kv = KVInterface(queue)
        for first in range(0, 70_000, 10_000):
            keys = [f"k{i}" for i in range(first, first + 10_000)]
            await kv.kv_batch_put(keys, {"x": np.arange(first, first + 10_000)}, "p")
        got = await kv.kv_batch_get(["k69999", "k0", "k12345"], "p", ["x"])
        assert [record["x"] for record in got] == [69999, 0, 12345]
    async with Queue("topic", str(tmp_path)) as queue:
        kv = KVInterface(queue)
        await kv.kv_put("last", {"x": np.int64(1)}, "p", {"t": 1})
        assert await kv.kv_batch_get(["k69999", "last"], "p", ["x"]) == [{"x": 69999}, {"x": 1}]
        listed = await kv.kv_list("p")
        assert len(listed) == 70_001
        assert listed[-1] == ("last", {"t": 1})


REFUSED: dict[str, tuple[list[Any], Any, Any, str]] = {
    "a key twice": (["a", "b", "a"], [{}, {}, {}], None, "duplicate keys are not allowed, 'a'"),
    "no string": ([1], [{"x": 1}], None, "keys: want strings, got 1"),
    "rows": (["a", "b"], {"x": [1, 2, 3]}, None, "as many rows as there are keys, 2, got 3"),
    "records": (["a", "b"], [{"x": 1}], None, "as many rows as there are keys, 2, got 1"),
    "no column": (["a"], {"x": 3}, None, "as many rows as there are keys, 1, got 0"),
    "tags": (["a"], [{"x": 1}], [{}, {}], "want a tag for each of 1 keys, got 2"),
    "a field of ours": (["a"], [{"_tag": 1}], None, "fields \\['_tag'\\] say what key"),
    "no batch": (
        ["a"],
        7,
        None,
        "want a TensorDict, a list of dicts or a dict of columns, got int",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_under_a_key(queue: Queue, name: str) -> None:
    keys, data, tags, says = REFUSED[name]
    with pytest.raises(InvalidArgumentError, match=says):
        await KVInterface(queue).kv_batch_put(keys, data, "p", tags)
    assert len(queue) == 0


async def test_one_record_for_one_key(queue: Queue) -> None:
    with pytest.raises(ValueError, match="as many rows as there are keys, 1, got 2"):
        await KVInterface(queue).kv_put("k", Rows({"x": np.arange(2)}, 2), "p")


# ---- what a backend looks up, as through Pulsing's actor ----


async def test_a_receipt_is_good_once(tmp_path: Path) -> None:
    async with PersistingBackend(0, tmp_path) as backend:
        put = await backend.put_tensor({"x": [1, 2]}, receipt="r", custom_meta={0: {"note": 1}})
        assert put.custom_meta == {0: {"note": 1}}
        assert await backend.get_meta([], 0, "", lookup={"receipt": "r"}) == put
        with pytest.raises(LookupError, match="no receipt 'r' any more"):
            await backend.get_meta([], 0, "", lookup={"receipt": "r"})
        for n in range(1025):
            await backend.put_tensor([{"x": n}], receipt=str(n))
        with pytest.raises(LookupError):
            await backend.get_meta([], 0, "", lookup={"receipt": "0"})
        assert (await backend.get_meta([], 0, lookup={"receipt": "1"})).global_indexes == [3]
        for wrong in ({}, {"key": ["a"]}, {"keys": [], "receipt": "2"}):
            with pytest.raises(InvalidArgumentError, match="lookup: want"):
                await backend.get_meta([], 0, lookup=wrong)
        assert await backend.consumption() == {}
    with pytest.raises(ClosedError):
        await backend.get_meta([], 0, lookup={"keys": None})
