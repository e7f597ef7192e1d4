"""Writes episodes until it is killed, and says what was acknowledged.

It begins with saying all of the episode again that was under way before, as a writer does that was
told nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from persisting.trajectory import TrajectoryStore

WIDTH = 5


def step(episode: int, number: int) -> dict[str, Any]:
    """Return what a step of an episode has."""
    value = episode * 1000 + number
    return {
        "obs": np.full(WIDTH, value, np.float32),
        "tokens": [value] * ((number + 1) % 4),
        "reward": value / 2,
    }


def length(episode: int) -> int:
    """Return how many steps an episode has."""
    return 1 + episode * 7 % 40


def steps(episode: int, start: int, stop: int) -> dict[str, Any]:
    """Return several steps, for `extend`."""
    each = [step(episode, number) for number in range(start, stop)]
    return {name: [one[name] for one in each] for name in each[0]}


def main(path: str, first: int) -> None:
    """Write episodes from the given one on."""
    with TrajectoryStore(path) as store:
        print("open", flush=True)
        for episode in range(first, 1 << 30):
            writer = store.writer(episode_id=str(episode), group=str(episode // 4), start=0)
            end = length(episode)
            if episode % 2:
                for number in range(end):
                    writer.append(step(episode, number), version=episode)
                    if episode % 4 == 1 and number % 5 == 4:
                        writer.flush()
                    print("steps", episode, number + 1, flush=True)
            else:
                for number in range(0, end, 8):
                    stop = min(number + 8, end)
                    writer.extend(steps(episode, number, stop), version=episode)
                    print("steps", episode, stop, flush=True)
            final = {"obs": step(episode, end)["obs"]}
            writer.end_episode(final, truncated=episode % 3 == 0, metadata={"seed": episode})
            print("ended", episode, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
