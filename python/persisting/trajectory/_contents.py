"""Values that many steps share, each stored once: steps hold their names, which say what they are.

A name is given out when the value is on disk, so a step never names one that is lost.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from persisting._errors import SchemaError
from persisting.trajectory._columns import NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from persisting.trajectory._columns import Column
    from persisting.trajectory._served import Store

# How large a value is at most, and how many bytes and values are handed over at once.
_MOST_BYTES = 1 << 29
_PART_BYTES = 16 << 20
_PART_VALUES = 256
# How many bytes of values are kept whose names are known by which objects they are.
_RECENT_BYTES = 32 << 20


class Contents:
    """The values of a store. Any thread may write and read them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recent = _Recent()

    def names(self, name: str, column: Column, values: Any) -> np.ndarray:
        """Store the values of a column, and return their names, an array [values, NAME_BYTES]."""
        cells = column.cells(name, values)
        found = np.empty((len(cells), NAME_BYTES), np.uint8)
        new: dict[bytes, list[int]] = {}
        for i, cell in enumerate(cells):
            known = self._recent.find(cell)
            if known is None:
                new.setdefault(_content(name, column, cell), []).append(i)
            else:
                found[i] = known
        for part in _parts(new):
            names = self._keep(part)
            for content, named in zip(part, names, strict=True):
                found[new[content]] = named
                self._recent.note(cells[new[content][0]], named)
        return found

    def name(self, name: str, column: Column, value: Any) -> np.ndarray:
        """Store a value of a column, and return its name."""
        found: np.ndarray = self.names(name, column, [value])[0]
        return found

    def _keep(self, contents: list[bytes]) -> np.ndarray:
        names = np.empty((len(contents), NAME_BYTES), np.uint8)
        values = pa.RecordBatch.from_arrays([pa.array(contents, pa.binary())], ["value"])
        self._store.keep(values, names)
        return names

    def read(self, column: Column, names: pa.ChunkedArray) -> Any:
        """Return the values of a column by their names, those of one name as one object."""
        keys = _keys(names)
        values = self._values(column, dict.fromkeys(keys))
        found = [values[key] for key in keys]
        if column.kind != "array":
            return found
        return np.stack(found) if found else np.empty((0, *column.shape), column.dtype)

    def arrow(self, column: Column, names: pa.ChunkedArray) -> pa.Array:
        """Return the values of a column by their names, texts and bytes as a dictionary of them."""
        if column.kind not in ("text", "binary"):
            return replace(column, by_content=False).arrow(self.read(column, names))
        keys = _keys(names)
        values = self._values(column, dict.fromkeys(keys))
        place = {key: i for i, key in enumerate(values)}
        kind = pa.large_string() if column.kind == "text" else pa.large_binary()
        indices = pa.array([place[key] for key in keys], pa.int32())
        return pa.DictionaryArray.from_arrays(indices, pa.array([*values.values()], kind))

    def _values(self, column: Column, keys: Iterable[bytes]) -> dict[bytes, Any]:
        found: dict[bytes, Any] = {}
        wanted = [*keys]
        for at in range(0, len(wanted), _PART_VALUES):
            some = wanted[at : at + _PART_VALUES]
            names = np.frombuffer(b"".join(some), np.uint8).reshape(-1, NAME_BYTES)
            with self._store.kept(names) as cursor:
                contents = chain.from_iterable(
                    batch.column("value").to_pylist() for batch in cursor
                )
                found |= {k: _value(column, c) for k, c in zip(some, contents, strict=True)}
        return found


class _Recent:
    """The names of values that were just used, by which objects these are: none that can change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # of those who write
        self._known: dict[int, tuple[Any, np.ndarray]] = {}
        self._bytes = 0

    def find(self, value: Any) -> np.ndarray | None:
        """Return the name of a value, if it is that object."""
        known = self._known.get(id(value))
        return known[1] if known is not None and known[0] is value else None

    def note(self, value: Any, name: np.ndarray) -> None:
        """Remember the name of a value, and forget the oldest ones."""
        if value.__class__ not in (str, bytes):
            return
        with self._lock:
            if id(value) in self._known:
                return
            self._known[id(value)] = value, name
            self._bytes += len(value)
            while self._bytes > _RECENT_BYTES:
                forgotten, _ = self._known.pop(next(iter(self._known)))
                self._bytes -= len(forgotten)


def _content(name: str, column: Column, cell: Any) -> bytes:
    """Return a value as bytes."""
    if column.kind == "text":
        try:
            content: bytes = cell.encode()
        except UnicodeEncodeError as error:
            raise SchemaError(f"column {name!r}: {cell!r:.60} is no text: {error}") from None
    else:
        content = cell if column.kind == "binary" else cell.tobytes()
    if len(content) > _MOST_BYTES:
        raise SchemaError(f"column {name!r}: a value has {len(content)} bytes, of {_MOST_BYTES}")
    return content


def _value(column: Column, content: bytes) -> Any:
    """Return the value that bytes are."""
    if column.kind == "text":
        return content.decode()
    if column.kind == "binary":
        return content
    found = np.frombuffer(content, column.dtype)
    return found.reshape(column.shape) if column.kind == "array" else found


def _parts(contents: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield values so many at once as are handed over together."""
    part: list[bytes] = []
    size = 0
    for content in contents:
        if part and (size + len(content) > _PART_BYTES or len(part) == _PART_VALUES):
            yield part
            part, size = [], 0
        part.append(content)
        size += len(content)
    if part:
        yield part


def _keys(names: pa.ChunkedArray) -> list[bytes]:
    """Return names as bytes."""
    return [
        whole[at : at + NAME_BYTES]
        for whole in (np.asarray(chunk.flatten()).tobytes() for chunk in names.chunks)
        for at in range(0, len(whole), NAME_BYTES)
    ]
