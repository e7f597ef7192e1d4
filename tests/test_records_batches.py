"""The batches and messages that records become."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from persisting._errors import SchemaError
from persisting._records import UNTYPED, Message, RecordEncoder, decode
from tests.records import once, put, same


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
