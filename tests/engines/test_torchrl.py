"""torchrl's replay buffers over a store of trajectories."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torchrl.data import TensorDictReplayBuffer
from torchrl.data.replay_buffers import (
    PrioritizedSampler,
    RandomSampler,
    SamplerWithoutReplacement,
    SliceSampler,
    SliceSamplerWithoutReplacement,
)
from torchrl.data.replay_buffers.samplers import prioritized

from persisting._errors import ConflictError, InvalidArgumentError, NotFoundError
from persisting.integrations.torchrl import (
    TrajectoryReplayBuffer,
    TrajectorySampler,
    TrajectoryStorage,
    TrajectoryWriter,
)
from persisting.trajectory import Slices, TrajectoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LENGTH = 5  # of an episode

NEEDS_TREES = pytest.mark.skipif(
    prioritized.SumSegmentTreeFp32 is None,
    reason="the extension of torchrl is built for another torch",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrajectoryStore]:
    with TrajectoryStore(tmp_path / "store", hot_bytes=1 << 20) as opened:
        yield opened


def steps(first: int, count: int, *, ids: bool = True) -> TensorDict:
    """Return steps of which the n-th has the observation n; an episode ends at every fifth."""
    at = torch.arange(first, first + count)
    ends = (at % LENGTH == LENGTH - 1)[:, None]
    data = TensorDict(
        {
            "observation": at.float()[:, None].expand(count, 3).clone(),
            "action": at % 2,
            "done": torch.zeros(count, 1, dtype=torch.bool),
            "next": {
                "observation": at.float()[:, None].expand(count, 3).clone() + 1,
                "reward": at[:, None] / 4,
                "done": ends,
                "terminated": ends & (at[:, None] % 2 == 0),
                "truncated": ends & (at[:, None] % 2 == 1),
            },
        },
        batch_size=[count],
    )
    if ids:
        data["collector", "traj_ids"] = at // LENGTH
    return data


def assert_steps(found: TensorDict, numbers: Any) -> None:
    """Hold steps of a buffer against what they were."""
    wanted = torch.cat([steps(int(n), 1) for n in numbers])
    for key in wanted.keys(include_nested=True, leaves_only=True):
        assert found[key].dtype == wanted[key].dtype
        assert torch.equal(found[key], wanted[key]), key


@pytest.mark.parametrize("ids", [True, False])
def test_steps_and_episodes(store: TrajectoryStore, ids: bool) -> None:
    buffer = TrajectoryReplayBuffer(store, batch_size=4)
    assert len(buffer) == 0
    index = buffer.extend(steps(0, 12, ids=ids))
    assert index.tolist() == [*range(12)]
    assert int(buffer.add(steps(12, 1, ids=ids)[0])) == 12
    assert len(buffer) == 13
    if ids:
        assert_steps(buffer[:], range(13))
        assert_steps(buffer[[3, 3, 0]], [3, 3, 0])
        assert_steps(buffer[4][None], [4])
        assert_steps(buffer[-2:], [11, 12])
    assert torch.equal(buffer["next", "reward"][:, 0], torch.arange(13) / 4)
    states = store.episodes().select(["state", "steps", "terminated", "truncated"]).to_pylist()
    ended = {"state": "ended", "steps": LENGTH}
    assert states == [
        ended | {"terminated": True, "truncated": False},
        ended | {"terminated": False, "truncated": True},
        {"state": "open", "steps": None, "terminated": False, "truncated": False},
    ]
    episode = store.episode(store.episodes()["episode_id"][1].as_py())
    assert episode.final_observation is not None
    assert episode.final_observation["observation"].tolist() == [10.0] * 3


def test_trajectories_that_go_on_beside_each_other(store: TrajectoryStore) -> None:
    buffer = TrajectoryReplayBuffer(store)
    order = [0, 5, 1, 6, 2, 7, 3, 8, 4, 9]
    mixed = torch.cat([steps(n, 1) for n in order])
    buffer.extend(mixed[:5])
    buffer.extend(mixed[5:])
    assert_steps(buffer[:], order)
    for number in range(2):
        name = store.episodes()["episode_id"][number].as_py()
        assert store.episode(name).steps["action"].tolist() == [
            n % 2 for n in range(5 * number, 5 * number + 5)
        ]
    assert store.episodes("state = 'ended'").num_rows == 2


@pytest.mark.parametrize(
    "make",
    [
        RandomSampler,
        lambda: SamplerWithoutReplacement(shuffle=False),
        pytest.param(lambda: PrioritizedSampler(100, alpha=0.7, beta=0.5), marks=NEEDS_TREES),
        lambda: SliceSampler(slice_len=4),
        lambda: SliceSampler(slice_len=4, traj_key="episode"),
        lambda: SliceSampler(slice_len=4, end_key=("next", "done")),
        lambda: SliceSamplerWithoutReplacement(slice_len=5),
    ],
)
def test_samplers_of_torchrl(store: TrajectoryStore, make: Any) -> None:
    sampler = make()
    buffer = TrajectoryReplayBuffer(store, sampler=sampler, batch_size=20)
    buffer.extend(steps(0, 20))
    for more in range(20, 40, 10):
        batch = buffer.sample()
        numbers = batch["observation"][:, 0].long()
        assert torch.equal(batch["next", "observation"][:, 0].long(), numbers + 1)
        assert numbers.max() < len(buffer)
        if isinstance(sampler, SliceSampler):
            length = 5 if isinstance(sampler, SliceSamplerWithoutReplacement) else 4
            windows = numbers.reshape(-1, length)
            assert torch.equal(windows - windows[:, :1], torch.arange(length).expand_as(windows))
            assert torch.equal(windows[:, 0] // LENGTH, windows[:, -1] // LENGTH)
            assert batch["next", "truncated"].reshape(-1, length)[:, -1].all()
        else:
            assert torch.equal(numbers, batch["index"])
        buffer.extend(steps(more, 10))


@NEEDS_TREES
def test_priorities_of_torchrl(store: TrajectoryStore) -> None:
    buffer = TrajectoryReplayBuffer(store, sampler=PrioritizedSampler(100, 1.0, 1.0), batch_size=64)
    buffer.extend(steps(0, 10))
    buffer.update_priority(torch.arange(10), torch.tensor([1e-6] * 9 + [1.0]))
    batch = buffer.sample()
    assert (batch["index"] == 9).float().mean() > 0.9
    batch["td_error"] = torch.where(batch["index"] == 9, 1e-6, 1.0)
    buffer.update_tensordict_priority(batch)
    assert batch["priority_weight"].shape == (64,)


def test_a_ring(store: TrajectoryStore) -> None:
    """The newest steps are drawn, each in the place of an older one, which stays in the store."""
    buffer = TrajectoryReplayBuffer(TrajectoryStorage(store, max_size=8), batch_size=64)
    assert buffer.extend(steps(0, 6)).tolist() == [*range(6)]
    assert buffer.extend(steps(6, 5)).tolist() == [6, 7, 0, 1, 2]
    order = [8, 9, 10, 3, 4, 5, 6, 7]
    assert_steps(buffer[:], order)
    assert torch.equal(buffer.storage[:]["action"], torch.tensor(order) % 2)
    assert set(buffer.sample()["observation"][:, 0].long().tolist()) == {*range(3, 11)}
    assert len(store.query()) == 11
    again = TrajectoryReplayBuffer(TrajectoryStorage(store, max_size=8))
    assert_steps(again[:], order)
    assert again.extend(steps(11, 1)).tolist() == [3]
    slices = TrajectoryReplayBuffer(
        TrajectoryStorage(store, max_size=8), sampler=SliceSampler(slice_len=2), batch_size=64
    )
    first, last = slices.sample()["observation"][:, 0].reshape(-1, 2).unbind(1)
    assert torch.equal(last, first + 1)
    assert first.min() >= 4
    bounded = TrajectoryReplayBuffer(
        TrajectoryStorage(store, max_size=8), sampler=TrajectorySampler(seed=1), batch_size=64
    )
    with pytest.raises(InvalidArgumentError, match="make it without max_size"):
        bounded.sample()


@pytest.mark.parametrize("order", ["uniform", "episodes"])
def test_our_sampler(store: TrajectoryStore, order: str) -> None:
    buffer = TrajectoryReplayBuffer(
        store, sampler=TrajectorySampler(order=order, seed=1), batch_size=256
    )
    buffer.extend(steps(0, 20))
    batch = buffer.sample()
    assert_steps(batch, batch["index"])
    assert set(batch["index"].tolist()) == {*range(20)}
    buffer.extend(steps(20, 5))
    assert set(buffer.sample()["index"].tolist()) == {*range(25)}


def test_our_slices(store: TrajectoryStore) -> None:
    buffer = TrajectoryReplayBuffer(
        store, sampler=TrajectorySampler(Slices(4), seed=1), batch_size=64
    )
    buffer.extend(steps(0, 20))
    batch = buffer.sample()
    windows = batch["observation"][:, 0].reshape(-1, 4)
    assert torch.equal(windows - windows[:, :1], torch.arange(4.0).expand_as(windows))
    assert torch.equal(windows[:, 0] // LENGTH, windows[:, -1] // LENGTH)
    for name in ("truncated", "done"):
        flags = batch["next", name].reshape(-1, 4)
        assert flags[:, -1].all()
        assert not flags[:, :-1].any()
    with pytest.raises(InvalidArgumentError, match="a batch of 6 steps is not of whole 4s"):
        buffer.sample(6)
    with pytest.raises(InvalidArgumentError, match="want Steps, or Slices that are whole"):
        TrajectorySampler(Slices(4, pad=True))


def test_our_priorities(tmp_path: Path) -> None:
    def make(store: TrajectoryStore) -> TrajectoryReplayBuffer:
        sampler = TrajectorySampler(order="prioritized", alpha=1.0, beta=1.0, seed=3)
        return TrajectoryReplayBuffer(store, sampler=sampler, batch_size=200)

    with TrajectoryStore(tmp_path / "store") as store:
        buffer = make(store)
        first = steps(0, 10)
        first["td_error"] = torch.ones(10)
        buffer.extend(first)
        batch = buffer.sample()
        batch["td_error"] = (batch["index"] == 7).float()[:, None].expand(-1, 2)
        buffer.update_tensordict_priority(batch)
        assert set(buffer.sample()["index"].tolist()) == {7}
        with_errors = steps(10, 2)
        with_errors["td_error"] = torch.tensor([0.0, 1.0])
        buffer.extend(with_errors)
        with pytest.raises(InvalidArgumentError):
            buffer.update_priority(torch.arange(2), torch.tensor([-1.0, 1.0]))
    with TrajectoryStore(tmp_path / "store") as store:  # they are durable
        again = make(store)
        assert set(again.sample()["index"].tolist()) == {7, 11}
        weights = again.sample()["priority_weight"]  # 1 is that of the steps that are drawn least
        assert weights.shape == (200,)
        assert ((weights > 0) & (weights < 1e-6)).all()


@pytest.mark.parametrize("order", ["sequential", "shuffle"])
def test_our_epochs(store: TrajectoryStore, order: str, tmp_path: Path) -> None:
    def make() -> TrajectoryReplayBuffer:
        sampler = TrajectorySampler(order=order, seed=5)
        return TrajectoryReplayBuffer(store, sampler=sampler, batch_size=8)

    buffer = make()
    buffer.extend(steps(0, 20))
    drawn = [batch["index"].tolist() for batch in buffer]
    assert [len(batch) for batch in drawn] == [8, 8, 4]
    assert sorted(itertools.chain(*drawn)) == [*range(20)]
    buffer = make()
    first = buffer.sample()["index"].tolist()
    assert first == drawn[0]
    buffer.dumps(tmp_path / "checkpoint")
    again = make()
    again.loads(tmp_path / "checkpoint")
    assert again.sample()["index"].tolist() == drawn[1]
    other = make()
    other.load_state_dict(buffer.state_dict())
    assert other.sample()["index"].tolist() == drawn[1]


CHILD = """
import os, signal, sys
from persisting.integrations.torchrl import TrajectoryReplayBuffer
from persisting.trajectory import TrajectoryStore
from tests.engines.test_torchrl import steps

