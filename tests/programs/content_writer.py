"""Writes episodes whose steps share values, until it is killed, and says what was acknowledged."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from persisting.trajectory import Column, TrajectoryStore

COLUMNS = {
    "image": Column.binary(by_content=True),
    "prompt": Column.ragged("int32", by_content=True),
}


def image(number: int) -> bytes:
    """Return one of a few images."""
    return bytes([number % 251]) * (1000 + number % 7)


def step(episode: int, number: int) -> dict[str, Any]:
    """Return what a step of an episode has: a group shares a prompt, some steps an image."""
    return {
        "image": image(episode // 2 + number // 3),
        "prompt": np.arange(episode // 4, dtype=np.int32),
        "reward": float(number),
    }


def length(episode: int) -> int:
    """Return how many steps an episode has."""
    return 1 + episode * 5 % 13


def main(path: str, first: int) -> None:
    """Write episodes from the given one on."""
    with TrajectoryStore(path, columns=COLUMNS) as store:
        print("open", flush=True)
        for episode in range(first, 1 << 30):
            writer = store.writer(episode_id=str(episode), start=0)
            for number in range(length(episode)):
                if episode % 3:
                    writer.append(step(episode, number))
                else:
                    writer.extend({name: [v] for name, v in step(episode, number).items()})
                print("steps", episode, number + 1, flush=True)
            writer.end_episode(terminated=True)
            print("ended", episode, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
