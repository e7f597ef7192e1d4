"""A version of a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from persisting._engine import functions
from persisting._engine.cursor import Cursor
from persisting._engine.handles import method
from persisting._engine.queries import Queryable

if TYPE_CHECKING:
    import pyarrow as pa


class View(Queryable):
    """One version of a bucket; it stays as long as this is open."""

    count = method(functions.view_count)
    _query = method(functions.view_query)
    _explain = method(functions.view_explain)

    def __init__(self, number: int, path: str, version: int) -> None:
        name = f"version {version} of the bucket {path}"
        super().__init__(number, functions.view_close, name)
        self.path = path
        self._schema: pa.Schema | None = None

    rows = method(functions.view_rows)

    def schema(self) -> pa.Schema:
        """Return the columns."""
        if self._schema is None:
            self._schema = self._use(functions.view_schema)
        return self._schema

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns, which every cursor has."""
        return self.schema()

    def read(self, offset: int, count: int, *, run: bool = False) -> Cursor:
        """Read the rows left of `[offset, offset + count)`; see `Bucket.read` for `run`."""
        return Cursor(self._use(functions.view_read, offset, count, run=run), self, 0)
