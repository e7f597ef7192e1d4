"""Reading a bucket that another process has open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

import persisting
from persisting import ClosedError, LanceBackend, PersistingBackend
from persisting._engine.bucket import Bucket
from persisting._errors import (
    CorruptError,
    NotFoundError,
    PersistingError,
    PoisonedError,
    ReadOnlyError,
    RemovedError,
)
from tests.programs.owner import record
from tests.support import QUIET, ROOT, command, within
from tests.test_cli import files
from tests.test_old_buckets import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from persisting.queue._readonly import ReadOnlyBucket
    from tests.support import Opener


class Owner:
    """A process that has a bucket open; `acknowledged` is what it has told so far."""

    def __init__(self, path: Path, **options: Any) -> None:
        self._argv = command("owner", path, json.dumps(options))
        self.acknowledged = 0
        self.start()

    def start(self) -> None:
        """Begin."""
        self._process = subprocess.Popen(
            self._argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, word: str, *numbers: int) -> None:
        """Have something done, without waiting for it."""
        assert self._process.stdin is not None
        print(word, *numbers, file=self._process.stdin, flush=True)

    def wait(self) -> int:
        """Wait until it is done; return the number of records."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, *done = line.split()
            self.acknowledged = int(number)
            if done:
                return self.acknowledged
        raise AssertionError(f"the owner ended with {self._process.wait()}")

    def do(self, word: str, *numbers: int) -> int:
        """Have something done."""
        self.ask(word, *numbers)
        return self.wait()

    def kill(self) -> None:
        """End it as a crash does, and count what it has told until then."""
        self._process.kill()
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.acknowledged = int(line.split()[0])
        self._leave()

    def close(self) -> None:
        """Have it close the bucket."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(60) == 0
        self._leave()

    def _leave(self) -> None:
        self._process.wait(60)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


async def numbers(bucket: ReadOnlyBucket) -> list[int]:
    """Return the numbers of all records that are left."""
    return (await bucket.get_arrow()).column("n").to_pylist()  # type: ignore[no-any-return]


async def check(bucket: ReadOnlyBucket, kept: list[int], total: int) -> None:
    """Check all ways to read a bucket of which the given records are left."""
    assert bucket.total_count() == total
    assert await bucket.count() == len(kept)
    if not kept:
        return
    assert await numbers(bucket) == kept
    assert (await bucket.get(1, kept[-1]))[0]["n"] == kept[-1]
    assert [r["n"] for r in await bucket.get_by_indices(kept[::-7])] == kept[::-7]
    assert bucket.first_offset() == kept[0]
    middle = kept[len(kept) // 2]
    found = await bucket.query(f"n >= {middle}", order_by=("n", "desc"), limit=5, with_offset=True)
    assert found.column("n").to_pylist() == kept[:-6:-1][: len(kept) - len(kept) // 2]
    assert found.column("_offset").to_pylist() == found.column("n").to_pylist()


@pytest.mark.parametrize("interval", [1.0, 0.0])
async def test_a_reader_sees_every_acknowledged_record(tmp_path: Path, interval: float) -> None:
    path = tmp_path / "bucket"
    owner = Owner(path, **QUIET, wal_sync_interval=interval)
    chance = random.Random(interval)
    kept: list[int] = []
    total = owner.do("batch", 1)
    kept.append(0)
    with persisting.open_readonly(path) as bucket:
        for step in range(80):
            word = chance.choice(
                ["put"] * 4
                + ["batch"] * 3
                + ["flush", "compact", "key", "column", "truncate"]
                + ["delete", "kill", "close"]
            )
            if word in ("put", "batch"):
                before, total = total, owner.do(word, chance.randint(1, 30))
                kept += range(before, total)
            elif word == "column":
                owner.do(word, step)
            elif word == "truncate":
                owner.do(word, total // 2)
                kept = [n for n in kept if n >= total // 2]
            elif word == "delete":
                gone = chance.randrange(total)
                owner.do(word, gone)
                kept = [n for n in kept if n != gone]
            elif word in ("kill", "close"):
                getattr(owner, word)()
                await check(bucket, kept, total)
                owner.start()
            else:
                owner.do(word)
            await check(bucket, kept, total)
            if step % 10 == 0:
                with persisting.open_readonly(path) as fresh:
                    await check(fresh, kept, total)
    owner.close()


async def test_a_reader_beside_a_busy_owner(tmp_path: Path) -> None:
    """What was acknowledged when a read began is in it once, in order."""
    path = tmp_path / "bucket"
    owner = Owner(
        path, flush_threshold=200, flush_interval=0.05, compaction_threshold=4, max_wal_size=1 << 20
    )
    owner.do("batch", 1)
    for life in range(3):
        owner.ask("put", 6000)
        waiter = threading.Thread(target=owner.wait)
        waiter.start()
        with persisting.open_readonly(path) as bucket:
            looks = 0
            while waiter.is_alive():
                before = owner.acknowledged
                found = await numbers(bucket)
                assert found == [*range(len(found))]
                assert len(found) >= before
                before = owner.acknowledged
                assert await bucket.count("n >= 0") >= before
                looks += 1
            assert looks > 3
        waiter.join()
        if life == 1:
            owner.kill()
            with persisting.open_readonly(path) as bucket:
                assert bucket.total_count() == owner.acknowledged
            owner.start()
    owner.close()


async def test_a_stream_waits_for_another_process(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "bucket", **QUIET)
    owner.do("batch", 5)
    seen: list[int] = []
    async with persisting.open_readonly(tmp_path / "bucket", batch_size=2) as bucket, within(60):

        async def follow() -> None:
            async for records in bucket.get_stream(25, 2, wait=True):
                assert 0 < len(records) <= 2
                seen.extend(r["n"] for r in records)

        following = asyncio.ensure_future(follow())
        while len(seen) < 3:
            await asyncio.sleep(0.01)
        owner.do("put", 10)
        owner.do("flush")
        owner.do("batch", 50)
        await following
        assert seen == [*range(2, 27)]
        began = time.monotonic()
        assert [r async for r in bucket.get_stream(9, 65, wait=True, timeout=0.2)] == []
        assert 0.15 < time.monotonic() - began < 5
        assert [r async for r in bucket.get_stream(9, -1)] == [[record(64, 0)]]
    owner.close()


@pytest.fixture
def reading() -> Iterator[Callable[[Path], ReadOnlyBucket]]:
    """Open a bucket for reading, which is closed at the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda path: stack.enter_context(persisting.open_readonly(path))


