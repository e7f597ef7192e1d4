"""Records become Arrow batches, one column at a time."""

from __future__ import annotations

import sys
from functools import lru_cache
from itertools import chain
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from persisting._errors import SchemaError

from . import _json
from ._assemble import Buffers, assemble
from ._codecs import JSON, TEXT, Codec, Payload, all_are, join_masks
from ._foreign import Foreign, codec_of
from ._infer import Refused, is_hollow, join, plain, widen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESERVED = "_persisting_"
"""No key of a record begins like this."""

UNTYPED = f"{RESERVED}untyped"
"""The column that holds, as JSON text of a dict, the keys whose values have no Arrow type."""

MAX_WEIGHT = 2**31 - 1
"""Largest 32-bit offset."""

_SHAPES_KEPT = 64


class _Absent:
    """The class of `ABSENT`."""


ABSENT = _Absent()
"""Stands where a record does not have the key."""


_Part: TypeAlias = tuple[int, int, bytes | None, Payload]
"""Values of one put that wait: first row, number of rows, mask of rows with a value, values."""


class _Column:
    """A column of the bucket, and the values that wait to go there."""

    __slots__ = ("codec", "field", "handed_out", "index", "name", "parts")

    def __init__(self, name: str, codec: Codec, field: pa.Field, index: int) -> None:
        self.name = name
        self.codec = codec
        self.field = field
        self.index = index
        self.handed_out = False
        self.parts: list[_Part] = []

    def take(self, n: int) -> tuple[bytes | None, Payload]:
        """Return mask and values of `n` rows, and forget them."""
        parts, self.parts = self.parts, []
        if len(parts) == 1 and parts[0][1] == n:
            return parts[0][2], parts[0][3]
        masks: list[bytes | None] = []
        counts: list[int] = []
        payloads: list[Payload] = []
        row = 0
        for start, count, mask, payload in parts:
            if start > row:
                masks.append(bytes(start - row))
                counts.append(start - row)
                payloads.append(self.blank(start - row))
            masks.append(mask)
            counts.append(count)
            payloads.append(payload)
            row = start + count
        if row < n:
            masks.append(bytes(n - row))
            counts.append(n - row)
            payloads.append(self.blank(n - row))
        return join_masks(masks, counts), self.codec.merge(payloads)

    def blank(self, n: int) -> Payload:
        """Make the values of `n` rows that have none."""
        payload = self.codec.fit([self.codec.filler] * n)
        assert payload is not None
        return payload


class _Shape:
    """The columns of a batch, told apart by how their arrays are made."""

    __slots__ = ("foreign", "native", "native_schema", "schema")

    def __init__(self, columns: list[_Column]) -> None:
        self.foreign = [
            (i, column, column.codec)
            for i, column in enumerate(columns)
            if isinstance(column.codec, Foreign)
        ]
        self.native = [column for column in columns if not isinstance(column.codec, Foreign)]
        self.schema = pa.schema([column.field for column in columns])
        self.native_schema = pa.schema([column.field for column in self.native])


_Staged: TypeAlias = tuple[_Column, Codec, bytes | None, Payload]
"""What one put has for one column: column, codec, mask of the rows that have a value, values."""


