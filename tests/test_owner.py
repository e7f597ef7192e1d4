"""Who owns the directory of a bucket: another that made it anew, forked children, nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from persisting import PersistingBackend
from persisting._engine import directory
from persisting._errors import LockedError, WALError
from tests.support import ROOT, command, eventually, python

if TYPE_CHECKING:
    from pathlib import Path


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program of tests/programs that talks through pipes."""
    return subprocess.Popen(
        command(program, *arguments),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def says(process: subprocess.Popen[str], line: str) -> None:
    """Read the line that a program writes next."""
    assert process.stdout is not None
    if (got := process.stdout.readline()) != line + "\n":
        process.kill()
        raise AssertionError(f"{got!r}\n{process.communicate()}")


def tell(process: subprocess.Popen[str]) -> None:
    """Let a program go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


async def test_a_bucket_that_was_made_anew_is_safe_from_its_old_owner(tmp_path: Path) -> None:
    with start("disowned", "old", tmp_path) as old:
        says(old, "removed")
        with start("disowned", "new", tmp_path) as new:
            says(new, "put")
            tell(old)
            says(old, "done")
            tell(new)
            new.communicate(timeout=60)
        out, err = old.communicate("\n", timeout=60)
    assert (new.returncode, old.returncode) == (0, 0), out + err
    for name in ("flushed", "closed", "collected", "exited"):
        found = directory.verify(tmp_path / name)
        assert (found["sound"], found["rows"]) == (True, 3), found
        async with PersistingBackend(0, tmp_path / name) as backend:
            rows = await backend.get(99, 0)
        assert rows == [{"who": "new", "n": i} for i in range(3)], name


def test_the_end_of_a_bucket_whose_directory_was_removed_leaves_no_ghost(tmp_path: Path) -> None:
    with start("disowned", "old", tmp_path) as old:
        says(old, "removed")
        tell(old)
        says(old, "done")
        out, err = old.communicate("\n", timeout=60)
    assert old.returncode == 0, out + err
    assert list(tmp_path.iterdir()) == []


LOSE = """
import asyncio, os, sys
from persisting import PersistingBackend
async def main():
    backend = PersistingBackend(0, sys.argv[1], flush_interval=0)
    if sys.argv[2] == "flushed":
        await backend.put_batch([{"n": i} for i in range(4)])
        await backend.flush()
    await backend.put_batch([{"n": 100 + i} for i in range(3)])
    os._exit(0)
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", ["fresh", "flushed"])
def test_a_bucket_without_its_log_is_refused_until_a_salvage(tmp_path: Path, kind: str) -> None:
    bucket = tmp_path / "bucket"
    python(LOSE, bucket, kind)
    for segment in (bucket / "wal").iterdir():
        segment.unlink()
    for _ in range(3):
        assert not directory.verify(bucket)["sound"]
        with pytest.raises(WALError, match="there is no segment"):
            PersistingBackend(0, bucket)
    backend = PersistingBackend(0, bucket, wal_recovery="salvage")
    assert backend.total_count() == {"fresh": 0, "flushed": 4}[kind]
    backend.close()
    assert directory.verify(bucket)["sound"]
    PersistingBackend(0, bucket).close()


# ---- forked children ----

FORK = """
import asyncio, ctypes, os, sys, time
from persisting import PersistingBackend
how, end, path = sys.argv[1:]
backend = PersistingBackend(0, path, flush_interval=0)
asyncio.run(backend.put({"n": 1}))
pid = os.fork() if how == "fork" else ctypes.CDLL(None).syscall({numbers}[os.uname().machine])
if pid == 0:
    time.sleep(60)
    os._exit(0)
if end == "close":
    backend.close()
    backend = PersistingBackend(0, path)
    backend.close()
print(pid, flush=True)
if end == "die":
    os._exit(0)
""".replace("{numbers}", '{"x86_64": 57, "i686": 2}')


def forked(tmp_path: Path, how: str, end: str) -> int:
    """Run a program that forks, and return the number of the child, which lives on."""
    with subprocess.Popen(
        [sys.executable, "-c", FORK, how, end, tmp_path / "bucket"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert parent.wait(60) == 0
    return child


@pytest.mark.parametrize("end", ["close", "die"])
async def test_a_forked_child_does_not_keep_the_bucket(tmp_path: Path, end: str) -> None:
    child = forked(tmp_path, "fork", end)
    try:
        async with PersistingBackend(0, tmp_path / "bucket") as backend:
            assert await backend.get(9, 0) == [{"n": 1}]
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of a system call")
async def test_a_child_that_was_forked_past_the_library_is_named(tmp_path: Path) -> None:
    child = forked(tmp_path, "syscall", "die")
    try:
        with pytest.raises(LockedError, match=rf"process {child}\b"):
            PersistingBackend(0, tmp_path / "bucket")
    finally:
        os.kill(child, signal.SIGKILL)
    opened: list[PersistingBackend] = []

    def can_open() -> bool:
        try:
            opened.append(PersistingBackend(0, tmp_path / "bucket"))
        except LockedError:
            return False
        return True

    assert eventually(can_open)
    opened[0].close()


def test_a_second_opener_in_this_process_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "bucket"
    first = PersistingBackend(0, path)
    with pytest.raises(LockedError, match=r"in this process already.*topics.*of its own") as raised:
        PersistingBackend(1, path)
    assert str(path) in str(raised.value)
    first.close()


# ---- too many files ----

LIMITED = """
import asyncio, os, resource, sys, time
from persisting import PersistingBackend
from persisting._errors import PersistingError, PoisonedError, StorageError
directory = sys.argv[1]

async def warm():  # what is made once, as modules and threads
    async with PersistingBackend(0, f"{directory}/warm") as backend:
        await backend.put({"n": 0})
        await backend.flush()

asyncio.run(warm())
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
options = dict(flush_interval=0, max_wal_size=1 << 20, compaction_threshold=0)

def told(error):
    text = str(error)
    assert isinstance(error, StorageError) and not isinstance(error, PoisonedError), repr(error)
    assert "may have 200 files open" in text and "ulimit -n" in text, text

async def main():
    backends = []
    try:
        while True:
            backends.append(PersistingBackend(0, f"{directory}/{len(backends)}", **options))
            await backends[-1].put({"n": 0})
    except StorageError as error:
        told(error)
    assert len(backends) > 25, len(backends)
    rows = [0] * len(backends)
    refused = 0
    blob = "x" * 100_000
    for round in range(6):
        for i, backend in enumerate(backends):
            try:
                await backend.put({"n": round, "blob": blob})
                rows[i] += 1
            except StorageError as error:
                told(error)
                refused += 1
            if i % 10 == round:
                try:
                    await backend.flush()
                except StorageError as error:
                    told(error)
                    refused += 1
    assert refused > 0
    for backend in backends[20:]:
        try:
            backend.close()
        except StorageError as error:  # what was not flushed is in the log
            told(error)
    for i, backend in enumerate(backends[:20]):
        await backend.put({"n": 7})
        await backend.flush()
        assert backend.total_count() >= rows[i] + 1, (i, backend.total_count(), rows[i])
        assert (await backend.stats())["write_error"] is None
        backend.close()
    for i in range(len(backends)):
        async with PersistingBackend(0, f"{directory}/{i}", **options) as backend:
            assert backend.total_count() >= rows[i]
asyncio.run(main())
print("ok")
"""


def test_too_many_files_are_told_and_poison_nothing(tmp_path: Path) -> None:
    assert python(LIMITED, tmp_path, timeout=120) == "ok\n"
