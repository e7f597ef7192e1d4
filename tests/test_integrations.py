"""What the plugs for inference engines do without any engine; tests/engines has the engines."""

from __future__ import annotations

import logging
import os
import select
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._engine.kv import Memory
from persisting._errors import InvalidArgumentError
from persisting.integrations._connector import Connector
from persisting.integrations._tier import Faults, Tier, harmless, namespace_of
from persisting.kv import KVStore
from persisting.kv._batches import Batches
from tests.support import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CAPACITY = 64 << 20
SIZE = 1 << 16


@pytest.fixture
def connector(tmp_path: Path) -> Iterator[Connector]:
    made = Connector(str(tmp_path / "kv"), CAPACITY, namespace="bf16")
    yield made
    made.close()


def blocks(count: int, seed: int = 0) -> list[memoryview]:
    rng = np.random.default_rng(seed)
    return [memoryview(bytearray(rng.bytes(SIZE))) for _ in range(count)]


def buffers(count: int, size: int = SIZE) -> list[memoryview]:
    return [memoryview(bytearray(size)) for _ in range(count)]


def completion(connector: Connector, number: int) -> tuple[bool, str, list[bool] | None]:
    """Wait for a batch as LMCache does, and return what is told of it."""
    poll = select.poll()
    poll.register(connector.event_fd(), select.POLLIN)
    for _ in range(100):
        poll.poll(200)
        for found, ok, error, each in connector.drain_completions():
            assert found == number
            return ok, error, each
    raise AssertionError("the batch does not end")


KEYS = [f"model@00000001@0@{i:064x}" for i in range(8)]


# ---- the connector ----


def test_a_connector_stores_and_loads(connector: Connector) -> None:
    stored = blocks(8)
    assert completion(connector, connector.submit_batch_set(KEYS, stored)) == (True, "", [True] * 8)
    wanted = [KEYS[0], "absent", KEYS[7]]
    there = completion(connector, connector.submit_batch_exists(wanted))
    assert there == (True, "", [True, False, True])
    loaded = buffers(3)
    ok, error, each = completion(connector, connector.submit_batch_get(wanted, loaded))
    assert (ok, each) == (False, [True, False, True])
    assert "1 of 3" in error
    assert loaded[0] == stored[0]
    assert loaded[2] == stored[7]


def test_a_connector_deletes(connector: Connector) -> None:
    completion(connector, connector.submit_batch_set(KEYS, blocks(8)))
    assert completion(connector, connector.submit_batch_delete([KEYS[1], "absent"]))[0]
    there = completion(connector, connector.submit_batch_exists(KEYS))[2]
    assert there == [True, False] + [True] * 6


def test_numbers_of_batches_differ_over_all_operations(connector: Connector) -> None:
    numbers = [
        connector.submit_batch_exists(KEYS),
        connector.submit_batch_set(KEYS, blocks(8)),
        connector.submit_batch_get(KEYS, buffers(8)),
        connector.submit_batch_delete(KEYS),
        connector.submit_batch_exists([]),
    ]
    told: list[int] = []

    def drained() -> bool:
        told.extend(n for n, *_ in connector.drain_completions())
        return len(told) == 5

    assert eventually(drained)
    assert sorted(told) == sorted(set(numbers))


def test_the_descriptor_is_quiet_once_all_is_drained(connector: Connector) -> None:
    completion(connector, connector.submit_batch_exists(KEYS))
    poll = select.poll()
    poll.register(connector.event_fd(), select.POLLIN)
    assert poll.poll(0) == []
    assert connector.drain_completions() == []


def test_a_block_that_is_stored_again_is_the_new_one(connector: Connector) -> None:
    for seed in (0, 1):
        completion(connector, connector.submit_batch_set(KEYS[:1], blocks(1, seed)))
    loaded = buffers(1)
    assert completion(connector, connector.submit_batch_get(KEYS[:1], loaded))[0]
    assert loaded[0] == blocks(1, 1)[0]


