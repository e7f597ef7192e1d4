"""Records of every kind, put in every way, come back equal; hypothesis chooses them."""

from __future__ import annotations

import datetime as dt
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persisting._errors import SchemaError
from persisting._records import UNTYPED, RecordDecoder, RecordEncoder, decode, normalise, visible

if TYPE_CHECKING:
    from decimal import Decimal

settings.register_profile(
    "records",
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("records")

NAMES = ["a", "b", "c", "a.b", "A", "", "_rowid", "ä\U0001f600"]


def same(one: object, two: object, widened: bool = False) -> bool:
    """Compare values and all classes; with `widened`, an int may have become a float."""
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
    if widened and {type(one), type(two)} == {int, float}:
        return one == two
    if type(one) is not type(two):
        return False
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[k], two[k], widened) for k in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(
            same(x, y, widened) for x, y in zip(one, two, strict=True)
        )
    if isinstance(one, float) and isinstance(two, float) and math.isnan(one):
        return math.isnan(two)
    if isinstance(one, float) and isinstance(two, float):
        return (one, math.copysign(1, one)) == (two, math.copysign(1, two))
    return one == two


def test_same_tells_apart() -> None:
    assert not same(1, 1.0)
    assert same(1, 1.0, widened=True)
    assert not same([True], [1], widened=True)
    assert not same(0.0, -0.0)
    assert not same({"a": None}, {})
    assert not same(np.zeros(1, "f4"), np.zeros(1))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
int64s = st.integers(-(2**63), 2**63 - 1)
floats = st.floats()
decimals = st.decimals(-(10**20) + 1, 10**20 - 1, places=18, allow_nan=False) | st.decimals(
    -1000, 1000, places=2
)
zones = st.just(dt.timezone.utc) | st.builds(
    dt.timezone, st.timedeltas(-dt.timedelta(hours=14), dt.timedelta(hours=14))
)
aware = st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1), timezones=zones)
durations = st.timedeltas(dt.timedelta(days=-(10**8)), dt.timedelta(days=10**8))
scalars: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": int64s,
    "uint": st.integers(2**63, 2**64 - 1),
    "float": floats,
    "text": texts,
    "bytes": st.binary(max_size=20),
    "naive": st.datetimes(),
    "aware": aware,
    "date": st.dates(),
    "time": st.times(),
    "duration": durations,
    "decimal": decimals,
}


def lists(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | items, max_size=5)


