"""Steps that are written without a call of the engine.

They lie in a mapped file, column by column, which survives the process; the engine takes many of
them at once. The format is described in the package comment of `engine/sheet`.
"""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from persisting._errors import ClosedError, SchemaError
from persisting._records import _rows
from persisting.trajectory._columns import NAME_BYTES, VERSION, Column, oldest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from persisting.trajectory._contents import Contents
    from persisting.trajectory._served import Store

_CELLS, _EPISODE, _FIRST, _COUNT = 56 // 8, 64 // 8, 72 // 8, 80 // 8
_HEADER = 4096
_ALIGNMENT = 64
_MOST_ROWS = 4096
# How often steps are stored beside the writer before a sheet is full, if it has so many rows.
_ASKS = 3
_LEAST_ASKED = 32
# What a sheet keeps back at most, and what the values of a column of any length get at least.
_MOST_BYTES = 4 << 20
_LEAST_HEAP = 64 << 10

# What numbers of Python cells of a dtype take as they come, see `_rows.cells`.
_NUMBERS = {np.dtype(np.int64): "q", np.dtype(np.float64): "d", np.dtype(np.bool_): "?"}


class Sheet:
    """Steps of one episode at a time that were not sent yet.

    Attributes
    ----------
    columns : dict of str to Column
        The columns of all steps.
    count : int
        How many steps there are.
    rows : int
        How many there can be.
    began : float
        When the first one came.
    """

    def __init__(
        self,
        store: Store,
        contents: Contents,
        columns: dict[str, Column],
        buffer_bytes: int,
    ) -> None:
        size = 4 + sum(column.nbytes for column in columns.values())
        kept = min(buffer_bytes, _MOST_BYTES)
        heap = max(kept, _LEAST_HEAP)
        self.columns = columns
        self._segments = {name: c for name, c in columns.items() if c.kind == "segments"}
        self._contents = contents
        self.buffer_bytes = buffer_bytes
        self.rows = min(max(kept // size, 1), _MOST_ROWS)
        asks = _ASKS if self.rows >= _LEAST_ASKED else 0
        self._asked = frozenset(self.rows * (i + 1) // (asks + 1) for i in range(asks))
        self.count = 0
        self.began = 0.0
        self._usable = True
        fields = [column.field(name) for name, column in columns.items()]
        schema = pa.schema([*fields, pa.field(VERSION, pa.int32())])
        self._handle = store.sheet(schema, self.rows, heap)
        self._map = self._handle.map()
        self._words = memoryview(self._map)[:_HEADER].cast("Q")
        self._lay_out(heap)
        _sheets.add(self)

    def _lay_out(self, heap: int) -> None:
        """Find where the cells of each column are."""
        at = self._words[_CELLS]

        def part(dtype: Any, count: int) -> np.ndarray:
            nonlocal at
            at = -(-at // _ALIGNMENT) * _ALIGNMENT
            found = np.frombuffer(self._map, dtype, count, at)
            at += found.nbytes
            return found

        self._fixed: list[tuple[str, np.ndarray, Column]] = []
        self._ragged: list[tuple[Any, ...]] = []
        self._named: list[tuple[str, np.ndarray, Column]] = []
        for name, column in self.columns.items():
            if column.by_content:
                cells = part(np.uint8, self.rows * NAME_BYTES).reshape(-1, NAME_BYTES)
                self._named.append((name, cells, column))
            elif column.kind == "array":
                cells = part(column.dtype, self.rows * math.prod(column.shape))
                self._fixed.append((name, cells.reshape(-1, *column.shape), column))
            else:
                ends = part(np.int32, self.rows + 1).data
                width = column.dtype.itemsize if column.dtype is not None else 1
                items = part(np.uint8, heap).data
                self._ragged.append((name, ends, items, width, _encoder(column), column))
        self._versions = part(np.int32, self.rows).data
        self._cells = _cells(self._fixed, self.rows)

    def begin(self, number: int, first: int) -> None:
        """Take steps of an episode from a place on; the sheet is empty."""
        self._words[_EPISODE] = number
        self._words[_FIRST] = first

    def version(self, step: Mapping[str, Any], version: int) -> int:
        """Return the version of a step: the oldest of its segments, if it has any."""
        if not self._segments:
            return version
        given = {name: c for name, c in self._segments.items() if name in step}
        cells = {name: [column.cell(name, step[name])] for name, column in given.items()}
        found: int = oldest(given, cells, version)[0] if cells else version
        return found

    def add(self, step: Mapping[str, Any], version: int) -> bool:
        """Store a step, which is acknowledged then; False, with nothing done, if it has no room."""
        if not self._usable:
            self._refuse()
        at = self.count
        if len(step) != len(self.columns):
            raise other_columns(step, self.columns)
        try:
            for i in _rows.put(self._cells, step, at) or ():
                name, cells, column = self._fixed[i]
                cells[at] = column.cell(name, step[name])
            for name, cells, column in self._named:
                cells[at] = self._contents.name(name, column, step[name])
            for name, ends, items, width, encode, column in self._ragged:
                cell = encode(column, name, step[name])
                start = ends[at] * width
                end = start + len(cell)
                if end > len(items):
                    return False
                items[start:end] = cell
                ends[at + 1] = end // width
        except KeyError:
            raise other_columns(step, self.columns) from None
        self._versions[at] = version
        if not at:
            self.began = time.monotonic()
        # An exception out of nowhere, as Ctrl-C is one, comes with a call: not between these two.
        self.count = self._words[_COUNT] = at + 1
        if at + 1 in self._asked:
            self._handle.ask()
        if not self._usable:  # once more: who ended it before the count has not seen the step
            self._refuse()
        return True

    def _refuse(self) -> None:
        self.send()  # which tells why, if there is more to tell
        raise ClosedError("the store of trajectories is closed")

    @property
    def lasting(self) -> bool:
        """Whether the steps of another writer are as safe there as in a new sheet."""
        return self._handle.lasting

    def send(self) -> None:
        """Have the engine take all steps. After an error they are there as before."""
        self._handle.send()
        self.count = 0

    def end(self) -> None:
        """Take no more steps: the store is about to be closed."""
        self._usable = False


def _cells(fixed: list[tuple[str, np.ndarray, Column]], rows: int) -> _rows.Cells:
    """Return how values of one size get to where they belong, without being looked at in Python."""
    columns = []
    for name, cells, column in fixed:
        assert column.dtype is not None
        number = "" if column.shape else _NUMBERS.get(column.dtype, "")
        size = column.dtype.itemsize * math.prod(column.shape)
        scalar = type(None) if column.shape else column.dtype.type
        kind = ord(number) if number else 0
        place = cells.ctypes.data
        columns.append((name, place, size, kind, scalar, np.dtype(column.dtype.type), column.shape))
    return _rows.cells(np.ndarray, tuple(columns), rows)


# ---- values of any length, as bytes ----


def _encoder(column: Column) -> Any:
    """Return what makes bytes of the values of a column."""
    return {"text": _text, "binary": _binary, "ragged": _items, "segments": _items}[column.kind]


def _text(column: Column, name: str, value: Any) -> bytes:
    text: str = column.cell(name, value)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise SchemaError(f"column {name!r}: {value!r:.60} is no text: {error}") from None


def _binary(column: Column, name: str, value: Any) -> bytes:
    found: bytes = column.cell(name, value)
    return found


def _items(column: Column, name: str, value: Any) -> memoryview | bytes:
    if not (column.is_items(value) and value.flags.c_contiguous):
        value = column.cell(name, value)
    return value.data.cast("B") if value.size else b""


class Sheets:
    """The sheets of a store: those that writers have, and those that wait for one."""

    def __init__(self, store: Store, contents: Contents) -> None:
        self._store = store
        self._contents = contents
        self._lock = threading.Lock()
        self._all: weakref.WeakSet[Sheet] = weakref.WeakSet()
        self._idle: list[Sheet] = []
        self._over = False

    def take(self, columns: dict[str, Column], buffer_bytes: int) -> Sheet:
        """Return an empty sheet for steps of those columns."""
        with self._lock:
            for i, sheet in enumerate(self._idle):
                if sheet.buffer_bytes == buffer_bytes and sheet.columns == columns:
                    return self._idle.pop(i)
        sheet = Sheet(self._store, self._contents, columns, buffer_bytes)
        with self._lock:
            self._all.add(sheet)
            if self._over:
                sheet.end()
        return sheet

    def give(self, sheet: Sheet) -> None:
        """Take back a sheet whose steps were sent."""
        if sheet.lasting:
            with self._lock:
                self._idle.append(sheet)

    def end(self) -> None:
        """Have no sheet take a step any more: the store is about to be closed."""
        with self._lock:
            self._over = True
            self._idle.clear()
            for sheet in self._all:
                sheet.end()


_sheets: weakref.WeakSet[Sheet] = weakref.WeakSet()


def _end_all() -> None:
    for sheet in _sheets:
        sheet.end()


# A forked child shares the file with its parent, and has no engine.
os.register_at_fork(after_in_child=_end_all)


def other_columns(step: Mapping[str, Any], columns: Mapping[str, Column]) -> SchemaError:
    """Return the error for a step with other columns than the first one."""
    missing, unknown = sorted(columns.keys() - step.keys()), sorted(step.keys() - columns.keys())
    return SchemaError(
        f"each step has the columns of the first one: {missing} are missing, {unknown} are unknown"
    )
