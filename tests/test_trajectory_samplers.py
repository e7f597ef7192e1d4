"""Samplers of the trajectory store, held against a plain model of what was written."""

from __future__ import annotations

import itertools
import random
import shutil
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting import ClosedError
from persisting._errors import ConflictError, InvalidArgumentError, NotFoundError, ReadOnlyError
from persisting.trajectory import Batch, Groups, NStep, Sampler, Slices, Steps, TrajectoryStore
from tests.games import GAMMA, Games, assert_batch, assert_even, assert_shares, assert_step
from tests.programs.trajectory_sampler import step
from tests.support import Doomed, command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from persisting.trajectory._sampler import Order, Unit

UNITS: list[tuple[Unit, Order, bool]] = [
    (Steps(), "uniform", False),
    (Steps(), "uniform", True),
    (Steps(), "episodes", True),
    (Steps(), "sequential", True),
    (Steps(), "shuffle", True),
    (Slices(4), "uniform", True),
    (Slices(3), "episodes", False),
    (Slices(5, stride=2), "uniform", False),
    (Slices(6, pad=True), "uniform", True),
    (Slices(8, stride=8, pad=True), "shuffle", False),
    (NStep(1, GAMMA), "uniform", True),
    (NStep(5, GAMMA), "uniform", True),
    (NStep(5, GAMMA), "shuffle", True),
]


def a_sampler(games: Games, unit: Unit, order: Order, following: bool, seed: int = 3) -> Sampler:
    """Return a sampler of all columns."""
    return games.store.sampler(unit, order=order, next=("obs",) if following else (), seed=seed)


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Games]:
    played = Games(tmp_path_factory.mktemp("games") / "store", 1)
    played.play(600)
    yield played
    played.store.close()


# ---- what is drawn is what was written ----


@pytest.mark.parametrize(("unit", "order", "following"), UNITS)
def test_all_that_is_drawn_was_written(
    games: Games, unit: Unit, order: Order, following: bool
) -> None:
    sampler = a_sampler(games, unit, order, following)
    out = None
    for _ in range(4):
        batch = sampler.sample(200, out)
        assert batch.draws == 200 or order in ("sequential", "shuffle")
        assert_batch(games, batch, unit, following)
        out = batch if batch.draws == 200 else None


@pytest.mark.parametrize("seed", range(3))
def test_the_model(tmp_path: Path, seed: int) -> None:
    games = Games(tmp_path / "store", seed)
    games.play(30)
    samplers = [
        (unit, f, a_sampler(games, unit, o, f))
        for unit, o, f in UNITS
        if o in ("uniform", "episodes")
    ]
    for turn in range(12):
        games.play(25)
        if turn % 4 == 2:
            games.lose()
        if turn == 6:
            games.reopen()
            samplers = [
                (unit, f, a_sampler(games, unit, o, f))
                for unit, o, f in UNITS
                if o in ("uniform", "episodes")
            ]
        for unit, following, sampler in samplers:
            if games.windows(unit, following):
                assert_batch(games, sampler.sample(20), unit, following)
            else:
                with pytest.raises(NotFoundError):
                    sampler.sample(20)
    games.store.close()


