"""Arrow batches become records."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, TypeAlias

import pyarrow as pa

from . import _json, _ndarray
from ._codecs import EPOCH, EPOCH_ORDINAL, EPOCH_UTC, MICROSECOND, tzinfo_of
from ._encoder import UNTYPED
from ._foreign import extension_of, storage_of

Reader: TypeAlias = Callable[[pa.Array], list[Any]]
"""Makes the list of the values of an array; None where the array is null."""

_Columns: TypeAlias = list[tuple[str, Reader, object]]
"""Name and reader of each column, and the object that the reader gives for null."""

_Plan: TypeAlias = tuple[pa.Schema, _Columns, bool]
"""Schema, how its columns are read, and whether ``to_pylist`` of rows gives the same."""

_PLANS_KEPT = 8
_MIN_COMPILED = 8
_MAX_COMPILED = 64
_MIN_REPEATED = 64
_SAMPLE = 32

FAST_PYLIST = int(pa.__version__.split(".")[0]) >= 26
"""Whether ``to_pylist`` of this pyarrow makes the objects in C++."""

_CODES = {
    pa.int8(): "b",
    pa.int16(): "h",
    pa.int32(): "i",
    pa.int64(): "q",
    pa.uint8(): "B",
    pa.uint16(): "H",
    pa.uint32(): "I",
    pa.uint64(): "Q",
    pa.float16(): "e",
    pa.float32(): "f",
    pa.float64(): "d",
}


class RecordDecoder:
    """Make records from batches; remembers how the schemas are read that it met last."""

    def __init__(self) -> None:
        self._plans: list[_Plan] = []
        self._type: pa.DataType = pa.null()
        self._plain = False

    def decode(self, batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
        """Make one dict for each row.

        Parameters
        ----------
        batches : iterable of pa.RecordBatch
            Batches of a bucket, of one schema or of several.

        Returns
        -------
        list of dict
            Equal to the records that were put, in the order of the rows. A null is an absent key,
            unless column `UNTYPED` names it. Columns that did not come from dicts give what
            ``to_pylist`` of pyarrow gives. All objects are new; arrays are writable copies.

        Raises
        ------
        ImportError
            If a column holds numpy arrays and numpy is not installed.
        """
        records: list[dict[str, Any]] = []
        for batch in batches:
            _, columns, plain = self._plan(batch.schema)
            if batch.num_rows >= _MIN_REPEATED:
                with _collector_paused():
                    records += _rows(batch, columns)
            elif plain:
                records += _few_rows(batch.to_struct_array())
            else:
                records += _rows(batch, columns)
        return records

    def decode_rows(self, rows: pa.StructArray) -> list[dict[str, Any]]:
        """Make one dict for each row of an array of rows, as `decode` does."""
        if not rows.type.equals(self._type, check_metadata=True):
            self._type = rows.type
            self._plain = self._plan(pa.schema(rows.type))[2]
        if self._plain and len(rows) < _MIN_REPEATED:
            return _few_rows(rows)
        return self.decode([pa.RecordBatch.from_struct_array(rows)])

    def _plan(self, schema: pa.Schema) -> _Plan:
        """Return how rows of a schema are read."""
        for plan in self._plans:
            if plan[0] is schema or plan[0].equals(schema, check_metadata=True):
                return plan
        columns = [(field.name, *reader_of(field)) for field in schema]
        plain = FAST_PYLIST and all(map(_is_plain, columns))
        plan = (schema, columns, plain)
        self._plans = [plan, *self._plans[: _PLANS_KEPT - 1]]
        return plan


def decode(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    """Make one dict for each row; see `RecordDecoder.decode`."""
    return RecordDecoder().decode(batches)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the garbage collector from looking, again and again, at new records for garbage.

    It would take a quarter of the time that it takes to make them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _is_plain(column: tuple[str, Reader, object]) -> bool:
    """Tell whether ``to_pylist`` gives the values that the reader gives."""
    name, read, _ = column
    plain = read is _to_pylist or (isinstance(read, partial) and read.func is _read_repeated)
    return plain and name != UNTYPED


def _few_rows(rows: pa.StructArray) -> list[dict[str, Any]]:
    """Make the records of plain columns, too few for what `_rows` prepares."""
    records: list[dict[str, Any]] = rows.to_pylist()
    for i, record in enumerate(records):
        if None in record.values():
            records[i] = {name: value for name, value in record.items() if value is not None}
    return records


def _rows(batch: pa.RecordBatch, columns: _Columns) -> list[dict[str, Any]]:
    """Make the records of one batch."""
    full: list[tuple[str, list[Any]]] = []
    sparse: list[tuple[str, list[Any], object]] = []
    texts: list[str | None] = []
    for (name, read, null), array in zip(columns, batch.columns, strict=True):
        if name == UNTYPED:
            texts = read(array)
        elif array.null_count == 0:
            full.append((name, read(array)))
        elif array.null_count < len(array):
            sparse.append((name, read(array), null))
    rows = _dicts(batch.num_rows, full)
    for name, values, null in sparse:
        for row, value in zip(rows, values, strict=True):
            if value is not null:
                row[name] = value
    if texts:
        _add_untyped(rows, texts)
    return rows


def _dicts(n: int, columns: list[tuple[str, list[Any]]]) -> list[dict[str, Any]]:
    """Make `n` dicts of columns that have a value in each row."""
    if not columns:
        return [{} for _ in range(n)]
    names = tuple([name for name, _ in columns])
    values = [values for _, values in columns]
    if n < _MIN_COMPILED or len(names) > _MAX_COMPILED:
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    return _maker(names)(values)


@lru_cache(maxsize=256)
def _maker(names: tuple[str, ...]) -> Callable[[list[list[Any]]], list[dict[str, Any]]]:
    """Compile the display of a dict with these keys, which is twice as fast as ``dict(zip())``."""
    cells = [f"v{i}" for i in range(len(names))]
    items = ", ".join([f"{name!r}: {cell}" for name, cell in zip(names, cells, strict=True)])
    source = f"lambda columns: [{{{items}}} for {', '.join(cells)}, in zip(*columns)]"
    make: Callable[[list[list[Any]]], list[dict[str, Any]]] = eval(source, {})
    return make


def _add_untyped(rows: list[dict[str, Any]], texts: list[str | None]) -> None:
    """Give each row the keys of its untyped text that it does not have."""
    all_none: dict[str, dict[str, Any]] = {}
    for row, text in zip(rows, texts, strict=True):
        if text is None:
            continue
        entries = all_none.get(text)
        if entries is None:
            (entries,) = _json.parse([text])
            if not any(value is not None for value in entries.values()):
                all_none[text] = entries
        for name, value in entries.items():
            row.setdefault(name, value)


def reader_of(field: pa.Field) -> tuple[Reader, object]:
    """Return the reader of a column, and the object that it gives for null."""
    extension = extension_of(field)
    if extension == "arrow.json":
        return _read_json, _json.NOTHING
    if extension is None and (field.metadata or {}).get(b"persisting:kind") == b"ndarray":
        codec = _ndarray.codec_of(field.type)
        if codec is not None:
            return partial(_ndarray.read, codec), None
    return _plain_reader(field.type) or _to_pylist, None


def _plain_reader(kind: pa.DataType) -> Reader | None:
    """Return the reader that is faster or more exact than ``to_pylist``, or None."""
    types = pa.types
    if types.is_timestamp(kind) and kind.unit == "us":
        return partial(_read_as, "q", _datetime if kind.tz is None else _datetime_in(kind.tz))
    if types.is_date32(kind):
        return partial(_read_as, "i", lambda days: date.fromordinal(days + EPOCH_ORDINAL))
    if types.is_duration(kind) and kind.unit == "us":
        return partial(_read_as, "q", MICROSECOND.__mul__)
    if types.is_time64(kind) and kind.unit == "us":
        return partial(_read_as, "q", lambda number: _datetime(number).time())
    if types.is_list(kind) or types.is_large_list(kind):
        child = _plain_reader(kind.value_type)
        code = "i" if types.is_list(kind) else "q"
        return None if child is None else partial(_read_list, code, child)
    if types.is_string(kind):
        return partial(_read_repeated, _to_pylist if FAST_PYLIST else _read_text)
    if FAST_PYLIST:
        return None
    if kind in _CODES:
        return partial(_read_numbers, _CODES[kind])
    if types.is_boolean(kind):
        return _read_bool
    return None


def _to_pylist(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _read_repeated(read: Reader, array: pa.Array) -> list[Any]:
    """Make one object of texts that are equal, where a few of them fill the column.

    That is faster than to make many, and pickle writes an object that it meets again as a number.
    """
    if len(array) < _MIN_REPEATED or array.null_count:
        return read(array)
    if len(set(read(array.slice(0, _SAMPLE)))) > _SAMPLE // 4:
        return read(array)
    encoded = array.dictionary_encode()
    if 4 * len(encoded.dictionary) > len(array):
        return read(array)
    texts = read(encoded.dictionary)
    return [*map(texts.__getitem__, encoded.indices.to_pylist())]


def _datetime(number: int) -> datetime:
    return EPOCH + number * MICROSECOND


def _datetime_in(zone: str) -> Callable[[int], datetime]:
    info = tzinfo_of(zone)
    if info is EPOCH_UTC.tzinfo:
        return lambda number: EPOCH_UTC + number * MICROSECOND
    return lambda number: (EPOCH_UTC + number * MICROSECOND).astimezone(info)


def _numbers(code: str, array: pa.Array) -> tuple[Any, ...]:
    """Return the numbers in the data buffer; anything where the array is null."""
    size, n = struct.calcsize(code), len(array)
    if not n:
        return ()
    return struct.unpack_from(f"{n}{code}", array.buffers()[1], array.offset * size)


def _read_as(code: str, convert: Callable[[Any], object], array: pa.Array) -> list[Any]:
    numbers = _numbers(code, array)
    if not array.null_count:
        return [*map(convert, numbers)]
    valid = array.is_valid().to_pylist()
    return [convert(number) if ok else None for number, ok in zip(numbers, valid, strict=True)]


def _read_numbers(code: str, array: pa.Array) -> list[Any]:
    return _with_nulls(array, [*_numbers(code, array)])


def _read_bool(array: pa.Array) -> list[Any]:
    return _with_nulls(array, [*map(bool, _numbers("B", array.cast(pa.uint8())))])


def _read_text(array: pa.Array) -> list[Any]:
    if not len(array):
        return []
    _, offsets, data = array.buffers()
    bounds = struct.unpack_from(f"{len(array) + 1}i", offsets, array.offset * 4)
    first, last = bounds[0], bounds[-1]
    whole = bytes(data.slice(first, last - first)) if data is not None else b""
    text: str | None = whole.decode() if whole.isascii() else None
    if text is not None:
        texts = [text[start - first : stop - first] for start, stop in pairwise(bounds)]
    else:
        texts = [whole[start - first : stop - first].decode() for start, stop in pairwise(bounds)]
    return _with_nulls(array, texts)


def _read_list(code: str, read: Reader, array: pa.Array) -> list[Any]:
    offsets = _numbers(code, array.offsets)
    first = offsets[0] if offsets else 0
    items = read(array.values.slice(first, offsets[-1] - first)) if offsets else []
    lists = [items[start - first : stop - first] for start, stop in pairwise(offsets)]
    return _with_nulls(array, lists)


def _with_nulls(array: pa.Array, values: list[Any]) -> list[Any]:
    """Put None where the array is null."""
    if array.null_count:
        for i, ok in enumerate(array.is_valid().to_pylist()):
            if not ok:
                values[i] = None
    return values


def _read_json(array: pa.Array) -> list[Any]:
    """Parse the texts; `NOTHING` where the array is null."""
    storage = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
    read = _plain_reader(storage_of(array.type)) or _to_pylist
    texts = read(storage)
    if not array.null_count:
        return _json.parse(texts)
    values = iter(_json.parse([text for text in texts if text is not None]))
    return [_json.NOTHING if text is None else next(values) for text in texts]
