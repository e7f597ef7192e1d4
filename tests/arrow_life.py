"""The life of a bucket that holds Arrow data, with a second opinion on what it has."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from persisting import PersistingBackend
from persisting._cli import main
from persisting._errors import SchemaError
from tests.support import QUIET

if TYPE_CHECKING:
    from pathlib import Path

types = pa.types


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type in which values come back, as the README says it."""
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return plain(kind.value_type)
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if not types.is_nested(kind) or types.is_union(kind):
        return kind
    if types.is_map(kind):
        fields = [f.with_type(plain(f.type)) for f in (kind.key_field, kind.item_field)]
        return pa.map_(*fields, keys_sorted=kind.keys_sorted)
    fields = [kind.field(i).with_type(plain(kind.field(i).type)) for i in range(kind.num_fields)]
    if types.is_struct(kind):
        return pa.struct(fields)
    if types.is_fixed_size_list(kind):
        return pa.list_(fields[0], kind.list_size)
    large = types.is_large_list(kind) or types.is_large_list_view(kind)
    return (pa.large_list if large else pa.list_)(fields[0])


class Life:
    """A bucket, and the values of the columns that it must have.

    Each row is put as Arrow data, or as a dict that lacks the columns.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.backend = self.open(path)
        self.schema = pa.schema([])
        self.metadata: dict[bytes, bytes] = {}
        self.rows: list[dict[str, Any]] = []

    @staticmethod
    def open(path: Path) -> PersistingBackend:
        return PersistingBackend(0, path, **QUIET)

    async def put(self, table: pa.Table) -> None:
        await self.backend.put_arrow(table)
        known = set(self.schema.names)
        for field in table.schema:
            if field.name not in known and not types.is_null(plain(field.type)):
                field = field.with_type(plain(field.type)).with_nullable(True)
                self.schema = self.schema.append(field)
        self.metadata = {**(table.schema.metadata or {}), **self.metadata}
        self.rows += table.to_pylist()

    async def put_without(self) -> None:
        await self.backend.put({"of a record": len(self.rows)})
        self.rows.append({"of a record": len(self.rows)})

    async def check(self, how: str, backend: PersistingBackend | None = None) -> pa.Table:
        """Compare what a bucket has."""
        table = await (backend or self.backend).get_arrow()
        table.validate(full=True)
        assert table.num_rows == len(self.rows), how
        assert (table.schema.metadata or {}) == self.metadata, how
        for field in self.schema:
            got = table.schema.field(field.name)
            assert got.equals(field, check_metadata=True), f"{how}: {got} {got.metadata}"
            values = table.column(field.name).to_pylist()
            for offset, (value, row) in enumerate(zip(values, self.rows, strict=True)):
                want = row.get(field.name)
                assert repr(value) == repr(want), f"{how}, row {offset}: {field}: {value} {want}"
        return table

    async def check_dicts(self, how: str) -> None:
        """Compare the dicts of rows; JSON is another thing there."""
        for offset, row in enumerate(self.rows):
            beyond: SchemaError | None = None
            try:
                (record,) = await self.backend.get(1, offset)
            except SchemaError as caught:
                beyond = caught
            if beyond is not None:
                assert beyond.offset == offset, how
                kind = str(self.schema.field(beyond.column).type)
                assert "[ns]" in kind, f"{how}: {beyond}"  # nanoseconds, which Python has not
                continue
            assert record.keys() == row.keys(), f"{how}, row {offset}"
            for field in self.schema:
                if field.name in row and "json" not in str(field.type):
                    value, want = record[field.name], row[field.name]
                    same = value == want or repr(value) == repr(want)
                    assert same, f"{how}, row {offset}: {field}: {value} {want}"

    async def check_replay(self, how: str) -> None:
        """Compare what the log gives back when the process ends here."""
        copy = self.path.with_name("copy")
        shutil.copytree(self.path, copy)
        async with self.open(copy) as backend:
            await self.check(how, backend)
        shutil.rmtree(copy)

    def check_export(self, table: pa.Table) -> None:
        """Compare what is exported, where the format holds such types at all."""
        for suffix, read in {"arrow": _read_arrow, "parquet": pq.read_table}.items():
            file = self.path.with_name(f"x.{suffix}")
            if suffix == "parquet":
                try:
                    pq.write_table(table, file)
                    table = pq.read_table(file)
                except (pa.ArrowNotImplementedError, pa.ArrowInvalid, OSError):
                    continue
                file.unlink()
            assert main(["export", str(self.path), str(file)]) == 0
            got = read(file)
            assert got.schema.equals(table.schema, check_metadata=True), suffix
            assert repr(got.to_pylist()) == repr(table.to_pylist()), suffix


def _read_arrow(path: Path) -> pa.Table:
    with pa.ipc.open_file(path) as reader:
        return reader.read_all()


async def live(path: Path, first: pa.Table, later: pa.Table) -> None:
    """Lead a bucket through all that can happen to rows."""
    life = Life(path)
    await life.put_without()
    await life.put(first)
    await life.put(first.slice(1))
    await life.put_without()
    await life.check("in memory")
    await life.check_dicts("in memory")
    await life.check_replay("replayed")
    await life.backend.flush()
    await life.check("flushed")
    await life.put(later)
    await life.put_without()
    await life.put(first)
    await life.check("half of it flushed")
    await life.check_replay("half of it replayed")
    await life.backend.flush()
    await life.backend.compact()
    await life.check("compacted")
    await life.backend.aclose()
    life.backend = life.open(path)
    table = await life.check("opened again")
    await life.check_dicts("opened again")
    await life.backend.aclose()
    life.check_export(table)
