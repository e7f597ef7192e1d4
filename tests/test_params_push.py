"""Versions go from store to store, at the cost of what is not there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from persisting._errors import ConflictError, InvalidArgumentError, NotFoundError
from persisting.params import Box, ParameterStore, VersionInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RNG = np.random.default_rng(6)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ParameterStore]:
    with ParameterStore(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def there(tmp_path: Path) -> Iterator[ParameterStore]:
    with ParameterStore(tmp_path / "there") as opened:
        yield opened


def weights(seed: int = 1) -> Any:
    """Return a matrix of bf16 of 1.2 MB."""
    drawn = np.random.default_rng(seed).normal(0, 0.02, (600, 1000))
    return drawn.astype(ml_dtypes.bfloat16)


def stepped(value: np.ndarray) -> Any:
    """Return a matrix with some values moved by a unit of the last place."""
    bits = value.view(np.uint16).copy()
    bits[RNG.random(bits.shape) < 0.008] += 1
    return bits.view(ml_dtypes.bfloat16)


def equal(found: dict[str, Any], saved: dict[str, Any]) -> None:
    assert [*found] == [*saved]
    for name, value in saved.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert found[name].tobytes() == value.tobytes(), name


def test_all_of_a_version_comes_along(store: ParameterStore, there: ParameterStore) -> None:
    tied = weights()
    model = {
        "z": tied,
        "a": tied,
        "none": np.zeros((0, 3)),
        "one": np.array(5),
        "\0odd\n": tied[:1],
    }
    store.save(
        "m", model, metadata={"step": 1}, objects={"note": b"text", "empty": b""}, tags=["x"]
    )
    info = store.push("m", there, other="n", tags=["prod"])
    assert info == there.versions("n")[0]
    assert (info.version, info.tags, info.metadata) == (1, ("prod",), {"step": 1})
    assert info.nbytes == store.versions("m")[0].nbytes
    with there.open("n", "prod") as opened:
        equal(opened.load(), model)
        assert opened.tensors["z"].tie == opened.tensors["a"].tie > 0
        assert opened.read_object("note") == b"text"
        assert opened.read_object("empty") == b""
    assert there.verify() == []


def test_steps_cost_what_changed(store: ParameterStore, there: ParameterStore) -> None:
    model = {"w": weights(), "frozen": weights(2)}
    costs = []
    for _ in range(4):
        store.save("m", model)
        costs.append(store.push("m", there).stored)
        equal(there.load("m"), model)
        model = {**model, "w": stepped(model["w"])}
    assert max(costs[1:]) < costs[0] / 50
    served = there.load("m", 1)
    assert there.pull("m", served, 1).told == 1  # it knows what its versions come from
    equal(served, there.load("m"))


def test_what_is_there_is_not_brought(store: ParameterStore, there: ParameterStore) -> None:
    value = weights()
    there.save("other", {"x": value})
    store.save("m", {"w": value})
    assert store.push("m", there).stored < value.nbytes / 100
    first = store.push("m", there)
    assert store.push("m", there, tags=["again"]).version == first.version
    assert there.tags("m") == {"again": 1}
    assert store.push("m", there, other="renamed").stored < value.nbytes / 100
    assert store.push("m", store, other="copy").stored < value.nbytes / 100
    back = there.push("m", store, other="back")
    assert back.stored < value.nbytes / 100
    store.drop("m")
    store.gc()
    equal(store.load("back"), {"w": value})


def test_a_path_is_a_store(store: ParameterStore, tmp_path: Path) -> None:
    store.save("m", {"w": weights()})
    assert isinstance(store.push("m", tmp_path / "new"), VersionInfo)
    with ParameterStore(tmp_path / "new", read_only=True) as new:
        equal(new.load("m"), {"w": weights()})


def test_versions_of_ranks_are_pushed(store: ParameterStore, there: ParameterStore) -> None:
    value = weights()
    for _ in range(2):
        transaction = store.begin("m", 2)
        for rank in range(2):
            rows = value[300 * rank :][:300]
            store.part(transaction, rank, {"w": Box(rows, value.shape, (300 * rank, 0))})
        assert store.commit(transaction).tensors == store.push("m", there).tensors == 1
        equal(there.load("m"), {"w": value})
        value = stepped(value)


def test_what_cannot_be_pushed(store: ParameterStore, there: ParameterStore) -> None:
    store.save("m", {"w": weights()})
    with pytest.raises(NotFoundError, match="no version 7"):
        store.push("m", there, 7)
    with pytest.raises(ConflictError, match="not 3"):
        store.push("m", there, expect=3)
    with pytest.raises(InvalidArgumentError, match="latest"):
        store.push("m", there, tags=["latest"])
    with pytest.raises(InvalidArgumentError, match="name"):
        store.push("m", there, other="x" * 1000)
    assert there.names() == []
    assert [*there.gc().values()] == [0] * 5


def test_pushes_of_one_version_at_once_bring_it_once(
    store: ParameterStore, there: ParameterStore
) -> None:
    store.save("m", {"w": weights()})
    found: list[int] = []

    def push() -> None:
        found.append(store.push("m", there).version)

    threads = [threading.Thread(target=push) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1] * 6
    assert len(there.versions("m")) == 1
    assert there.verify() == []
    assert there.gc()["packs"] == 0
