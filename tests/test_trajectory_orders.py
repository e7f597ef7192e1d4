"""Orders of samplers and their bounds, held against a plain model of what was written."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._errors import (
    ClosedError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    WaitTimeoutError,
)
from persisting.trajectory import Groups, Mix, NStep, RateLimit, Slices, Steps, TrajectoryStore
from tests.games import GAMMA, Games, assert_batch, assert_even, assert_shares, assert_step
from tests.programs.trajectory_sampler import step

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from persisting.trajectory._sampler import Order, Sampler, Unit


@pytest.fixture
def games(tmp_path: Path) -> Iterator[Games]:
    played = Games(tmp_path / "store", 21)
    played.play(220)
    yield played
    played.store.close()


def firsts(batch: Any) -> list[int]:
    """Return the offsets of the first steps."""
    return [int(o) for o in batch.offsets.reshape(batch.draws, -1)[:, 0]]


def drawn(sampler: Sampler, count: int, each: int = 500) -> dict[int, int]:
    """Return how often draws began at which offset."""
    counts: dict[int, int] = {}
    for _ in range(count // each):
        for offset in firsts(sampler.sample(each)):
            counts[offset] = counts.get(offset, 0) + 1
    return counts


# ---- first in, last in, highest, lowest ----


@pytest.mark.parametrize("unit", [Steps(), Slices(3, stride=2), NStep(2, GAMMA)])
def test_the_oldest_and_the_newest(games: Games, unit: Unit) -> None:
    for _ in range(3):
        wanted = sorted(games.windows(unit, True))
        orders: list[tuple[Order, list[int]]] = [("fifo", wanted), ("lifo", wanted[::-1])]
        for order, there in orders:
            sampler = games.store.sampler(unit, order=order, next=("obs",))
            for _ in range(2):
                batch = sampler.sample(20)
                assert firsts(batch) == there[:20]
                assert_batch(games, batch, unit, True)
            assert firsts(sampler.sample(len(wanted) + 5)) == there
        games.lose()
        games.play(60)


@pytest.mark.parametrize("order", ["fifo", "lifo"])
def test_a_queue_of_episodes_that_go_on(tmp_path: Path, order: Order) -> None:
    """What cannot be drawn yet holds nothing up, and comes in its place once it can."""
    with TrajectoryStore(tmp_path / "store") as store:
        a, b = store.writer(episode_id="a"), store.writer(episode_id="b")
        a.extend({"x": [0.0, 1.0]})
        b.extend({"x": [2.0, 3.0]})
        sampler = store.sampler(order=order, next=("x",), times=1)
        one = [0.0, 2.0] if order == "fifo" else [2.0, 0.0]
        assert sampler.sample(8)["x"].tolist() == one
        assert sampler.sample(8).draws == 0
        a.extend({"x": [4.0, 5.0]})
        assert sampler.sample(8)["x"].tolist() == ([1.0, 4.0] if order == "fifo" else [4.0, 1.0])
        b.end_episode(terminated=True)
        assert sampler.sample(8)["x"].tolist() == [3.0]


@pytest.mark.parametrize("unit", [Steps(), Slices(2)])
def test_the_highest_and_the_lowest(games: Games, unit: Unit) -> None:
    given: dict[int, float] = {}
    orders: tuple[Order, ...] = ("highest", "lowest")
    samplers = {order: games.store.sampler(unit, order=order) for order in orders}
    for turn in range(6):
        offsets = games.chance.sample(sorted(games.by_offset), 80)
        values = [float(games.chance.randrange(6)) for _ in offsets]
        games.store.update_priorities(offsets, values)
        given |= dict(zip(offsets, values, strict=True))
        if turn == 2:
            games.lose()
        if turn == 4:
            games.reopen()
            samplers = {order: games.store.sampler(unit, order=order) for order in orders}
        games.play(20)
        windows, most = games.windows(unit), max(given.values())
        for order, sampler in samplers.items():
            sign = -1 if order == "highest" else 1
            wanted = sorted(windows, key=lambda o: (sign * given.get(o, most), o))
            assert firsts(sampler.sample(30)) == wanted[:30]
            assert firsts(sampler.sample(len(windows) + 3)) == wanted


def test_groups_in_line(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:

        def answer(prompt: int, count: int, *, end: bool = True) -> None:
            for _ in range(count):
                writer = store.writer(group=f"p{prompt}")
                writer.extend({"x": [float(prompt)]})
                if end:
                    writer.end_episode(terminated=True)

        for prompt in range(6):
            answer(prompt, 4, end=prompt != 1)
        oldest = store.sampler(Groups(2), order="fifo", times=1)
        newest = store.sampler(Groups(4), order="lifo")
        assert oldest.sample(3)["x"][:, 0].tolist() == [0, 2, 3]
        assert newest.sample(9)["x"][:, 0].tolist() == [5, 4, 3, 2, 0]
        # Each episode once: of four, two draws of two.
        assert oldest.sample(6)["x"][:, 0].tolist() == [0, 2, 3, 4, 5]
        assert oldest.sample(6)["x"][:, 0].tolist() == [4, 5]
        assert oldest.sample(6).draws == 0
        answer(3, 1)
        assert oldest.sample(6).draws == 0
        answer(3, 1)
        assert oldest.sample(6)["x"][:, 0].tolist() == [3]
        assert len({*newest.sample(1).episodes[0]}) == 4


# ---- how often each ----


@pytest.mark.parametrize("order", ["uniform", "episodes", "prioritized", "fifo", "lifo", "highest"])
@pytest.mark.parametrize("unit", [Steps(), Slices(3)])
@pytest.mark.parametrize("times", [1, 3])
def test_each_so_many_times(games: Games, order: Order, unit: Unit, times: int) -> None:
    sampler = games.store.sampler(unit, order=order, times=times, seed=5)
    counts: dict[int, int] = {}
    for round_ in range(3):
        for batch in sampler.batches(64):
            for offset in firsts(batch):
                counts[offset] = counts.get(offset, 0) + 1
        wanted = games.windows(unit)
        assert {o: n for o, n in counts.items() if o in wanted} == dict.fromkeys(wanted, times)
        assert max(counts.values()) == times
        assert sampler.sample(5).draws == 0
        if round_ == 0:
            games.play(40)
        if round_ == 1:  # as it is with another sampler that goes on from there
            state = sampler.state_dict()
            games.lose()
            games.play(40)
            games.reopen()
            sampler = games.store.sampler(unit, order=order, times=times)
            sampler.load_state_dict(state)


def test_draws_that_fail_do_not_count(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        writer = store.writer(episode_id="a")
        writer.extend({"x": [1.0, 2.0], "y": [1.0, 2.0]})
        writer.end_episode({"x": 3.0}, truncated=True)
        orders: tuple[Order, ...] = ("fifo", "uniform", "prioritized", "highest")
        for order in orders:
            sampler = store.sampler(order=order, next=("y",), times=1)
            for _ in range(3):
                with pytest.raises(ConflictError):
                    sampler.sample(2)
            assert sampler.state_dict()["position"]["spent"] in (None, "")


def test_uniform_without_replacement_is_even(games: Games) -> None:
    """The first of many draws without replacement is as likely to be any."""
    wanted = sorted(games.windows(Steps()))
    counts = dict.fromkeys(wanted, 0)
    for seed in range(400):
        sampler = games.store.sampler(times=1, seed=seed)
        found = firsts(sampler.sample(40))
        assert len({*found}) == 40
        for offset in found:
            counts[offset] += 1
    assert_even([*counts.values()])


# ---- of which ----


@pytest.mark.parametrize("order", ["uniform", "episodes", "prioritized", "shuffle", "sequential"])
def test_steps_that_a_filter_takes(games: Games, order: Order) -> None:
    where = "reward > 1 AND step % 2 = 0"

    def taken(unit: Unit, end: int) -> list[int]:
        return sorted(
            offset
            for offset, (one, at, _) in games.windows(unit).items()
            if step(one.key, at)["reward"] > 1 and at % 2 == 0 and offset < end
        )

    for unit in (Steps(), Slices(2)):
        rows = games.rows
        sampler = games.store.sampler(unit, order=order, where=where, seed=2)
        wanted = taken(unit, rows)
        assert len(wanted) > 20
        for _ in range(2):
            if order in ("shuffle", "sequential"):
                found = [o for batch in sampler.batches(16) for o in firsts(batch)]
                assert sorted(found) == (wanted if order == "shuffle" else found)
                assert order == "shuffle" or set(found) <= set(wanted)
            else:
                found_of = drawn(sampler, 20 * len(wanted), 100)
                assert {*found_of} == {*wanted}
            games.play(30)
        games.lose()
        sampler.refresh()
        wanted, rows = taken(unit, games.rows), games.rows
        if order not in ("shuffle", "sequential"):
            counts = drawn(sampler, 40 * len(wanted), 100)
            assert {*counts} == {*wanted}
            if order == "episodes":
                by: dict[int, list[int]] = {}
                for offset, times in counts.items():
                    by.setdefault(games.by_offset[offset][0].key, []).append(times)
                assert_even([sum(times) for times in by.values()])
                assert_even(max(by.values(), key=len))
            else:
                assert_even([*counts.values()])


def test_a_filter_that_is_none(games: Games) -> None:
    for where, says in (
        ("nope = 1", "nope"),
        ("reward >", "an expression"),
        ("1) OR (1 = 1", "filter"),
    ):
        with pytest.raises(InvalidArgumentError, match=says):
            games.store.sampler(where=where)
    with pytest.raises(NotFoundError, match="that the sampler takes"):
        games.store.sampler(where="reward > 1e9").sample(1)
    games.store.sampler().refresh()  # which has nothing to ask


def test_the_newest_only(games: Games) -> None:
    newest = 60
    orders: tuple[Order, ...] = ("uniform", "episodes", "prioritized", "fifo", "highest", "shuffle")
    samplers = {order: games.store.sampler(order=order, newest=newest, seed=1) for order in orders}
    for _ in range(3):
        wanted = sorted(o for o in games.windows(Steps()) if o >= games.rows - newest)
        for order, sampler in samplers.items():
            if order == "shuffle":
                found = [o for batch in sampler.batches(16) for o in firsts(batch)]
                assert sorted(found) == wanted
                continue
            counts = drawn(sampler, 3000, 100)
            assert {*counts} == {*wanted} if order not in ("fifo", "highest") else True
            if order in ("uniform", "prioritized"):
                assert_even([*counts.values()])
            elif order == "fifo":
                assert firsts(sampler.sample(10)) == wanted[:10]
        games.play(25)


# ---- windows with what comes before them ----


@pytest.mark.parametrize("pad", [False, True, "edge"])
@pytest.mark.parametrize("burn_in", [1, 4])
def test_burn_in(games: Games, pad: Any, burn_in: int) -> None:
    unit = Slices(3, stride=2, pad=pad, burn_in=burn_in)
    sampler = games.store.sampler(unit, next=("obs",), seed=3)
    windows = games.windows(unit, True)
    short = 0
    for _ in range(6):
        batch = sampler.sample(100)
        assert batch["obs"].shape == (100, burn_in + 3, 3)
        for i in range(100):
            one, at, length = windows[int(batch.offsets[i, burn_in])]
            there = range(max(0, at - burn_in), at + length)
            short += len(there) < burn_in + 3
            for k in range(burn_in + 3):
                step_of = at - burn_in + k
                if step_of in there:
                    assert batch.offsets[i, k] == one.offsets[step_of]
                    assert_step(batch, (i, k), one, step_of, True)
                    continue
                assert batch.offsets[i, k] == -1
                assert not batch.mask[i, k]
                nearest = burn_in + min(max(step_of, there[0]), there[-1]) - at
                for name in batch:
                    wanted = batch[name][i, nearest] if pad == "edge" else 0
                    assert np.array_equal(
                        batch[name][i, k], np.broadcast_to(wanted, batch[name][i, k].shape)
                    )
    assert short > 20


# ---- groups that say something ----


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_groups_whose_returns_vary(tmp_path: Path, kind: Any) -> None:
    with TrajectoryStore(tmp_path / "store") as store:

        def answer(prompt: int, *returns: float) -> None:
            for total in returns:
                writer = store.writer(group=f"p{prompt}")
                writer.extend({"x": [prompt, prompt], "reward": np.array([total / 2] * 2, kind)})
                writer.end_episode(terminated=True)

        answer(0, 1, 1, 1, 1)
        sampler = store.sampler(Groups(2, length=2, varied="reward"), seed=1)
        with pytest.raises(NotFoundError):
            sampler.sample(1)
        answer(1, 0, 0, 1, 0)
        answer(2, 0, 0, 0, 0)
        answer(3, 0, 1, 1, 0)
        batch = sampler.sample(2000)
        totals = batch["reward"].sum(axis=2)
        assert (totals[:, 0] != totals[:, 1]).all()
        assert {*batch["x"].reshape(-1)} == {1, 3}
        assert_even([*np.unique(batch["x"][:, 0, 0], return_counts=True)[1]])
        of_one = batch.episodes[batch["x"][:, 0, 0] == 1][:, :, 0].reshape(-1)
        # One of the two is the only one that differs, and the other any of the rest.
        shares = dict(zip(*np.unique(of_one, return_counts=True), strict=True))
        rest = [count for number, count in shares.items() if count < 0.4 * len(of_one)]
        assert len(rest) == 3
        assert_even([int(count) for count in rest])
        answer(0, 3)
        assert 0 in sampler.sample(500)["x"]
        for unit, says in (
            (Groups(1, varied="reward"), "want at least 2"),
            (Groups(2, varied="x"), "rewards are float32"),
            (Groups(2, varied="nope"), "nope"),
        ):
            with pytest.raises(InvalidArgumentError, match=says):
                store.sampler(unit)


# ---- limits ----


def test_a_limit_on_draws(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        writer = store.writer(episode_id="a")
        writer.extend({"x": np.arange(10.0)})
        limit = RateLimit(min_size=20, samples_per_insert=2, error_buffer=16)
        sampler = store.sampler(limit=limit)
        with pytest.raises(WaitTimeoutError, match="0 draws were made, and 8 more"):
            sampler.sample(8, timeout=0.05)
        sampler.wait_for_room(10, timeout=0)
        writer.extend({"x": np.arange(10.0)})
        assert sampler.sample(16, timeout=0).draws == 16
        with pytest.raises(WaitTimeoutError):
            sampler.sample(1, timeout=0)
        state = sampler.state_dict()
        writer.extend({"x": [1.0]})
        assert sampler.sample(2, timeout=0).draws == 2
        # Sixteen draws apart: (21 + n - 20) * 2 <= 18 + 16.
        sampler.wait_for_room(16, timeout=0)
        with pytest.raises(WaitTimeoutError, match="17 more are too many"):
            sampler.wait_for_room(17, timeout=0.02)
        again = store.sampler(limit=limit)
        again.load_state_dict(state)
        assert again.sample(2, timeout=0).draws == 2
        with pytest.raises(WaitTimeoutError):
            again.sample(1, timeout=0)
        with pytest.raises(InvalidArgumentError, match="at most the slack"):
            sampler.sample(17)
        # Of a store that is full already only what comes counts.
        late = store.sampler(limit=limit)
        assert late.sample(16, timeout=0).draws == 16
        with pytest.raises(WaitTimeoutError):
            late.sample(1, timeout=0)
        for wrong in (RateLimit(samples_per_insert=2), RateLimit(1, 1, 0.5), RateLimit(1, -1, 5)):
            with pytest.raises(InvalidArgumentError, match="limit"):
                store.sampler(limit=wrong)


def test_a_limit_counts_the_draws_of_all_epochs(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        writer = store.writer(episode_id="a")
        writer.extend({"x": np.arange(4.0)})
        limit = RateLimit(min_size=1, samples_per_insert=2, error_buffer=10)
        sampler = store.sampler(order="shuffle", limit=limit)
        for _ in range(2):
            assert sampler.sample(4, timeout=0).draws == 4  # an epoch
        assert sampler.sample(2, timeout=0).draws == 2
        with pytest.raises(WaitTimeoutError, match="10 draws were made"):
            sampler.sample(1, timeout=0)


def test_who_waits_is_told(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path / "store")
    writer = store.writer(episode_id="a")
    writer.extend({"x": [0.0]})
    sampler = store.sampler(
        limit=RateLimit(min_size=1, samples_per_insert=1, error_buffer=4), seed=1
    )
    made: list[int] = []
    came: list[int] = []

    def draw() -> None:
        while sum(made) < 200:
            made.append(sampler.sample(4, timeout=20).draws)

    def write() -> None:
        for n in range(200):
            sampler.wait_for_room(1, timeout=20)
            writer.extend({"x": [float(n)]})
            came.append(n)
            assert abs(len(came) - sum(made)) <= 12  # what the others have not noted yet included

    threads = [threading.Thread(target=draw), threading.Thread(target=write)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(made), len(came)) == (200, 200)
    assert time.monotonic() - began < 15
    closed: list[BaseException] = []

    def wait() -> None:
        try:
            sampler.sample(4)
            sampler.sample(4)
        except ClosedError as error:
            closed.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    threading.Event().wait(0.1)
    store.close()
    thread.join()
    assert len(closed) == 1


# ---- mixes ----


def test_a_mix(tmp_path: Path) -> None:
    games, other = Games(tmp_path / "a", 3), Games(tmp_path / "b", 4)
    games.play(120)
    other.play(120)
    first = games.store.sampler(next=("obs",), seed=1)
    second = other.store.sampler(next=("obs",), order="prioritized", seed=2)
    for shares, size, least in (((1, 1), 64, 32), ((3, 1), 10, 7), ((1, 9), 20, 2)):
        mix = Mix({first: shares[0], second: shares[1]}, seed=5)
        total = 0
        for _ in range(200):
            batch = mix.sample(size)
            mine = int((batch.sources == 0).sum())
            assert batch.draws == size
            assert mine in (least, least + 1)
            total += mine
            for of, source in ((games, 0), (other, 1)):
                part = batch.select(np.flatnonzero(batch.sources == source))
                assert_batch(of, part, Steps(), True)
            assert batch.weights is not None
            assert (batch.weights[batch.sources == 0] == 1).all()
        share = shares[0] / sum(shares) * size * 200
        assert abs(total - share) < 40
    third = other.store.sampler(next=("obs",), order="shuffle", seed=3)
    mix = Mix({first: 2, third: 3}, seed=1)
    mix.sample(100)
    state = mix.state_dict()
    wanted = [mix.sample(16).offsets.tolist() for _ in range(5)]
    fourth = other.store.sampler(next=("obs",), order="shuffle")
    again = Mix({games.store.sampler(next=("obs",)): 2, fourth: 3})
    again.load_state_dict(state)
    assert [again.sample(16).offsets.tolist() for _ in range(5)] == wanted
    for wrong in ({}, {**state, "samplers": []}, {**state, "random": [3, [1], None]}):
        with pytest.raises(InvalidArgumentError, match="not that of a mix"):
            again.load_state_dict(wrong)
    short = games.store.sampler(next=("obs",), order="fifo", times=1)
    windows = len(games.windows(Steps(), True))
    ending = Mix({short: 1, first: 1})
    batch = ending.sample(2 * windows + 20)
    assert (batch.draws, int((batch.sources == 0).sum())) == (2 * windows + 10, windows)
    assert_batch(games, batch, Steps(), True)
    unlike: tuple[Sampler, ...] = (
        games.store.sampler(),
        games.store.sampler(Slices(2), next=("obs",)),
        games.store.sampler(NStep(2), next=("obs",)),
        games.store.sampler(next=("obs",), columns=["obs", "tokens"]),
    )
    for sampler in unlike:
        with pytest.raises(InvalidArgumentError, match="cannot be mixed"):
            Mix({first: 1, sampler: 1})
    for shares_of in ({}, {first: 0}, {first: float("nan")}):
        with pytest.raises(InvalidArgumentError, match="numbers above 0"):
            Mix(shares_of)
    games.store.close()
    other.store.close()


def test_a_mix_of_laws_is_as_likely_as_they_say(games: Games) -> None:
    """Half by priority and half uniform: the shares of each step are the mean of both."""
    windows = sorted(games.windows(Steps()))
    values = [float(1 + k % 4) for k in range(len(windows))]
    games.store.update_priorities(windows, values)
    mix = Mix(
        {
            games.store.sampler(seed=1): 1,
            games.store.sampler(order="prioritized", alpha=1, seed=2): 1,
        }
    )
    counts = dict.fromkeys(windows, 0)
    for _ in range(60):
        for offset in firsts(mix.sample(500)):
            counts[offset] += 1
    whole = sum(values)
    assert_shares(
        counts,
        {o: 1 / len(windows) + v / whole for o, v in zip(windows, values, strict=True)},
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"order": "fifo", "newest": 0}, "newest: want an int from 1"),
        ({"times": 255}, "times: want an int from 1"),
        ({"times": 1, "order": "shuffle"}, "draws each once anyway"),
        ({"times": 1, "order": "sequential"}, "draws each once anyway"),
        ({"unit": Slices(2, burn_in=-1)}, "burn_in: want an int from 0"),
        ({"unit": Slices(2, pad="zeros")}, "want a bool or 'edge'"),  # type: ignore[arg-type]
        ({"unit": Slices(1 << 19, burn_in=(1 << 19) + 1)}, "burn_in is 524289"),
        ({"unit": Groups(2), "order": "highest"}, "groups are drawn in"),
        ({"where": 1}, "where"),
    ],
)
def test_bounds_that_cannot_be(games: Games, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        games.store.sampler(**options)


def test_the_state_of_what_was_drawn(games: Games) -> None:
    """What is counted of rows comes back as it was, and what is no count is refused."""
    chance = random.Random(1)
    sampler = games.store.sampler(times=3, seed=1)
    for _ in range(30):
        sampler.sample(chance.randrange(1, 20))
    state = sampler.state_dict()
    again = games.store.sampler(times=3)
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert firsts(again.sample(50)) == firsts(sampler.sample(50))
    for spent in ("AA==", "gA==", "////////////AQ=="):
        position = {**state["position"], "spent": spent}
        with pytest.raises(InvalidArgumentError, match="spent"):
            again.load_state_dict({**state, "position": position})


# ---- laws, by a million draws each ----


def million(sampler: Sampler, where: slice) -> np.ndarray:
    """Return how often draws began at each offset, of a million."""
    counts = np.zeros(0, np.int64)
    batch = sampler.sample(5000)
    for _ in range(200):
        sampler.sample(5000, batch)
        offsets = batch.offsets.reshape(5000, -1)[:, where].reshape(-1)
        found = np.bincount(offsets, minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    return counts


@pytest.mark.slow
def test_laws_hold_for_a_million_draws(tmp_path: Path) -> None:
    """Fresh, after a million updates, with episodes gone, and after a restart."""
    games = Games(tmp_path / "store", 77)
    games.play(700)
    given: dict[int, float] = {}
    units: list[tuple[Unit, slice]] = [
        (Steps(), slice(0, 1)),
        (NStep(3), slice(0, 1)),
        (Slices(4, pad=True, burn_in=2), slice(2, 3)),
    ]
    for stage in ("fresh", "updated", "gone", "again"):
        if stage == "updated":
            chance = np.random.default_rng(5)
            offsets = np.array(sorted(games.by_offset))
            for _ in range(1000):
                values = chance.integers(1, 9, 1000) / 4
                some = chance.choice(offsets, 1000)
                games.store.update_priorities(some, values)
                given |= dict(zip(some.tolist(), values.tolist(), strict=True))
        if stage == "gone":
            for one in [one for one in games.played if one.state == "open"]:
                games.begin(one)
            games.play(200)
            games.lose()
        if stage == "again":
            games.reopen()
        most = max(given.values(), default=1.0)
        for unit, where in units:
            windows = games.windows(unit)
            options: dict[str, Any] = {"columns": ["obs"], "seed": len(stage)}
            uniform = million(games.store.sampler(unit, **options), where)
            assert_even([int(uniform[o]) for o in windows])
            assert uniform.sum() == sum(uniform[o] for o in windows) == 1_000_000
            ranked = million(
                games.store.sampler(unit, order="prioritized", alpha=0.8, **options), where
            )
            weights = {o: (given.get(o, most) + 1e-8) ** 0.8 for o in windows}
            assert_shares({o: int(ranked[o]) for o in windows}, weights)
            taken = million(games.store.sampler(unit, where="action % 2 = 0", **options), where)
            even = [o for o in windows if (windows[o][0].key * 1000 + windows[o][1]) % 2 == 0]
            assert_even([int(taken[o]) for o in even])
            assert sum(taken[o] for o in even) == 1_000_000
    games.store.close()
