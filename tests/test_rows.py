"""The module in C: rows of any array that it reads, messages of any records that it writes."""

from __future__ import annotations

import contextlib
import gc
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from persisting._records import Message, RecordDecoder, RecordEncoder, _rows, decode
from persisting._records._assemble import writer_of

if TYPE_CHECKING:
    from collections.abc import Callable

thorough = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)

# ---- reading ----

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
BYTES = st.binary(max_size=60)


def integers(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low = -(2 ** (bits - 1)) if signed else 0
    return st.integers(low, low + 2**bits - 1)


SCALARS: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    *[(getattr(pa, f"int{bits}")(), integers(bits, signed=True)) for bits in (8, 16, 32, 64)],
    *[(getattr(pa, f"uint{bits}")(), integers(bits, signed=False)) for bits in (8, 16, 32, 64)],
    (pa.float32(), st.floats(allow_nan=False, width=32)),
    (pa.float64(), st.floats(allow_nan=False)),
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.binary(), BYTES),
    (pa.large_binary(), BYTES),
]


@st.composite
def arrays(draw: st.DrawFn, n: int, depth: int = 0) -> pa.Array:
    """Make an array that begins and ends within a longer one, as do all below it."""
    before, after = draw(st.integers(0, 9)), draw(st.integers(0, 3))
    whole = before + n + after
    shapes = ["scalar"] if depth == 3 else ["scalar", "list", "large list", "fixed", "struct"]
    shape = draw(st.sampled_from(shapes))
    if shape == "scalar":
        kind, values = draw(st.sampled_from(SCALARS))
        items = st.lists(st.none() | values, min_size=whole, max_size=whole)
        return pa.array(draw(items), kind).slice(before, n)
    nulls = draw(st.lists(st.booleans(), min_size=whole, max_size=whole))
    mask = pa.array(nulls, pa.bool_())
    if shape == "struct":
        children = [draw(arrays(whole, depth + 1)) for _ in range(draw(st.integers(1, 3)))]
        names = [f"f{i}" for i in range(len(children))]
        array = pa.StructArray.from_arrays(children, names, mask=mask)
    elif shape == "fixed":
        size = draw(st.integers(1, 3))
        child = draw(arrays(whole * size, depth + 1))
        array = pa.FixedSizeListArray.from_arrays(child, size, mask=mask)
    else:
        sizes = draw(st.lists(st.integers(0, 3), min_size=whole, max_size=whole))
        offsets = [draw(st.integers(0, 2))]  # what is before the first is nobody's
        for size in sizes:
            offsets.append(offsets[-1] + size)
        child = draw(arrays(offsets[-1], depth + 1))
        kind, cls = (
            (pa.int32(), pa.ListArray) if shape == "list" else (pa.int64(), pa.LargeListArray)
        )
        array = cls.from_arrays(pa.array(offsets, kind), child, mask=mask)
    return array.slice(before, n)


def expected(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if v is not None} for row in batch.to_pylist()]


