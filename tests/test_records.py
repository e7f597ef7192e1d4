"""Tables for every rule by which records become columns and come back."""

from __future__ import annotations

import collections
import copy
import datetime as dt
import enum
import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from persisting import _errors
from persisting._errors import PersistingError, SchemaError, Status, error_for
from persisting._records import (
    UNTYPED,
    Message,
    RecordDecoder,
    RecordEncoder,
    decode,
    normalise,
    strip,
    visible,
)

JSON_METADATA = {b"ARROW:extension:name": b"arrow.json", b"ARROW:extension:metadata": b""}
NDARRAY_METADATA = {b"persisting:kind": b"ndarray"}
PYARROW = int(pa.__version__.split(".")[0])
UTC = dt.timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")


def put(encoder: RecordEncoder, *records: dict[Any, Any]) -> pa.RecordBatch:
    """Put records as one put that the engine accepts."""
    assert encoder.add([*records])
    batch = encoder.finish()
    batch.validate(full=True)
    encoder.committed(batch.schema)
    return batch


def once(*records: dict[Any, Any]) -> pa.RecordBatch:
    return put(RecordEncoder(), *records)


def same(one: object, two: object) -> bool:
    """Compare values, their classes, and those of all they contain."""
    if type(one) is not type(two):
        return False
    if isinstance(one, np.ndarray):
        assert isinstance(two, np.ndarray)
        return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
    if isinstance(one, dict):
        assert isinstance(two, dict)
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list):
        assert isinstance(two, list)
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, float):
        assert isinstance(two, float)
        return (one, math.copysign(1, one)) == (two, math.copysign(1, two)) or (
            math.isnan(one) and math.isnan(two)
        )
    return one == two


class Colour(enum.IntEnum):
    RED = 3


class Name(str, enum.Enum):
    ADA = "ada"


class Odd(float):
    pass


class Unequal(int):
    __hash__ = int.__hash__

    def __eq__(self, other: object) -> bool:
        return False


class MyList(list[Any]):
    pass


class Pair(NamedTuple):
    a: int


@dataclass
class Point:
    x: int


TYPES: dict[str, tuple[list[Any], pa.DataType]] = {
    "bool": ([True, False], pa.bool_()),
    "int": ([0, -(2**63), 2**63 - 1], pa.int64()),
    "uint": ([0, 2**63, 2**64 - 1], pa.uint64()),
    "float": ([0.0, -0.0, 1e308, 5e-324, math.inf, -math.inf, math.nan], pa.float64()),
    "str": (["", "a", "ä", "\u20ac", "\U0001f600", "\0", "x" * 5000], pa.string()),
    "bytes": ([b"", b"\0\xff", b"x" * 5000], pa.binary()),
    "naive datetime": (
        [dt.datetime.min, dt.datetime.max, dt.datetime(2024, 2, 29, 1, 2, 3, 456789)],
        pa.timestamp("us"),
    ),
    "utc datetime": (
        [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)],
        pa.timestamp("us", "UTC"),
    ),
    "zone": (
        [
            dt.datetime(2024, 7, 1, 12, tzinfo=BERLIN),
            dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
            dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
        ],
        pa.timestamp("us", "Europe/Berlin"),
    ),
    "fixed offset": (
        [dt.datetime(2024, 7, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5, minutes=-30)))],
        pa.timestamp("us", "-05:30"),
    ),
    "date": ([dt.date.min, dt.date.max, dt.date(1969, 12, 31)], pa.date32()),
    "time": ([dt.time.min, dt.time.max, dt.time(1, 2, 3, 4)], pa.time64("us")),
    "timedelta": (
        [dt.timedelta(), dt.timedelta(microseconds=-1), dt.timedelta(microseconds=2**63 - 1)],
        pa.duration("us"),
    ),
    "decimal": (
        [
            Decimal("0"),
            Decimal("-1.5"),
            Decimal("1E-18"),
            Decimal("99999999999999999999.999999999999999999"),
            Decimal("1E+19"),
        ],
        pa.decimal128(38, 18),
    ),
    "ints": ([[1, 2], [], [None, -(2**63)], [2**63 - 1]], pa.list_(pa.int64())),
    "uints": ([[1, 2**64 - 1]], pa.list_(pa.uint64())),
    "floats": ([[0.5, None], [], [math.inf, -0.0]], pa.list_(pa.float64())),
    "strs": ([["", "ä"], [None], ["x"]], pa.list_(pa.string())),
    "bytes list": ([[b"", b"x", None]], pa.list_(pa.binary())),
    "bools": ([[True, None, False]] * 9, pa.list_(pa.bool_())),
    "datetimes": ([[dt.datetime(2024, 1, 1), None]], pa.list_(pa.timestamp("us"))),
    "zoned list": ([[dt.datetime(2024, 1, 1, tzinfo=UTC)]], pa.list_(pa.timestamp("us", "UTC"))),
    "dates": ([[dt.date(2024, 1, 1), None]], pa.list_(pa.date32())),
    "times": ([[dt.time(1), None]], pa.list_(pa.time64("us"))),
    "timedeltas": ([[dt.timedelta(1), None]], pa.list_(pa.duration("us"))),
    "decimals": ([[Decimal("1.5"), None]], pa.list_(pa.decimal128(38, 18))),
    "nested list": (
        [[[1], [], None, [None]], [], [[2, 3]]],
        pa.list_(pa.list_(pa.int64())),
    ),
    "three deep": ([[None, [None]], [[["a"]], [[]]]], pa.list_(pa.list_(pa.list_(pa.string())))),
}


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("many", [True, False], ids=["batch", "singles"])
def test_types(name: str, many: bool) -> None:
    values, kind = TYPES[name]
    records = [{"key": value} for value in values]
    encoder = RecordEncoder()
    if many:
        batches = [put(encoder, *records)]
    else:
        records.reverse()
        batches = [put(encoder, record) for record in records]
    assert all(batch.schema.field("key").type == kind for batch in batches)
    got = decode(batches)
    if kind == pa.decimal128(38, 18):
        assert got == records
    else:
        assert len(got) == len(records)
        assert all(map(same, got, records)), got