json_scalars = st.none() | st.booleans() | int64s | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    json_scalars | texts | st.integers(2**63, 2**64 - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
dtypes = st.sampled_from(
    ["bool", "int8", "int16", "int32", "int64", "uint8", "uint64", "float16", "float32", "float64"]
)


@st.composite
def arrays(draw: st.DrawFn, dtype: str, ndim: int) -> Any:
    shape = tuple(draw(st.lists(st.integers(0, 3), min_size=ndim, max_size=ndim)))
    count = math.prod(shape)
    items = draw(st.lists(st.integers(0, 100), min_size=count, max_size=count))
    return np.array(items, "u1").astype(dtype).reshape(shape)


@st.composite
def kinds(draw: st.DrawFn) -> st.SearchStrategy[Any]:
    """Choose a strategy for the values of one column."""
    scalar = scalars[draw(st.sampled_from(sorted(scalars)))]
    choice = draw(st.integers(0, 5))
    if choice == 0:
        return lists(scalar)
    if choice == 1:
        return lists(lists(scalar))
    if choice == 2:
        return st.dictionaries(texts, json_values, min_size=1, max_size=4)
    if choice == 3:
        return arrays(draw(dtypes), draw(st.integers(0, 3)))
    return scalar


@st.composite
def regular_puts(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Make puts whose columns have one type each, with keys that come and go."""
    columns = {name: draw(kinds()) for name in draw(st.lists(st.sampled_from(NAMES), unique=True))}
    hollow: st.SearchStrategy[Any] = st.sampled_from([None, [], [None]])
    record = st.fixed_dictionaries(
        {}, optional={name: hollow | values | values for name, values in columns.items()}
    )
    return draw(st.lists(st.lists(record, max_size=5), max_size=5))


anything = st.one_of(
    st.none(),
    st.sampled_from([True, 1, 1.0, 0.5, 2**53 + 1, 2**63, -1, "x", b"x", [], [None], {}]),
    *scalars.values(),
    *[lists(values) for values in scalars.values()],
    json_values,
    st.sampled_from([(1,), {1}, 2**64, "\ud800", 1j, object, {"a": (1,)}, {1: 2}, [b"x", 1]]),
    st.sampled_from([1, 2]).map(lambda n: np.zeros((2,) * n)),
)
any_puts = st.lists(
    st.lists(st.dictionaries(st.sampled_from(NAMES[:3]), anything, max_size=3), max_size=3),
    max_size=6,
)


class Engine:
    """Keeps batches as the engine does: a column becomes wider when all its values allow it."""

    def __init__(self) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.fields: dict[str, pa.Field] = {}

    def append(self, batch: pa.RecordBatch) -> None:
        batch.validate(full=True)
        changed = {}
        for field in batch.schema:
            old = self.fields.get(field.name)
            if old is not None and not old.equals(field, check_metadata=True):
                self.check(field.name, old.type, field.type)
            changed[field.name] = field
        self.fields.update(changed)
        self.batches.append(batch)

    def check(self, name: str, old: pa.DataType, new: pa.DataType) -> None:
        numbers = [kind for kind in (old, new)]
        while pa.types.is_list(numbers[0]):
            numbers = [kind.value_type for kind in numbers]
        assert tuple(numbers) in {
            (pa.int64(), pa.float64()),
            (pa.uint64(), pa.float64()),
            (pa.int64(), pa.uint64()),
        }
        for batch in self.batches:
            if name in batch.schema.names:
                column = batch.column(name)
                while pa.types.is_list(column.type):
                    column = column.flatten()
                for value in column.drop_null().to_pylist():
                    if new_value(value, numbers[1]) != value:
                        msg = f"column {name} cannot change"
                        raise SchemaError(msg)

    def schema(self) -> pa.Schema:
        return pa.schema(self.fields.values())


def new_value(value: int, kind: pa.DataType) -> int | None:
    if kind == pa.float64():
        return int(float(value))
    return value if value >= 0 else None


class Client:
    """Puts records the way a backend does."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.encoder = RecordEncoder()

    def put(self, records: list[Any]) -> bool:
        """Add one put; what must not share a batch is handed over at once."""
        try:
            if not self.encoder.add(records):
                assert self.send()
                assert self.encoder.add(records)
        except SchemaError:
            return False
        shares_its_batch = self.encoder.add([])
        return shares_its_batch or self.send()

    def send(self) -> bool:
        if not self.encoder.rows:
            return True
        batch = self.encoder.finish()
        try:
            self.engine.append(batch)
        except SchemaError:
            self.encoder.rollback()
            return False
        self.encoder.committed(batch.schema)
        return True

    def records(self) -> list[dict[str, Any]]:
        return decode(self.engine.batches)


@given(regular_puts())
def test_regular_records_come_back(puts: list[list[dict[str, Any]]]) -> None:
    together, single = RecordEncoder(), RecordEncoder()
    batches = []
    for records in puts:
        assert together.add(records)
        assert single.add(records)
        batch = single.finish()
        batch.validate(full=True)
        single.committed(batch.schema)
        batches.append(batch)
    expected = [record for records in puts for record in records]
    whole = together.finish()
    whole.validate(full=True)
    assert set(visible(together.schema)) == set(visible(single.schema))
    for got in (decode(batches), decode([whole])):
        assert len(got) == len(expected)
        for one, two in zip(got, expected, strict=True):
            assert same(one, two), (one, two)


@given(regular_puts(), st.data())
def test_every_slice_comes_back(puts: list[list[dict[str, Any]]], data: st.DataObject) -> None:
    encoder = RecordEncoder()
    for records in puts:
        assert encoder.add(records)
    expected = [record for records in puts for record in records]
    batch = encoder.finish()
    decoder = RecordDecoder()
    first = data.draw(st.integers(0, len(expected)))
    last = data.draw(st.integers(first, len(expected)))
    got = decoder.decode([batch.slice(first, last - first)])
    assert same(got, expected[first:last])
    if batch.num_rows:
        doubled = pa.Table.from_batches([batch, batch]).combine_chunks().to_batches()
        assert same(decoder.decode(doubled), expected * 2)


@given(any_puts, st.data())
def test_any_records_come_back_or_are_refused_whole(
    puts: list[list[Any]], data: st.DataObject
) -> None:
    client = Client()
    expected: list[Any] = []
    for records in puts:
        before = client.encoder.schema, client.encoder.rows, len(client.engine.batches)
        if client.put(records):
            expected += records
        else:
            schema, rows, sent = before
            assert client.encoder.rows == (rows if len(client.engine.batches) == sent else 0)
            assert client.encoder.schema.equals(schema, check_metadata=True)
        if data.draw(st.booleans()):
            client.send()
            assert client.encoder.schema.equals(client.engine.schema(), check_metadata=True) or (
                set(client.encoder.schema) == set(client.engine.schema())
            )
    client.send()
    got = client.records()
    assert len(got) == len(expected)
    for one, two in zip(got, expected, strict=True):
        assert same(one, two, widened=True), (one, two)


@given(any_puts)
def test_coalesced_puts_are_as_single_ones(puts: list[list[Any]]) -> None:
    together, single = Client(), Client()
    for records in puts:
        accepted = single.put(records) and single.send()
        assert together.put(records) is accepted
    together.send()
    assert same(together.records(), single.records(), widened=True)
    assert set(visible(together.engine.schema())) == set(visible(single.engine.schema()))


@given(any_puts, st.integers(0, 5))
def test_a_refused_batch_leaves_no_trace(puts: list[list[Any]], refused: int) -> None:
    with_fault, without = Client(), Client()
    for i, records in enumerate(puts):
        if i == refused:
            try:
                if with_fault.encoder.add(records):
                    with_fault.encoder.finish()
            except SchemaError:
                pass
            with_fault.encoder.rollback()
        else:
            accepted = without.put(records) and without.send()
            assert (with_fault.put(records) and with_fault.send()) is accepted
    assert same(with_fault.records(), without.records())
    assert set(with_fault.encoder.schema) == set(without.encoder.schema)


@given(any_puts)
def test_a_bucket_opened_again_takes_the_same(puts: list[list[Any]]) -> None:
    kept, again = Client(), Client()
    for records in puts:
        again.encoder = RecordEncoder(again.engine.schema())
        accepted = kept.put(records) and kept.send()
        assert (again.put(records) and again.send()) is accepted
    assert same(again.records(), kept.records())


tables = st.fixed_dictionaries(
    {},
    optional={
        "i": st.none() | st.integers(-128, 127),
        "s": st.none() | texts,
        "l": st.none() | lists(int64s),
        "d": st.none() | st.fixed_dictionaries({"x": st.none() | floats.filter(lambda x: x == x)}),
    },
)
CASTS = {
    "i": [pa.int8(), pa.int64(), pa.float32(), pa.dictionary(pa.int8(), pa.int64())],
    "s": [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()],
    "l": [pa.list_(pa.int64()), pa.large_list(pa.int64())],
    "d": [pa.struct([("x", pa.float64())])],
}


@given(st.lists(tables, min_size=1), st.data())
def test_arrow_tables_come_back(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    columns = {}
    for name in sorted({name for row in rows for name in row}):
        kind = data.draw(st.sampled_from(CASTS[name]))
        values = [row.get(name) for row in rows]
        if pa.types.is_dictionary(kind):
            columns[name] = pa.array(values, kind.value_type).dictionary_encode()
        else:
            columns[name] = pa.array(values, kind)
    if not columns:
        return
    table = pa.table(columns)
    first = data.draw(st.integers(0, len(rows) - 1))
    table = table.slice(first)
    batches = [*normalise(table)]
    assert decode(batches) == table.to_pylist()
    assert (UNTYPED in batches[0].schema.names) == any(
        column.combine_chunks().null_count or None in column.to_pylist() for column in table.columns
    )


@given(st.decimals())
def test_decimals_are_exact_or_refused(value: Decimal) -> None:
    encoder = RecordEncoder()
    try:
        encoder.add([{"x": value}])
    except SchemaError:
        if value.is_finite() and abs(value.adjusted()) < 100:
            assert abs(value) >= 10**20 or (Fraction(value) * 10**18).denominator != 1
        return
    assert decode([encoder.finish()]) == [{"x": value}]


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64, 1000])
def test_sizes(n: int) -> None:
    records = [
        {"a": i, "b": i % 2 == 0, "c": "ä" * (i % 5), "d": [i] * (i % 4), "e": {"x": i}}
        | ({"f": None} if i % 3 == 0 else {"f": 0.5})
        for i in range(n)
    ]
    encoder = RecordEncoder()
    assert encoder.add(records)
    assert same(decode([encoder.finish()]), records)