class RecordEncoder:
    """Turn the records of puts into record batches of a bucket's schema.

    Each `add` is one put. It checks and copies the values, so that later changes of the records
    have no effect; `finish` makes one batch of all puts since the last one. A key that is new
    becomes a new column, of the type that the values of its first put need; see the Notes.

    The engine has the last word: hand the batch over, then call `committed` or `rollback`.

    Parameters
    ----------
    schema : pa.Schema, optional
        Schema of the bucket; None for an empty one.

    Notes
    -----
    ==================================  ====================================================
    value                               column
    ==================================  ====================================================
    bool                                bool
    int                                 int64; uint64 when an int of the put needs it
    float                               double; ints that are exact as floats fit as well
    str                                 utf8
    bytes, bytearray                    binary; comes back as bytes
    datetime without a zone             timestamp[us]
    datetime with a zone                timestamp[us, tz], the zone of the first value
    date, time, timedelta               date32, time64[us], duration[us]
    Decimal                             decimal128(38, 18)
    list of values of one type          list<item: T>, nested as well; None as an item is fine
    numpy.ndarray                       dtype and shape are kept, see ``persisting:kind``
    dict, any other list                JSON text, the extension type ``arrow.json`` over utf8
    None, [], [None], [[]], ...         column `UNTYPED`, unless a list column exists
    ==================================  ====================================================

    Values of subclasses and numpy scalars count as the built-in value that is equal to them. What
    cannot be held exactly is refused: ints beyond 64 bits, lone surrogates, Decimals of more than
    20 digits before or 18 behind the point, tuples, sets, other classes, and in nested data also
    bytes, dates, arrays, NaN and keys that are not str.

    A column of ints that meets a float becomes double, and one that meets ints from 2**63 on
    becomes uint64, if every value stays the same; so do lists of them. Other mixes of types are
    refused.

    Not thread-safe. Nothing here waits or does I/O.
    """

    def __init__(self, schema: pa.Schema | None = None) -> None:
        self._columns: dict[str, _Column] = {}
        self._engine: dict[str, pa.Field] = {}
        self._accepted: pa.Schema | None = None
        self._untyped = _Column(UNTYPED, TEXT, pa.field(UNTYPED, pa.string()), sys.maxsize)
        self._used: list[_Column] = []
        self._rows = 0
        self._weight = 0
        self._alone = False
        self._shapes: dict[tuple[int, ...], _Shape] = {}
        if schema is not None:
            self.committed(schema)

    @property
    def schema(self) -> pa.Schema:
        """The bucket's schema once everything that was added is accepted (pa.Schema)."""
        fields = [column.field for column in self._columns.values()]
        if self._untyped.handed_out or self._untyped.parts:
            fields.append(self._untyped.field)
        return pa.schema(fields)

    @property
    def rows(self) -> int:
        """How many records wait for `finish` (int)."""
        return self._rows

    def add(self, records: Sequence[dict[str, Any]]) -> bool:
        """Add the records of one put; all of them or none.

        Parameters
        ----------
        records : sequence of dict
            The records, with str keys.

        Returns
        -------
        bool
            True when the put was added. False when nothing was added because the put must not
            share a batch with what waits: hand over `finish` first, wait for the engine's answer
            to all that was handed out (`committed` or `rollback`), then add again. That is so for
            a put that changes the type of a column of the bucket, because only the engine knows
            whether the old rows allow it; for every put that follows such a one; and when the
            batch would hold more than 2 GiB.

        Raises
        ------
        SchemaError
            If a record is no dict, or a value does not fit its column or cannot be held exactly.
            The text names the key, and the record when there are several. Nothing of the put was
            added.
        """
        if self._alone:
            return False
        rows = _checked(records)
        n = len(rows)
        staged: list[_Staged] = []
        loose: dict[int, dict[str, Any]] = {}
        columns = self._columns
        weight = 0
        wider = False
        for name, values in _transpose(rows):
            column = columns.get(name)
            if column is not None:
                payload = column.codec.fit(values)
                if payload is not None:
                    staged.append((column, column.codec, None, payload))
                    weight += payload[0]
                    continue
            found = self._settle(name, column, values, loose)
            if found is not None:
                staged.append(found)
                weight += found[3][0]
                wider = wider or found[0].codec != found[1]
        if loose:
            mask, payload = _untyped_payload(n, loose)
            staged.append((self._untyped, TEXT, mask, payload))
            weight += payload[0]
        if self._weight + weight > MAX_WEIGHT:
            if self._rows:
                return False
            msg = "one put holds at most 2 GiB; split it"
            raise SchemaError(msg)
        if wider and not self._widen(staged):
            return False
        start = self._rows
        for column, _, mask, payload in staged:
            if not column.parts:
                self._used.append(column)
                if column.index < 0:
                    column.index = len(columns)
                    columns[column.name] = column
            column.parts.append((start, n, mask, payload))
        self._rows += n
        self._weight += weight
        return True

    def finish(self) -> pa.RecordBatch:
        """Make one batch of all records that were added since the last call.

        Returns
        -------
        pa.RecordBatch
            One row per record, in the order in which they were added; columns in the order of
            `schema`, without those of which no record has a value. Null is an absent key, or one
            that column `UNTYPED` has. Without records, a batch of no rows and no columns.
        """
        n, self._rows, self._weight = self._rows, 0, 0
        used, self._used = self._used, []
        if n and not used:
            self._untyped.parts.append((0, n, bytes(n), self._untyped.blank(n)))
            used.append(self._untyped)
        shape = self._shape(used)
        out = Buffers()
        for column in shape.native:
            mask, payload = column.take(n)
            out.begin(n, mask)
            column.codec.lay(payload, out)
        batch = assemble(shape.native_schema, n, out)
        if shape.foreign:
            arrays = batch.columns
            for i, column, codec in shape.foreign:
                arrays.insert(i, codec.array(column.take(n)[1], n))
            batch = pa.RecordBatch.from_arrays(arrays, schema=shape.schema)
        return batch

    def _shape(self, used: list[_Column]) -> _Shape:
        """Return the schema of a batch of these columns."""
        key = tuple([column.index for column in used])
        shape = self._shapes.get(key)
        if shape is None:
            for column in used:
                column.handed_out = True
            if len(self._shapes) >= _SHAPES_KEPT:
                self._shapes.clear()
            shape = self._shapes[key] = _Shape(sorted(used, key=attrgetter("index")))
        return shape

    def committed(self, schema: pa.Schema) -> None:
        """Take note that the engine accepted a batch.

        Parameters
        ----------
        schema : pa.Schema
            Schema of the batch, or all of the bucket's; of dicts or of Arrow data.
        """
        self._alone = self._alone and self._rows > 0
        if self._accepted is not None and schema.equals(self._accepted, check_metadata=True):
            return
        self._accepted = schema
        for field in schema:
            known = self._engine.get(field.name)
            if known is not None:
                if known.equals(field, check_metadata=True):
                    continue
                codec = codec_of(known)
                if join(codec, codec_of(field)) == codec:
                    continue
            self._engine[field.name] = field
            self._adopt(field)
            self._shapes.clear()

    def rollback(self) -> None:
        """Take note that the engine refused a batch.

        Columns and types that only batches brought that are handed out, but not accepted, are
        forgotten. Records that wait keep theirs.
        """
        self._alone = self._alone and self._rows > 0
        waiting = {name: column for name, column in self._columns.items() if column.parts}
        self._columns = {}
        self._untyped.handed_out = UNTYPED in self._engine
        for field in self._engine.values():
            column = waiting.pop(field.name, None)
            if column is not None:
                column.index = len(self._columns)
                self._columns[field.name] = column
            else:
                self._adopt(field)
        for name, column in waiting.items():
            column.index = len(self._columns)
            column.handed_out = False
            self._columns[name] = column
        self._shapes.clear()

    def _adopt(self, field: pa.Field) -> None:
        """Take a column as the engine has it, unless values wait that are of another type."""
        name = field.name
        if name.startswith(RESERVED):
            self._untyped.handed_out = True
            return
        codec = codec_of(field)
        if codec is JSON:
            field = codec.field(name)
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = _Column(name, codec, field, len(self._columns))
        parts = _lift(column, codec)
        if parts is not None:
            column.codec, column.field, column.parts = codec, field, parts
        column.handed_out = True

    def _settle(
        self, name: str, column: _Column | None, values: list[Any], loose: dict[int, dict[str, Any]]
    ) -> _Staged | None:
        """Find a codec for values of which some are missing or do not fit the column as they are.

        Values that have no Arrow type go to `loose`, by row and key. None when those are all.
        """
        if column is None:
            name = _checked_name(name)
        codec = None if column is None else column.codec
        present = {i: v for i, v in enumerate(values) if v is not None and v is not ABSENT}
        if codec is None or len(present) == len(values) or codec.fit([*present.values()]) is None:
            where = "record {}, " if len(values) > 1 else ""
            try:
                codec, present = _choose(codec, present)
            except _Located as error:
                msg = f"{where.format(error.row)}key {name!r}: {error.reason}"
                raise SchemaError(msg) from None
        for i, value in enumerate(values):
            if value is not ABSENT and i not in present:
                loose.setdefault(i, {})[name] = value
        if not present or codec is None:
            return None
        mask, items = None, [*present.values()]
        if len(present) < len(values):
            mask = bytes([i in present for i in range(len(values))])
            items = [present.get(i, codec.filler) for i in range(len(values))]
        payload = codec.fit(items)
        assert payload is not None
        return column or _Column(name, codec, codec.field(name), -1), codec, mask, payload

    def _widen(self, staged: list[_Staged]) -> bool:
        """Change the types of the columns that need it; all or none.

        Returns False when a column of the bucket would change while other records wait.
        """
        changing = [(column, codec) for column, codec, _, _ in staged if column.codec != codec]
        alone = any(column.handed_out for column, _ in changing)
        if alone and self._rows:
            return False
        lifted = []
        for column, codec in changing:
            parts = _lift(column, codec)
            if parts is None:
                msg = f"key {column.name!r}: values that wait as {column.codec.name} are not exact"
                raise SchemaError(f"{msg} as {codec.name}")
            lifted.append(parts)
        for (column, codec), parts in zip(changing, lifted, strict=True):
            column.codec, column.parts = codec, parts
            column.field = pa.field(column.name, codec.type, metadata=column.field.metadata)
        self._alone = alone
        self._shapes.clear()
        return True


