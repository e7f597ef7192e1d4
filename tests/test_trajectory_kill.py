"""A writer of episodes is killed at any moment: what it was told is there, once, and no more."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from persisting.trajectory import TrajectoryStore
from tests.programs.trajectory_writer import length, step
from tests.support import Doomed, command

if TYPE_CHECKING:
    from pathlib import Path


class Told:
    """What the writers were told."""

    def __init__(self) -> None:
        self.ended = -1
        self.steps = 0  # of the episode after the last one that ended

    def note(self, line: str) -> None:
        """Take note of a whole line."""
        word, *numbers = line.split()
        if word == "steps":
            self.steps = max(self.steps, int(numbers[1]))
        elif word == "ended":
            self.ended, self.steps = int(numbers[0]), 0


def live(directory: Path, chance: random.Random, told: Told) -> None:
    """Run a writer and kill it after some lines and a moment."""
    due = chance.randrange(60)
    argv = command("trajectory_writer", directory, told.ended + 1)
    writer = Doomed(argv, chance.uniform(0, 0.03))
    for line in writer.lines():
        if line.endswith("\n"):
            told.note(line)
        due -= 1
        if due < 0:
            writer.doom()


def check(directory: Path, told: Told) -> None:
    """Hold all episodes against what was told."""
    with TrajectoryStore(directory) as store:
        found = store.episodes().to_pydict()
        count = len(found["number"])
        assert told.ended + 1 <= count <= told.ended + 3
        assert found["episode_id"] == [str(number) for number in range(count)]
        for number in range(max(0, told.ended - 3), count):
            episode = store.episode(str(number))
            least = length(number) if number <= told.ended else 0
            if number == told.ended + 1:
                least = told.steps
            assert least <= len(episode) <= length(number)
            whole = [step(number, at) for at in range(len(episode))]
            assert np.array_equal(episode.version, np.full(len(whole), number))
            if whole:
                assert np.array_equal(episode.steps["obs"], [one["obs"] for one in whole])
                assert [[*row] for row in episode.steps["tokens"]] == [s["tokens"] for s in whole]
                assert [*episode.steps["reward"]] == [one["reward"] for one in whole]
            assert (episode.state == "ended") or number > told.ended
            if episode.state == "ended":
                assert len(episode) == length(number)
                assert episode.truncated == (number % 3 == 0)
                assert episode.metadata == {"seed": number}
                assert episode.final_observation is not None
                last = step(number, len(episode))["obs"]
                assert np.array_equal(episode.final_observation["obs"], last)
        told.ended, told.steps = max(told.ended, count - 2), 0
        if not store.columns:
            return
        steps = store.query(columns=["episode", "step"]).to_pydict()
        seen = sorted(zip(steps["episode"], steps["step"], strict=True))
        assert len({*seen}) == len(seen) == store.stats()["steps"]


@pytest.mark.parametrize("rounds", [8, pytest.param(150, marks=pytest.mark.slow)])
def test_killed_again_and_again(tmp_path: Path, rounds: int) -> None:
    chance, told = random.Random(rounds), Told()
    for _ in range(rounds):
        live(tmp_path / "store", chance, told)
        check(tmp_path / "store", told)
    assert told.ended > rounds


@pytest.mark.parametrize("rounds", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_a_trainer_learns_each_batch_once(tmp_path: Path, rounds: int) -> None:
    chance, count, checkpoint = random.Random(rounds), 40, tmp_path / "checkpoint"
    with TrajectoryStore(tmp_path / "store") as store:
        store.writer(episode_id="one").extend({"x": np.arange(count)})
    told = 0
    for _ in range(rounds):
        due = chance.randrange(40)
        argv = command("trajectory_trainer", tmp_path / "store", checkpoint)
        trainer = Doomed(argv, chance.uniform(0, 0.02))
        for line in trainer.lines():
            if line.endswith("\n"):
                told = int(line.split()[1]) if line.startswith("learned") else told
            due -= 1
            if due < 0:
                trainer.doom()
        learned = json.loads(checkpoint.read_text())[1] if checkpoint.exists() else []
        assert len(learned) % 3 == 0
        assert told - len(learned) <= 3
        for number, (batch, *offsets) in enumerate(learned):
            first = 4 * number % count
            assert [batch, *offsets] == [number, *range(first, first + 4)]
        with TrajectoryStore(tmp_path / "store") as store:
            found = [[lease.batch, *lease.offsets] for lease in store.pending_batches()]
            assert [batch for batch, *_ in found] == sorted(batch for batch, *_ in found)
            assert all(offsets[0] == 4 * batch % count for batch, *offsets in found)
    assert told > rounds
