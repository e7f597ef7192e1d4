"""Columns of lists of numbers that a schema declares, or Arrow data brought."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from persisting._errors import SchemaError
from persisting._records import RecordEncoder, decode

VECTORS = pa.list_(pa.float32(), 3)
COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "float32": (VECTORS, "float32"),
    "float64": (pa.list_(pa.float64(), 3), "float64"),
    "float16": (pa.list_(pa.float16(), 3), "float16"),
    "bool": (pa.list_(pa.bool_(), 3), "bool"),
    "uint8": (pa.list_(pa.uint8(), 3), "uint8"),
    "named": (pa.list_(pa.field("element", pa.float32(), nullable=False), 3), "float32"),
    "any length": (pa.list_(pa.float32()), "float32"),
}


def put(kind: pa.DataType, *values: Any) -> list[Any]:
    encoder = RecordEncoder(pa.schema([("v", kind), ("n", pa.int64())]))
    assert encoder.add([{"n": n, "v": value} for n, value in enumerate(values)])
    batch = encoder.finish()
    batch.validate(full=True)
    assert batch.schema.field("v").type == kind
    return [record["v"] for record in decode([batch])]


@pytest.mark.parametrize("name", COLUMNS)
def test_arrays_and_lists_are_taken(name: str) -> None:
    kind, dtype = COLUMNS[name]
    arrays = [np.array(values, dtype) for values in ([0, 1, 1], [1, 0, 1])]
    lists = [array.tolist() for array in arrays]
    assert put(kind, *arrays) == lists
    assert put(kind, *lists) == lists
    assert put(kind, arrays[0], lists[1]) == lists
    assert put(kind, arrays[0], None, arrays[1]) == [lists[0], None, lists[1]]
    assert put(kind, np.repeat(arrays[0], 2)[::2]) == lists[:1]


def test_arrays_of_any_length_are_taken_where_the_lists_have_any() -> None:
    arrays = [np.zeros(n, "f4") for n in (0, 2, 1)]
    assert put(pa.list_(pa.float32()), *arrays) == [[], [0, 0], [0]]


@pytest.mark.parametrize(
    ("value", "message"),
    {
        "short array": (np.zeros(2, "f4"), "key 'v': 2 items, the column is vectors of 3"),
        "long list": ([1.0] * 4, "key 'v': 4 items, the column is vectors of 3"),
        "dtype": (np.zeros(3), r"ndarray\(float64, 1-D\) of shape \(3,\) .* want float32, 1-D"),
        "byte order": (np.zeros(3, ">f4"), r"ndarray\(>f4, 1-D\) .* want float32, 1-D"),
        "dimensions": (np.zeros((3, 1), "f4"), r"2-D\) of shape \(3, 1\) .* want float32, 1-D"),
        "inexact": ([0.1, 0.2, 0.3], "not all items are exact .* put a numpy array of float32"),
        "text": ("abc", "the value is string"),
    }.values(),
)
def test_what_does_not_fit_is_named(value: Any, message: str) -> None:
    for values in ([value], [[1.0, 2.0, 3.0], value], [np.zeros(3, "f4"), value]):
        with pytest.raises(SchemaError, match=message):
            put(VECTORS, *values)
