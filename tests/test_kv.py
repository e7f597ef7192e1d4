"""KVStore: what it stores it returns, and nothing else."""

from __future__ import annotations

import asyncio
import ctypes
import os
import pathlib
import shutil
import threading
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._errors import (
    ClosedError,
    InvalidArgumentError,
    LockedError,
    StorageError,
)
from persisting.kv import KVStore
from tests.support import python, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CAPACITY = 64 << 20


@pytest.fixture
def store(tmp_path: Path) -> Iterator[KVStore]:
    with KVStore(tmp_path / "kv", capacity=CAPACITY) as opened:
        yield opened


# ---- blocks ----


def test_blocks_are_where_the_store_says(store: KVStore) -> None:
    blocks = {f"key {size}": os.urandom(size) for size in (1, 5000, 300_000)}
    assert all(store.set_many(blocks, blocks.values()))
    with KVStore.connect(store.serve(listen="127.0.0.1:0").addresses[0]) as other:
        for reader in (store, other):
            *found, none = reader.locate([*blocks, "none"])
            assert none is None
            for place, block in zip(found, blocks.values(), strict=True):
                assert place is not None
                path, offset, length, checksum = place
                with pathlib.Path(path).open("rb") as file:
                    file.seek(offset)
                    assert file.read(length) == block
                assert offset % 4096 == 0
                assert checksum == crc32c(block)
    assert store.locate([]) == []


