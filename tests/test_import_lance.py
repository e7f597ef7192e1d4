"""Lance tables of other programs, brought into buckets."""

from __future__ import annotations

import asyncio
import datetime
import pickle
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest

from persisting import PersistingBackend
from persisting._engine.bucket import Bucket
from persisting._records import RecordDecoder, strip
from tests.support import QUIET
from tests.test_cli import files
from tests.test_cli_rows import Shell

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shell(capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(capfdbinary)


def rows(first: int, end: int) -> pa.Table:
    """Return rows of many types."""
    numbers = range(first, end)
    item = {"a": [1, 2], "b": "x"}
    return pa.table(
        {
            "n": pa.array(numbers, pa.int64()),
            "small": pa.array([n % 100 for n in numbers], pa.uint8()),
            "score": pa.array([n / 2 if n % 3 else None for n in numbers], pa.float32()),
            "text": [f"text {n} é" for n in numbers],
            "raw": [bytes([n % 256]) for n in numbers],
            "yes": [n % 2 == 0 for n in numbers],
            "tokens": [[n, n + 1] if n % 5 else None for n in numbers],
            "vector": pa.array([[n, 1, 2] for n in numbers], pa.list_(pa.float32(), 3)),
            "nested": [item for _ in numbers],
            "when": [datetime.datetime(2026, 1, 1, 0, n % 60) for n in numbers],
            "price": pa.array([Decimal(f"{n}.25") for n in numbers], pa.decimal128(12, 2)),
            "kind": pa.array([f"kind {n % 3}" for n in numbers]).dictionary_encode(),
        }
    )


def contents(bucket: Path) -> pa.Table:
    with Bucket(bucket, {**QUIET, "enable_wal": False}) as table, table.read(0, 10**9) as cursor:
        return strip(pa.Table.from_batches(cursor, cursor.schema))


def dicts(bucket: Path) -> list[dict[str, Any]]:
    with Bucket(bucket, {**QUIET, "enable_wal": False}) as table, table.read(0, 10**9) as cursor:
        return RecordDecoder().decode(cursor)


def brought_in(shell: Shell, path: Path, *options: str) -> Path:
    """Import a table into a new bucket, and see that it is as it was."""
    before = files(path)
    want = lance.dataset(str(path)).to_table()
    bucket = path.parent / f"new {path.name}"
    (done,) = shell.json("import", bucket, path, *options)
    assert done["rows"] == want.num_rows
    assert files(path) == before
    assert shell.errors == ""
    got = contents(bucket)
    assert got.num_rows == want.num_rows
    assert got.to_pylist() == want.to_pylist()
    assert shell.json("verify", bucket)[0]["sound"]
    return bucket


@pytest.mark.parametrize("version", ["legacy", "2.0", "2.1", "2.2"])
@pytest.mark.parametrize("stable", [False, True])
def test_tables_of_pylance(tmp_path: Path, shell: Shell, version: str, stable: bool) -> None:
    path = tmp_path / "table.lance"
    options: dict[str, Any] = {"data_storage_version": version, "enable_stable_row_ids": stable}
    # A legacy table has one dictionary for all of its files.
    left_out = ["kind"] if version == "legacy" else []
    lance.write_dataset(rows(0, 500).drop(left_out), path, max_rows_per_file=64, **options)
    for first in (500, 9_500):
        more = rows(first, first + 9_000).drop(left_out)
        lance.write_dataset(more, path, mode="append", **options)
    dataset = lance.dataset(str(path))
    dataset.delete("n % 7 = 3 OR (n > 100 AND n < 300)")
    bucket = brought_in(shell, path)
    assert contents(bucket).column("n").to_pylist() == [
        n for n in range(18_500) if n % 7 != 3 and not 100 < n < 300
    ]
    assert contents(bucket).schema.field("vector").type == pa.list_(pa.float32(), 3)


def test_a_table_that_was_compacted_and_changed(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "table.lance"
    for first in range(0, 50, 10):
        lance.write_dataset(rows(first, first + 10), path, mode="append" if first else "create")
    dataset = lance.dataset(str(path))
    dataset.delete("n = 13")
    dataset.add_columns({"double": "n * 2"})
    dataset.drop_columns(["raw"])
    dataset.optimize.compact_files()
    dataset.create_scalar_index("n", "BTREE")
    dataset.tags.create("now", dataset.version)
    brought_in(shell, path)


def test_a_table_of_lancedb(tmp_path: Path, shell: Shell) -> None:
    table = lancedb.connect(str(tmp_path)).create_table(
        "mine", [{"vector": np.arange(4, dtype="float32"), "text": f"t{i}"} for i in range(20)]
    )
    table.add([{"vector": np.zeros(4, "float32"), "text": "more"}])
    table.delete("text = 't3'")
    brought_in(shell, tmp_path / "mine.lance")


def test_a_directory_of_persisting_0_3_0(tmp_path: Path, shell: Shell) -> None:
    """It wrote what is no plain value as bytes of pickle, and they stay that."""
    old = tmp_path / "bucket_0"
    old.mkdir()
    table = pa.table({"id": ["a", "b"], "info": [pickle.dumps({"x": 1}), None]})
    lance.write_dataset(table, old / "data.lance", mode="create")
    shell("import", tmp_path / "new", old, status=2)
    assert f"name the table, {old / 'data.lance'}" in shell.errors
    bucket = brought_in(shell, old / "data.lance")
    assert [pickle.loads(r["info"]) for r in dicts(bucket) if r["info"] is not None] == [{"x": 1}]


async def test_the_table_of_a_bucket_that_is_open(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "bucket_0"
    records = [{"n": n, "info": {"a": [n, None]}, "a.b": n, "`": "x"} for n in range(20)]
    async with PersistingBackend(0, path, **QUIET) as bucket:
        await bucket.put_batch(records)
        await bucket.flush()
        await bucket.put({"n": -1})
        (done,) = await asyncio.to_thread(
            shell.json, "import", tmp_path / "new", path / "data.lance"
        )
        assert done["rows"] == len(records)
    assert dicts(tmp_path / "new") == records


def test_into_a_bucket_that_is_there(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "table.lance"
    lance.write_dataset(rows(0, 20_000), path)
    shell("import", tmp_path / "bucket", path)
    (done,) = shell.json("import", tmp_path / "bucket", path, "--skip", 19_990)
    assert (done["first_offset"], done["rows"]) == (20_000, 10)
    assert contents(tmp_path / "bucket").column("n").to_pylist()[-11:] == [
        19_999,
        *range(19_990, 20_000),
    ]
    (tmp_path / "lines.jsonl").write_text('{"n": "text"}\n')
    shell("import", tmp_path / "other", tmp_path / "lines.jsonl")
    shell("import", tmp_path / "other", path, status=2)
    assert "'n'" in shell.errors or '"n"' in shell.errors
    assert "the first 0 rows of the file are stored" in shell.errors


def test_progress_is_shown(tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.lance"
    lance.write_dataset(rows(0, 20_000), path)
    seen: list[tuple[float, float | None]] = []

    def update(_: object, done: float, total: float | None, text: str) -> None:
        seen.append((done, total))

    monkeypatch.setattr("persisting._cli.import_.Bar.update", update)
    shell("import", tmp_path / "bucket", path)
    assert [total for _, total in seen] == [20_000] * len(seen)
    assert len(seen) > 1
    assert seen[-1][0] == 20_000


@pytest.mark.parametrize("broken", ["a manifest", "a data file", "no data file"])
def test_a_damaged_table(tmp_path: Path, shell: Shell, broken: str) -> None:
    path = tmp_path / "table.lance"
    lance.write_dataset(rows(0, 100), path)
    (file,) = path.glob("_versions/*.manifest" if broken == "a manifest" else "data/*.lance")
    if broken == "no data file":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:20])
    before = files(path)
    shell("import", tmp_path / "new", path, status=2)
    assert str(path) in shell.errors
    assert "Traceback" not in shell.errors
    assert files(path) == before
    assert not (tmp_path / "new").exists()


def test_an_empty_table(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "table.lance"
    lance.write_dataset(rows(0, 10), path)
    lance.dataset(str(path)).delete("true")
    assert shell.json("import", tmp_path / "new", path)[0]["rows"] == 0
