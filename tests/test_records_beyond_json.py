"""Values that neither Arrow nor JSON has a form for: what RL programs put."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persisting._errors import SchemaError
from persisting._records import RecordEncoder, decode
from tests.records import BERLIN, JSON_METADATA, UTC, once, put, same


class Pair(NamedTuple):
    one: int
    two: str


HELD: dict[str, Any] = {
    "tuple": (1, "a", None, (2.5,), [()], {}),
    "empty tuple": (),
    "tuples in list": [(1,), (2, 3)],
    "list of arrays": [np.zeros((2, 3), "f4"), np.arange(4), np.zeros((0, 2), "u1")],
    "dict of arrays": {"obs": np.ones((2, 2), "f2"), "act": [np.int64(3).item(), np.zeros(1, "?")]},
    "bytes in dict": {"a": b"\0\xff", "b": [b""]},
    "dates in dict": {
        "naive": dt.datetime(2024, 1, 2, 3, 4, 5, 6),
        "zone": dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
        "utc": dt.datetime(2024, 1, 1, tzinfo=UTC),
        "offset": dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30))),
        "date": dt.date(1, 1, 1),
        "time": dt.time(23, 59, 59, 999999, fold=1),
        "duration": dt.timedelta.max,
    },
    "floats in dict": {"nan": math.nan, "inf": [math.inf, -math.inf], "zero": -0.0, "one": 1.0},
    "decimals in dict": {"a": Decimal("1E-30"), "b": Decimal("NaN")},
    "mixed decimals": [Decimal(1), "a"],
    "complex": complex(-0.0, math.nan),
    "complex in list": [1j, 2],
    "text array": np.array([["a", "bcd"], ["", "ä"]]),
    "bytes array": np.array([b"a", b"bc"]),
    "object array": np.array([None, "a", (1,), {"b": math.nan}], object),
    "empty object array": np.zeros((0, 2), object),
    "big endian": np.arange(3, dtype=">i4"),
    "dates without a unit": np.array(["NaT"], "M8"),
    "np ns": np.datetime64(1, "ns"),
    "np NaT": np.datetime64("NaT", "us"),
    "dict with the key of the form": {"_persisting_": "tuple", "items": [1]},
    "and within": {"a": [{"_persisting_": (1,)}], "b": (2,)},
    "keys of any text": {"": b"", "\0": b"\0", "ä\U0001f600": b""},
}
if hasattr(np.dtypes, "StringDType"):
    HELD["array of long text"] = np.array(["a", "b" * 99], np.dtypes.StringDType())


@pytest.mark.parametrize("name", HELD)
def test_held(name: str) -> None:
    value = HELD[name]
    encoder = RecordEncoder()
    batch = put(encoder, {"x": value})
    field = batch.schema.field("x")
    assert (field.type, field.metadata) == (pa.string(), JSON_METADATA)
    more = put(encoder, {"x": {"plain": 1}}, {}, {"x": value}, {"x": [1]})
    wanted = [{"x": value}, {"x": {"plain": 1}}, {}, {"x": value}, {"x": [1]}]
    assert same(decode([batch, more]), wanted)


def test_a_named_tuple_is_a_tuple() -> None:
    assert same(decode([once({"x": Pair(1, "b")})]), [{"x": (1, "b")}])


def test_what_looks_like_a_form_and_is_none_is_left_as_it_is() -> None:
    """As are dicts that were put before there were such forms."""
    texts = ['{"_persisting_":"tuple"}', '{"_persisting_":"x","items":[]}', '{"_persisting_":[1]}']
    field = pa.field("x", pa.string(), metadata=JSON_METADATA)
    batch = pa.record_batch([pa.array(texts)], pa.schema([field]))
    assert decode([batch]) == [
        {"x": {"_persisting_": "tuple"}},
        {"x": {"_persisting_": "x", "items": []}},
        {"x": {"_persisting_": [1]}},
    ]


def test_plain_json_stays_what_it_was() -> None:
    batch = once({"x": {"a": [1, 2.5, None, "b"]}})
    assert batch.column("x").to_pylist() == ['{"a":[1,2.5,null,"b"]}']


TYPED: dict[str, tuple[Any, pa.DataType]] = {
    "complex64": (np.array([[1 + 2j, -0.0]], "c8"), pa.float32()),
    "complex128": (np.array([1j, complex(math.nan, 1)]), pa.float64()),
    "complex of no dimensions": (np.array(1 + 2j), pa.float64()),
    "complex columns": (np.asfortranarray(np.arange(6, dtype="c8").reshape(2, 3)), pa.float32()),
    "dates": (np.array(["2024-01-02", "NaT"], "M8[D]"), pa.int64()),
    "nanoseconds": (np.array([[1], [2**62]], "M8[ns]"), pa.int64()),
    "durations": (np.array([-1, 5], "m8[s]")[::-1], pa.int64()),
    "a date": (np.array("2024-01-02", "M8[D]"), pa.int64()),
}


@pytest.mark.parametrize("name", TYPED)
def test_arrays_of_dtypes_that_arrow_lacks(name: str) -> None:
    array, element = TYPED[name]
    encoder = RecordEncoder()
    batches = [put(encoder, {"a": array}, {}), put(encoder, {"a": array.copy()})]
    kind = batches[0].schema.field("a").type
    while not pa.types.is_primitive(kind):
        kind = kind.field(0).type if pa.types.is_struct(kind) else kind.value_type
    assert kind == element
    assert same(decode(batches), [{"a": np.asarray(array)}, {}, {"a": array.copy()}])
    with pytest.raises(SchemaError, match=r"key 'a': .*array\("):
        encoder.add([{"a": np.zeros(array.shape, "f4")}])
    with pytest.raises(SchemaError, match=r"key 'a': .*array\("):
        encoder.add([{"a": array[None]}])


SCALARS: list[Any] = [
    np.float64(0.1),
    np.float32(0.1),
    np.float16("inf"),
    np.float32("nan"),
    np.int8(-3),
    np.int64(2**63 - 1),
    np.uint64(2**64 - 1),
    np.bool_(True),
    np.complex64(1 - 2j),
    np.datetime64("2024-01-02T03:04:05.000006"),
    np.datetime64("2024-01-02"),
    np.timedelta64(5, "us"),
    np.timedelta64(3, "M"),
]


@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_numpy_scalars_keep_their_dtype(value: Any) -> None:
    plain = value.item()
    built_in = once({"x": plain}).schema.field("x")
    encoder = RecordEncoder()
    batch = put(encoder, {"x": value, "y": 1}, {"x": plain, "z": None}, {"z": []}, {"x": value})
    assert batch.schema.field("x").equals(built_in, check_metadata=True)
    wanted = [{"x": value, "y": 1}, {"x": plain, "z": None}, {"z": []}, {"x": value}]
    assert same(decode([batch]), wanted)
    encoder = RecordEncoder()
    put(encoder, {"x": plain})
    assert same(decode([put(encoder, {"x": value})]), [{"x": value}])


def test_a_dtype_whose_column_was_cast_is_forgotten() -> None:
    batch = once({"x": np.int8(3)}, {"x": np.float32(0.5)})
    cast = batch.set_column(0, "x", pa.array(["three", "half"]))
    assert decode([cast]) == [{"x": "three"}, {"x": "half"}]
    wider = batch.set_column(0, "x", pa.array([300, 0.1]))
    assert same(decode([wider]), [{"x": 300.0}, {"x": 0.1}])


@pytest.mark.parametrize(
    ("first", "array", "read"),
    [
        ([1], np.array([2, 3]), [2, 3]),
        ([1], np.array([2, 3], "i2"), [2, 3]),
        ([[1]], np.array([[2, 3], [4, 5]], "u1"), [[2, 3], [4, 5]]),
        ([0.5], np.array([0.25], "f4"), [0.25]),
        ([True], np.array([False]), [False]),
        (["a"], np.array(["b", "c"]), ["b", "c"]),
        ([1], np.zeros(0, "i8"), []),
    ],
)
def test_an_array_is_a_list_in_a_column_of_lists(first: Any, array: Any, read: Any) -> None:
    encoder = RecordEncoder()
    put(encoder, {"x": first})
    assert same(decode([put(encoder, {"x": array}, {"x": first})]), [{"x": read}, {"x": first}])


def test_an_array_that_is_no_such_list_is_refused() -> None:
    encoder = RecordEncoder()
    put(encoder, {"x": [1]})
    for array in (np.array([0.5]), np.array([True]), np.array([[1]]), np.array(1)):
        with pytest.raises(SchemaError, match=r"key 'x': "):
            encoder.add([{"x": array}])


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.complex_numbers()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.binary(max_size=5)
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals()
    | st.sampled_from([value for name, value in HELD.items() if not name.startswith("np ")])
)
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b", "_persisting_", "items"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.just("k"), nested, min_size=1), min_size=1, max_size=4))
def test_any_nested_data_comes_back(values: list[dict[str, Any]]) -> None:
    records = [{"x": value} for value in values]
    assert same(decode([once(*records)]), records)