class _Located(Exception):
    """A refusal, and the row of the put where it happened."""

    def __init__(self, row: int, reason: object) -> None:
        super().__init__(row, reason)
        self.row = row
        self.reason = reason


def _choose(codec: Codec | None, present: dict[int, Any]) -> tuple[Codec | None, dict[int, Any]]:
    """Choose the codec that takes values by row, and say which of them it takes.

    Hollow lists may be left over. The codec is None when nothing has a type.
    """
    items = {}
    for row, value in present.items():
        try:
            items[row] = plain(value)
        except Refused as error:
            raise _Located(row, error) from None
    try:
        wider = widen(codec, [*items.values()])
    except Refused as error:
        solid = {row: item for row, item in items.items() if not is_hollow(item)}
        if len(solid) < len(items):
            return _choose(codec, solid) if solid else (codec, {})
        raise _locate(codec, items, error) from None
    return (wider, items) if wider is not None else (codec, {})


def _locate(codec: Codec | None, items: dict[int, Any], error: Refused) -> _Located:
    """Find the first row that a column does not take after the rows before it."""
    for row, item in items.items():
        try:
            codec = widen(codec, [item]) or codec
        except Refused as reason:
            return _Located(row, reason)
    return _Located(next(iter(items)), error)


def _lift(column: _Column, codec: Codec) -> list[_Part] | None:
    """Convert what waits in a column for another codec; None when that would change a value."""
    if codec == column.codec:
        return column.parts
    parts = []
    for start, n, mask, payload in column.parts:
        lifted = column.codec.lift(payload, codec)
        if lifted is None:
            return None
        parts.append((start, n, mask, lifted))
    return parts


