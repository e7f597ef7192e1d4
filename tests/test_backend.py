"""The backends as Pulsing calls them: puts, reads, flush, compaction, statistics, metrics."""

from __future__ import annotations

import asyncio
import os
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from persisting import LanceBackend, PersistingBackend, SchemaError
from persisting._engine import functions
from persisting._errors import NotFoundError
from tests.support import within

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Opener

KEYS = {
    "bucket_id",
    "buffer_size",
    "persisted_count",
    "total_count",
    "backend",
    "storage_path",
    "wal_enabled",
}
METRICS = {"put_count", "get_count", "flush_count", "bytes_written", "last_flush_time"}


def numbered(first: int, end: int) -> list[dict[str, Any]]:
    return [{"n": i, "text": f"record {i}"} for i in range(first, end)]


async def streamed(backend: LanceBackend, *arguments: Any) -> list[list[dict[str, Any]]]:
    return [records async for records in backend.get_stream(*arguments)]


# ---- puts and reads ----


async def test_records_come_back_before_and_after_a_flush(backend: LanceBackend) -> None:
    for i in range(10):
        await backend.put(numbered(i, i + 1)[0])
    await backend.put_batch(numbered(10, 300))
    for upkeep in (backend.flush, backend.compact, backend.flush):
        assert backend.total_count() == 300
        assert await backend.get(1000, 0) == numbered(0, 300)
        assert await backend.get(5, 120) == numbered(120, 125)
        assert await backend.get(10, -3) == []
        assert await backend.get(2, -3) == numbered(297, 299)
        assert await backend.get(10, 300) == []
        assert await backend.get(0, 0) == []
        assert await backend.get(10**30, 299) == numbered(299, 300)
        batches = await streamed(backend, 250, 20)
        assert [len(records) for records in batches] == [100, 100, 50]
        assert [*chain.from_iterable(batches)] == numbered(20, 270)
        await upkeep()


async def test_a_put_is_visible_to_every_later_get(backend: LanceBackend) -> None:
    for i in range(50):
        await backend.put({"n": i})
        assert backend.total_count() == i + 1
        assert await backend.get(1, i) == [{"n": i}]


async def test_later_changes_of_a_record_have_no_effect(backend: LanceBackend) -> None:
    items, nested = [1, 2], {"a": [1]}
    record = {"list": items, "nested": nested}
    await backend.put(record)
    waiting = asyncio.ensure_future(backend.put_batch([record, record]))
    await asyncio.sleep(0)
    items.append(3)
    await waiting
    nested["a"].append(2)
    record.clear()
    assert await backend.get(9, 0) == [{"list": [1, 2], "nested": {"a": [1]}}] * 3


async def test_absent_stays_absent_and_none_stays_none(backend: LanceBackend) -> None:
    records: list[dict[str, Any]] = [
        {},
        {"a": None},
        {"a": 1},
        {"b": None, "a": None},
        {"b": []},
        {"b": [None, 1]},
        {"c": {}},
        {"c": None},
        {},
    ]
    for record in records:
        await backend.put(record)
    await backend.put_batch(records)
    for upkeep in (backend.flush, backend.compact, backend.flush):
        assert await backend.get(99, 0) == records * 2
        await upkeep()


async def test_an_empty_batch_stores_nothing(backend: LanceBackend) -> None:
    await backend.put_batch([])
    assert backend.total_count() == 0
    assert (await backend.stats())["total_count"] == 0
    for i in range(20):  # so many that messages of these columns go through the ring
        await backend.put_batch([{"i": i}])
        await backend.put_batch([])
    await backend.flush()
    assert await backend.get(99, 0) == [{"i": i} for i in range(20)]


@pytest.mark.parametrize("records", [{"a": 1}, "text", b"x", 7, None, [1], [{"a": 1}, None]])
async def test_what_is_no_list_of_dicts_is_refused(backend: LanceBackend, records: Any) -> None:
    with pytest.raises(TypeError):
        await backend.put_batch(records)
    assert backend.total_count() == 0


@pytest.mark.parametrize("record", [[], "text", 7, None, [{"a": 1}]])
async def test_what_is_no_dict_is_refused(backend: LanceBackend, record: Any) -> None:
    with pytest.raises(TypeError):
        await backend.put(record)
    assert backend.total_count() == 0


async def test_rows_are_read_by_their_offsets(backend: LanceBackend) -> None:
    await backend.put_batch(numbered(0, 100))
    await backend.flush()
    await backend.put_batch(numbered(100, 150))
    for offsets in ([], [0], [149, 0, 99, 100, 0], range(90, 110), (7, 7, 7)):
        want = [numbered(i, i + 1)[0] for i in offsets]
        assert await backend.get_by_indices(offsets) == want
    for offsets in ([150], [0, -1], [10**9], [-150]):
        with pytest.raises(NotFoundError, match=str(offsets[-1])) as raised:
            await backend.get_by_indices(offsets)
        assert isinstance(raised.value, LookupError)