buffer = TrajectoryReplayBuffer(TrajectoryStore(sys.argv[1]))
buffer.extend(steps(0, 12))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    ended = subprocess.run([sys.executable, "-c", CHILD, str(path)], check=False)
    assert ended.returncode == -9
    with TrajectoryStore(path) as store:
        buffer = TrajectoryReplayBuffer(store, batch_size=12)
        assert_steps(buffer[:], range(12))
        assert buffer.extend(steps(12, 3)).tolist() == [12, 13, 14]
        batch = buffer.sample()
        assert_steps(batch, batch["index"])


def test_what_is_refused(store: TrajectoryStore, tmp_path: Path) -> None:
    buffer = TrajectoryReplayBuffer(store)
    buffer.extend(steps(0, 5))
    with pytest.raises(InvalidArgumentError, match="stored once, behind those that are there"):
        buffer[0] = steps(7, 1)[0]
    with pytest.raises(InvalidArgumentError, match="a store is not emptied by its buffer"):
        buffer.empty()
    with pytest.raises(InvalidArgumentError, match="steps are a TensorDict, not Tensor"):
        buffer.storage.set(5, torch.zeros(3))
    with pytest.raises(InvalidArgumentError, match=r"flatten them by reshape\(-1\)"):
        buffer.extend(steps(5, 6).reshape(2, 3))
    with pytest.raises(InvalidArgumentError, match="a dot stands between"):
        buffer.extend(TensorDict({"a.b": torch.zeros(2)}, [2]))
    with pytest.raises(InvalidArgumentError, match=r"has \['storage'\] of its own"):
        TrajectoryReplayBuffer(store, storage=buffer.storage)
    for index in (5, [0, 9], -6):
        with pytest.raises(IndexError, match="below 5"):
            buffer[index]
    with pytest.raises(KeyError, match="there is no 'nope'"):
        buffer.storage[:]["nope"]
    plain = TensorDictReplayBuffer(sampler=TrajectorySampler(), batch_size=2)
    plain.extend(steps(0, 4))
    with pytest.raises(InvalidArgumentError, match="want a TrajectoryStorage"):
        plain.sample()
    writer = store.writer(episode_id="another")
    writer.extend({name: v[:1] for name, v in store.take([0]).items()})
    with pytest.raises(ConflictError, match="2 steps came, of which this buffer wrote 1"):
        buffer.extend(steps(5, 1))
    assert len(buffer) == 7
    buffer.dumps(tmp_path / "checkpoint")
    with TrajectoryStore(tmp_path / "other") as other:
        with pytest.raises(InvalidArgumentError, match="of a buffer with 7 steps"):
            TrajectoryReplayBuffer(other).loads(tmp_path / "checkpoint")
        with pytest.raises(NotFoundError):
            TrajectoryReplayBuffer(other, sampler=TrajectorySampler(), batch_size=2).sample()