@pytest.mark.parametrize("size", [SIZE // 4, SIZE * 4])
def test_a_buffer_of_another_length_is_a_miss(connector: Connector, size: int) -> None:
    completion(connector, connector.submit_batch_set(KEYS[:1], blocks(1)))
    loaded = buffers(1, size)
    assert completion(connector, connector.submit_batch_get(KEYS[:1], loaded))[2] == [False]
    assert bytes(loaded[0]) == bytes(size)


def test_what_cannot_be_is_told_and_not_raised(connector: Connector) -> None:
    read_only = [memoryview(bytes(SIZE))]
    ok, error, each = completion(connector, connector.submit_batch_get(KEYS[:1], read_only))
    assert (ok, each) == (False, [False])
    assert "InvalidArgumentError" in error
    long = ["k" * 5000]
    assert not completion(connector, connector.submit_batch_set(long, blocks(1)))[0]
    assert connector.stats()["faults"] == {"load": 1, "store": 1}


def test_a_connector_finds_its_blocks_after_a_restart(tmp_path: Path) -> None:
    def opened(**names: str) -> Connector:
        return Connector(str(tmp_path / "kv"), CAPACITY, **names)

    first = opened(namespace="bf16", revision="1")
    completion(first, first.submit_batch_set(KEYS, blocks(8)))
    first.close()
    for names, there in [
        ({"namespace": "bf16", "revision": "1"}, True),
        ({"namespace": "bf16", "revision": "2"}, False),
        ({"namespace": "fp8", "revision": "1"}, False),
    ]:
        again = opened(**names)
        assert completion(again, again.submit_batch_exists(KEYS))[2] == [there] * 8
        again.close()


def test_a_second_connector_works_without_a_store(
    connector: Connector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "persisting.integrations"):
        second = Connector(str(tmp_path / "kv"), CAPACITY)
    assert str(os.getpid()) in caplog.text  # of the process that has it
    assert completion(second, second.submit_batch_exists(KEYS[:2]))[2] == [False, False]
    assert not completion(second, second.submit_batch_set(KEYS[:1], blocks(1)))[0]
    second.close()


def test_options_that_are_wrong_raise_when_the_engine_starts(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="capacity"):
        Connector(str(tmp_path / "kv"), "much")
    with pytest.raises(InvalidArgumentError, match="capacity is missing"):
        Connector(str(tmp_path / "kv"))
    with pytest.raises(InvalidArgumentError, match="policy"):
        Connector(str(tmp_path / "kv"), CAPACITY, policy="newest")
    with pytest.raises(TypeError, match="colour"):
        Connector(str(tmp_path / "kv"), CAPACITY, colour="red")


def test_a_connector_whose_directory_is_removed_goes_on(tmp_path: Path) -> None:
    connector = Connector(str(tmp_path / "kv"), CAPACITY)
    completion(connector, connector.submit_batch_set(KEYS, blocks(8)))
    shutil.rmtree(tmp_path / "kv")
    for turn in range(50):
        for submit, *memory in (
            (connector.submit_batch_set, blocks(8, turn)),
            (connector.submit_batch_get, buffers(8)),
            (connector.submit_batch_exists,),
            (connector.submit_batch_delete,),
        ):
            each = completion(connector, submit(KEYS, *memory))[2]
            assert each is not None
            assert len(each) == 8
    connector.close()


def test_a_connector_closes_while_batches_are_on_their_way(tmp_path: Path) -> None:
    connector = Connector(str(tmp_path / "kv"), CAPACITY)
    for turn in range(20):
        connector.submit_batch_set(KEYS, blocks(8, turn))
        connector.submit_batch_get(KEYS, buffers(8))
    connector.close()
    connector.close()
    assert connector.drain_completions() == []


def test_many_threads_use_a_connector(connector: Connector) -> None:
    told: set[int] = set()
    numbers: list[int] = []
    lock = threading.Lock()

    def submit(seed: int) -> None:
        for turn in range(20):
            keys = [f"{seed}/{turn}/{i}" for i in range(4)]
            mine = [
                connector.submit_batch_set(keys, blocks(4, seed)),
                connector.submit_batch_exists(keys),
                connector.submit_batch_get(keys, buffers(4)),
            ]
            with lock:
                numbers.extend(mine)

    threads = [threading.Thread(target=submit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()

    def drained() -> bool:
        told.update(n for n, *_ in connector.drain_completions())
        return len(told) == 240

    assert eventually(drained, within=60)
    for thread in threads:
        thread.join()
    assert told == set(numbers)


# ---- what the plugs share ----


def test_batches_tell_what_became_of_each_key(tmp_path: Path) -> None:
    with KVStore(tmp_path / "kv", capacity=CAPACITY) as store:
        batches = Batches(store)
        memory = Memory()
        for block in blocks(2):
            memory.add(block, writable=False)
        assert memory.sizes() == [SIZE, SIZE]
        ticket = batches.store([b"a", b"b"], memory)
        ended: list[tuple[int, list[int]]] = []

        def drained() -> bool:
            ended.extend((t, list(r)) for t, r in batches.ended())
            return bool(ended)

        assert eventually(drained)
        assert ended == [(ticket, [1, 1])]
        assert list(batches.lengths([b"a", b"c", b"b"], 0)) == [SIZE, -1, SIZE]
        assert batches.length(b"a", 0) == SIZE
        assert batches.prefix([b"a", b"b", b"c"], 0) == 2
        assert batches.delete([b"a", b"c"]) == [True, False]
        assert batches.page(None, 10) == ([(b"b", SIZE)], None)


def test_some_of_the_memory_of_a_batch() -> None:
    memory = Memory()
    memory.add_raw((1, 2), (10, 20))
    memory.add_raw((), ())
    memory.add_raw(3, 30)
    assert memory.sizes() == [30, 0, 30]
    some = memory.of([2, 0])
    assert some.sizes() == [30, 30]
    assert list(some.addresses) == [3, 1, 2]
    assert len(some.results) == 2
    memory.add_rows([5, 6], [7, 7])
    assert memory.sizes() == [30, 0, 30, 7, 7]
    assert list(memory.of([4]).addresses) == [6]
    assert len(memory.results) == 5


def test_views_are_added_at_once_and_kept() -> None:
    memory, whole = Memory(), bytearray(8)
    views = [memoryview(whole)[:3], memoryview(whole)[3:]]
    memory.add_views(views, writable=True)
    assert memory.sizes() == [3, 5]
    assert memory.addresses[1] - memory.addresses[0] == 3
    for view in views:
        view.release()
    with pytest.raises(BufferError):  # the memory stays where it is
        whole.extend(b"more")
    del memory
    whole.extend(b"more")
    some = Memory()
    some.add_views([memoryview(b"abc"), memoryview(b""), memoryview(bytearray(4))], writable=False)
    assert some.sizes() == [3, 0, 4]
    with pytest.raises(InvalidArgumentError, match="read-only"):
        Memory().add_views([memoryview(bytearray(1)), memoryview(b"abc")], writable=True)
    with pytest.raises(InvalidArgumentError, match="contiguous"):
        Memory().add_views([memoryview(whole)[::2]], writable=True)


def test_a_namespace_changes_with_what_a_block_means() -> None:
    base = namespace_of("vllm", "org/model", {"dtype": "bf16", "ranks": [0, 1]}, "r1")
    assert base.startswith("vllm/org/model/r1/")
    others = [
        namespace_of("sglang", "org/model", {"dtype": "bf16", "ranks": [0, 1]}, "r1"),
        namespace_of("vllm", "org/model", {"dtype": "fp8", "ranks": [0, 1]}, "r1"),
        namespace_of("vllm", "org/model", {"dtype": "bf16", "ranks": [0, 1]}, "r2"),
        namespace_of("vllm", "org/model", {"dtype": "bf16", "ranks": [0, 1]}),
        namespace_of("vllm", "org/model/r1", {"dtype": "bf16", "ranks": [0, 1]}),
    ]
    assert len({base, *others}) == 6
    assert namespace_of("vllm", "org/model", {"ranks": [0, 1], "dtype": "bf16"}, "r1") == base


def test_faults_are_counted_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults()
    with caplog.at_level(logging.ERROR, "persisting.integrations"):
        for i in range(100):
            faults.add("store", i)
        faults.add("load", "why")
    assert faults.counts() == {"store": 100, "load": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "store failed, 1 times so far: 0",
        "load failed, 1 times so far: why",
    ]


def test_a_method_answers_in_place_of_raising(tmp_path: Path) -> None:
    class Plug:
        def __init__(self) -> None:
            self._tier = Tier(tmp_path / "kv", "", {"capacity": CAPACITY})

        @harmless(lambda keys, **_: [False] * len(keys))
        def get(self, keys: list[str], **more: Any) -> list[bool]:
            raise RuntimeError("boom")

    plug = Plug()
    assert plug.get(["a", "b"], extra=1) == [False, False]
    assert plug._tier.stats()["faults"] == {"get": 1}
    plug._tier.close()
    assert "keys" not in plug._tier.stats()


def test_no_engine_is_imported_with_the_package() -> None:
    script = (
        "import sys, persisting, persisting.kv, persisting.integrations\n"
        "import persisting.integrations._connector, persisting.integrations._vllm\n"
        "assert not {'vllm', 'sglang', 'lmcache', 'torch'} & set(sys.modules)\n"
        "persisting.integrations._vllm.register()\n"  # there is none to register with
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
