"""A bucket as other tools see it, which know nothing of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import lance
import lancedb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from lance.file import LanceFileReader

from persisting import PersistingBackend

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = [
    {
        "env": f"cartpole-{i % 2}",
        "step": i,
        "reward": i / 2,
        "done": i == 9,
        "tokens": [i, i + 1],
        "info": {"seed": i},
        "a.b": i,
    }
    for i in range(10)
]
TYPES = {
    "env": pa.string(),
    "step": pa.int64(),
    "reward": pa.float64(),
    "done": pa.bool_(),
    "tokens": pa.list_(pa.int64()),
    "a%2Eb": pa.int64(),  # Lance has no names with dots
}


@pytest.fixture
async def table(tmp_path: Path) -> Path:
    """A bucket that was written, changed and closed."""
    async with PersistingBackend(0, tmp_path / "bucket") as backend:
        await backend.put_batch(RECORDS[:5])
        await backend.flush()
        await backend.put_batch(RECORDS[5:])
        await backend.snapshot("ten")
        await backend.delete("step = 3")
    return tmp_path / "bucket" / "data.lance"


LEFT = [step for step in range(10) if step != 3]


def test_pylance(table: Path) -> None:
    dataset = lance.dataset(str(table))
    found = {field.name: field.type for field in dataset.schema}
    assert found.pop("info") in (pa.json_(), pa.string(), pa.large_binary())
    assert found == TYPES
    rows = dataset.to_table(columns=["step", "reward"], filter="reward >= 1", with_row_id=True)
    assert sorted(rows["_rowid"].to_pylist()) == sorted(rows["step"].to_pylist()) == LEFT[2:]
    info = dataset.to_table(columns={"seed": "json_get_int(info, 'seed')"})
    assert sorted(info["seed"].to_pylist()) == LEFT
    assert lance.dataset(str(table), version="ten").count_rows() == 10


def test_lancedb(table: Path) -> None:
    opened = lancedb.connect(table.parent).open_table("data")
    assert opened.count_rows() == 9
    found = opened.search().where("env = 'cartpole-1'").select(["step"]).to_arrow()
    assert sorted(found["step"].to_pylist()) == [step for step in LEFT if step % 2]


@pytest.mark.parametrize("kind", ["btree", "bitmap", "zonemap", "bloom_filter"])
async def test_indexes_of_lancedb(tmp_path: Path, kind: str) -> None:
    async with PersistingBackend(0, tmp_path / "bucket") as backend:
        await backend.put_batch([{"step": i} for i in range(2000)])
        await backend.create_index("step", kind)
        await backend.put_batch([{"step": i} for i in range(100)])
        await backend.delete("step = 5")
        await backend.compact()
    opened = lancedb.connect(tmp_path / "bucket").open_table("data")
    search = opened.search().where("step IN (5, 7, 1500)").select(["step"])
    assert sorted(search.to_arrow()["step"].to_pylist()) == [7, 7, 1500]
    if kind != "btree":  # whose format LanceDB 0.40 is too old for
        assert "ScalarIndexQuery" in search.explain_plan()
    dataset = lance.dataset(str(tmp_path / "bucket" / "data.lance"))
    scanner = dataset.scanner(filter="step = 7", columns=["step"])
    assert "ScalarIndexQuery" in scanner.explain_plan()
    assert scanner.to_table()["step"].to_pylist() == [7, 7]


def test_duckdb(table: Path) -> None:
    bucket = lance.dataset(str(table))
    found = duckdb.sql("SELECT env, sum(reward), len(any_value(tokens)) FROM bucket GROUP BY env")
    assert found is not None
    sums = {env: (total, length) for env, total, length in found.fetchall()}
    assert sums == {"cartpole-0": (10.0, 2), "cartpole-1": (11.0, 2)}
    assert bucket.count_rows() == 9


def test_polars(table: Path) -> None:
    columns = ["step", "reward", "tokens", "done"]
    frame = pl.from_arrow(lance.dataset(str(table)).to_table(columns=columns))
    assert isinstance(frame, pl.DataFrame)
    assert frame.schema == {
        "step": pl.Int64,
        "reward": pl.Float64,
        "tokens": pl.List(pl.Int64),
        "done": pl.Boolean,
    }
    assert sorted(frame["step"].to_list()) == LEFT
    assert frame.filter(pl.col("done"))["tokens"].to_list() == [[9, 10]]


@pytest.mark.parametrize(("width", "pages"), [(4000, 4), (400, 1)], ids=["copied", "merged"])
async def test_pages_after_a_compaction(tmp_path: Path, width: int, pages: int) -> None:
    noise = np.random.default_rng(width)
    rows = pa.table(
        {
            "step": range(4000),
            "noise": [noise.bytes(width) for _ in range(4000)],
            "tokens": [None if i % 7 == 0 else [i] * (i % 3) for i in range(4000)],
        }
    )
    async with PersistingBackend(0, tmp_path, flush_interval=0, compaction_threshold=0) as backend:
        for first in range(0, 4000, 1000):
            await backend.put_arrow(rows.slice(first, 1000))
            await backend.flush()
        await backend.create_index("step", "btree")
        await backend.compact()
        assert await backend.get_arrow(limit=4000) == rows
        assert (await backend.query("step = 2345"))["noise"] == rows["noise"].slice(2345, 1)
        dataset = lance.dataset(tmp_path / "data.lance")
        (fragment,) = dataset.get_fragments()
        (file,) = fragment.data_files()
        path = tmp_path / "data.lance" / "data" / file.path
        assert file.file_size_bytes == path.stat().st_size
        columns = LanceFileReader(str(path)).metadata().columns
        assert {len(column.pages) for column in columns} == {pages}
        found = dataset.to_table(rows.column_names, filter="step > 990 and step <= 1010")
        assert found == rows.slice(991, 20)
        await backend.delete("step % 2 = 0")
        await backend.compact()  # decodes, as rows are gone
        assert (await backend.get_arrow(limit=4000))["step"].to_pylist() == [*range(1, 4000, 2)]
        assert (await backend.query("step = 2345"))["noise"] == rows["noise"].slice(2345, 1)
