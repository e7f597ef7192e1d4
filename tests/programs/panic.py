"""Make calls of the library panic and see what it answers afterwards.

No sound call panics, so the panic comes from an argument that contradicts itself: more
offsets than an address space holds.

usage: panic DIRECTORY
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
from pathlib import Path

import pytest

from persisting import PersistingBackend
from persisting._errors import InternalError, Status
from tests import header
from tests.abi import Exported, Outcome, World, library, rows

TOO_MANY = 2**62


def broken(found: Outcome) -> bool:
    """Say whether a call was refused for the panic, and says how to go on."""
    return (
        found.status == Status.INTERNAL
        and "panic" in found.message
        and "close it" in found.message
        and found.untouched
    )


def count(w: World, bucket: int) -> int:
    """Read a bucket to its end."""
    batches = w.drain(w.read(bucket=bucket))
    assert isinstance(batches, list), batches
    return sum(batch.num_rows for batch in batches)


def a_bucket(directory: Path) -> None:
    """A panic ends one bucket, up to its end; all else goes on."""
    w = World(directory)
    other = w.open(directory / "other")
    assert w.append(rows(), bucket=other) == Status.OK
    found = w.call("persisting_bucket_take", count=TOO_MANY)
    assert broken(found), found
    assert "halves.go" in found.message, "the message has no stack"
    bucket = w.bucket
    for name, function in header.functions().items():
        if function.name.endswith("_close"):
            continue
        of_bucket = any(p.name == "bucket" for p in function.parameters)
        batch = Exported() if name == "persisting_bucket_append" else None
        found = w.call(name, batch=batch, **({"flags": 0} if of_bucket else {}))
        if of_bucket:
            assert broken(found), (name, found)
            assert batch is None or batch.consumed
            assert w.call(name, error=None).status == Status.INTERNAL
        else:
            assert found.status != Status.INTERNAL, (name, found)
    assert w.append(rows(), bucket=other) == Status.OK
    assert w.call("persisting_bucket_flush", bucket=other).status == Status.OK
    assert count(w, other) == 2 * len(rows())
    assert library().persisting_bucket_close(bucket, None) == Status.INTERNAL
    assert w.call("persisting_bucket_close", bucket=bucket).status == Status.INVALID_HANDLE
    w.bucket = w.open(directory / "bucket")
    assert count(w, w.bucket) == len(rows())
    assert w.append(rows()) == Status.OK
    assert library().persisting_bucket_close(other, None) == Status.OK
    w.close()


def waiting(directory: Path) -> None:
    """One who waits for an acknowledgement is told."""
    w = World(directory)
    found: list[Outcome] = []
    waiter = threading.Thread(
        target=lambda: found.append(w.call("persisting_bucket_wait", rows=1000))
    )
    waiter.start()
    assert broken(w.call("persisting_bucket_take", count=TOO_MANY))
    waiter.join(20)
    assert not waiter.is_alive(), "a waiter hangs"
    assert found[0].status == Status.INTERNAL, found
    w.close()


async def tasks(directory: Path) -> None:
    """Puts of a broken backend fail, those of another go on, and it can be opened again."""
    hurt, other = (
        PersistingBackend(i, directory / f"backend {i}", wal_sync_interval=0) for i in (0, 1)
    )
    await hurt.put({"n": 0})

    async def put(backend: PersistingBackend, number: int) -> BaseException | None:
        try:
            await backend.put({"n": number})
        except InternalError as error:
            return error
        return None

    puts = [asyncio.create_task(put(hurt, i)) for i in range(1, 400)]
    await asyncio.sleep(0)
    outs = (ctypes.c_uint64(), ctypes.c_uint64())
    offset = ctypes.c_int64()
    number = hurt._bucket._number
    library().persisting_bucket_take(
        number, ctypes.byref(offset), TOO_MANY, 0, *map(ctypes.byref, outs), None
    )
    failed = await asyncio.wait_for(asyncio.gather(*puts, put(hurt, 400)), 20)
    assert isinstance(failed[-1], InternalError), failed[-1]
    assert await asyncio.gather(*(put(other, i) for i in range(100))) == [None] * 100
    with pytest.raises(InternalError, match="panic"):
        hurt.close()
    stored = sum(f is None for f in failed) + 1
    async with PersistingBackend(0, directory / "backend 0") as again:
        assert again.total_count() >= stored, (again.total_count(), stored)
        await again.put({"n": -1})
    other.close()


def main(directory: Path) -> None:
    a_bucket(directory / "a")
    waiting(directory / "b")
    asyncio.run(tasks(directory / "c"))
    print("survived")


main(Path(sys.argv[1]))
