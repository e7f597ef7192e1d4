"""Arrow batches become records."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa

from persisting._errors import SchemaError

from . import _arrays, _beyond, _json, _ndarray, _nested, _rows
from ._codecs import EPOCH, EPOCH_ORDINAL, EPOCH_UTC, MICROSECOND, tzinfo_of
from ._encoder import UNTYPED
from ._foreign import extension_of

Reader: TypeAlias = Callable[[pa.Array], list[Any]]
"""Makes the list of the values of an array; anything where the array is null."""

_PLANS_KEPT = 8


class _Plan(NamedTuple):
    """How rows of a schema are read: in C, but for some columns, by index."""

    schema: pa.Schema
    rows: _rows.Reader
    others: dict[int, Reader]
    untyped: bool

    def records(
        self, rows: object, columns: list[list[Any] | None] | None = None
    ) -> list[dict[str, Any]]:
        """Make the records of rows in C, with the values of `others` in their `columns`."""
        records = _rows.read(self.rows, rows, columns)
        if self.untyped:
            _add_untyped(records)
        return records

    @staticmethod
    def of(schema: pa.Schema) -> _Plan:
        rows, foreign = _rows.reader(schema.__arrow_c_schema__())
        others = {i: read for i, field in enumerate(schema) if (read := reader_of(field))}
        others = {**dict.fromkeys(foreign, _to_pylist), **others}
        return _Plan(schema, rows, others, UNTYPED in schema.names)


class RecordDecoder:
    """Make records from batches; remembers how the schemas are read that it met last.

    Parameters
    ----------
    stand_ins : bool, default False
        Whether `_beyond.stand_in` takes the place of what Python has no object for.
    """

    def __init__(self, *, stand_ins: bool = False) -> None:
        self._stand_ins = stand_ins
        self._plans: list[_Plan] = []

    def decode(
        self, batches: Iterable[pa.RecordBatch], offset_of: Callable[[int], int] | None = None
    ) -> list[dict[str, Any]]:
        """Make one dict for each row.

        Parameters
        ----------
        batches : iterable of pa.RecordBatch
            Batches of a bucket, of one schema or of several.
        offset_of : callable, optional
            Says of the i-th of all rows what its offset is, for the error.

        Returns
        -------
        list of dict
            Equal to the records that were put, in the order of the rows. A null is an absent key,
            unless column `UNTYPED` names it. Columns that did not come from dicts give what
            ``to_pylist`` of pyarrow gives. All objects are new; arrays are writable copies.

        Raises
        ------
        SchemaError
            If Python has no object for a value, such as a date of the year 10,000. It has the
            `column` and the `offset`.
        ImportError
            If a column holds numpy arrays and numpy is not installed.
        """
        records: list[dict[str, Any]] = []
        for batch in batches:
            try:
                records += self._decode(batch)
            except (ImportError, MemoryError):
                raise
            except Exception as error:
                row, name = self._place(batch)
                offset = None if offset_of is None else offset_of(len(records) + row)
                raise _no_object(batch.column(name)[row], name, offset, error) from error
        return records

    def _decode(self, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        plan = self._plan(batch.schema)
        columns: list[list[Any] | None] | None = None
        if plan.others:
            columns = [None] * batch.num_columns
            for i, read in plan.others.items():
                columns[i] = self._read(read, batch.column(i))
        return plan.records(batch.__arrow_c_array__()[1], columns)

    def _read(self, read: Reader, array: pa.Array) -> list[Any]:
        try:
            return read(array)
        except (ValueError, OverflowError):
            if not self._stand_ins:
                raise
        if len(array) == 1:
            return [_beyond.stand_in(array[0])]
        half = len(array) // 2
        return self._read(read, array[:half]) + self._read(read, array[half:])

    def _place(self, batch: pa.RecordBatch) -> tuple[int, str]:
        """Return the first row of a batch that cannot be read, and the column that is at fault."""
        low, high = 0, batch.num_rows  # the rows up to low can be read, those up to high not all
        while high - low > 1:
            middle = (low + high) // 2
            if self._reads(batch.slice(low, middle - low)):
                low = middle
            else:
                high = middle
        row = batch.slice(low, 1)
        names = batch.schema.names
        faulty = (name for name in names if not self._reads(row.select([name])))
        return low, next(faulty, names[0])

    def _reads(self, batch: pa.RecordBatch) -> bool:
        try:
            self._decode(batch)
        except Exception:
            return False
        return True

    def decode_at(self, address: int, schema: pa.Schema, first: int = 0) -> list[dict[str, Any]]:
        """Make records of rows as `decode` does, and release them.

        Parameters
        ----------
        address : int
            Where their ``struct ArrowArray`` is.
        schema : pa.Schema
            Their columns.
        first : int, default 0
            The offset of the first one.
        """
        plan = self._plan(schema)
        if plan.others:
            rows = pa.Array._import_from_c(address, pa.struct(schema))
            return self.decode([pa.RecordBatch.from_struct_array(rows)], first.__add__)
        return plan.records(address)

    def _plan(self, schema: pa.Schema) -> _Plan:
        """Return how rows of a schema are read."""
        for plan in self._plans:
            if plan.schema is schema or plan.schema.equals(schema, check_metadata=True):
                return plan
        plan = _Plan.of(schema)
        self._plans = [plan, *self._plans[: _PLANS_KEPT - 1]]
        return plan


def decode(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    """Make one dict for each row; see `RecordDecoder.decode`."""
    return RecordDecoder().decode(batches)


def _no_object(value: pa.Scalar, name: str, offset: int | None, error: Exception) -> SchemaError:
    """Return the error for a value that there is no object for."""
    try:
        shown = repr(_beyond.stand_in(value))
    except Exception:  # it is shown to no avail
        shown = "a value"
    place = "" if offset is None else f", offset {offset}"
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    found = SchemaError(
        f"column {name!r}{place}: Python has no object for {shown} of type {value.type} "
        f"({error}); get_arrow reads it"
    )
    found.column, found.offset = name, offset
    return found


def _add_untyped(records: list[dict[str, Any]]) -> None:
    """Give each record the keys of its untyped text that it does not have, and dtypes to others."""
    plain: dict[str, dict[str, Any]] = {}
    for record in records:
        text = record.pop(UNTYPED, None)
        if text is None:
            continue
        entries = plain.get(text)
        if entries is None:
            (entries,) = _json.parse([text])
            if not any(type(value) is list for value in entries.values()):
                plain[text] = entries
        for name, value in entries.items():
            if type(value) is not str:
                record.setdefault(name, value)
            elif name in record:
                record[name] = _arrays.scalar(value, record[name])


def reader_of(field: pa.Field) -> Reader | None:
    """Return the reader of a column of records that only Python can read, or None."""
    extension = extension_of(field)
    if extension == "arrow.json":
        return _read_json
    if extension is None:
        codec = _ndarray.codec_of(field)
        if codec is not None:
            return partial(_ndarray.read, codec)
    return _to_pylist if extension is not None else _exact_reader(field.type)


def _exact_reader(kind: pa.DataType) -> Reader | None:
    """Return the reader of dates and times, which is more exact than ``to_pylist``, or None."""
    types = pa.types
    if types.is_timestamp(kind) and kind.unit == "us":
        return partial(_read_as, "q", _datetime if kind.tz is None else _datetime_in(kind.tz))
    if types.is_date32(kind):
        return partial(_read_as, "i", lambda days: date.fromordinal(days + EPOCH_ORDINAL))
    if types.is_duration(kind) and kind.unit == "us":
        return partial(_read_as, "q", MICROSECOND.__mul__)
    if types.is_time(kind):
        return partial(_read_as, "q" if types.is_time64(kind) else "i", _time_of_day_in(kind))
    if types.is_list(kind) or types.is_large_list(kind):
        child = _exact_reader(kind.value_type)
        code = "i" if types.is_list(kind) else "q"
        return None if child is None else partial(_read_list, code, child)
    return None


def _to_pylist(array: pa.Array) -> list[Any]:
    values: list[Any] = array.to_pylist()
    return values


def _datetime(number: int) -> datetime:
    return EPOCH + number * MICROSECOND


def _datetime_in(zone: str) -> Callable[[int], datetime]:
    info = tzinfo_of(zone)
    if info is EPOCH_UTC.tzinfo:
        return lambda number: EPOCH_UTC + number * MICROSECOND
    return lambda number: (EPOCH_UTC + number * MICROSECOND).astimezone(info)


def _time_of_day_in(kind: pa.DataType) -> Callable[[int], time]:
    factor = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}[kind.unit]
    divisor = 1000 if kind.unit == "ns" else 1

    def read(number: int) -> time:
        if not _beyond.is_time_of_day(number, kind):
            raise ValueError("it is not between 0 and 24 hours, or has nanoseconds")
        return _datetime(number * factor // divisor).time()

    return read


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
    """Parse the texts."""
    texts = (array.storage if isinstance(array.type, pa.BaseExtensionType) else array).to_pylist()
    if not array.null_count:
        return _nested.parse(texts)
    values = iter(_nested.parse([text for text in texts if text is not None]))
    return [None if text is None else next(values) for text in texts]