def test_zone_comes_back() -> None:
    values = TYPES["zone"][0]
    got = [record["key"] for record in decode([once(*[{"key": value} for value in values])])]
    assert [(value.tzinfo, value.fold) for value in got] == [(BERLIN, 0), (BERLIN, 0), (BERLIN, 1)]
    offset = TYPES["fixed offset"][0][0]
    (record,) = decode([once({"key": offset})])
    assert record["key"].tzinfo == offset.tzinfo


def test_datetimes_of_other_zones_are_the_same_instants() -> None:
    class Other(dt.tzinfo):
        def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(hours=1, seconds=7, microseconds=5)

        def tzname(self, _: dt.datetime | None) -> str:
            return "other"

        def dst(self, _: dt.datetime | None) -> None:
            return None

    odd = dt.timezone(dt.timedelta(hours=5, seconds=1, microseconds=3))
    ambiguous = dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN)
    values = [
        dt.datetime(2024, 1, 1, tzinfo=zone)
        for zone in (UTC, BERLIN, odd, Other(), ZoneInfo("UTC"))
    ]
    for first in values:
        batch = once(*[{"t": value} for value in [first, *values]], {"t": ambiguous})
        got = [record["t"] for record in decode([batch])]
        assert got[:-1] == [first, *values]
        assert got[-1].timestamp() == ambiguous.timestamp()
    assert once({"t": values[2]}).schema.field("t").type == pa.timestamp("us", "UTC")
    assert once({"t": values[3]}).schema.field("t").type == pa.timestamp("us", "UTC")
    gap = dt.datetime(2024, 3, 31, 2, 30, tzinfo=BERLIN)
    (record,) = decode([once({"t": gap})])
    assert record["t"].timestamp() == gap.timestamp()


def test_zone_that_is_not_known_here() -> None:
    batch = pa.record_batch({"t": pa.array([0], pa.timestamp("us", "Moon/Sea"))})
    assert decode([batch]) == [{"t": dt.datetime(1970, 1, 1, tzinfo=UTC)}]


