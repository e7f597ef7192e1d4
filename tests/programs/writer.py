"""Put numbered records until killed, and print what was tried and what was acknowledged.

usage: writer DIRECTORY WAL_SYNC_INTERVAL SEED

Prints `begin`, then `open N` with the number of records found, then `try A B` before the records
[A, B) are put in one call and `ack A B` after it returned.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

import pyarrow as pa

from persisting import PersistingBackend

OPTIONS: dict[str, Any] = {
    "flush_threshold": 40,
    "flush_interval": 0.03,
    "compaction_threshold": 3,
    "cache_bytes": 4096,
}


def record(number: int) -> dict[str, Any]:
    """Return the record with a number; its keys and types change as numbers grow."""
    made: dict[str, Any] = {"n": number, "text": f"record {number}", f"key {number // 97}": number}
    if number % 3 == 0:
        made["list"] = [*range(number % 7)]
    if number % 5 == 0:
        made["nested"] = {"number": number, "items": [number, str(number), None]}
    if number % 11 == 0:
        made["none"] = None
    step = number // 500  # each step has a column of its own that is promoted in its middle
    made[f"promoted {step}"] = number if number % 500 < 250 else number / 2
    return made


def tell(word: str, *numbers: int) -> None:
    print(word, *numbers, flush=True)


class Writer:
    """Puts records in all the ways there are."""

    def __init__(self, backend: PersistingBackend, seed: int) -> None:
        self.backend = backend
        self.chance = random.Random(seed)
        self.next = backend.total_count()

    def take(self, count: int) -> tuple[int, int]:
        first, self.next = self.next, self.next + count
        tell("try", first, self.next)
        return first, self.next

    async def single(self) -> None:
        first, end = self.take(1)
        await self.backend.put(record(first))
        tell("ack", first, end)

    async def batch(self) -> None:
        first, end = self.take(self.chance.randrange(1, 60))
        await self.backend.put_batch([record(i) for i in range(first, end)])
        tell("ack", first, end)

    async def at_once(self) -> None:
        await asyncio.gather(*(self.single() for _ in range(self.chance.randrange(2, 20))))

    async def arrow(self) -> None:
        first, end = self.take(self.chance.randrange(1, 30))
        await self.backend.put_arrow(pa.table({"n": [*range(first, end)]}))
        tell("ack", first, end)

    async def index(self) -> None:
        kind = self.chance.choice(["btree", "zonemap"])
        await self.backend.create_index("n", kind, name="found", replace=True)

    async def run(self) -> None:
        """Go on for ever."""
        ways = [self.single] * 4 + [self.batch, self.at_once] * 4 + [self.arrow]
        while True:
            await self.chance.choice(ways)()
            if self.chance.random() < 0.05:
                await self.chance.choice([self.backend.flush, self.backend.compact, self.index])()


async def main(directory: str, sync: float, seed: int) -> None:
    """Open the bucket and write until killed."""
    tell("begin")
    compression = ("none", "lz4", "zstd")[seed % 3]
    backend = PersistingBackend(
        0, directory, wal_sync_interval=sync, wal_compression=compression, **OPTIONS
    )
    tell("open", backend.total_count())
    await Writer(backend, seed).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
