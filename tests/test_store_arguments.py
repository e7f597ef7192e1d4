"""Numbers and texts of the stores of blocks, tensors and steps: as they are, or refused by name.

What ctypes would cut to 64 bits without a word, and what Python cannot encode, are of these.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from persisting._errors import PersistingError
from persisting.kv import KVStore
from persisting.params import ParameterStore
from persisting.trajectory import Column, TrajectoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Stores(NamedTuple):
    """One of each."""

    path: Path
    kv: KVStore
    params: ParameterStore
    steps: TrajectoryStore

    def block_store(self, **options: Any) -> None:
        KVStore(self.path / "other", **{"capacity": "64 MiB"} | options).close()

    def step_store(self, **options: Any) -> None:
        TrajectoryStore(self.path / "more", **options).close()

    def write(self, step: Any = None, **options: Any) -> None:
        with self.steps.writer(**options) as writer:
            writer.append(step or {"n": 1})


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    path = tmp_path_factory.mktemp("stores")
    with (
        KVStore(path / "kv", capacity="64 MiB") as kv,
        ParameterStore(path / "params") as params,
        TrajectoryStore(path / "steps", columns={"n": Column.array("int64")}) as steps,
    ):
        kv.set("key", b"block")
        for version in range(6):
            params.save("m", {"a": np.arange(3) + version})
        opened = Stores(path, kv, params, steps)
        opened.write(episode_id="first")
        steps.flush()
        yield opened
        assert kv.get("key") == b"block"
        assert params.load("m")["a"].tolist() == [5, 6, 7]
        assert steps.episode("first").steps["n"].tolist() == [1]


# What takes a number, and one that it takes.
NUMBERS: dict[str, tuple[Callable[[Stores, Any], Any], int]] = {
    "capacity": (lambda s, n: s.block_store(capacity=n), 1 << 26),
    "segment_bytes": (lambda s, n: s.block_store(segment_bytes=n), 1 << 22),
    "workers": (lambda s, n: s.block_store(workers=n), 2),
    "max_store_backlog": (lambda s, n: s.block_store(max_store_backlog=n), 1 << 20),
    "page": (lambda s, n: [*s.kv.keys(page=n)], 1),
    "size": (lambda s, n: s.kv.set_quota("salt", n), 1 << 20),
    "address": (lambda s, n: s.kv.put_from(["none"], [n], [0]), 0),
    "length": (lambda s, n: s.kv.get_into(["none"], [0], [n]), 0),
    "world_size": (lambda s, n: s.params.abort(s.params.begin("w", n)), 2),
    "rank": (lambda s, n: s.params.part(s.params.begin("w", 2), n, {"a": np.zeros(1)}), 1),
    "expect of save": (lambda s, n: s.params.save("e", {"a": np.zeros(1)}, expect=n), 0),
    "expect of commit": (lambda s, n: commit(s, n), 0),
    "version": (lambda s, n: s.params.delete("m", n), 1),
    "versions": (lambda s, n: s.params.delete("m", [n]), 2),
    "after": (lambda s, n: next(s.params.watch("m", n, timeout=0.01)), 1),
    "batch": (lambda s, n: s.steps.ack(n), 0),
    "attempt": (lambda s, n: s.write(episode_id="attempts", attempt=n), 1),
    "start": (lambda s, n: s.write(episode_id="starts", start=n), 0),
    "buffer_bytes": (lambda s, n: s.write(buffer_bytes=n), 1 << 16),
    "hot_bytes": (lambda s, n: s.step_store(hot_bytes=n), 1 << 20),
    "limit": (lambda s, n: s.steps.query(limit=n), 1),
    "seed": (lambda s, n: s.steps.sampler(seed=n).sample(1), 1),
    "offset": (lambda s, n: s.steps.take([n]), 0),
}

NO_NUMBERS = [
    2**64,
    2**64 + 1,
    10**30,
    -(2**63) - 1,
    -(2**64) + 1,
    0.5,
    np.nan,
    "x",
    b"1",
    object(),
]


def commit(s: Stores, expect: Any) -> None:
    """Commit a version of a name of its own."""
    transaction = s.params.begin("c", 1)
    s.params.part(transaction, 0, {"a": np.zeros(1)})
    s.params.commit(transaction, expect=expect)


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused(stores: Stores, name: str) -> None:
    call, _ = NUMBERS[name]
    for value in NO_NUMBERS:
        with pytest.raises(PersistingError):
            call(stores, value)


@pytest.mark.parametrize("name", [n for n in NUMBERS if n != "batch"])
def test_numbers_of_numpy_are_numbers(stores: Stores, name: str) -> None:
    call, number = NUMBERS[name]
    call(stores, np.int64(number))


# Seconds.
TIMES: dict[str, Callable[[Stores, Any], Any]] = {
    "ttl of a store": lambda s, t: s.block_store(ttl=t),
    "load_deadline": lambda s, t: s.block_store(load_deadline=t),
    "lease of exists": lambda s, t: s.kv.exists("key", lease=t),
    "lease of locate": lambda s, t: s.kv.locate(["key"], lease=t),
    "ttl of set": lambda s, t: s.kv.set("other", b"x", ttl=t),
    "ttl of aset": lambda s, t: asyncio.run(s.kv.aset("other", b"x", ttl=t)),
    "ttl of touch": lambda s, t: s.kv.touch("other", ttl=t),
    "timeout": lambda s, t: [*s.params.watch("none", 0, timeout=t)],
    "wal_sync_interval": lambda s, t: s.step_store(wal_sync_interval=t),
    "after": lambda s, t: s.steps.close_lost(t),
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [-1, -0.5, np.nan, "1", b"1", [1], object()], ids=repr)
def test_what_is_no_time_is_refused(stores: Stores, name: str, value: Any) -> None:
    with pytest.raises(PersistingError):
        TIMES[name](stores, value)


@pytest.mark.parametrize("name", [n for n in TIMES if n not in ("ttl of a store", "load_deadline")])
def test_times_of_numpy_are_times(stores: Stores, name: str) -> None:
    TIMES[name](stores, np.uint8(1) if name != "timeout" else np.float32(0.01))


TEXTS: dict[str, Callable[[Stores, Any], Any]] = {
    "path of blocks": lambda s, t: KVStore(t, capacity="64 MiB"),
    "path of tensors": lambda s, t: ParameterStore(t),
    "path of steps": lambda s, t: TrajectoryStore(t),
    "address": lambda s, t: KVStore.connect(t),
    "namespace": lambda s, t: s.block_store(namespace=t),
    "salt": lambda s, t: s.block_store(salt=t),
    "policy": lambda s, t: s.block_store(policy=t),
    "namespace of keys": lambda s, t: [*s.kv.keys(namespace=t)],
    "namespace of drop": lambda s, t: s.kv.drop_namespace(t),
    "salt of a quota": lambda s, t: s.kv.set_quota(t, 1),
    "name": lambda s, t: s.params.save(t, {"a": np.zeros(1)}),
    "tag": lambda s, t: s.params.save("t", {"a": np.zeros(1)}, tags=[t]),
    "name of load": lambda s, t: s.params.load(t),
    "tag of set_tag": lambda s, t: s.params.set_tag("m", t),
    "transaction": lambda s, t: s.params.abort(t),
    "column": lambda s, t: s.write(step={t: 1}),
    "env": lambda s, t: s.write(env=t),
    "group": lambda s, t: s.write(group=t),
    "episode_id": lambda s, t: s.write(episode_id=t),
    "episode": lambda s, t: s.steps.episode(t),
    "task": lambda s, t: s.steps.lease([0], task=t),
    "where": lambda s, t: s.steps.query(t),
    "columns": lambda s, t: s.steps.query(columns=[t]),
    "tag of steps": lambda s, t: s.steps.tag(t),
    "order": lambda s, t: s.steps.sampler(order=t),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", ["\ud800", "a\0b", 5, object()], ids=repr)
def test_what_is_no_text_is_refused(stores: Stores, name: str, value: Any) -> None:
    with pytest.raises(PersistingError):
        TEXTS[name](stores, value)


KEYS: dict[str, Callable[[KVStore, Any], Any]] = {
    "exists": lambda kv, key: kv.exists(key),
    "exists_many": lambda kv, key: kv.exists_many(["key", key]),
    "length": lambda kv, key: kv.length(key),
    "match_prefix": lambda kv, key: kv.match_prefix([key]),
    "locate": lambda kv, key: kv.locate([key]),
    "get": lambda kv, key: kv.get(key),
    "load": lambda kv, key: kv.load(key, bytearray(1)),
    "set": lambda kv, key: kv.set(key, b""),
    "delete": lambda kv, key: kv.delete(key),
    "touch": lambda kv, key: kv.touch(key),
    "pin": lambda kv, key: kv.pin(key),
    "unpin": lambda kv, key: kv.unpin(key),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("key", ["\ud800", 5, None, object()], ids=repr)
def test_what_is_no_key_is_refused(stores: Stores, name: str, key: Any) -> None:
    with pytest.raises(PersistingError, match="key"):
        KEYS[name](stores.kv, key)


@pytest.mark.parametrize("name", ["\ud800", 5, object()], ids=repr)
def test_what_is_no_name_of_a_tensor_or_an_object_is_refused(stores: Stores, name: Any) -> None:
    for given in ({"tensors": {name: np.zeros(1)}}, {"tensors": {}, "objects": {name: b""}}):
        with pytest.raises(PersistingError):
            stores.params.save("t", **given)


METADATA = [{"a": "\ud800"}, {"\ud800": 1}, {"a": object()}, {"a": b"x"}, {"a": np.nan}, {b"x": 1}]


@pytest.mark.parametrize("metadata", METADATA, ids=repr)
def test_metadata_that_would_come_back_as_other_is_refused(
    stores: Stores, metadata: dict[Any, Any]
) -> None:
    with pytest.raises(PersistingError, match=r"metadata|Unicode"):
        stores.params.save("t", {"a": np.zeros(1)}, metadata=metadata)
