"""What is done with the directory of a bucket, which may be open elsewhere."""

from __future__ import annotations

import ctypes
import json
import os
from ctypes import byref
from typing import TYPE_CHECKING, Any

from persisting import _arguments
from persisting._engine.boundary import APPLY, QUICK
from persisting._engine.cursor import Cursor, cursor_schema
from persisting._engine.library import call, library, string

if TYPE_CHECKING:
    import pyarrow as pa


def verify(directory: str | os.PathLike[str], *, quick: bool = False) -> dict[str, Any]:
    """Return what is wrong with the files of a bucket; see `persisting_directory_verify`."""
    return _describe(library().persisting_directory_verify, directory, QUICK if quick else 0)


def inspect(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what the files of a bucket hold; see `persisting_directory_inspect`."""
    return _describe(library().persisting_directory_inspect, directory)


def repair(directory: str | os.PathLike[str], *, apply: bool) -> dict[str, Any]:
    """Find a repair of the files of a bucket or make it; see `persisting_directory_repair`."""
    return _describe(library().persisting_directory_repair, directory, APPLY if apply else 0)


def _describe(function: Any, directory: str | os.PathLike[str], *more: Any) -> dict[str, Any]:
    path = os.fsencode(_arguments.path("directory", directory))
    found: dict[str, Any] = json.loads(string(call, function, path, *more))
    return found


def read_table(directory: str | os.PathLike[str]) -> tuple[Cursor, int]:
    """Read a Lance table that is no bucket's; see `persisting_directory_read`.

    Returns
    -------
    tuple of Cursor and int
        The rows, and how many they are.
    """
    number, rows = ctypes.c_uint64(), ctypes.c_int64()
    table = _Foreign(os.fspath(directory))
    call(library().persisting_directory_read, os.fsencode(table.path), byref(number), byref(rows))
    return Cursor(number.value, table, None), rows.value


class _Foreign:
    """A Lance table that is no bucket's."""

    def __init__(self, path: str) -> None:
        self.path = path

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns."""
        return cursor_schema(cursor)
