"""Writes episodes and draws from them until it is killed."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from persisting.trajectory import TrajectoryStore


def step(key: int, number: int) -> dict[str, Any]:
    """Return what a step of the episode of a key has."""
    return {
        "obs": np.array([key, number, key * 31 + number], np.float32),
        "action": key * 1000 + number,
        "reward": np.float32(number / 4 - key % 7),
        "done": (key + number) % 3 == 0,
        "picture": np.full((2, 5), (key + number) % 251, np.uint8),
        "tokens": [number] * (1 + number % 3),
        "text": f"{key} {number}",
    }


def main(path: str, life: int) -> None:
    """Write, and draw after each episode."""
    with TrajectoryStore(path) as store:
        for number in range(1 << 30):
            key = life * 1000 + number
            writer = store.writer(episode_id=str(key))
            for first in range(0, 30, 10):
                each = [step(key, first + i) for i in range(10)]
                writer.extend({name: [s[name] for s in each] for name in each[0]}, version=key)
                print("steps", flush=True)
            writer.end_episode({"obs": step(key, 30)["obs"]}, truncated=True)
            batch = store.sampler(next=("obs",)).sample(16)
            store.update_priorities(batch.offsets, 1 + batch.offsets % 64 + key / 4)
            print("drawn", *batch.offsets, key, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