async def test_what_a_reader_can_do(
    opening: Opener, tmp_path: Path, reading: Callable[[Path], ReadOnlyBucket]
) -> None:
    path = tmp_path / "bucket"
    owner = opening(PersistingBackend, path, **QUIET)
    await owner.put_batch([record(n, 0) for n in range(20)])
    version = await owner.snapshot("then")
    await owner.create_index("n")
    await owner.commit("me", 3)
    await owner.delete("n < 2")
    await owner.put({"n": 20, "more": 1.5})
    before = files(path)
    bucket = reading(path)
    assert bucket.schema == owner.schema
    assert await bucket.get(2, 19) == [record(19, 0), {"n": 20, "more": 1.5}]
    with pytest.raises(RemovedError) as removed:
        await bucket.get(2, 0)
    assert removed.value.first == 2
    with pytest.raises(NotFoundError, match="21"):
        await bucket.get_by_indices([21])
    assert (await bucket.get_arrow(3, with_offsets=True)).column("_offset").to_pylist() == [2]
    assert "ScalarIndexQuery" in await bucket.explain("n = 7")
    assert [i["name"] for i in await bucket.list_indexes()] == ["n_idx"]
    assert await bucket.committed("me") == 3
    assert [v.tags for v in await bucket.list_versions() if v.version == version] == [("then",)]
    with await bucket.at(tag="then") as then:
        assert await then.get(1, 0) == [record(0, 0)]
    told = await bucket.stats()
    assert (told["total_count"], told["row_count"], told["wal_enabled"]) == (21, 19, True)
    assert f"process {os.getpid()}" in told["in_use_by"]
    for name in ("put", "put_batch", "put_arrow", "flush", "delete", "add_column", "tag"):
        with pytest.raises(AttributeError, match=f"{name}: .* is open for reading only"):
            getattr(bucket, name)
    with pytest.raises(AttributeError, match="has no puts"):
        _ = bucket.puts
    assert files(path) == before
    bucket.close()
    bucket.close()
    for call in (bucket.get(1, 0), bucket.count(), bucket.get_arrow()):
        with pytest.raises(ClosedError):
            await call
    with pytest.raises(ClosedError):
        bucket.total_count()


