"""Batches of a sampler as tensors of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from persisting.trajectory import Slices, TrajectoryStore

if TYPE_CHECKING:
    from pathlib import Path


def test_tensors_have_the_memory_of_the_batch(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "store") as store:
        with store.writer(episode_id="one") as writer:
            done = np.zeros(20, bool)
            writer.extend({"obs": np.ones((20, 3), np.float32), "done": done})
        batch = store.sampler(Slices(3), seed=1).sample(5)
        tensors = batch.torch()
        assert tensors["obs"].shape == (5, 3, 3)
        assert tensors["obs"].data_ptr() == batch["obs"].ctypes.data
        assert tensors["done"].dtype == torch.bool
        assert torch.equal(tensors.mask, torch.ones(5, 3, dtype=torch.bool))
