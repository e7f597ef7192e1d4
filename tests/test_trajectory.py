"""The trajectory store, held against a plain model of it."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting import ClosedError, SchemaError
from persisting._errors import (
    ConflictError,
    InvalidArgumentError,
    LockedError,
    NotFoundError,
    ReadOnlyError,
)
from persisting.trajectory import Column, DuplicateError, TrajectoryStore, merge

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrajectoryStore]:
    with TrajectoryStore(tmp_path / "store") as opened:
        yield opened


def a_step(value: int) -> dict[str, Any]:
    """Return a step with a column of each kind."""
    return {
        "obs": np.arange(6, dtype=np.float32).reshape(2, 3) + value,
        "mask": np.array([True, value % 2 == 0]),
        "action": value,
        "reward": value / 2,
        "done": value % 3 == 0,
        "tokens": [value] * (1 + value % 3),
        "text": f"step {value}",
        "image": bytes([value % 256]),
    }


def several(first: int, count: int) -> dict[str, Any]:
    """Return steps for `extend`."""
    steps = [a_step(value) for value in range(first, first + count)]
    return {name: [step[name] for step in steps] for name in steps[0]}


def assert_steps(found: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    """Hold columns against steps."""
    assert found.keys() == a_step(0).keys()
    for name, column in found.items():
        assert len(column) == len(steps)
        for have, step in zip(column, steps, strict=True):
            assert np.array_equal(have, step[name]), name


# ---- what is written is read ----


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("buffer_bytes", [0, 300, 1 << 16])
def test_an_episode(tmp_path: Path, buffer_bytes: int, reopened: bool) -> None:
    path = tmp_path / "store"
    store = TrajectoryStore(path)
    writer = store.writer(
        env="maze", group="g", episode_id="one", attempt=2, buffer_bytes=buffer_bytes
    )
    steps = [a_step(value) for value in range(20)]
    for value, step in enumerate(steps):
        assert writer.append(step, version=value) == value
    assert writer.extend(several(20, 5), version=99) == 20
    final = {"obs": a_step(25)["obs"], "text": "the end"}
    writer.end_episode(final, truncated=True, metadata={"seed": 3})
    if reopened:
        store.close()
        store = TrajectoryStore(path)
    found = store.episode("one")
    assert (found.episode_id, found.group, found.env, found.attempt) == ("one", "g", "maze", 2)
    assert (found.state, found.terminated, found.truncated) == ("ended", False, True)
    assert found.metadata == {"seed": 3}
    assert len(found) == 25
    assert_steps(found.steps, [*steps, *(a_step(value) for value in range(20, 25))])
    assert [*found.version] == [*range(20), *[99] * 5]
    assert found.final_observation is not None
    assert found.final_observation.keys() == {"obs", "text"}
    assert np.array_equal(found.final_observation["obs"], final["obs"])
    assert found.steps["obs"].dtype == np.float32
    assert found.steps["mask"].dtype == bool
    assert found.steps["action"].dtype == np.int64
    store.close()


def test_values_are_copied(store: TrajectoryStore) -> None:
    obs = np.zeros(3, np.float32)
    with store.writer(episode_id="one") as writer:
        for value in range(4):
            obs[:] = value
            writer.append({"obs": obs})
        both = {"obs": np.full((2, 3), 4, np.float32)}
        writer.extend(both)
        both["obs"][:] = 9
    assert [*store.episode("one").steps["obs"][:, 0]] == [0, 1, 2, 3, 4, 4]


def test_a_writer_that_is_not_told_says_it_again(store: TrajectoryStore) -> None:
    with store.writer(episode_id="one") as writer:
        writer.extend(several(0, 10))
    again = store.writer(episode_id="one", start=0)
    assert store.writer(episode_id="one").next_step == 10
    for value in range(12):
        again.append(a_step(value))
    again.end_episode(a_step(12), terminated=True)
    assert len(store.episode("one")) == 12
    assert store.stats()["rows"] == 13
    for _ in range(2):
        same = store.writer(episode_id="one", start=0)
        same.extend(several(0, 12))
        same.end_episode(a_step(12), terminated=True)
    other = store.writer(episode_id="one", start=4)
    with pytest.raises(DuplicateError, match=r'step 4 .*"action"') as raised:
        other.extend(several(4, 1) | {"action": [-1]})
    assert raised.value.step == 4
    with pytest.raises(ConflictError, match="has ended with 12 steps"):
        store.writer(episode_id="one").extend(several(12, 1))
    with pytest.raises(ConflictError, match="is ended already"):
        store.writer(episode_id="one").end_episode(terminated=False)
    with pytest.raises(ConflictError, match="gap: the next one is 12"):
        store.writer(episode_id="one", start=13).extend(several(13, 1))


def test_an_append_outlives_its_writer(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        for name in ("forgotten", "open", "superseded"):
            writer = store.writer(episode_id=name)
            for value in range(5):
                writer.append(a_step(value))
        store.writer(episode_id="superseded", attempt=1)
    with pytest.raises(ClosedError):
        writer.append(a_step(5))
    with TrajectoryStore(tmp_path / "store") as store:
        for name in ("forgotten", "open"):
            assert_steps(store.episode(name).steps, [a_step(value) for value in range(5)])
        assert len(store.episode("superseded")) == 0
        assert store.stats()["steps"] == 10
    assert not [*(tmp_path / "store" / "sheets").iterdir()]


def test_steps_that_nobody_sends_are_seen_soon(store: TrajectoryStore) -> None:
    writer = store.writer(episode_id="one")
    writer.append(a_step(0))
    until = time.monotonic() + 30
    while not len(store.episode("one")):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert_steps(store.episode("one").steps, [a_step(0)])
    writer.append(a_step(1))
    writer.close()
    assert_steps(store.episode("one").steps, [a_step(0), a_step(1)])
    assert store.stats()["rows"] == 2


def test_sheets_are_used_again(store: TrajectoryStore) -> None:
    for name in range(20):
        with store.writer(episode_id=str(name)) as writer:
            writer.append({"x": name})
    assert len([*Path(store.path, "sheets").iterdir()]) == 1
    with store.writer(buffer_bytes=0) as writer, store.writer() as other:
        assert writer.append({"x": 1}) == other.append({"x": 1}) == 0
    assert len([*Path(store.path, "sheets").iterdir()]) == 2
    assert store.query()["x"].to_pylist() == [*range(20), 1, 1]


@pytest.mark.parametrize("length", [0, 1000, 100_000])
def test_values_that_fill_a_sheet(store: TrajectoryStore, length: int) -> None:
    steps = [
        {"text": "é" * (length + i), "image": bytes(length), "tokens": [i] * (1 + length // 8)}
        for i in range(200 if length == 1000 else 5)
    ]
    with store.writer(episode_id="one") as writer:
        for step in steps:
            writer.append(step)
    found = store.episode("one").steps
    assert found["text"] == [step["text"] for step in steps]
    assert found["image"] == [step["image"] for step in steps]
    assert [[*tokens] for tokens in found["tokens"]] == [step["tokens"] for step in steps]


def test_nan_and_signs_of_zero_are_the_same_bits(store: TrajectoryStore) -> None:
    values = np.array([np.nan, 0.0, -0.0, np.inf])
    for _ in range(2):
        store.writer(episode_id="one", start=0).extend({"x": values})
    with pytest.raises(DuplicateError):
        store.writer(episode_id="one", start=1).extend({"x": [-0.0]})


def test_a_higher_attempt_supersedes(store: TrajectoryStore) -> None:
    old = store.writer(episode_id="one")
    old.extend(several(0, 5))
    new = store.writer(episode_id="one", attempt=1)
    new.extend(several(50, 3))
    with pytest.raises(ConflictError, match="superseded"):
        old.extend(several(5, 1))
    with pytest.raises(ConflictError, match="superseded by attempt 1"):
        store.writer(episode_id="one", attempt=0)
    assert_steps(store.episode("one").steps, [a_step(value) for value in (50, 51, 52)])
    assert [*store.query()["action"].to_pylist()] == [50, 51, 52]
    found = store.episodes().select(["attempt", "state", "steps"]).to_pylist()
    assert found == [
        {"attempt": 0, "state": "superseded", "steps": 5},
        {"attempt": 1, "state": "open", "steps": None},
    ]


def test_open_episodes_are_closed_as_lost(store: TrajectoryStore) -> None:
    writer = store.writer(episode_id="one")
    writer.extend(several(0, 3))
    assert store.close_lost() == 0
    assert store.close_lost(after=0) == 1
    assert store.close_lost(after=0) == 0
    with pytest.raises(ConflictError, match="is lost"):
        writer.extend(several(3, 1))
    with pytest.raises(ConflictError, match="closed as lost"):
        store.writer(episode_id="one")
    assert store.episode("one").state == "lost"
    assert len(store.query()) == 0
    assert store.writer(episode_id="one", attempt=1).next_step == 0


def test_removed_episodes(tmp_path: Path) -> None:
    store = TrajectoryStore(tmp_path / "store")
    for name in ("one", "two", "three"):
        writer = store.writer(episode_id=name)
        writer.extend(several(0, 3))
        if name != "three":
            writer.end_episode(a_step(3), truncated=True)
    held = writer
    sampler = store.sampler(columns=["action"], seed=1)
    batch = store.lease([0, 4])
    with pytest.raises(NotFoundError, match='no episode "nope"'):
        store.remove(["one", "nope"])
    with pytest.raises(InvalidArgumentError, match="want a list of ids, got 'one'"):
        store.remove("one")
    assert store.remove(["one", "three", "one"]) == 2
    assert store.remove(["one"]) == store.remove([]) == 0
    assert set(sampler.sample(200).offsets) == {4, 5, 6}
    with pytest.raises(ConflictError, match="is removed and takes no more steps"):
        held.extend(several(3, 1))
    for _ in range(2):  # after an opening it is the same
        assert [*store.query()["offset"].to_numpy()] == [4, 5, 6]
        assert store.episodes("state = 'removed'")["episode_id"].to_pylist() == ["one", "three"]
        assert (store.stats()["removed"], store.stats()["steps"]) == (2, 3)
        with pytest.raises(NotFoundError, match='"one" was removed'):
            store.episode("one")
        with pytest.raises(NotFoundError, match="offset 0 is of no step"):
            store.take([0, 4])
        with pytest.raises(ConflictError, match='attempt 0 of episode "one" was removed'):
            store.writer(episode_id="one")
        assert store.pending_batches()[0].batch == batch
        store.close()
        store = TrajectoryStore(tmp_path / "store")
    assert store.writer(episode_id="one", attempt=1).next_step == 0
    store.close()
    reader = TrajectoryStore(tmp_path / "store", read_only=True)
    with reader, pytest.raises(ReadOnlyError):
        reader.remove(["two"])


# ---- merging ----


def test_stores_are_merged(tmp_path: Path) -> None:
    one, two = TrajectoryStore(tmp_path / "one"), TrajectoryStore(tmp_path / "two")
    for name in ("a", "b", "open"):
        writer = two.writer(env="maze", group="g", episode_id=name, attempt=2)
        writer.extend(several(0, 3), version=[4, 5, 6])
        if name != "open":
            writer.end_episode(a_step(3), truncated=True, metadata={"seed": 1})
    two.writer(episode_id="empty").end_episode(metadata={"why": "nothing"})
    two.close()
    with TrajectoryStore(tmp_path / "two", read_only=True) as two:
        for _ in range(2):
            assert merge(one, two, "episode_id != 'b'") == 2
        assert one.columns == two.columns
        for _ in range(2):
            assert merge(one, two) == 3
        assert one.stats()["steps"] == 6
        for name in ("a", "b", "empty"):
            got, wanted = one.episode(name), two.episode(name)
            about = ("group", "env", "attempt", "state", "terminated", "truncated", "metadata")
            for member in about:
                assert getattr(got, member) == getattr(wanted, member)
            assert [*got.version] == [*wanted.version]
            assert_steps(got.steps, [a_step(i) for i in range(3)] if len(got) else [])
        final = one.episode("a").final_observation
        assert final is not None
        assert_steps({name: [value] for name, value in final.items()}, [a_step(3)])
        assert one.remove(["b"]) == 1
        assert merge(one, two) == 2  # what was removed stays so
        assert one.episodes("state = 'ended'")["episode_id"].to_pylist() == ["a", "empty"]
        with pytest.raises(InvalidArgumentError):
            merge(one, two, "nope")
    one.close()


def test_stores_that_do_not_go_together(tmp_path: Path) -> None:
    one, two = TrajectoryStore(tmp_path / "one"), TrajectoryStore(tmp_path / "two")
    assert merge(one, two) == 0
    for store, value in ((one, 1), (two, 2)):
        with store.writer(episode_id="a") as writer:
            writer.extend({"x": np.full(3, value)})
            writer.end_episode(terminated=True)
    with pytest.raises(DuplicateError, match="step 0"):
        merge(one, two)
    one.writer(episode_id="b", attempt=1).extend({"x": np.arange(2)})
    for name in ("b", "c"):
        with two.writer(episode_id=name) as writer:
            writer.extend({"x": np.arange(3)})
            writer.end_episode(terminated=True)
    assert merge(one, two, "episode_id > 'a'") == 1  # of "b" is a higher attempt there
    assert one.episode("b").state == "open"
    with TrajectoryStore(tmp_path / "three") as three:
        three.writer(episode_id="a").extend({"x": np.zeros(2)})
        with pytest.raises(SchemaError, match=r"'x' is Column.*float64.* here and Column.*int64"):
            merge(three, two)
    with TrajectoryStore(tmp_path / "four") as four:
        four.writer(episode_id="a").extend({"x": np.arange(2), "y": np.zeros(2)})
        with pytest.raises(SchemaError, match="'y' is None here and Column"):
            merge(two, four)
    five = TrajectoryStore(tmp_path / "five", columns={"y": Column.text()})
    with five, pytest.raises(SchemaError, match=r"'y' is Column.* here and None there"):
        merge(five, two)
    one.close()
    two.close()


# ---- queries ----


def test_queries(store: TrajectoryStore) -> None:
    assert len(store.query()) == len(store.episodes()) == 0
    for name in ("one", "two"):
        writer = store.writer(episode_id=name, group="g" if name == "one" else "h")
        writer.extend(several(0, 10), version=[*range(10)])
        writer.end_episode(a_step(10), terminated=name == "one")
    found = store.query("reward >= 4 AND version < 9", columns=["reward", "step"])
    assert found.select(["reward", "step"]).to_pylist() == [{"reward": 4.0, "step": 8}] * 2
    assert len(store.query("step >= 0")) == 20
    assert len(store.query(limit=7)) == 7
    again = store.take(store.query("step = 3")["offset"].to_numpy()[::-1], ["text", "obs"])
    assert again["text"] == ["step 3"] * 2
    assert again["obs"].shape == (2, 2, 3)
    ended = store.episodes("terminated AND group_id = 'g'")
    assert ended["episode_id"].to_pylist() == ["one"]
    assert store.episodes("state = 'open'").num_rows == 0
    with pytest.raises(InvalidArgumentError, match="nope"):
        store.query("nope > 1")
    with pytest.raises(InvalidArgumentError):
        store.episodes("nope")
    with pytest.raises(NotFoundError, match="no column 'nope'"):
        store.take([0], ["nope"])
    with pytest.raises(NotFoundError, match="offset 10"):
        store.take([0, 10])  # a last observation
    with pytest.raises(NotFoundError, match="offset 99"):
        store.take([99])
    with pytest.raises(NotFoundError, match="no episode"):
        store.episode("nope")


# ---- consuming ----


def pending(store: TrajectoryStore, task: str | None = None) -> list[tuple[int, str, list[int]]]:
    return [(p.batch, p.task, p.offsets.tolist()) for p in store.pending_batches(task)]


def test_leases(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        store.writer(episode_id="one").extend(several(0, 10))
        assert store.lease([3, 1, 3]) == 0
        assert store.lease(np.array([9], np.uint32), task="eval") == 1
        assert store.tags() == []
        store.tag("step 1")
        store.ack(0)
        store.ack(0)
        store.tag("step 2")
        with pytest.raises(NotFoundError, match="offset 10 is of no step"):
            store.lease([0, 10])
        with pytest.raises(InvalidArgumentError, match="no offsets"):
            store.lease([])
        with pytest.raises(InvalidArgumentError, match="want integers"):
            store.lease([0.5])
        with pytest.raises(NotFoundError, match="no batch 7"):
            store.ack(7)
        with pytest.raises(NotFoundError, match='no tag "step 3"'):
            store.restore("step 3")
    with TrajectoryStore(tmp_path / "store") as store:
        assert pending(store) == [(1, "eval", [9])]
        assert store.tags() == ["step 1", "step 2"]
        store.restore("step 1")
        assert pending(store) == [(0, "default", [3, 1, 3]), (1, "eval", [9])]
        assert pending(store, "eval") == [(1, "eval", [9])]
        assert store.tags() == ["step 1"]
        store.untag("step 1")
        with pytest.raises(NotFoundError):
            store.untag("step 1")
        assert store.lease([0]) == 2
        assert store.take(store.pending_batches()[0].offsets, ["action"])["action"][0] == 3
        with TrajectoryStore(tmp_path / "store", read_only=True) as reader:
            with pytest.raises(ReadOnlyError):
                reader.lease([0])
            assert reader.pending_batches() == []


# ---- types ----


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("text", "holds"),
        (np.zeros(4, np.float32), r"shape \(3,\), not \(4,\)"),
        (np.zeros(3), None),
        (np.full(3, 0.1), "not exactly"),
        (np.array([1, 2, 2**53 + 1]), "not exactly"),
        (np.zeros(3, complex), "steps hold numbers"),
        (np.array([None] * 3), "steps hold numbers"),
        ([1.0, 2.0, 3.0], None),
        ([[1.0], [2.0, 3.0]], "is no array"),
    ],
)
def test_what_a_column_holds(store: TrajectoryStore, value: Any, says: str | None) -> None:
    writer = store.writer(episode_id="one", buffer_bytes=0)
    writer.append({"obs": np.ones(3, np.float32)})
    if says is None:
        writer.append({"obs": value})
        assert np.array_equal(store.episode("one").steps["obs"][1], value)
    else:
        with pytest.raises(SchemaError, match=says if says != "holds" else "steps hold"):
            writer.append({"obs": value})
        assert writer.append({"obs": np.ones(3, np.float32)}) == 1


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({}, r"\['action', .*are missing"),
        (a_step(1) | {"more": 1}, r"\['more'\] are unknown"),
        ({"more" if k == "obs" else k: v for k, v in a_step(1).items()}, r"\['more'\] are unknown"),
        (a_step(1) | {"action": 0.5}, "'action' holds int64"),
        (a_step(1) | {"action": 2**63}, "'action' holds int64"),
        (a_step(1) | {"action": 2**64}, "steps hold numbers"),
        (a_step(1) | {"text": "\ud800"}, "is no text"),
        (a_step(1) | {"tokens": [[1]]}, "'tokens' holds sequences"),
        (a_step(1) | {"text": b""}, "'text' holds text"),
        (a_step(1) | {"image": ""}, "'image' holds binary"),
    ],
)
def test_steps_that_are_others(store: TrajectoryStore, step: dict[str, Any], says: str) -> None:
    writer = store.writer()
    writer.append(a_step(0))
    with pytest.raises(SchemaError, match=says):
        writer.append(step)
    assert writer.next_step == 1


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({}, "at least one column"),
        ({"x": []}, "is not clear"),
        ({"x": np.zeros((0, 3))}, "holds nothing"),
        ({"x": object()}, "steps hold numbers"),
        ({"step": 1}, "has a column of that name itself"),
        ({"version": 1}, "version"),
        ({"x": np.zeros(3, np.complex64)}, "steps hold"),
    ],
)
def test_first_steps_that_cannot_be(
    store: TrajectoryStore, step: dict[str, Any], says: str
) -> None:
    writer = store.writer(buffer_bytes=0)
    with pytest.raises(SchemaError, match=says):
        writer.append(step)
    assert store.columns == {}


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": [1, 2], "y": [1]}, "different lengths"),
        ({"x": []}, "no values"),
        ({"x": [1, 2], "y": ["a", 1]}, "holds text"),
    ],
)
def test_extends_that_cannot_be(store: TrajectoryStore, arrays: dict[str, Any], says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        store.writer().extend(arrays)


def test_integers_do_not_wrap_around(tmp_path: Path) -> None:
    columns = {"x": Column.array(np.uint64), "y": Column.array(np.int8)}
    with TrajectoryStore(tmp_path / "store", columns=columns) as store:
        writer = store.writer()
        writer.append({"x": 2**64 - 1, "y": -1})
        for step in ({"x": -1, "y": 0}, {"x": 0, "y": 255}, {"x": 0, "y": np.uint64(2**64 - 1)}):
            with pytest.raises(SchemaError, match="not exactly"):
                writer.append(step)
        with pytest.raises(SchemaError, match="not exactly"):
            writer.extend({"x": [0], "y": [128]})


def test_columns_that_are_declared(tmp_path: Path) -> None:
    declared = {
        "tokens": Column.ragged(np.int32),
        "reward": Column.array(np.float32),
        "logits": Column.array("float16", (2,)),
    }
    for lengths in ((0, 3), (2, 0)):
        with TrajectoryStore(tmp_path / "store", columns=declared) as store:
            writer = store.writer(episode_id=str(lengths))
            for length in lengths:
                tokens = np.arange(length)
                writer.append({"tokens": tokens, "reward": 0.5, "logits": [1, 2]})
            writer.extend({"tokens": [[], [7]], "reward": [0.5, 2], "logits": np.ones((2, 2))})
            writer.close()
            found = store.episode(str(lengths)).steps
            assert [len(row) for row in found["tokens"]] == [*lengths, 0, 1]
            assert found["tokens"][0].dtype == np.int32
            assert found["logits"].dtype == np.float16
            writer = store.writer()
            with pytest.raises(SchemaError, match="not exactly"):
                writer.append({"tokens": [], "reward": 0.1, "logits": [1, 2]})
    with pytest.raises(SchemaError, match="'reward' is"):
        TrajectoryStore(tmp_path / "store", columns={"reward": Column.array(np.float64)})
    with pytest.raises(SchemaError, match="of that name itself"):
        TrajectoryStore(tmp_path / "other", columns={"step": Column.text()})
    with pytest.raises(InvalidArgumentError, match="want a Column"):
        TrajectoryStore(tmp_path / "other", columns={"x": "int64"})  # type: ignore[dict-item]


# ---- the store and its writers ----


def test_a_store_is_open_once(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        store.writer(episode_id="one").extend(several(0, 3))
        with pytest.raises(LockedError):
            TrajectoryStore(tmp_path / "store")
        with TrajectoryStore(tmp_path / "store", read_only=True) as reader:
            assert len(reader.episode("one")) == 3
            with pytest.raises(ReadOnlyError):
                reader.writer()
    with pytest.raises(NotFoundError):
        TrajectoryStore(tmp_path / "none", read_only=True)
    with pytest.raises(ClosedError):
        store.stats()


@pytest.mark.parametrize("version", [-2, 2**31, True, 1.5])
def test_versions_that_cannot_be(store: TrajectoryStore, version: Any) -> None:
    writer = store.writer()
    writer.append(a_step(0))
    with pytest.raises(InvalidArgumentError, match="version"):
        writer.append(a_step(1), version=version)
    assert writer.next_step == 1


def test_writers_that_are_closed(store: TrajectoryStore) -> None:
    writer = store.writer(episode_id="one")
    writer.append(a_step(0))
    writer.close()
    writer.close()
    with pytest.raises(ClosedError, match="the writer of episode 'one'"):
        writer.append(a_step(1))
    with pytest.raises(ClosedError):
        writer.end_episode()
    assert len(store.episode("one")) == 1
    ended = store.writer(episode_id="one")
    ended.end_episode(terminated=True)
    with pytest.raises(ClosedError):
        ended.flush()
    assert store.episode("one").final_observation is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"attempt": -1}, "attempt"),
        ({"start": -1}, "start"),
        ({"episode_id": ""}, "id of an episode is empty"),
        ({"episode_id": 7}, "episode_id"),
        ({"buffer_bytes": -1}, "buffer_bytes"),
    ],
)
def test_writers_that_cannot_be(store: TrajectoryStore, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        store.writer(**options)


def test_metadata_that_json_cannot_hold(store: TrajectoryStore) -> None:
    writer = store.writer(episode_id="one")
    writer.append(a_step(0))
    for value in (object(), float("nan")):
        with pytest.raises(InvalidArgumentError, match="metadata"):
            writer.end_episode(metadata={"x": value})
    assert store.stats()["ended"] == 0


def test_many_tasks_write(store: TrajectoryStore) -> None:
    async def play(number: int) -> None:
        async with await store.async_writer(episode_id=str(number)) as writer:
            for value in range(number, number + 50):
                await writer.append(a_step(value))
                if value % 7 == 0:
                    await asyncio.sleep(0)
            await writer.extend(several(number + 50, 5))
            await writer.end_episode(a_step(number + 55), truncated=True)

    async def main() -> None:
        await asyncio.gather(*(play(number) for number in range(8)))

    asyncio.run(main())
    assert store.stats()["steps"] == 8 * 55
    for number in range(8):
        steps = [a_step(value) for value in range(number, number + 55)]
        assert_steps(store.episode(str(number)).steps, steps)


# ---- the model ----


class Model:
    """What a store has, as plain Python does it."""

    def __init__(self) -> None:
        self.attempts: dict[str, int] = {}
        self.steps: dict[tuple[str, int], list[int]] = {}
        self.state: dict[tuple[str, int], str] = {}

    def newest(self, name: str) -> tuple[str, int]:
        return name, self.attempts[name]

    def begin(self, name: str, attempt: int) -> None:
        before = self.attempts.get(name)
        if before == attempt:
            if self.state[name, attempt] in ("lost", "removed"):
                raise ConflictError
            return
        if before is not None:
            if attempt < before or self.state[name, before] == "ended":
                raise ConflictError
            self.state[name, before] = "superseded"
        self.attempts[name] = attempt
        self.steps[name, attempt], self.state[name, attempt] = [], "open"

    def append(self, key: tuple[str, int], first: int, values: list[int]) -> None:
        have = self.steps[key]
        if self.state[key] in ("lost", "superseded", "removed") or first > len(have):
            raise ConflictError
        there = have[first : first + len(values)]
        if self.state[key] == "ended" and len(there) < len(values):
            raise ConflictError
        if there != values[: len(there)]:
            raise DuplicateError
        have += values[len(there) :]

    def end(self, key: tuple[str, int]) -> None:
        if self.state[key] not in ("open", "ended"):
            raise ConflictError
        self.state[key] = "ended"

    def lose(self) -> int:
        gone = [key for key, state in self.state.items() if state == "open"]
        self.state |= dict.fromkeys(gone, "lost")
        return len(gone)

    def remove(self, name: str) -> int:
        key = name, self.attempts[name]
        before, self.state[key] = self.state[key], "removed"
        return int(before != "removed")


def outcome(do: Any) -> type[Exception] | None:
    try:
        do()
    except ConflictError as error:
        return type(error)
    return None


def assert_model(store: TrajectoryStore, model: Model) -> None:
    found = store.episodes().to_pylist()
    states = {(row["episode_id"], row["attempt"]): row["state"] for row in found}
    assert states == model.state
    shown = []
    for name, attempt in model.attempts.items():
        key = name, attempt
        if model.state[key] == "removed":
            with pytest.raises(NotFoundError):
                store.episode(name)
            continue
        assert [*store.episode(name).steps.get("x", ())] == model.steps[key]
        if model.state[key] in ("open", "ended"):
            shown += model.steps[key]
    query = store.query()
    assert sorted(query["x"].to_pylist() if len(query) else []) == sorted(shown)


@pytest.mark.parametrize("seed", range(3))
def test_the_model(tmp_path: Path, seed: int) -> None:
    chance, model = random.Random(seed), Model()
    store = TrajectoryStore(tmp_path / "store")
    for _ in range(150):
        name, attempt = chance.choice("abc"), chance.randrange(6)
        known = model.attempts.get(name)
        if known is not None and chance.random() < 0.7:
            attempt = known
        begun = outcome(lambda name=name, attempt=attempt: model.begin(name, attempt))
        try:
            writer = store.writer(episode_id=name, attempt=attempt, start=0)
        except ConflictError:
            assert begun is ConflictError
            continue
        assert begun is None
        key = name, attempt
        have = len(model.steps[key])
        first = chance.randrange(max(0, have - 3), have + 2)
        values = [chance.choice((first + i, first + i, first + i, -1)) for i in range(5)]
        writer = store.writer(episode_id=name, attempt=attempt, start=first)
        wanted = outcome(lambda key=key, f=first, v=values: model.append(key, f, v))
        got = outcome(lambda w=writer, v=values: w.extend({"x": v}))
        assert got == wanted
        if chance.random() < 0.1:
            whole = store.writer(episode_id=name, attempt=attempt, start=len(model.steps[key]))
            wanted = outcome(lambda key=key: model.end(key))
            assert outcome(lambda w=whole: w.end_episode(terminated=True)) == wanted
        if chance.random() < 0.03:
            assert store.close_lost(after=0) == model.lose()
        if chance.random() < 0.05:
            assert store.remove([name]) == model.remove(name)
        if chance.random() < 0.05:
            store.close()
            store = TrajectoryStore(tmp_path / "store")
            assert_model(store, model)
    assert_model(store, model)
    store.close()
