"""A writer of blocks is killed at any moment: nothing wrong, nothing old, nothing lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from persisting.kv import KVStore
from tests.programs.kv_writer import KEYS, THREADS, content
from tests.support import Doomed, command

if TYPE_CHECKING:
    from pathlib import Path

# Of a key, the version that the writer was told last, and the one that it tried after that.
# Deletes are versions below 0; 0 is that there was nothing yet.
Told = dict[str, tuple[int, int]]

ROOMY, TIGHT = "512 MiB", "9 MiB"


def live(directory: Path, capacity: str, first: int, chance: random.Random, told: Told) -> None:
    """Run a writer, kill it after a moment, and note what it said."""
    writer = Doomed(command("kv_writer", directory, capacity, first), chance.uniform(0, 0.6))
    for line in writer.lines():
        if not line.endswith("\n"):
            continue
        word, key, version = line.rstrip("\n").split(" ")
        if word == "open":
            writer.doom()
        elif word == "try":
            told[key] = (told.get(key, (0, 0))[0], int(version))
        else:
            told[key] = (int(version), int(version))


def check(directory: Path, capacity: str, told: Told) -> int:
    """Look at each key; return how many there are."""
    present = 0
    with KVStore(directory, capacity=capacity) as store:
        for thread in range(THREADS):
            for number in range(KEYS):
                key = f"{thread}.{number}"
                done, tried = told.get(key, (0, 0))
                block = store.get(key)
                allowed = {v: content(key, v) for v in (done, tried) if v > 0}
                if block is None:
                    may_miss = done <= 0 or tried != done or capacity == TIGHT
                    assert may_miss, f"{key} version {done} is gone"
                    told[key] = (0, 0)
                    continue
                present += 1
                found = [v for v, value in allowed.items() if value == block]
                assert found, f"{key} has {len(block)} bytes of neither {done} nor {tried}"
                told[key] = (found[0], found[0])
        stats = store.stats()
        assert stats["disk_bytes"] <= stats["capacity_bytes"]
        assert stats["misses"]["damaged"] == stats["misses"]["failed"] == 0
    return present


def lives(directory: Path, capacity: str, count: int, seed: int) -> None:
    chance, told, present = random.Random(seed), Told(), 0
    for number in range(count):
        live(directory, capacity, 1 + number * 10_000, chance, told)
        present += check(directory, capacity, told)
    assert present > count  # it is a test of something


@pytest.mark.parametrize("capacity", [ROOMY, TIGHT])
def test_a_killed_writer_loses_nothing_and_gets_nothing_wrong(
    tmp_path: Path, capacity: str
) -> None:
    lives(tmp_path, capacity, 5, 1)


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [ROOMY, TIGHT])
def test_writers_killed_250_times(tmp_path: Path, capacity: str) -> None:
    lives(tmp_path, capacity, 250, 2)
