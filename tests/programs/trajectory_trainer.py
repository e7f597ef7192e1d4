"""Consumes steps until it is killed: takes batches, acknowledges them, and writes checkpoints.

The file is its checkpoint: the batches that it learned from, up to a tag of the store.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from persisting.trajectory import TrajectoryStore

BATCH = 4


def restored(store: TrajectoryStore, checkpoint: Path) -> tuple[str, list[list[int]]]:
    """Return the tag and the batches of the checkpoint, to which the store is brought back."""
    learned: list[list[int]]
    tag, learned = "begin", []
    if checkpoint.exists():
        tag, learned = json.loads(checkpoint.read_text())
    if tag in store.tags():
        store.restore(tag)
    else:
        store.tag(tag)
    return tag, learned


def main(path: str, file: str) -> None:
    """Consume all steps, in their order, again and again."""
    checkpoint = Path(file)
    with TrajectoryStore(path) as store:
        print("open", flush=True)
        count = store.stats()["steps"]
        tag, learned = restored(store, checkpoint)
        while True:
            waiting = store.pending_batches()
            if waiting:
                lease = waiting[0]
                batch, offsets = lease.batch, lease.offsets
            else:
                begin = BATCH * len(learned) % count
                offsets = np.arange(begin, begin + BATCH)
                batch = store.lease(offsets)
            assert store.take(offsets, ["x"])["x"].tolist() == offsets.tolist()
            learned.append([batch, *offsets.tolist()])
            store.ack(batch)
            print("learned", len(learned), flush=True)
            if len(learned) % 3 == 0:
                before, tag = tag, f"after {len(learned)}"
                store.tag(tag)
                temporary = checkpoint.with_suffix(".tmp")
                temporary.write_text(json.dumps([tag, learned]))
                temporary.replace(checkpoint)
                store.untag(before)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
