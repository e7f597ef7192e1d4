"""What the libraries hold returns to what it was, and columns are not copied."""

from __future__ import annotations

import ctypes
import gc
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from persisting._engine import functions, library
from persisting._engine.bucket import Bucket
from persisting._errors import PersistingError, SchemaError
from tests.abi import Exported, rows, world
from tests.support import QUIET, command, eventually, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Live(ctypes.Structure):
    """`struct pn_live`."""

    _fields_ = (
        ("tables", ctypes.c_int64),
        ("snapshots", ctypes.c_int64),
        ("readers", ctypes.c_int64),
        ("strings", ctypes.c_int64),
    )


class Held(NamedTuple):
    """What the libraries hold."""

    handles: int
    allocated: int
    pyarrow: int
    native: tuple[int, ...]


def held() -> Held:
    gc.collect()
    native = ctypes.CDLL(str(library.LIBRARY.with_name("libpersisting_native.so")))
    live = Live()
    assert native.pn_live_objects(ctypes.byref(live), None) == 0
    counts = tuple(getattr(live, name) for name, _ in Live._fields_)
    return Held(*functions.library_usage(), pa.total_allocated_bytes(), counts)


@pytest.fixture
def bracket() -> Iterator[None]:
    """Fail when the test leaves more behind than it found."""
    before = held()
    yield
    eventually(lambda: held() == before)
    assert held() == before


def open_and_close(path: Path) -> None:
    Bucket(path, QUIET).close()


def append_and_close(path: Path) -> None:
    with Bucket(path, QUIET) as bucket:
        for i in range(20):
            bucket.append(rows(100, 100 * i), wait_ns=-1)


def read_from_memory(path: Path) -> None:
    with Bucket(path, QUIET) as bucket:
        for i in range(20):
            bucket.append(rows(10, 10 * i), wait_ns=-1)
        for _ in range(3):
            with bucket.read(5, 190) as cursor:
                assert sum(batch.num_rows for batch in cursor) == 190 or bucket.acknowledged() > 200
        with bucket.take([3, 100, 3]) as cursor:
            assert [n for batch in cursor for n in batch["n"].to_pylist()] == [3, 100, 3]


def read_from_disk(path: Path) -> None:
    with Bucket(path, {**QUIET, "cache_bytes": 0}) as bucket:
        bucket.append(rows(40_000), wait_ns=-1)
        bucket.flush()
        with bucket.read(0, 40_000) as cursor:
            assert sum(batch.num_rows for batch in cursor) == 40_000
        with bucket.take([39_999, 0]) as cursor:
            assert [n for batch in cursor for n in batch["n"].to_pylist()] == [39_999, 0]


def leave_reads_unfinished(path: Path) -> None:
    with Bucket(path, {**QUIET, "cache_bytes": 0}) as bucket:
        bucket.append(rows(40_000), wait_ns=-1)
        bucket.flush()
        bucket.append(rows(10, 40_000), wait_ns=-1)
        for count in (0, 1, 3):
            with bucket.read(0, 40_010) as cursor:
                for _ in zip(range(count), cursor, strict=False):
                    pass


def change_the_schema(path: Path) -> None:
    with Bucket(path, QUIET) as bucket:
        if not bucket.acknowledged():
            bucket.append(pa.RecordBatch.from_pydict({"x": [1, 2]}), wait_ns=-1)
        bucket.append(pa.RecordBatch.from_pydict({"x": [0.5], "new": [b"y"]}), wait_ns=-1)
        bucket.flush()
        bucket.append(pa.RecordBatch.from_pydict({"newer": [True]}), wait_ns=-1)
        assert bucket.schema().names == ["x", "new", "newer"]
        with bucket.read(0, 4) as cursor:
            back = pa.Table.from_batches(cursor, cursor.schema)
        assert back["x"].to_pylist()[:3] == [1.0, 2.0, 0.5]


