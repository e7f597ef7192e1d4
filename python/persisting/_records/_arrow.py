"""Arrow data that comes in as it is, and goes out again."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from persisting._errors import SchemaError

from . import _json
from ._codecs import JSON
from ._encoder import RESERVED, UNTYPED, RecordEncoder
from ._foreign import extension_of, storage_of
from ._plain import decode, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_MAX_UNTYPED = 2**28
"""Bytes of text in column `UNTYPED` of one batch; batches that would need more are cut."""

Columns = TypeVar("Columns", pa.RecordBatch, pa.Table)

_NOT_ARROW = "Arrow data is needed: a record batch, a table, a data frame, a stream of batches"


def normalise(data: Any, schema: pa.Schema | None = None) -> Iterator[pa.RecordBatch]:
    """Bring Arrow data into the form in which a bucket takes it.

    Parameters
    ----------
    data : object
        Anything with ``__arrow_c_stream__`` or ``__arrow_c_array__`` that holds rows: of
        pyarrow, polars, duckdb, pandas and others. Its buffers must not change any more.
    schema : pa.Schema, optional
        Schema of the bucket. Columns of text, bytes and lists follow the width of its offsets,
        and lists of items without a type its item type.

    Yields
    ------
    pa.RecordBatch
        Batches of at least one row, with nullable columns of plain types: dictionary, run-end
        and view types are decoded at any depth, which copies them; all other buffers are those
        that were handed in. Columns of type null are left out. A batch with nulls has column
        `UNTYPED`, so that they come back as None.

    Raises
    ------
    SchemaError
        If the data are no rows, have two columns of one name, a name that begins with
        `RESERVED` or has a NUL character, or a column that has no plain form. Raised by the
        first ``next``, unless only a later batch is at fault.
    """
    known = {field.name: field for field in schema} if schema is not None else {}
    last: pa.Schema | None = None
    fields: list[pa.Field | None] = []
    for batch in _batches(data):
        if last is None or not last.equals(batch.schema, check_metadata=True):
            last = batch.schema
            fields = _plan(last, known)
        if batch.num_rows:
            yield from _bring(batch, fields)


def pull(data: Any, go_on: Callable[[], bool] = lambda: True) -> pa.Table:
    """Take all rows of Arrow data; see `normalise`.

    Parameters
    ----------
    data : object
        As that of `normalise`. What makes its batches when it is asked for them may take long.
    go_on : callable
        Asked before each batch whether somebody still wants them.

    Raises
    ------
    SchemaError
        If it is no Arrow data.
    """
    batches = _batches(data)
    taken = [*takewhile(lambda _: go_on(), batches)]
    schema = taken[0].schema if taken else getattr(batches, "schema", pa.schema([]))
    return pa.Table.from_batches(taken, schema)


def strip(data: Columns) -> Columns:
    """Take column `UNTYPED` away from a batch or table, without copying the others."""
    names = data.schema.names
    return data.drop_columns([UNTYPED]) if UNTYPED in names else data


def visible(schema: pa.Schema) -> pa.Schema:
    """Return a schema without column `UNTYPED`."""
    index = schema.get_field_index(UNTYPED)
    return schema if index < 0 else schema.remove(index)


def declared(schema: pa.Schema) -> pa.Schema:
    """Return the columns that a bucket needs for batches of a schema.

    Raises
    ------
    SchemaError
        If a name is there twice or reserved, or a type is null or has no plain form.
    """
    fields = []
    for field, stored in zip(schema, _plan(schema, {}), strict=True):
        if stored is None:
            msg = f"column {field.name!r}: null is not the type of a column"
            raise SchemaError(msg)
        fields.append(stored.with_nullable(field.nullable))
    return pa.schema(fields, schema.metadata)


def column_of(name: str, kind: pa.DataType | str) -> pa.Field:
    """Return a column of a type, or of the name of one; "json" is JSON.

    Raises
    ------
    SchemaError
        If the name is reserved, or there is no such type.
    """
    if kind == "json":
        return declared(pa.schema([JSON.field(name)])).field(0)
    if isinstance(kind, str):
        try:
            kind = pa.type_for_alias(kind)
        except ValueError as error:
            msg = f"column {name!r}: {kind!r} names no type; give one of pyarrow's"
            raise SchemaError(msg) from error
    field = pa.field(name, kind)
    return field if pa.types.is_null(kind) else declared(pa.schema([field])).field(0)


def default_row(name: str, kind: pa.DataType | str | None, value: Any) -> pa.RecordBatch:
    """Return a batch of one row with a value in one column, of the type given or its own.

    Raises
    ------
    SchemaError
        If the value does not fit the type or has none.
    """
    encoder = RecordEncoder(None if kind is None else pa.schema([column_of(name, kind)]))
    try:
        encoder.add([{name: value}])
    except SchemaError as error:
        if kind is None:
            raise
        msg = f"column {name!r}: {value!r} does not fit {kind}"
        raise SchemaError(msg) from error
    batch = encoder.finish()
    if batch.schema.names != [name]:
        msg = f"column {name!r}: {value!r} has no type; give one"
        raise SchemaError(msg)
    return batch


def _batches(data: Any) -> Iterable[pa.RecordBatch]:
    """Return the batches of anything that has some."""
    batches: Iterable[pa.RecordBatch]
    if isinstance(data, pa.RecordBatch):
        return [data]
    if isinstance(data, pa.Table):
        batches = data.to_batches()
        return batches
    try:
        if hasattr(data, "__arrow_c_stream__"):
            batches = pa.RecordBatchReader.from_stream(data)
            return batches
        if hasattr(data, "__arrow_c_array__"):
            return [pa.record_batch(data)]
    except (pa.ArrowException, TypeError) as error:
        msg = f"{_NOT_ARROW}; {error}"
        raise SchemaError(msg) from error
    msg = f"{_NOT_ARROW}, not a {type(data).__name__}"
    raise SchemaError(msg)


def _plan(schema: pa.Schema, known: dict[str, pa.Field]) -> list[pa.Field | None]:
    """Return the field in which each column is stored; None for those that are left out."""
    names = set()
    try:
        every = [*_names(schema)]
    except UnicodeDecodeError as error:
        msg = f"a column, or a field inside one, has a name that is no UTF-8: {error.object!r}"
        raise SchemaError(msg) from error
    for name in schema.names:
        if name in names:
            msg = f"column {name!r} is there twice"
            raise SchemaError(msg)
        if name.startswith(RESERVED):
            msg = f"column {name!r}: names that begin with {RESERVED!r} are reserved"
            raise SchemaError(msg)
        names.add(name)
    if any("\0" in name for name in every):
        msg = "Arrow has no names with a NUL character"
        raise SchemaError(msg)
    return [_stored(field, known.get(field.name)) for field in schema]


def _names(fields: Iterable[pa.Field]) -> Iterator[str]:
    """Return the names of fields and of those within them."""
    for field in fields:
        yield field.name
        kind = storage_of(field.type)
        if pa.types.is_nested(kind):
            yield from _names(kind.field(i) for i in range(kind.num_fields))


def _stored(field: pa.Field, known: pa.Field | None) -> pa.Field | None:
    """Return the field in which a column is stored."""
    if pa.types.is_null(plain(field.type)):
        return None
    if extension_of(field) == "arrow.json":
        return JSON.field(field.name)
    _refuse(field.type, field.name)
    kind = plain(field.type)
    if known is not None and _follows(kind, known.type):
        kind = known.type
    return field.with_type(kind).with_nullable(True)


def _refuse(kind: pa.DataType, path: str) -> None:
    """Raise where a type has no plain form, within other types as well."""
    advice = next((text for is_one, text in _WITHOUT if is_one(kind)), None)
    if advice is not None:
        msg = f"column {path!r}: {kind} cannot be stored; {advice}"
        raise SchemaError(msg)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        _refuse(kind.value_type, path)
    elif pa.types.is_nested(kind):
        for field in map(kind.field, range(kind.num_fields)):
            _refuse(field.type, f"{path}.{field.name}" if pa.types.is_struct(kind) else f"{path}[]")
    elif isinstance(kind, pa.BaseExtensionType):
        if plain(kind.storage_type) != kind.storage_type:
            msg = f"column {path!r}: {kind} has no plain form; cast it to one"
            raise SchemaError(msg)
        _refuse(kind.storage_type, path)


def _is_narrow_decimal(kind: pa.DataType) -> bool:
    return str(kind).startswith(("decimal32", "decimal64"))


def _has_more_than_values(kind: pa.DataType) -> bool:
    """Tell whether a map has what arrow/go does not know of maps."""
    return pa.types.is_map(kind) and any(
        field.metadata or isinstance(field.type, pa.BaseExtensionType)
        for field in (kind.key_field, kind.item_field)
    )


_WITHOUT = (
    (pa.types.is_union, "make a field of a struct of each of its types"),
    (pa.types.is_interval, "make a duration of it, or a struct of its parts"),
    (_is_narrow_decimal, "cast it to decimal128"),
    (_has_more_than_values, "its keys and items have metadata or extension types; make a list"),
)


def _follows(kind: pa.DataType, known: pa.DataType) -> bool:
    """Tell whether types differ at most in the width of offsets and in items without a type."""
    types = pa.types
    for pair in (
        (types.is_string, types.is_large_string),
        (types.is_binary, types.is_large_binary),
    ):
        if any(is_one(kind) for is_one in pair):
            return any(is_one(known) for is_one in pair)
    if any(is_one(kind) and is_two(known) for is_one in _LISTS for is_two in _LISTS):
        return types.is_null(kind.value_type) or _follows(kind.value_type, known.value_type)
    return bool(kind == known)


_LISTS = (pa.types.is_list, pa.types.is_large_list)


def _bring(batch: pa.RecordBatch, fields: list[pa.Field | None]) -> Iterator[pa.RecordBatch]:
    """Bring a batch into its stored form, as several ones when 32-bit offsets are too short."""
    try:
        stored = _converted(batch, fields)
    except (pa.ArrowInvalid, pa.ArrowCapacityError) as error:
        if batch.num_rows == 1:
            msg = f"the batch has no plain form: {error}"
            raise SchemaError(msg) from error
        stored = None
    except pa.ArrowNotImplementedError as error:
        msg = f"the batch has no plain form: {error}"
        raise SchemaError(msg) from error
    if stored is None:
        half = batch.num_rows // 2
        yield from _bring(batch.slice(0, half), fields)
        yield from _bring(batch.slice(half), fields)
    else:
        yield stored


def _converted(batch: pa.RecordBatch, fields: list[pa.Field | None]) -> pa.RecordBatch | None:
    """Bring a batch into its stored form, or return None when that would be too big."""
    kept = [field for field in fields if field is not None]
    arrays = []
    nulls = []
    for name, field, array in zip(batch.schema.names, fields, batch.columns, strict=True):
        if field is not None:
            array = _column(array, field)
            arrays.append(array)
        else:
            array = decode(array)
        if array.null_count:
            nulls.append((name, array))
    if nulls:
        text = _json.dump([dict.fromkeys([name for name, _ in nulls])])
        assert text is not None
        if batch.num_rows > 1 and batch.num_rows * len(text[0]) > _MAX_UNTYPED:
            return None
        kept = [*kept, pa.field(UNTYPED, pa.string())]
        arrays.append(_where_null([array for _, array in nulls], text[0]))
    schema = pa.schema(kept, batch.schema.metadata)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _column(array: pa.Array, field: pa.Field) -> pa.Array:
    """Bring a column into its stored form, which is itself if it has that already."""
    if isinstance(array.type, pa.BaseExtensionType) and field.type != array.type:
        array = array.storage
    if array.type != field.type:
        array = decode(array)
    return array if array.type == field.type else array.cast(field.type)


def _where_null(arrays: list[pa.Array], text: str) -> pa.Array:
    """Return an array of a text in the rows where one of the arrays is null."""
    missing = arrays[0].is_null()
    for array in arrays[1:]:
        missing = pc.or_(missing, array.is_null())
    return pc.if_else(missing, pa.scalar(text), pa.scalar(None, pa.string()))
