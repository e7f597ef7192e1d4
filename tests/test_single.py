"""The short way of single records does what the long way does."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persisting._errors import SchemaError
from persisting._records import Message, RecordDecoder, RecordEncoder

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "big": st.integers(2**63, 2**64 - 1),
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "text": TEXT,
    "json": st.dictionaries(TEXT, st.integers(-(2**53), 2**53) | TEXT, min_size=1),
    "ints": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    "floats": st.lists(st.floats(allow_nan=False), min_size=1),
    "texts": st.lists(TEXT, min_size=1),
}
KINDS = st.lists(st.sampled_from(sorted(VALUES)), min_size=1, unique=True)


def put(encoder: RecordEncoder, record: dict[str, Any]) -> Message:
    """Put a record the long way."""
    assert encoder.add((record,))
    message = encoder.finish_message()
    assert isinstance(message, Message)
    encoder.committed(message.schema)
    return message


@given(st.data(), KINDS)
def test_both_ways_give_the_same(data: st.DataObject, kinds: list[str]) -> None:
    encoder = RecordEncoder()
    for _ in range(2):  # the engine gets the columns, the encoder learns the shape
        put(encoder, {kind: data.draw(VALUES[kind]) for kind in kinds})
    for _ in range(3):
        record = {kind: data.draw(VALUES[kind]) for kind in kinds}
        short = encoder.message(record)
        assert short is not None
        batch = short.batch()
        batch.validate(full=True)
        assert batch.equals(put(encoder, record).batch())
        assert RecordDecoder().decode([batch]) == [record]


FIRST = {"int": 1, "text": "a", "float": 0.5, "bool": True, "ints": [1], "texts": ["a"], "json": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"int": True},
        {"int": 1.5},
        {"int": 2**63},
        {"int": None},
        {"text": "\ud800"},
        {"text": b"a"},
        {"float": 2**53 + 1},
        {"float": "1"},
        {"bool": 1},
        {"ints": [1, None]},
        {"ints": [True]},
        {"ints": [2**63]},
        {"ints": (1,)},
        {"texts": ["a", None]},
        {"texts": ["\ud800"]},
        {"json": 1},
        {"more": 1},
    ],
)
def test_what_is_not_of_the_same_types_goes_the_long_way(change: dict[str, Any]) -> None:
    encoder = RecordEncoder()
    put(encoder, FIRST)
    put(encoder, FIRST)
    assert encoder.message(FIRST) is not None
    assert encoder.message(FIRST | change) is None
    assert encoder.message(FIRST) is not None


@pytest.mark.parametrize("value", [float("nan"), b"a", (1, 2), datetime.date(2026, 1, 1)])
def test_what_json_has_no_form_for_is_written_alike_in_both_ways(value: object) -> None:
    encoder = RecordEncoder()
    put(encoder, FIRST)
    put(encoder, FIRST)
    record = FIRST | {"json": {"a": value}}
    short = encoder.message(record)
    assert short is not None
    assert short.batch().equals(put(encoder, record).batch())


def test_it_waits_for_records_that_came_before() -> None:
    encoder = RecordEncoder()
    put(encoder, FIRST)
    put(encoder, FIRST)
    encoder.add((FIRST,))
    assert encoder.message(FIRST) is None
    encoder.finish()
    assert encoder.message(FIRST) is not None


def test_it_follows_a_column_that_became_wider() -> None:
    encoder = RecordEncoder()
    put(encoder, {"a": 1})
    put(encoder, {"a": 2})
    assert encoder.message({"a": 3}) is not None
    put(encoder, {"a": 0.5})
    put(encoder, {"a": 0.5})
    assert encoder.message({"a": 2**53 + 1}) is None
    assert encoder.message({"a": 1}) is not None
    message = encoder.message({"a": 2.5})
    assert message is not None
    assert message.schema.field("a").type == pa.float64()


def test_a_refused_batch_leaves_no_trace() -> None:
    encoder = RecordEncoder()
    encoder.add(({"a": 1},))
    encoder.finish_message()
    encoder.rollback()
    assert encoder.message({"a": 1}) is None
    put(encoder, {"a": "text"})
    assert encoder.message({"a": 1}) is None
    with pytest.raises(SchemaError):
        encoder.add(({"a": 1},))
