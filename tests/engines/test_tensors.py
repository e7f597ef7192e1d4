"""torch tensors in records."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from persisting import PersistingBackend
from persisting._errors import SchemaError
from persisting._records import RecordEncoder, decode
from tests.records import once, put

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")

DTYPES = [
    *("bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
    *("complex32", "complex64", "complex128"),
]


def tensor(dtype: str, *shape: int) -> Any:
    """Return a tensor of bytes that are no numbers of use, and valid for any dtype."""
    kind = getattr(torch, dtype)
    count = int(torch.tensor(shape).prod()) if shape else 1
    data = torch.arange(count * kind.itemsize, dtype=torch.uint8) % 2
    return data.view(kind).reshape(shape)


def bits(value: Any) -> list[int]:
    """Return the bytes of the elements of a tensor, in C order."""
    found: list[int] = value.clone().untyped_storage().tolist()
    return found


def same(one: Any, two: Any) -> bool:
    """Compare values; tensors with their dtypes and bits."""
    if type(one) is not type(two):
        return False
    if isinstance(one, torch.Tensor):
        alike = one.dtype == two.dtype and one.shape == two.shape
        return alike and bits(one) == bits(two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 1), (2, 1, 2, 2)], ids=str)
def test_tensors_of_every_dtype(dtype: str, shape: tuple[int, ...]) -> None:
    value = tensor(dtype, *shape)
    encoder = RecordEncoder()
    batches = [put(encoder, {"t": value}, {}, {"t": value}), put(encoder, {"t": value})]
    assert same(decode(batches), [{"t": value}, {}, {"t": value}, {"t": value}])
    nested = {"x": {"t": value, "more": [(value,)]}}
    assert same(decode([once(nested)]), [nested])


def test_views_gradients_and_subclasses() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    conjugate = torch.tensor([1 + 2j, 3j]).conj()
    values = {
        "transposed": whole.t(),
        "strided": whole[::2, 1::2],
        "conjugate": conjugate,
        "negative": conjugate.imag,
    }
    got = decode([once({name: value for name, value in values.items()})])
    assert got[0].keys() == values.keys()
    for name, value in values.items():
        assert torch.equal(got[0][name], value.resolve_conj().resolve_neg()), name
    (record,) = decode([once({"w": torch.nn.Parameter(torch.ones(2))})])
    assert type(record["w"]) is torch.Tensor
    assert record["w"].tolist() == [1, 1]
    assert not record["w"].requires_grad


def test_tensors_are_copies() -> None:
    value = torch.zeros(3)
    encoder = RecordEncoder()
    encoder.add([{"t": value}])
    value += 1
    (record,) = decode([encoder.finish()])
    assert record["t"].tolist() == [0, 0, 0]
    record["t"] += 1


REFUSED: dict[str, tuple[Any, str]] = {
    "sparse": (lambda: torch.eye(2).to_sparse(), "layout torch.sparse_coo"),
    "meta": (lambda: torch.zeros(2, device="meta"), "on meta cannot be held; put a dense tensor"),
    "other dtype": (lambda: torch.zeros(2, dtype=torch.float64), "does not fit tensor(float32"),
    "other dimensions": (lambda: torch.zeros(2, 2), "of shape (2, 2) does not fit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, text = REFUSED[name]
    encoder = RecordEncoder()
    put(encoder, {"t": torch.zeros(2)})
    with pytest.raises(SchemaError) as caught:
        encoder.add([{"t": make()}])
    assert text in str(caught.value) or "the column is tensor(float32, 1-D)" in str(caught.value)
    if name in ("sparse", "meta"):
        with pytest.raises(SchemaError, match="put a dense tensor"):
            RecordEncoder().add([{"t": {"a": make()}}])


def test_a_tensor_is_a_list_in_a_column_of_lists() -> None:
    encoder = RecordEncoder()
    put(encoder, {"x": [1]})
    assert decode([put(encoder, {"x": torch.tensor([2, 3])})]) == [{"x": [2, 3]}]


def test_tensors_come_back_from_a_bucket(tmp_path: Path) -> None:
    async def main() -> None:
        records = [
            {"t": tensor("bfloat16", 2, i), "n": i, "d": {"t": tensor("int8", i)}} for i in range(6)
        ]
        async with PersistingBackend(0, tmp_path) as backend:
            await backend.put(records[0])
            await backend.put_batch(records[1:3])
            assert same(await backend.get(10, 0), records[:3])
            await backend.flush()
            await backend.put_batch(records[3:])
        async with PersistingBackend(0, tmp_path) as backend:
            assert same(await backend.get(10, 0), records)
            await backend.flush()
            await backend.compact()
            assert same(await backend.get_by_indices([5, 0]), [records[5], records[0]])
            assert same([r async for part in backend.get_stream(10, 0) for r in part], records)

    asyncio.run(main())


def test_torch_is_not_imported() -> None:
    program = (
        "import sys, numpy\n"
        "from persisting._records import RecordEncoder, decode\n"
        "encoder = RecordEncoder()\n"
        "encoder.add([{'a': numpy.zeros(2), 'b': {'c': (1,)}}])\n"
        "assert decode([encoder.finish()])[0]['b'] == {'c': (1,)}\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
