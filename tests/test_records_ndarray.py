"""Numpy arrays in records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from persisting._errors import SchemaError
from persisting._records import RecordEncoder, decode
from tests.records import NDARRAY_METADATA, once, put, same

DTYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ndim", range(5))
def test_ndarray(dtype: str, ndim: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [
        (rng.random((*range(2, 2 + ndim),)) * 100).astype(dtype),
        np.zeros((0,) * ndim, dtype),
        np.asarray((np.ones((3,) * ndim) * 2).astype(dtype), order="F"),
        np.ones((5,) * ndim, dtype)[(slice(None, None, 2),) * ndim],
    ]
    records: list[dict[str, Any]] = [{"a": np.asarray(array)} for array in arrays]
    records.insert(2, {})
    encoder = RecordEncoder()
    batches = [put(encoder, *records), *[put(encoder, record) for record in records]]
    field = batches[0].schema.field("a")
    assert field.metadata == NDARRAY_METADATA
    element = pa.from_numpy_dtype(dtype)
    shape = pa.list_(pa.int32(), ndim)
    kinds = [element, pa.list_(element), pa.struct([("data", pa.list_(element)), ("shape", shape)])]
    assert field.type == kinds[min(ndim, 2)]
    got = decode(batches)
    assert same(got, records * 2)
    whole = pa.Table.from_batches(batches[:1]).combine_chunks().to_batches()[0]
    for first in range(5):
        for count in range(6 - first):
            part = whole.slice(first, count)
            assert same(decode([part]), records[first : first + count])


def test_null_structs_of_null_children() -> None:
    values = [np.ones((1, 2)), None, np.zeros((0, 3))]
    batch = once(*[{} if value is None else {"a": value} for value in values])
    array = batch.column(0)
    mask = pa.array([False, True, False])
    children = [
        pa.array([[1.0, 1.0], None, []], pa.list_(pa.float64())),
        pa.array([[1, 2], None, [0, 3]], pa.list_(pa.int32(), 2)),
    ]
    nulls = pa.StructArray.from_arrays(children, fields=[*array.type], mask=mask)
    stored = pa.RecordBatch.from_arrays([nulls], schema=batch.schema)
    assert same(decode([stored]), decode([batch]))


def test_ndarrays_are_copies() -> None:
    array = np.arange(3)
    encoder = RecordEncoder()
    encoder.add([{"a": array}])
    array[:] = 7
    (record,) = decode([encoder.finish()])
    assert record["a"].tolist() == [0, 1, 2]
    assert record["a"].flags.writeable
    assert record["a"].flags.owndata


def test_ndarray_sides_have_32_bits() -> None:
    with pytest.raises(SchemaError, match=r"int8, 2-D\) of shape \(2147483648, 0\) does not fit"):
        RecordEncoder().add([{"a": np.zeros((2**31, 0), "i1")}])


def test_mapped_arrays(tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "data", np.int16, "w+", shape=(2, 3))
    (record,) = decode([once({"a": mapped})])
    assert same(record["a"], np.zeros((2, 3), np.int16))


@pytest.mark.parametrize(
    "other",
    [np.zeros((2, 2), "f4"), np.zeros(2), np.float32(1), [1.0], np.array(1, "f4")],
    ids=str,
)
def test_ndarray_column_takes_one_dtype_and_ndim(other: Any) -> None:
    encoder = RecordEncoder()
    put(encoder, {"a": np.zeros(2, "f4")})
    with pytest.raises(SchemaError, match=r"key 'a': .*ndarray\(float32, 1-D\)"):
        encoder.add([{"a": other}])
    if isinstance(other, list):  # a column of lists, in which an array is one
        return
    encoder = RecordEncoder()
    put(encoder, {"a": other})
    with pytest.raises(SchemaError, match=r"key 'a': .*ndarray\(float32, 1-D\)"):
        encoder.add([{"a": np.zeros(2, "f4")}])
