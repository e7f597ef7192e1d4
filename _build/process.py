"""Progress lines, subprocesses with logs, and checks with a summary."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    Command: TypeAlias = Sequence[str | os.PathLike[str]]

ROOT = Path(__file__).resolve().parents[1]
LOGS = ROOT / ".build" / "logs"

HEARTBEAT_SECONDS = 30
STARTED = time.monotonic()


class BuildError(Exception):
    """A step failed; the message is for the user."""


def elapsed(since: float) -> str:
    """Return the time since `since` (of `time.monotonic`) as m:ss."""
    seconds = int(time.monotonic() - since)
    return f"{seconds // 60}:{seconds % 60:02d}"


def say(text: str) -> None:
    """Print one progress line."""
    print(f"[{elapsed(STARTED):>5}] {text}", flush=True)


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without what would change a build, plus `changes`.

    Pip's isolated builds set PYTHONPATH, which must not reach other interpreters.
    """
    dropped = {"CARGO_BUILD_TARGET", "CARGO_INCREMENTAL", "PROTOC_INCLUDE"}
    dropped |= {"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | changes


def output(command: Command, **changes: str) -> str:
    """Return the standard output of a short command, stripped."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment(**changes), capture_output=True, text=True
    )
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(map(str, command))} failed:\n{done.stderr.strip()}")
    return done.stdout.strip()


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip()[:100] for line in reversed(lines) if line.strip()), "")


def logged(
    name: str, command: Command, *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> None:
    """Run a long step with its output in a log, a heartbeat line, and the log's end on failure."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    started = beat = time.monotonic()
    with log.open("wb") as file:
        file.write(f"$ {shlex.join(map(str, command))}\n".encode())
        file.flush()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env if env is not None else environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            time.sleep(0.1)
            if time.monotonic() - beat >= HEARTBEAT_SECONDS:
                beat = time.monotonic()
                say(f"  {name}: {elapsed(started)}, {last_line(log)}")
    if process.returncode != 0:
        tail = log.read_text(errors="replace").splitlines()[-60:]
        raise BuildError("\n".join([*tail, f"{name} failed; the whole log: {log}"]))


def shown(
    command: Command, *, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """Run a command, pass its output on line by line, and return its status and the lines."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=env if env is not None else environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line.rstrip())
    return process.wait(), lines


class Checks:
    """Named checks that all run, each with its time and result, and a summary at the end."""

    def __init__(self) -> None:
        self.results: list[tuple[str, bool, float, str]] = []

    def run(
        self,
        name: str,
        command: Command,
        *,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        note: Callable[[list[str]], str] = lambda lines: "",
    ) -> list[str]:
        """Run one check with its output on the terminal, and return that output."""
        say(f"{name}: {shlex.join(map(str, command))}")
        started = time.monotonic()
        status, lines = shown(command, cwd=cwd, env=env)
        self.results.append((name, status == 0, time.monotonic() - started, note(lines)))
        return lines

    def step(self, name: str, action: Callable[[], object]) -> bool:
        """Run a preparing step as a check, and return whether it succeeded."""
        started = time.monotonic()
        try:
            action()
        except BuildError as error:
            print(error, flush=True)
            self.results.append((name, False, time.monotonic() - started, ""))
            return False
        return True

    def finish(self) -> int:
        """Print the summary and return the exit status."""
        say("summary")
        for name, passed, seconds, note in self.results:
            state = "ok" if passed else "FAILED"
            print(f"  {name:<16}{state:<8}{seconds:7.1f} s   {note}".rstrip())
        sys.stdout.flush()
        return 0 if all(passed for _, passed, _, _ in self.results) else 1
