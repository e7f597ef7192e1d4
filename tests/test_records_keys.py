"""Keys of records: absent, without a type, named oddly; and what is no record."""

from __future__ import annotations

import collections
import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from persisting._errors import SchemaError
from persisting._records import UNTYPED, RecordEncoder, decode
from tests.records import once, put, same

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
