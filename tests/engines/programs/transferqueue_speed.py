"""Puts and gets episodes of 10 KB through TransferQueue, over a bucket and over its own memory.

Prints a line for each: how long a put of 64, a get of 256 and a get of one field of 256 take. The
two take turns, each in a cluster of its own, so that what else the machine does hits both.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import ray
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from tensordict import NonTensorStack, TensorDict

import persisting.integrations.transferqueue  # noqa: F401, registers the storage

if TYPE_CHECKING:
    from collections.abc import Callable

PUT, GET = 64, 256
TOKENS, TEXT = 512, 4096
FIELDS = ("text", "tokens", "logprobs", "reward", "version")


def episodes(count: int) -> TensorDict:
    """Return episodes: text, tokens and their log probabilities, a reward, a version."""
    tokens = [torch.randint(0, 150_000, (TOKENS,)) for _ in range(count)]
    logprobs = [torch.rand(TOKENS) for _ in range(count)]
    return TensorDict(
        {
            "text": NonTensorStack(*("x" * TEXT for _ in range(count))),
            "tokens": torch.nested.as_nested_tensor(tokens, layout=torch.jagged),
            "logprobs": torch.nested.as_nested_tensor(logprobs, layout=torch.jagged),
            "reward": torch.rand(count),
            "version": torch.zeros(count, dtype=torch.int32),
        },
        batch_size=count,
    )


def timed(times: list[float], call: Callable[[], Any]) -> None:
    """Note how long a call takes."""
    began = time.perf_counter()
    call()
    times.append(time.perf_counter() - began)


def measure(backend: str, options: dict[str, Any], rounds: int) -> dict[str, list[float]]:
    """Return the times of all calls."""
    conf = {"storage_backend": backend, backend: options}
    tq.init(OmegaConf.create({"backend": conf, "controller": {"polling_mode": True}}))
    found: dict[str, list[float]] = {"put": [], "get": [], "get one field": []}
    data = episodes(PUT)
    for turn in range(rounds):
        names = [f"{turn}-{i}" for i in range(PUT)]
        timed(
            found["put"],
            partial(tq.kv_batch_put, keys=names, partition_id="p", fields=data),
        )
    for turn in range(rounds):
        names = [f"{(turn + i // PUT) % rounds}-{i % PUT}" for i in range(GET)]
        for what, fields in (("get", list(FIELDS)), ("get one field", ["logprobs"])):
            timed(
                found[what],
                partial(tq.kv_batch_get, keys=names, partition_id="p", select_fields=fields),
            )
    tq.close()
    return found


def main(rounds: int, turns: int) -> None:
    """Measure both in turns and print the medians."""
    all_of: dict[str, dict[str, list[float]]] = {}
    for _ in range(turns):
        for backend in ("SimpleStorage", "Persisting"):
            ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
            with tempfile.TemporaryDirectory() as path:
                options = {"path": path} if backend == "Persisting" else {}
                for what, times in measure(backend, options, rounds).items():
                    all_of.setdefault(backend, {}).setdefault(what, []).extend(times)
                ray.shutdown()
    for backend, found in all_of.items():
        medians = {what: 1000 * statistics.median(times) for what, times in found.items()}
        print(backend, ", ".join(f"{what} {ms:.1f} ms" for what, ms in medians.items()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or (20, 2)))
