"""The storage through SGLang's own factory, over pools of host memory of several forms."""

from __future__ import annotations

import inspect
import random
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sglang.srt.mem_cache.hicache_storage import (
    HiCacheStorage,
    HiCacheStorageConfig,
    PoolHitPolicy,
    PoolName,
    PoolTransfer,
)
from sglang.srt.mem_cache.storage.backend_factory import StorageBackendFactory

from persisting._errors import InvalidArgumentError
from persisting.integrations.sglang import HiCache
from persisting.kv import KVStore
from tests.engines.disks import failing_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

LAYERS, HEADS, DIM, PAGE, PAGES = 2, 2, 32, 16, 32
HALF = PAGES // 2
KEYS = [f"{i:064x}" for i in range(HALF)]
FIRST = torch.arange(HALF * PAGE)
SECOND = FIRST + HALF * PAGE


class Pool:
    """What a storage sees of SGLang's pool of an attention with keys and values."""

    page_size = PAGE
    dtype = torch.bfloat16
    layer_num, head_num, head_dim = LAYERS, HEADS, DIM

    def __init__(self, layout: str = "page_first", offset: int = 0) -> None:
        self.layout = layout
        shape = (2, PAGES * PAGE, LAYERS, HEADS, DIM)
        if layout == "layer_first":
            shape = (2, LAYERS, PAGES * PAGE, HEADS, DIM)
        count = torch.Size(shape).numel()
        flat = torch.zeros(count + offset, dtype=self.dtype)
        self.kv_buffer = flat[offset:].view(shape)

    def fill(self) -> torch.Tensor:
        self.kv_buffer.view(torch.uint8).random_(0, 255)
        return self.kv_buffer.clone()

    def page(self, number: int, of: torch.Tensor | None = None) -> torch.Tensor:
        """Return the bytes of a page, of now or of a copy."""
        where = slice(number * PAGE, (number + 1) * PAGE)
        buffer = self.kv_buffer if of is None else of
        found = buffer[:, :, where] if self.layout == "layer_first" else buffer[:, where]
        return found.contiguous().view(torch.uint8)

    def get_page_buffer_meta(self, indices: torch.Tensor) -> tuple[list[int], list[int]]:
        assert len(indices) % PAGE == 0
        base, row = self.kv_buffer.data_ptr(), HEADS * DIM * 2
        values = PAGES * PAGE * LAYERS * row
        pointers = []
        for index in indices.tolist()[::PAGE]:
            if self.layout == "layer_first":
                for layer in range(LAYERS):
                    keys = base + (layer * PAGES * PAGE + index) * row
                    pointers += [keys, keys + values]
            else:
                keys = base + index * row * LAYERS
                pointers += [keys, keys + values]
        each = PAGE * row * (1 if self.layout == "layer_first" else LAYERS)
        return pointers, [each] * len(pointers)

    def get_data_page(self, index: int, flat: bool = True) -> torch.Tensor:
        if self.layout == "layer_first":
            return self.kv_buffer[:, :, index : index + PAGE].flatten()
        return self.kv_buffer[:, index : index + PAGE].flatten()

    def get_dummy_flat_data_page(self) -> torch.Tensor:
        return torch.zeros(2 * LAYERS * PAGE * HEADS * DIM, dtype=self.dtype)

    def set_from_flat_data_page(self, index: int, page: torch.Tensor) -> None:
        if self.layout == "layer_first":
            shape = (2, LAYERS, PAGE, HEADS, DIM)
            self.kv_buffer[:, :, index : index + PAGE] = page.view(shape)
        else:
            self.kv_buffer[:, index : index + PAGE] = page.view(2, PAGE, LAYERS, HEADS, DIM)


class StatePool(Pool):
    """A pool whose pages have no addresses, such as one of states of Mamba."""

    def get_page_buffer_meta(self, indices: torch.Tensor) -> tuple[list[int], list[int]]:
        raise NotImplementedError


def config(path: Path, **changes: Any) -> HiCacheStorageConfig:
    extra = {
        "backend_name": "persisting",
        "module_path": "persisting.integrations.sglang",
        "class_name": "HiCache",
        "interface_v1": changes.pop("interface_v1", 1),
        "prefetch_threshold": 256,  # one of SGLang's own
        "path": str(path),
        "capacity": "64 MiB",
        **changes.pop("extra", {}),
    }
    fields: dict[str, Any] = {
        "tp_rank": 0,
        "tp_size": 1,
        "pp_rank": 0,
        "pp_size": 1,
        "attn_cp_rank": 0,
        "attn_cp_size": 1,
        "is_mla_model": False,
        "enable_storage_metrics": False,
        "is_page_first_layout": True,
        "model_name": "org/model",
    }
    return HiCacheStorageConfig(**(fields | changes), extra_config=extra)


