"""Whatever type a column has: it is refused in words, or it is stored and comes back."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from persisting import PersistingBackend, SchemaError
from tests import arrow_types
from tests.arrow_life import Life, live, plain
from tests.support import QUIET

if TYPE_CHECKING:
    from pathlib import Path

types = pa.types


def refused(kind: pa.DataType) -> bool:
    """Tell, apart from the package, whether a type is one that no bucket holds."""
    if isinstance(kind, pa.BaseExtensionType):
        storage = kind.storage_type
        return refused(storage) or plain(storage) != storage
    if types.is_union(kind) or types.is_interval(kind) or "decimal32" in str(kind):
        return True
    if "decimal64" in str(kind):
        return True
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return refused(kind.value_type)
    if types.is_map(kind):
        metadata = kind.key_field.metadata or kind.item_field.metadata
        inside = refused(kind.key_type) or refused(kind.item_type)
        return bool(kind.keys_sorted or metadata or inside or _extension(kind.item_type))
    if types.is_fixed_size_list(kind):
        return not _has_width(plain(kind.value_type)) or refused(kind.value_type)
    if not types.is_nested(kind):
        return False
    fields = [kind.field(i) for i in range(kind.num_fields)]
    return not fields or any(refused(field.type) for field in fields)


def _extension(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType)


def _has_width(kind: pa.DataType) -> bool:
    """Tell whether all values of a type take the same number of bits."""
    if isinstance(kind, pa.BaseExtensionType):
        return _has_width(kind.storage_type)
    if types.is_fixed_size_list(kind):
        return _has_width(kind.value_type)
    widths = (types.is_primitive, types.is_decimal, types.is_fixed_size_binary)
    return any(is_one(kind) for is_one in widths)


def columns(random: Random, count: int, rows: int) -> dict[str, pa.Array]:
    """Return columns of random types."""
    found = {}
    for i in range(count):
        kind = arrow_types.random_type(random, 3)
        nulls = random.choice((0.0, 0.2, 0.2, 0.9))
        found[f"x{i}"] = arrow_types.random_array(random, kind, rows, nulls)
    return found


async def check_seed(path: Path, seed: int) -> None:
    random = Random(seed)
    rows = random.choice((1, 2, 7, 40))
    every = columns(random, 6, rows)
    stored = {name: array for name, array in every.items() if not refused(array.type)}
    for name in every.keys() - stored.keys():
        backend = Life.open(path / name)
        await backend.put({"z": 1})
        with pytest.raises(SchemaError, match=f"{name}\\b"):
            await backend.put_arrow(pa.table({"z": pa.nulls(rows), name: every[name]}))
        assert await backend.get(9, 0) == [{"z": 1}]
        await backend.flush()
        assert (await backend.get_arrow()).column_names == ["z"]
        await backend.aclose()
    if stored:
        names = sorted(stored)
        half = len(names) // 2 + 1
        later = pa.table({name: stored[name] for name in names[1:]})
        await live(path / "life", pa.table({name: stored[name] for name in names[:half]}), later)


@pytest.mark.parametrize("seed", range(12))
async def test_every_type(tmp_path: Path, seed: int) -> None:
    await check_seed(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(26))
async def test_every_type_again(tmp_path: Path, block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        await check_seed(tmp_path / str(seed), seed)


LEAVES = (*arrow_types.LEAVES, *arrow_types.EXTENSIONS)


@pytest.mark.parametrize("inside", ["alone", "struct", "list", "list of structs"])
async def test_every_leaf(tmp_path: Path, inside: str) -> None:
    random = Random(inside)
    wrap = {
        "alone": lambda kind: kind,
        "struct": lambda kind: pa.struct([("a", pa.string()), ("b", kind)]),
        "list": pa.list_,
        "list of structs": lambda kind: pa.list_(pa.struct([("b", kind)])),
    }[inside]
    every = {}
    for i, leaf in enumerate(LEAVES):
        kind = wrap(leaf)
        if not refused(kind) and not types.is_null(kind):
            every[f"x{i}"] = arrow_types.random_array(random, kind, 9, 0.3)
    assert len(every) > 40
    await live(tmp_path / "life", pa.table(every), pa.table(every).slice(3))


# ---- wide and long values ----


async def check_big(path: Path, table: pa.Table) -> bool:
    """Store values beside rows without, or have them refused and nothing stored."""
    backend = Life.open(path)
    await backend.put({"z": 1})
    try:
        await backend.put_arrow(table)
    except SchemaError:
        assert backend.total_count() == 1
        await backend.aclose()
        return False
    await backend.put({"z": 2})
    await backend.flush()
    await backend.put_arrow(table)
    await backend.flush()
    await backend.compact()
    await backend.aclose()
    async with PersistingBackend(0, path, **QUIET, cache_bytes=0) as backend:
        found = await backend.get_arrow()
    for name, column in zip(table.column_names, table.columns, strict=True):
        array, null = column.combine_chunks(), pa.nulls(1, column.type)
        assert found[name].equals(pa.chunked_array([null, array, null, array])), name
    return True


def vectors(item: pa.Array, width: int, nulls: bool) -> pa.Array:
    """Return three vectors, of which one is null."""
    items = item.take(pa.array([i % len(item) for i in range(3 * width)]))
    if nulls:
        items = pa.concat_arrays([items.slice(1), pa.nulls(1, item.type)])
    return pa.FixedSizeListArray.from_arrays(items, width, mask=pa.array([False, True, False]))


ITEMS = {
    "bool": pa.array([True, False, True]),
    "int8": pa.array([1, -2, 3], pa.int8()),
    "half": pa.array([1.5, -2.0], pa.float16()),
    "double": pa.array([1.5, -2.0]),
    "decimal": pa.array([1, 2], pa.decimal256(50, 2)),
    "binary of 3": pa.array([b"abc", b"\0\0\0"], pa.binary(3)),
    "bools": vectors(pa.array([True, False]), 3, False).slice(2),
    "ints": vectors(pa.array([1, 2]), 5, False).slice(2),
}
WIDTHS = (1, 8, 255, 256, 257, 4092, 4093, 4096, 16368, 16376, 32736, 32744, 40_000, 100_001)


async def check_widths(path: Path, item: str, widths: tuple[int, ...]) -> None:
    for width in widths:
        for nulls in (False, True):
            array = vectors(ITEMS[item], width, nulls)
            columns = {
                "alone": array,
                "struct": pa.StructArray.from_arrays([array], ["v"]),
                "list": pa.ListArray.from_arrays([0, 2, 2, 3], array),
            }
            for name, column in columns.items():
                file = path / f"{width} {nulls} {name}"
                if "bool" in item and width > 1000:
                    await check_big(file, pa.table({name: column}))
            if "bool" not in item or width < 1000:
                assert await check_big(path / f"{width} {nulls}", pa.table(columns))


@pytest.mark.parametrize("item", ITEMS)
async def test_vectors_of_some_widths(tmp_path: Path, item: str) -> None:
    await check_widths(tmp_path, item, (8, 257, 4093, 40_000))


@pytest.mark.slow
@pytest.mark.parametrize("item", ITEMS)
async def test_vectors_of_every_width(tmp_path: Path, item: str) -> None:
    await check_widths(tmp_path, item, WIDTHS)


MANY = 300_000
LONG: dict[str, pa.Array] = {
    "nulls": pa.nulls(MANY),
    "bools": ITEMS["bool"].take(pa.array([i % 3 for i in range(MANY)])),
    "ints": pa.array(range(MANY), pa.int32()),
    "texts": pa.array([f"text {i % 1000}" for i in range(MANY)]),
    "empty texts": pa.array([""] * MANY),
    "empty lists": pa.array([[]] * MANY, pa.list_(pa.int8())),
    "null lists": pa.nulls(MANY, pa.list_(pa.int8())),
    "lists": pa.array([[1], None, [], [2, None]] * (MANY // 4), pa.list_(pa.int8())),
    "structs": pa.array([{"a": 1}, None, {"a": None}] * (MANY // 3)),
    "long text": pa.array(["x" * 5_000_000, None, ""]),
    "long bytes": pa.array([b"\xff" * 5_000_000, None, b"y"], pa.large_binary()),
}


@pytest.mark.parametrize("name", LONG)
async def test_long_lists(tmp_path: Path, name: str) -> None:
    items = LONG[name]
    lists = pa.ListArray.from_arrays([0, 0, len(items) - 1, len(items)], items)
    inside = pa.StructArray.from_arrays([lists], ["l"])
    assert await check_big(tmp_path / "lists", pa.table({"lists": lists, "inside": inside}))
    short = pa.StructArray.from_arrays([items.slice(0, 5000)], ["i"])
    assert await check_big(tmp_path / "struct", pa.table({"x": short}))