def test_versions_and_texts(store: TrajectoryStore) -> None:
    storage = TrajectoryStorage(store, version_key="policy_version")
    sampler = TrajectorySampler(seed=2, min_version=3)
    buffer = TrajectoryReplayBuffer(storage, sampler=sampler, batch_size=32)
    data = steps(0, 10)
    data["policy_version"] = torch.arange(10) // 2
    data["note"] = [f"step {n}" for n in range(10)]
    buffer.extend(data)
    assert store.query()["version"].to_pylist() == [n // 2 for n in range(10)]
    batch = buffer.sample()
    assert set(batch["index"].tolist()) == {6, 7, 8, 9}
    assert [*batch["note"]] == [f"step {n}" for n in batch["index"].tolist()]
    assert [*buffer[:2]["note"]] == ["step 0", "step 1"]


def test_a_storage_in_a_buffer_of_torchrl(store: TrajectoryStore) -> None:
    buffer = TensorDictReplayBuffer(
        storage=TrajectoryStorage(store),
        writer=TrajectoryWriter(),
        collate_fn=lambda data: data,
        batch_size=6,
        prefetch=2,
    )
    buffer.extend(steps(0, 10))
    for _ in range(5):
        batch = buffer.sample()
        assert_steps(batch, np.asarray(batch["index"]))
    assert 3 in buffer.storage
    assert 10 not in buffer.storage