async def test_offsets_stay_through_every_kind_of_upkeep(backend: LanceBackend) -> None:
    for i in range(8):
        await backend.put_batch(numbered(20 * i, 20 * i + 20))
        await asyncio.gather(backend.flush(), backend.put({"n": -1}), backend.compact())
    want = [r["n"] for r in await backend.get(999, 0)]
    await backend.compact()
    assert [r["n"] for r in await backend.get(999, 0)] == want
    assert sorted(n for n in want if n >= 0) == [*range(160)]
    for offset, n in enumerate(want):
        assert [r["n"] for r in await backend.get_by_indices([offset])] == [n]


@pytest.mark.parametrize(
    "options", [{"flush_threshold": 50}, {"flush_bytes": 1024}, {"flush_interval": 0.02}]
)
async def test_rows_are_flushed_in_the_background(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path, options: dict[str, Any]
) -> None:
    backend = opening(backend_class, bucket, **options)
    await backend.put_batch(numbered(0, 100))
    async with within(20):
        while (await backend.stats())["persisted_count"] < 100:
            await asyncio.sleep(0.005)
    assert (await backend.stats())["buffer_size"] == 0
    assert await backend.get(200, 0) == numbered(0, 100)


async def test_fragments_are_merged_in_the_background(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path
) -> None:
    backend = opening(backend_class, bucket, compaction_threshold=4)
    rounds = 0
    async with within(30):
        while (await backend.stats())["metrics"]["compaction_count"] == 0:
            await backend.put_batch(numbered(10 * rounds, 10 * rounds + 10))
            await backend.flush()
            rounds += 1
    assert rounds >= 4
    assert await backend.get(10**6, 0) == numbered(0, 10 * rounds)


async def test_readers_see_whole_batches_while_rows_move(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path
) -> None:
    backend = opening(backend_class, bucket, cache_bytes=0)
    done = False

    async def write() -> None:
        nonlocal done
        for i in range(40):
            await backend.put_batch(numbered(10 * i, 10 * i + 10))
            if i % 5 == 4:
                await backend.flush()
            if i % 10 == 9:
                await backend.compact()
        done = True

    async def read() -> None:
        while not done:
            found = await backend.get(10**6, 0)
            assert found == numbered(0, len(found))
            assert len(found) % 10 == 0
            await asyncio.sleep(0)

    await asyncio.gather(write(), read(), read())
    assert await backend.get(10**6, 0) == numbered(0, 400)


# ---- errors ----

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": "text"}, "n"),
    ({"n": True}, "n"),
    ({"n": [1]}, "n"),
    ({"n": {"a": 1}}, "n"),
    ({"text": 1}, "text"),
    ({"n": 2**64}, "n"),
    ({"n": -(2**63) - 1}, "n"),
    ({"new": {"deep": [{"set": {1}}]}}, "set"),
    ({"new": (1, object())}, "new"),
    ({"new": {1, 2}}, "new"),
    ({"new": object()}, "new"),
    ({"n": 1j}, "n"),
    ({"n": (1,)}, "n"),
    ({"_persisting_x": 1}, "_persisting_x"),
    ({3: 1}, "3"),  # type: ignore[dict-item]
    ({"new": {"nested": {2: 1}}}, "nested"),
    ({"new": "\ud800"}, "new"),
]


@pytest.mark.parametrize(("record", "says"), REFUSED, ids=[repr(r) for r, _ in REFUSED])
async def test_a_refused_record_stores_nothing_of_its_put(
    backend: LanceBackend, record: dict[str, Any], says: str
) -> None:
    await backend.put_batch(numbered(0, 3))
    columns = (await backend.get_arrow()).schema
    for put in (
        backend.put(record),
        backend.put_batch([*numbered(3, 5), record]),
        backend.put_batch([record, {"another": 1}]),
    ):
        with pytest.raises(SchemaError, match=says) as raised:
            await put
        assert isinstance(raised.value, TypeError)
    assert backend.total_count() == 3
    await backend.put({"n": 3, "text": "record 3"})
    assert await backend.get(99, 0) == numbered(0, 4)
    assert (await backend.get_arrow()).schema == columns
    await backend.flush()
    assert await backend.get(99, 0) == numbered(0, 4)


