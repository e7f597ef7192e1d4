"""Writes its share of the samples of all prompts to a store that is served, through its crashes.

usage: trajectory_rollout ADDRESS WORKER WORKERS PROMPTS
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from persisting._errors import ClosedError
from persisting.trajectory import TrajectoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from persisting.trajectory import Writer

T = TypeVar("T")
SAMPLES = 4  # of a prompt


def again(do: Callable[[], T]) -> T:
    """Do something until the owner of the store is there for it."""
    while True:
        try:
            return do()
        except ClosedError:
            time.sleep(0.02)


def tokens(prompt: int, sample: int, step: int) -> list[int]:
    """Return what was generated in a step."""
    return [prompt, sample, step][: 1 + step % 3]


def steps(prompt: int, sample: int) -> list[dict[str, Any]]:
    """Return the steps of a sample."""
    return [
        {
            "prompt": prompt,
            "sample": sample,
            "tokens": tokens(prompt, sample, step),
            "logprobs": np.full(4, step, np.float32),
        }
        for step in range(1 + (prompt + sample) % 5)
    ]


def add(writer: Writer, number: int, step: dict[str, Any]) -> None:
    """Append the step of that number, unless an append that failed has kept it."""
    if writer.next_step == number:
        writer.append(step)


def rollout(store: TrajectoryStore, prompt: int, sample: int) -> None:
    """Write a sample, from wherever it is."""
    episode, group = f"{prompt}/{sample}", f"prompt {prompt}"
    writer = again(lambda: store.writer(episode_id=episode, group=group, start=0))
    for number, step in enumerate(steps(prompt, sample)):
        again(partial(add, writer, number, step))
    again(lambda: writer.end_episode(terminated=True, metadata={"reward": sample / SAMPLES}))


def main(address: str, worker: int, workers: int, prompts: int) -> None:
    """Write all of the share."""
    store = again(lambda: TrajectoryStore.connect(address))
    for number in range(worker, prompts * SAMPLES, workers):
        rollout(store, *divmod(number, SAMPLES))
        time.sleep(0.01)
    again(store.close)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
