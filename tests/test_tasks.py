"""Many tasks on one event loop, which never stands still."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from persisting import LanceBackend, PersistingBackend
from tests.support import command, run, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support import Opener

MODES: list[Any] = [
    pytest.param(LanceBackend, {}, id="lance"),
    pytest.param(PersistingBackend, {"wal_sync_interval": 0}, id="synced"),
    pytest.param(PersistingBackend, {"wal_sync_interval": 1.0}, id="written"),
]


async def turns(count: int = 20) -> None:
    """Let the other tasks go on until they wait for something."""
    for _ in range(count):
        await asyncio.sleep(0)


async def stream(backend: LanceBackend, *arguments: Any) -> list[int]:
    return [r["n"] async for records in backend.get_stream(*arguments) for r in records]


# ---- readers that wait ----


@pytest.mark.parametrize(("cls", "options"), MODES)
async def test_a_put_wakes_who_waits_for_it(
    opening: Opener, cls: type[LanceBackend], options: dict[str, Any], bucket: Path
) -> None:
    """Without a timeout nothing but the put itself can end the wait."""
    backend = opening(cls, bucket, **options)
    readers = [asyncio.create_task(stream(backend, 5, 2, True)) for _ in range(10)]
    async with within(20):
        for i in range(7):
            await turns()
            assert not any(reader.done() for reader in readers)
            await backend.put({"n": i})
        assert await asyncio.gather(*readers) == [[2, 3, 4, 5, 6]] * 10


async def test_a_reader_gets_each_record_as_it_comes(backend: LanceBackend) -> None:
    async with within(20):
        records = backend.get_stream(6, 0, True)
        for i in range(3):
            waiting = asyncio.ensure_future(anext(records))
            await turns()
            assert not waiting.done()
            await backend.put_batch([{"n": 2 * i}, {"n": 2 * i + 1}])
            assert await waiting == [{"n": 2 * i}, {"n": 2 * i + 1}]
        with pytest.raises(StopAsyncIteration):
            await anext(records)


async def test_a_wait_ends_with_its_timeout(backend: LanceBackend) -> None:
    await backend.put({"n": 0})
    started = time.monotonic()
    assert await stream(backend, 10, 0, True, 0.1) == [0]
    assert await stream(backend, 10, 1, True, 0.1) == []
    assert 0.15 < time.monotonic() - started < 10
    assert await stream(backend, 10, 1, False, 60) == []


async def test_each_record_starts_the_timeout_anew(backend: LanceBackend) -> None:
    reader = asyncio.create_task(stream(backend, 10, 0, True, 1.0))
    for i in range(3):
        await asyncio.sleep(0.4)  # the passing of time is what is tested
        await backend.put({"n": i})
    assert await reader == [0, 1, 2]


async def test_a_timeout_of_nothing_is_none(backend: LanceBackend) -> None:
    """As in MemoryBackend, 0 waits without limit."""
    reader = asyncio.create_task(stream(backend, 1, 0, True, 0))
    await turns()
    await backend.put({"n": 0})
    async with within(20):
        assert await reader == [0]


async def test_a_reader_that_is_cancelled_leaves_nothing(backend: LanceBackend) -> None:
    readers = [asyncio.create_task(stream(backend, 1, 0, True)) for _ in range(20)]
    await turns()
    for reader in readers[::2]:
        reader.cancel()
    await turns()
    await backend.put({"n": 0})
    found = await asyncio.gather(*readers, return_exceptions=True)
    assert all(isinstance(f, asyncio.CancelledError) for f in found[::2])
    assert found[1::2] == [[0]] * 10
    assert backend._readers == []


# ---- puts that share ----


async def test_puts_that_wait_share_a_sync(opening: Opener, bucket: Path) -> None:
    backend = opening(PersistingBackend, bucket, wal_sync_interval=0)
    count = 600
    await asyncio.gather(*(backend.put({"n": i}) for i in range(count)))
    syncs = backend.get_metrics()["wal_sync_count"]
    assert 1 <= syncs < count / 10
    assert [r["n"] for r in await backend.get(count, 0)] == [*range(count)]


async def test_a_put_alone_is_synced(opening: Opener, bucket: Path) -> None:
    backend = opening(PersistingBackend, bucket, wal_sync_interval=0)
    for i in range(20):
        await backend.put({"n": i})
        assert backend.get_metrics()["wal_sync_count"] >= i + 1


async def test_puts_need_no_sync_when_an_interval_is_given(opening: Opener, bucket: Path) -> None:
    backend = opening(PersistingBackend, bucket, wal_sync_interval=3600)
    for i in range(20):
        await backend.put({"n": i})
    assert backend.get_metrics()["wal_sync_count"] == 0


async def test_the_log_is_synced_within_its_interval(opening: Opener, bucket: Path) -> None:
    backend = opening(PersistingBackend, bucket, wal_sync_interval=0.05)
    await backend.put({"n": 0})
    async with within(20):
        while not backend.get_metrics()["wal_sync_count"]:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(("cls", "options"), MODES)
async def test_each_task_finds_its_own_puts_in_order(
    opening: Opener, cls: type[LanceBackend], options: dict[str, Any], bucket: Path
) -> None:
    """Also with batches, Arrow data and changes of the columns between them."""
    backend = opening(cls, bucket, **options, flush_threshold=50, compaction_threshold=3)

    async def produce(task: int) -> None:
        for i in range(40):
            record = {"task": task, "n": i, f"key {task} {i // 10}": str(i)}
            if i % 7 == 3:
                await backend.put_arrow(pa.table({"task": [task], "n": [i]}))
            elif i % 5 == 2:
                await backend.put_batch([record])
            else:
                await backend.put(record)

    await asyncio.gather(*map(produce, range(8)), backend.flush(), backend.compact())
    found = [(r["task"], r["n"]) for r in await backend.get(10**6, 0)]
    assert len(found) == 8 * 40
    for task in range(8):
        assert [n for t, n in found if t == task] == [*range(40)]


# ---- cancellation ----


@pytest.mark.parametrize(("cls", "options"), MODES)
async def test_a_put_that_is_cancelled_is_stored_wholly_or_not(
    opening: Opener, cls: type[LanceBackend], options: dict[str, Any], bucket: Path
) -> None:
    backend = opening(cls, bucket, **options)
    chance, cancelled = random.Random(7), 0
    for start in range(0, 3000, 100):
        puts = [
            asyncio.create_task(backend.put_batch([{"n": start + i, "part": p} for p in range(3)]))
            for i in range(100)
        ]
        await turns(chance.randrange(8))
        for put in puts:
            if chance.random() < 0.3:
                put.cancel()
        ends = await asyncio.gather(*puts, return_exceptions=True)
        lost = {start + i for i, end in enumerate(ends) if isinstance(end, asyncio.CancelledError)}
        cancelled += len(lost)
        found = [r for r in await backend.get(10**6, 0) if start <= r["n"] < start + 100]
        numbers = [r["n"] for r in found[::3]]
        assert found == [{"n": n, "part": p} for n in numbers for p in range(3)]
        assert numbers == sorted(set(numbers))
        assert {*range(start, start + 100)} - {*numbers} <= lost
    assert cancelled > 50
    await backend.put({"n": -1})
    before = await backend.get(10**6, 0)
    await backend.aclose()
    again = opening(cls, bucket, **options)
    assert await again.get(10**6, 0) == before


async def test_a_flush_that_is_cancelled_goes_on(backend: LanceBackend) -> None:
    await backend.put_batch([{"n": i} for i in range(1000)])
    flush = asyncio.create_task(backend.flush())
    await turns(3)
    flush.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flush
    await backend.flush()
    assert (await backend.stats())["persisted_count"] == 1000
    assert [r["n"] for r in await backend.get(9999, 0)] == [*range(1000)]


# ---- the event loop ----


async def longest_pause(work: Awaitable[Any]) -> tuple[float, float]:
    """Return the longest time between two turns of the loop, and that of all the work."""
    loop = asyncio.get_running_loop()
    started = last = loop.time()
    longest = 0.0
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.sleep(0.001)
        now = loop.time()
        longest, last = max(longest, now - last), now
    await task
    return longest, loop.time() - started


def wide(megabytes: int) -> pa.Table:
    rows = megabytes * 2**20 // 32
    noise = np.random.default_rng(3)
    return pa.table({f"c{i}": noise.random(rows) for i in range(4)})


DATA = wide(96)


async def put_and_flush(backend: LanceBackend) -> None:
    await backend.put_arrow(DATA)
    await backend.flush()


async def read_the_table(backend: LanceBackend) -> None:
    assert (await backend.get_arrow()).num_rows >= DATA.num_rows


async def merge(backend: LanceBackend) -> None:
    await backend.compact()


async def test_the_loop_goes_on_while_the_disk_works(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path
) -> None:
    """A call that blocks would make the longest pause as long as the work."""
    steps: tuple[Callable[[LanceBackend], Awaitable[None]], ...] = (
        put_and_flush,
        put_and_flush,
        read_the_table,
        merge,
        read_the_table,
    )
    backend = opening(backend_class, bucket, cache_bytes=0)
    for step in steps:
        pause, took = await longest_pause(step(backend))
        assert pause < max(0.1, took / 2), (step.__name__, pause, took)


async def test_the_loop_goes_on_while_a_full_log_holds_puts_back(
    opening: Opener, bucket: Path
) -> None:
    most = 2**20
    backend = opening(PersistingBackend, bucket, max_wal_size=most)
    noise = np.random.default_rng(5).bytes(100_000)
    sizes: list[int] = []

    async def put(first: int) -> None:
        for i in range(first, first + 25):
            await backend.put({"n": i, "noise": noise})
            sizes.append((await backend.stats())["wal_bytes"])

    async def work() -> None:
        await asyncio.gather(*(put(25 * task) for task in range(8)))

    pause, took = await longest_pause(work())
    assert pause < max(0.1, took / 2), (pause, took)
    assert max(sizes) <= 3 * most, "twice as much, and a segment"
    stats = await backend.stats()
    assert stats["metrics"]["backpressure_count"] > 0
    found = await backend.get(1000, 0)
    assert sorted(r["n"] for r in found) == [*range(200)]
    assert all(r["noise"] == noise for r in found)


async def test_a_second_loop_may_go_on_where_the_first_ended(
    backend_class: type[LanceBackend], bucket: Path
) -> None:
    def programme() -> list[int]:
        backend = backend_class(0, bucket)

        async def put(first: int) -> None:
            await asyncio.gather(*(backend.put({"n": first + i}) for i in range(20)))

        async def read() -> list[int]:
            return [r["n"] for r in await backend.get(999, 0)]

        try:
            for i in range(3):
                asyncio.run(put(20 * i))
            return asyncio.run(read())
        finally:
            backend.close()

    assert await asyncio.to_thread(programme) == [*range(60)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_restless_lives_end(tmp_path: Path, seed: int) -> None:
    """Many loops and tasks, small limits, pauses at every meeting of Python and the engine."""
    env = {"GOTRACEBACK": "all", "GOMAXPROCS": str(1 + seed)}
    done = run(command("restless", tmp_path, seed, 60), timeout=600, env=env)
    assert done.returncode == 0, done.stderr[-100_000:]
    assert " lives, " in done.stdout
