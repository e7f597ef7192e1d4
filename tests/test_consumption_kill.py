"""A program that consumes records is killed at any moment: marks are as it was told."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from persisting import PersistingBackend
from tests.support import ROOT, command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Everything:
    """A sampler that takes nothing, and keeps what is ready."""

    ready: set[int]

    def sample(self, ready: Sequence[int], _size: int) -> tuple[list[int], list[int]]:
        """Take nothing."""
        self.ready = {*ready}
        return [], []


class Told:
    """What the programs were told, and what was under way when one was killed."""

    def __init__(self) -> None:
        self.marks: dict[str, set[int]] = {"a": set(), "b": set()}
        self.gone: set[int] = set()
        self.trying: tuple[str, str, set[int]] | None = None
        self.done = 0

    def note(self, line: str) -> None:
        """Take note of a whole line."""
        word, *rest = line.split()
        if word == "open":
            return
        kind, task, *numbers = rest
        offsets = {*map(int, numbers)}
        self.trying = (kind, task, offsets) if word == "try" else None
        if word == "done":
            self.done += 1
            self.apply(kind, task, offsets)

    def apply(self, kind: str, task: str, offsets: set[int]) -> None:
        """Do what was done."""
        if kind == "clear":
            self.gone |= offsets
            for marked in self.marks.values():
                marked -= offsets
        else:
            self.marks[task] |= offsets


def live(directory: Path, seed: int, chance: random.Random, told: Told) -> None:
    """Run a program and kill it after some calls and a moment."""
    due = told.done + chance.randrange(60)
    with subprocess.Popen(
        command("consumer", directory, seed),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        killer = threading.Timer(chance.uniform(0, 0.03), os.kill, (program.pid, signal.SIGKILL))
        for line in program.stdout:
            if line.endswith("\n"):
                told.note(line)
            if killer.ident is None and told.done >= due:
                killer.start()
        assert program.wait(60) == -signal.SIGKILL, program.stderr.read()
        killer.join()


async def check(directory: Path, told: Told) -> None:
    """Hold what is there against what was told; what was under way is there or not."""
    async with PersistingBackend(0, directory) as backend:
        total = backend.total_count()
        left = {offset for offset in range(total) if backend.first_offset(offset) == offset}
        kind, task, offsets = told.trying or ("", "", set())
        removed = {*range(total)} - left
        if kind == "clear" and removed != told.gone:
            told.apply(kind, task, offsets)
        assert removed == told.gone
        for name, marked in told.marks.items():
            everything: Any = Everything()
            await backend.get_meta(["x"], 0, name, everything)
            found = left - everything.ready
            if name == task and kind == "mark":
                assert found - marked <= offsets - told.gone
                assert found - marked in (set(), offsets - marked - told.gone)
            elif name == task and kind == "take":
                assert len(found - marked) <= 5
                first = sorted(left - marked)[: len(found - marked)]
                assert sorted(found - marked) == first
            else:
                assert found == marked - told.gone
            assert marked - told.gone <= found
            told.marks[name] = found
    told.trying = None


def lives(directory: Path, count: int, seed: int) -> None:
    chance, told = random.Random(seed), Told()
    for number in range(count):
        live(directory, seed * 1000 + number, chance, told)
        asyncio.run(check(directory, told))
    assert told.done > count * 5


def test_marks_survive_a_kill(tmp_path: Path) -> None:
    lives(tmp_path / "bucket", 6, 1)


@pytest.mark.slow
def test_marks_survive_60_kills(tmp_path: Path) -> None:
    lives(tmp_path / "bucket", 60, 2)
