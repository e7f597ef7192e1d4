"""Lets vLLM offload without a GPU: the copies of the device are plain ones on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from vllm.v1.kv_offload.base import OffloadingWorker, TransferResult
from vllm.v1.kv_offload.cpu.shared_offload_region import SharedOffloadRegion
from vllm.v1.kv_offload.tiering.spec import TieringOffloadingSpec


class CpuWorker(OffloadingWorker):  # type: ignore[misc]
    """Copies blocks between vLLM's cache and the memory of the primary tier, one a chunk."""

    def __init__(self, caches: Any, region: Any) -> None:
        tensors = [cache.tensor for cache in caches.tensors]
        self.device = [t.view(torch.int8).reshape(t.shape[0], -1) for t in tensors]
        self.host = [region.create_next_worker_view(c.page_size_bytes) for c in caches.tensors]
        self.region = region
        self.done: list[Any] = []

    def _copy(self, job: int, blocks: Any, chunks: Any, store: bool) -> bool:
        for device, host in zip(self.device, self.host, strict=True):
            size = min(device.shape[1], host.shape[1])
            for block, chunk in zip(blocks.tolist(), chunks.tolist(), strict=False):
                if store:
                    host[chunk, :size].copy_(device[block, :size])
                else:
                    device[block, :size].copy_(host[chunk, :size])
        self.done.append(TransferResult(job_id=job, success=True))
        return True

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        return self._copy(job_id, src_spec.block_ids, dst_spec.block_ids, True)

    def submit_load(
        self, job_id: int, src_spec: Any, dst_spec: Any, expedited: bool = False
    ) -> bool:
        return self._copy(job_id, dst_spec.block_ids, src_spec.block_ids, False)

    def get_finished(self) -> list[Any]:
        done, self.done = self.done, []
        return done

    def wait(self, job_ids: Any) -> None:
        pass

    def shutdown(self) -> None:
        self.host.clear()
        self.region.cleanup()


class CpuTieringSpec(TieringOffloadingSpec):  # type: ignore[misc]
    """vLLM's tiers with that worker."""

    _worker: Any

    def get_worker(self, kv_caches: Any) -> Any:
        if not self._worker:
            region = SharedOffloadRegion(
                engine_id=self._engine_id,
                num_chunks=self.num_chunks,
                rank=self.config.parallel.rank,
                kv_bytes_per_chunk=self.kv_bytes_per_chunk,
                cpu_page_size=self.cpu_page_size_per_worker,
            )
            self._worker = CpuWorker(kv_caches, region)
        return self._worker