EQUAL_VALUES: dict[str, tuple[Any, Any]] = {
    "bytearray": (bytearray(b"ab"), b"ab"),
    "IntEnum": (Colour.RED, 3),
    "str Enum": (Name.ADA, "ada"),
    "float subclass": (Odd(0.5), 0.5),
    "list subclass": (MyList([1, 2]), [1, 2]),
    "nested list subclass": ([MyList([1]), [2]], [[1], [2]]),
    "dict subclass": (collections.OrderedDict(a=1), {"a": 1}),
    "np.float64": (np.float64(0.1), 0.1),
    "np.float32": (np.float32(0.1), float(np.float32(0.1))),
    "np.float16": (np.float16(0.1), float(np.float16(0.1))),
    "np nan": (np.float32("nan"), math.nan),
    "np.int8": (np.int8(-3), -3),
    "np.uint64": (np.uint64(2**64 - 1), 2**64 - 1),
    "np.bool": (np.bool_(True), True),
    "np.str": (np.str_("x"), "x"),
    "np.bytes": (np.bytes_(b"x"), b"x"),
    "np.datetime64": (
        np.datetime64("2024-01-02T03:04:05.000006"),
        dt.datetime(2024, 1, 2, 3, 4, 5, 6),
    ),
    "np date": (np.datetime64("2024-01-02"), dt.date(2024, 1, 2)),
    "np.timedelta64": (np.timedelta64(5, "us"), dt.timedelta(microseconds=5)),
    "list of numpy": ([np.int64(1), 2], [1, 2]),
    "numpy in dict": ({"a": np.int64(1), "b": [np.float32(0.5)]}, {"a": 1, "b": [0.5]}),
}


@pytest.mark.parametrize("name", EQUAL_VALUES)
def test_values_equal_to_built_in_ones(name: str) -> None:
    value, plain = EQUAL_VALUES[name]
    (record,) = decode([once({"key": value})])
    assert same(record, {"key": plain})
    encoder = RecordEncoder()
    put(encoder, {"key": plain})
    (record,) = decode([put(encoder, {"key": value})])
    assert same(record, {"key": plain})


def test_pandas_values() -> None:
    pd = pytest.importorskip("pandas")
    stamp = pd.Timestamp("2024-01-02 03:04:05.000006", tz="Europe/Berlin")
    values = [{"t": stamp, "d": pd.Timedelta(microseconds=3)}]
    assert decode([once(*values)]) == values
    for value in (pd.Timestamp(1), pd.Timedelta(1, "ns"), pd.NaT, pd.NA):
        with pytest.raises(SchemaError, match="key 'x': a value of class pandas"):
            RecordEncoder().add([{"x": value}])


SELF_CONTAINING: list[Any] = []
SELF_CONTAINING.append(SELF_CONTAINING)
DEEP: list[Any] = [{}]
for _ in range(98):
    DEEP = [DEEP]