def attached(path: Path, pool: Pool, **changes: Any) -> Any:
    """Attach a storage as SGLang's controller does."""
    storage = StorageBackendFactory.create_backend("dynamic", config(path, **changes), pool)
    storage.register_mem_pool_host(pool)
    storage.on_host_pools_registered()
    return storage


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def storage(tmp_path: Path, pool: Pool) -> Iterator[Any]:
    made = attached(tmp_path / "kv", pool)
    yield made
    made.close()


# ---- pages in place ----


@pytest.mark.parametrize("layout", ["page_first", "layer_first"])
@pytest.mark.parametrize("offset", [0, 3])
def test_pages_come_back_after_a_restart(tmp_path: Path, layout: str, offset: int) -> None:
    pool = Pool(layout, offset)
    filled = pool.fill()
    storage = attached(tmp_path / "kv", pool)
    assert storage.batch_exists(KEYS) == 0
    assert storage.batch_set_v1(KEYS, FIRST) == [True] * HALF
    storage.close()
    storage = attached(tmp_path / "kv", pool)
    assert storage.batch_exists(KEYS) == HALF
    assert storage.batch_get_v1(KEYS[::-1], SECOND) == [True] * HALF
    for i in range(HALF):
        assert torch.equal(pool.page(PAGES - 1 - i), pool.page(i, filled))
    storage.close()


def test_a_rank_that_stores_for_others_serves_them(tmp_path: Path) -> None:
    """SGLang has one rank of a model with MLA back pages up, which all of them read."""
    pools = [Pool(), Pool()]
    filled = pools[0].fill()
    reader, writer = (
        attached(tmp_path / "kv", pools[rank], is_mla_model=True, tp_size=2, tp_rank=rank)
        for rank in (1, 0)  # the reader may be there first
    )
    assert reader.batch_exists(KEYS) == 0
    assert writer.batch_set_v1(KEYS, FIRST) == [True] * HALF
    patience = time.monotonic() + 10
    while reader.batch_exists(KEYS) != HALF and time.monotonic() < patience:
        time.sleep(0.05)
    assert reader.batch_exists(KEYS) == HALF
    assert reader.batch_get_v1(KEYS, SECOND) == [True] * HALF
    for i in range(HALF):
        assert torch.equal(pools[1].page(HALF + i), pools[0].page(i, filled))
    writer.close()
    assert reader.batch_exists(KEYS) == 0
    assert reader.batch_get_v1(KEYS, SECOND) == [False] * HALF
    reader.close()


def test_an_address_needs_no_capacity(tmp_path: Path, pool: Pool) -> None:
    pool.fill()
    with KVStore(tmp_path / "kv", capacity="64 MiB") as owner:
        owner.serve(tmp_path / "s")
        made = config(Path(f"unix:{tmp_path / 's'}"))
        assert made.extra_config is not None
        del made.extra_config["capacity"]
        storage = StorageBackendFactory.create_backend("dynamic", made, pool)
        storage.register_mem_pool_host(pool)
        assert storage.batch_set_v1(KEYS, FIRST) == [True] * HALF
        assert owner.stats()["keys"] == HALF
        storage.close()


def test_a_prefix_is_what_exists(storage: Any, pool: Pool) -> None:
    pool.fill()
    storage.batch_set_v1(KEYS, FIRST)
    assert storage.batch_exists([*KEYS[:3], "f" * 64, *KEYS[3:]]) == 3
    assert storage.batch_exists(["f" * 64, *KEYS]) == 0
    assert storage.batch_exists([]) == 0
    assert storage.exists(KEYS[0])
    assert not storage.exists("f" * 64)


def test_a_page_that_is_not_there_is_a_false(storage: Any, pool: Pool) -> None:
    pool.fill()
    storage.batch_set_v1(KEYS[:2], FIRST[: 2 * PAGE])
    got = storage.batch_get_v1([KEYS[0], "f" * 64, KEYS[1]], SECOND[: 3 * PAGE])
    assert got == [True, False, True]


def test_pages_that_are_there_are_not_written_again(storage: Any, pool: Pool) -> None:
    pool.fill()
    storage.batch_set_v1(KEYS[:4], FIRST[: 4 * PAGE])
    assert storage.batch_set_v1(KEYS[:8], FIRST[: 8 * PAGE]) == [True] * 8
    assert storage.stats()["sets"] == 8


