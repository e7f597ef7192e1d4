"""Open buckets whose directories are removed and made anew by another process.

usage: disowned old|new DIRECTORY
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest

from persisting import PersistingBackend
from persisting._errors import PoisonedError


async def old(directory: Path) -> None:
    """Lose the directory, go on for a while, and end in several ways."""
    backends = {
        name: PersistingBackend(0, directory / name, flush_interval=flush)
        for name, flush in {"flushed": 0.2, "closed": 0, "collected": 0, "exited": 0}.items()
    }
    for backend in backends.values():
        await backend.put_batch([{"who": "old", "n": i} for i in range(7)])
    for name in backends:
        shutil.rmtree(directory / name)
    print("removed", flush=True)
    sys.stdin.readline()  # the new owner is there
    await asyncio.sleep(0.6)  # the timer flushes
    for call in ("flush", "compact"):
        with pytest.raises(PoisonedError, match="no longer the one that was opened"):
            await getattr(backends["flushed"], call)()
    assert await backends["flushed"].get(99, 0) == [{"who": "old", "n": i} for i in range(7)]
    with contextlib.suppress(PoisonedError):
        backends.pop("closed").close()
    del backends["collected"]
    print("done", flush=True)
    sys.stdin.readline()


async def new(directory: Path) -> None:
    """Put rows into new buckets and die."""
    for name in ("flushed", "closed", "collected", "exited"):
        backend = PersistingBackend(0, directory / name, flush_interval=0)
        await backend.put_batch([{"who": "new", "n": i} for i in range(3)])
    print("put", flush=True)
    sys.stdin.readline()
    os._exit(0)


asyncio.run({"old": old, "new": new}[sys.argv[1]](Path(sys.argv[2])))
