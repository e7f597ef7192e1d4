"""Learns from groups of samples that others write to a store that is served, until it is killed.

The file is its checkpoint: the samples that it learned from, in their order. A batch is learned
from once it is in there, and acknowledged after that.

usage: trajectory_grpo ADDRESS CHECKPOINT PROMPTS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from persisting.trajectory import TrajectoryStore
from tests.programs.trajectory_rollout import SAMPLES, steps

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Trainer:
    """What is learned, and where it is kept."""

    def __init__(self, store: TrajectoryStore, checkpoint: Path) -> None:
        self.store = store
        self.checkpoint = checkpoint
        self.learned: list[list[int]] = []
        if checkpoint.exists():
            self.learned = json.loads(checkpoint.read_text())

    @property
    def prompts(self) -> set[int]:
        """The prompts that were learned from."""
        return {prompt for prompt, _ in self.learned}

    def whole(self) -> list[np.ndarray]:
        """Return the offsets of each group that is whole and new."""
        ended = self.store.episodes("state = 'ended'").to_pylist()
        names = [episode["group_id"] for episode in ended]
        new = {name for name in names if names.count(name) == SAMPLES}
        new -= {f"prompt {prompt}" for prompt in self.prompts}
        found = []
        for name in sorted(new)[:3]:
            numbers = [str(e["number"]) for e in ended if e["group_id"] == name]
            rows = self.store.query(f"episode IN ({', '.join(numbers)})", columns=["episode"])
            found.append(rows["offset"].to_numpy())
        return found

    def learn(self, batch: int, offsets: npt.ArrayLike) -> None:
        """Learn from a batch, unless that was done."""
        found = self.store.take(offsets, ["prompt", "sample", "tokens"])
        samples = sorted({*zip(found["prompt"].tolist(), found["sample"].tolist(), strict=True)})
        expected = [step["tokens"] for sample in samples for step in steps(*sample)]
        assert sorted(map(list, found["tokens"])) == sorted(expected)
        if samples[0][0] not in self.prompts:
            self.learned += [[*sample] for sample in samples]
            temporary = self.checkpoint.with_suffix(".tmp")
            temporary.write_text(json.dumps(self.learned))
            temporary.replace(self.checkpoint)
        self.store.ack(batch)


def main(address: str, checkpoint: Path, prompts: int) -> None:
    """Learn from all groups."""
    with TrajectoryStore.connect(address) as store:
        trainer = Trainer(store, checkpoint)
        print("open", flush=True)
        for lease in store.pending_batches():
            trainer.learn(lease.batch, lease.offsets)
        while len(trainer.prompts) < prompts:
            for offsets in trainer.whole():
                batch = store.lease(offsets)
                print("leased", batch, flush=True)
                trainer.learn(batch, offsets)
                print("learned", len(trainer.learned), flush=True)
            time.sleep(0.01)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