def read(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Read a batch of which nothing is left to Python."""
    reader, foreign = _rows.reader(batch.schema.__arrow_c_schema__())
    assert foreign == []
    return _rows.read(reader, batch.__arrow_c_array__()[1], None)


@thorough
@given(st.integers(0, 5), st.data())
def test_rows_are_what_pyarrow_makes_of_them(n: int, data: st.DataObject) -> None:
    columns = data.draw(st.lists(arrays(n), min_size=1, max_size=3))
    batch = pa.record_batch(columns, [f"c{i}" for i in range(len(columns))])
    batch.validate(full=True)
    assert repr(read(batch)) == repr(expected(batch))


@pytest.mark.parametrize("n", [63, 64, 1000])
def test_many_rows_leave_the_collector_as_it_was(n: int) -> None:
    batch = pa.record_batch({"a": range(n), "b": ["x" * (i % 60) for i in range(n)]})
    broken = pa.record_batch([pa.array([b"\xff"] * n).view(pa.string())], ["a"])
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            assert read(batch) == expected(batch)
            assert gc.isenabled() is enabled
            with pytest.raises(UnicodeDecodeError):
                read(broken)
            assert gc.isenabled() is enabled
        finally:
            gc.enable()


@pytest.mark.parametrize(
    "kind", [kind for kind, _ in SCALARS[2:] if not pa.types.is_null(kind)], ids=str
)
def test_values_may_lie_at_any_address(kind: pa.DataType) -> None:
    whole = pa.array(["1", None, "3"]).cast(kind)
    moved = [
        None if buffer is None else pa.py_buffer(b"\0" + buffer.to_pybytes()).slice(1)
        for buffer in whole.buffers()
    ]
    array = pa.Array.from_buffers(kind, len(whole), moved)
    assert array.buffers()[1].address % 2 == 1
    batch = pa.record_batch([array], ["a"])
    assert read(batch) == expected(batch)


def test_a_union_has_no_bitmap_of_nulls() -> None:
    types = pa.array([0, 1, 0, 1, 0], pa.int8())
    children = [pa.array([1, 2, 3, 4, 5]), pa.array(["a", "b", "c", "d", "e"])]
    batch = pa.record_batch({"u": pa.UnionArray.from_sparse(types, children)})
    assert decode([batch]) == [{"u": 1}, {"u": "b"}, {"u": 3}, {"u": "d"}, {"u": 5}]


def test_what_it_does_not_read_is_given() -> None:
    twice = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["x", "x"])
    marked = pa.field("item", pa.int64(), metadata={"ARROW:extension:name": "a"})
    deep: pa.DataType = pa.int64()
    for _ in range(70):
        deep = pa.list_(deep)
    columns = {
        "plain": pa.array([7]),
        "date": pa.array([0], pa.date32()),
        "lists of dates": pa.array([[0]], pa.list_(pa.date32())),
        "dictionary": pa.array(["a"]).dictionary_encode(),
        "view": pa.array(["a"], pa.string_view()),
        "one name twice": twice,
        "marked": pa.array([[1]], pa.list_(marked)),
        "deep": pa.array([None], deep),
        "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    }
    batch = pa.record_batch(columns)
    reader, foreign = _rows.reader(batch.schema.__arrow_c_schema__())
    assert foreign == list(range(1, len(columns)))
    given: list[list[Any] | None] = [None, *[[i] for i in foreign]]
    (record,) = _rows.read(reader, batch.__arrow_c_array__()[1], given)
    assert record == {"plain": 7} | {
        name: i for i, name in enumerate(columns) if i and name != "deep"
    }
    with pytest.raises(SystemError, match="'date' was not given"):
        _rows.read(reader, batch.__arrow_c_array__()[1], None)


# ---- writing ----

INT = integers(64, signed=True)
VALUES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (1, INT),
    "uint": (2**63, integers(64, signed=False)),
    "float": (0.5, st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)),
    "bool": (True, st.booleans()),
    "text": ("a", TEXT),
    "bytes": (b"a", BYTES),
    "json": ({"a": 1}, st.dictionaries(TEXT, INT | TEXT, max_size=3)),
    "ints": ([1], st.lists(INT, max_size=3)),
    "bools": ([True], st.lists(st.booleans(), max_size=10)),
    "lists of texts": ([["a"]], st.lists(st.lists(TEXT, max_size=3), max_size=3)),
    "lists of floats": ([[[0.5]]], st.lists(st.lists(st.lists(st.floats(allow_nan=False))))),
}
WRONG: list[Any] = [None, "\ud800", 2**64, -1.5, b"x", (1,), {1: 2}, [None], [[None]], object()]

FITTING: dict[str, list[Any]] = {
    "float": [-1.5],
    "bytes": [b"x"],
    "json": [(1,), [None], [[None]]],
}


def learn(names: list[str]) -> RecordEncoder:
    """Make an encoder that has met a record of these keys."""
    encoder = RecordEncoder()
    for _ in range(2):  # the engine gets the columns, the encoder learns the shape
        long_way(encoder, [{name: VALUES[name][0] for name in names}])
    return encoder


def long_way(encoder: RecordEncoder, records: list[dict[str, Any]]) -> pa.RecordBatch:
    assert encoder.add(records)
    message = encoder.finish_message()
    assert isinstance(message, Message)
    encoder.committed(message.schema)
    return message.batch()


@st.composite
def puts(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, unique=True))
    record = st.tuples(*[VALUES[name][1] for name in names]).map(
        lambda values: dict(zip(names, values, strict=True))
    )
    return draw(st.lists(record, min_size=1, max_size=10))


@thorough
@given(puts())
def test_messages_are_those_of_the_long_way(records: list[dict[str, Any]]) -> None:
    encoder = learn([*records[0]])
    message = encoder.message(records)
    assert message is not None
    assert message.num_rows == len(records)
    batch = message.batch()
    batch.validate(full=True)
    assert batch.equals(long_way(encoder, records), check_metadata=True)


@thorough
@given(puts(), st.sampled_from(WRONG), st.data())
def test_a_wrong_value_anywhere_leaves_the_writer_usable(
    records: list[dict[str, Any]], wrong: Any, data: st.DataObject
) -> None:
    encoder = learn([*records[0]])
    before = encoder.message(records)
    row = data.draw(st.integers(0, len(records) - 1))
    key = data.draw(st.sampled_from([*records[0]]))
    bad = [*records]
    bad[row] = {**bad[row], key: wrong}
    assume(wrong not in FITTING.get(key, []))
    assert encoder.message(bad) is None
    assert encoder.message([*bad[:row], {**records[row], "more": 1}]) is None
    assert encoder.message(records) == before


@pytest.mark.parametrize("key", sorted(VALUES))
@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_a_value_of_another_type_fits_or_is_left_to_the_long_way(key: str, value: Any) -> None:
    encoder = learn([key])
    message = encoder.message([{key: value}])
    if value in FITTING.get(key, []):
        assert message is not None
        assert message.batch().equals(long_way(encoder, [{key: value}]), check_metadata=True)
    else:
        assert message is None


def test_no_records_are_no_message() -> None:
    encoder = learn(["int", "json"])
    assert encoder.message({"int": 1, "json": {}}) is not None
    assert encoder.message([]) is None
    nothing = RecordEncoder().finish_message()
    assert isinstance(nothing, Message)
    assert nothing.batch().num_rows == 0


class Putting(dict[str, int]):
    """A dict that puts a record of the same keys when it is written."""

    encoder: RecordEncoder
    answers: list[Message | None]

    def items(self) -> Any:
        self.answers.append(self.encoder.message({"json": {}}))
        return super().items()


def test_a_value_that_puts_records_itself_is_left_alone() -> None:
    encoder = learn(["json"])
    Putting.encoder, Putting.answers = encoder, []
    message = encoder.message({"json": {"a": Putting(x=1)}})
    assert message is not None
    assert Putting.answers == [None]
    assert decode([message.batch()]) == [{"json": {"a": {"x": 1}}}]


@pytest.mark.parametrize("more", [{"json": {}}, {"json": 1}, {}], ids=str)
def test_a_writer_keeps_no_values(more: dict[str, Any]) -> None:
    encoder = learn(["json"])
    nested = {"a": 1}
    count = sys.getrefcount(nested)
    encoder.message([{"json": nested}, more])
    assert sys.getrefcount(nested) == count


# ---- misuse ----


def schema() -> object:
    return pa.schema([("a", pa.int64())]).__arrow_c_schema__()


def row(column: pa.Array | None = None) -> object:
    return pa.record_batch({"a": column or pa.array([1])}).__arrow_c_array__()[1]


def released() -> list[object]:
    """Make capsules of which pyarrow has taken the schema and the array."""
    one, two = pa.record_batch({"a": [1]}).__arrow_c_array__()
    pa.RecordBatch._import_from_c_capsule(one, two)
    return [one, two]


READER: Any = _rows.reader(schema())[0]
WRITER: Any = writer_of(("a",), ("l",), (0,))
JSON: Any = writer_of(("a",), ("j",), (0,))
PIECES = (b"",) * 5
rows: Any = _rows  # of any arguments


def dumping(dump: object) -> Any:
    return rows.writer(("a",), ("j",), (0,), dump, PIECES)


MISUSE: dict[str, tuple[type[Exception], Callable[[], object]]] = {
    "reader of no capsule": (ValueError, lambda: rows.reader(1)),
    "reader of rows": (ValueError, lambda: rows.reader(row())),
    "reader of no struct": (TypeError, lambda: rows.reader(pa.int64().__arrow_c_schema__())),
    "reader of a released schema": (ValueError, lambda: rows.reader(released()[0])),
    "read of two": (TypeError, lambda: rows.read(READER, row())),
    "read by a writer": (ValueError, lambda: rows.read(WRITER, row(), None)),
    "read of a schema": (ValueError, lambda: rows.read(READER, schema(), None)),
    "read of released rows": (ValueError, lambda: rows.read(READER, released()[1], None)),
    "read at 0": (ValueError, lambda: rows.read(READER, 0, None)),
    "read of other columns": (
        ValueError,
        lambda: rows.read(
            READER, pa.record_batch({"a": [1], "b": [2]}).__arrow_c_array__()[1], None
        ),
    ),
    "read with too few lists": (ValueError, lambda: rows.read(READER, row(), [])),
    "read with no list": (ValueError, lambda: rows.read(READER, row(), 1)),
    "read with no lists": (SystemError, lambda: rows.read(READER, row(), [1])),
    "read with too short lists": (IndexError, lambda: rows.read(READER, row(), [[]])),
    "writer of one": (TypeError, lambda: rows.writer(("a",))),
    "writer of nothing": (ValueError, lambda: rows.writer((), (), (), len, PIECES)),
    "writer of lists": (SystemError, lambda: rows.writer(["a"], ("l",), (0,), len, PIECES)),
    "writer of fewer formats": (ValueError, lambda: rows.writer(("a",), (), (0,), len, PIECES)),
    "writer of bytes": (TypeError, lambda: rows.writer((b"a",), ("l",), (0,), len, PIECES)),
    "writer of no letters": (TypeError, lambda: rows.writer(("a",), (1,), (0,), len, PIECES)),
    "writer of no order": (TypeError, lambda: rows.writer(("a",), ("l",), ("0",), len, PIECES)),
    "writer of no pieces": (SystemError, lambda: rows.writer(("a",), ("l",), (0,), len, 1)),
    "writer of few pieces": (IndexError, lambda: rows.writer(("a",), ("l",), (0,), len, ())),
    "writer of texts": (TypeError, lambda: rows.writer(("a",), ("l",), (0,), len, ("",) * 5)),
    **{
        f"writer of format {name[:9]!r}": (
            ValueError,
            partial(rows.writer, ("a",), (name,), (0,), len, PIECES),
        )
        for name in ("", "x", "ll", "+", "+j", "++x", "+ll", "n", "+" * 10**6 + "l")
    },
    **{
        f"writer of order {order}": (
            ValueError,
            partial(rows.writer, ("a", "b"), ("+l", "u"), order, len, PIECES),
        )
        for order in ((0, 0), (0, 2), (-1, 0), (1, 1))
    },
    "write of one": (TypeError, lambda: rows.write(WRITER)),
    "write by a reader": (ValueError, lambda: rows.write(READER, {"a": 1})),
    "dump that cannot be called": (TypeError, lambda: rows.write(dumping(1), {"a": {}})),
    "dump that fails": (TypeError, lambda: rows.write(dumping({"": 1}.__getitem__), {"a": {}})),
    "dump of no list": (SystemError, lambda: rows.write(dumping(len), {"a": {}})),
    "dump of too few": (IndexError, lambda: rows.write(dumping(lambda _: []), {"a": {}})),
    "dump of no texts": (TypeError, lambda: rows.write(dumping(lambda _: [1]), {"a": {}})),
}  # fmt: skip


@pytest.mark.parametrize("misuse", MISUSE)
def test_misuse_raises_and_leaks_nothing(misuse: str) -> None:
    kind, do = MISUSE[misuse]
    with pytest.raises(kind):
        do()

    def blocks_after(n: int) -> int:
        for _ in range(n):
            with contextlib.suppress(kind):
                do()
        return sys.getallocatedblocks()

    before = blocks_after(100)
    assert blocks_after(300) - before < 200


@pytest.mark.parametrize(
    "records", [1, "a", (), ({"a": 1},), [1], [[]], [{}, 1], [{1: 1}], {"b": 1}]
)
def test_what_is_no_record_is_no_message(records: Any) -> None:
    assert rows.write(WRITER, records) is None
    assert rows.write(JSON, records) is None
    assert rows.write(WRITER, {"a": 1}) is not None
    assert rows.write(JSON, [{"a": {}}]) is not None


def test_a_name_that_is_not_utf8_is_refused() -> None:
    name = b"\xff"
    with pytest.raises(UnicodeDecodeError):
        RecordDecoder().decode([pa.record_batch([pa.array([1])], [name])])
