"""Saves, commits, tags, deletes and collects until it is killed; says what it has done.

python -m tests.programs.params_writer DIRECTORY
"""

from __future__ import annotations

import sys

import numpy as np

from persisting.params import Box, ParameterStore


def content(version: int) -> dict[str, np.ndarray]:
    """Return the tensors of a version, some of which it has in common with others.

    One is trained: each version moves a few of its values.
    """
    trained = np.random.default_rng(1).normal(size=300_000).astype(np.float32)
    for step in range(version):
        moved = np.random.default_rng(step).integers(0, trained.size, 2000)
        trained[moved] = np.nextafter(trained[moved], np.float32(9))
    return {"trained": trained} | {
        name: np.random.default_rng(seed).integers(0, 255, size, np.uint8)
        for name, seed, size in (
            ("new", version, 700_000),
            ("old", version // 4, 3_000_000),
            ("frozen", 0, 500_000),
            ("small", version, 11),
        )
    }


RANKS = 4


def commit(store: ParameterStore, version: int) -> None:
    """Save a version as ranks do, of which each has some rows of all tensors."""
    transaction = store.begin("m", RANKS)
    for rank in range(RANKS):
        boxes = {}
        for name, value in content(version).items():
            begin, end = (value.size * r // RANKS for r in (rank, rank + 1))
            boxes[name] = Box(value[begin:end], value.shape, (begin,))
        store.part(transaction, rank, boxes)
    store.commit(transaction, tags=["newest"])


def main() -> None:
    """Run."""
    with ParameterStore(sys.argv[1]) as store:
        version = store.latest("m") if store.names() else 0
        print("open", version, flush=True)
        while True:
            version += 1
            if version % 3:
                store.save("m", content(version), tags=["newest"])
            else:
                commit(store, version)
            print("saved", version, flush=True)
            store.set_tag("m", "prod", version, expect=store.tags("m").get("prod", 0))
            print("tagged", version, flush=True)
            if version > 3:
                kept = {v.version for v in store.versions("m")}
                store.delete("m", [v for v in kept if v <= version - 2])
                print("deleted", version - 2, flush=True)
                store.gc()


if __name__ == "__main__":
    main()
