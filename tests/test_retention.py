"""Retention through the backends: bounds, readers, and processes that are killed."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from persisting import LanceBackend, PersistingBackend
from persisting._errors import InvalidArgumentError, RemovedError
from tests.support import QUIET, ROOT, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Opener

backends = pytest.mark.parametrize("cls", [LanceBackend, PersistingBackend])


def records(first: int, end: int) -> list[dict[str, Any]]:
    return [{"n": n, "text": f"record {n}" * 10} for n in range(first, end)]


@backends
async def test_compact_keeps_the_newest_records(
    opening: Opener, tmp_path: Path, cls: type[LanceBackend]
) -> None:
    bucket = opening(cls, tmp_path / "bucket", retention_rows=5, **QUIET)
    await bucket.put_batch(records(0, 12))
    await bucket.commit("reader", 3)
    await bucket.compact()
    assert await bucket.get(100, bucket.first_offset()) == records(7, 12)
    with pytest.raises(RemovedError) as caught:
        await bucket.get(1, 3)
    assert caught.value.first == 7
    assert await bucket.committed("reader") == 3
    stats = await bucket.stats()
    assert stats["retention"]["removed_records"] == stats["metrics"]["retention_records"] == 7
    assert stats["retention"]["removed_bytes"] > 0
    assert (stats["total_count"], stats["row_count"], stats["first_offset"]) == (12, 5, 7)


@backends
@pytest.mark.parametrize("option", ["retention_rows", "retention_bytes", "retention_age"])
def test_bounds_that_make_no_sense(
    opening: Opener, tmp_path: Path, cls: type[LanceBackend], option: str
) -> None:
    wrong: list[Any] = [0, -1, "1", True, float("nan")]
    for value in wrong:
        with pytest.raises(InvalidArgumentError, match=f"{option}: want a .* null to keep all"):
            cls(0, tmp_path / "bucket", 100, None, **{option: value})
    unbound: Any = {option: None}
    opening(cls, tmp_path / "bucket", **unbound)


async def test_old_records_go_by_themselves(opening: Opener, tmp_path: Path) -> None:
    path = tmp_path / "bucket"
    bucket = opening(PersistingBackend, path, retention_age=0.5, flush_interval=0.05)
    await bucket.put_batch(records(0, 1000))
    began = time.monotonic()
    while bucket.first_offset() < 1000:
        await asyncio.sleep(0.01)
        assert time.monotonic() < began + 20
    assert time.monotonic() > began + 0.5
    await bucket.put_batch(records(1000, 1010))
    assert await bucket.get(100, 1000) == records(1000, 1010)
    assert eventually(lambda: len([*path.glob("data.lance/data/*")]) <= 1)


async def test_a_reader_goes_on_behind_what_was_removed(opening: Opener, tmp_path: Path) -> None:
    bound = 2000
    bucket = opening(
        PersistingBackend,
        tmp_path / "bucket",
        retention_rows=bound,
        cache_bytes=0,
        flush_interval=0.02,
    )
    done = asyncio.Event()

    async def write() -> None:
        for first in range(0, 60_000, 500):
            await bucket.put_batch(records(first, first + 500))
            await asyncio.sleep(0.005)
        done.set()

    async def read() -> tuple[int, int]:
        offset, found, skipped = 0, 0, 0
        while not done.is_set() or offset < bucket.total_count():
            try:
                async for batch in bucket.get_stream(10**6, offset):
                    assert [r["n"] for r in batch] == [*range(offset, offset + len(batch))]
                    offset += len(batch)
                    found += len(batch)
                    await asyncio.sleep(0.01)  # slower than the writer
            except RemovedError as removed:
                first = removed.first or 0
                skipped += first - offset
                offset = first
            await asyncio.sleep(0)
        return found, skipped

    _, (found, skipped) = await asyncio.gather(write(), read())
    assert found + skipped == 60_000
    assert found >= bound
    assert skipped > 0


WRITER = """
import asyncio, sys
from persisting import PersistingBackend
from tests.test_retention import records

async def main():
    bucket = PersistingBackend(
        0, sys.argv[1], retention_rows=300, flush_threshold=100, compaction_threshold=4
    )
    first = bucket.total_count()
    while True:
        await bucket.put_batch(records(first, first + 20))
        first += 20
        print(first, flush=True)

asyncio.run(main())
"""


async def test_killed_writers_keep_at_least_the_bound(tmp_path: Path) -> None:
    """Each is killed at another moment of flushes, removals and compactions."""
    path, total = tmp_path / "bucket", 0
    for lines in itertools.islice(itertools.count(40, 37), 12):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _, line in zip(range(lines), writer.stdout, strict=False):
                total = int(line)
            writer.kill()
        async with PersistingBackend(0, path, **QUIET) as bucket:  # keeps what it finds
            end, first = bucket.total_count(), bucket.first_offset()
            assert end >= total
            assert end - first >= min(end, 300)
            left = await bucket.get(10**6, first)
            assert left == records(first, end)
            total = end
    async with PersistingBackend(0, path, retention_rows=300, **QUIET) as bucket:
        await bucket.compact()
        assert bucket.first_offset() == total - 300
