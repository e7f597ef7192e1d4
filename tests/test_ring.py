"""Puts that go through `puts.ring` and not through a call."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from persisting.queue import LanceBackend, PersistingBackend
from tests.support import python, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Opener

LIFE = """
import asyncio, os, signal, sys
from persisting.queue import PersistingBackend

async def live():
    backend = PersistingBackend(0, sys.argv[1], flush_interval=0)
    first = backend.total_count()
    for n in range(first, first + 500):
        await backend.put({"n": n, "text": "x" * (n % 50)})
    assert os.path.exists(os.path.join(sys.argv[1], "puts.ring"))
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(live())
"""


def records(first: int, count: int) -> list[dict[str, Any]]:
    """Return records that are alike."""
    return [{"n": n, "text": "x" * (n % 50)} for n in range(first, first + count)]


@pytest.mark.parametrize("cls", [PersistingBackend, LanceBackend])
async def test_alike_records_are_mapped(opening: Opener, bucket: Path, cls: type) -> None:
    backend = opening(cls, bucket)
    ring = bucket / "puts.ring"
    for record in records(0, 7):
        await backend.put(record)
    assert not ring.exists()
    for record in records(7, 3_000):
        await backend.put(record)
    assert ring.exists()
    assert backend.total_count() == 3_007
    assert await backend.get(4_000, 0) == records(0, 3_007)
    await backend.aclose()
    assert not ring.exists()
    again = opening(cls, bucket)
    assert await again.get(4_000, 0) == records(0, 3_007)


async def test_a_reader_waits_for_a_mapped_put(opening: Opener, bucket: Path) -> None:
    backend = opening(PersistingBackend, bucket)
    for record in records(0, 20):
        await backend.put(record)
    stream = backend.get_stream(2, 19, wait=True, timeout=20)
    assert await anext(stream) == records(19, 1)
    await backend.put(records(20, 1)[0])
    assert await anext(stream) == records(20, 1)


def test_mapped_puts_survive_a_kill(tmp_path: Path) -> None:
    for life in range(1, 4):
        ended = subprocess.run([sys.executable, "-c", LIFE, str(tmp_path / "bucket")], check=False)
        assert ended.returncode == -signal.SIGKILL
        shown = run([sys.executable, "-m", "persisting", "inspect", str(tmp_path / "bucket")])
        assert re.search(r"puts.ring: \d+ rows? not in the log", shown.stdout), shown
        backend = PersistingBackend(0, tmp_path / "bucket")
        assert backend.total_count() == 500 * life
        backend.close()


@pytest.mark.parametrize("seed", range(3))
async def test_all_ways_of_putting_keep_their_order(
    opening: Opener, bucket: Path, seed: int
) -> None:
    chance = random.Random(seed)
    backend = opening(PersistingBackend, bucket, flush_threshold=200)
    model: list[dict[str, Any]] = []
    for _ in range(60):
        here = len(model)
        kind = chance.randrange(8)
        if kind < 3:
            new = records(here, chance.randrange(60))
            for record in new:
                await backend.put(record)
        elif kind == 3:
            new = records(here, chance.randrange(1, 30))
            await backend.put_batch(new)
        elif kind == 4:
            new = records(here, 5)
            await backend.put_arrow(pa.Table.from_pylist(new))
        elif kind == 5:
            new = [{"n": here, "text": "y" * chance.randrange(200_000)}]
            await backend.put(new[0])
        elif kind == 6:
            new = [{"text": "a new key", f"key {chance.randrange(3)}": 1.5}]
            await backend.put(new[0])
        else:
            new = []
            change = chance.choice(["flush", "compact", "add", "query"])
            if change == "add" and "added" not in backend.schema.names:
                await backend.add_column("added", pa.int64())
            elif change == "query" and model:
                assert await backend.count() == here
            elif change in ("flush", "compact"):
                await getattr(backend, change)()
        model += new
        assert backend.total_count() == len(model)
        first = chance.randrange(len(model) + 1)
        assert await backend.get(20, first) == model[first : first + 20]
    assert await backend.get(len(model), 0) == model
    await backend.aclose()
    again = opening(PersistingBackend, bucket)
    assert await again.get(len(model), 0) == model


FORK = """
import asyncio, os, sys
from persisting._errors import ForkedError
from persisting.queue import PersistingBackend

async def live():
    backend = PersistingBackend(0, sys.argv[1])
    for n in range(20):
        await backend.put({"n": n})
    assert os.path.exists(os.path.join(sys.argv[1], "puts.ring"))
    if (child := os.fork()) == 0:
        try:
            await backend.put({"n": -1})
        except ForkedError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    await backend.put({"n": 20})
    assert await backend.get(30, 0) == [{"n": n} for n in range(21)]
    await backend.aclose()

asyncio.run(live())
"""


def test_a_forked_child_leaves_the_ring_alone(tmp_path: Path) -> None:
    python(FORK, tmp_path / "bucket")
