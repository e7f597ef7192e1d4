"""Buckets that version 0.4.0 wrote open, verify and are repaired as before.

The archives in tests/data/0.4.0 hold a bucket that was closed, one whose process was killed with
rows in the log, another with rows in the ring, one with a compressed log, one without a log, and
the first again with a bit of its largest data file turned.
"""

from __future__ import annotations

import json
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from persisting import LanceBackend, PersistingBackend
from persisting._errors import PersistingError
from tests.support import QUIET, ROOT, run

if TYPE_CHECKING:
    from pathlib import Path

ARCHIVES = ROOT / "tests" / "data" / "0.4.0"


def unpacked(tmp_path: Path, name: str) -> Path:
    """Return the directory of a bucket."""
    with tarfile.open(ARCHIVES / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path / name, filter="fully_trusted")
    return tmp_path / name


def records(first: int, end: int) -> list[dict[str, Any]]:
    """Return the records that were put."""
    return [
        {
            "id": i,
            "text": f"row {i}",
            "score": i / 4,
            "tokens": [*range(i % 5)],
            "info": {"step": i, "tags": ["a", None, 1.5]},
            "blob": bytes([i % 256]) * (i % 7),
            **({"rare": i} if i % 3 == 0 else {}),
            "none": None,
        }
        for i in range(first, end)
    ]


def small_files(path: Path) -> dict[str, bytes]:
    """Return how the small files of a bucket begin: those that were text with "{"."""
    return {file.name: file.read_bytes()[:1] for file in sorted(path.glob("*.json"))}


def command(*arguments: object) -> tuple[int, dict[str, Any]]:
    """Return the status and the object of a command line with --json."""
    done = run([sys.executable, "-m", "persisting", *map(str, arguments), "--json"])
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


async def test_a_bucket_that_was_closed(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "whole")
    status, found = command("verify", path)
    assert (status, found["sound"], found["faults"]) == (0, True, [])
    want = {
        **{i: {**r, "added": 7} for i, r in enumerate(records(0, 60)) if i not in (0, 1, 5)},
        60: {"id": 60, "a.b": "x", "added": 7},
        61: {"id": 61, "a.b": None, "added": 7},
        **{i: r for i, r in enumerate(records(62, 70), 62)},
    }
    async with PersistingBackend(0, path, **QUIET) as bucket:
        assert (bucket.total_count(), bucket.first_offset(0)) == (70, 2)
        assert await bucket.committed("reader") == 10
        for offset, record in want.items():
            (got,) = await bucket.get(1, offset)
            got.pop("when", None)
            assert got == record, offset
        assert await bucket.count("id >= 60") == 10
        assert [index["name"] for index in await bucket.list_indexes()] == ["id_idx"]
        with await bucket.at(tag="first") as before:
            assert await before.count() == 62
        await bucket.put({"id": 70})
        await bucket.flush()
        await bucket.compact()
        assert small_files(path) == {"bucket.json": b"{", "consumers.json": b"{", "tags.json": b"{"}
        await bucket.commit("reader", 20)
    # What changes is written as it is now, and what does not stays as it was.
    assert small_files(path) == {"bucket.json": b"{", "consumers.json": b"\x89", "tags.json": b"{"}
    assert command("verify", path)[0] == 0
    async with PersistingBackend(0, path, **QUIET) as bucket:
        assert await bucket.committed("reader") == 20
        with await bucket.at(tag="first") as before:
            assert await before.count() == 62


@pytest.mark.parametrize(("name", "end"), [("crashed", 60), ("compressed", 50)])
async def test_a_bucket_whose_process_was_killed(tmp_path: Path, name: str, end: int) -> None:
    path = unpacked(tmp_path, name)
    assert command("verify", path)[0] == 0
    for _ in range(2):  # as the crash left it, and as the first opener did
        async with PersistingBackend(0, path, **QUIET) as bucket:
            assert await bucket.get(end, 0) == records(0, end)
            if name == "crashed":
                assert await bucket.get(9, end) == [{"id": 60, "wide": 1}]


async def test_a_bucket_whose_process_was_killed_with_rows_in_the_ring(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "ringed")
    assert (path / "puts.ring").exists()
    async with PersistingBackend(0, path, **QUIET) as bucket:
        found = await bucket.get(999, 0)
    # The machine was started anew since, for all that the ring can know: what was in there only
    # may be lost, and what the log has may not.
    assert found == [{"id": i, "text": "single"} for i in range(len(found))]
    assert command("verify", path)[0] == 0


async def test_a_bucket_without_a_log(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "unlogged")
    async with LanceBackend(0, path, **QUIET) as bucket:
        assert await bucket.get(99, 0) == records(0, 25)


async def test_a_damaged_bucket(tmp_path: Path) -> None:
    path = unpacked(tmp_path, "damaged")
    status, found = command("verify", path)
    assert (status, found["sound"]) == (1, False)
    (fault,) = found["faults"]
    assert fault["file"].startswith("data.lance/data/"), fault
    async with PersistingBackend(0, path, **QUIET) as bucket:
        read = 0
        for offset in range(2, 70):
            try:
                read += len(await bucket.get(1, offset))
            except PersistingError:
                continue
        assert read >= 8
