"""The store as SGLang's HiCache storage.

HiCache keeps pages that leave the GPU in host memory and backs them up to a storage, from which it
prefetches. `HiCache` is such a storage, which SGLang loads by name: ``--hicache-storage-backend
dynamic --hicache-storage-backend-extra-config``::

    {"backend_name": "persisting", "module_path": "persisting.integrations.sglang",
     "class_name": "HiCache", "interface_v1": 1, "path": "/nvme/kv", "capacity": "500 GiB"}

References
----------
`HiCacheStorage` of ``sglang/srt/mem_cache/hicache_storage.py``, SGLang 0.5.23.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sglang.srt.mem_cache.hicache_storage import (
    HiCacheStorage,
    PoolHitPolicy,
    PoolName,
    PoolTransferResult,
)

from persisting._engine.kv import Memory
from persisting._errors import InvalidArgumentError
from persisting.integrations._tier import LEASE_MS, Tier, harmless, namespace_of
from persisting.kv._addresses import is_address
from persisting.kv._batches import REFUSED, Batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch
    from sglang.srt.mem_cache.hicache_storage import (
        HiCacheStorageConfig,
        HiCacheStorageExtraInfo,
        PoolTransfer,
    )

# What of the configuration is the store's; SGLang has keys of its own there.
OPTIONS = {
    "capacity",
    "policy",
    "admission",
    "sync",
    "ttl",
    "segment_bytes",
    "workers",
    "max_store_backlog",
    "load_deadline",
}

# Of these, what a client of another rank's store takes.
OF_CLIENTS = {"workers", "max_store_backlog", "load_deadline"}


def _false_each(keys: Sequence[str], *_: object, **__: object) -> list[bool]:
    return [False] * len(keys)


def _none_each(keys: Sequence[str], *_: object, **__: object) -> list[Any]:
    return [None] * len(keys)


def _false_each_pool(
    transfers: Sequence[PoolTransfer], *_: object, **__: object
) -> dict[str, list[bool]]:
    return {transfer.name: [False] * len(transfer.keys or ()) for transfer in transfers}


class HiCache(HiCacheStorage):
    """A storage of SGLang's HiCache in a `KVStore`.

    Parameters
    ----------
    storage_config
        SGLang's. Its `extra_config` has `path` and `capacity`, and may have other options of
        `KVStore`, `revision` (of the weights: blocks of one are not found under another) and
        `namespace` in place of the one that is made from model, ranks, dtype, layout and page size.
        Each rank has a directory of its own below `path`, and `capacity` is that of one rank.
        Where SGLang has one rank store for others (MLA), that one serves its store to them.
        `path` may be the address of a process that serves a store, which all ranks share, and
        needs no `capacity`.
    kwargs
        Nothing.

    Notes
    -----
    SGLang calls from three threads of its own, and waits; no method raises. A page may lie in
    several pieces, and is read and written in place in one call for a batch.
    """

    def __init__(
        self, storage_config: HiCacheStorageConfig, kwargs: dict[str, Any] | None = None
    ) -> None:
        extra = dict(storage_config.extra_config or {})
        if "path" not in extra:
            raise InvalidArgumentError("the configuration of HiCache has no path")
        self._config = storage_config
        self._extra = extra
        self._in_pieces = bool(extra.get("interface_v1", 0))
        self._flat: set[str] = set()  # pools whose pages have no addresses
        self.registered_pools: dict[str, Any] = {}
        self._tier = self._open()
        self._batches: Batches | None = None

    def _open(self) -> Tier:
        """Open the store of this rank, or connect to that of the rank that stores for it."""
        config, options = self._config, self._options(OPTIONS)
        place: str = self._extra["path"]
        if is_address(place):
            return Tier(place, "", options)
        directory = Path(place) / _rank(config)
        socket = directory.with_name(f"{directory.name}.sock")
        if not config.is_storage_writer:
            return Tier(f"unix:{socket}", "", self._options(OF_CLIENTS))
        shared = config.is_mla_model and config.tp_size > 1
        return Tier(directory, "", options, socket if shared else None)

    def _options(self, names: set[str]) -> dict[str, Any]:
        return {name: self._extra[name] for name in names & self._extra.keys()}

    def register_mem_pool_host(self, mem_pool_host: Any) -> None:
        """Take the pool of host memory, whose form the namespace has."""
        super().register_mem_pool_host(mem_pool_host)
        if self._tier.store is None:
            return
        namespace = self._extra.get("namespace")
        if namespace is None:
            namespace = self._namespace(mem_pool_host)
        self._tier.namespace = namespace
        self._batches = Batches(self._tier.store, namespace=namespace)

    def _namespace(self, pool: Any) -> str:
        config = self._config
        fields = {
            name: getattr(config, name)
            for name in (
                "tp_rank",
                "tp_size",
                "pp_rank",
                "pp_size",
                "attn_cp_rank",
                "attn_cp_size",
                "is_mla_model",
                "should_split_heads",
                "dcp_rank",
                "dcp_size",
                "logical_page_size",
            )
        }
        fields["tp_rank"] = _writer(config)
        fields |= _form(pool) | {"in_pieces": self._in_pieces}
        model = config.model_name or ""
        return namespace_of("sglang", model, fields, self._extra.get("revision", ""))

    def register_mem_host_pool_v2(self, host_pool: Any, host_pool_name: str) -> None:
        """Take a further pool of host memory."""
        self.registered_pools[host_pool_name] = host_pool

    # ---- looking ----

    @harmless(lambda *_, **__: False)
    def exists(self, key: str) -> bool:
        """Whether there is a page; does not wait."""
        return self._prefix([key]) == 1

    @harmless(lambda *_, **__: 0)
    def batch_exists(
        self, keys: list[str], extra_info: HiCacheStorageExtraInfo | None = None
    ) -> int:
        """Return how many pages from the first on there are; does not wait."""
        return self._prefix(keys)

    def _prefix(self, keys: Sequence[str]) -> int:
        return self._batches.prefix(self._named(keys), LEASE_MS) if self._batches else 0

    def _named(self, keys: Sequence[str], pool: str = PoolName.KV) -> list[bytes]:
        if pool == PoolName.KV:
            return [key.encode() for key in keys]
        form = "".join(f"/{value}" for value in _form(self.registered_pools.get(pool)).values())
        return [f"{key}.{pool}{form}".encode() for key in keys]

    @harmless(lambda *_, **__: PoolTransferResult.empty())
    def batch_exists_v2(
        self,
        keys: list[str],
        pool_transfers: list[PoolTransfer] | None = None,
        extra_info: HiCacheStorageExtraInfo | None = None,
    ) -> PoolTransferResult:
        """Return which prefixes of the pages can be restored from all pools; does not wait."""
        pages = self._anchored(keys)
        hits: dict[str, int] = {PoolName.KV: pages} if pages else {}
        restorable = set(range(1, pages + 1))
        for transfer in pool_transfers or ():
            if not restorable:
                break
            if transfer.hit_policy == PoolHitPolicy.BLOCK_GROUPS:  # it limits no other pool
                continue
            lengths = self._lengths(self._named(keys[:pages], transfer.name))
            stops = _stops(transfer, [length >= 0 for length in lengths])
            if stops:
                hits[transfer.name] = max(stops)
            restorable &= stops
        ends = sorted(restorable)
        return PoolTransferResult(ends[-1] if ends else 0, hits, ends)

    def _anchored(self, keys: Sequence[str]) -> int:
        """Return how many pages the first pool has; one without memory limits nothing."""
        if getattr(self.mem_pool_host, "kv_buffer", self) is None:
            return len(keys)
        return self._prefix(keys)

    def _lengths(self, keys: list[bytes]) -> Iterable[int]:
        return self._batches.lengths(keys, LEASE_MS) if self._batches else [-1] * len(keys)

    # ---- pages in place ----

    @harmless(_false_each)
    def batch_get_v1(
        self,
        keys: list[str],
        host_indices: torch.Tensor,
        extra_info: HiCacheStorageExtraInfo | None = None,
    ) -> list[bool]:
        """Read pages into host memory; waits for the disk."""
        return self._get_pages(PoolName.KV, self.mem_pool_host, keys, host_indices)

    @harmless(_false_each)
    def batch_set_v1(
        self,
        keys: list[str],
        host_indices: torch.Tensor,
        extra_info: HiCacheStorageExtraInfo | None = None,
    ) -> list[bool]:
        """Store pages from host memory; waits for the disk."""
        return self._set_pages(PoolName.KV, self.mem_pool_host, keys, host_indices)

    @harmless(_false_each_pool)
    def batch_get_v2(
        self, transfers: list[PoolTransfer], extra_info: HiCacheStorageExtraInfo | None = None
    ) -> dict[str, list[bool]]:
        """Read pages of several pools; waits for the disk."""
        return {t.name: self._get_pool(t) for t in transfers}

    @harmless(_false_each_pool)
    def batch_set_v2(
        self, transfers: list[PoolTransfer], extra_info: HiCacheStorageExtraInfo | None = None
    ) -> dict[str, list[bool]]:
        """Store pages of several pools; waits for the disk."""
        return {t.name: self._set_pool(t) for t in transfers}

    def _get_pool(self, transfer: PoolTransfer) -> list[bool]:
        pool = self._pool(transfer.name)
        return self._get_pages(transfer.name, pool, transfer.keys or [], transfer.host_indices)

    def _set_pool(self, transfer: PoolTransfer) -> list[bool]:
        pool = self._pool(transfer.name)
        return self._set_pages(transfer.name, pool, transfer.keys or [], transfer.host_indices)

    def _pool(self, name: str) -> Any:
        if name in self.registered_pools:
            return self.registered_pools[name]
        return self.mem_pool_host if name == PoolName.KV else None

    def _get_pages(
        self, name: str, pool: Any, keys: Sequence[str], indices: torch.Tensor | None
    ) -> list[bool]:
        if not self._batches or indices is None or not _fit(pool, keys, indices):
            return [False] * len(keys)
        named = self._named(keys, name)
        memory = self._pieces(name, pool, len(keys), indices)
        if memory is not None:
            return [result > 0 for result in self._batches.load_now(named, memory)]
        pages = [pool.get_dummy_flat_data_page() for _ in keys]
        loaded = self._load(named, pages)
        for at, page, there in zip(_firsts(pool, indices), pages, loaded, strict=True):
            if there:
                pool.set_from_flat_data_page(at, page)
        return loaded

    def _set_pages(
        self, name: str, pool: Any, keys: Sequence[str], indices: torch.Tensor | None
    ) -> list[bool]:
        if not self._batches or indices is None or not _fit(pool, keys, indices):
            return [False] * len(keys)
        named = self._named(keys, name)
        memory = self._pieces(name, pool, len(keys), indices)
        if memory is None:
            pages = [pool.get_data_page(at, flat=True) for at in _firsts(pool, indices)]
            memory = _of_tensors(pages, writable=False)
        return self._store(named, memory)

    def _pieces(self, name: str, pool: Any, count: int, indices: torch.Tensor) -> Memory | None:
        """Return the memory of pages; None for a pool whose pages do not lie in place."""
        if name in self._flat or (name == PoolName.KV and not self._in_pieces):
            return None
        try:
            addresses, lengths = pool.get_page_buffer_meta(indices)
        except (AttributeError, NotImplementedError, ValueError):
            self._flat.add(name)
            return None
        memory = Memory()
        each = len(addresses) // max(count, 1)
        for at in range(0, each * count, each or 1):
            memory.add_raw(addresses[at : at + each], lengths[at : at + each])
        return memory

    def _store(self, keys: list[bytes], memory: Memory) -> list[bool]:
        """Store what is not there: a key says what its page is, so there is nothing to compare."""
        assert self._batches is not None
        there = self._batches.lengths(keys, LEASE_MS)
        sizes = memory.sizes()
        wanted = [i for i, n in enumerate(there) if n != sizes[i]]
        results = self._batches.store_now([keys[i] for i in wanted], memory.of(wanted))
        stored = [True] * len(keys)
        for i, result in zip(wanted, results, strict=True):
            stored[i] = result > 0 or result == REFUSED  # which is not wanted, and no fault
        return stored

    # ---- pages as tensors ----

    @harmless(lambda *_, **__: None)
    def get(
        self, key: str, target_location: torch.Tensor | None = None, target_sizes: Any = None
    ) -> torch.Tensor | None:
        """Read a page into a tensor and return that, None where there is none."""
        return self._get_tensors([key], [target_location])[0]

    @harmless(_none_each)
    def batch_get(
        self,
        keys: list[str],
        target_locations: Sequence[torch.Tensor] | None = None,
        target_sizes: Any = None,
    ) -> list[torch.Tensor | None]:
        """Read pages into tensors and return those, None where there is none."""
        return self._get_tensors(keys, target_locations or [None] * len(keys))

    def _get_tensors(self, keys: Sequence[str], targets: Sequence[Any]) -> list[Any]:
        found: list[Any] = [None] * len(keys)
        wanted = [i for i, target in enumerate(targets) if target is not None]
        if self._batches and wanted:
            named = self._named([keys[i] for i in wanted])
            loaded = self._load(named, [targets[i] for i in wanted])
            for i, there in zip(wanted, loaded, strict=True):
                found[i] = targets[i] if there else None
        return found

    def _load(self, keys: list[bytes], tensors: Iterable[torch.Tensor]) -> list[bool]:
        assert self._batches is not None
        memory = _of_tensors(tensors, writable=True)
        return [result > 0 for result in self._batches.load_now(keys, memory)]

    @harmless(lambda *_, **__: False)
    def set(
        self,
        key: str,
        value: torch.Tensor | None = None,
        target_location: Any = None,
        target_sizes: Any = None,
    ) -> bool:
        """Store a page from a tensor."""
        return self._set_tensors([key], [value])

    @harmless(lambda *_, **__: False)
    def batch_set(
        self,
        keys: list[str],
        values: Sequence[torch.Tensor] | None = None,
        target_locations: Any = None,
        target_sizes: Any = None,
    ) -> bool:
        """Store pages from tensors; whether all are stored."""
        return self._set_tensors(keys, values or [])

    def _set_tensors(self, keys: Sequence[str], values: Sequence[Any]) -> bool:
        if not self._batches or len(values) != len(keys) or any(v is None for v in values):
            return False
        memory = _of_tensors([value.contiguous() for value in values], writable=False)
        return all(self._store(self._named(keys), memory))

    # ---- the whole ----

    @harmless(lambda *_, **__: False)
    def clear(self) -> bool:
        """Remove all pages of this namespace."""
        if self._tier.store is None:
            return False
        self._tier.store.drop_namespace(self._tier.namespace)
        return True

    def stats(self) -> dict[str, Any]:
        """Return what the store holds and did, and the faults of this storage."""
        return self._tier.stats()

    def close(self) -> None:
        """Close the store."""
        self._batches = None
        self._tier.close()


def _writer(config: HiCacheStorageConfig) -> int:
    """Return the tensor parallel rank that stores for this one, which may be itself."""
    rank: int = config.dcp_rank if config.is_mla_model else config.tp_rank
    return rank


def _rank(config: HiCacheStorageConfig) -> str:
    """Return the name of the directory that the rank has open which stores for this one."""
    tp = _writer(config)
    return f"tp{tp}-pp{config.pp_rank}-cp{config.attn_cp_rank}-dp{config.dp_rank}"


def _form(pool: Any) -> dict[str, object]:
    """Return what says how a pool lays out the bytes of a page."""
    names = ("dtype", "layout", "page_size", "layer_num", "head_num", "head_dim")
    return {name: str(getattr(pool, name, "")) for name in names}


def _stops(transfer: PoolTransfer, there: Sequence[bool]) -> set[int]:
    """Return the lengths of the prefixes for which a pool has what it needs."""
    if transfer.hit_policy == PoolHitPolicy.TRAILING_PAGES:
        window = max(1, len(transfer.keys or ()))
        ends = range(1, len(there) + 1)
        return {end for end in ends if all(there[max(0, end - window) : end])}
    whole = there.index(False) if False in there else len(there)
    return set(range(1, whole + 1))


def _page_size(pool: Any) -> int:
    return getattr(pool, "page_size", 1) or 1


def _fit(pool: Any, keys: Sequence[str], indices: torch.Tensor) -> bool:
    """Whether there is an index for each token of the pages."""
    return pool is not None and indices.numel() == len(keys) * _page_size(pool)


def _firsts(pool: Any, indices: torch.Tensor) -> list[int]:
    """Return the index of the first token of each page."""
    firsts: list[int] = indices[:: _page_size(pool)].tolist()
    return firsts


def _of_tensors(tensors: Iterable[torch.Tensor], *, writable: bool) -> Memory:
    memory = Memory()
    for tensor in tensors:
        memory.add(tensor, writable=writable)
    return memory
