"""vLLM's own manager of tiers with ours below it, on the CPU and without a model."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import types
from typing import TYPE_CHECKING, Any

import numpy as np
from vllm.v1.kv_offload.base import (
    LookupResult,
    OffloadingKVEventsConfig,
    ReqContext,
    ScheduleEndContext,
    make_offload_key,
)
from vllm.v1.kv_offload.config import (
    OffloadingCacheConfig,
    OffloadingConfig,
    OffloadingGroupConfig,
    OffloadingModelConfig,
    OffloadingParallelConfig,
)
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory
from vllm.v1.kv_offload.tiering.manager import (
    CPUPrimaryTierOffloadingManager,
    TieringOffloadingManager,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BLOCKS = 32
SIZE = 1 << 16
END = ScheduleEndContext(new_req_ids=(), preempted_req_ids=())

engine_numbers = itertools.count()


def keys_of(count: int, seed: int = 0) -> list[Any]:
    return [make_offload_key((seed << 20 | i).to_bytes(32, "big"), 0) for i in range(count)]


def spec(**changes: Any) -> Any:
    """Return what a tier is told of the engine."""
    parallel = {
        "rank": 0,
        "world_size": 1,
        "tp_size": 1,
        "pp_size": 1,
        "pcp_size": 1,
        "dcp_size": 1,
        "data_parallel_index": 0,
        "data_parallel_size": 1,
        "data_parallel_rank_local": None,
        "is_parallelism_agnostic": True,
    }
    parallel |= {name: changes.pop(name) for name in parallel.keys() & changes.keys()}
    config = OffloadingConfig(
        groups=(OffloadingGroupConfig(tokens_per_block=16, layer_names=("l0", "l1"), group_id=0),),
        worker_kv_bytes_per_block=SIZE,
        enable_kv_cache_events=False,
        extra_config={},
        engine_id=f"test-{os.getpid()}-{next(engine_numbers)}",
        model=OffloadingModelConfig(
            name=changes.pop("model", "org/model"), dtype=changes.pop("dtype", "bfloat16")
        ),
        cache=OffloadingCacheConfig(tokens_per_hash=16, blocks_per_chunk=1),
        parallel=OffloadingParallelConfig(**parallel),
        **changes,
    )
    return types.SimpleNamespace(
        config=config,
        extra_config={},
        blocks_per_chunk=1,
        tokens_per_hash=16,
        tokens_per_block=(16,),
        replicated_layout=False,
        kv_events_config=OffloadingKVEventsConfig(False, False),
    )


def configured(path: Path, **options: Any) -> dict[str, Any]:
    """Return the configuration of our tier as a user writes it."""
    return {
        "type": "PersistingTier",
        "module_path": "persisting.integrations.vllm",
        "path": str(path),
        "capacity": "64 MiB",
        **options,
    }


def tier_of(path: Path, view: memoryview, of: Any = None, **options: Any) -> Any:
    return SecondaryTierFactory.create_secondary_tier(
        configured(path, **options), view, of or spec()
    )


def memory() -> memoryview:
    """Return a primary tier's memory of two dimensions."""
    return np.zeros((BLOCKS, SIZE), np.int8).data


def job(number: int, keys: Sequence[Any], chunks: Sequence[int], load: bool) -> Any:
    from vllm.v1.kv_offload.tiering.base import TransferJob

    return TransferJob(
        job_id=number,
        keys=list(keys),
        chunk_ids=np.array(chunks, np.int32),
        is_promotion=load,
        req_context=ReqContext(req_id="r"),
    )


def finished(tier: Any, count: int = 1) -> list[Any]:
    """Return the results of so many jobs, and see that there are no more."""
    results: list[Any] = []
    deadline = time.monotonic() + 30
    while len(results) < count:
        results += tier.get_finished_jobs()
        assert time.monotonic() < deadline, results
        time.sleep(0.0005)
    assert not list(tier.get_finished_jobs())
    return results


class Engine:
    """A manager of tiers of a new engine, whose primary tier is empty."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.spec = spec()
        size = {"kv_bytes_per_chunk": SIZE, "cpu_page_size": SIZE}
        region = SharedOffloadRegion(
            engine_id=self.spec.config.engine_id, num_chunks=BLOCKS, rank=None, **size
        )
        primary = CPUPrimaryTierOffloadingManager(num_chunks=BLOCKS, mmap_region=region)
        self.view = primary.get_kv_memoryview()
        self.tier = tier_of(path, self.view, self.spec, **options)
        self.manager = TieringOffloadingManager(primary_tier=primary, secondary_tiers=[self.tier])

    def rows(self) -> np.ndarray[Any, Any]:
        return np.frombuffer(self.view, np.uint8).reshape(BLOCKS, SIZE)

    def settle(self) -> None:
        deadline = time.monotonic() + 30
        while self.manager.has_pending_work():
            self.manager.on_schedule_end(END)
            assert time.monotonic() < deadline, "jobs never end"
            time.sleep(0.0005)

    @contextlib.contextmanager
    def request(self, name: str) -> Iterator[ReqContext]:
        with getattr(self.manager, "lock", contextlib.nullcontext()):  # none in vLLM 0.32
            request = ReqContext(req_id=name)
            self.manager.on_new_request(request)
            yield request
            self.manager.on_request_finished(request)

    def store(self, keys: list[Any]) -> dict[Any, bytes]:
        """Fill blocks as the GPU would, and hand them on to our tier."""
        filled = {}
        with self.request("w") as request:
            output = self.manager.prepare_store(keys, request)
            for key, chunk in zip(
                output.keys_to_store, output.store_spec.chunk_ids.tolist(), strict=True
            ):
                filled[key] = os.urandom(SIZE)
                self.rows()[chunk] = np.frombuffer(filled[key], np.uint8)
            self.manager.complete_store(keys, request)
        with getattr(self.manager, "lock", contextlib.nullcontext()):
            self.settle()
        return filled

    def promote(self, keys: list[Any]) -> dict[Any, bytes]:
        """Look blocks up until each is there or is not, and return what is there."""
        with self.request("r") as request:
            for _ in range(1000):
                states = {key: self.manager.lookup(key, request) for key in keys}
                self.manager.on_schedule_end(END)
                if all(s in (LookupResult.HIT, LookupResult.MISS) for s in states.values()):
                    break
                time.sleep(0.0005)
            hits = [key for key in keys if states[key] is LookupResult.HIT]
            if not hits:
                return {}
            chunks = self.manager.prepare_load(hits, request).chunk_ids.tolist()
            found = {k: self.rows()[c].tobytes() for k, c in zip(hits, chunks, strict=True)}
            self.manager.complete_load(hits, request)
        return found

    def close(self) -> None:
        self.manager.shutdown()
