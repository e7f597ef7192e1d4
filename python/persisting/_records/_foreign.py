"""Columns that dicts do not make themselves, but meet: they came into the bucket as Arrow data."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pyarrow as pa

from . import _arrays, _json, _ndarray
from ._codecs import (
    BINARY,
    BOOL,
    DATE,
    DECIMAL,
    DURATION,
    FLOAT,
    INT64,
    JSON,
    NAIVE,
    TEXT,
    TIME,
    UINT64,
    Codec,
    List,
    Payload,
    Timestamp,
)

_NATIVE: dict[pa.DataType, Codec] = {
    codec.type: codec
    for codec in (
        BINARY,
        BOOL,
        DATE,
        DECIMAL,
        DURATION,
        FLOAT,
        INT64,
        NAIVE,
        TEXT,
        TIME,
        UINT64,
    )
}


class Foreign(Codec):
    """Any other Arrow type: takes what comes back from it equal and of the same class."""

    def fit(self, values: list[Any]) -> Payload | None:
        """Convert the values and compare what comes back."""
        if any(value is None for value in values):
            return None
        values = [None if value is _json.NOTHING else value for value in values]
        storage = storage_of(self.type)
        try:
            array = pa.array(values, storage)
            if isinstance(array, pa.ChunkedArray):
                return None
            if storage is not self.type:
                array = pa.ExtensionArray.from_storage(self.type, array)
            if not same(array.to_pylist(), values):
                return None
        except (pa.ArrowException, AttributeError, TypeError, ValueError, OverflowError):
            return None
        return array.nbytes, array

    def merge(self, payloads: list[Payload]) -> Payload:
        """Join the arrays."""
        array = pa.concat_arrays([part[1] for part in payloads])
        return array.nbytes, array


class Numbers(Foreign):
    """Lists of numbers, of one length or of any: takes arrays of that dtype as well as lists.

    What comes back are lists. Arrays that came before the column have one that keeps them,
    `NdArray`.

    Parameters
    ----------
    storage : pa.DataType
        A list, or a fixed-size list, of numbers that numpy has.
    """

    def __init__(self, storage: pa.DataType) -> None:
        super().__init__(storage)
        self.length = storage.list_size if pa.types.is_fixed_size_list(storage) else None
        self.dtype = _ndarray.dtype_of(storage.value_type)

    def fit(self, values: list[Any]) -> Payload | None:
        """Copy the elements of arrays; do with lists as any other type does."""
        if not any(map(_arrays.is_ndarray, values)):
            return super().fit(values)
        if not all(self._takes(value) for value in values if _arrays.is_ndarray(value)):
            return None
        if not all(map(_arrays.is_ndarray, values)):
            return super().fit([v.tolist() if _arrays.is_ndarray(v) else v for v in values])
        items = pa.array(_ndarray.flat(values))
        if self.length is not None:
            array = pa.FixedSizeListArray.from_arrays(items, type=self.type)
        else:
            ends = pa.array([0, *accumulate(map(len, values))], pa.int32())
            array = pa.ListArray.from_arrays(ends, items, type=self.type)
        return array.nbytes, array

    def _takes(self, array: Any) -> bool:
        return (
            array.ndim == 1
            and array.dtype.isnative
            and array.dtype.name == self.dtype
            and self.length in (None, array.size)
        )

    def why(self, value: Any) -> str:
        """Name length, or dtype and shape."""
        array = _arrays.is_ndarray(value)
        listed = value.ndim == 1 if array else isinstance(value, list)
        if listed and self.length not in (None, len(value)):
            return f"{len(value)} items, the column is vectors of {self.length}"
        if array:
            got = f"{_ndarray.describe(value)} of shape {value.shape}"
            return f"{got} does not fit {self.name}; want {self.dtype}, 1-D"
        return f"not all items are exact in {self.name}; put a numpy array of {self.dtype}"


def same(one: object, two: object) -> bool:
    """Compare values and their classes; an int may have become a float."""
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if type(one) is not type(two) and not (type(one) is float and type(two) is int):
        return False
    return bool(one == two) or (one != one and two != two)


def storage_of(kind: pa.DataType) -> pa.DataType:
    """Return the type below an extension type, or the type itself."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def extension_of(field: pa.Field) -> str | None:
    """Return the name of a field's extension type, registered or only in its metadata."""
    if isinstance(field.type, pa.BaseExtensionType):
        name: str = field.type.extension_name
        return name
    return (field.metadata or {}).get(b"ARROW:extension:name", b"").decode() or None


def codec_of(field: pa.Field) -> Codec:
    """Return the codec of a column.

    Parameters
    ----------
    field : pa.Field
        A field of the bucket's schema.

    Returns
    -------
    Codec
        A `Foreign` one when dicts do not make such columns.
    """
    extension = extension_of(field)
    if extension == "arrow.json":
        return JSON
    if extension is not None:
        return Foreign(field.type)
    arrays = _ndarray.codec_of(field)
    if arrays is not None:
        return arrays
    if b"persisting:kind" in (field.metadata or {}):
        return Foreign(field.type)
    return _native(field.type) or _numbers(field.type) or Foreign(field.type)


def _numbers(kind: pa.DataType) -> Numbers | None:
    """Return the codec of lists of numbers."""
    listed = pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)
    return Numbers(kind) if listed and _ndarray.dtype_of(kind.value_type) else None


def _native(kind: pa.DataType) -> Codec | None:
    """Return the codec of a type that dicts make."""
    codec = _NATIVE.get(kind)
    if codec is None and pa.types.is_timestamp(kind) and kind.unit == "us":
        codec = Timestamp(kind.tz)
    if codec is None and pa.types.is_list(kind) and kind.value_field.name == "item":
        child = _native(kind.value_type)
        codec = None if child is None else List(child)
    return codec if codec is not None and codec.type.equals(kind) else None
