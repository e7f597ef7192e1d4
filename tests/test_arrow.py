"""Arrow in and out: what is taken, what comes back, and what others read in the table."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from persisting import LanceBackend, SchemaError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import Opener


TABLE = pa.table(
    {
        "int": pa.array([1, 2, 3], pa.int32()),
        "float": pa.array([0.5, 1.5, 2.5], pa.float32()),
        "text": ["a", "b", "c"],
        "bytes": [b"a", b"", b"\0"],
        "when": pa.array([1, 2, 3], pa.timestamp("ns", "Europe/Berlin")),
        "day": pa.array([1, 2, 3], pa.date32()),
        "decimal": pa.array([Decimal("1.5"), Decimal("-2.25"), Decimal(0)], pa.decimal128(10, 2)),
        "list": [[1], [], [2, 3]],
        "struct": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 3, "b": "z"}],
        "vector": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)),
        "flag": [True, False, True],
    }
)


class OnlyArray:
    """A producer that knows nothing but the protocol for one batch."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __arrow_c_array__(self, requested: object = None) -> tuple[object, object]:
        pair: tuple[object, object] = self.batch.__arrow_c_array__()
        return pair


class OnlyStream:
    """A producer that knows nothing but the protocol for a stream."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested: object = None) -> object:
        return self.table.__arrow_c_stream__()


def chunked(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 1), table.slice(1)])


PRODUCERS: dict[str, Callable[[pa.Table], Any]] = {
    "table": lambda table: table,
    "table of chunks": chunked,
    "batch": lambda table: table.to_batches()[0],
    "reader": lambda table: chunked(table).to_reader(),
    "the array protocol": lambda table: OnlyArray(table.to_batches()[0]),
    "the stream protocol": lambda table: OnlyStream(chunked(table)),
}


@pytest.mark.parametrize("producer", PRODUCERS)
async def test_arrow_data_comes_back_as_it_was(backend: LanceBackend, producer: str) -> None:
    await backend.put_arrow(PRODUCERS[producer](TABLE))
    await backend.put_arrow(PRODUCERS[producer](TABLE.slice(1)))
    want = pa.concat_tables([TABLE, TABLE.slice(1)]).combine_chunks()
    for upkeep in (backend.flush, backend.compact, backend.flush):
        assert backend.total_count() == 5
        found = await backend.get_arrow()
        found.validate(full=True)
        assert found.schema.equals(TABLE.schema)
        assert found.combine_chunks().equals(want)
        part = await backend.get_arrow(2, 2)
        assert part.combine_chunks().equals(want.slice(2, 2).combine_chunks())
        assert (await backend.get_arrow(0)).num_rows == 0
        assert (await backend.get_arrow(5, 99)).schema.equals(TABLE.schema)
        assert (await backend.get_arrow(2, -3)).num_rows == 2
        await upkeep()


@pytest.mark.parametrize("lazy_types", [False, True])
async def test_a_polars_frame_is_taken(backend: LanceBackend, lazy_types: bool) -> None:
    frame = pl.DataFrame(
        {
            "n": [1, 2, None],
            "text": ["a", None, "c"],
            "list": [[1, 2], [], None],
            "nested": [{"a": 1.5}, {"a": None}, {"a": 2.5}],
            "when": [dt.datetime(2026, 1, 2, 3, 4, 5, 6)] * 3,
        }
    )
    if lazy_types:
        frame = frame.with_columns(category=pl.Series(["x", "y", "x"], dtype=pl.Categorical))
    await backend.put_arrow(frame)
    await backend.flush()
    found = pl.DataFrame(await backend.get_arrow())
    assert found.drop("category", strict=False).equals(frame.drop("category", strict=False))
    if lazy_types:
        assert found["category"].to_list() == ["x", "y", "x"]
    assert (await backend.get(1, 1))[0]["text"] is None


@pytest.mark.parametrize(
    "data",
    [None, 1, "text", {"a": [1]}, [{"a": 1}], np.arange(3), pa.array([1, 2]), pa.schema([])],
    ids=repr,
)
async def test_what_is_no_arrow_table_is_refused(backend: LanceBackend, data: Any) -> None:
    with pytest.raises(SchemaError):
        await backend.put_arrow(data)
    assert backend.total_count() == 0


UNFIT: dict[str, pa.Table] = {
    "another type": pa.table({"n": ["text"]}),
    "a type that would lose values": pa.table({"n": pa.array([2**63], pa.uint64())}),
    "a reserved name": pa.table({"_persisting_x": [1]}),
    "a list for a number": pa.table({"n": [[1]]}),
    "two columns of one name": pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["m", "m"]),
    "a union": pa.table(
        {"u": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1]), pa.array(["a"])])}
    ),
}


@pytest.mark.parametrize("case", UNFIT)
async def test_arrow_data_that_does_not_fit_stores_nothing(
    backend: LanceBackend, case: str
) -> None:
    await backend.put({"n": -1})
    before = (await backend.get_arrow()).schema
    with pytest.raises(SchemaError):
        await backend.put_arrow(UNFIT[case])
    with pytest.raises(SchemaError):
        await backend.put_arrow(chunked(pa.concat_tables([UNFIT[case]] * 2)))
    assert backend.total_count() == 1
    assert (await backend.get_arrow()).schema == before
    await backend.put({"n": 2})
    await backend.flush()
    assert await backend.get(9, 0) == [{"n": -1}, {"n": 2}]


async def test_tables_without_rows_are_taken(backend: LanceBackend) -> None:
    await backend.put_arrow(TABLE.slice(0, 0))
    await backend.put_arrow(TABLE.schema.empty_table().to_reader())
    assert backend.total_count() == 0
    assert (await backend.get_arrow()).num_rows == 0


async def test_records_and_arrow_data_share_a_bucket(backend: LanceBackend) -> None:
    await backend.put({"n": 1, "text": "a"})
    await backend.put_arrow(pa.table({"n": [2, None], "more": ["b", "c"]}))
    await backend.put_batch([{"n": 4}, {"more": "d"}, {"n": None}])
    want = [
        {"n": 1, "text": "a"},
        {"n": 2, "more": "b"},
        {"n": None, "more": "c"},
        {"n": 4},
        {"more": "d"},
        {"n": None},
    ]
    for _ in range(2):
        assert await backend.get(99, 0) == want
        table = await backend.get_arrow()
        assert table.column_names == ["n", "text", "more"]
        assert table["n"].to_pylist() == [1, 2, None, 4, None, None]
        await backend.flush()


async def test_a_second_column_set_is_null_in_older_rows(backend: LanceBackend) -> None:
    await backend.put_arrow(pa.table({"a": [1]}))
    await backend.flush()
    await backend.put_arrow(pa.table({"b": ["x"], "c": [{"d": 1}]}))
    await backend.compact()
    table = await backend.get_arrow()
    assert table.to_pylist() == [
        {"a": 1, "b": None, "c": None},
        {"a": None, "b": "x", "c": {"d": 1}},
    ]


async def test_metadata_of_fields_is_kept(
    opening: Opener, backend_class: Any, bucket: Path
) -> None:
    field = pa.field("n", pa.int64(), metadata={"unit": "metres", "": "ä"})
    async with backend_class(0, bucket) as backend:
        await backend.put_arrow(pa.table([pa.array([1])], schema=pa.schema([field])))
        await backend.flush()
    found = (await opening(backend_class, bucket).get_arrow()).schema
    assert found.field("n").metadata == {b"unit": b"metres", b"": "ä".encode()}


async def test_metadata_of_a_declared_schema_is_kept(backend_class: Any, bucket: Path) -> None:
    fields = [pa.field("n", pa.int64(), metadata={"unit": "m"})]
    for more in ({}, {"first": "1"}, {"first": "2", "second": "2"}):
        schema = pa.schema(fields, metadata=more)
        async with backend_class(0, bucket, schema=schema) as backend:
            await backend.put({"n": 1})
    for at in ("in the log", "in the table"):
        async with backend_class(0, bucket) as backend:
            found = (await backend.get_arrow()).schema
            assert found.metadata == {b"first": b"1", b"second": b"2"}, at
            assert found.field("n").metadata == {b"unit": b"m"}
            await backend.flush()


async def test_metadata_of_schemas_is_kept(
    opening: Opener, backend_class: Any, bucket: Path
) -> None:
    frame = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["x", "y"], name="key"))
    async with backend_class(0, bucket) as backend:
        await backend.put({"n": 0, "key": "w"})
        await backend.put_arrow(pa.Table.from_pandas(frame))
        first = (await backend.get_arrow()).schema.metadata
        assert first.keys() == {b"pandas"}
        await backend.flush()
        later = pa.table({"n": [3], "key": ["z"]}).replace_schema_metadata(
            {b"pandas": b"{}", b"lance": b"1", b"bytes": b"\xff", b"\xff": b""}
        )
        want = {**later.schema.metadata, **first}
        await backend.put_arrow(later)
        for step in (backend.flush, backend.compact, backend.flush):
            assert (await backend.get_arrow()).schema.metadata == want
            await step()
        await backend.add_column("more", pa.int64())
        await backend.rename_column("more", "less")
        await backend.cast_column("less", pa.float64())
        await backend.drop_column("less")
        assert (await backend.query(columns=["n"])).schema.metadata == want
    table = await opening(backend_class, bucket).get_arrow()
    assert table.schema.metadata == want
    assert table.to_pandas().loc["y", "n"] == 2
    assert lance.dataset(bucket / "data.lance").schema.metadata[b"pandas"] == first[b"pandas"]


async def test_blobs_come_back_as_bytes(opening: Opener, backend_class: Any, bucket: Path) -> None:
    field = pa.field("b", pa.large_binary(), metadata={"lance-encoding:blob": "true"})
    values = [b"small", None, b"large" * 300_000, b""]
    table = pa.table([pa.array(values, pa.large_binary())], schema=pa.schema([field]))
    async with backend_class(0, bucket) as backend:
        for step in (backend.flush, backend.compact, backend.flush):
            await backend.put_arrow(table)
            await step()
            assert (await backend.query(columns=["b"]))["b"].to_pylist()[:4] == values
    found = await opening(backend_class, bucket, cache_bytes=0).get_arrow()
    assert found.schema.equals(table.schema, check_metadata=True)
    assert found["b"].to_pylist() == values * 3
    assert lance.dataset(bucket / "data.lance").to_table()["b"].to_pylist() == values * 3


# ---- names ----

ODD = [
    "",
    " ",
    "a",
    "A",
    "a.b",
    "a.b.c",
    ".",
    "..",
    "_rowid",
    "_rowaddr",
    "_distance",
    "`x`",
    "`",
    '"',
    "'; drop table x",
    "\\",
    "new\nline",
    "tab\t",
    "ü",
    "\U0001f600",
    "key with spaces",
    "%s%d",
    "null",
    "x" * 300,
    "vector[0]",
    "persisting:name",
    "lance",
]


async def test_keys_may_be_odd(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path
) -> None:
    whole = {key: i for i, key in enumerate(ODD)}
    records: list[dict[str, Any]] = [
        whole,
        *({key: i} for i, key in enumerate(ODD)),
        {"nested": {key: [i] for i, key in enumerate(ODD)}},
        {key: None for key in ODD},
    ]
    backend = opening(backend_class, bucket)
    await backend.put_batch(records)
    await backend.flush()
    await backend.put_batch(records)
    await backend.compact()
    await backend.aclose()
    backend = opening(backend_class, bucket, cache_bytes=0)
    assert await backend.get(999, 0) == records * 2
    assert (await backend.get_arrow()).column_names[: len(ODD)] == ODD
    await backend.put({"a.b": 0.5, "_rowid": 1.5, "": -1.5})
    assert (await backend.get(1, 0))[0] == whole
    assert (await backend.get_by_indices([len(records) * 2]))[0]["a.b"] == 0.5


async def test_struct_fields_may_have_odd_names(backend: LanceBackend) -> None:
    names = [name for name in ODD if name]
    table = pa.table({"s": [dict.fromkeys(names, 1), dict.fromkeys(names, 2)]})
    await backend.put_arrow(table)
    for upkeep in (backend.flush, backend.compact, backend.flush):
        found = await backend.get_arrow()
        assert found.to_pylist() == table.to_pylist()
        await upkeep()


# ---- pylance ----


async def test_pylance_reads_the_table(backend: LanceBackend, bucket: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    records: list[dict[str, Any]] = [
        {"n": i, "text": f"t {i}", "list": [i, i + 1], "nested": {"a": i}, "array": array + i}
        for i in range(300)
    ]
    await backend.put_batch(records)
    await backend.flush()
    await backend.put_batch(records)
    await backend.flush()
    await backend.compact()
    dataset = lance.dataset(bucket / "data.lance")
    assert dataset.count_rows() == 600
    assert set(dataset.schema.names) >= {"n", "text", "list", "nested", "array"}
    table = dataset.to_table(columns=["n", "text", "list"])
    assert table.column("n").to_pylist() == [*range(300)] * 2
    assert table.column("text").to_pylist() == [f"t {i % 300}" for i in range(600)]
    assert dataset.to_table(filter="n = 7", columns=["text"]).to_pylist() == [{"text": "t 7"}] * 2
    assert dataset.take([599], columns=["n"]).to_pylist() == [{"n": 299}]


async def test_pylance_filters_inside_json(backend: LanceBackend, bucket: Path) -> None:
    await backend.put_batch([{"n": i, "nested": {"a": i % 3, "b": [i]}} for i in range(30)])
    await backend.flush()
    dataset = lance.dataset(bucket / "data.lance")
    found = dataset.to_table(filter="json_get_int(nested, 'a') = 2", columns=["n"])
    assert found.column("n").to_pylist() == [*range(2, 30, 3)]


async def test_the_row_ids_are_the_offsets(backend: LanceBackend, bucket: Path) -> None:
    for i in range(6):
        await backend.put_batch([{"n": 10 * i + j} for j in range(10)])
        await backend.flush()
    await backend.compact()
    table = lance.dataset(bucket / "data.lance").to_table(columns=["n"], with_row_id=True)
    assert table.column("n").to_pylist() == table.column("_rowid").to_pylist()