@pytest.mark.parametrize("batches", [100, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_hundred_thousand_windows(games: Games, batches: int) -> None:
    """No window crosses an episode, and no next observation is another's."""
    unit = Slices(4)
    sampler = a_sampler(games, unit, "uniform", True)
    behind = {
        o: one.offsets[at + 1] if at + 1 < len(one.offsets) else -1
        for o, (one, at) in games.by_offset.items()
    }
    after = np.array([behind[o] for o in range(games.rows)])
    seen: dict[int, bytes] = {}
    for _ in range(batches):
        batch = sampler.sample(1000)
        assert (after[batch.offsets[:, :-1]] == batch.offsets[:, 1:]).all()
        assert (batch.episodes == batch.episodes[:, :1]).all()
        assert (np.diff(batch.steps.astype(int), axis=1) == 1).all()
        assert np.array_equal(batch["next_obs"][:, :-1], batch["obs"][:, 1:])
        last = {
            int(o): v.tobytes()
            for o, v in zip(batch.offsets[:, 3], batch["next_obs"][:, 3], strict=True)
        }
        assert all(seen.setdefault(o, v) == v for o, v in last.items())
    steps = games.by_offset
    for offset, value in seen.items():
        one, at = steps[offset]
        ends = at == one.steps - 1 and not one.final
        wanted = np.zeros(3, np.float32) if ends else step(one.key, at + 1)["obs"]
        assert value == wanted.tobytes()


# ---- how often ----


@pytest.mark.parametrize("when", ["fresh", "after some were lost", "reopened"])
def test_each_is_as_likely_as_the_law_says(tmp_path: Path, when: str) -> None:
    games = Games(tmp_path / "store", 5)
    games.play(150)
    for unit, order, following in UNITS:
        if order in ("uniform", "episodes"):
            assert a_sampler(games, unit, order, following).sample(1).draws == 1
    if when != "fresh":
        games.lose()
        games.play(80)
    if when == "reopened":
        games.reopen()
    for unit, order, following in UNITS:
        if order not in ("uniform", "episodes"):
            continue
        windows = games.windows(unit, following)
        sampler = a_sampler(games, unit, order, following)
        counts = dict.fromkeys(windows, 0)
        for _ in range(len(windows) // 20 + 1):
            offsets = sampler.sample(1000).offsets
            for offset in offsets[:, 0] if isinstance(unit, Slices) else offsets:
                counts[int(offset)] += 1
        if order == "uniform":
            assert_even([*counts.values()])
            continue
        by: dict[int, list[int]] = {}
        for offset, (one, _, _) in windows.items():
            by.setdefault(one.key, []).append(counts[offset])
        assert_even([sum(inside) for inside in by.values()])
        longest = max(by.values(), key=len)
        assert_even(longest)
    games.store.close()


@pytest.mark.parametrize(
    ("unit", "order"),
    [
        *itertools.product([Steps(), Slices(3)], ["uniform", "episodes", "sequential", "shuffle"]),
        (Groups(2, length=4), "uniform"),
    ],
)
def test_no_older_ones(tmp_path: Path, unit: Unit, order: Order) -> None:
    with TrajectoryStore(tmp_path / "store") as store:

        def play(first: int, last: int) -> None:
            for n in range(first, last):
                writer = store.writer(group=f"g{n // 2}", episode_id=f"{n}")
                writer.extend({"x": n + np.arange(4) / 4}, version=[n, n, n, n + 1])
                writer.end_episode(terminated=True)

        play(0, 20)
        sampler = store.sampler(unit, order=order, seed=1)
        with pytest.raises(NotFoundError, match="so new a version"):
            store.sampler(unit, seed=1).sample(1, min_version=40)
        found: list[Batch] = []
        for _ in range(20):
            found.append(sampler.sample(30, min_version=15))
            if not found[-1].draws or order == "shuffle":
                break
        seen = np.concatenate([batch.versions.reshape(-1) for batch in found])
        assert {*seen} == set(range(15, 21)) - ({15} if isinstance(unit, Groups) else set())
        if order == "uniform" and unit == Steps():
            assert_even(
                [*np.bincount(np.concatenate([b.steps + 4 * b.episodes for b in found]))][59:]
            )
        play(20, 24)
        newest = store.sampler(unit, order=order, seed=1).sample(400, min_version=22)
        assert {*newest.versions.reshape(-1)} == {22, 23, 24}
        assert store.sampler(Steps(), seed=1).sample(500).versions.min() == 0


def test_few_of_many(tmp_path: Path) -> None:
    """Where nearly nothing fits, what does is as likely as ever."""
    with TrajectoryStore(tmp_path / "store") as store:
        lost = store.writer(episode_id="lost")
        lost.extend({"x": np.zeros(20_000)})
        store.close_lost(0)
        with store.writer(episode_id="kept") as kept:
            kept.extend({"x": np.arange(10.0)})
        found = store.sampler(Slices(8), seed=1).sample(3000)
        assert_even([*np.bincount(found["x"][:, 0].astype(int), minlength=3)])


# ---- orders ----


def test_an_epoch_has_all_of_them_once(games: Games) -> None:
    wanted = {o: 1 for o in games.windows(Steps())}
    orders = []
    for seed in (1, 1, 2):
        sampler = a_sampler(games, Steps(), "shuffle", False, seed)
        epochs = [[int(o) for b in sampler.batches(64) for o in b.offsets] for _ in range(2)]
        for epoch in epochs:
            assert {o: 1 for o in epoch} == wanted
            assert len(epoch) == len(wanted)
        assert epochs[0] != epochs[1]
        orders.append(epochs)
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[2][0]


@pytest.mark.parametrize("order", ["uniform", "episodes", "sequential", "shuffle"])
def test_a_sampler_goes_on_where_it_was(tmp_path: Path, order: Order) -> None:
    games = Games(tmp_path / "store", 9)
    games.play(200)
    for one in games.played:
        if one.state == "open":
            games.end(one)
    whole = a_sampler(games, Steps(), order, False)
    wanted = [whole.sample(16).offsets.tolist() for _ in range(12)]
    sampler = a_sampler(games, Steps(), order, False)
    found = [sampler.sample(16).offsets.tolist() for _ in range(5)]
    state = sampler.state_dict()
    if order != "uniform" and order != "episodes":
        games.begin()
        games.go_on(games.played[-1], 5)
    games.reopen()
    again = a_sampler(games, Steps(), order, False, seed=77)
    again.load_state_dict(state)
    found += [again.sample(16).offsets.tolist() for _ in range(7)]
    assert found == wanted
    with pytest.raises(InvalidArgumentError, match="this sampler has"):
        games.store.sampler(Slices(2), order=order).load_state_dict(state)
    with pytest.raises(InvalidArgumentError, match="not that of a sampler"):
        again.load_state_dict({})
    with pytest.raises(InvalidArgumentError, match="position"):
        again.load_state_dict({**state, "position": {"at": -1}})
    games.store.close()


def test_steps_in_order_wait_for_those_that_are_open(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        first, second = store.writer(episode_id="a"), store.writer(episode_id="b")
        first.extend({"x": np.arange(3.0)})
        second.extend({"x": np.arange(10.0, 13.0)})
        sampler = store.sampler(order="sequential", next=("x",))
        assert sampler.sample(10)["x"].tolist() == [0, 1]
        assert [b["x"].tolist() for b in sampler.batches(10)] == []
        first.extend({"x": [3.0]})
        assert sampler.sample(10)["x"].tolist() == [2, 10, 11]
        first.end_episode({"x": 4.0}, truncated=True)
        second.end_episode(terminated=True)
        rest = [b for b in sampler.batches(1)]
        assert [(b["x"].item(), b["next_x"].item()) for b in rest] == [(12, 0), (3, 4)]


# ---- priorities ----


@pytest.mark.parametrize("unit", [Steps(), Slices(3), NStep(2, GAMMA)])
def test_as_likely_as_priorities_say(tmp_path: Path, unit: Unit) -> None:
    games = Games(tmp_path / "store", 12)
    games.play(120)
    alpha, beta = 0.7, 0.5
    given: dict[int, float] = {}
    for turn in range(4):
        if turn == 1:
            games.lose()
            games.play(40)
        if turn == 3:
            games.reopen()
        options: Any = {"order": "prioritized", "alpha": alpha, "beta": beta, "seed": turn}
        if turn in (0, 3):
            sampler = games.store.sampler(unit, next=("obs",), **options)
        if turn:
            offsets = sorted(games.by_offset)[turn::3]
            values = [games.chance.choice([0.25, 0.5, 1, 2, 3]) for _ in offsets]
            games.store.update_priorities(offsets, values)
            given |= dict(zip(offsets, values, strict=True))
        windows = games.windows(unit, True)
        most = max(given.values(), default=1)
        weights = {o: (given.get(o, most) + 1e-8) ** alpha for o in windows}
        assert [*games.store.priorities([*windows])] == [given.get(o, most) for o in windows]
        counts = dict.fromkeys(windows, 0)
        for _ in range(len(windows) // 10 + 1):
            batch = sampler.sample(1000)
            firsts = batch.offsets[:, 0] if isinstance(unit, Slices) else batch.offsets
            for offset in firsts:
                counts[int(offset)] += 1
            assert batch.weights is not None
            wanted = np.array([weights[int(o)] for o in firsts]) ** -beta
            assert batch.weights.shape == (1000,)
            ratio = batch.weights / wanted
            assert np.allclose(ratio, ratio[0], rtol=2e-6)
            assert batch.weights.max() <= 1 + 1e-6
        assert_shares(counts, weights)
        assert_batch(games, batch, unit, True)
    games.store.close()


def test_priorities_of_zero_are_not_drawn(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        with store.writer(episode_id="one") as writer:
            writer.extend({"x": np.arange(1000.0)})
            assert store.priorities([0, 999]).tolist() == [1, 1]
            sampler = store.sampler(order="prioritized", epsilon=0, seed=1)
            store.update_priorities(np.arange(1000), np.zeros(1000))
            with pytest.raises(NotFoundError, match="nothing to be drawn"):
                sampler.sample(1)
            store.update_priorities([7], [1e-3])
            assert {*sampler.sample(100)["x"]} == {7}
            store.update_priorities([], [])
            writer.extend({"x": [1000.0]})
            writer.flush()
            assert {*sampler.sample(100)["x"]} == {7, 1000}
            assert store.priorities([1000]).tolist() == [np.float32(1e-3)]
        wrong: list[tuple[Any, Any, str]] = [
            ([1], [-1.0], "priority -1 of offset 1"),
            ([1], [np.nan], "priority NaN"),
            ([1], [1e300], "float32 can hold"),
            ([1, 2], [1.0], "priorities for"),
            ([[1]], [[1.0]], "want integers"),
        ]
        for offsets, values, says in wrong:
            with pytest.raises(InvalidArgumentError, match=says):
                store.update_priorities(offsets, values)
        with pytest.raises(NotFoundError, match="offset 1001"):
            store.update_priorities([1001], [1.0])
        with pytest.raises(InvalidArgumentError, match="alpha is -1"):
            store.sampler(order="prioritized", alpha=-1)
        assert store.priorities([7, 8]).tolist() == [np.float32(1e-3), 0]
    with TrajectoryStore(tmp_path / "store") as store:
        assert store.priorities([7, 8]).tolist() == [np.float32(1e-3), 0]
    with TrajectoryStore(tmp_path / "store", read_only=True) as store:
        assert store.priorities([7, 8]).tolist() == [np.float32(1e-3), 0]
        assert {*store.sampler(order="prioritized", epsilon=0).sample(50)["x"]} <= {7, 1000}
        with pytest.raises(ReadOnlyError):
            store.update_priorities([7], [1.0])


# ---- groups ----


def test_groups_are_complete(games: Games) -> None:
    games_of = {
        name: [
            one for one in games.played if one.group == name and one.state == "ended" and one.steps
        ]
        for name in games.groups(2)
    }
    assert len(games_of) > 5
    longest = max(one.steps for one in games.played)
    sampler = games.store.sampler(Groups(2, length=longest), seed=4)
    counts = dict.fromkeys(games_of, 0)
    by_offset = games.by_offset
    for _ in range(40):
        batch = sampler.sample(50)
        assert batch["obs"].shape == (50, 2, longest, 3)
        for i in range(50):
            drawn = [by_offset[int(batch.offsets[i, k, 0])] for k in range(2)]
            assert drawn[0][0] is not drawn[1][0]
            counts[drawn[0][0].group] += 1
            for k, (one, at) in enumerate(drawn):
                assert one in games_of[drawn[0][0].group]
                assert at == 0
                assert batch.mask[i, k].sum() == one.steps
                assert_step(batch, (i, k, one.steps - 1), one, one.steps - 1, False)
    assert_even([*counts.values()])
    with pytest.raises(InvalidArgumentError, match="steps: want a length of at least"):
        games.store.sampler(Groups(2)).sample(500)
    with pytest.raises(NotFoundError):
        games.store.sampler(Groups(9, length=longest)).sample(1)


def test_groups_of_single_steps(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        for prompt in range(5):
            for answer in range(4):
                writer = store.writer(group=f"p{prompt}", episode_id=f"{prompt} {answer}")
                writer.extend({"x": [prompt * 10.0 + answer]})
                if (prompt, answer) != (3, 3):
                    writer.end_episode(terminated=True)
        found = store.sampler(Groups(4), seed=1).sample(64)
        assert found["x"].shape == (64, 4)
        assert all(sorted(row % 10) == [0, 1, 2, 3] for row in found["x"])
        assert {*(found["x"][:, 0] // 10)} == {0, 1, 2, 4}
        assert (found["x"] // 10 == found["x"][:, :1] // 10).all()
        for answer in range(4):
            with store.writer(group="new", episode_id=f"new {answer}") as writer:
                writer.extend({"x": [90.0]})
                writer.end_episode(terminated=True)
        sampler = store.sampler(Groups(4), seed=1)
        assert 9 in sampler.sample(64)["x"] // 10


# ---- the copies ----


def draws(store: TrajectoryStore) -> list[dict[str, bytes]]:
    """Return what samplers of a seed draw."""
    found = []
    units: tuple[Unit, ...] = (Steps(), Slices(3, pad=True), NStep(3))
    for unit in units:
        batch = store.sampler(unit, next=("obs",), seed=11).sample(500)
        found.append({name: batch[name].tobytes() for name in batch})
    return found


def spoil_removed(mirror: Path) -> None:
    shutil.rmtree(mirror)


def spoil_flipped(mirror: Path) -> None:
    (file,) = mirror.glob("*.seg")
    with file.open("r+b") as opened:
        opened.seek(4096 + 777)
        byte = opened.read(1)
        opened.seek(4096 + 777)
        opened.write(bytes([byte[0] ^ 1]))


def spoil_cut(mirror: Path) -> None:
    (file,) = mirror.glob("*.seg")
    with file.open("r+b") as opened:
        opened.truncate(5000)


def spoil_header(mirror: Path) -> None:
    (file,) = mirror.glob("*.seg")
    with file.open("r+b") as opened:
        opened.seek(36)
        opened.write(b"\x00\x00\x00\x00")


def spoil_emptied(mirror: Path) -> None:
    (file,) = mirror.glob("*.seg")
    file.write_bytes(b"")


def spoil_nothing(mirror: Path) -> None:
    assert mirror.exists()


@pytest.mark.parametrize(
    "spoil",
    [spoil_nothing, spoil_removed, spoil_flipped, spoil_cut, spoil_header, spoil_emptied],
)
def test_spoiled_copies_are_made_anew(tmp_path: Path, spoil: Any) -> None:
    games = Games(tmp_path / "store", 2)
    games.play(120)
    wanted = draws(games.store)
    assert games.store.stats()["hot_rows"] == games.rows
    games.store.close()
    spoil(tmp_path / "store" / "mirror")
    games.reopen()
    assert draws(games.store) == wanted
    assert games.store.stats()["hot_rows"] == games.rows
    games.play(60)
    assert games.store.stats()["hot_rows"] == games.rows
    assert_batch(games, a_sampler(games, Steps(), "uniform", True).sample(300), Steps(), True)
    games.store.close()


@pytest.mark.parametrize("options", [{"hot_bytes": 0}, {"read_only": True}])
def test_without_copies_it_is_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    games = Games(tmp_path / "store", 2)
    games.play(120)
    wanted = draws(games.store)
    games.store.close()
    with TrajectoryStore(tmp_path / "store", **options) as store:
        assert draws(store) == wanted
        assert store.stats()["hot_rows"] == 0


def test_a_reader_draws_beside_the_owner(tmp_path: Path) -> None:
    games = Games(tmp_path / "store", 2)
    games.play(60)
    with TrajectoryStore(tmp_path / "store", read_only=True) as reader:
        found = reader.sampler(next=("obs",)).sample(100)
        assert_batch(games, found, Steps(), True)
    games.store.close()


@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_again_and_again(tmp_path: Path, rounds: int) -> None:
    """What a killed program has copied is what it has stored, or is made anew."""
    chance, path = random.Random(rounds), tmp_path / "store"
    given: dict[int, int] = {}  # of offsets the last key
    for life in range(rounds):
        due = chance.randrange(3, 60)
        doomed = Doomed(command("trajectory_sampler", path, life), chance.uniform(0, 0.02))
        key = life * 1000
        for line in doomed.lines():
            if line.startswith("drawn") and line.endswith("\n"):
                *offsets, last = map(int, line.split()[1:])
                given |= dict.fromkeys(offsets, last)
                key = last + 1
            due -= 1
            if due < 0:
                doomed.doom()
        with TrajectoryStore(path) as store:
            if not store.columns:
                continue
            for offset, priority in zip(given, store.priorities([*given]), strict=True):
                # What was acknowledged, or what came behind it.
                assert priority in {1 + offset % 64 + k / 4 for k in (given[offset], key)}
                given[offset] = round((priority - 1 - offset % 64) * 4)
            sampler = store.sampler(seed=life, next=("obs",))
            rows = store.stats()["rows"]
            assert store.stats()["hot_rows"] == rows
            found = sampler.sample(2000)
            taken = store.take(found.offsets)
            for name in found:
                if name in taken:
                    assert found[name].tobytes() == taken[name].tobytes()
            for i, (key, at) in enumerate(zip(found.versions, found.steps, strict=True)):
                wanted = step(int(key), int(at) + 1)["obs"]
                assert found["next_obs"][i].tobytes() == wanted.tobytes()


# ---- at the same time ----


def test_writers_and_samplers_at_once(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        with store.writer(episode_id="0") as writer:
            writer.append(step(0, 0))
            writer.append(step(0, 1))
        done = threading.Event()
        failed: list[tuple[Any, ...]] = []

        def write(thread: int) -> None:
            for n in range(60):
                key = 1 + thread * 1000 + n
                one = store.writer(episode_id=str(key))
                each = [step(key, i) for i in range(10)]
                one.extend({name: [s[name] for s in each] for name in each[0]}, version=key)
                one.end_episode({"obs": step(key, 10)["obs"]}, truncated=True)

        def sample(unit: Unit) -> None:
            sampler = store.sampler(unit, next=("obs",))
            while not done.is_set():
                found = sampler.sample(64)
                keys = found.versions.reshape(-1)
                for i, key in enumerate(keys):
                    at = int(found.steps.reshape(-1)[i])
                    key = max(int(key), 0)
                    if found["obs"].reshape(-1, 3)[i].tobytes() != step(key, at)["obs"].tobytes():
                        failed.append((key, at))
                    following = found["next_obs"].reshape(-1, 3)[i].tobytes()
                    if following != step(key, at + 1)["obs"].tobytes():
                        failed.append((key, at, "next"))

        writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
        samplers = [threading.Thread(target=sample, args=(unit,)) for unit in (Steps(), Slices(2))]
        for thread in (*writers, *samplers):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        for thread in samplers:
            thread.join()
        assert not failed
        assert store.stats()["hot_rows"] == store.stats()["rows"] == 3 * 60 * 11 + 2


def test_a_store_is_closed_beside_its_samplers(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path / "store")
    with store.writer() as writer:
        writer.extend({"x": np.arange(1000.0)})
    ended = []

    def sample() -> None:
        sampler = store.sampler()
        try:
            while True:
                sampler.sample(256)
        except ClosedError:
            ended.append(sampler)

    threads = [threading.Thread(target=sample) for _ in range(3)]
    for thread in threads:
        thread.start()
    threading.Event().wait(0.1)
    store.close()
    for thread in threads:
        thread.join()
    assert len(ended) == 3
    with pytest.raises(ClosedError):
        ended[0].sample(1)


# ---- memory of the caller ----


def test_a_batch_is_drawn_into_again(games: Games) -> None:
    sampler = a_sampler(games, Steps(), "uniform", True)
    batch = sampler.sample(32)
    before = batch["obs"].copy()
    assert sampler.sample(32, batch) is batch
    assert not np.array_equal(before, batch["obs"])
    own = {name: np.empty_like(array) for name, array in batch.items()}
    drawn = sampler.sample(32, own)
    assert drawn["obs"] is own["obs"]
    assert_batch(games, drawn, Steps(), True)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda a: {**a, "obs": a["obs"].astype(np.float64)}, r"out\['obs'\]: want .* float32"),
        (lambda a: {**a, "obs": a["obs"][:, :2]}, r"shape \(8, 3\), not float32 with \(8, 2\)"),
        (lambda a: {**a, "obs": a["obs"][:5]}, r"shape \(8, 3\)"),
        (lambda a: {**a, "obs": [1]}, r"not \[1\]"),
        (lambda a: {**a, "obs": np.asfortranarray(a["obs"])}, "contiguous"),
        (lambda a: {**a, "obs": _frozen(a["obs"])}, "can be written to"),
        (lambda a: {**a, "x": a["obs"]}, "out has the arrays"),
        (lambda a: {}, "out has the arrays"),
    ],
)
def test_memory_that_cannot_be(games: Games, spoil: Any, says: str) -> None:
    sampler = a_sampler(games, Steps(), "uniform", False)
    arrays = dict(sampler.sample(8))
    with pytest.raises(InvalidArgumentError, match=says):
        sampler.sample(8, spoil(arrays))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def test_batches_of_others(games: Games) -> None:
    sampler = a_sampler(games, Steps(), "uniform", False)
    for batch in (sampler.sample(7), a_sampler(games, Steps(), "uniform", False).sample(8)):
        with pytest.raises(InvalidArgumentError, match="want one of this sampler for 8 draws"):
            sampler.sample(8, batch)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"columns": ["nope"]}, NotFoundError, "no column 'nope'"),
        ({"next": ["nope"]}, NotFoundError, "no column 'nope'"),
        ({"columns": ["obs", "obs"]}, InvalidArgumentError, "not all different"),
        ({"order": "random"}, InvalidArgumentError, 'order is "random"'),
        ({"unit": "steps"}, InvalidArgumentError, "unit is 'steps'"),
        ({"unit": Slices(0)}, InvalidArgumentError, "length: want an int from 1"),
        ({"unit": Slices(2, stride=0)}, InvalidArgumentError, "stride: want an int from 1"),
        ({"unit": NStep(0)}, InvalidArgumentError, "n: want an int from 1"),
        ({"unit": NStep(2, gamma=1.5)}, InvalidArgumentError, "gamma is 1.5"),
        ({"unit": NStep(2, reward="action")}, InvalidArgumentError, "rewards are float32"),
        ({"unit": NStep(2, reward="nope")}, InvalidArgumentError, "nope"),
        ({"unit": Groups(2), "order": "shuffle"}, InvalidArgumentError, "groups are drawn in"),
        ({"unit": Groups(2000, length=2000)}, InvalidArgumentError, "at most 1048576"),
        ({"seed": -1}, InvalidArgumentError, "seed: want an int from 0"),
    ],
)
def test_samplers_that_cannot_be(
    games: Games, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        games.store.sampler(**options)


def test_draws_that_cannot_be(games: Games, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="min_version: want an int from -1"):
        games.store.sampler().sample(1, min_version=-3)
    for count in (0, -1, 1 << 21):
        with pytest.raises(InvalidArgumentError, match=f"draws: want an int .*got {count}"):
            games.store.sampler().sample(count)
    with pytest.raises(InvalidArgumentError, match="draws is 100000, want 1 to 65536"):
        games.store.sampler(Slices(16)).sample(100_000)
    with pytest.raises(NotFoundError, match="nothing to be drawn"):
        games.store.sampler(Slices(1000)).sample(1)
    with (
        TrajectoryStore(tmp_path / "empty") as store,
        pytest.raises(NotFoundError, match="no step yet"),
    ):
        store.sampler()
    with pytest.raises(InvalidArgumentError, match="hot_bytes"):
        TrajectoryStore(tmp_path / "other", hot_bytes=-1)


def test_a_final_observation_that_lacks_what_is_next(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        for name in ("a", "b"):
            writer = store.writer(episode_id=name)
            writer.extend({"x": [1.0], "y": [1.0]})
            writer.end_episode({"x": 2.0}, terminated=name == "a", truncated=name == "b")
            if name == "a":
                found = store.sampler(next=("x", "y")).sample(1)
                assert (found["next_x"], found["next_y"]) == (2, 0)
        with pytest.raises(ConflictError, match='has no "y"'):
            store.sampler(next=("x", "y")).sample(100)
        assert {*store.sampler(next=("x",)).sample(100)["next_x"]} == {2}
