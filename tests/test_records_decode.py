"""Dicts from Arrow data of any type."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from persisting._errors import SchemaError
from persisting._records import RecordEncoder, decode, normalise, strip
from tests.records import JSON_METADATA, PYARROW, once, put


@pytest.mark.skipif(not hasattr(pa, "json_"), reason="this pyarrow has no JSON type")
def test_registered_json_type() -> None:
    batch = once({"j": {"a": 1}}, {}, {"j": [1, "x"]})
    registered = pa.record_batch(
        [pa.ExtensionArray.from_storage(pa.json_(), batch.column(0))], names=["j"]
    )
    assert decode([registered]) == [{"j": {"a": 1}}, {}, {"j": [1, "x"]}]
    encoder = RecordEncoder(registered.schema)
    assert encoder.schema.equals(batch.schema, check_metadata=True)
    assert put(encoder, {"j": {}}).schema.equals(batch.schema, check_metadata=True)
    (normal,) = normalise(registered)
    assert normal.schema.field("j").equals(batch.schema.field("j"), check_metadata=True)
    assert decode([normal]) == [{"j": {"a": 1}}, {"j": None}, {"j": [1, "x"]}]


def test_json_null_is_none_and_not_absent() -> None:
    batch = pa.RecordBatch.from_arrays(
        [pa.array(["null", None, "1"])],
        schema=pa.schema([pa.field("j", pa.string(), metadata=JSON_METADATA)]),
    )
    assert decode([batch]) == [{"j": None}, {}, {"j": 1}]


FOREIGN: dict[str, tuple[pa.DataType, list[Any], list[Any]]] = {
    "int32": (pa.int32(), [1, -(2**31)], [2**31, 1.5, "a", True]),
    "uint8": (pa.uint8(), [0, 255], [-1, 256]),
    "float32": (pa.float32(), [0.5, 3, math.inf], [0.1, 2**24 + 1, "a"]),
    "large_string": (pa.large_string(), ["a", "ä"], [1, b"a"]),
    "large_binary": (pa.large_binary(), [b"a"], ["a"]),
    "fixed binary": (pa.binary(2), [b"ab"], [b"a"]),
    "seconds": (
        pa.timestamp("s"),
        [dt.datetime(2024, 1, 1)],
        [dt.datetime(2024, 1, 1, 0, 0, 0, 1)],
    ),
    "ms duration": (pa.duration("ms"), [dt.timedelta(seconds=1)], [dt.timedelta(microseconds=1)]),
    "date64": (pa.date64(), [dt.date(2024, 1, 1)], [1, "a"]),
    "time32": (pa.time32("s"), [dt.time(1, 2, 3)], [dt.time(1, 2, 3, 4)]),
    "decimal": (pa.decimal128(5, 2), [Decimal("1.50")], [Decimal("1.555"), Decimal(10000)]),
    "large_list": (pa.large_list(pa.int64()), [[1, None], []], [["a"], 1]),
    "fixed list": (pa.list_(pa.float32(), 2), [[0.5, 1.0]], [[0.5], [0.1, 0.2]]),
    "int8 list": (pa.list_(pa.int8()), [[1, 2]], [[1000]]),
    "named item": (pa.list_(pa.field("x", pa.int64())), [[1]], [["a"]]),
    "struct": (pa.struct([("a", pa.int64())]), [{"a": 1}, {"a": None}], [{"b": 1}, {}, 1]),
}


if PYARROW >= 21:  # older ones make halves of numpy's scalars only
    FOREIGN["float16"] = (pa.float16(), [0.5], [0.1])


@pytest.mark.parametrize("name", FOREIGN)
def test_dicts_meet_columns_of_arrow_data(name: str) -> None:
    kind, good, bad = FOREIGN[name]
    schema = pa.schema([pa.field("x", kind, metadata={b"unit": b"m"}), ("y", pa.int64())])
    encoder = RecordEncoder(schema)
    assert encoder.schema.equals(schema, check_metadata=True)
    records: list[dict[str, Any]] = [{"x": value, "y": 1} for value in good]
    records += [{"y": 2}, {"x": None}]
    assert encoder.add(records[:1])
    assert encoder.add([{}])
    assert encoder.add(records[1:])
    batch = encoder.finish()
    batch.validate(full=True)
    assert batch.schema.field("x").equals(schema.field("x"), check_metadata=True)
    assert decode([batch]) == [records[0], {}, *records[1:]]
    assert decode([put(encoder, {"x": None})]) == [{"x": None}]
    for value in bad:
        with pytest.raises(SchemaError, match=r"^key 'x': "):
            encoder.add([{"x": value}])
    assert encoder.rows == 0


def test_dicts_meet_columns_of_extension_types() -> None:
    kind = pa.fixed_shape_tensor(pa.int32(), [2])
    encoder = RecordEncoder(pa.schema([("x", kind)]))
    batch = put(encoder, {"x": [1, 2]}, {"y": 1})
    assert batch.schema.field("x").type == kind
    assert strip(batch).column("x").storage.to_pylist() == [[1, 2], None]


ARROW_VALUES: dict[str, pa.Array] = {
    "int8": pa.array([1, None, -3], pa.int8()),
    "uint64": pa.array([1, None, 2**64 - 1], pa.uint64()),
    "half": pa.array(np.array([1, 2, 3], "f2")),
    "float32": pa.array([1.5, None], pa.float32()),
    "bool": pa.array([True, None, False] * 5),
    "null": pa.nulls(2),
    "ascii": pa.array(["ab", None, "cd", "", "e"]),
    "string": pa.array(["a", None, "ä", ""]),
    "large string": pa.array(["a", None, "ä"], pa.large_string()),
    "view": pa.array(["a" * 20, None, "ä"], pa.string_view()),
    "binary view": pa.array([b"a" * 20, None], pa.binary_view()),
    "fixed binary": pa.array([b"ab", None], pa.binary(2)),
    "seconds": pa.array([0, None, 1], pa.timestamp("s")),
    "ms with zone": pa.array([0, None, 1], pa.timestamp("ms", "UTC")),
    "us": pa.array([0, None, -1], pa.timestamp("us")),
    "us with zone": pa.array([0, None, -1], pa.timestamp("us", "Europe/Berlin")),
    "date32": pa.array([0, None, -1], pa.date32()),
    "date64": pa.array([dt.date(2024, 1, 1), None], pa.date64()),
    "time32": pa.array([dt.time(1), None], pa.time32("s")),
    "time64": pa.array([dt.time(1, 2, 3, 4), None], pa.time64("us")),
    "duration": pa.array([1, None], pa.duration("us")),
    "duration s": pa.array([1, None], pa.duration("s")),
    "decimal": pa.array([Decimal("1.50"), None]),
    "decimal256": pa.array([Decimal("1.50"), None], pa.decimal256(50, 2)),
    "list": pa.array([[1, None], None, []]),
    "list of text": pa.array([["a", None], None, []]),
    "list of bool": pa.array([[True, None], None, []]),
    "list of times": pa.array([[0, None], None, []], pa.list_(pa.timestamp("us"))),
    "large list": pa.array([[1], None, []], pa.large_list(pa.int64())),
    "large list of dates": pa.array([[1], None, []], pa.large_list(pa.date32())),
    "fixed list": pa.array([[1, 2], None, [None, 3]], pa.list_(pa.int8(), 2)),
    "fixed list of dates": pa.array([[1, 2], None], pa.list_(pa.date32(), 2)),
    "list view": pa.array([[1, 2], None, []], pa.list_view(pa.int64())),
    "struct": pa.array([{"a": 1, "b": None}, None, {"a": None, "b": "x"}]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "dictionary": pa.array(["a", None, "b", "a"]).dictionary_encode(),
    "run ends": pc.run_end_encode(pa.array(["a", "a", None, "b"])),
    "dictionary of views": pa.DictionaryArray.from_arrays(
        pa.array([0, None, 1], pa.int8()), pa.array(["a", "b" * 20], pa.string_view())
    ),
    "large list view": pa.array([[1, 2], None, []], pa.large_list_view(pa.int64())),
    "struct of dictionary": pa.StructArray.from_arrays(
        [pa.array(["a", None, "b"]).dictionary_encode(), pa.array([1, 2, None])], names=["x", "y"]
    ),
    "large list of dictionary": pa.LargeListArray.from_arrays(
        pa.array([0, 1, 3], pa.int64()), pa.array(["a", "b", "a"]).dictionary_encode()
    ),
    "fixed list of dictionary": pa.FixedSizeListArray.from_arrays(
        pa.array(["a", "b", "a", "c"]).dictionary_encode(), 2
    ),
    "list of dictionary": pa.ListArray.from_arrays(
        pa.array([0, 1, 3], pa.int32()), pa.array(["a", "b", "a"]).dictionary_encode()
    ),
}


@pytest.mark.parametrize("name", ARROW_VALUES)
def test_arrow_data_comes_back_as_to_pylist_says(name: str) -> None:
    array = ARROW_VALUES[name]
    batch = pa.record_batch({"i": pa.array(range(len(array))), "x": array})
    expected = batch.to_pylist()
    for first in range(len(array)):
        for count in range(1, len(array) + 1 - first):
            part = batch.slice(first, count)
            (normal,) = normalise(part)
            normal.validate(full=True)
            assert decode([normal]) == expected[first : first + count]
            absent = [
                {key: value for key, value in record.items() if value is not None}
                for record in part.to_pylist()
            ]
            if name != "run ends":  # the nulls of which are not those of the column
                assert decode([part]) == absent
