"""Both adapters through LMCache's own factories, and LMCache's own checks and benchmark."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lmcache.cli.commands.bench.l2_adapter_bench.data import (
    create_l1_memory_desc,
    make_memory_objects,
    make_object_keys,
)
from lmcache.v1.distributed.api import ObjectKey
from lmcache.v1.distributed.internal_api import L2AdapterListener
from lmcache.v1.distributed.l2_adapters import create_l2_adapter
from lmcache.v1.distributed.l2_adapters.config import parse_args_to_l2_adapters_config
from lmcache.v1.platform import consume_fd

import persisting.integrations.lmcache as plug
from persisting.integrations.lmcache import Adapter, decode, encode
from persisting.kv import KVStore
from tests.engines.disks import failing_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 1 << 16
COUNT = 8
MEMORY = torch.zeros(16 << 20, dtype=torch.uint8)
CLASSES = {"plugin": "Adapter", "native_plugin": "Connector"}


def configured(sort: str, path: Path, **options: Any) -> str:
    """Return the configuration as a user writes it."""
    parameters = {"path": str(path), "capacity": "64 MiB", **options}
    return json.dumps(
        {
            "type": sort,
            "module_path": "persisting.integrations.lmcache",
            "class_name": CLASSES[sort],
            "adapter_params": parameters,
        }
    )


def made(sort: str, path: Path, **options: Any) -> Any:
    arguments = argparse.Namespace(l2_adapter=[configured(sort, path, **options)])
    config = parse_args_to_l2_adapters_config(arguments).adapters[0]
    return create_l2_adapter(config, l1_memory_desc=create_l1_memory_desc(MEMORY))


@pytest.fixture(params=list(CLASSES))
def sort(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def adapter(sort: str, tmp_path: Path) -> Iterator[Any]:
    opened = made(sort, tmp_path / "kv")
    yield opened
    opened.close()


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[Adapter]:
    opened = made("plugin", tmp_path / "kv")
    yield opened
    opened.close()


def test_an_address_needs_no_capacity(tmp_path: Path, sort: str) -> None:
    with KVStore(tmp_path / "kv", capacity="64 MiB") as owner:
        owner.serve(tmp_path / "s")
        config = json.loads(configured(sort, Path(f"unix:{tmp_path / 's'}")))
        del config["adapter_params"]["capacity"]
        arguments = argparse.Namespace(l2_adapter=[json.dumps(config)])
        parsed = parse_args_to_l2_adapters_config(arguments).adapters[0]
        opened = create_l2_adapter(parsed, l1_memory_desc=create_l1_memory_desc(MEMORY))
        if sort == "plugin":
            assert opened.get_usage().total_capacity_bytes == 64 << 20
        assert opened.report_status()["is_healthy"]
        opened.close()


def result(fd: int, ask: Callable[[], Any]) -> Any:
    """Wait for a descriptor and ask, until there is an answer."""
    deadline = time.monotonic() + 30
    while (answer := ask()) is None:
        assert time.monotonic() < deadline, "the task does not end"
        time.sleep(0.0005)
    consume_fd(fd)
    return answer


def store(adapter: Any, keys: list[ObjectKey], objects: list[Any]) -> Any:
    task = adapter.submit_store_task(keys, objects)
    ask = adapter.pop_completed_store_tasks
    return result(adapter.get_store_event_fd(), lambda: ask().get(task))


def bits(bitmap: Any, count: int) -> list[bool]:
    return [bool(bitmap.test(i)) for i in range(count)]


def load(adapter: Any, keys: list[ObjectKey], objects: list[Any]) -> list[bool]:
    task = adapter.submit_load_task(keys, objects)
    found = result(adapter.get_load_event_fd(), lambda: adapter.query_load_result(task))
    assert adapter.query_load_result(task) is None  # once
    return bits(found, len(keys))


def lock(adapter: Any, keys: list[ObjectKey]) -> list[bool]:
    task = adapter.submit_lookup_and_lock_task(keys, {})
    fd = adapter.get_lookup_and_lock_event_fd()
    found = result(fd, lambda: adapter.query_lookup_and_lock_result(task))
    assert adapter.query_lookup_and_lock_result(task) is None
    return bits(found, len(keys))


def lookup(adapter: Any, keys: list[ObjectKey]) -> list[bool]:
    found = lock(adapter, keys)
    adapter.submit_unlock([key for key, there in zip(keys, found, strict=True) if there])
    return found


def objects(count: int = COUNT, size: int = SIZE, half: int = 0, fill: int | None = None) -> Any:
    """Return objects in one of the two halves of the memory, of random bytes unless given."""
    found = make_memory_objects(MEMORY, count, size, half * (8 << 20))
    for one in found:
        if fill is None:
            one.raw_data.random_(0, 255)
        else:
            one.raw_data.fill_(fill)
    return found


def same(one: Any, other: Any) -> bool:
    return bytes(one.byte_array) == bytes(other.byte_array)


KEYS = make_object_keys(COUNT)


# ---- both ----


def test_objects_come_back(adapter: Any) -> None:
    assert lookup(adapter, KEYS) == [False] * COUNT
    stored = objects()
    assert store(adapter, KEYS, stored).is_successful()
    assert lookup(adapter, KEYS) == [True] * COUNT
    loaded = objects(half=1, fill=0)
    assert load(adapter, KEYS[::-1], loaded) == [True] * COUNT
    assert all(same(a, b) for a, b in zip(stored, reversed(loaded), strict=True))


def test_objects_come_back_after_a_restart(sort: str, tmp_path: Path) -> None:
    first = made(sort, tmp_path / "kv")
    stored = objects()
    store(first, KEYS, stored)
    first.close()
    second = made(sort, tmp_path / "kv")
    assert lookup(second, KEYS) == [True] * COUNT
    loaded = objects(half=1, fill=0)
    assert load(second, KEYS, loaded) == [True] * COUNT
    assert all(same(a, b) for a, b in zip(stored, loaded, strict=True))
    second.close()


def test_one_adapter_finds_what_the_other_stores(tmp_path: Path) -> None:
    for writer, reader in [("plugin", "native_plugin"), ("native_plugin", "plugin")]:
        keys = make_object_keys(COUNT)
        first = made(writer, tmp_path / "kv")
        store(first, keys, objects())
        first.close()
        second = made(reader, tmp_path / "kv")
        assert lookup(second, keys) == [True] * COUNT
        second.close()


@pytest.mark.parametrize("size", [SIZE // 4, SIZE * 4])
def test_an_object_of_another_length_is_a_miss(adapter: Any, size: int) -> None:
    store(adapter, KEYS, objects())
    loaded = objects(size=size, half=1, fill=99)
    assert load(adapter, KEYS, loaded) == [False] * COUNT
    assert all(set(bytes(one.byte_array)) == {99} for one in loaded)


def test_an_object_that_is_stored_again_is_the_new_one(adapter: Any) -> None:
    store(adapter, KEYS, objects())
    stored = objects(size=2 * SIZE, fill=8)
    assert store(adapter, KEYS, stored).is_successful()
    loaded = objects(size=2 * SIZE, half=1, fill=0)
    assert load(adapter, KEYS, loaded) == [True] * COUNT
    assert same(stored[0], loaded[0])


def test_a_damaged_object_is_a_miss(adapter: Any, tmp_path: Path) -> None:
    stored = objects()
    store(adapter, KEYS, stored)
    block = bytes(stored[2].byte_array)
    for file in (tmp_path / "kv").glob("*.seg"):
        at = file.read_bytes().find(block)
        if at >= 0:
            with file.open("r+b") as segment:
                segment.seek(at + 1000)
                segment.write(bytes([block[1000] ^ 1]))
    expected = [i != 2 for i in range(COUNT)]
    assert load(adapter, KEYS, objects(half=1, fill=0)) == expected
    assert lookup(adapter, KEYS) == expected


@pytest.mark.parametrize("options", [{"namespace": "fp8"}, {"revision": "2"}])
def test_another_namespace_finds_nothing(sort: str, tmp_path: Path, options: Any) -> None:
    first = made(sort, tmp_path / "kv")
    store(first, KEYS, objects())
    first.close()
    second = made(sort, tmp_path / "kv", **options)
    assert lookup(second, KEYS) == [False] * COUNT
    second.close()


def test_a_failing_disk_is_a_failed_store(adapter: Any) -> None:
    with failing_disk():
        for _ in range(20):
            assert not store(adapter, KEYS, objects()).is_successful()
            assert load(adapter, KEYS, objects(half=1)) == [False] * COUNT
            assert lookup(adapter, KEYS) == [False] * COUNT


def test_deleted_objects_are_gone(adapter: Any) -> None:
    store(adapter, KEYS, objects())
    adapter.delete(KEYS[:3])
    assert lookup(adapter, KEYS) == [False] * 3 + [True] * (COUNT - 3)


def test_descriptors_differ(adapter: Any) -> None:
    fds = {
        adapter.get_store_event_fd(),
        adapter.get_lookup_and_lock_event_fd(),
        adapter.get_load_event_fd(),
    }
    assert len(fds) == 3


# ---- what only the plugin has ----


def salted(count: int, salt: str) -> list[ObjectKey]:
    return [ObjectKey(os.urandom(32), "org/model", 1, 2, salt) for _ in range(count)]


def test_keys_survive_their_bytes() -> None:
    for key in [*salted(2, ""), *salted(2, "user-1"), *KEYS]:
        assert decode(encode(key)) == key


def test_what_is_locked_is_not_deleted(plugin: Adapter) -> None:
    store(plugin, KEYS, objects())
    lock(plugin, KEYS[:2])
    lock(plugin, KEYS[:1])
    plugin.delete(KEYS[:3])
    assert lookup(plugin, KEYS[:3]) == [True, True, False]
    plugin.submit_unlock(KEYS[:2])
    plugin.delete(KEYS[:2])
    assert lookup(plugin, KEYS[:2]) == [True, False]  # the first was locked twice
    plugin.submit_unlock(KEYS[:1])
    plugin.submit_unlock(KEYS)  # what is not locked
    plugin.delete(KEYS[:1])
    assert lookup(plugin, KEYS[:1]) == [False]


def test_leases_last_as_long_as_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plug, "RENEW_MS", 20)
    adapter = made("plugin", tmp_path / "kv")
    store(adapter, KEYS, objects())
    lock(adapter, KEYS[:2])
    renewed: list[list[bytes]] = []
    monkeypatch.setattr(adapter._batches, "lengths", lambda keys, lease: renewed.append(keys))
    deadline = time.monotonic() + 30
    while len(renewed) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert renewed[-1] == [encode(key) for key in KEYS[:2]]
    adapter.submit_unlock(KEYS[:2])
    time.sleep(0.1)
    before = len(renewed)
    time.sleep(0.1)
    assert len(renewed) == before
    adapter.close()


def test_usage_is_counted_by_salt_and_survives_a_restart(tmp_path: Path) -> None:
    mine, yours = salted(2, "mine"), salted(6, "yours")
    first = made("plugin", tmp_path / "kv")
    assert store(first, mine + yours, objects()).bytes_transferred() == COUNT * SIZE
    before = first.get_usage()
    assert before.total_capacity_bytes == 64 << 20
    assert dict(before.bytes_by_cache_salt) == {
        "mine": 2 * (SIZE + 4096),
        "yours": 6 * (SIZE + 4096),
    }
    first.close()
    second = made("plugin", tmp_path / "kv")
    after = second.get_usage()
    assert dict(after.bytes_by_cache_salt) == dict(before.bytes_by_cache_salt)
    assert after.total_bytes_used == before.total_bytes_used
    assert load(second, mine + yours, objects(half=1)) == [True] * COUNT
    second.close()


def test_keys_are_listed_in_pages(plugin: Adapter) -> None:
    ours = salted(5, "")
    store(plugin, ours + KEYS[:3], objects())
    listed: list[Any] = []
    token = None
    for _ in range(10):
        page = plugin.list_l2_keys(page_size=3, cursor=token)
        assert len(page.entries) <= 3
        listed += page.entries
        if (token := page.next_page_token) is None:
            break
    assert {entry.key.to_object_key() for entry in listed} == {*ours, *KEYS[:3]}
    assert {entry.size_bytes for entry in listed} == {SIZE}
    some = plugin.list_l2_keys(model_name="org/model").entries
    assert {entry.key.to_object_key() for entry in some} == set(ours)
    for wrong in ("nonsense", "[]", '{"slot": "a"}'):
        with pytest.raises(ValueError, match=r"token|Expecting"):
            plugin.list_l2_keys(cursor=wrong)
    with pytest.raises(ValueError, match="page_size"):
        plugin.list_l2_keys(page_size=0)


class Listener(L2AdapterListener):  # type: ignore[misc]
    def __init__(self) -> None:
        self.stored: dict[ObjectKey, int] = {}
        self.accessed: set[ObjectKey] = set()
        self.deleted: set[ObjectKey] = set()

    def on_l2_keys_stored(self, keys: list[ObjectKey], sizes: list[int]) -> None:
        self.stored.update(zip(keys, sizes, strict=True))

    def on_l2_keys_accessed(self, keys: list[ObjectKey]) -> None:
        self.accessed.update(keys)

    def on_l2_keys_deleted(self, keys: list[ObjectKey]) -> None:
        self.deleted.update(keys)


def test_a_listener_hears_of_what_was_stored_before_and_since(tmp_path: Path) -> None:
    first = made("plugin", tmp_path / "kv")
    store(first, KEYS, objects())
    first.close()
    second = made("plugin", tmp_path / "kv")
    listener = Listener()
    second.register_listener(listener)
    deadline = time.monotonic() + 30
    while len(listener.stored) < COUNT:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    assert listener.stored == dict.fromkeys(KEYS, SIZE)
    more = salted(2, "")
    store(second, more, objects(2))
    load(second, KEYS, objects(half=1))
    second.delete(KEYS[:2])
    second.close()
    assert set(listener.stored) == {*KEYS, *more}
    assert listener.accessed == set(KEYS)
    assert listener.deleted == set(KEYS[:2])


def test_an_adapter_without_a_store_works(plugin: Adapter, tmp_path: Path) -> None:
    second = made("plugin", tmp_path / "kv")  # the first one has it
    assert not second.report_status()["is_healthy"]
    assert plugin.report_status()["is_healthy"]
    assert not store(second, KEYS, objects()).is_successful()
    assert load(second, KEYS, objects(half=1)) == [False] * COUNT
    assert lookup(second, KEYS) == [False] * COUNT
    second.delete(KEYS)
    assert second.list_l2_keys().entries == ()
    assert second.get_usage().total_bytes_used == 0
    second.close()


def test_an_adapter_closes_while_tasks_are_on_their_way(tmp_path: Path) -> None:
    adapter = made("plugin", tmp_path / "kv")
    for _ in range(20):
        adapter.submit_store_task(KEYS, objects())
        adapter.submit_load_task(KEYS, objects(half=1))
    adapter.close()
    adapter.close()


# ---- LMCache's own programs ----


def lmcache(module: str, *arguments: str) -> str:
    argv = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_basic_check_passes(sort: str, tmp_path: Path) -> None:
    told = lmcache(
        "lmcache.v1.basic_check",
        *("--mode", "test_l2_adapter", "--model", "m/x", "--num-keys", "5"),
        *("--l2-adapter", configured(sort, tmp_path / "kv")),
    )
    assert re.search(r"Validation \(content\): 5/5", told)


def test_the_benchmark_verifies_all(sort: str, tmp_path: Path) -> None:
    told = lmcache(
        "lmcache.cli.main",
        *("bench", "l2", "--l2-adapter", configured(sort, tmp_path / "kv")),
        *("--num-keys", "16", "--in-flight", "4", "--data-size-kb", "256", "--rounds", "2"),
        *("--no-skip-verify", "--l1-align-bytes", "4096"),
    )
    sections = re.findall(
        r"-+ (Store|Load) -+\n.*?Total keys: +(\d+).*?Total success: +(\d+)", told, re.DOTALL
    )
    assert [name for name, *_ in sections] == ["Store", "Load"]
    assert all(keys == success != "0" for _, keys, success in sections), told
    assert "[Verify] All 64 keys data verified OK." in told  # 16 keys, 4 in flight
