"""Arrow data is made ready for a bucket."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from persisting._errors import SchemaError
from persisting._records import UNTYPED, decode, normalise, strip
from tests.records import addresses, once, same


def test_normalise_copies_only_what_it_decodes() -> None:
    batch = pa.record_batch(
        {
            "i": pa.array([1, None, 3]),
            "s": pa.array(["a", "b", None]),
            "l": pa.array([[1], None, []]),
            "st": pa.array([{"a": 1}, None, {"a": 2}]),
            "d": pa.array(["a", "b", "a"]).dictionary_encode(),
        }
    )
    (normal,) = normalise(batch)
    before, after = addresses(batch), addresses(normal)
    for name in "i", "s", "l", "st":
        assert before[name] == after[name]
    assert normal.schema.field("d").type == pa.string()
    (sliced,) = normalise(batch.slice(1, 1))
    assert addresses(sliced)["i"] == before["i"]
    table = pa.Table.from_batches([batch, batch.slice(1)])
    assert [addresses(part)["i"] for part in normalise(table)] == [before["i"]] * 2
    assert strip(normal).schema.names == batch.schema.names
    assert addresses(strip(normal)) == {k: v for k, v in after.items() if k != UNTYPED}


def test_normalise_marks_nulls_where_they_are() -> None:
    batch = pa.record_batch({"a": [1, None, 3], "b": ["x", "y", None], "c": [1.0, 2.0, 3.0]})
    (normal,) = normalise(batch)
    assert normal.column(UNTYPED).to_pylist() == [None, *['{"a":null,"b":null}'] * 2]
    assert decode([normal]) == batch.to_pylist()
    (normal,) = normalise(batch.slice(0, 1))
    assert UNTYPED not in normal.schema.names
    (normal,) = normalise(pa.table({"n": pa.nulls(2)}))
    assert normal.schema.names == [UNTYPED]
    assert decode([normal]) == [{"n": None}] * 2


def test_normalise_cuts_what_would_be_too_big(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persisting._records._arrow._MAX_UNTYPED", 40)
    batch = pa.record_batch({"a": pa.array([None, *range(20)])})
    parts = [*normalise(batch)]
    assert len(parts) > 2
    assert decode(parts) == batch.to_pylist()


def test_normalise_cuts_what_32_bit_offsets_do_not_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def column(array: pa.Array, field: pa.Field) -> pa.Array:
        if len(array) > limit:
            msg = "too large"
            raise pa.ArrowInvalid(msg)
        return array

    monkeypatch.setattr("persisting._records._arrow._column", column)
    batch = pa.record_batch({"a": [*range(10)]})
    limit = 3
    parts = [*normalise(batch)]
    assert max(part.num_rows for part in parts) <= 3
    assert decode(parts) == batch.to_pylist()
    limit = 0
    with pytest.raises(SchemaError, match="no plain form: too large"):
        next(normalise(batch))


UNPLAIN: dict[str, pa.DataType] = {
    "make a field of a struct": pa.dense_union([pa.field("a", pa.int8())]),
    "make a duration": pa.month_day_nano_interval(),
}
if hasattr(pa, "decimal32"):
    UNPLAIN["cast it to decimal128"] = pa.decimal32(5, 2)
if hasattr(pa, "opaque"):
    UNPLAIN["has no plain form; cast it to one"] = pa.opaque(pa.string_view(), "name", "vendor")


@pytest.mark.parametrize("advice", UNPLAIN)
def test_normalise_refuses_what_has_no_plain_form(advice: str) -> None:
    kind = UNPLAIN[advice]
    for place, outer in {
        "a": kind,
        "a[]": pa.list_(kind),
        "a.b[]": pa.struct([("b", pa.large_list_view(kind))]),
    }.items():
        batch = pa.RecordBatch.from_arrays([pa.nulls(0, outer)], ["a"])
        with pytest.raises(SchemaError, match=f"column '{re.escape(place)}': .*{advice}"):
            next(normalise(batch))


def test_normalise_metadata_and_nullability() -> None:
    field = pa.field("a", pa.int64(), nullable=False, metadata={b"unit": b"m"})
    table = pa.table([[1]], schema=pa.schema([field], metadata={b"pandas": b"{}"}))
    (normal,) = normalise(table)
    want = pa.schema([field.with_nullable(True)], metadata={b"pandas": b"{}"})
    assert normal.schema.equals(want, check_metadata=True)


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (pa.string(), pa.large_string()),
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.large_string()),
        (pa.binary(), pa.large_binary()),
        (pa.large_binary(), pa.binary()),
        (pa.list_(pa.large_string()), pa.large_list(pa.string())),
        (pa.large_list(pa.int64()), pa.list_(pa.int64())),
    ],
    ids=str,
)
def test_normalise_follows_the_offsets_of_the_bucket(
    given: pa.DataType, known: pa.DataType
) -> None:
    schema = pa.schema([("a", known)])
    array = pa.array([], given)
    table = pa.table({"a": pa.concat_arrays([array, pa.nulls(1, given)])})
    (normal,) = normalise(table, schema)
    assert normal.schema.field("a").type == known
    (normal,) = normalise(table, pa.schema([("a", pa.int8()), ("b", known)]))
    assert normal.schema.field("a").type in (given, pa.string())


def test_normalise_gives_empty_lists_the_type_of_the_bucket() -> None:
    table = pa.table({"a": [[], [None]]})
    (normal,) = normalise(table, pa.schema([("a", pa.list_(pa.int64()))]))
    assert normal.schema.field("a").type == pa.list_(pa.int64())
    assert decode([normal]) == [{"a": []}, {"a": [None]}]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (5, "not a int"),
        ({"a": [1]}, "not a dict"),
        ([{"a": 1}], "not a list"),
        (pa.array([1]), "non-struct type int64"),
        (pa.chunked_array([[1]]), "non-struct type int64"),
        (pa.table([[1], [2]], names=["a", "a"]), "column 'a' is there twice"),
        (pa.table({"_persisting_x": [1]}), "column '_persisting_x': names that begin"),
        (pa.table({UNTYPED: ["{}"]}), "are reserved"),
        (pa.table({"a\0b": [1]}), "NUL"),
        (pa.table({"a": [[{"b\0": 1}]]}), "NUL"),
    ],
)
def test_normalise_refuses(data: Any, text: str) -> None:
    with pytest.raises(SchemaError, match=re.escape(text)):
        next(normalise(data))


def test_normalise_skips_empty_batches() -> None:
    schema = pa.schema([("a", pa.int64())])
    assert [*normalise(schema.empty_table())] == []
    assert [*normalise(pa.RecordBatch.from_pylist([], schema=schema))] == []


def test_normalise_takes_every_library() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "s": ["x", "y" * 20],
            "l": [[1], []],
            "c": pl.Series(["u", "v"], dtype=pl.Categorical),
            "t": [dt.datetime(2024, 1, 1)] * 2,
            "st": [{"x": 1}, {"x": None}],
        }
    )
    assert decode(normalise(frame)) == frame.to_dicts()
    reader = pa.RecordBatchReader.from_batches(
        pa.schema([("a", pa.int64())]), [pa.record_batch({"a": [i]}) for i in range(3)]
    )
    assert decode(normalise(reader)) == [{"a": 0}, {"a": 1}, {"a": 2}]
    assert decode(normalise(pa.array([{"a": 1}]))) == [{"a": 1}]


def test_arrow_data_is_normalised_lazily() -> None:
    def batches() -> Any:
        yield pa.record_batch({"a": [1]})
        raise AssertionError

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())
    assert next(normalise(reader)).num_rows == 1


def test_what_was_read_as_arrow_can_be_put_again() -> None:
    records = [
        {"a": 1, "j": {"x": [1, None]}, "n": np.zeros((2, 3), "f2"), "s": "x", "l": [1]},
        {"a": 2, "j": [], "n": np.ones((1, 1), "f2"), "s": "y", "l": []},
    ]
    batch = once(*records)
    (again,) = normalise(strip(pa.Table.from_batches([batch])))
    assert again.schema.equals(batch.schema, check_metadata=True)
    assert same(decode([again]), records)