def crc32c(data: bytes) -> int:
    """Return the checksum of some bytes, slowly."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.mark.parametrize("size", [0, 1, 2, 4095, 4096, 4097, 300_000, 4 << 20])
def test_a_block_comes_back(store: KVStore, size: int) -> None:
    block = os.urandom(size)
    assert store.set("key", block)
    assert store.get("key") == block
    assert store.length("key") == size
    assert store.exists("key")


def test_a_key_that_is_not_there(store: KVStore) -> None:
    assert store.get("key") is None
    assert store.length("key") is None
    assert not store.exists("key")
    assert not store.load("key", bytearray(3))
    assert not store.delete("key")
    assert not store.touch("key")
    assert not store.pin("key")
    assert not store.unpin("key")


def test_keys_are_text_or_bytes(store: KVStore) -> None:
    assert store.set("ä", b"1")
    assert store.get("ä".encode()) == b"1"
    assert store.set(b"\0\xff", b"2")
    assert store.set(b"", b"3")
    assert sorted(store.keys()) == [b"", b"\0\xff", "ä".encode()]
    assert store.get(b"") == b"3"


@pytest.mark.parametrize(
    "buffer",
    [
        b"12345678",
        bytearray(b"12345678"),
        memoryview(b"__12345678__")[2:-2],
        np.frombuffer(b"12345678", np.uint8),
        np.frombuffer(b"12345678", np.float16),
        (ctypes.c_ubyte * 8)(*b"12345678"),
        array("q", np.frombuffer(b"12345678", np.int64).tolist()),
        [b"123", b"", bytearray(b"45678")],
        (np.frombuffer(b"1234", np.int32), memoryview(b"5678")),
    ],
    ids=lambda buffer: type(buffer).__name__,
)
def test_any_buffer_can_be_set(store: KVStore, buffer: Any) -> None:
    assert store.set("key", buffer)
    assert store.get("key") == b"12345678"


@pytest.mark.parametrize(
    "make",
    [
        lambda: bytearray(8),
        lambda: np.zeros((2, 2), np.uint16),
        lambda: (ctypes.c_char * 8)(),
        lambda: memoryview(bytearray(12))[2:10],
    ],
)
def test_a_block_is_read_in_place(store: KVStore, make: Any) -> None:
    store.set("key", b"12345678")
    buffer = make()
    assert store.load("key", buffer)
    assert bytes(memoryview(buffer).cast("B")) == b"12345678"


def test_a_block_is_read_into_pieces(store: KVStore) -> None:
    store.set("key", b"12345678")
    pieces: list[Any] = [bytearray(3), bytearray(0), np.zeros(5, np.uint8)]
    assert store.load("key", pieces)
    assert b"".join(map(bytes, pieces)) == b"12345678"


class Tensor:
    """What a torch tensor is to the store."""

    def __init__(self, values: np.ndarray[Any, Any], device: str = "cpu") -> None:
        self.values = values
        self.device = type("device", (), {"type": device, "__str__": lambda _: device})()

    def data_ptr(self) -> int:
        return self.values.ctypes.data

    def numel(self) -> int:
        return self.values.size

    def element_size(self) -> int:
        return self.values.itemsize

    def is_contiguous(self) -> bool:
        return self.values.flags.c_contiguous


def test_a_tensor_is_read_and_written(store: KVStore) -> None:
    assert store.set("key", Tensor(np.arange(4, dtype=np.float32)))
    into = np.zeros(4, np.float32)
    assert store.load("key", Tensor(into))
    assert into.tolist() == [0, 1, 2, 3]
    with pytest.raises(InvalidArgumentError, match="cuda"):
        store.load("key", Tensor(into, "cuda"))
    with pytest.raises(InvalidArgumentError, match="contiguous"):
        store.set("key", Tensor(np.zeros((4, 4))[:, :2]))


def test_memory_is_given_by_address(store: KVStore) -> None:
    a, b = np.arange(10, dtype=np.uint8), np.arange(10, 30, dtype=np.uint8)
    assert store.put_from(
        ["a", "b"], [a.ctypes.data, [b.ctypes.data, a.ctypes.data]], [10, [20, 5]]
    )
    assert store.get("b") == bytes(b) + bytes(a[:5])
    into = np.zeros(25, np.uint8)
    at = into.ctypes.data
    assert store.get_into(["b", "a", "none"], [at, at, at], [25, 9, 1]) == [True, False, False]
    assert bytes(into) == store.get("b")
    with pytest.raises(InvalidArgumentError, match="address"):
        store.get_into(["a"], [0], [10])
    with pytest.raises(InvalidArgumentError, match=r"negative|-1"):
        store.get_into(["a"], [-1], [10])


@pytest.mark.parametrize("size", [0, 1, 7, 9, 4096])
def test_a_buffer_of_another_size_is_a_miss(store: KVStore, size: int) -> None:
    store.set("key", b"12345678")
    buffer = bytearray(b"x" * size)
    assert not store.load("key", buffer)
    assert buffer == b"x" * size
    assert store.stats()["misses"]["length"] == 1


def test_a_set_replaces(store: KVStore) -> None:
    for block in (b"one", b"two", b"longer than that", b""):
        assert store.set("key", block)
        assert store.get("key") == block
    assert store.set("key", b"")
    stats = store.stats()
    assert (stats["keys"], stats["sets"], stats["not_stored"]["present"]) == (1, 4, 1)


def test_many_at_once(store: KVStore) -> None:
    keys = [f"key {i}" for i in range(100)]
    blocks = [os.urandom(i * 100) for i in range(100)]
    assert store.set_many(keys, blocks) == [True] * 100
    assert store.get_many([*keys, "none"]) == [*blocks, None]
    assert store.exists_many(["none", *keys]) == [False] + [True] * 100
    buffers = [bytearray(len(block)) for block in blocks]
    assert store.load_many(keys, buffers) == [True] * 100
    assert buffers == blocks
    assert sorted(store.keys(page=7)) == sorted(key.encode() for key in keys)
    assert store.delete_many(["none", *keys]) == [False] + [True] * 100
    assert store.set_many([], []) == store.exists_many([]) == []
    assert store.get_many([]) == []
    assert store.load_many([], []) == store.delete_many([]) == store.get_into([], [], []) == []


def test_many_are_looked_for(store: KVStore) -> None:
    keys: list[str | bytes] = ["text", b"bytes", "\u00e9", b"\xff\x00", ""]
    assert all(store.set_many(keys, [b"", b"x", bytes(200), bytes(300), bytes(70_000)]))
    mixed = [key for there in keys for key in (there, f"not {there!r}")]
    assert store.exists_many(mixed) == [True, False] * len(keys)
    assert store.exists_many(iter(keys)) == [True] * len(keys)
    assert store.exists_many(["\u00e9".encode(), "bytes"]) == [True] * 2


@pytest.mark.parametrize(
    "keys",
    [
        ["one", "three", ""],
        ["eins", "zwölf", "\U0001f511", ""],
        ["one", b"three", "zwölf", b"\xff"],
        [b"one", "three"],
        ["", "\0", "\0\0"],
    ],
)
def test_keys_of_one_call_are_those_of_many(store: KVStore, keys: list[str | bytes]) -> None:
    blocks = [bytes([i]) * 9 for i in range(len(keys))]
    assert all(store.set_many(keys, blocks))
    assert [store.get(key) for key in keys] == blocks
    each = [key if isinstance(key, bytes) else key.encode() for key in keys]
    assert store.exists_many(each) == store.exists_many(keys) == [True] * len(keys)
    assert store.get_many(each) == store.get_many(keys) == blocks
    assert store.match_prefix([*keys, "none"]) == len(keys)
    assert store.delete_many(keys) == [True] * len(keys)
    assert store.stats()["keys"] == 0


def test_thousands_are_looked_for(store: KVStore) -> None:
    there = {0, 1, 2047, 2048, 4095, 4096, 6143, 6144, 7001}  # the ends of what a processor takes
    assert all(store.set_many([f"{i}" for i in there], [b"x"] * len(there)))
    for count in (2048, 2049, 4096, 7002):
        found = store.exists_many(f"{i}" for i in range(count))
        assert {i for i, yes in enumerate(found) if yes} == {i for i in there if i < count}
        assert len(found) == count


def test_the_longest_run_of_keys(store: KVStore) -> None:
    store.set_many(["a", "b", "d"], [b"1", b"2", b"3"])
    assert store.match_prefix(["a", "b", "c", "d"]) == 2
    assert store.match_prefix(["c", "a"]) == 0
    assert store.match_prefix([]) == 0
    assert store.match_prefix(["a", "b", "d"]) == 3


# ---- what is refused ----


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda s: s.get(3), "int"),
        (lambda s: s.exists_many("abc"), "list"),
        (lambda s: s.exists_many([bytearray(b"key")]), "bytearray"),
        (lambda s: s.delete_many(["key", 3]), "int"),
        (lambda s: s.set("key", "text"), "str"),
        (lambda s: s.set("key", 5), "int"),
        (lambda s: s.set("key", np.zeros((4, 4))[:, ::2]), "contiguous"),
        (lambda s: s.load("key", b"read-only"), "read-only"),
        (lambda s: s.set_many(["a", "b"], [b"1"]), "2 keys with 1"),
        (lambda s: s.put_from(["a"], [1, 2], [3]), "2 addresses with 1"),
        (lambda s: s.set("k" * 5000, b"1"), "5000"),
        (lambda s: s.set("key", b"1", ttl=-1), "ttl"),
        (lambda s: s.exists("key", lease=float("nan")), "lease"),
        (lambda s: [*s.keys(page=0)], "page"),
        (lambda s: s.set_quota("a", -1), "-1"),
        (lambda s: s.drop_namespace("a\0b"), "NUL"),
    ],
)
def test_a_wrong_argument_is_refused(store: KVStore, call: Any, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        call(store)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"capacity": 5}, "capacity"),
        ({"capacity": "5 parsecs"}, "parsecs"),
        ({"policy": "magic", "sync": "no"}, "policy.*sync"),
        ({"ttl": float("inf")}, "ttl|JSON"),
        ({"segment_bytes": 5}, "segment_bytes"),
        ({"namespace": "n" * 3000}, "namespace"),
    ],
)
def test_a_wrong_option_is_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        KVStore(tmp_path, **{"capacity": CAPACITY, **options})
    with KVStore(tmp_path, capacity="64 MiB"):
        pass


def test_a_block_that_fits_nowhere_is_not_stored(store: KVStore) -> None:
    assert not store.set("key", bytes(CAPACITY))
    assert store.stats()["not_stored"]["refused"] == 1


# ---- lives ----


def test_a_second_opener_is_told_who_has_it(store: KVStore) -> None:
    with pytest.raises(LockedError, match=f"process {os.getpid()} ") as refused:
        KVStore(store.path, capacity=CAPACITY)
    assert refused.value.pid == os.getpid()
    with pytest.raises(AssertionError, match=f"process {os.getpid()} "):
        python(
            "import sys; from persisting.kv import KVStore; KVStore(sys.argv[1], capacity=10**8)",
            store.path,
        )


def test_all_is_there_after_an_opening(tmp_path: Path) -> None:
    for times in range(3):
        with KVStore(tmp_path, capacity=CAPACITY, namespace="n", salt="s") as store:
            for i in range(times * 10):
                assert store.get(f"key {i}") == bytes([i]) * 5000
            for i in range(times * 10, times * 10 + 10):
                assert store.set(f"key {i}", bytes([i]) * 5000)
            if times == 0:
                assert store.pin("key 3")
                store.set_quota("s", "1 MiB")
            stats = store.stats()
            assert stats["keys"] == times * 10 + 10
            assert stats["pinned_bytes"] == 12288
            assert stats["salts"]["s"]["quota_bytes"] == 1 << 20


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        KVStore(tmp_path / "file" / "kv", capacity=CAPACITY)


def test_namespaces_are_apart(tmp_path: Path) -> None:
    with KVStore(tmp_path, capacity=CAPACITY, namespace="one") as store:
        store.set("key", b"1")
    with KVStore(tmp_path, capacity=CAPACITY, namespace="two") as store:
        assert store.get("key") is None
        store.set("key", b"22")
        assert {name: usage["keys"] for name, usage in store.namespaces().items()} == {
            "one": 1,
            "two": 1,
        }
        assert [*store.keys(namespace="one")] == [b"key"]
        assert store.drop_namespace("one") == 1
    with KVStore(tmp_path, capacity=CAPACITY, namespace="one") as store:
        assert store.get("key") is None
        assert [*store.namespaces()] == ["two"]


def test_the_directory_stays_within_its_capacity(tmp_path: Path) -> None:
    with KVStore(tmp_path, capacity=CAPACITY) as store:
        for i in range(300):
            assert store.set(f"key {i}", bytes([i % 251]) * 500_000)
            taken = sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir())
            assert taken <= CAPACITY
        stats = store.stats()
        assert stats["evicted"] > 100
        assert stats["write_amplification"] <= 1.3
        assert store.get("key 299") == bytes([299 % 251]) * 500_000
    with KVStore(tmp_path, capacity=CAPACITY * 3 // 4) as store:
        taken = sum(file.stat().st_blocks * 512 for file in tmp_path.iterdir())
        assert taken <= CAPACITY * 3 // 4
        assert store.stats()["keys"] > 10


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    store = KVStore(tmp_path, capacity=CAPACITY)
    store.close()
    store.close()
    assert store.closed
    for call in (
        lambda: store.get("key"),
        lambda: store.set("key", b"1"),
        lambda: store.exists("key"),
        store.stats,
        store.flush,
    ):
        with pytest.raises(ClosedError):
            call()


def test_a_directory_that_is_removed_costs_no_more_than_its_blocks(tmp_path: Path) -> None:
    store = KVStore(tmp_path / "kv", capacity=CAPACITY)
    store.set("key", b"1")
    shutil.rmtree(tmp_path / "kv")
    for i in range(300):
        store.set(f"key {i}", bytes(500_000))
        assert store.get(f"key {i - 5}") in (None, bytes(500_000))
    with pytest.raises(StorageError, match="no such file"):
        store.close()
    with KVStore(tmp_path / "kv", capacity=CAPACITY) as store:
        assert store.get("key") is None
        assert store.set("key", b"2")


# ---- the faults that file-per-block tiers have ----


def damage(path: str, needle: bytes, change: Any) -> None:
    """Change the file that holds some bytes, at the place where they are."""
    for file in sorted(pathlib.Path(path).glob("*.seg")):
        content = bytearray(file.read_bytes())
        if (at := content.find(needle)) >= 0:
            change(file, content, at)
            return
    raise AssertionError("the block is in no segment")


def test_a_flipped_bit_is_a_miss_and_stays_one(store: KVStore) -> None:
    block, other = os.urandom(100_000), os.urandom(100_000)
    store.set_many(["key", "other"], [block, other])

    def flip(file: Path, content: bytearray, at: int) -> None:
        with file.open("r+b") as opened:
            opened.seek(at + 777)
            opened.write(bytes([content[at + 777] ^ 1]))

    damage(store.path, block[:64], flip)
    assert store.get("key") is None
    assert not store.exists("key")
    assert store.get("other") == other
    assert store.stats()["misses"]["damaged"] == 1
    assert store.set("key", block)
    assert store.get("key") == block


def test_a_cut_file_costs_what_was_cut(tmp_path: Path) -> None:
    first, last = os.urandom(100_000), os.urandom(100_000)
    with KVStore(tmp_path, capacity=CAPACITY) as store:
        store.set("first", first)
        store.set("last", last)
    damage(str(tmp_path), last[:64], lambda file, _, at: os.truncate(file, at + 50_000))
    with KVStore(tmp_path, capacity=CAPACITY) as store:
        assert store.get("last") is None
        assert store.get("first") == first


def test_usage_is_known_after_an_opening(tmp_path: Path) -> None:
    with KVStore(tmp_path, capacity=CAPACITY) as store:
        store.set_many([f"{i}" for i in range(20)], [bytes(100_000 + i) for i in range(20)])
        before = store.stats()
    with KVStore(tmp_path, capacity=CAPACITY) as store:
        after = store.stats()
        assert (after["keys"], after["bytes"]) == (before["keys"], before["bytes"]) == (20, 2129920)
        assert store.exists_many([f"{i}" for i in range(20)]) == [True] * 20


# ---- asyncio and threads ----


async def test_coroutines(store: KVStore) -> None:
    assert await store.aset("key", b"12345678")
    assert await store.aget("key") == b"12345678"
    assert await store.aget("none") is None
    buffer = bytearray(8)
    assert await store.aload("key", buffer)
    assert buffer == b"12345678"
    assert await store.aget_many([]) == []
    assert await store.aset_many([], []) == []
    keys = [f"key {i}" for i in range(200)]
    blocks = [os.urandom(1000 + i) for i in range(200)]
    stored = await asyncio.gather(*map(store.aset, keys, blocks))
    assert all(stored)
    assert await asyncio.gather(*map(store.aget, keys)) == blocks
    assert await store.aget_many(keys) == blocks


async def test_a_wait_that_is_cancelled(store: KVStore) -> None:
    task = asyncio.ensure_future(store.aset("key", bytes(1 << 20)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with within(20):
        while not store.exists("key"):
            await asyncio.sleep(0.001)
        assert await store.aset("another", b"1")


async def test_waits_end_when_the_store_is_closed(tmp_path: Path) -> None:
    store = KVStore(tmp_path, capacity=CAPACITY)
    tasks = [asyncio.ensure_future(store.aset(f"{i}", bytes(500_000))) for i in range(60)]
    await asyncio.sleep(0)
    await asyncio.to_thread(store.close)
    async with within(20):
        for found in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(found, bool | ClosedError)


def test_event_loops_of_several_threads(store: KVStore) -> None:
    async def work(thread: int) -> None:
        for i in range(40):
            key, block = f"{thread} {i}", bytes([thread]) * (1000 + i)
            assert await store.aset(key, block)
            assert await store.aget(key) == block

    failures = []

    def body(thread: int) -> None:
        try:
            asyncio.run(work(thread))
        except BaseException as reason:
            failures.append(reason)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


def test_a_close_waits_for_the_threads_that_are_busy(tmp_path: Path) -> None:
    store = KVStore(tmp_path, capacity=CAPACITY)
    stop = threading.Event()
    failures = []

    def body(thread: int) -> None:
        block = bytes([thread]) * 200_000
        i = 0
        while not stop.is_set():
            try:
                store.set(f"{thread} {i % 9}", block)
                found = store.get(f"{thread} {(i + 3) % 9}")
            except ClosedError:
                return
            if found not in (None, block):
                failures.append(thread)
            i += 1

    threads = [threading.Thread(target=body, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    threading.Event().wait(0.2)
    store.close()
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert not failures


def test_a_store_that_is_forgotten_is_closed(tmp_path: Path) -> None:
    store = KVStore(tmp_path, capacity=CAPACITY)
    store.set("key", b"1")
    with pytest.warns(ResourceWarning, match="was not closed"):
        del store
    with KVStore(tmp_path, capacity=CAPACITY) as store:
        assert store.get("key") == b"1"
