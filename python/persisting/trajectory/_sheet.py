"""Steps that are written without a call of the engine.

They lie in a mapped file, column by column, which survives the process; the engine takes many of
them at once. The format is described in the package comment of `engine/sheet`.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from persisting._errors import ClosedError, SchemaError
from persisting.trajectory._columns import VERSION, Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from persisting.trajectory._served import Store

_CELLS, _EPISODE, _FIRST, _COUNT = 56 // 8, 64 // 8, 72 // 8, 80 // 8
_HEADER = 4096
_ALIGNMENT = 64
_MOST_ROWS = 4096
# What a sheet keeps back at most, and what the values of a column of any length get at least.
_MOST_BYTES = 4 << 20
_LEAST_HEAP = 64 << 10

# The types of Python whose values numbers of a dtype are, as they come.
_PLAIN = {np.dtype(np.int64): int, np.dtype(np.float64): float, np.dtype(np.bool_): bool}


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

    def __init__(self, store: Store, columns: dict[str, Column], buffer_bytes: int) -> None:
        size = 4 + sum(column.nbytes for column in columns.values())
        kept = min(buffer_bytes, _MOST_BYTES)
        heap = max(kept, _LEAST_HEAP)
        self.columns = columns
        self.buffer_bytes = buffer_bytes
        self.rows = min(max(kept // size, 1), _MOST_ROWS)
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

        self._fixed: list[tuple[Any, ...]] = []
        self._ragged: list[tuple[Any, ...]] = []
        for name, column in self.columns.items():
            if column.kind == "array":
                assert column.dtype is not None
                cells = part(column.dtype, self.rows * _size(column)).reshape(-1, *column.shape)
                dtype = column.dtype
                plain = {dtype.type, _PLAIN.get(dtype)} if not column.shape else ()
                self._fixed.append((name, cells, frozenset(plain), dtype, column.shape, column))
            else:
                ends = part(np.int32, self.rows + 1).data
                width = column.dtype.itemsize if column.dtype is not None else 1
                items = part(np.uint8, heap).data
                self._ragged.append((name, ends, items, width, _encoder(column), column))
        self._versions = part(np.int32, self.rows).data

    def begin(self, number: int, first: int) -> None:
        """Take steps of an episode from a place on; the sheet is empty."""
        self._words[_EPISODE] = number
        self._words[_FIRST] = first

    def add(self, step: Mapping[str, Any], version: int) -> bool:
        """Store a step, which is acknowledged then; False, with nothing done, if it has no room."""
        if not self._usable:
            self._refuse()
        at = self.count
        if len(step) != len(self.columns):
            raise other_columns(step, self.columns)
        try:
            for name, cells, plain, dtype, shape, column in self._fixed:
                value = step[name]
                if value.__class__ in plain:
                    try:
                        cells[at] = value
                    except OverflowError:
                        cells[at] = column.cell(name, value)
                elif (
                    value.__class__ is np.ndarray and value.dtype == dtype and value.shape == shape
                ):
                    cells[at] = value
                else:
                    cells[at] = column.cell(name, value)
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


def _size(column: Column) -> int:
    return int(np.prod(column.shape, dtype=np.int64))


# ---- values of any length, as bytes ----


def _encoder(column: Column) -> Any:
    """Return what makes bytes of the values of a column."""
    return {"text": _text, "binary": _binary, "ragged": _items}[column.kind]


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

    def __init__(self, store: Store) -> None:
        self._store = store
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
        sheet = Sheet(self._store, columns, buffer_bytes)
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
