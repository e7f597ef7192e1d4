"""Records out of memory, out of pages that were read before, and out of the table."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting import LanceBackend, PersistingBackend
from persisting._errors import RemovedError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Opener

ROWS = 20_000

PLAIN: list[dict[str, Any]] = [
    {
        "step": i,
        "text": f"step {i}" if i % 3 else "",
        "done": i % 7 == 0,
        "tokens": [*range(i % 5)],
        "names": [f"n{i}", None] if i % 2 else ["", "long " * i],
        "flags": [True, False, i % 2 == 0],
        "bytes": b"\x00" * (i % 4),
        **({"reward": i / 3} if i % 11 else {}),
    }
    for i in range(1, 400)
]

OTHERS: list[dict[str, Any]] = [
    {
        "step": i,
        "at": datetime(2026, 1, 1, 0, 0, i % 60, tzinfo=timezone.utc),
        "nested": {"a": [i, {"b": None}]},
        "none": None if i % 2 else i,
        "array": np.arange(i % 6, dtype="float32"),
    }
    for i in range(1, 400)
]


def equal(got: dict[str, Any], put: dict[str, Any]) -> bool:
    if got.keys() != put.keys():
        return False
    return all(
        type(got[key]) is type(value)
        and (np.array_equal(got[key], value) if key == "array" else got[key] == value)
        for key, value in put.items()
    )


@pytest.mark.parametrize("records", [PLAIN, OTHERS], ids=["plain", "others"])
async def test_single_records_come_back_from_everywhere(
    opening: Opener, bucket: Path, records: list[dict[str, Any]]
) -> None:
    backend = opening(PersistingBackend, bucket)
    await backend.put_batch(records[:200])
    for record in records[200:]:
        await backend.put(record)
    offsets = range(len(records))
    for place in ("memory", "after a flush", "table", "pages"):
        if place == "after a flush":
            await backend.flush()
        if place == "table":
            await backend.aclose()
            backend = opening(PersistingBackend, bucket)
        for offset in offsets:
            (got,) = await backend.get(1, offset)
            assert equal(got, records[offset]), place
        for offset in (0, 1, 100, 398):
            several = await backend.get(70, offset)
            assert [*map(equal, several, records[offset : offset + 70])] == [True] * len(several)
            assert len(several) == min(70, len(records) - offset), place


@pytest.fixture
async def stored(opening: Opener, bucket: Path, backend_class: type[LanceBackend]) -> LanceBackend:
    """A backend that was opened when its rows were in the table."""
    backend = opening(backend_class, bucket)
    await backend.put_batch([{"n": n} for n in range(ROWS)])
    await backend.aclose()
    return opening(backend_class, bucket)


@pytest.mark.parametrize("batch_size", [1, 100, 1000, 7000])
async def test_a_stream_that_reads_ahead_yields_full_lists(
    stored: LanceBackend, batch_size: int
) -> None:
    stored.batch_size = batch_size
    stored._prefetch = type(stored._prefetch)(batch_size)
    limit = ROWS - 5
    lists = [records async for records in stored.get_stream(limit, 3)]
    assert [*chain.from_iterable(lists)] == [{"n": n} for n in range(3, 3 + limit)]
    assert {len(records) for records in lists[:-1]} <= {batch_size}


async def test_streams_that_are_left_leave_nothing(stored: LanceBackend) -> None:
    streams = [stored.get_stream(ROWS, 0) for _ in range(4)]
    for stream in streams:
        assert (await anext(stream))[0] == {"n": 0}
        assert (await anext(stream))[0] == {"n": 100}
    for stream in streams[:2]:
        await stream.aclose()  # type: ignore[attr-defined]
    await stored.aclose()
    for stream in streams[2:]:
        await stream.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(0)


async def test_a_stream_ends_at_rows_that_are_removed_meanwhile(stored: LanceBackend) -> None:
    seen = 0

    async def consume() -> None:
        nonlocal seen
        async for records in stored.get_stream(ROWS, 0):
            if not seen:
                await stored.delete("n >= 12000 and n < 13000")
            assert records[0] == {"n": seen}
            seen += len(records)

    with pytest.raises(RemovedError) as removed:
        await consume()
    assert seen == 12_000
    assert removed.value.first == 13_000
