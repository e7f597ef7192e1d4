"""Games that are played into a trajectory store, and the model that samplers are held against."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from persisting.trajectory import Batch, NStep, Slices, TrajectoryStore, Writer
from tests.programs.trajectory_sampler import step

if TYPE_CHECKING:
    from pathlib import Path

    from persisting.trajectory._sampler import Unit

GAMMA = 0.9


@dataclass
class Played:
    """What is known of an attempt at an episode."""

    writer: Writer
    group: str
    steps: int = 0
    state: str = "open"
    terminated: bool = False
    truncated: bool = False
    final: bool = False
    offsets: list[int] = field(default_factory=list)

    @property
    def key(self) -> int:
        """A number of its own, which its observations have."""
        return int(self.writer.episode_id) * 100 + self.writer.attempt

    def known_behind(self, at: int) -> bool:
        """Whether it is known what a step led to."""
        return at + 1 < self.steps or self.final or (self.state == "ended" and self.terminated)


class Games:
    """A store in which episodes are played side by side, and the model of it."""

    def __init__(self, path: Path, seed: int) -> None:
        self.path = path
        self.chance = random.Random(seed)
        self.store = TrajectoryStore(path)
        self.played: list[Played] = []
        self.rows = 0

    def reopen(self, **options: Any) -> None:
        """Close the store and open it again."""
        self.store.close()
        self.store = TrajectoryStore(self.path, **options)
        for one in self.played:
            if one.state == "open":
                writer = one.writer
                one.writer = self.store.writer(
                    group=one.group, episode_id=writer.episode_id, attempt=writer.attempt
                )

    def begin(self, attempt_at: Played | None = None) -> None:
        """Begin an episode, or a higher attempt at an open one."""
        number, attempt, group = len(self.played), 0, f"g{len(self.played) // 4}"
        if attempt_at is not None:
            attempt_at.state = "superseded"
            number, attempt = int(attempt_at.writer.episode_id), attempt_at.writer.attempt + 1
            group = attempt_at.group
        writer = self.store.writer(group=group, episode_id=str(number), attempt=attempt)
        self.played.append(Played(writer, group))

    def go_on(self, one: Played, count: int) -> None:
        """Append steps to an open episode."""
        each = [step(one.key, one.steps + i) for i in range(count)]
        one.writer.extend({name: [s[name] for s in each] for name in each[0]}, version=one.key)
        one.offsets += range(self.rows, self.rows + count)
        one.steps += count
        self.rows += count

    def end(self, one: Played) -> None:
        """End an open episode in one of several ways."""
        one.terminated = self.chance.random() < 0.5
        one.truncated = not one.terminated and self.chance.random() < 0.8
        one.final = one.steps > 0 and self.chance.random() < 0.6
        final = {"obs": step(one.key, one.steps)["obs"]} if one.final else None
        one.writer.end_episode(final, terminated=one.terminated, truncated=one.truncated)
        one.state = "ended"
        if one.final:
            one.offsets.append(self.rows)
            self.rows += 1

    def play(self, turns: int) -> None:
        """Do this and that."""
        for _ in range(turns):
            open_ones = [one for one in self.played if one.state == "open"]
            what = self.chance.random()
            if not open_ones or (what < 0.15 and len(open_ones) < 12):
                self.begin()
            elif what < 0.8:
                self.go_on(self.chance.choice(open_ones), self.chance.randrange(1, 6))
            elif what < 0.96:
                self.end(self.chance.choice(open_ones))
            else:
                self.begin(self.chance.choice(open_ones))

    def lose(self) -> None:
        """Close all open episodes as lost."""
        self.store.close_lost(0)
        for one in self.played:
            if one.state == "open":
                one.state = "lost"

    # ---- what a sampler may draw ----

    def usable(self, one: Played, following: bool) -> int:
        """Return how many steps of an episode can be drawn."""
        if one.state not in ("open", "ended"):
            return 0
        last = one.steps - 1
        known = not following or (one.steps > 0 and one.known_behind(last))
        return one.steps if known else max(last, 0)

    def windows(self, unit: Unit, following: bool = False) -> dict[int, tuple[Played, int, int]]:
        """Return all windows by the offset of the first step: episode, step, and length."""
        found = {}
        for one in self.played:
            usable = self.usable(one, following or isinstance(unit, NStep))
            for at in range(usable):
                length = stride = need = 1
                if isinstance(unit, Slices):
                    length, stride = unit.length, unit.stride
                    need = length if one.state == "open" or not unit.pad else 1
                elif isinstance(unit, NStep) and one.state == "open":
                    need = unit.n
                if at % stride == 0 and usable - at >= need:
                    found[one.offsets[at]] = one, at, min(length, usable - at)
        return found

    def groups(self, n: int) -> set[str]:
        """Return the groups that are complete."""
        by: dict[str, list[Played]] = {}
        for one in self.played:
            by.setdefault(one.group, []).append(one)
        return {
            name
            for name, members in by.items()
            if not any(one.state == "open" for one in members)
            and sum(one.state == "ended" and one.steps > 0 for one in members) >= n
        }

    @property
    def by_offset(self) -> dict[int, tuple[Played, int]]:
        """Each step by its offset."""
        return {o: (one, at) for one in self.played for at, o in enumerate(one.offsets)}


def assert_step(batch: Batch, i: Any, one: Played, at: int, following: bool) -> None:
    """Hold a step of a batch against what was written."""
    wanted = step(one.key, at)
    assert batch["obs"][i].tobytes() == wanted["obs"].tobytes()
    assert batch["action"][i] == wanted["action"]
    assert batch["reward"][i] == wanted["reward"]
    assert batch["done"][i] == wanted["done"]
    assert batch["picture"][i].tobytes() == wanted["picture"].tobytes()
    assert batch.versions[i] == one.key
    assert batch.steps[i] == at
    assert batch.mask[i]
    if batch.returns is None:
        last = one.state == "ended" and at == one.steps - 1
        assert batch.terminated[i] == (last and one.terminated)
        assert batch.truncated[i] == (last and one.truncated)
        if following:
            assert_next(batch, i, one, at)


def assert_next(batch: Batch, i: Any, one: Played, at: int) -> None:
    """Hold what follows a step against what was written."""
    ends = at == one.steps - 1 and not one.final
    wanted = np.zeros(3, np.float32) if ends else step(one.key, at + 1)["obs"]
    assert not ends or (one.state == "ended" and one.terminated)
    assert batch["next_obs"][i].tobytes() == wanted.tobytes()


def assert_return(batch: Batch, i: int, one: Played, at: int, n: int, usable: int) -> None:
    """Hold a return, and what is behind it, against what was written."""
    assert batch.returns is not None
    assert batch.discounts is not None
    count = min(n, usable - at)
    rewards = [step(one.key, at + k)["reward"] for k in range(count)]
    wanted = sum(GAMMA**k * float(r) for k, r in enumerate(rewards))
    assert math.isclose(batch.returns[i], wanted, rel_tol=1e-12, abs_tol=1e-9)
    last = one.state == "ended" and at + count == one.steps
    assert batch.terminated[i] == (last and one.terminated)
    assert batch.truncated[i] == (last and one.truncated)
    discount = 0.0 if batch.terminated[i] else GAMMA**count
    assert math.isclose(batch.discounts[i], discount, rel_tol=1e-12)
    assert_next(batch, i, one, at + count - 1)


def assert_batch(games: Games, batch: Batch, unit: Unit, following: bool) -> None:
    """Hold a batch of windows against the model."""
    windows, steps = games.windows(unit, following), games.by_offset
    for i in range(batch.draws):
        first = batch.offsets[i, 0] if isinstance(unit, Slices) else batch.offsets[i]
        one, at, length = windows[int(first)]
        if not isinstance(unit, Slices):
            assert_step(batch, i, one, at, following)
            if isinstance(unit, NStep):
                assert_return(batch, i, one, at, unit.n, games.usable(one, True))
            continue
        for k in range(unit.length):
            if k < length:
                assert steps[int(batch.offsets[i, k])] == (one, at + k)
                assert_step(batch, (i, k), one, at + k, following)
            else:
                assert batch.offsets[i, k] == -1
                assert not batch.mask[i, k]
                assert not any(batch[name][i, k].any() for name in batch)


def assert_even(counts: list[int]) -> None:
    """Assert that as many came of each as chance allows: chi-square, p > 0.001."""
    total, kinds = sum(counts), len(counts)
    expected, freedom = total / kinds, kinds - 1
    assert expected > 5
    chi = sum((count - expected) ** 2 / expected for count in counts)
    # Wilson and Hilferty, 1931.
    spread = 2 / (9 * freedom)
    assert ((chi / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread) < 3.09


def assert_shares(counts: dict[int, int], weights: dict[int, float]) -> None:
    """Assert that each came as often as its weight says."""
    total, whole = sum(counts.values()), sum(weights.values())
    expected = {key: total * weight / whole for key, weight in weights.items()}
    assert min(expected.values()) > 5
    chi = sum((counts.get(key, 0) - e) ** 2 / e for key, e in expected.items())
    freedom = len(weights) - 1
    spread = 2 / (9 * freedom)
    assert ((chi / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread) < 3.09