def test_indices_that_do_not_fit_are_false(storage: Any) -> None:
    assert storage.batch_set_v1(KEYS[:2], FIRST[:PAGE]) == [False, False]
    assert storage.batch_get_v1(KEYS[:2], FIRST[:PAGE]) == [False, False]


# ---- the slow path ----


@pytest.mark.parametrize("layout", ["page_first", "layer_first"])
def test_the_generic_path(tmp_path: Path, layout: str) -> None:
    pool = Pool(layout)
    storage = attached(tmp_path / "kv", pool, interface_v1=0)
    filled = pool.fill()
    pages = [pool.get_data_page(i * PAGE) for i in range(4)]
    assert storage.batch_set(KEYS[:4], pages) is True
    assert storage.set(KEYS[4], pool.get_data_page(4 * PAGE)) is True
    assert storage.batch_exists(KEYS) == 5
    targets = [pool.get_dummy_flat_data_page() for _ in range(6)]
    got = storage.batch_get(KEYS[:6], targets)
    assert got[5] is None
    for i, page in enumerate(got[:5]):
        assert page is targets[i]
        pool.set_from_flat_data_page(i * PAGE, page)
    assert torch.equal(pool.kv_buffer.view(torch.uint8), filled.view(torch.uint8))
    assert storage.get("f" * 64, pool.get_dummy_flat_data_page()) is None
    assert storage.get(KEYS[0]) is None
    assert storage.batch_get(KEYS[:2]) == [None, None]
    assert storage.set(KEYS[0]) is False
    storage.close()


def test_the_paths_do_not_mix(tmp_path: Path, pool: Pool) -> None:
    pool.fill()
    storage = attached(tmp_path / "kv", pool, interface_v1=1)
    storage.batch_set_v1(KEYS, FIRST)
    storage.close()
    storage = attached(tmp_path / "kv", pool, interface_v1=0)
    assert storage.batch_exists(KEYS) == 0
    storage.close()


# ---- several pools ----


@pytest.mark.parametrize("sort", [Pool, StatePool])
def test_further_pools(tmp_path: Path, sort: type[Pool]) -> None:
    pool, states = Pool(), sort()
    filled = states.fill()
    pool.fill()
    storage = attached(tmp_path / "kv", pool)
    storage.register_mem_host_pool_v2(states, PoolName.MAMBA)
    assert all(storage.batch_set_v1(KEYS, FIRST))
    tail = PoolTransfer(
        name=PoolName.MAMBA,
        keys=KEYS[6:8],
        host_indices=FIRST[6 * PAGE : 8 * PAGE],
        hit_policy=PoolHitPolicy.TRAILING_PAGES,
    )
    assert storage.batch_set_v2([tail]) == {PoolName.MAMBA: [True, True]}
    found = storage.batch_exists_v2(KEYS, [tail])
    assert found.kv_hit_pages == 8
    assert found.extra_pool_hit_pages == {PoolName.KV: HALF, PoolName.MAMBA: 8}
    assert found.restorable_prefix_pages == [8]
    load = PoolTransfer(name=PoolName.MAMBA, keys=KEYS[6:8], host_indices=SECOND[: 2 * PAGE])
    assert storage.batch_get_v2([load]) == {PoolName.MAMBA: [True, True]}
    for i in range(2):
        assert torch.equal(states.page(HALF + i), states.page(6 + i, filled))
    every = PoolTransfer(name=PoolName.MAMBA, hit_policy=PoolHitPolicy.ALL_PAGES)
    assert storage.batch_exists_v2(KEYS, [every]).kv_hit_pages == 0
    assert storage.batch_exists_v2(KEYS).kv_hit_pages == HALF
    storage.close()


def test_a_pool_that_is_unknown_is_false(storage: Any) -> None:
    transfer = PoolTransfer(name=PoolName.SWA, keys=KEYS[:2], host_indices=FIRST[: 2 * PAGE])
    assert storage.batch_get_v2([transfer]) == {PoolName.SWA: [False, False]}
    assert storage.batch_set_v2([transfer]) == {PoolName.SWA: [False, False]}


# ---- what belongs to whom ----


