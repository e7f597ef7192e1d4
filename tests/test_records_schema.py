"""Columns that are widened, and mixes that are refused."""

from __future__ import annotations

import datetime as dt
import math
import re
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from persisting._errors import SchemaError
from persisting._records import UNTYPED, RecordDecoder, RecordEncoder, decode
from tests.records import TYPES, UTC, once, put

WIDENED: dict[str, tuple[Any, Any, pa.DataType]] = {
    "int float": (1, 0.5, pa.float64()),
    "exact int": (2**60, 0.5, pa.float64()),
    "uint float": (2**63, 0.5, pa.float64()),
    "int uint": (1, 2**63, pa.uint64()),
    "int nan": (1, math.nan, pa.float64()),
    "ints floats": ([1], [0.5], pa.list_(pa.float64())),
    "ints uints": ([1], [2**63], pa.list_(pa.uint64())),
    "nested": ([[1]], [[0.5]], pa.list_(pa.list_(pa.float64()))),
}


@pytest.mark.parametrize("name", WIDENED)
def test_widening_within_a_put(name: str) -> None:
    one, two, kind = WIDENED[name]
    for records in ([{"x": one}, {"x": two}], [{"x": two}, {}, {"x": one}]):
        batch = once(*records)
        assert batch.schema.field("x").type == kind
        got = decode([batch])
        assert (
            [r.get("x") for r in got if "x" in r]
            == pytest.approx([r["x"] for r in records if "x" in r], rel=0, nan_ok=True)
            if not isinstance(one, list)
            else got == records
        )


@pytest.mark.parametrize("name", WIDENED)
def test_widening_of_what_waits(name: str) -> None:
    one, two, kind = WIDENED[name]
    encoder = RecordEncoder()
    assert encoder.add([{"x": one}, {}])
    assert encoder.add([{"x": two}])
    assert encoder.add([{"x": one}])
    batch = encoder.finish()
    assert batch.schema.field("x").type == kind
    assert [*batch.column(0).to_pylist()][:2] == [one, None]
    assert encoder.schema.field("x").type == kind


@pytest.mark.parametrize("name", WIDENED)
def test_widening_of_the_bucket_travels_alone(name: str) -> None:
    one, two, kind = WIDENED[name]
    encoder = RecordEncoder()
    old = put(encoder, {"x": one}).schema
    assert encoder.add([{"y": 1}])
    assert not encoder.add([{"x": two}])
    assert encoder.rows == 1
    assert encoder.schema.field("x").type == old.field("x").type
    batch = encoder.finish()
    assert batch.schema.names == ["y"]
    encoder.committed(batch.schema)
    assert encoder.add([{"x": two}])
    assert not encoder.add([{"y": 2}])
    batch = encoder.finish()
    assert batch.schema.field("x").type == kind
    assert not encoder.add([{"y": 2}])
    encoder.rollback()
    assert encoder.schema.field("x").type == old.field("x").type
    assert encoder.add([{"x": one}])
    assert encoder.finish().schema == old
    encoder.committed(old)
    assert encoder.add([{"x": two}])
    batch = encoder.finish()
    encoder.committed(batch.schema)
    assert encoder.schema.field("x").type == kind
    assert encoder.add([{"x": one}, {"y": 2}])
    assert encoder.finish().schema.field("x").type == kind
    encoder.committed(old)
    assert encoder.schema.field("x").type == kind


def test_widening_of_what_is_handed_out() -> None:
    encoder = RecordEncoder()
    assert encoder.add([{"x": 1}])
    batch = encoder.finish()
    assert encoder.add([{"y": 1}])
    assert not encoder.add([{"x": 0.5}])
    assert encoder.finish().schema.names == ["y"]
    encoder.committed(batch.schema)
    assert encoder.add([{"x": 0.5}])


NOT_WIDENED: dict[str, tuple[Any, Any, str]] = {
    "float inexact": (0.5, 2**53 + 1, "the int 9007199254740993 is not exact as a double"),
    "float big": (0.5, 2**64, "an int beyond 64 bits"),
    "bool int": (True, 1, "the column is bool, the value is int64"),
    "int bool": (1, True, "the column is int64, the value is bool"),
    "float bool": (0.5, True, "the column is double, the value is bool"),
    "int str": (1, "1", "the column is int64, the value is string"),
    "str bytes": ("a", b"a", "the column is string, the value is binary"),
    "str int": ("a", 1, "the column is string, the value is int64"),
    "int dict": (1, {}, "the column is int64, the value is JSON"),
    "dict int": ({}, 1, "the column is JSON, the value is int64"),
    "dict str": ({}, "{}", "the column is JSON, the value is string"),
    "int list": (1, [1], "the column is int64, the value is list<item: int64>"),
    "list int": ([1], 1, "the column is list<item: int64>, the value is int64"),
    "list types": ([1], ["a"], "the column is list<item: int64>, the value is list<item: string>"),
    "list depth": ([1], [[1]], "the column is list<item: int64>, the value is list<item: list"),
    "list bool": ([1], [True], "the column is list<item: int64>, the value is list<item: bool>"),
    "list mixed": ([1], [1, "a"], "the column is list<item: int64>, the value is JSON"),
    "list inexact": (
        [0.5],
        [2**53 + 1],
        "item 0: the int 9007199254740993 is not exact as a double",
    ),
    "date datetime": (
        dt.date(2024, 1, 1),
        dt.datetime(2024, 1, 1),
        "the column is date32[day], the value is timestamp[us]",
    ),
    "datetime date": (
        dt.datetime(2024, 1, 1),
        dt.date(2024, 1, 1),
        "the column is timestamp[us], the value is date32[day]",
    ),
    "naive aware": (
        dt.datetime(2024, 1, 1),
        dt.datetime(2024, 1, 1, tzinfo=UTC),
        "an aware datetime does not fit timestamp[us]",
    ),
    "aware naive": (
        dt.datetime(2024, 1, 1, tzinfo=UTC),
        dt.datetime(2024, 1, 1),
        "a naive datetime does not fit timestamp[us, tz=UTC]",
    ),
    "uint negative": (2**63, -1, "the int -1 does not fit uint64"),
    "decimal int": (Decimal(1), 1, "the column is decimal128(38, 18), the value is int64"),
    "time aware": (dt.time(1), dt.time(1, tzinfo=UTC), "a time with a zone cannot be held"),
}