def _checked(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records as a list of exact dicts."""
    try:
        rows = records if type(records) is list else [*records]
    except TypeError:
        msg = f"records are a list of dicts, not a {type(records).__name__}"
        raise SchemaError(msg) from None
    if all_are(dict, rows):
        return rows
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            msg = f"record {i} is a {type(row).__name__}, not a dict"
            raise SchemaError(msg)
    return [*map(dict, rows)]


def _transpose(rows: list[dict[str, Any]]) -> Iterable[tuple[str, list[Any]]]:
    """Turn records into columns; `ABSENT` stands where a record does not have the key."""
    if len(rows) == 1:
        return [(name, [value]) for name, value in rows[0].items()]
    if not rows:
        return []
    names = [*rows[0]]
    if sum(map(len, rows)) == len(rows) * len(names):
        try:
            return [(name, [*map(itemgetter(name), rows)]) for name in names]
        except KeyError:
            pass
    names = [*dict.fromkeys(chain.from_iterable(rows))]
    return [(name, [row.get(name, ABSENT) for row in rows]) for name in names]


def _checked_name(name: object) -> str:
    """Return the name of a new column as an exact str."""
    if not isinstance(name, str):
        msg = f"the keys of a record are str, not {type(name).__name__}: {name!r}"
        raise SchemaError(msg)
    if name.startswith(RESERVED):
        msg = f"key {name!r}: keys that begin with {RESERVED!r} are reserved"
        raise SchemaError(msg)
    if not _json.is_unicode(name):
        msg = f"key {name!r}: the key has a lone surrogate, which is not Unicode text"
        raise SchemaError(msg)
    return str.__str__(name)


def _untyped_payload(n: int, loose: dict[int, dict[str, Any]]) -> tuple[bytes | None, Payload]:
    """Make the text of `UNTYPED` for the rows that have values without a type."""
    texts = []
    for i in range(n):
        entries = loose.get(i)
        if entries is None:
            texts.append("")
        elif any(value is not None for value in entries.values()):
            texts.extend(_json.dump([entries]) or ())
        else:
            texts.append(_nulls(tuple(entries)))
    payload = TEXT.fit(texts)
    assert payload is not None
    return None if len(loose) == n else bytes([i in loose for i in range(n)]), payload


@lru_cache(maxsize=1024)
def _nulls(names: tuple[str, ...]) -> str:
    """Make the text of `UNTYPED` for keys that are None."""
    (text,) = _json.dump([dict.fromkeys(names)]) or ("",)
    return text