@pytest.mark.parametrize(
    "changes",
    [
        {"model_name": "org/other"},
        {"extra": {"revision": "2"}},
        {"extra": {"namespace": "mine"}},
        {"tp_size": 2},
    ],
)
def test_another_namespace_finds_nothing(tmp_path: Path, pool: Pool, changes: Any) -> None:
    storage = attached(tmp_path / "kv", pool)
    storage.batch_set_v1(KEYS, FIRST)
    storage.close()
    storage = attached(tmp_path / "kv", pool, **changes)
    assert storage.batch_exists(KEYS) == 0
    storage.close()


def test_each_rank_has_a_directory(tmp_path: Path, pool: Pool) -> None:
    ranks = [attached(tmp_path / "kv", pool, tp_rank=i, tp_size=2) for i in range(2)]
    assert all(not storage.stats()["faults"] for storage in ranks)
    assert len(list((tmp_path / "kv").iterdir())) == 2
    for storage in ranks:
        storage.close()


def test_a_storage_is_cleared(storage: Any, pool: Pool) -> None:
    storage.batch_set_v1(KEYS, FIRST)
    assert storage.clear()
    assert storage.batch_exists(KEYS) == 0


# ---- never in the way ----


def test_each_method_has_the_parameters_of_the_abstract_class() -> None:
    assert not getattr(HiCache, "__abstractmethods__", None)
    for name, method in inspect.getmembers(HiCache, inspect.isfunction):
        base = getattr(HiCacheStorage, name, None)
        if base is not None and name != "__init__" and not name.startswith("__"):
            wanted = list(inspect.signature(base).parameters)
            assert list(inspect.signature(method).parameters) == wanted, name


def test_ten_thousand_calls_on_a_failing_disk_never_raise(storage: Any, pool: Pool) -> None:
    chosen = random.Random(1)
    pool.fill()
    with failing_disk():
        for _ in range(10_000):
            anything(storage, pool, chosen)
    stats = storage.stats()
    assert stats["sets"] == 0
    assert sum(stats["not_stored"].values()) > 1000
    assert set(stats["faults"]) <= {"clear"}  # which is told of by its answer


def test_calls_without_a_directory_never_raise(tmp_path: Path, pool: Pool) -> None:
    storage = attached(tmp_path / "kv", pool)
    chosen = random.Random(2)
    pool.fill()
    for i in range(1000):
        if i == 100:
            shutil.rmtree(tmp_path / "kv")
        anything(storage, pool, chosen)
    storage.close()


def anything(storage: Any, pool: Pool, chosen: random.Random) -> None:
    """Make any call, and see that its answer has the right form."""
    count = chosen.randint(1, 4)
    keys = [f"{chosen.randrange(10**6):064x}" for _ in range(count)]
    indices = FIRST[: count * PAGE]
    match chosen.randrange(8):
        case 0 | 1:
            assert len(storage.batch_set_v1(keys, indices)) == count
        case 2 | 3:
            assert len(storage.batch_get_v1(keys, indices)) == count
        case 4:
            assert 0 <= storage.batch_exists(keys) <= count
        case 5:
            transfer = PoolTransfer(name=PoolName.KV, keys=keys, host_indices=indices)
            assert len(storage.batch_set_v2([transfer])[PoolName.KV]) == count
        case 6:
            assert storage.batch_exists_v2(keys).kv_hit_pages <= count
        case _:
            assert storage.get(keys[0], pool.get_dummy_flat_data_page()) is None


def test_a_second_engine_works_without_a_store(storage: Any, tmp_path: Path, pool: Pool) -> None:
    second = attached(tmp_path / "kv", pool)  # the first one has it
    assert second.batch_set_v1(KEYS, FIRST) == [False] * HALF
    assert second.batch_get_v1(KEYS, FIRST) == [False] * HALF
    assert second.batch_exists(KEYS) == 0
    assert second.batch_exists_v2(KEYS).kv_hit_pages == 0
    assert second.set(KEYS[0], pool.get_data_page(0)) is False
    assert second.stats()["faults"] == {"open": 1}
    second.close()


def test_a_closed_storage_misses(storage: Any) -> None:
    storage.close()
    assert storage.batch_exists(KEYS) == 0
    assert storage.batch_get_v1(KEYS, FIRST) == [False] * HALF
    storage.close()


def test_options_that_are_wrong_raise_when_the_engine_starts(tmp_path: Path, pool: Pool) -> None:
    with pytest.raises(InvalidArgumentError, match="capacity"):
        attached(tmp_path / "kv", pool, extra={"capacity": "much"})
    missing = config(tmp_path / "kv")
    assert missing.extra_config is not None
    del missing.extra_config["path"]
    with pytest.raises(InvalidArgumentError, match="path"):
        StorageBackendFactory.create_backend("dynamic", missing, pool)
