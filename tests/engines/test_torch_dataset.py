"""The dataset of trajectories with the loaders of torch: workers that are spawned and forked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.integrations.torch import TrajectoryDataset
from persisting.trajectory import NStep, Padded, Slices, TrajectoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STEPS = 330


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[TrajectoryStore]:
    with TrajectoryStore(tmp_path / "store") as store:
        for number in range(10):
            with store.writer(episode_id=str(number)) as writer:
                first = 33 * number
                writer.extend(
                    {
                        "obs": np.arange(first, first + 33, dtype=np.float32)[:, None],
                        "reward": np.ones(33, np.float32),
                    },
                    version=number,
                )
                writer.end_episode({"obs": np.zeros(1, np.float32)}, truncated=True)
        store.serve(tmp_path / "sock")
        yield store


@pytest.fixture
def address(owner: TrajectoryStore, tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'sock'}"


def offsets(batches: Any) -> list[int]:
    return [offset for batch in batches for offset in batch["offsets"].reshape(-1).tolist()]


def load(dataset: TrajectoryDataset, workers: int, context: str | None) -> Any:
    return DataLoader(
        dataset, batch_size=None, num_workers=workers, multiprocessing_context=context
    )


@pytest.mark.parametrize("order", ["shuffle", "sequential"])
@pytest.mark.parametrize(("workers", "context"), [(0, None), (2, "spawn"), (3, "fork")])
def test_workers_give_each_step_once(
    owner: TrajectoryStore, address: str, order: str, workers: int, context: str | None
) -> None:
    wanted = sorted(owner.query()["offset"].to_pylist())
    dataset = TrajectoryDataset(address, 16, order=order, next=("obs",), seed=3)
    batches = [*load(dataset, workers, context)]
    seen = offsets(batches)
    assert sorted(seen) == wanted
    assert len(seen) == STEPS
    for batch in batches:
        assert torch.equal(
            batch["obs"][:, 0].long(), batch["episodes"].long() * 33 + batch["steps"].long()
        )
        following = torch.where(batch["truncated"], 0, batch["obs"][:, 0] + 1)
        assert torch.equal(batch["next_obs"][:, 0], following)
    if order == "shuffle":
        dataset.set_epoch(1)
        again = offsets(load(dataset, workers, context))
        assert sorted(again) == wanted
        assert again != seen


def test_more_workers_than_steps(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        store.writer(episode_id="one").extend({"x": np.arange(2)})
        store.serve(tmp_path / "sock")
        for order in ("shuffle", "sequential"):
            dataset = TrajectoryDataset(f"unix:{tmp_path / 'sock'}", 4, order=order)
            assert sorted(offsets(load(dataset, 4, "fork"))) == [0, 1]
    with TrajectoryStore(tmp_path / "store") as store, pytest.raises(NotFoundError):
        next(iter(TrajectoryDataset(store, 4, min_version=5)))


@pytest.mark.parametrize("prefetch", [0, 3])
def test_it_goes_on_where_it_was(owner: TrajectoryStore, address: str, prefetch: int) -> None:
    def made(store: TrajectoryStore | str) -> TrajectoryDataset:
        return TrajectoryDataset(store, 16, seed=5, prefetch=prefetch)

    whole = offsets(made(owner))
    first = made(address)
    part = []
    for number, batch in enumerate(first):
        part.append(batch)
        if number == 6:
            break
    state = first.state_dict()
    second = made(owner)
    second.load_state_dict(state)
    assert offsets(part) + offsets(second) == whole
    epochs = made(owner)
    assert offsets(epochs) == whole
    assert sorted(offsets(epochs)) == sorted(whole)  # another epoch


def test_orders_without_an_end(owner: TrajectoryStore, address: str) -> None:
    dataset = TrajectoryDataset(address, 8, Slices(4), order="uniform", columns=["obs"], seed=1)
    loader = iter(load(dataset, 2, "fork"))
    one, two = next(loader), next(loader)
    assert one["obs"].shape == (8, 4, 1)
    assert not torch.equal(one["offsets"], two["offsets"])  # of one worker and of the other
    del loader
    batch = next(iter(TrajectoryDataset(owner, 8, NStep(2), order="prioritized", beta=1.0)))
    assert batch["weights"].shape == batch["returns"].shape == (8,)
    recent = next(iter(TrajectoryDataset(owner, 64, order="uniform", min_version=8)))
    assert recent["versions"].min() == 8


def test_columns_of_any_length(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        for number in range(4):
            with store.writer(episode_id=str(number)) as writer:
                writer.extend({"tokens": [[number] * n for n in range(1, 9)]})
        store.serve(tmp_path / "sock")
        dataset = TrajectoryDataset(
            f"unix:{tmp_path / 'sock'}",
            8,
            columns=["tokens"],
            ragged=Padded(-1, length=8),
            where="step < 5",
        )
        batches = [*load(dataset, 2, "fork")]
    assert len(offsets(batches)) == len({*offsets(batches)}) == 4 * 5
    for batch in batches:
        mask, tokens = batch["masks"]["tokens"], batch["tokens"]
        assert torch.equal(mask.sum(1), batch["steps"].long() + 1)
        assert torch.equal(tokens, torch.where(mask, batch["episodes"].long()[:, None], -1))


def test_what_is_refused(owner: TrajectoryStore, address: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="serve the store"):
        iter(load(TrajectoryDataset(owner, 4), 1, "spawn"))
    with pytest.raises(InvalidArgumentError, match="want a TrajectoryStore"):
        TrajectoryDataset(str(tmp_path), 4)
    with pytest.raises(InvalidArgumentError, match="not that of a dataset"):
        TrajectoryDataset(owner, 4).load_state_dict({})
    other = TrajectoryDataset(owner, 4)
    state = {"part": [1, 2], "sampler": {}}
    other.load_state_dict({"epoch": 0, "state": state})
    with pytest.raises(InvalidArgumentError, match="worker 1 of 2"):
        next(iter(other))
    with TrajectoryStore(tmp_path / "named") as store:
        store.writer(episode_id="one").extend({"mask": np.arange(2)})
        with pytest.raises(InvalidArgumentError, match="'mask'"):
            next(iter(TrajectoryDataset(store, 2)))
