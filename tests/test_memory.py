"""The memory that buckets share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import persisting
from persisting import LanceBackend, PersistingBackend
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.mark.parametrize("size", [0, -1, 16 * MIB - 1, 2**63, 1.5, True, None])
def test_a_bad_budget_is_refused(size: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="memory budget"):
        persisting.set_memory_budget(size)


@pytest.mark.parametrize("backend", [LanceBackend, PersistingBackend])
async def test_buckets_keep_to_the_budget_and_lose_nothing(
    tmp_path: Path, backend: type[LanceBackend]
) -> None:
    """Four buckets of 24 MiB each, none of which would flush by itself, in 16 MiB."""
    persisting.set_memory_budget(16 * MIB)
    try:
        buckets = [
            backend(i, str(tmp_path / str(i)), flush_interval=0, flush_bytes=1 << 30)
            for i in range(4)
        ]
        most = 0

        async def put(number: int) -> None:
            nonlocal most
            for i in range(96):
                await buckets[number].put({"i": i, "data": bytes([number, i]) * (128 << 10)})
                used = [await bucket.stats() for bucket in buckets]
                most = max(most, sum(s["memory_bytes"] for s in used))

        await asyncio.gather(*map(put, range(4)))
        assert most < 24 * MIB
        for number, bucket in enumerate(buckets):
            records = await bucket.get(1, 17)
            assert records == [{"i": 17, "data": bytes([number, 17]) * (128 << 10)}]
            assert bucket.total_count() == 96
            await bucket.aclose()
    finally:
        persisting.set_memory_budget(1 << 30)
