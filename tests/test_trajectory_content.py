"""Values that steps share are stored once, read as if each had its own, and go with the last."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from persisting import SchemaError
from persisting._errors import ConflictError, InvalidArgumentError, NotFoundError, ReadOnlyError
from persisting.trajectory import Column, Packed, Padded, Slices, TrajectoryStore
from tests.programs import content_writer
from tests.support import Doomed, command

if TYPE_CHECKING:
    from pathlib import Path

SHARED = {
    "prompt": Column.text(by_content=True),
    "image": Column.binary(by_content=True),
    "tokens": Column.ragged("int32", by_content=True),
    "frame": Column.array("uint8", (2, 3), by_content=True),
}


def a_step(value: int) -> dict[str, Any]:
    """Return a step with a shared value of each kind; three of each there are."""
    kind = value % 3
    return {
        "prompt": "é" * (kind + 1),
        "image": bytes([kind]) * 100,
        "tokens": np.arange(kind, dtype=np.int32),
        "frame": np.full((2, 3), kind, np.uint8),
        "reward": float(value),
    }


def several(first: int, count: int) -> dict[str, Any]:
    """Return steps for `extend`."""
    steps = [a_step(value) for value in range(first, first + count)]
    return {name: [step[name] for step in steps] for name in steps[0]}


def assert_steps(found: dict[str, Any], values: list[int]) -> None:
    """Hold columns against steps."""
    for name, column in found.items():
        assert len(column) == len(values)
        for have, value in zip(column, values, strict=True):
            assert np.array_equal(have, a_step(value)[name]), name


def values_of(store: TrajectoryStore, wanted: int) -> None:
    """Wait until a store has so many values, for what is removed beside the work."""
    deadline = time.monotonic() + 20
    while store.stats()["values"] != wanted:
        assert time.monotonic() < deadline, store.stats()["values"]
        time.sleep(0.01)


def test_samplers_give_values_by_content(tmp_path: Path) -> None:
    columns = {**SHARED, "wrote": Column.segments()}
    with TrajectoryStore(tmp_path / "store", columns=columns) as store:
        with store.writer(episode_id="one") as writer:
            for value in range(10):
                writer.append({**a_step(value), "wrote": [(3, 1), (4, 2 + value)]})
            last = {"prompt": "é", "frame": np.full((2, 3), 9, np.uint8)}
            writer.end_episode(last, truncated=True)
        names = [*SHARED, "wrote", "reward"]
        batch = store.sampler(
            columns=names, next=["prompt", "frame"], order="fifo", ragged=Packed()
        ).sample(10)
        steps = batch.offsets.tolist()
        assert_steps({name: batch[name] for name in a_step(0)}, steps)
        assert batch["frame"].dtype == np.uint8
        assert [each.tolist() for each in batch["wrote"]] == [[[3, 1], [4, 2 + n]] for n in steps]
        behind = [*(a_step(n + 1) for n in steps[:-1]), last]
        assert batch["next_prompt"].tolist() == [step["prompt"] for step in behind]
        assert np.array_equal(batch["next_frame"], [step["frame"] for step in behind])
        padded = store.sampler(
            Slices(4, pad=True), columns=names, order="sequential", ragged=Padded(-1, "left", 3)
        ).sample(10)
        assert padded["frame"].shape == (10, 4, 2, 3)
        for draw, place in np.ndindex(padded.mask.shape):
            there, step = padded.mask[draw, place], a_step(int(padded.offsets[draw, place]))
            tokens = padded["tokens"][draw, place][padded.masks["tokens"][draw, place]]
            assert np.array_equal(tokens, step["tokens"] if there else [])
            assert padded["prompt"][draw, place] == (step["prompt"] if there else "")
            assert padded["image"][draw, place] == (step["image"] if there else b"")
            assert np.array_equal(padded["frame"][draw, place], step["frame"] * there)
            assert padded["wrote"][draw, place].shape == (2 * there, 2)
        with pytest.raises(ConflictError, match="image"):
            store.sampler(columns=["reward"], next=["image"], order="fifo").sample(10)


# Of each column there are three values, and none is the bytes of another column.
ALL = 3 * 4


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize("buffer_bytes", [0, 200, 1 << 16])
def test_each_value_is_stored_once(tmp_path: Path, buffer_bytes: int, reopened: bool) -> None:
    store = TrajectoryStore(tmp_path / "store", columns=SHARED)
    with store.writer(episode_id="one", buffer_bytes=buffer_bytes) as writer:
        for value in range(10):
            writer.append(a_step(value))
        writer.extend(several(10, 10))
        writer.end_episode({"image": b"the last", "prompt": "é"}, truncated=True)
    if reopened:
        store.close()
        store = TrajectoryStore(tmp_path / "store")
        assert {name: store.columns[name] for name in SHARED} == SHARED
    values_of(store, ALL + 1)
    episode = store.episode("one")
    assert_steps(episode.steps, [*range(20)])
    assert episode.steps["frame"].dtype == np.uint8
    assert episode.steps["tokens"][1].dtype == np.int32
    assert episode.steps["image"][0] is episode.steps["image"][3]
    assert episode.final_observation is not None
    assert episode.final_observation["image"] == b"the last"
    assert_steps(store.take([5, 3, 3]), [5, 3, 3])
    found = store.query("reward >= 12 AND reward < 16")
    lists = {name: found[name].to_pylist() for name in a_step(0)}
    lists["frame"] = np.reshape(lists["frame"], (-1, 2, 3))  # as of tensors that are not shared
    assert_steps(lists, [12, 13, 14, 15])
    assert pa.types.is_dictionary(found["prompt"].type)
    assert len(found["prompt"].chunk(0).dictionary) == 3
    assert store.query("reward > 99")["image"].to_pylist() == []
    assert store.query(columns=["image", "step"], limit=2)["image"].to_pylist() == [
        a_step(value)["image"] for value in range(2)
    ]
    store.close()
    with TrajectoryStore(tmp_path / "store", read_only=True) as reader:
        assert_steps(reader.episode("one").steps, [*range(20)])
        with pytest.raises(ReadOnlyError):
            reader.writer(episode_id="two")


def test_images_of_a_group_take_their_space_once(tmp_path: Path) -> None:
    images = [random.Random(i).randbytes(1 << 19) for i in range(12)]
    columns = {"image": Column.binary(by_content=True)}
    with TrajectoryStore(tmp_path / "store", columns=columns) as store:
        for number in range(4):
            with store.writer(group="one", episode_id=str(number)) as writer:
                for image in images:
                    writer.append({"image": image if number % 2 else bytes(bytearray(image))})
                writer.end_episode(terminated=True)
    used = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert used <= 1.05 * sum(map(len, images))


def test_samplers_leave_them_out_unless_they_are_named(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store", columns=SHARED) as store:
        store.writer(episode_id="one").extend(several(0, 9))
        batch = store.sampler(seed=1).sample(4)
        assert [*batch] == ["reward"]
        assert_steps(store.take(batch.offsets), [int(reward) for reward in batch["reward"]])


def test_the_same_again_and_another(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store", columns=SHARED) as store:
        store.writer(episode_id="one").extend(several(0, 4))
        store.writer(episode_id="one", start=0).extend(several(0, 5))
        assert store.stats()["rows"] == 5
        other = several(4, 1) | {"image": [b"another"]}
        with pytest.raises(Exception, match='another value in column "image"'):
            store.writer(episode_id="one", start=4).extend(other)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("prompt", b"x", "'prompt' holds text"),
        ("prompt", "\ud800", "'prompt'.*is no text"),
        ("image", "x", "'image' holds binary"),
        ("tokens", [0.5], "'tokens' holds int32"),
        ("frame", np.zeros((3, 2), np.uint8), r"'frame' has the shape \(2, 3\)"),
        ("frame", np.zeros(32, np.uint8), r"'frame' has the shape \(2, 3\)"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, name: str, value: Any, says: str) -> None:
    with TrajectoryStore(tmp_path / "store", columns=SHARED) as store:
        writer = store.writer(episode_id="one")
        for _ in range(2):
            with pytest.raises(SchemaError, match=says):
                writer.append(a_step(0) | {name: value})
            with pytest.raises(SchemaError, match=says):
                writer.extend({key: [v] for key, v in (a_step(0) | {name: value}).items()})
            writer.append(a_step(0))
        assert writer.next_step == 2


def test_tasks_write_them(tmp_path: Path) -> None:
    async def play(store: TrajectoryStore, name: str) -> None:
        async with await store.async_writer(episode_id=name) as writer:
            for value in range(20):
                await writer.append(a_step(value))

    async def main() -> None:
        with TrajectoryStore(tmp_path / "store", columns=SHARED) as store:
            await asyncio.gather(*(play(store, name) for name in "abcd"))
            for name in "abcd":
                assert_steps(store.episode(name).steps, [*range(20)])
            assert store.stats()["values"] == ALL

    asyncio.run(main())


@pytest.mark.parametrize("seed", range(2))
def test_the_model(tmp_path: Path, seed: int) -> None:
    """Attempts supersede each other; after each opening just what can be read is there."""
    chance = random.Random(seed)
    columns = {"image": Column.binary(by_content=True)}
    newest: dict[str, int] = {}
    steps: dict[str, list[int]] = {}
    for _ in range(8):
        with TrajectoryStore(tmp_path / "store", columns=columns) as store:
            for name in steps:
                found = [*store.episode(name).steps.get("image", ())]
                assert found == [bytes([value]) * 50 for value in steps[name]]
            values_of(store, len({value for own in steps.values() for value in own}))
            for _ in range(chance.randrange(6)):
                name = chance.choice("abcd")
                attempt = newest.get(name, 0) + chance.randrange(2)
                if attempt != newest.get(name):
                    newest[name], steps[name] = attempt, []
                writer = store.writer(episode_id=name, attempt=attempt)
                values = [chance.randrange(20) for _ in range(chance.randrange(4))]
                for value in values:
                    writer.append({"image": bytes([value]) * 50})
                writer.close()
                steps[name] += values


@pytest.mark.parametrize("rounds", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_again_and_again(tmp_path: Path, rounds: int) -> None:
    chance, ended, told = random.Random(rounds), -1, 0
    for _ in range(rounds):
        due = chance.randrange(50)
        argv = command("content_writer", tmp_path / "store", ended + 1)
        writer = Doomed(argv, chance.uniform(0, 0.03))
        for line in writer.lines():
            word, *numbers = line.split()
            if line.endswith("\n") and word == "steps":
                told = int(numbers[1])
            elif line.endswith("\n") and word == "ended":
                ended, told = int(numbers[0]), 0
            due -= 1
            if due < 0:
                writer.doom()
        with TrajectoryStore(tmp_path / "store") as store:
            count, named = len(store.episodes()), set()
            for number in range(count):
                episode = store.episode(str(number))
                assert len(episode) >= (content_writer.length(number) if number <= ended else 0)
                if number == ended + 1:
                    assert len(episode) >= told
                for at in range(len(episode)):
                    step = content_writer.step(number, at)
                    assert episode.steps["image"][at] == step["image"]
                    assert np.array_equal(episode.steps["prompt"][at], step["prompt"])
                    named |= {step["image"], step["prompt"].tobytes()}
            # An image and a prompt may have been stored for the step that did not come any more.
            assert store.stats()["values"] - len(named) in range(3)
        ended, told = max(ended, count - 2), 0
    assert ended > rounds


def test_a_step_names_no_value_that_is_gone(tmp_path: Path) -> None:
    """As of a program that was connected to an owner that ended, and knows names from before."""
    columns = {"image": Column.binary(by_content=True)}
    with TrajectoryStore(tmp_path / "store", columns=columns) as store:
        server = store.serve(tmp_path / "socket")
        far = TrajectoryStore.connect(f"unix:{tmp_path}/socket", columns=columns)
        image = bytes(range(100))
        far.writer(episode_id="a").extend({"image": [image]})
        far.remove(["a"])
        server.close()
    with TrajectoryStore(tmp_path / "store", columns=columns) as store:
        values_of(store, 0)
        with store.serve(tmp_path / "socket"), far:
            writer = far.writer(episode_id="b")
            with pytest.raises(NotFoundError, match="no value of that name"):
                writer.extend({"image": [image]})
            assert store.stats()["rows"] == 1
            writer.extend({"image": [bytes(bytearray(image))]})  # another object
            assert far.episode("b").steps["image"] == [image]


# ---- versions of segments ----


def test_segments(tmp_path: Path) -> None:
    columns = {"parts": Column.segments()}
    parts: list[Any] = [[(3, 2), (4, 5)], [(7, 1)], np.array([[9, 4], [6, 8], [9, 9]])]
    with TrajectoryStore(tmp_path / "store", columns=columns) as store:
        writer = store.writer(episode_id="one")
        for value, part in enumerate(parts):
            writer.append({"parts": part, "x": value})
        writer.extend({"parts": parts, "x": [3, 4, 5]})
        writer.end_episode(terminated=True)
    with TrajectoryStore(tmp_path / "store") as store:
        assert store.columns["parts"] == Column.segments()
        episode = store.episode("one")
        assert [*episode.version] == [3, 7, 6] * 2
        for found, part in zip(episode.steps["parts"], [*parts, *parts], strict=True):
            assert found.dtype == np.int32
            assert np.array_equal(found, part)
        versions, ends = episode.steps["parts"][0].T
        assert [*np.repeat(versions, np.diff(ends, prepend=0))] == [3, 3, 4, 4, 4]
        assert store.query("version >= 6")["x"].to_pylist() == [1, 2, 4, 5]
        sampler = store.sampler(columns=["x"], seed=1)
        assert {*sampler.sample(64, min_version=6)["x"]} == {1, 2, 4, 5}
        assert {*sampler.sample(64, min_version=7)["x"]} == {1, 4}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([], "at least one"),
        ([3, 4], "pairs of a version"),
        ([(1, 2, 3)], "pairs of a version"),
        ([(-2, 1)], "-1 or more"),
        ([(1, 3), (2, 3)], "ends grow"),
        ([(1, -1)], "ends grow"),
        ([(1, 0.5)], "not exactly"),
        ([(1 << 31, 1)], "not exactly"),
    ],
)
def test_segments_that_cannot_be(tmp_path: Path, value: Any, says: str) -> None:
    with TrajectoryStore(tmp_path / "store", columns={"parts": Column.segments()}) as store:
        writer = store.writer(episode_id="one")
        for _ in range(2):
            with pytest.raises(SchemaError, match=says):
                writer.append({"parts": value})
            with pytest.raises(SchemaError, match=says):
                writer.extend({"parts": [value]})
            writer.append({"parts": [(1, 2)]})
        for version in (3, np.array([3])):
            with pytest.raises(InvalidArgumentError, match="the segments of steps say it"):
                writer.extend({"parts": [[(3, 4)]]}, version=version)
        with pytest.raises(InvalidArgumentError, match="the segments of steps say it"):
            writer.append({"parts": [(3, 4)]}, version=3)
