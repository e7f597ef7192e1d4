"""What Pulsing's actor of a bucket asks of a backend for tensors, and what it answers."""

from __future__ import annotations

import asyncio
import gc
import inspect
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pulsing
import pytest
from pulsing.exceptions import PulsingError
from pulsing.streaming import register_backend

from persisting import LanceBackend, PersistingBackend, RankAwareSampler
from persisting.queue.metadata import BatchMeta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

# Pulsing never closes a backend: the collector does, with a warning.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

OK = {"status": "ok"}
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []


def noted(name: str) -> Callable[..., Any]:
    """Return the method of that name, which notes its calls."""

    async def method(self: PersistingBackend, *arguments: Any, **more: Any) -> Any:
        CALLS.append((name, arguments, more))
        return await getattr(PersistingBackend, name)(self, *arguments, **more)

    return method


class Probe(PersistingBackend):
    """A backend that notes what the actor asks of it."""

    put = noted("put")
    put_batch = noted("put_batch")
    put_tensor = noted("put_tensor")
    get_meta = noted("get_meta")
    get_data = noted("get_data")
    get_by_indices = noted("get_by_indices")
    mark_consumed = noted("mark_consumed")
    reset_consumption = noted("reset_consumption")
    clear = noted("clear")


@pytest.fixture
async def system() -> AsyncIterator[Any]:
    register_backend("probe", Probe)
    register_backend("PersistingBackend", PersistingBackend)
    started = await pulsing.actor_system()
    CALLS.clear()
    yield started
    await started.shutdown()
    gc.collect()


async def bucket_of(system: Any, path: Path, backend: Any = "probe") -> Any:
    """Return the actor of a queue of one bucket."""
    writer = await system.queue.write(
        "probed", storage_path=str(path), backend=backend, num_buckets=1
    )
    return await writer.queue._ensure_bucket(0)


async def test_put_and_put_batch(system: Any, tmp_path: Path) -> None:
    """Fields whose names begin with "_" are fields as others are, here."""
    bucket = await bucket_of(system, tmp_path)
    assert await bucket.put({"x": 0, "_y": 1}) == OK
    assert await bucket.put_batch([{"x": 1}, {"x": 2}]) == {**OK, "count": 2}
    assert CALLS == [
        ("put", ({"x": 0, "_y": 1},), {}),
        ("put_batch", ([{"x": 1}, {"x": 2}],), {}),
    ]
    assert (await bucket.get_meta(["_y"], 9, "t"))["global_indexes"] == [0]
    assert (await bucket.get_meta(["x"], 9, "t"))["global_indexes"] == [1, 2]
    with pytest.raises(PulsingError, match="Missing 'record'"):
        await bucket.put({})


async def test_put_tensor(system: Any, tmp_path: Path) -> None:
    """The caller never sees what the backend returns, unless it asks by a receipt."""
    bucket = await bucket_of(system, tmp_path)
    columns = {"x": [1, 2]}
    assert await bucket.put_tensor(columns) == OK
    assert await bucket.put_tensor(columns, partition_id="p", receipt="r") == OK
    assert CALLS[0] == ("put_tensor", (columns,), {"partition_id": "default"})
    assert ("put_tensor", (columns,), {"partition_id": "p", "receipt": "r"}) in CALLS
    told = await bucket.get_meta([], 0, "", lookup={"receipt": "r"})
    assert BatchMeta.from_dict(told).global_indexes == [2, 3]
    assert told["samples"][0]["partition_id"] == "p"
    for wrong in (7, {"x": 3}, {"x": [1], "y": [1, 2]}):
        with pytest.raises(PulsingError, match="put_tensor"):
            await bucket.put_tensor(wrong)
    assert (await bucket.stats())["total_count"] == 4


async def test_get_meta(system: Any, tmp_path: Path) -> None:
    """The backend alone decides: it gets all by name, and the answer is the dict of its batch."""
    bucket = await bucket_of(system, tmp_path)
    await bucket.put_batch([{"x": i, "y": i} if i % 2 else {"x": i} for i in range(10)])
    CALLS.clear()
    more = {"partition_id": "p", "dp_rank": 1, "batch_index": 0}
    told = await bucket.get_meta(["x", "y"], 2, "t", sampler=RankAwareSampler(), **more)
    ((name, arguments, given),) = CALLS
    assert (name, arguments) == ("get_meta", ())
    assert isinstance(given.pop("sampler"), RankAwareSampler)
    assert given == {"fields": ["x", "y"], "batch_size": 2, "task_name": "t", **more}
    assert told["global_indexes"] == [1, 3]
    assert [sample["global_index"] for sample in told["samples"]] == [1, 3]
    assert told["samples"][0]["fields"]["y"] == {
        "name": "y",
        "dtype": None,
        "shape": None,
        "production_status": "ready",
    }
    assert (await bucket.get_meta(["y"], 9, "t"))["global_indexes"] == [5, 7, 9]
    assert (await bucket.get_meta(["y", "nope"], 9, "u"))["samples"] == []
    both = await asyncio.gather(*[bucket.get_meta(["x"], 4, "v") for _ in range(2)])
    assert sorted(both[0]["global_indexes"] + both[1]["global_indexes"]) == [*range(8)]