REFUSED: dict[str, tuple[Any, str]] = {
    "big int": (2**64, "key 'x': an int beyond 64 bits"),
    "small int": (-(2**63) - 1, "an int beyond 64 bits"),
    "huge int": (10**5000, "an int beyond 64 bits"),
    "surrogate": ("a\ud800", "key 'x': the str has a lone surrogate"),
    "surrogates in list": (["\ud83d", "\ude00"], "key 'x': at [0]: the str has a lone surrogate"),
    "tuple": ((1, 2), "key 'x': a value of class tuple cannot be held; put a list"),
    "named tuple": (Pair(1), "Pair cannot be held; put a list"),
    "set": ({1}, "a value of class set cannot be held; put a list"),
    "frozenset": (frozenset(), "frozenset cannot be held; put a list"),
    "complex": (1j, "complex cannot be held"),
    "memoryview": (memoryview(b"x"), "memoryview cannot be held; put bytes"),
    "object": (object(), "a value of class object cannot be held"),
    "class": (Point, "a value of class type cannot be held"),
    "dataclass": (Point(1), "Point cannot be held; put dataclasses.asdict() of it"),
    "unequal subclass": (Unequal(1), "Unequal cannot be held"),
    "tuple in list": ([(1,)], "key 'x': a value of class tuple"),
    "aware time": (dt.time(1, tzinfo=UTC), "a time with a zone cannot be held"),
    "long timedelta": (dt.timedelta.max, "beyond 64 bits of microseconds"),
    "out of range": (
        dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        "is out of range in timestamp[us, tz=+01:00]",
    ),
    "decimal nan": (Decimal("nan"), "the Decimal Decimal('NaN') is not exact"),
    "decimal infinity": (Decimal("-inf"), "is not exact as decimal128(38, 18)"),
    "decimal digits": (Decimal("1E+20"), "is not exact as decimal128(38, 18)"),
    "decimal places": (Decimal("1E-19"), "is not exact as decimal128(38, 18)"),
    "decimal huge": (Decimal("1E+999999"), "is not exact"),
    "decimal tiny": (Decimal("1E-999999"), "is not exact"),
    "np ns": (np.datetime64(1, "ns"), "numpy.datetime64 cannot be held"),
    "np NaT": (np.datetime64("NaT", "us"), "numpy.datetime64 cannot be held"),
    "np complex": (np.complex64(1), "numpy.complex64 cannot be held"),
    "object array": (np.array([None]), "ndarray(object, 1-D) cannot be held"),
    "str array": (np.array(["a"]), "ndarray(<U1, 1-D) cannot be held"),
    "big endian": (np.zeros(1, ">f8"), "native byte order"),
    "complex array": (np.zeros(1, "c8"), "ndarray(complex64, 1-D) cannot be held"),
    "masked array": (np.ma.masked_array([1]), "put a numpy array of a plain dtype"),
    "list of arrays": ([np.zeros(1)], "key 'x': at [0]: ndarray cannot be held in nested data"),
    "json tuple": ({"a": [1, (2,)]}, "key 'x': at ['a'][1]: tuple cannot be held in nested data"),
    "json bytes": ({"a": b"x"}, "at ['a']: bytes cannot be held in nested data"),
    "json datetime": ([{}, dt.datetime(2024, 1, 1)], "at [1]: datetime cannot be held"),
    "json key": ({"a": {1: 2}}, "at ['a']: the dict has a key of type int, not str"),
    "json None key": ({None: 2, "null": 3}, "the dict has a key of type NoneType, not str"),
    "json nan": ({"a": math.nan}, "at ['a']: nan cannot be held in nested data"),
    "json inf": ([{}, -math.inf], "at [1]: -inf cannot be held in nested data"),
    "json int": ({"a": 2**64}, "at ['a']: an int beyond 64 bits"),
    "json negative": ({"a": -(2**63) - 1}, "at ['a']: an int beyond 64 bits"),
    "json huge": ({"a": 10**5000}, "at ['a']: an int beyond 64 bits"),
    "json surrogate": ({"a": "\udfff"}, "at ['a']: the str has a lone surrogate"),
    "json key surrogate": ({"\udfff": 1}, "a key has a lone surrogate"),
    "json set": ({"a": {1}}, "at ['a']: set cannot be held"),
    "json array": ({"a": np.zeros(2)}, "at ['a']: ndarray cannot be held"),
    "json decimal": ({"a": Decimal(1)}, "at ['a']: Decimal cannot be held"),
    "json depth": ({"a": DEEP}, "nested data is deeper than 100"),
    "self": (SELF_CONTAINING, "nested data is deeper than 100, or contains itself"),
    "mixed decimals": ([Decimal(1), "a"], "at [0]: Decimal cannot be held in nested data"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    value, text = REFUSED[name]
    encoder = RecordEncoder()
    for records, place in (([{"x": value}], "key"), ([{"x": None}, {"x": value}], "record 1, key")):
        with pytest.raises(SchemaError, match=re.escape(text)) as caught:
            encoder.add(records)
        assert str(caught.value).startswith(f"{place} 'x': ")
    assert isinstance(caught.value, TypeError)
    assert caught.value.code == Status.SCHEMA
    assert encoder.rows == 0
    assert encoder.schema == pa.schema([])


IRREGULAR: dict[str, Any] = {
    "dict": {"a": 1, "b": [1, "x", None, {"c": {}}]},
    "empty dict": {},
    "list of dicts": [{"role": "user"}, {"role": "tool", "n": 1.0}],
    "mixed list": [1, "a", None, True, 2.5, []],
    "bool and int": [True, 1],
    "inexact mix": [2**53 + 1, 0.5],
    "wide ints": [-1, 2**64 - 1],
    "int and list": [1, [2]],
    "lists of lists of other types": [[1], ["a"]],
    "numbers": {"v": [1, 1.0, -0.0, 1e22, 1e-7, 5e-324, 0.1, 2**53 + 1, -(2**63), 2**64 - 1]},
    "text": {"": '\0\n"\\\u2028', "ä\U0001f600": "\x7f\x1f"},
    "digits in text": ["1234567890123456789012345", {}],
    "many brackets": {"text": "[" * 300, "list": [[]] * 200},
    "deep": DEEP,
}


@pytest.mark.parametrize("name", IRREGULAR)
def test_irregular_data_is_json(name: str) -> None:
    value = IRREGULAR[name]
    batch = once({"x": value})
    field = batch.schema.field("x")
    assert (field.type, field.metadata) == (pa.string(), JSON_METADATA)
    assert same(decode([batch]), [{"x": value}])
    batch = once({"x": value}, {"x": {}}, {}, {"x": [1]}, {"x": []})
    assert same(decode([batch]), [{"x": value}, {"x": {}}, {}, {"x": [1]}, {"x": []}])


def test_mixed_lists_of_one_put_are_json_but_of_two_are_not() -> None:
    records: list[dict[str, Any]] = [{"x": [1]}, {"x": ["a"]}, {"x": {"b": []}}]
    assert same(decode([once(*records)]), records)
    encoder = RecordEncoder()
    put(encoder, records[0])
    with pytest.raises(SchemaError, match="the column is list<item: int64>, the value is list<"):
        encoder.add(records[1:])
    with pytest.raises(SchemaError, match="the column is list<item: int64>, the value is JSON"):
        encoder.add(records[2:])


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
    encoder = RecordEncoder()
    put(encoder, {"a": other})
    with pytest.raises(SchemaError, match=r"key 'a': .*ndarray\(float32, 1-D\)"):
        encoder.add([{"a": np.zeros(2, "f4")}])


UNTYPED_VALUES: list[Any] = [None, [], [None], [[]], [[None], []], [[[]]]]


def test_values_without_a_type() -> None:
    records = [{"x": value} for value in UNTYPED_VALUES]
    batch = once(*records)
    assert batch.schema == pa.schema([(UNTYPED, pa.string())])
    assert batch.column(0).to_pylist() == [json.dumps(r, separators=(",", ":")) for r in records]
    assert same(decode([batch]), records)
    (first, second) = decode([once(records[1], records[1])])
    first["x"].append(1)
    assert second["x"] == []


@pytest.mark.parametrize(
    "value", [1, "a", [1], [[1]], [[[None, "a"]]], {"a": 1}, [1, "a"], np.zeros(2), 0.5, True]
)
def test_values_without_a_type_beside_typed_ones(value: Any) -> None:
    records = [{"x": loose} for loose in UNTYPED_VALUES]
    records.insert(3, {"x": value})
    assert same(decode([once(*records)]), records)
    encoder = RecordEncoder()
    batches = [put(encoder, {"x": value}), *[put(encoder, record) for record in records]]
    assert same(decode(batches), [{"x": value}, *records])
    encoder = RecordEncoder()
    batches = [put(encoder, *records[:2]), put(encoder, *records[2:])]
    assert same(decode(batches), records)


def test_a_list_column_holds_empty_lists_itself() -> None:
    encoder = RecordEncoder()
    put(encoder, {"x": [1], "y": [["a"]]})
    batch = put(encoder, {"x": [], "y": [[]]}, {"x": [None], "y": [None, [None]]})
    assert batch.schema.names == ["x", "y"]
    assert batch.to_pylist() == [{"x": [], "y": [[]]}, {"x": [None], "y": [None, [None]]}]
    assert put(encoder, {"x": None}).schema.names == [UNTYPED]
    assert put(encoder, {"x": [[]]}).schema.names == [UNTYPED]


def test_absent_and_none() -> None:
    records: list[dict[str, Any]] = [
        {},
        {"a": 1},
        {"a": None, "b": "x"},
        {"b": None},
        {"a": 2, "b": "y", "c": None},
        {},
    ]
    batch = once(*records)
    assert same(decode([batch]), records)
    assert batch.column(UNTYPED).to_pylist() == [
        None,
        None,
        '{"a":null}',
        '{"b":null}',
        '{"c":null}',
        None,
    ]
    batch = once(*records[:2])
    assert batch.schema.names == ["a"]
    for i in range(len(records)):
        for n in range(1, len(records) + 1 - i):
            part = once(*records).slice(i, n)
            assert same(decode([part]), records[i : i + n])


@pytest.mark.parametrize("n", [1, 7, 8, 100])
@pytest.mark.parametrize("width", [1, 64, 65, 300])
def test_narrow_and_wide_records(n: int, width: int) -> None:
    records = [{f"{{'\"\\{k}": i * k for k in range(width)} for i in range(n)]
    assert decode([once(*records)]) == records


@pytest.mark.parametrize("n", [1, 2, 9])
def test_empty_records(n: int) -> None:
    batch = once(*[{}] * n)
    assert batch.num_rows == n
    assert batch.schema.names == [UNTYPED]
    assert decode([batch]) == [{}] * n


def test_typed_cells_win_over_untyped_text() -> None:
    batch = pa.record_batch({"a": [1, None], UNTYPED: ['{"a":null,"b":[]}', '{"a":null}']})
    assert decode([batch]) == [{"a": 1, "b": []}, {"a": None}]


def test_no_records() -> None:
    encoder = RecordEncoder()
    assert encoder.add([])
    assert encoder.rows == 0
    batch = encoder.finish()
    assert (batch.num_rows, batch.num_columns) == (0, 0)
    assert decode([batch]) == []
    assert decode([]) == []


NAMES = [
    *["", "a.b", "a", "A", "_rowid", "_rowaddr", "ä\U0001f600", "`x`", " ", "\n", '"', "'"],
    *["a" * 1000, "_persisting", "persisting_", "None", "null"],
]


def test_names() -> None:
    records: list[dict[str, Any]] = [{name: i for i, name in enumerate(NAMES)}]
    records.append(dict.fromkeys(NAMES))
    batch = once(*records)
    assert batch.schema.names == [*NAMES, UNTYPED]
    assert same(decode([batch]), records)


class Key(str):
    __slots__ = ()


BAD_NAMES: dict[str, tuple[Any, str]] = {
    "int": (1, "the keys of a record are str, not int: 1"),
    "None": (None, "the keys of a record are str, not NoneType: None"),
    "bytes": (b"a", "the keys of a record are str, not bytes"),
    "tuple": ((1,), "the keys of a record are str, not tuple"),
    "reserved": ("_persisting_x", "key '_persisting_x': keys that begin with '_persisting_'"),
    "untyped": (UNTYPED, f"key '{UNTYPED}': keys that begin with '_persisting_' are reserved"),
    "nul": ("a\0b", r"key 'a\x00b': Arrow has no names with a NUL character"),
    "surrogate": ("a\ud800", r"key 'a\ud800': the key has a lone surrogate"),
}


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("value", [1, None, "x"])
def test_bad_names(name: str, value: Any) -> None:
    key, text = BAD_NAMES[name]
    encoder = RecordEncoder()
    put(encoder, {"a": None})
    for records in ([{key: value}], [{"a": 1}, {"a": 2, key: value}]):
        with pytest.raises(SchemaError, match=re.escape(text)):
            encoder.add(records)
    assert encoder.rows == 0
    assert encoder.schema.names == [UNTYPED]


def test_names_of_a_subclass() -> None:
    encoder = RecordEncoder()
    batches = [put(encoder, {Key("a"): 1, Key("b"): None}), put(encoder, {"a": 2, "b": 3})]
    got = decode(batches)
    assert got == [{"a": 1, "b": None}, {"a": 2, "b": 3}]
    assert {type(name) for record in got for name in record} == {str}


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ([1], "record 0 is a int, not a dict"),
        ([{}, None], "record 1 is a NoneType, not a dict"),
        ([{}, [("a", 1)]], "record 1 is a list, not a dict"),
        ([collections.UserDict(a=1)], "record 0 is a UserDict, not a dict"),
        ({"a": 1}, "record 0 is a str, not a dict"),
        ("ab", "record 0 is a str, not a dict"),
        (5, "records are a list of dicts, not a int"),
        (None, "records are a list of dicts, not a NoneType"),
    ],
)
def test_what_is_no_record(records: Any, text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        RecordEncoder().add(records)


def test_dict_subclasses_are_not_changed() -> None:
    default: collections.defaultdict[str, int] = collections.defaultdict(int, a=1)
    ordered = collections.OrderedDict(b=2)
    encoder = RecordEncoder()
    encoder.add((default, ordered, {"c": 1}))
    assert decode([encoder.finish()]) == [{"a": 1}, {"b": 2}, {"c": 1}]
    assert default == {"a": 1}
    encoder.add([{"a": 1}, collections.defaultdict(int, b=2)])
    assert decode([encoder.finish()]) == [{"a": 1}, {"b": 2}]


def test_input_is_not_changed_and_later_changes_have_no_effect() -> None:
    def make() -> list[dict[str, Any]]:
        return [
            {
                "list": [1, 2],
                "nested": [["a"], []],
                "json": {"a": [1, {"b": None}]},
                "mixed": [1, "a"],
                "buffer": bytearray(b"ab"),
                "array": np.arange(4).reshape(2, 2),
                "empty": [],
            },
            {"list": [3], "empty": [[]]},
        ]

    for count in 2, 1:
        records = make()
        given = records[:count]
        encoder = RecordEncoder()
        encoder.add(given)
        assert all(map(same, records, make()))
        for record in given:
            record["list"].append(9)
            record["empty"].append(9)
            if "json" in record:
                record["nested"][0].append("z")
                record["json"]["a"][1]["b"] = 9
                record["mixed"].clear()
                record["buffer"][0] = 0
                record["array"][0, 0] = 9
            record["new"] = 1
        got = decode([encoder.finish()])
        expected = make()[: len(given)]
        expected[0]["buffer"] = b"ab"
        assert same(got, expected)


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


def test_messages_are_batches() -> None:
    records: list[dict[str, Any]] = [{"a": 1, "b": ["x"], "n": None}, {"b": [], "c": {"d": 1}}]
    one, two = RecordEncoder(), RecordEncoder()
    schemas = []
    for _ in range(2):
        assert one.add(records)
        assert two.add(records)
        message = one.finish_message()
        assert isinstance(message, Message)
        assert message.num_rows == 2
        batch = two.finish()
        assert message.schema.equals(batch.schema, check_metadata=True)
        assert message.batch().equals(batch)
        (read,) = pa.ipc.open_stream(
            pa.BufferReader(message.schema.serialize().to_pybytes() + message.data)
        )
        read.validate(full=True)
        assert decode([read]) == records
        schemas.append(message.schema)
    assert schemas[0] is schemas[1]
    foreign = RecordEncoder(pa.schema([("i", pa.int8())]))
    assert foreign.add([{"i": 1, "a": 2}])
    batch = foreign.finish_message()
    assert isinstance(batch, pa.RecordBatch)
    assert decode([batch]) == [{"i": 1, "a": 2}]


def test_columns_are_in_the_order_of_the_schema() -> None:
    encoder = RecordEncoder()
    put(encoder, {"a": 1, "b": 1, "c": 1})
    assert put(encoder, {"c": 1, "z": 1, "a": 1, "n": None}).schema.names == [
        *["a", "c", "z", UNTYPED]
    ]
    assert put(encoder, {"z": 1, "b": 1}).schema.names == ["b", "z"]


def test_many_shapes() -> None:
    encoder = RecordEncoder()
    for i in range(200):
        record = {f"k{j}": j for j in range(8) if i >> j & 1}
        assert decode([put(encoder, record)]) == [record]


def test_bits_of_every_length() -> None:
    for n in range(1, 70):
        records = [{"b": i % 3 == 0, "n": None if i % 7 == 3 else i} for i in range(n)]
        assert same(decode([once(*records)]), records)


def test_too_much_for_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persisting._records._encoder.MAX_WEIGHT", 1000)
    encoder = RecordEncoder()
    assert encoder.add([{"x": b"a" * 600}])
    assert not encoder.add([{"x": b"a" * 600}])
    assert encoder.rows == 1
    encoder.finish()
    assert encoder.add([{"x": b"a" * 600}])
    encoder.finish()
    for record in ({"x": b"a" * 1001}, {"y": "a" * 1001}, {"z": [1] * 1001}, {"j": {"a" * 999: 1}}):
        with pytest.raises(SchemaError, match="one put holds at most 2 GiB"):
            encoder.add([record])
    assert encoder.rows == 0


def test_buffers_are_aligned() -> None:
    batch = once({"a": "x", "b": 1, "c": Decimal(1), "d": [1]}, {"a": "yz", "b": 2, "d": []})
    addresses = [
        buffer.address for column in batch.columns for buffer in column.buffers() if buffer
    ]
    assert {address % 16 for address in addresses} == {addresses[0] % 16}


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


@pytest.mark.parametrize("name", ARROW_VALUES)
def test_readers_for_a_slow_pyarrow(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("persisting._records._decoder.FAST_PYLIST", False)
    test_arrow_data_comes_back_as_to_pylist_says(name)


def addresses(batch: pa.RecordBatch) -> dict[str, list[int | None]]:
    return {
        name: [buffer and buffer.address for buffer in column.buffers()]
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }


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


def test_normalise_refuses_what_it_cannot_decode() -> None:
    ends = pc.run_end_encode(pa.array([1, 1]))
    nested = pa.StructArray.from_arrays([ends], names=["x"])
    with pytest.raises(SchemaError, match="the batch has no plain form"):
        next(normalise(pa.record_batch({"a": nested})))
    if hasattr(pa, "opaque"):
        kind = pa.opaque(pa.string_view(), "name", "vendor")
        array = pa.ExtensionArray.from_storage(kind, pa.array(["a"], pa.string_view()))
        with pytest.raises(SchemaError, match=r"column 'a': .* has no plain form; cast it to one"):
            next(normalise(pa.record_batch({"a": array})))


def test_normalise_metadata_and_nullability() -> None:
    field = pa.field("a", pa.int64(), nullable=False, metadata={b"unit": b"m"})
    table = pa.table([[1]], schema=pa.schema([field], metadata={b"pandas": b"{}"}))
    (normal,) = normalise(table)
    assert normal.schema.equals(pa.schema([field.with_nullable(True)]), check_metadata=True)
    assert normal.schema.metadata is None


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


def test_strip_and_visible() -> None:
    batch = once({"a": 1, "b": None})
    assert visible(batch.schema) == pa.schema([("a", pa.int64())])
    assert visible(visible(batch.schema)) == visible(batch.schema)
    for data in batch, pa.Table.from_batches([batch]):
        assert strip(data).schema == visible(batch.schema)
        assert strip(strip(data)) == strip(data)


def test_decoder_meets_schema_after_schema() -> None:
    encoder = RecordEncoder()
    records: list[dict[str, Any]] = [{"a": 1}, {"b": {}}, {"a": None}, {"a": 2, "b": [1]}]
    batches = [put(encoder, record) for record in records]
    decoder = RecordDecoder()
    assert decoder.decode(batches) == records
    assert decoder.decode(iter(batches[::-1])) == records[::-1]


def test_decoder_tells_metadata_apart() -> None:
    array = once({"a": np.array([1])})
    plain = array.replace_schema_metadata(None).cast(pa.schema([("a", pa.list_(pa.int64()))]))
    assert plain.schema == array.schema
    got = RecordDecoder().decode([array, plain, array])
    assert [type(record["a"]) for record in got] == [np.ndarray, list, np.ndarray]


def test_decoded_values_are_not_shared() -> None:
    batch = once({"j": {"a": []}, "l": [1], "e": []})
    decoder = RecordDecoder()
    (one,), (two,) = decoder.decode([batch]), decoder.decode([batch])
    expected = copy.deepcopy(one)
    two["j"]["a"].append(1)
    two["l"].append(1)
    two["e"].append(1)
    assert one == expected


def test_numpy_and_pandas_are_not_imported() -> None:
    code = """
import sys
class Blocker:
    def find_spec(self, name, *rest):
        if name.split('.')[0] in ('numpy', 'pandas'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
from persisting._records import RecordEncoder, decode, normalise
import pyarrow as pa, datetime as dt, decimal
field = pa.field("n", pa.list_(pa.int8()), metadata={"persisting:kind": "ndarray"})
e = RecordEncoder(pa.schema([field]))
record = {"a": 1, "b": [1.5], "c": {"x": [None]}, "d": None, "e": dt.datetime.now(), "f": b"x",
          "g": True, "h": decimal.Decimal(1), "i": [[]], "j": ["x"]}
e.add([record, {}])
batch = e.finish()
assert decode([batch]) == [record, {}]
try:
    e.add([{"n": [1]}])
except TypeError:
    pass
else:
    raise AssertionError
assert decode(normalise(pa.table({"a": [1, None]}))) == [{"a": 1}, {"a": None}]
assert not {"numpy", "pandas"} & {name.split('.')[0] for name in sys.modules}
"""
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


ERRORS: dict[int, tuple[str, type[Exception]]] = {
    1: ("InvalidArgumentError", ValueError),
    2: ("InvalidHandleError", PersistingError),
    3: ("NotFoundError", LookupError),
    4: ("SchemaError", TypeError),
    5: ("StorageError", PersistingError),
    6: ("WALError", PersistingError),
    7: ("LockedError", _errors.StorageError),
    8: ("ClosedError", PersistingError),
    9: ("PoisonedError", _errors.StorageError),
    10: ("WouldBlockError", PersistingError),
    11: ("WaitTimeoutError", TimeoutError),
    12: ("ForkedError", PersistingError),
    13: ("CorruptError", _errors.StorageError),
    99: ("InternalError", PersistingError),
}


def test_every_status_has_an_error() -> None:
    assert {int(status) for status in Status} == {0, *ERRORS}


@pytest.mark.parametrize("code", ERRORS)
def test_errors(code: int) -> None:
    name, base = ERRORS[code]
    error = error_for(code, "100% {wrong}")
    assert type(error).__name__ == name
    assert name in _errors.__all__
    assert isinstance(error, base)
    assert isinstance(error, PersistingError)
    assert (str(error), error.code) == ("100% {wrong}", code)
    assert type(error)("x").code == code
    assert copy.copy(error).code == code


def test_error_of_an_unknown_code() -> None:
    error = error_for(42, "new")
    assert (type(error), error.code) == (PersistingError, 42)
    with pytest.raises(ValueError, match="not an error"):
        error_for(0, "fine")
