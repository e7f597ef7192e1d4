"""The tier in vLLM's own manager, and by itself against vLLM's classes.

It runs with the vLLM that is installed and, by `build.py test --all`, once more with the newest.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import logging
import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from vllm.v1.core import kv_cache_utils
from vllm.v1.kv_offload.base import LookupResult, ReqContext
from vllm.v1.kv_offload.tiering.base import SecondaryTierManager
from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory

from persisting._errors import InvalidArgumentError
from persisting.integrations.vllm import PersistingTier
from tests.engines.disks import failing_disk
from tests.engines.tiers import (
    BLOCKS,
    SIZE,
    Engine,
    configured,
    finished,
    job,
    keys_of,
    memory,
    spec,
    tier_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUEST = ReqContext(req_id="r")
KEYS = keys_of(BLOCKS)


@pytest.fixture
def view() -> Any:
    return memory()


@pytest.fixture
def tier(tmp_path: Path, view: memoryview) -> Iterator[Any]:
    made = tier_of(tmp_path / "kv", view)
    yield made
    made.shutdown()


def rows(view: memoryview) -> np.ndarray[Any, Any]:
    return np.frombuffer(view, np.uint8).reshape(BLOCKS, SIZE)


def fill(view: memoryview, seed: int = 0) -> np.ndarray[Any, Any]:
    filled = np.random.default_rng(seed).integers(0, 256, (BLOCKS, SIZE), np.uint8)
    rows(view)[:] = filled
    return filled


def looked_up(tier: Any, keys: list[Any] = KEYS) -> list[LookupResult]:
    return [tier.lookup(key, REQUEST) for key in keys]


# ---- in vLLM's manager ----


def test_a_second_engine_finds_all_blocks(tmp_path: Path) -> None:
    first = Engine(tmp_path / "kv")
    filled = first.store(KEYS)
    assert len(filled) == BLOCKS
    first.close()
    second = Engine(tmp_path / "kv")
    assert set(looked_up(second.tier)) == {LookupResult.HIT}  # at once
    found = second.promote(KEYS)
    assert found == filled
    second.close()


def test_a_damaged_block_is_a_miss_to_the_engine(tmp_path: Path) -> None:
    first = Engine(tmp_path / "kv")
    filled = first.store(KEYS)
    first.close()
    damage(tmp_path / "kv", filled[KEYS[5]])
    second = Engine(tmp_path / "kv")
    found = second.promote(KEYS)
    assert KEYS[5] not in found
    assert found == {key: block for key, block in filled.items() if key != KEYS[5]}
    assert second.promote(KEYS) == found
    second.close()


def damage(directory: Path, block: bytes) -> None:
    """Change one bit of a block on the disk."""
    for file in directory.glob("*.seg"):
        content = bytearray(file.read_bytes())
        if (at := content.find(block)) >= 0:
            content[at + 1000] ^= 1
            file.write_bytes(content)
            return
    raise AssertionError("the block is in no segment")


# ---- the contract ----


def test_each_method_has_the_parameters_of_the_abstract_class() -> None:
    assert not getattr(PersistingTier, "__abstractmethods__", None)
    for name, method in inspect.getmembers(PersistingTier, inspect.isfunction):
        base = getattr(SecondaryTierManager, name, None)
        if base is None or name == "__init__" or not callable(base):
            continue
        assert list(inspect.signature(method).parameters) == list(
            inspect.signature(base).parameters
        ), name


def test_jobs_end_exactly_once(tier: Any, view: memoryview) -> None:
    filled = fill(view)
    for i in range(BLOCKS):
        tier.submit_store(job(i, KEYS[i : i + 1], [i], load=False))
    results = finished(tier, BLOCKS)
    assert sorted(result.job_id for result in results) == list(range(BLOCKS))
    assert all(result.success for result in results)
    assert sum(result.transfer_bytes for result in results) == BLOCKS * SIZE
    rows(view)[:] = 0
    order = list(range(BLOCKS))[::-1]
    tier.submit_load(job(99, KEYS, order, load=True))
    (result,) = finished(tier)
    assert (result.job_id, result.success, result.successful_keys) == (99, True, None)
    assert (rows(view)[order] == filled).all()
    assert not tier.has_pending_work()


def test_what_is_there_is_not_stored_again(tier: Any, view: memoryview) -> None:
    fill(view)
    tier.submit_store(job(1, KEYS[:8], range(8), load=False))
    tier.submit_store(job(2, KEYS[:8], range(8), load=False))  # on its way, or there
    assert {result.job_id for result in finished(tier, 2)} == {1, 2}
    tier.submit_store(job(3, KEYS[:16], range(16), load=False))
    (result,) = finished(tier)
    assert (result.success, result.transfer_bytes) == (True, 8 * SIZE)
    assert tier.stats()["sets"] == 16


def test_a_key_on_its_way_is_pending(tier: Any, view: memoryview) -> None:
    fill(view)
    assert set(looked_up(tier)) == {LookupResult.MISS}
    tier.submit_store(job(1, KEYS, range(BLOCKS), load=False))
    assert set(looked_up(tier)) <= {LookupResult.HIT_PENDING, LookupResult.HIT}
    finished(tier)
    assert set(looked_up(tier)) == {LookupResult.HIT}


def test_what_cannot_be_loaded_is_a_miss_and_can_be_stored_anew(
    tier: Any, view: memoryview, tmp_path: Path
) -> None:
    filled = fill(view)
    tier.submit_store(job(1, KEYS, range(BLOCKS), load=False))
    finished(tier)
    damage(tmp_path / "kv", filled[3].tobytes())
    tier.submit_load(job(2, KEYS, range(BLOCKS), load=True))
    (result,) = finished(tier)
    assert not result.success
    assert set(result.successful_keys) == set(KEYS) - {KEYS[3]}
    assert looked_up(tier)[3] is LookupResult.MISS
    fill(view)
    tier.submit_store(job(3, KEYS, range(BLOCKS), load=False))
    finished(tier)
    assert set(looked_up(tier)) == {LookupResult.HIT}


def test_a_load_of_what_is_not_there_fails(tier: Any) -> None:
    tier.submit_load(job(1, KEYS[:2], [0, 1], load=True))
    (result,) = finished(tier)
    assert (result.success, result.successful_keys) == (False, None)


def test_jobs_without_keys_end(tier: Any) -> None:
    tier.submit_store(job(1, [], [], load=False))
    tier.submit_load(job(2, [], [], load=True))
    assert all(result.success for result in finished(tier, 2))


def test_a_full_backlog_fails_a_job_and_nothing_else(tmp_path: Path, view: memoryview) -> None:
    tier = tier_of(tmp_path / "kv", view, max_store_backlog=2 * SIZE)
    fill(view)
    tier.submit_store(job(1, KEYS, range(BLOCKS), load=False))
    (result,) = finished(tier)
    assert not result.success
    assert 0 < result.transfer_bytes < BLOCKS * SIZE
    tier.shutdown()


def test_a_failing_disk_fails_jobs_and_recovers(tier: Any, view: memoryview) -> None:
    fill(view)
    with failing_disk():
        for number in range(100):
            tier.submit_store(job(number, KEYS, range(BLOCKS), load=False))
            tier.submit_load(job(number + 1000, KEYS, range(BLOCKS), load=True))
            assert set(looked_up(tier)) <= {LookupResult.MISS, LookupResult.HIT_PENDING}
            assert not any(result.success for result in finished(tier, 2))
    assert tier.stats()["faults"]["store"] >= 1

    deadline = time.monotonic() + 30
    for number in range(5000, 6000):
        tier.submit_store(job(number, KEYS, range(BLOCKS), load=False))
        if finished(tier)[0].success:
            break
        assert time.monotonic() < deadline, "it does not recover"
        time.sleep(0.1)


def test_a_removed_directory_fails_no_call(tier: Any, view: memoryview, tmp_path: Path) -> None:
    fill(view)
    shutil.rmtree(tmp_path / "kv")
    for number in range(20):
        tier.submit_store(job(number, keys_of(BLOCKS, number), range(BLOCKS), load=False))
        tier.submit_load(job(number + 1000, KEYS, range(BLOCKS), load=True))
        assert len(finished(tier, 2)) == 2
        tier.touch(KEYS, REQUEST)


def test_an_engine_without_a_store_works(tier: Any, view: memoryview, tmp_path: Path) -> None:
    second = tier_of(tmp_path / "kv", view)  # the first one has it
    assert second.lookup(KEYS[0], REQUEST) is LookupResult.MISS
    second.submit_store(job(1, KEYS, range(BLOCKS), load=False))
    second.submit_load(job(2, KEYS, range(BLOCKS), load=True))
    assert not any(result.success for result in finished(second, 2))
    second.touch(KEYS, REQUEST)
    second.drain_jobs()
    assert second.stats()["faults"] == {"open": 1}
    second.shutdown()


def test_a_drain_waits_for_all_jobs(tier: Any, view: memoryview) -> None:
    filled = fill(view)
    for number in range(10):
        keys = keys_of(BLOCKS, number)
        tier.submit_store(job(number, keys, range(BLOCKS), load=False))
    tier.drain_jobs()
    rows(view)[:] = 0  # the memory is the engine's again
    assert len(list(tier.get_finished_jobs())) == 10
    tier.submit_load(job(99, keys_of(BLOCKS, 5), range(BLOCKS), load=True))
    assert finished(tier)[0].success
    assert (rows(view) == filled).all()


def test_a_shutdown_waits_for_all_jobs_and_lets_go_of_the_memory(
    tmp_path: Path, view: memoryview
) -> None:
    tier = tier_of(tmp_path / "kv", view)
    fill(view)
    tier.submit_store(job(1, KEYS, range(BLOCKS), load=False))
    tier.shutdown()
    tier.shutdown()
    again = tier_of(tmp_path / "kv", view)
    assert set(looked_up(again)) == {LookupResult.HIT}
    again.shutdown()
    view.release()


def test_submitting_and_looking_up_are_quick(tier: Any, view: memoryview) -> None:
    fill(view)
    tier.submit_store(job(1, KEYS, range(BLOCKS), load=False))
    finished(tier)
    begun = time.perf_counter()
    for _ in range(1000):
        tier.lookup(KEYS[0], REQUEST)
    assert (time.perf_counter() - begun) / 1000 < 200e-6  # 2 us on an idle machine


# ---- what belongs to whom ----


@pytest.mark.parametrize(
    ("changes", "options", "found"),
    [
        ({}, {}, True),
        ({"tp_size": 2}, {}, True),  # the bytes do not depend on it
        ({"tp_size": 2, "is_parallelism_agnostic": False}, {}, False),
        ({"model": "org/other"}, {}, False),
        ({"dtype": "fp8"}, {}, False),
        ({}, {"revision": "2"}, False),
        ({}, {"namespace": "mine"}, False),
    ],
)
def test_another_namespace_finds_nothing(
    tmp_path: Path, view: memoryview, changes: Any, options: Any, found: bool
) -> None:
    first = tier_of(tmp_path / "kv", view)
    first.submit_store(job(1, KEYS[:1], [0], load=False))
    finished(first)
    first.shutdown()
    second = tier_of(tmp_path / "kv", view, spec(**changes), **options)
    there = second.lookup(KEYS[0], REQUEST) is LookupResult.HIT
    second.shutdown()
    assert there == found


def test_each_data_parallel_rank_has_a_directory(tmp_path: Path, view: memoryview) -> None:
    tiers = [
        tier_of(tmp_path / "kv", view, spec(data_parallel_size=2, data_parallel_index=i))
        for i in range(2)
    ]
    assert sorted(path.name for path in (tmp_path / "kv").iterdir()) == ["dp0", "dp1"]
    assert all(not tier.stats()["faults"] for tier in tiers)
    for tier in tiers:
        tier.shutdown()


@pytest.mark.parametrize(("algorithm", "warned"), [("sha256", False), ("xxhash", True)])
def test_a_random_seed_of_the_hashes_is_warned_about(
    tier: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    algorithm: str,
    warned: bool,
) -> None:
    from vllm.utils.hashing import get_hash_fn_by_name

    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    monkeypatch.setattr(kv_cache_utils, "NONE_HASH", b"", raising=False)
    hashes = get_hash_fn_by_name(algorithm)
    try:
        kv_cache_utils.init_none_hash(hashes)
    except ModuleNotFoundError:
        pytest.skip("there is no xxhash")
    with caplog.at_level(logging.WARNING, "persisting.integrations"):
        tier.on_new_request(REQUEST)
        tier.on_new_request(REQUEST)
    ours = [record for record in caplog.records if record.name == "persisting.integrations"]
    assert len(ours) == int(warned)


def test_options_that_are_wrong_raise_when_the_engine_starts(
    tmp_path: Path, view: memoryview
) -> None:
    with pytest.raises(InvalidArgumentError, match="capacity"):
        tier_of(tmp_path / "kv", view, capacity="much")
    with pytest.raises(TypeError, match="colour"):
        tier_of(tmp_path / "kv", view, colour="red")


def test_vllm_finds_the_tier_by_its_short_name(tmp_path: Path, view: memoryview) -> None:
    (entry,) = importlib.metadata.entry_points(group="vllm.general_plugins", name="persisting")
    register = entry.load()
    register()
    register()  # vLLM does so in each of its processes, and more than once
    assert SecondaryTierFactory.get_tier_class({"type": "persisting"}) is PersistingTier
    config = configured(tmp_path / "kv", type="persisting")
    del config["module_path"]
    tier = SecondaryTierFactory.create_secondary_tier(config, view, spec())
    assert isinstance(tier, PersistingTier)
    tier.shutdown()
