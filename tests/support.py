"""What several test modules need."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from persisting import LanceBackend

ROOT = Path(__file__).resolve().parents[1]

# Options under which a bucket does nothing of its own accord.
QUIET: dict[str, Any] = {"flush_interval": 0, "compaction_threshold": 0}


class Opener(Protocol):
    """Opens a backend that is closed at the end of the test."""

    def __call__(
        self, cls: type[LanceBackend], path: Path, bucket_id: int = 0, **options: Any
    ) -> LanceBackend: ...


def command(program: str, *arguments: object) -> list[str]:
    """Return the command line of a module in tests/programs."""
    return [sys.executable, "-m", f"tests.programs.{program}", *map(str, arguments)]


class Doomed:
    """A program in tests/programs that is killed by SIGKILL while its lines are read.

    Parameters
    ----------
    argv
        Its command line, from `command`.
    delay
        Seconds from `doom` to its end.
    """

    def __init__(self, argv: list[str], delay: float) -> None:
        self._process = subprocess.Popen(
            argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._killer = threading.Timer(delay, os.kill, (self._process.pid, signal.SIGKILL))

    def doom(self) -> None:
        """Have it killed after the delay; a second call does nothing."""
        if self._killer.ident is None:
            self._killer.start()

    def lines(self) -> Iterator[str]:
        """Yield what it prints until it is dead, which it must be of the signal."""
        with self._process as process:
            assert process.stdout is not None
            assert process.stderr is not None
            yield from process.stdout
            assert process.wait(60) == -signal.SIGKILL, process.stderr.read()
            self._killer.join()


def run(
    argv: list[str], *, timeout: float = 60, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; the caller looks at the status."""
    return subprocess.run(
        argv,
        cwd=ROOT,
        env=os.environ | (env or {}),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def python(script: str, *arguments: object, timeout: float = 60) -> str:
    """Run Python code in a process of its own and return what it printed; it must succeed."""
    done = run([sys.executable, "-c", script, *map(str, arguments)], timeout=timeout)
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def eventually(what: Callable[[], bool], *, within: float = 10.0) -> bool:
    """Ask again and again until something is so; False when it is not so in time."""
    deadline = time.monotonic() + within
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


@contextlib.asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Fail the test when the body takes longer."""
    task = asyncio.current_task()
    assert task is not None
    alarm = asyncio.get_running_loop().call_later(seconds, task.cancel)
    ends = asyncio.get_running_loop().time() + seconds
    try:
        yield
    except asyncio.CancelledError:
        assert asyncio.get_running_loop().time() < ends, f"not done within {seconds} seconds"
        raise
    finally:
        alarm.cancel()
