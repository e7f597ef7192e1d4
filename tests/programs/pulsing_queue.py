"""Drive real Pulsing queues with our backends; runs under Pulsing 0.1.0 and 0.1.2.

usage: pulsing_queue MODULE DIRECTORY ROUND

MODULE has `register_backend`. A round finds what the rounds before it left.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from typing import Any

import pulsing

from persisting import LanceBackend, PersistingBackend

BUCKETS = 3
OPTIONS: dict[str, Any] = {"wal_sync_interval": 0, "flush_threshold": 64, "compression": "lz4"}


def message(number: int) -> dict[str, Any]:
    """Return a record such as agents send."""
    made: dict[str, Any] = {"id": str(number % 10), "n": number, "reward": number / 4}
    if number % 2:
        made["message"] = {"role": "user", "content": [{"text": f"hello {number}"}, None]}
    if number % 3:
        made["tokens"] = [*range(number % 5)]
    return made


class Queues:
    """The same queue with two backends: ours, and Pulsing's own for comparison."""

    def __init__(self, system: Any, directory: Path, name: str, options: dict[str, Any]) -> None:
        self.system = system
        self.kinds: dict[str, dict[str, Any]] = {
            "memory": {"topic": f"memory_{directory.name}_{name}", "backend": "memory"},
            name: {
                "topic": f"{directory.name}_{name}",
                "backend": name,
                "storage_path": str(directory / name),
                "backend_options": options,
            },
        }

    async def writers(self) -> list[Any]:
        return [
            await self.system.queue.write(**kind, num_buckets=BUCKETS, batch_size=100)
            for kind in self.kinds.values()
        ]

    async def readers(self, **which: Any) -> list[Any]:
        return [
            await self.system.queue.read(**kind, num_buckets=BUCKETS, **which)
            for kind in self.kinds.values()
        ]


async def scenario(system: Any, directory: Path, name: str, turn: int) -> None:
    """Put and get; what is found is what was put in this and in the earlier rounds."""
    queues = Queues(system, directory, name, OPTIONS if name == "persisting" else {})
    writers = await queues.writers()
    _, ours = await queues.readers()
    before = await ours.get(limit=10**6)
    assert sorted(r["n"] for r in before) == [*range(turn * 200)]
    assert all(record == message(record["n"]) for record in before)

    numbers = range(turn * 200, turn * 200 + 140)
    for writer in writers:
        await writer.put(message(numbers[0]))
        await writer.put([message(n) for n in numbers[1:50]])
        await writer.flush()
        await writer.put([message(n) for n in numbers[50:]])
    if turn == 0:
        await compare(queues)

    more = range(turn * 200 + 140, turn * 200 + 200)
    await asyncio.gather(*(writers[1].put(message(n)) for n in more))
    _, ours = await queues.readers()
    after = await ours.get(limit=10**6)
    assert sorted(r["n"] for r in after) == [*range(turn * 200 + 200)]
    assert all(record == message(record["n"]) for record in after)


async def compare(queues: Queues) -> None:
    """Read both queues in all ways; every answer must be the same."""
    for which in ({}, {"bucket_id": 1}, {"bucket_ids": [2, 0]}, {"rank": 1, "world_size": 2}):
        memory, ours = await queues.readers(**which)
        for limit in (1, 7, 60, 1000, 1000):
            assert await memory.get(limit=limit) == await ours.get(limit=limit), (which, limit)
        for reader in (memory, ours):
            reader.reset()
            reader.set_offset(5)
        assert await memory.get(limit=9) == await ours.get(limit=9), which


async def wait_for_records(system: Any, directory: Path, name: str) -> None:
    """See a reader woken by a put, and another whose time runs out."""
    queues = Queues(system, directory, name, {})
    writer = (await queues.writers())[1]
    number = next(n for n in range(100) if bucket_of(writer, n) == 0)
    reader = await system.queue.read(**queues.kinds[name], num_buckets=BUCKETS, bucket_id=0)
    assert await reader.get(limit=1, wait=True, timeout=0.05) == []
    waiting = asyncio.ensure_future(reader.get(limit=1, wait=True, timeout=60))
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    await writer.put({"id": str(number), "n": number})
    done, _ = await asyncio.wait({waiting}, timeout=20)
    assert done, "a put did not wake the reader"
    assert await waiting == [{"id": str(number), "n": number}]


def bucket_of(writer: Any, number: int) -> int:
    found: int = writer.queue.get_bucket_id(str(number))
    return found


async def look_at_stats(system: Any, directory: Path, name: str) -> None:
    """See the statistics of each bucket through the queue."""
    queues = Queues(system, directory, name, OPTIONS if name == "persisting" else {})
    _, writer = await queues.writers()
    for number in range(20):
        await writer.put(message(number))
    await writer.flush()
    stats = await writer.queue.stats()
    assert stats["num_buckets"] == BUCKETS
    for bucket, found in stats["buckets"].items():
        assert found["backend"] == name
        assert found["bucket_id"] == bucket
        assert found["storage_path"] == str(directory / name / f"bucket_{bucket}")
        assert found["persisted_count"] == found["total_count"] > 0
        assert found["metrics"]["put_count"] > 0
        assert (directory / name / f"bucket_{bucket}" / "data.lance").is_dir()


async def main(module: str, directory: Path, turn: int) -> None:
    """Run the scenario of one round with both of our backends."""
    streaming = importlib.import_module(module)
    streaming.register_backend("persisting", PersistingBackend)
    streaming.register_backend("lance", LanceBackend)
    system = await pulsing.actor_system()
    try:
        for name in ("persisting", "lance"):
            await scenario(system, directory / "rounds", name, turn)
            await wait_for_records(system, directory / f"waits_{turn}", name)
            await look_at_stats(system, directory / f"stats_{turn}", name)
    finally:
        await system.shutdown()
    print(f"round {turn} done")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