async def test_get_data(system: Any, tmp_path: Path) -> None:
    """The order is that of the batch; what is missing is left out."""
    bucket = await bucket_of(system, tmp_path)
    await bucket.put_batch([{"x": i, "y": -i} for i in range(5)])
    await bucket.clear([2])
    CALLS.clear()
    by_index = {"global_indexes": [4, 2, 0, 4]}
    assert await bucket.get_data(by_index, fields=["x", "nope"]) == [{"x": 4}, {"x": 0}, {"x": 4}]
    assert CALLS[0] == ("get_data", (by_index,), {"fields": ["x", "nope"]})
    by_sample = {"samples": [{"global_index": 3}, {"global_index": 1}]}
    assert await bucket.get_data(by_sample) == [{"x": 3, "y": -3}, {"x": 1, "y": -1}]
    assert await bucket.get_data({"global_indexes": []}) == []
    assert await bucket.get_data({"global_indexes": [99, 1]}, fields=["x"]) == [{"x": 1}]


async def test_marks_resets_and_clears(system: Any, tmp_path: Path) -> None:
    bucket = await bucket_of(system, tmp_path)
    await bucket.put_batch([{"x": i} for i in range(6)])
    CALLS.clear()
    assert await bucket.mark_consumed("t", [0, 5]) == OK
    assert await bucket.clear([1]) == OK
    assert (await bucket.get_meta(["x"], 9, "t"))["global_indexes"] == [2, 3, 4]
    assert await bucket.reset_consumption("t") == OK
    assert CALLS[:2] == [("mark_consumed", ("t", [0, 5]), {}), ("clear", ([1],), {})]
    assert CALLS[-1] == ("reset_consumption", ("t",), {})
    assert (await bucket.get_meta(["x"], 9, "t"))["global_indexes"] == [0, 2, 3, 4, 5]
    with pytest.raises(PulsingError, match="offsets 7 to 7"):
        await bucket.mark_consumed("t", [7])


async def test_keys_of_the_actor_are_its_own(system: Any, tmp_path: Path) -> None:
    """It keeps them in memory, and the backend is never asked: `KVInterface` does without."""
    bucket = await bucket_of(system, tmp_path)
    assert await bucket.kv_register("k", 3) == OK
    assert await bucket.kv_resolve(["k", "nope"]) == {"indexes": [3, -1]}
    assert CALLS == []


async def test_a_class_travels_by_its_name(system: Any, tmp_path: Path) -> None:
    bucket = await bucket_of(system, tmp_path, PersistingBackend)
    assert await bucket.put_tensor({"x": [1]}) == OK
    assert (await bucket.stats())["backend"] == "persisting"


@runtime_checkable
class TensorBackend(Protocol):
    """What Pulsing will ask for at the start, and never after that."""

    async def put_tensor(self, data: Any, **kwargs: Any) -> Any: ...
    async def get_data(self, batch_meta: Any, fields: list[str] | None = None) -> Any: ...
    async def get_meta(
        self,
        fields: list[str],
        batch_size: int,
        task_name: str = "default",
        sampler: Any = None,
        **sampling_kwargs: Any,
    ) -> Any: ...


@runtime_checkable
class ConsumptionBackend(Protocol):
    """The other half of it."""

    async def mark_consumed(self, task_name: str, global_indexes: list[int]) -> None: ...
    async def reset_consumption(self, task_name: str) -> None: ...
    async def clear(self, global_indexes: list[int]) -> None: ...
    async def get_by_indices(self, indices: list[int]) -> list[dict[str, Any]]: ...


@pytest.mark.parametrize("kind", [LanceBackend, PersistingBackend])
@pytest.mark.parametrize("protocol", [TensorBackend, ConsumptionBackend])
async def test_the_protocols_of_a_later_pulsing_are_kept(
    kind: type[LanceBackend], protocol: type, tmp_path: Path
) -> None:
    """A backend is one of the protocol, and its methods take all that those take."""
    async with kind(0, tmp_path) as backend:
        assert isinstance(backend, protocol)
        methods = [name for name in vars(protocol) if not name.startswith("_")]
        assert len(methods) >= 3
        for name in methods:
            wanted = [*inspect.signature(getattr(protocol, name)).parameters.values()][1:]
            named = [each.name for each in wanted if each.kind is not each.VAR_KEYWORD]
            ours = inspect.signature(getattr(backend, name))
            ours.bind(**dict.fromkeys(named))
            ours.bind(*named)
            for each in wanted:
                if each.default is not each.empty:
                    assert ours.parameters[each.name].default == each.default
        assert not isinstance(object(), protocol)
