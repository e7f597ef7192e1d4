"""A program that does what tasks do is killed at any moment: all is as it was told, or one call on.

The program makes one call after the other, so what a queue has to hold is what all calls that were
told as done make of it, with the one that was under way or without it, as a whole.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from persisting import KVInterface, Queue
from tests.support import Doomed, command

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TASKS, PARTITIONS = "ab", "pq"


class Everything:
    """A sampler that takes nothing, and keeps what is ready."""

    ready: set[int]

    def sample(self, ready: Sequence[int], _size: int) -> tuple[list[int], list[int]]:
        """Take nothing."""
        self.ready = {*ready}
        return [], []


class Record(NamedTuple):
    """What a record of the model holds."""

    value: int
    partition: str = ""
    key: str = ""
    tag: Any = None


class Model:
    """What the calls make of a queue."""

    def __init__(self) -> None:
        self.records: list[Record | None] = []  # None once it is removed
        self.marks: dict[str, set[int]] = {task: set() for task in TASKS}

    def left(self) -> list[int]:
        return [i for i, record in enumerate(self.records) if record is not None]

    def keyed(self, partition: str) -> dict[str, int]:
        """Return the offset of each key."""
        found = {}
        for offset in self.left():
            record = self.records[offset]
            assert record is not None
            if record.key and record.partition == partition:
                found[record.key] = offset
        return found

    def do(self, call: dict[str, Any]) -> Any:
        """Do what a call does; return its result."""
        name, task, partition = call["call"], call.get("task", ""), call.get("partition", "")
        if name == "put":
            first = len(self.records)
            self.records += [Record(value) for value in call["values"]]
            return [*range(first, len(self.records))]
        if name == "take":
            chosen = [i for i in self.left() if i not in self.marks[task]][: call["size"]]
            self.marks[task] |= {*chosen}
            return chosen
        if name == "mark":
            self.marks[task] |= {*call["offsets"]}
        elif name == "reset":
            self.marks[task].clear()
        elif name == "clear":
            self.remove(call["offsets"])
        elif name == "kv_put":
            rows = zip(call["values"], call["keys"], call["tags"], strict=True)
            self.records += [Record(value, partition, key, tag) for value, key, tag in rows]
        elif name == "kv_clear":
            gone = [
                offset
                for offset, record in enumerate(self.records)
                if record and record.partition == partition and record.key in call["keys"]
            ]
            self.remove(gone)
        return None

    def remove(self, offsets: Sequence[int]) -> None:
        for offset in offsets:
            self.records[offset] = None

    def seen(self) -> dict[str, Any]:
        """Return what of it can be seen from outside, as `look` does."""
        there = {i: record for i, record in enumerate(self.records) if record is not None}
        keyed = {partition: self.keyed(partition) for partition in PARTITIONS}
        return {
            "total": len(self.records),
            "values": {i: record.value for i, record in there.items()},
            "ready": {task: there.keys() - self.marks[task] for task in TASKS},
            "tags": {p: {k: there[i].tag for k, i in keys.items()} for p, keys in keyed.items()},
            "keyed": {p: {k: there[i].value for k, i in keys.items()} for p, keys in keyed.items()},
        }


async def look(directory: Path) -> dict[str, Any]:
    """Open a queue and return what it holds."""
    async with Queue("topic", str(directory)) as queue:
        backend: Any = await queue._place.bucket("")
        table = await backend.get_arrow(with_offsets=True)
        values = table.column("x").to_pylist() if table.num_rows else []
        ready = {}
        for task in TASKS:
            everything: Any = Everything()
            await queue.get_meta(["x"], 0, task, sampler=everything)
            ready[task] = everything.ready
        kv = KVInterface(queue)
        tags = {partition: dict(await kv.kv_list(partition)) for partition in PARTITIONS}
        keyed = {}
        for partition, keys in tags.items():
            got = await kv.kv_batch_get([*keys], partition)
            assert all(record.keys() == {"x"} for record in got)
            keyed[partition] = {key: record["x"] for key, record in zip(keys, got, strict=True)}
        return {
            "total": len(queue),
            "values": dict(zip(table.column("_offset").to_pylist(), values, strict=True)),
            "ready": ready,
            "tags": tags,
            "keyed": keyed,
        }


class Life:
    """The lives of programs on one queue, and what they made of it as they told it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.model = Model()
        self.trying: dict[str, Any] | None = None
        self.done = 0

    def note(self, line: str) -> None:
        """Take note of a whole line of a program."""
        told = json.loads(line)
        if "try" in told:
            self.trying = told["try"]
            return
        assert self.trying is not None
        assert self.model.do(self.trying) == told["done"], self.trying
        self.trying = None
        self.done += 1

    def live(self, seed: int, chance: random.Random) -> None:
        """Run a program and kill it after some calls and a moment; look at what it left."""
        due = self.done + chance.randrange(60)
        program = Doomed(command("trainer", self.directory, seed), chance.uniform(0, 0.03))
        for line in program.lines():
            if line.endswith("\n"):
                self.note(line)
            if self.done >= due:
                program.doom()
        self.check()

    def check(self) -> None:
        found = asyncio.run(look(self.directory))
        before, after = self.model, copy.deepcopy(self.model)
        if self.trying is not None:
            after.do(self.trying)
        assert found in (before.seen(), after.seen()), self.trying
        self.model = after if found == after.seen() else before
        self.trying = None


def lives(directory: Path, count: int, seed: int) -> None:
    chance, life = random.Random(seed), Life(directory)
    for number in range(count):
        life.live(seed * 1000 + number, chance)
    assert life.done > count * 5


def test_nothing_told_is_lost_or_doubled_by_a_kill(tmp_path: Path) -> None:
    lives(tmp_path, 5, 1)


@pytest.mark.slow
def test_nothing_told_is_lost_or_doubled_by_80_kills(tmp_path: Path) -> None:
    lives(tmp_path, 80, 2)
