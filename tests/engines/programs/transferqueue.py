"""Puts samples and saves a checkpoint, or loads it and prints what there is."""

from __future__ import annotations

import json
import sys
import time

import ray
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from tensordict import TensorDict

import persisting.integrations.transferqueue  # noqa: F401, registers the storage

KEYS = [f"sample {i}" for i in range(8)]


def samples(base: int) -> TensorDict:
    """Return samples of different lengths."""
    rows = [torch.full((i + 1,), base + i) for i in range(len(KEYS))]
    tokens = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    return TensorDict({"tokens": tokens}, batch_size=len(KEYS))


def save(checkpoint: str) -> None:
    """Save, go on so that what was saved is not what there is, and wait for the end."""
    tq.kv_batch_put(keys=KEYS, partition_id="p", fields=samples(0))
    tq.save_checkpoint(checkpoint)
    tq.kv_clear(keys=KEYS[:4], partition_id="p")
    tq.kv_batch_put(keys=KEYS, partition_id="p", fields=samples(100))
    print("saved", flush=True)
    time.sleep(600)


def load(checkpoint: str) -> None:
    """Load and print all samples."""
    tq.load_checkpoint(checkpoint)
    names = [*tq.kv_list(partition_id="p")["p"]]
    found = tq.kv_batch_get(keys=names, partition_id="p")["tokens"]
    print(json.dumps({name: row.tolist() for name, row in zip(names, found, strict=True)}))


def main(action: str, path: str, checkpoint: str) -> None:
    """Do one of them."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    backend = {"storage_backend": "Persisting", "Persisting": {"path": path}}
    tq.init(OmegaConf.create({"backend": backend, "controller": {"polling_mode": True}}))
    {"save": save, "load": load}[action](checkpoint)
    tq.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