def test_the_engine_refuses_writes(opening: Opener, tmp_path: Path) -> None:
    opening(PersistingBackend, tmp_path / "bucket", **QUIET)
    with Bucket(tmp_path / "bucket", None) as bucket:
        batch = pa.record_batch({"n": [1]})
        for write in (
            lambda: bucket.append(batch),
            bucket.flush,
            bucket.compact,
            lambda: bucket.delete("n = 1"),
            lambda: bucket.commit("me", 0),
            lambda: bucket.add_columns(batch.schema),
        ):
            with pytest.raises(ReadOnlyError, match="opened for reading only"):
                write()


async def test_without_a_log_what_is_flushed_is_seen(opening: Opener, tmp_path: Path) -> None:
    owner = opening(LanceBackend, tmp_path / "bucket", **QUIET)
    await owner.put_batch([record(n, 0) for n in range(3)])
    with persisting.open_readonly(tmp_path / "bucket") as bucket:
        assert bucket.total_count() == 0
        await owner.flush()
        assert await numbers(bucket) == [0, 1, 2]
        assert not (await bucket.stats())["wal_enabled"]


async def test_an_open_stream_outlives_compactions(opening: Opener, tmp_path: Path) -> None:
    owner = opening(PersistingBackend, tmp_path / "bucket", **QUIET)
    for first in range(0, 20_000, 2_000):
        await owner.put_batch([record(n, 0) for n in range(first, first + 2_000)])
        await owner.flush()
    with persisting.open_readonly(tmp_path / "bucket") as bucket:
        answer = bucket.query_batches("n >= 0")
        found = (await anext(answer)).column("n").to_pylist()
        stream = bucket.get_stream(20_000, 0)
        streamed = [r["n"] for r in await anext(stream)]
        await owner.compact()
        async for batch in answer:
            found += batch.column("n").to_pylist()
        async for records in stream:
            streamed += [r["n"] for r in records]
    assert found == streamed == [*range(20_000)]


OLD = ["whole", "crashed", "ringed", "compressed", "unlogged", "damaged"]


async def outcome(bucket: ReadOnlyBucket | LanceBackend) -> tuple[int, Any]:
    """Return the number of records, and the records or the class of what is raised."""
    try:
        return bucket.total_count(), await bucket.get_arrow(with_offsets=True)
    except PersistingError as error:
        return bucket.total_count(), type(error)


@pytest.mark.parametrize("name", OLD)
async def test_buckets_of_old(tmp_path: Path, name: str) -> None:
    """A reader sees what the next one who opens it to write will."""
    path = unpacked(tmp_path, name)
    before = files(path)
    with persisting.open_readonly(path) as bucket:
        found = await outcome(bucket)
        consumers = await bucket.consumers()
    assert files(path) == before
    async with PersistingBackend(0, path, **QUIET) as owner:
        assert await outcome(owner) == found
        assert await owner.consumers() == consumers


def test_what_is_no_bucket(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=str(tmp_path)):
        persisting.open_readonly(tmp_path)
    with pytest.raises(NotFoundError):
        persisting.open_readonly(tmp_path / "nowhere")
    assert not [*tmp_path.iterdir()]


async def test_damage_and_other_buckets(opening: Opener, tmp_path: Path) -> None:
    path = tmp_path / "bucket"
    async with PersistingBackend(0, path, **QUIET) as owner:
        for n in range(3):
            await owner.put(record(n, 0))
            await owner.flush()
    with persisting.open_readonly(path) as bucket:
        (path / "bucket.json").rename(tmp_path / "bucket.json")
        with pytest.raises(CorruptError, match=r"bucket\.json"):
            persisting.open_readonly(path)
        path.rename(tmp_path / "moved")
        opening(PersistingBackend, path, **QUIET)
        with pytest.raises(PoisonedError):
            await bucket.get(1, 0)


def test_a_waiter_takes_little_of_a_processor(tmp_path: Path) -> None:
    """One that waits for a second looks some fifteen times."""

    async def waiting() -> float:
        async with PersistingBackend(0, tmp_path / "bucket", **QUIET) as owner:
            await owner.put(record(0, 0))
        with persisting.open_readonly(tmp_path / "bucket") as bucket:
            began = time.thread_time()
            assert [r async for r in bucket.get_stream(1, 1, wait=True, timeout=1)] == []
            return time.thread_time() - began

    assert asyncio.run(waiting()) < 0.1
