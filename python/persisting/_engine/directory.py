"""What is done with the directory of a bucket, which may be open elsewhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from persisting import _arguments
from persisting._engine import functions
from persisting._engine.cursor import Cursor

if TYPE_CHECKING:
    import pyarrow as pa


def verify(directory: str | os.PathLike[str], *, quick: bool = False) -> dict[str, Any]:
    """Return what is wrong with the files of a bucket; see `persisting_directory_verify`."""
    return functions.directory_verify(_arguments.path("directory", directory), quick=quick)


def inspect(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what the files of a bucket hold; see `persisting_directory_inspect`."""
    return functions.directory_inspect(_arguments.path("directory", directory))


def repair(directory: str | os.PathLike[str], *, apply: bool) -> dict[str, Any]:
    """Find a repair of the files of a bucket or make it; see `persisting_directory_repair`."""
    return functions.directory_repair(_arguments.path("directory", directory), apply=apply)


def read_table(directory: str | os.PathLike[str]) -> tuple[Cursor, int]:
    """Read a Lance table that is no bucket's; see `persisting_directory_read`.

    Returns
    -------
    tuple of Cursor and int
        The rows, and how many they are.
    """
    table = _Foreign(os.fspath(directory))
    cursor, rows = functions.directory_read(table.path)
    return Cursor(cursor, table, None), rows


class _Foreign:
    """A Lance table that is no bucket's."""

    def __init__(self, path: str) -> None:
        self.path = path

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns."""
        return functions.cursor_schema(cursor)
