"""Saves and loads a state dict with torch.distributed.checkpoint, in several processes with gloo.

    python -m tests.engines.programs.dcp DIRECTORY sync:4 load:1 load:8

saves with 4 ranks and loads with 1 and 8, one after the other. A save is "sync", or in the
background with a "thread" or a "process". Each rank of a load holds what it got against what was
saved, bit by bit, sharded in ways of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from persisting.integrations.dcp import StoreReader, StoreWriter

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int16,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.int64,
    torch.float64,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


def bits(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Make a tensor of random bytes, the same in every process."""
    generator = torch.Generator().manual_seed(seed)
    high = 2 if dtype is torch.bool else 256
    size = dtype.itemsize * torch.Size(shape).numel()
    flat = torch.randint(0, high, (size,), dtype=torch.uint8, generator=generator)
    return flat.view(dtype).view(shape)


def originals() -> dict[str, torch.Tensor]:
    """Make the tensors that are sharded: one of each dtype, and some with odd shapes."""
    found = {str(dtype): bits((13, 24), dtype, i) for i, dtype in enumerate(DTYPES)}
    found["few rows"] = bits((3, 5), torch.float32, 100)
    found["deep"] = bits((9, 4, 6), torch.bfloat16, 101)
    found["long"] = bits((50_001,), torch.float32, 102)
    return found


def placements(saving: bool) -> list[Any]:
    """Return what becomes of one tensor after the other on a mesh of two dimensions."""
    if saving:
        return [[Replicate(), Shard(0)], [Shard(0), Shard(1)], [Shard(1), Replicate()]]
    return [[Shard(1), Shard(0)], [Replicate(), Replicate()], [Replicate(), Shard(1)]]


def sharded(mesh: Any, saving: bool, empty: bool) -> dict[str, Any]:
    """Distribute the tensors over the ranks, as FSDP and tensor parallelism do."""
    found: dict[str, Any] = {}
    ways = placements(saving)
    for i, (name, whole) in enumerate(originals().items()):
        way = ways[i % len(ways)]
        if whole.dim() == 1:
            way = [Replicate(), Shard(0)]
        start = torch.zeros_like(whole) if empty else whole
        found[name] = local(start, mesh, way)
    return found


def local(whole: torch.Tensor, mesh: Any, way: list[Any]) -> DTensor:
    """Return a DTensor of which this rank has made its own part, without a collective."""
    from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

    sizes, offsets = compute_local_shape_and_global_offset(whole.shape, mesh, way)
    where = tuple(slice(a, a + n) for a, n in zip(offsets, sizes, strict=True))
    return DTensor.from_local(
        whole[where].clone(), mesh, way, run_check=False, shape=whole.shape, stride=whole.stride()
    )


def state_dict(mesh: Any, *, saving: bool) -> dict[str, Any]:
    """Return what is saved, or what a load fills."""
    zero = not saving
    return {
        "model": sharded(mesh, saving, zero),
        "whole": torch.zeros(7, 5) if zero else bits((7, 5), torch.float32, 200),
        "turned": torch.zeros(8, 6).T if zero else bits((8, 6), torch.float32, 201).T,
        "scalar": torch.tensor(0.0 if zero else 0.5),
        "nothing": torch.zeros(0, 4),
        "optimizer": {"step": 0 if zero else 17, "groups": [{"lr": 0.0 if zero else 0.25}]},
    }


def same(found: torch.Tensor, saved: torch.Tensor) -> bool:
    """Whether two tensors are the same, bit by bit."""
    if (found.dtype, found.shape) != (saved.dtype, saved.shape):
        return False
    flat = [t.contiguous().reshape(-1) for t in (found, saved)]
    return not found.numel() or torch.equal(*(t.view(torch.uint8) for t in flat))


def check(state: dict[str, Any], mesh: Any) -> None:
    """Hold what was loaded against what was saved."""
    expected = state_dict(mesh, saving=True)
    for name, whole in originals().items():
        got = state["model"][name]
        want = local(whole, mesh, got.placements)
        assert same(got.to_local(), want.to_local()), name
    for name in ("whole", "turned", "scalar", "nothing"):
        assert same(state[name], expected[name]), name
    assert state["optimizer"] == expected["optimizer"], state["optimizer"]


def save(directory: Path, mesh: Any, how: str) -> None:
    """Save, and change the tensors at once where that may be done."""
    writer = StoreWriter(directory / "store", "m", tags=["saved"], metadata={"how": how})
    state = state_dict(mesh, saving=True)
    if how == "sync":
        dcp.save(state, storage_writer=writer)
        if dist.get_rank() == 0:
            assert writer.version == 1
        return
    kind = AsyncCheckpointerType.THREAD if how == "thread" else AsyncCheckpointerType.PROCESS
    saved = dcp.async_save(state, storage_writer=writer, async_checkpointer_type=kind)
    for value in state["model"].values():
        value.to_local().view(torch.uint8).zero_()
    saved.result()


def rank(number: int, task: str, directory: str, ranks: int, port: int) -> None:
    """Do the task as one of the ranks."""
    here = Path(directory)
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(number)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=number, world_size=ranks, timeout=timedelta(seconds=120))
    outer = 2 if ranks % 2 == 0 else 1
    mesh = init_device_mesh("cpu", (outer, ranks // outer), mesh_dim_names=("dp", "tp"))
    if task == "load":
        state = state_dict(mesh, saving=False)
        dcp.load(state, storage_reader=StoreReader(here / "store", "m", version="saved"))
        check(state, mesh)
    else:
        save(here, mesh, task)
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    directory, *tasks = sys.argv[1:]
    preloaded = ["torch.distributed.tensor", "persisting.integrations.dcp"]
    multiprocessing.set_forkserver_preload(preloaded)
    for text in tasks:
        task, ranks = text.split(":")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        arguments = (task, directory, int(ranks), port)
        # One process imports torch, and the ranks are its children.
        mp.start_processes(rank, arguments, nprocs=int(ranks), start_method="forkserver")
        print(text, "done", flush=True)


if __name__ == "__main__":
    main()
