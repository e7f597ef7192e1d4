"""TensorDicts into a queue and out of it, of every kind that the package makes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tensordict import NonTensorStack, TensorDict, lazy_stack

from persisting import KVInterface, Queue
from persisting._errors import InvalidArgumentError
from persisting.queue import to_tensordict

if TYPE_CHECKING:
    from pathlib import Path


def ragged(*lengths: int) -> list[torch.Tensor]:
    return [torch.arange(n, dtype=torch.int32) + 10 * n for n in lengths]


KINDS: dict[str, Any] = {
    "tensors": lambda: TensorDict(
        {"x": torch.arange(6).reshape(3, 2), "y": torch.ones(3, 2, dtype=torch.bfloat16)}, [3]
    ),
    "one number each": lambda: TensorDict({"x": torch.tensor([1.5, 2.5, 3.5])}, [3]),
    "two dimensions": lambda: TensorDict({"x": torch.arange(12).reshape(3, 4)}, [3, 4]),
    "texts": lambda: TensorDict({"t": NonTensorStack("a", "b", "ü"), "x": torch.zeros(3)}, [3]),
    "one text for all": lambda: TensorDict({"t": "same", "x": torch.zeros(3)}, [3]),
    "nested": lambda: TensorDict({("a", "b"): torch.arange(3), "x": torch.zeros(3)}, [3]),
    "jagged": lambda: TensorDict(
        {"j": torch.nested.nested_tensor(ragged(1, 3, 2), layout=torch.jagged)}, [3]
    ),
    "lazy, of several shapes": lambda: lazy_stack(
        [TensorDict({"j": row, "n": TensorDict({"z": row})}) for row in ragged(2, 0, 4)]
    ),
}


def same(one: Any, two: Any) -> bool:
    """Compare rows; tensors with their dtypes."""
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return one.dtype == two.dtype and bool(torch.equal(one, two))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return type(one) is type(two) and bool(one == two)


def rows(data: Any) -> list[dict[str, Any]]:
    return [row.to_dict() for row in data.unbind(0)]


@pytest.mark.parametrize("kind", KINDS)
def test_rows_come_back(kind: str, tmp_path: Path) -> None:
    """By their offsets, by tasks and by keys, also after the queue was opened again."""

    async def main() -> None:
        data = KINDS[kind]()
        wanted = rows(data)
        wanted = [dict(row) for row in wanted]
        async with Queue("q", str(tmp_path)) as queue:
            meta = await queue.put(data, "p")
            assert meta is not None
            assert meta.global_indexes == [0, 1, 2]
            got = await queue.get_data(meta, "p")
            assert all(map(same, got, wanted))
            await KVInterface(queue).kv_batch_put(["a", "b", "c"], data, "p")
            await KVInterface(queue).kv_put("d", data[1:2], "p", {"one": 1})
            if len(data.batch_size) == 1:
                await KVInterface(queue).kv_put("e", data[2], "p")
        async with Queue("q", str(tmp_path)) as queue:
            sampled = await queue.get_batch(meta.field_names, 3, "task", "p")
            assert all(map(same, sampled, wanted))
            kv = KVInterface(queue)
            got = await kv.kv_batch_get(["c", "b", "a", "d"], "p")
            assert all(map(same, got, [wanted[i] for i in (2, 1, 0, 1)]))
            if len(data.batch_size) == 1:
                assert all(map(same, await kv.kv_batch_get(["e"], "p"), wanted[2:]))
            again = to_tensordict(await queue.get_data(meta, "p"))
            assert again.batch_size == torch.Size([3])
            assert all(map(same, rows(again), wanted))

    asyncio.run(main())


def test_columns_of_records() -> None:
    records = [{"x": torch.arange(2), "j": row, "t": "a", "n": 1} for row in ragged(1, 2)]
    found = to_tensordict(records)
    assert torch.equal(found["x"], torch.arange(2).expand(2, 2))
    assert [*found["t"]] == ["a", "a"]
    assert torch.equal(found["n"], torch.tensor([1, 1]))
    nested = found.get("j", as_nested_tensor=True)
    assert all(map(torch.equal, nested.unbind(0), ragged(1, 2)))
    assert to_tensordict([]).batch_size == torch.Size([0])


def test_as_many_rows_as_keys(tmp_path: Path) -> None:
    async def main() -> None:
        async with Queue("q", str(tmp_path)) as queue:
            kv = KVInterface(queue)
            for make in KINDS.values():
                with pytest.raises(InvalidArgumentError, match="as many rows as there are keys"):
                    await kv.kv_put("k", make(), "p")
                with pytest.raises(InvalidArgumentError, match="as many rows as there are keys"):
                    await kv.kv_batch_put(["a", "b"], make(), "p")
            assert len(queue) == 0

    asyncio.run(main())
