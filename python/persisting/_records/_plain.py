"""Types and arrays without dictionaries, run-ends and views, which Lance does not store.

What needs no decoding is not copied, and of a slice no more is decoded than it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

_is = pa.types


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of decoded values, which is the same object if there is nothing to decode.

    Extension types and unions are left as they are.
    """
    if _is.is_dictionary(kind) or _is.is_run_end_encoded(kind):
        return plain(kind.value_type)
    if _is.is_string_view(kind):
        return pa.string()
    if _is.is_binary_view(kind):
        return pa.binary()
    if not _is.is_nested(kind) or _is.is_union(kind):
        return kind
    if _is.is_map(kind):
        fields = [kind.key_field, kind.item_field]
    else:
        fields = [kind.field(i) for i in range(kind.num_fields)]
    inner = [field.type for field in fields]
    becomes = [plain(each) for each in inner]
    decoded = [field.with_type(each) for field, each in zip(fields, becomes, strict=True)]
    if _is_view(kind):
        return pa.large_list(decoded[0]) if _is.is_large_list_view(kind) else pa.list_(decoded[0])
    if all(one is two for one, two in zip(inner, becomes, strict=True)):
        return kind
    if _is.is_map(kind):
        return pa.map_(*decoded, keys_sorted=kind.keys_sorted)
    if _is.is_struct(kind):
        return pa.struct(decoded)
    if _is.is_large_list(kind):
        return pa.large_list(decoded[0])
    return pa.list_(decoded[0], kind.list_size if _is.is_fixed_size_list(kind) else -1)


def decode(array: pa.Array) -> pa.Array:
    """Return the values of an array as an array of its `plain` type."""
    kind = array.type
    to = plain(kind)
    if to is kind:
        return array
    if not len(array):
        return pa.nulls(0, to)
    if _is.is_dictionary(kind):
        return decode(array.dictionary).take(array.indices)
    if _is.is_run_end_encoded(kind):
        return _runs(array)
    if _is_view(kind):
        return _lists(array, to)
    if _is.is_struct(kind):
        return _rebuilt(array, to, [], [decode(array.field(i)) for i in range(kind.num_fields)])
    if _is.is_fixed_size_list(kind):
        items = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        return _rebuilt(array, to, [], [decode(items)])
    if _is.is_list(kind) or _is.is_large_list(kind) or _is.is_map(kind):
        offsets = array.offsets
        first = offsets[0].as_py()
        count = offsets[-1].as_py() - first
        ends = pc.subtract(offsets, offsets[0]).buffers()[1]
        return _rebuilt(array, to, [ends], [_items(array, to, first, count)])
    return array.cast(to)  # text and bytes


def _is_view(kind: pa.DataType) -> bool:
    return bool(_is.is_list_view(kind) or _is.is_large_list_view(kind))


def _items(array: pa.Array, to: pa.DataType, first: int, count: int) -> pa.Array:
    """Decode what lists have, or the entries of maps, which are structs without nulls."""
    if not _is.is_map(to):
        return decode(array.values.slice(first, count))
    parts = [decode(part.slice(first, count)) for part in (array.keys, array.items)]
    entries = pa.struct([to.key_field, to.item_field])
    return pa.Array.from_buffers(entries, count, [None], 0, 0, parts)


def _rebuilt(
    array: pa.Array, to: pa.DataType, buffers: Sequence[pa.Buffer], children: Sequence[pa.Array]
) -> pa.Array:
    """Return an array of other children with the nulls of `array`."""
    validity = pc.invert(array.is_null()).buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(
        to, len(array), [validity, *buffers], array.null_count, 0, children
    )


def _runs(array: pa.Array) -> pa.Array:
    """Decode run-ends; pyarrow does so where the values are numbers, which places of values are."""
    place, count = array.find_physical_offset(), array.find_physical_length()
    values = decode(array.values.slice(place, count))
    ones = pa.repeat(pa.scalar(1, pa.int64()), len(array.run_ends))
    places = pc.subtract(pc.cumulative_sum(ones), 1 + place)
    runs = pa.RunEndEncodedArray.from_arrays(array.run_ends, places)
    return values.take(pc.run_end_decode(runs.slice(array.offset, len(array))))


def _lists(array: pa.Array, to: pa.DataType) -> pa.Array:
    """Turn views into lists: pyarrow's own cast gives other values where an array is a slice."""
    sizes = pc.if_else(array.is_valid(), array.sizes, pa.scalar(0, array.sizes.type))
    starts = pc.if_else(pc.greater(sizes, 0), array.offsets, None)
    if starts.null_count == len(array):
        return _rebuilt(array, to, [_ends(sizes, to)], [pa.nulls(0, to.value_type)])
    first = pc.min(starts).as_py()
    end = pc.max(pc.add(starts, sizes)).as_py()
    starts = pc.subtract(pc.fill_null(starts, first), first)
    make = pa.LargeListViewArray if _is.is_large_list_view(array.type) else pa.ListViewArray
    items = make.from_arrays(starts, sizes, decode(array.values.slice(first, end - first)))
    return _rebuilt(array, to, [_ends(sizes, to)], [items.flatten()])


def _ends(sizes: pa.Array, to: pa.DataType) -> pa.Buffer:
    """Return the offsets of lists of these sizes."""
    ends = [pa.array([0], pa.int64()), pc.cumulative_sum(sizes.cast(pa.int64()))]
    width = pa.int64() if _is.is_large_list(to) else pa.int32()
    return pa.concat_arrays(ends).cast(width).buffers()[1]