async def test_of_puts_at_once_only_the_wrong_ones_fail(backend: LanceBackend) -> None:
    await backend.put({"n": 0})
    records: list[dict[str, Any]] = [{"n": "x" if i % 3 == 0 else i} for i in range(1, 31)]
    found = await asyncio.gather(*map(backend.put, records), return_exceptions=True)
    assert [type(f) for f in found] == [
        SchemaError if isinstance(r["n"], str) else type(None) for r in records
    ]
    assert await backend.get(99, 0) == [{"n": 0}, *(r for r in records if r["n"] != "x")]


async def test_ints_become_floats_where_none_changes(backend: LanceBackend) -> None:
    await backend.put_batch([{"n": i, "l": [i]} for i in range(5)])
    await backend.flush()
    await backend.put({"n": 5})
    await backend.put({"n": 0.5, "l": [0.5, 2]})
    want = [{"n": float(i), "l": [float(i)]} for i in range(5)]
    want += [{"n": 5.0}, {"n": 0.5, "l": [0.5, 2.0]}]
    assert await backend.get(99, 0) == want
    await backend.put({"n": 2**53})
    with pytest.raises(SchemaError, match="n"):
        await backend.put({"n": 2**53 + 1})
    assert backend.total_count() == 8


async def test_a_promotion_that_would_change_a_value_is_refused(backend: LanceBackend) -> None:
    await backend.put_batch([{"n": 2**53 + 1}, {"n": 1}])
    await backend.flush()
    await backend.put({"n": -1})
    for value in (0.5, 2**63):
        with pytest.raises(SchemaError, match="n"):
            await backend.put({"n": value})
    await backend.put({"n": 7})
    assert await backend.get(99, 0) == [{"n": 2**53 + 1}, {"n": 1}, {"n": -1}, {"n": 7}]


# ---- statistics and metrics ----


async def test_stats_say_where_the_records_are(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path
) -> None:
    backend = opening(backend_class, bucket, bucket_id=3)
    named = {
        "bucket_id": 3,
        "backend": "lance" if backend_class is LanceBackend else "persisting",
        "storage_path": str(bucket),
        "wal_enabled": backend_class is PersistingBackend,
    }
    for put, flush, counts in [
        (0, False, (0, 0, 0)),
        (7, False, (7, 0, 7)),
        (0, True, (0, 7, 7)),
        (2, False, (2, 7, 9)),
    ]:
        await backend.put_batch(numbered(0, put))
        if flush:
            await backend.flush()
        stats = await backend.stats()
        assert stats.keys() >= KEYS | {"metrics"}
        assert named.items() <= stats.items()
        assert (stats["buffer_size"], stats["persisted_count"], stats["total_count"]) == counts
        assert backend.total_count() == counts[2]


async def test_metrics_count(backend: LanceBackend) -> None:
    started = time.time()
    assert backend.get_metrics().keys() >= METRICS
    assert backend.get_metrics()["put_count"] == backend.get_metrics()["last_flush_time"] == 0
    await backend.put({"n": 1})
    await backend.put_batch([{"n": 2}, {"n": 3}])
    for _ in range(4):
        await backend.get(2, 0)
    await backend.flush()
    await backend.compact()
    metrics = backend.get_metrics()
    assert metrics == (await backend.stats())["metrics"]
    assert metrics["put_count"] == 3
    assert metrics["get_count"] == 4
    assert metrics["records_read"] == 8
    assert metrics["flush_count"] == 1
    assert metrics["bytes_written"] > 0
    assert started - 1 <= metrics["last_flush_time"] <= time.time() + 1
    assert metrics["flush_seconds"] > 0


async def test_metrics_may_be_off(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path
) -> None:
    backend = opening(backend_class, bucket, enable_metrics=False)
    await backend.put({"n": 1})
    assert backend.get_metrics() == {}
    stats = await backend.stats()
    assert "metrics" not in stats
    assert stats.keys() >= KEYS
    assert str(bucket.parent) not in functions.metrics_text()


async def test_metrics_are_exported_while_the_bucket_is_open(backend: LanceBackend) -> None:
    await backend.put_batch(numbered(0, 12))
    topic, name = os.path.split(backend.storage_path)
    text = functions.metrics_text()
    labels = f'bucket="{name}",operation="put",topic="{topic}"'
    assert f"persisting_records_total{{{labels}}} 12\n" in text
    labels = f'bucket="{name}",topic="{topic}"'
    assert f"persisting_buffer_size{{{labels}}} 12\n" in text
    await backend.aclose()
    assert topic not in functions.metrics_text()


async def test_replay_is_counted(opening: Opener, bucket: Path) -> None:
    backend = opening(PersistingBackend, bucket)
    await backend.put_batch(numbered(0, 5))
    await backend.aclose()
    backend = opening(PersistingBackend, bucket)
    assert backend.get_metrics()["replayed_records"] == 0, "a close flushes"
