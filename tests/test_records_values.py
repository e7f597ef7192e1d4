"""Values of records become columns and come back."""

from __future__ import annotations

import collections
import datetime as dt
import enum
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from persisting._errors import SchemaError, Status
from persisting._records import RecordEncoder, decode
from tests.records import BERLIN, JSON_METADATA, TYPES, UTC, once, put, same


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
    "np.str": (np.str_("x"), "x"),
    "np.bytes": (np.bytes_(b"x"), b"x"),
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

TUPLES: Any = ()
for _ in range(101):
    TUPLES = (TUPLES,)

REFUSED: dict[str, tuple[Any, str]] = {
    "big int": (2**64, "key 'x': an int beyond 64 bits"),
    "small int": (-(2**63) - 1, "an int beyond 64 bits"),
    "huge int": (10**5000, "an int beyond 64 bits"),
    "surrogate": ("a\ud800", "key 'x': the str has a lone surrogate"),
    "surrogates in list": (["\ud83d", "\ude00"], "key 'x': at [0]: the str has a lone surrogate"),
    "set": ({1}, "a value of class set cannot be held; put a list"),
    "frozenset": (frozenset(), "frozenset cannot be held; put a list"),
    "memoryview": (memoryview(b"x"), "memoryview cannot be held; put bytes"),
    "object": (object(), "a value of class object cannot be held"),
    "class": (Point, "a value of class type cannot be held"),
    "dataclass": (Point(1), "Point cannot be held; put dataclasses.asdict() of it"),
    "unequal subclass": (Unequal(1), "Unequal cannot be held"),
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
    "structured array": (np.zeros(1, "i4,f4"), "cannot be held; use a plain dtype"),
    "long double": (np.zeros(1, "g"), "cannot be held; use a plain dtype"),
    "np long double": (np.longdouble(1) / 3, "numpy.longdouble cannot be held"),
    "set in tuple": (({1},), "key 'x': at [0]: set cannot be held in nested data"),
    "class in array": (np.array([{1}, None]), "at [0]: set cannot be held in nested data"),
    "structured in dict": ({"a": np.zeros(1, "i4,f4")}, "at ['a']: an array of dtype [("),
    "tuples too deep": (TUPLES, "nested data is deeper than 100"),
    "masked array": (np.ma.masked_array([1]), "put a numpy array of a plain dtype"),
    "json key": ({"a": {1: 2}}, "at ['a']: the dict has a key of type int, not str"),
    "json None key": ({None: 2, "null": 3}, "the dict has a key of type NoneType, not str"),
    "json int": ({"a": 2**64}, "at ['a']: an int beyond 64 bits"),
    "json negative": ({"a": -(2**63) - 1}, "at ['a']: an int beyond 64 bits"),
    "json huge": ({"a": 10**5000}, "at ['a']: an int beyond 64 bits"),
    "json surrogate": ({"a": "\udfff"}, "at ['a']: the str has a lone surrogate"),
    "json key surrogate": ({"\udfff": 1}, "a key has a lone surrogate"),
    "json set": ({"a": {1}}, "at ['a']: set cannot be held"),
    "json depth": ({"a": DEEP}, "nested data is deeper than 100"),
    "self": (SELF_CONTAINING, "nested data is deeper than 100, or contains itself"),
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