def flush_and_compact(path: Path) -> None:
    with Bucket(path, QUIET) as bucket:
        for i in range(5):
            bucket.append(rows(100, 100 * i), wait_ns=-1)
            bucket.flush()
        bucket.compact()
        bucket.stats()


def refused_appends(path: Path) -> None:
    with Bucket(path, QUIET) as bucket:
        bucket.append(rows(10), wait_ns=-1)
        for _ in range(10):
            with pytest.raises(SchemaError):
                bucket.append(pa.RecordBatch.from_pydict({"n": ["text"]}))


def refused_opens(path: Path) -> None:
    with Bucket(path, QUIET):
        for _ in range(10):
            with pytest.raises(PersistingError):
                Bucket(path, {})
            with pytest.raises(PersistingError):
                Bucket(path, {"no": 1})


CYCLES: tuple[Callable[[Path], None], ...] = (
    open_and_close,
    append_and_close,
    read_from_memory,
    read_from_disk,
    leave_reads_unfinished,
    change_the_schema,
    flush_and_compact,
    refused_appends,
    refused_opens,
)


@pytest.mark.usefixtures("bracket")
@pytest.mark.parametrize("cycle", CYCLES, ids=lambda cycle: cycle.__name__)
def test_nothing_is_left_behind(tmp_path: Path, cycle: Callable[[Path], None]) -> None:
    for _ in range(2):
        cycle(tmp_path / "bucket")
    cycle(tmp_path / "another")


@pytest.mark.usefixtures("bracket")
def test_nothing_is_left_behind_by_calls_that_fail(tmp_path: Path) -> None:
    with world(tmp_path) as w:
        for _ in range(3):
            for change in (
                {"flags": 1 << 20},
                {"out_first": None},
                {"bucket": 1},
                {"bucket": w.cursor},
            ):
                assert w.call("persisting_bucket_append", batch=Exported(), **change).status
            assert w.call("persisting_bucket_take", out_cursor=None).status
            assert w.call("persisting_bucket_read", out_schema_version=None).status


def test_a_bracket_notices_what_is_left(tmp_path: Path) -> None:
    before = held()
    bucket = Bucket(tmp_path, QUIET)
    bucket.append(rows(1000), wait_ns=-1)
    bucket.flush()
    assert held().handles == before.handles + 1
    assert held().pyarrow > before.pyarrow
    assert sum(held().native) > sum(before.native)
    bucket.close()
    assert eventually(lambda: held() == before)


def addresses(data: pa.RecordBatch | pa.Table) -> set[int]:
    """Return where the buffers of the columns lie."""
    chunks = [
        chunk
        for column in data.columns
        for chunk in (column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    ]
    return {buffer.address for chunk in chunks for buffer in chunk.buffers() if buffer is not None}


def test_rows_in_memory_are_read_where_they_were_put(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_pydict(
        {
            "numbers": np.arange(10_000),
            "texts": [f"text {i}" for i in range(10_000)],
            "lists": [[i, None] for i in range(10_000)],
            "nested": [{"a": i, "b": [str(i)]} for i in range(10_000)],
            "some": [None if i % 3 else i / 2 for i in range(10_000)],
        }
    )
    with Bucket(tmp_path, QUIET) as bucket:
        bucket.append(batch, wait_ns=-1)
        with bucket.read(0, 10_000) as cursor:
            (back,) = cursor
        assert back.equals(batch)
        assert addresses(back) == addresses(batch)
        with bucket.read(100, 50) as cursor:
            (part,) = cursor
        assert part.equals(batch.slice(100, 50))
        assert addresses(part) <= addresses(batch)


@pytest.mark.parametrize("backend", ["LanceBackend", "PersistingBackend"])
def test_a_large_column_is_not_copied_on_its_way(tmp_path: Path, backend: str) -> None:
    done = run(command("zero_copy", backend, tmp_path), timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("ok\n")
