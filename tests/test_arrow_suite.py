"""Arrow's own test data: the schemas of its integration suite, and files that come with pyarrow."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from persisting import LanceBackend, SchemaError
from tests import arrow_types
from tests.arrow_life import live

if TYPE_CHECKING:
    from collections.abc import Callable

types = pa.types
INTS = arrow_types.INTEGERS


def _fields(kinds: list[pa.DataType]) -> list[pa.Field]:
    """Return each type twice: nullable and not, as the suite has them."""
    return [
        pa.field(f"{i}_{nullable}", kind, nullable)
        for i, kind in enumerate(kinds)
        for nullable in (True, False)
    ]


def _nested_dictionary() -> list[pa.Field]:
    text = pa.dictionary(pa.int8(), pa.string())
    inner = pa.list_(pa.dictionary(pa.int32(), pa.string()))
    return [
        pa.field("str_dict", text),
        pa.field("list_dict", pa.dictionary(pa.int8(), inner)),
        pa.field("struct_dict", pa.dictionary(pa.int8(), pa.struct([("a", text), ("b", text)]))),
    ]


STORED: dict[str, list[pa.Field]] = {
    "primitive": _fields(
        [pa.bool_(), *INTS, pa.float32(), pa.float64(), pa.binary(), pa.string(), pa.binary(19)]
    ),
    "large_primitive": _fields([pa.large_binary(), pa.large_string()]),
    "decimal": [pa.field(f"f{p}", pa.decimal128(p, 2)) for p in range(3, 39)],
    "decimal256": [pa.field(f"f{p}", pa.decimal256(p, 5)) for p in range(37, 70)],
    "datetime": _fields([kind for kind in arrow_types.TIMES if not types.is_duration(kind)]),
    "duration": _fields([kind for kind in arrow_types.TIMES if types.is_duration(kind)]),
    "map": [pa.field("map_nullable", pa.map_(pa.string(), pa.int32()))],
    "nested": [
        pa.field("list_nullable", pa.list_(pa.int32())),
        pa.field("fixedsizelist_nullable", pa.list_(pa.int32(), 4)),
        pa.field("struct_nullable", pa.struct([("f1", pa.int32()), ("f2", pa.string())])),
        pa.field("list_nonnullable", pa.list_(pa.int32()), nullable=False),
    ],
    "recursive_nested": [
        pa.field("lists_list", pa.list_(pa.list_(pa.int16()))),
        pa.field("structs_list", pa.list_(pa.struct([("f1", pa.int32()), ("f2", pa.string())]))),
    ],
    "nested_large_offsets": [
        pa.field("large_list_nullable", pa.large_list(pa.int32())),
        pa.field("large_list_nonnullable", pa.large_list(pa.int32()), nullable=False),
        pa.field("large_list_nested", pa.large_list(pa.large_list(pa.int16()))),
    ],
    "custom_metadata": [
        pa.field("sort_of_pandas", pa.int8(), metadata={"lots_of_json": '{"a": ["b"]}', "e": ""}),
        pa.field("list", pa.list_(pa.field("item", pa.int8(), metadata={"a": "b"}))),
    ],
    "dictionary": [
        pa.field("dict0", pa.dictionary(pa.int8(), pa.string())),
        pa.field("dict1", pa.dictionary(pa.int32(), pa.string())),
        pa.field("dict2", pa.dictionary(pa.int16(), pa.int64())),
    ],
    "dictionary_unsigned": [
        pa.field(f"f{width}", pa.dictionary(width, pa.string()))
        for width in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
    ],
    "nested_dictionary": _nested_dictionary(),
    "run_end_encoded": [
        pa.field(f"f{i}", pa.run_end_encoded(ends, kind))
        for i, (ends, kind) in enumerate(
            [(pa.int16(), pa.string()), (pa.int32(), pa.int64()), (pa.int64(), pa.float32())]
        )
    ],
    "binary_view": [pa.field("bv", pa.binary_view()), pa.field("sv", pa.string_view())],
    "list_view": [
        pa.field("lv", pa.list_view(pa.float32())),
        pa.field("llv", pa.large_list_view(pa.float32())),
    ],
    "extension": [pa.field(f"e{i}", kind) for i, kind in enumerate(arrow_types.EXTENSIONS)],
}

REFUSED: dict[str, tuple[pa.DataType, str]] = {
    "interval_mdn": (pa.month_day_nano_interval(), "make a duration of it"),
    "union, sparse": (
        pa.sparse_union([pa.field("a", pa.int32()), pa.field("b", pa.string())]),
        "make a field of a struct",
    ),
    "union, dense": (pa.dense_union([pa.field("a", pa.int16())]), "make a field of a struct"),
    "map, sorted": (pa.map_(pa.string(), pa.int32(), keys_sorted=True), "sorted keys"),
    "struct without fields": (pa.struct([]), "without fields"),
}
if hasattr(pa, "decimal32"):
    REFUSED["decimal32"] = pa.decimal32(7, 3), "cast it to decimal128"
    REFUSED["decimal64"] = pa.decimal64(16, 3), "cast it to decimal128"

METADATA = {b"custom_metadata": b'{"a": 1}', b"": b"", b"bytes": b"\xff\x00"}


def _table(random: Random, fields: list[pa.Field], rows: int) -> pa.Table:
    arrays = [
        arrow_types.random_array(random, f.type, rows, 0.3 if f.nullable else 0.0) for f in fields
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, METADATA))


@pytest.mark.parametrize("name", STORED)
async def test_schemas_of_the_suite(tmp_path: Path, name: str) -> None:
    random = Random(name)
    later = [field.with_name(f"later {field.name}") for field in STORED[name]]
    first = _table(random, STORED[name], 17)
    await live(tmp_path / "life", first, _table(random, [*STORED[name], *later], 20))


@pytest.mark.parametrize("name", REFUSED)
async def test_what_of_the_suite_is_refused(backend: LanceBackend, name: str) -> None:
    kind, why = REFUSED[name]
    for outer in (kind, pa.list_(kind)):
        batch = _table(Random(0), [pa.field("x", outer)], 3)
        with pytest.raises(SchemaError, match=f"\\bx\\b.*{why}"):
            await backend.put_arrow(batch)
    assert backend.total_count() == 0


async def test_nulls_of_the_suite_are_absent_columns(backend: LanceBackend) -> None:
    table = pa.table({"f0": pa.nulls(3), "f1": pa.array([1, 2, None]), "f2": pa.nulls(3)})
    await backend.put_arrow(table)
    await backend.flush()
    assert (await backend.get_arrow()).equals(table.select(["f1"]))
    assert await backend.get(9, 0) == table.to_pylist()


async def test_a_name_twice_is_refused(backend: LanceBackend) -> None:
    ints = pa.array([1])
    twice = pa.table([ints, ints], names=["ints", "ints"])
    inside = pa.table({"x": pa.StructArray.from_arrays([ints, ints], names=["ints", "ints"])})
    for table in (twice, inside):
        with pytest.raises(SchemaError, match="ints"):
            await backend.put_arrow(table)
    assert backend.total_count() == 0


async def test_tables_of_no_rows_leave_nothing(backend: LanceBackend) -> None:
    await backend.put_arrow(_table(Random(0), STORED["primitive"], 0))
    assert backend.total_count() == 0
    await backend.flush()


DATA = Path(pa.__file__).parent / "tests" / "data"
READ: dict[str, Callable[[Any], pa.Table]] = {
    ".parquet": pq.read_table,
    ".orc": orc.read_table,
    ".feather": feather.read_table,
}
FILES = sorted(file for file in DATA.rglob("*") if file.suffix in READ)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
async def test_files_of_pyarrow(tmp_path: Path, file: Path) -> None:
    table = READ[file.suffix](file).slice(0, 300)
    if table.num_rows:
        await live(tmp_path / "life", table, table.slice(1))


def test_pyarrow_brings_files() -> None:
    assert len({file.suffix for file in FILES}) == 3
