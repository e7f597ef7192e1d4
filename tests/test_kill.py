"""A writer is killed at any moment; what it was told is stored is there, once and in order."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from persisting import PersistingBackend
from tests.programs.writer import record
from tests.support import QUIET, Doomed, command

if TYPE_CHECKING:
    from pathlib import Path


class Life:
    """What one writer printed before it was killed."""

    def __init__(self) -> None:
        self.begun = False
        self.found = -1
        self.tried: list[tuple[int, int]] = []
        self.acknowledged: list[tuple[int, int]] = []

    def note(self, line: str) -> None:
        if not line.endswith("\n"):
            return  # killed while it wrote
        word, *numbers = line.split()
        if word == "begin":
            self.begun = True
        elif word == "open":
            self.found = int(numbers[0])
        else:
            into = self.tried if word == "try" else self.acknowledged
            into.append((int(numbers[0]), int(numbers[1])))


def live(directory: Path, sync: float, chance: random.Random, *, recovering: bool) -> Life:
    """Run a writer, kill it after some acknowledgements and a moment, and return what it said.

    If `recovering`, the moment follows the beginning of its recovery.
    """
    life = Life()
    after = chance.randrange(0, 60)

    def due() -> bool:
        return life.begun if recovering else life.found >= 0 and len(life.acknowledged) >= after

    argv = command("writer", directory, sync, chance.randrange(2**32))
    writer = Doomed(argv, chance.uniform(0, 0.05))
    for line in writer.lines():
        life.note(line)
        if due():
            writer.doom()
    return life


async def survivors(directory: Path, sync: float) -> list[dict[str, Any]]:
    async with PersistingBackend(0, directory, wal_sync_interval=sync, **QUIET) as backend:
        found = await backend.get(10**9, 0)
        assert backend.total_count() == len(found)
        offsets = [*range(0, len(found), max(1, len(found) // 20))]
        assert await backend.get_by_indices(offsets) == [found[offset] for offset in offsets]
        for middle in offsets[::5]:
            near = range(max(middle - 3, 0), min(middle + 3, len(found)))
            where = f"n >= {near.start} AND n < {near.stop}"
            for indexed in (True, False):
                table = await backend.query(where, columns=["n"], use_index=indexed)
                assert table["n"].to_pylist() == [*near]
        return found


def expected(found: dict[str, Any], number: int) -> dict[str, Any]:
    """Return the record with a number; that of an Arrow put has the number alone."""
    return {"n": number} if found == {"n": number} else record(number)


def check(found: list[dict[str, Any]], lives: list[Life], before: int) -> None:
    """Hold what was found against what writers, one after the other, said."""
    assert [r["n"] for r in found] == [*range(len(found))]
    assert found == [expected(r, number) for number, r in enumerate(found)]
    boundaries, acknowledged = {before}, before

    def plausible(count: int) -> None:
        assert count >= acknowledged
        assert count in boundaries, "a part of a batch was stored"

    for life in lives:
        if life.found >= 0:
            plausible(life.found)
        boundaries |= {end for _, end in life.tried}
        acknowledged = max(acknowledged, life.found, *(end for _, end in life.acknowledged))
    plausible(len(found))


def rounds(directory: Path, count: int, seed: int) -> int:
    """Kill writers of one bucket one after the other; return the number of their records."""
    chance, total, acknowledged, killed, interrupted = random.Random(seed), 0, 0, 0, 0
    while killed < count:
        sync = chance.choice([0, 1.0])
        lives = [live(directory, sync, chance, recovering=False)]
        while killed + len(lives) < count and chance.random() < 0.5:
            lives.append(live(directory, sync, chance, recovering=True))
            interrupted += lives[-1].found < 0
        found = asyncio.run(survivors(directory, sync))
        check(found, lives, total)
        total = len(found)
        killed += len(lives)
        acknowledged += sum(len(life.acknowledged) for life in lives)
    assert acknowledged > count, "next to nothing was put"
    assert interrupted > 0 or count < 20, "no recovery was interrupted"
    return total


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, seed: int) -> None:
    assert rounds(tmp_path / "bucket", 5, seed) > 100


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 35))
def test_what_was_acknowledged_survives_many_kills(tmp_path: Path, seed: int) -> None:
    assert rounds(tmp_path / "bucket", 20, seed) > 400


def test_a_record_that_is_lost_is_noticed() -> None:
    life, later = Life(), Life()
    for line in ("begin\n", "open 2\n", "try 2 5\n", "try 5 6\n", "ack 2 5\n", "ack 5"):
        life.note(line)
    later.note("open 6\n")
    good = [record(i) for i in range(6)]
    check(good, [life], 2)
    check(good[:5], [life], 2)
    check(good, [life, later], 2)
    for bad in (good[:4], good[:2], [*good[:3], *good[4:]], [*good[:3], *good[2:]], good[::-1]):
        with pytest.raises(AssertionError):
            check(bad, [life], 2)
    with pytest.raises(AssertionError):
        check([*good[:4], {**good[4], "text": "another"}, good[5]], [life], 2)
    with pytest.raises(AssertionError):
        check(good[:5], [life, later], 2)  # what the second writer found is lost
