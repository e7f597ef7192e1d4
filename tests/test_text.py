"""Text that is no UTF-8 is refused, whichever way it comes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from persisting import SchemaError
from tests.support import run

if TYPE_CHECKING:
    from pathlib import Path

    from persisting import LanceBackend
    from tests.support import Opener

BYTES = [b"ab", "é☃".encode(), b"\xe9\xff!", b"c"]


def text(kind: pa.DataType) -> pa.Array:
    """Return text of which row 2 is no UTF-8."""
    options = pc.CastOptions(target_type=kind, allow_invalid_utf8=True)
    source = pa.binary_view() if pa.types.is_string_view(kind) else pa.large_binary()
    return pc.cast(pa.array(BYTES, source), options=options)


def in_struct(array: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([pa.array(range(len(array))), array], ["n", "s"])


def in_list(array: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays([0, 1, 1, len(array)], array)


PLAIN = text(pa.string())
UNFIT: dict[str, tuple[pa.Array, str]] = {
    "string": (PLAIN, "column x, row 2"),
    "large_string": (text(pa.large_string()), "column x, row 2"),
    "string_view": (text(pa.string_view()), "column x, row 2"),
    "slice": (PLAIN.slice(1), "column x, row 1"),
    "struct": (in_struct(PLAIN), r"column x\.s, row 2"),
    "list": (in_list(PLAIN), r"column x\[\], row 2"),
    "list of views": (in_list(text(pa.string_view())), r"column x\[\], row 2"),
    "struct in a list": (in_list(in_struct(PLAIN)), r"column x\[\]\.s, row 2"),
    "dictionary": (pa.DictionaryArray.from_arrays([0, 2, 1], PLAIN), "column x, row 1"),
    "dictionary in a struct": (
        in_struct(pa.DictionaryArray.from_arrays([0, 2, 1], PLAIN)),
        r"column x\.s, row 1",
    ),
    "run-ends": (
        pa.Array.from_buffers(
            pa.run_end_encoded(pa.int32(), pa.string()),
            8,
            [None],
            children=[pa.array([2, 4, 6, 8], pa.int32()), PLAIN],
        ),
        "column x, row 4",
    ),
    "key of a map": (
        pa.MapArray.from_arrays([0, 1, 4], PLAIN, pa.array(range(4))),
        r"column x\[\]\.key, row 1",
    ),
    "value in a map": (
        pa.MapArray.from_arrays([0, 1, 4], pa.array(range(4)), PLAIN),
        r"column x\[\]\.value, row 1",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
async def test_put_arrow_refuses_it(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path, case: str
) -> None:
    array, place = UNFIT[case]
    backend = opening(backend_class, bucket)
    await backend.put({"n": 1})
    table = pa.table({"n": pa.array(range(len(array))), "x": array})
    for _ in range(2):
        with pytest.raises(
            SchemaError, match=f"{place}: text that is no UTF-8 at byte 0, 0xe9ff21"
        ):
            await backend.put_arrow(table)
    assert backend.total_count() == 1
    assert (await backend.get_arrow()).column_names == ["n"]
    await backend.put_arrow(table.slice(0, 1))
    await backend.flush()
    await backend.aclose()
    backend = opening(backend_class, bucket, cache_bytes=0)
    assert (await backend.get_arrow())["n"].to_pylist() == [1, 0]


async def test_it_is_refused_before_anything_is_stored(backend: LanceBackend) -> None:
    table = pa.table({"n": range(4), "x": PLAIN})
    parts = pa.concat_tables([table.slice(0, 2), table.slice(0, 1), table.slice(2)])
    with pytest.raises(SchemaError, match=r"column x, row 0: .*; rows are counted from row 3 of"):
        await backend.put_arrow(parts)
    assert backend.total_count() == 0
    assert (await backend.get_arrow()).column_names == []
    await backend.put_arrow(parts.slice(0, 3))
    assert (await backend.get_arrow())["n"].to_pylist() == [0, 1, 0]


LONE = "a\ud800b"
RECORDS: list[dict[str, Any]] = [
    {"s": LONE},
    {LONE: 1},
    {"s": [LONE]},
    {"s": {"a": LONE}},
    {"s": {LONE: 1}},
    {"new": [{"a": [LONE]}]},
]


@pytest.mark.parametrize("record", RECORDS, ids=repr)
async def test_records_with_half_a_surrogate_pair_are_refused(
    backend: LanceBackend, record: dict[str, Any]
) -> None:
    with pytest.raises(SchemaError):
        await backend.put(record)
    for i in range(100):  # so many that puts go the short way
        await backend.put({"s": f"text {i}"})
    with pytest.raises(SchemaError):
        await backend.put(record)
    with pytest.raises(SchemaError):
        await backend.put_batch([{"s": "sound"}, record])
    assert backend.total_count() == 100
    await backend.put({"s": "é☃😀"})
    await backend.flush()
    assert (await backend.get(1, 100)) == [{"s": "é☃😀"}]


async def test_names_that_are_no_utf8_are_refused(backend: LanceBackend) -> None:
    ints = pa.array([1])
    bad = pa.field(b"\xff", pa.int64())
    tables = [
        pa.Table.from_arrays([ints], schema=pa.schema([bad])),
        pa.table({"s": pa.StructArray.from_arrays([ints], fields=[bad])}),
    ]
    for table in tables:
        with pytest.raises(SchemaError, match="UTF-8"):
            await backend.put_arrow(table)
    assert backend.total_count() == 0


def test_import_refuses_it(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(4), "s": PLAIN}), tmp_path / "x.parquet")
    persisting = [sys.executable, "-m", "persisting"]
    done = run([*persisting, "import", str(tmp_path / "b"), str(tmp_path / "x.parquet")])
    assert done.returncode == 2
    assert "column s, row 2: text that is no UTF-8" in done.stderr
    done = run([*persisting, "head", str(tmp_path / "b")])
    assert "\ufffd" not in done.stdout + done.stderr