@pytest.mark.parametrize("name", NOT_WIDENED)
def test_other_mixes_are_refused(name: str) -> None:
    one, two, text = NOT_WIDENED[name]
    encoder = RecordEncoder()
    put(encoder, {"x": one})
    before = encoder.schema
    for records in ([{"x": two}], [{"y": 1}, {"x": one, "y": 2}, {"x": two}]):
        with pytest.raises(SchemaError, match=re.escape(text)) as caught:
            encoder.add(records)
        many = len(records) > 1
        assert str(caught.value).startswith("record 2, key 'x': " if many else "key 'x': ")
    assert encoder.schema == before
    assert encoder.rows == 0


@pytest.mark.parametrize(
    "name", [name for name in NOT_WIDENED if not name.startswith(("list", "dict", "int dict"))]
)
def test_other_mixes_within_a_put_are_refused(name: str) -> None:
    one, two, _ = NOT_WIDENED[name]
    encoder = RecordEncoder()
    with pytest.raises(SchemaError, match=r"^record 1, key 'x': "):
        encoder.add([{"x": one}, {"x": two}])
    assert encoder.schema == pa.schema([])


def test_ints_that_wait_and_are_not_exact_as_floats() -> None:
    encoder = RecordEncoder()
    assert encoder.add([{"x": 2**53 + 1}])
    with pytest.raises(SchemaError, match=r"key 'x': .* int64 are not exact as double"):
        encoder.add([{"x": 0.5}])
    assert decode([encoder.finish()]) == [{"x": 2**53 + 1}]


def test_one_put_of_a_turn_fails_alone() -> None:
    encoder = RecordEncoder()
    assert encoder.add([{"x": 1}])
    with pytest.raises(SchemaError, match="the column is int64, the value is string"):
        encoder.add([{"y": 1}, {"x": "a"}])
    assert encoder.add([{"y": "b"}])
    assert decode([encoder.finish()]) == [{"x": 1}, {"y": "b"}]


def test_rollback_forgets_what_the_engine_refused() -> None:
    encoder = RecordEncoder()
    put(encoder, {"a": 1})
    assert encoder.add([{"b": 1, "n": None}])
    encoder.finish()
    assert encoder.add([{"c": 1, "a": 2}])
    encoder.rollback()
    assert encoder.schema.names == ["a", "c"]
    assert encoder.add([{"b": "text", "c": 2}])
    batch = encoder.finish()
    batch.validate(full=True)
    assert decode([batch]) == [{"c": 1, "a": 2}, {"b": "text", "c": 2}]
    encoder.committed(batch.schema)
    assert encoder.schema.names == ["a", "c", "b"]


def test_the_engine_has_the_last_word() -> None:
    encoder = RecordEncoder()
    put(encoder, {"a": 1})
    encoder.committed(pa.schema([("a", pa.float64()), ("b", pa.string()), (UNTYPED, pa.string())]))
    assert encoder.schema == pa.schema(
        [("a", pa.float64()), ("b", pa.string()), (UNTYPED, pa.string())]
    )
    assert put(encoder, {"a": 1}).schema.field("a").type == pa.float64()
    with pytest.raises(SchemaError):
        encoder.add([{"b": 1}])


def test_waiting_values_follow_the_engine() -> None:
    encoder = RecordEncoder()
    assert encoder.add([{"a": 1, "b": 1}])
    encoder.committed(pa.schema([("a", pa.float64()), ("b", pa.string())]))
    batch = encoder.finish()
    assert batch.schema == pa.schema([("a", pa.float64()), ("b", pa.int64())])


def test_a_bucket_that_is_opened_again() -> None:
    encoder = RecordEncoder()
    records = [
        {name: values[0] for name, (values, _) in TYPES.items()},
        {"json": {"a": 1}, "array": np.zeros((2, 2)), "none": None},
    ]
    batch = put(encoder, *records)
    again = RecordEncoder(batch.schema)
    assert again.schema.equals(batch.schema, check_metadata=True)
    batch = put(again, *records[::-1])
    assert batch.schema.equals(encoder.schema, check_metadata=True)
    assert again.schema.equals(encoder.schema, check_metadata=True)
    RecordDecoder().decode([batch])
