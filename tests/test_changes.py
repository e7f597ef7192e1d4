"""Changes of columns, removal of records, offsets of consumers."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from persisting import LanceBackend, PersistingBackend, SchemaError
from persisting._errors import InvalidArgumentError, NotFoundError, RemovedError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Opener


async def everything(backend: LanceBackend) -> list[dict[str, Any]]:
    """Return all records that are left."""
    records = []
    offset = backend.first_offset()
    while offset < backend.total_count():
        found = await backend.get(10**6, offset)
        records += found
        offset = backend.first_offset(offset + len(found))
    return records


async def test_columns_change_in_old_records_and_new(opening: Opener, tmp_path: Path) -> None:
    backend = opening(PersistingBackend, tmp_path / "b")
    await backend.put_batch([{"n": 1, "s": "x"}, {"n": None, "s": "y"}])
    await backend.flush()
    await backend.put({"n": 3, "e": []})
    await backend.add_column("five", default=5)
    await backend.add_column("twice", expression="n * 2")
    await backend.add_column("short", "int32", default=7)
    await backend.add_column("j", "json", default={"a": [1, None]})
    await backend.add_column("later", pa.list_(pa.int64()))
    await backend.rename_column("n", "m.n")
    await backend.drop_column("s")
    assert backend.schema.names == ["m.n", "five", "twice", "short", "j", "later"]
    assert backend.schema.field("short").type == pa.int32()
    await backend.cast_column("five", "double")
    await backend.put({"m.n": 4, "short": 8, "later": [1], "s": 1.5})
    more = {"five": 5.0, "short": 7, "j": {"a": [1, None]}}
    want = [
        {"m.n": 1, "twice": 2, **more},
        {"m.n": None, **more},
        {"m.n": 3, "twice": 6, "e": [], **more},
        {"m.n": 4, "short": 8, "later": [1], "s": 1.5},
    ]
    assert await backend.get(10, 0) == want
    shutil.copytree(tmp_path / "b", tmp_path / "killed")
    again = opening(PersistingBackend, tmp_path / "killed")
    assert await again.get(10, 0) == want
    assert again.schema == backend.schema


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda b: b.add_column("n", "int64"), SchemaError, "is there already, as int64"),
        (lambda b: b.add_column("x"), InvalidArgumentError, "give a type"),
        (lambda b: b.add_column("x", default=1, expression="n"), InvalidArgumentError, "not both"),
        (lambda b: b.add_column("x", "int8", default=300), SchemaError, "300"),
        (lambda b: b.add_column("x", default=[]), SchemaError, "no type"),
        (lambda b: b.add_column("x", "nonsense"), SchemaError, "'nonsense' names no type"),
        (lambda b: b.add_column("x", expression="n +"), InvalidArgumentError, "n +"),
        (lambda b: b.add_column("x", "int8", expression="n * 1000"), SchemaError, "CAST"),
        (lambda b: b.add_column("_persisting_x", "int8"), SchemaError, "reserved"),
        (lambda b: b.drop_column("x"), SchemaError, 'there are ["n" "s"]'),
        (lambda b: b.rename_column("n", "s"), SchemaError, "is there already"),
        (lambda b: b.rename_column("n", "a\0b"), InvalidArgumentError, "NUL"),
        (lambda b: b.cast_column("s", "int64"), SchemaError, "is utf8 and holds values that int64"),
        (lambda b: b.put({"n": "text"}), SchemaError, "cast_column"),
        (lambda b: b.put_arrow(pa.table({"n": ["x"]})), SchemaError, 'cast_column("n", "utf8")'),
        (lambda b: b.delete("n ="), InvalidArgumentError, "n ="),
        (lambda b: b.delete("nope = 1"), InvalidArgumentError, "nope"),
        (lambda b: b.truncate_before(4), NotFoundError, "0 to 3"),
        (lambda b: b.truncate_before(-1), NotFoundError, "0 to 3"),
        (lambda b: b.commit("c", 4), NotFoundError, "0 to 3"),
    ],
)
async def test_what_cannot_be_says_why(
    opening: Opener, tmp_path: Path, call: Any, error: type[Exception], text: str
) -> None:
    backend = opening(PersistingBackend, tmp_path / "b")
    records = [{"n": n, "s": "x"} for n in (1, 2, 300)]
    await backend.put_batch(records)
    with pytest.raises(error) as caught:
        await call(backend)
    assert text in str(caught.value)
    assert backend.schema.names == ["n", "s"]
    await backend.put({"n": 4})
    assert await backend.get(10, 0) == [*records, {"n": 4}]


@pytest.mark.parametrize("cls", [LanceBackend, PersistingBackend])
async def test_declared_columns(opening: Opener, tmp_path: Path, cls: type[LanceBackend]) -> None:
    schema = pa.schema(
        [
            pa.field("id", pa.int32(), nullable=False),
            pa.field("score", pa.float32()),
            pa.field("tags", pa.list_(pa.string())),
        ]
    )
    backend = opening(cls, tmp_path / "b", schema=schema)
    assert backend.schema.names == ["id", "score", "tags"]
    good = {"id": 1, "score": 0.5, "tags": ["a"]}
    await backend.put_batch([good, {"id": 2}])
    for bad, text in (
        ({"id": 3, "new": 1}, 'add_column("new", "int64") would allow it'),
        ({"id": 2**40}, "id"),
        ({"id": "x"}, "id"),
        ({"score": 1.0}, "not nullable"),
        ({"id": None}, "not nullable"),
    ):
        with pytest.raises(SchemaError) as caught:
            await backend.put(bad)
        assert text in str(caught.value)
    await backend.add_column("new", "int64")
    await backend.put({"id": 3, "new": 1})
    await backend.put_arrow(pa.table({"id": pa.array([4], pa.int32())}))
    assert await backend.get(10, 0) == [good, {"id": 2}, {"id": 3, "new": 1}, {"id": 4}]
    assert backend.schema.field("id").type == pa.int32()
    await backend.aclose()
    with pytest.raises(SchemaError, match="cast_column"):
        cls(0, tmp_path / "b", schema=pa.schema([("id", pa.string())]))
    again = opening(cls, tmp_path / "b", schema=schema)
    with pytest.raises(SchemaError, match="was not declared"):
        await again.put({"id": 5, "new": 1})


async def test_puts_go_on_while_columns_change(opening: Opener, tmp_path: Path) -> None:
    backend = opening(PersistingBackend, tmp_path / "b", wal_sync_interval=0)
    await backend.put({"n": -1})

    async def put(name: int) -> None:
        for i in range(50):
            await backend.put({"n": i, f"k{name}": i})

    async def change() -> None:
        for i in range(8):
            await backend.add_column(f"c{i}", expression="n + 1")
            await backend.rename_column(f"c{i}", f"d{i}")
        for i in range(0, 8, 2):
            await backend.drop_column(f"d{i}")

    await asyncio.gather(put(0), put(1), put(2), change())
    found = await backend.get(1000, 0)
    assert len(found) == 151
    for name in range(3):
        assert [r[f"k{name}"] for r in found if f"k{name}" in r] == [*range(50)]
    assert found[0] == {"n": -1, "d1": 0, "d3": 0, "d5": 0, "d7": 0}


async def test_removed_records_are_told_from_others(opening: Opener, tmp_path: Path) -> None:
    backend = opening(PersistingBackend, tmp_path / "b")
    await backend.put_batch([{"n": n} for n in range(10)])
    assert await backend.delete("n IN (0, 1, 5, 9)") == 4
    assert backend.total_count() == 10
    view = await backend.at(version=(await backend.list_versions())[-1].version)
    await backend.put({"n": 10})
    for offset, first in ((0, 2), (1, 2), (5, 6), (9, 10)):
        with pytest.raises(RemovedError) as caught:
            await view.get(3, offset)
        assert caught.value.first == first
        with pytest.raises(RemovedError, match=f"offset {offset} was removed") as caught:
            await backend.get(3, offset)
        assert caught.value.first == first == backend.first_offset(offset)
        with pytest.raises(RemovedError) as caught:
            await backend.get_by_indices([2, offset])
        assert caught.value.first == first
    assert await backend.get(100, 2) == [{"n": 2}, {"n": 3}, {"n": 4}]
    assert [b async for b in backend.get_stream(3, 6)] == [[{"n": 6}, {"n": 7}, {"n": 8}]]
    with pytest.raises(RemovedError):
        _ = [b async for b in backend.get_stream(100, 6)]
    view.close()
    table = await backend.get_arrow(with_offsets=True)
    left = [2, 3, 4, 6, 7, 8, 10]
    assert table.to_pydict() == {"n": left, "_offset": left}
    assert await backend.truncate_before(7) == 4
    stats = await backend.stats()
    assert (stats["first_offset"], stats["row_count"], stats["total_count"]) == (7, 3, 11)
    await backend.compact()
    assert await everything(backend) == [{"n": 7}, {"n": 8}, {"n": 10}]
    await backend.aclose()
    again = opening(PersistingBackend, tmp_path / "b")
    assert await everything(again) == [{"n": 7}, {"n": 8}, {"n": 10}]
    assert again.first_offset() == 7


@pytest.mark.parametrize("cls", [LanceBackend, PersistingBackend])
async def test_offsets_of_consumers(
    opening: Opener, tmp_path: Path, cls: type[LanceBackend]
) -> None:
    backend = opening(cls, tmp_path / "b")
    assert await backend.committed("trainer") is None
    await backend.put_batch([{"n": n} for n in range(5)])
    await backend.commit("trainer", 3)
    await backend.commit("ä b", 5)
    await backend.commit("trainer", 2)
    shutil.copytree(tmp_path / "b", tmp_path / "killed")
    again = opening(cls, tmp_path / "killed")
    assert again.total_count() == 5  # what a consumer is done with is on disk
    assert await again.consumers() == {"trainer": 2, "ä b": 5}
    assert await again.committed("trainer") == 2


@pytest.mark.parametrize("value", [2**53 + 1, [1, 2**53 + 1]], ids=["number", "list"])
async def test_a_removed_value_keeps_no_column_from_another_type(
    backend: LanceBackend, value: Any
) -> None:
    more = [0.5] if isinstance(value, list) else 0.5
    await backend.put_batch([{"i": 0}, {"i": 1, "n": value}, {"i": 2}])
    with pytest.raises(SchemaError):
        await backend.put({"i": 3, "n": more})
    await backend.delete("i = 1")
    await backend.put({"i": 3, "n": more})
    assert await backend.get(2, 2) == [{"i": 2}, {"i": 3, "n": more}]
