"""numpy arrays and torch tensors as columns that keep dtype and shape.

The field metadata ``persisting:kind`` = ``ndarray`` marks such a column. Its type is the bare
element type for arrays without dimensions, ``list<item: T>`` for one dimension, or
``fixed_size_list<item: T>[n]`` where a cast fixed the length, for more dimensions
``struct<data: list<item: T>, shape: fixed_size_list<item: int32>[ndim]>``, the layout of Arrow's
variable shape tensor, with the elements in C order. numpy is imported only to make arrays.

Of kind ``tensor`` are torch tensors, of kind ``array`` numpy arrays whose dtype Arrow lacks. Such a
column has the layout of the arrays that `_arrays.seen` gives, and the name of its own dtype in
``persisting:dtype``.
"""

from __future__ import annotations

import importlib
import struct
import sys
from itertools import chain, pairwise
from typing import Any

import pyarrow as pa

from . import _arrays, _json
from ._arrays import is_ndarray
from ._assemble import Buffers, pack_bits
from ._codecs import Codec, Payload, pack_offsets

METADATA = {b"persisting:kind": b"ndarray"}

_ELEMENTS = {
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float16": pa.float16(),
    "float32": pa.float32(),
    "float64": pa.float64(),
}
_NAMES = {element: name for name, element in _ELEMENTS.items()}


def dtype_of(element: pa.DataType) -> str | None:
    """Return the name of the dtype of elements, None if numpy has none."""
    return _NAMES.get(element)


def flat(arrays: list[Any]) -> Any:
    """Join the elements of arrays of one dimension and one dtype."""
    return sys.modules["numpy"].concatenate(arrays)


class NdArray(Codec):
    """numpy arrays of one dtype and one number of dimensions.

    Parameters
    ----------
    element : pa.DataType
        Arrow type of the elements.
    ndim : int
        Number of dimensions.
    length : int, optional
        Number of elements of all arrays, which have one dimension.
    """

    def __init__(self, element: pa.DataType, ndim: int, length: int | None = None) -> None:
        storage = element if ndim == 0 else pa.list_(element, -1 if length is None else length)
        if ndim > 1:
            storage = pa.struct([("data", storage), ("shape", pa.list_(pa.int32(), ndim))])
        super().__init__(storage, METADATA)
        self.element = element
        self.ndim = ndim
        self.length = length
        self.dtype = _NAMES[element]
        self.name = f"ndarray({self.dtype}, {ndim}-D)"
        if length is not None:
            self.name = f"ndarray({self.dtype}, {length} elements)"

    def fit(self, values: list[Any]) -> Payload | None:
        """Copy the elements; arrays of another dtype, byte order or ndim do not fit."""
        numpy = sys.modules.get("numpy")
        if numpy is None:
            return None
        dtype = numpy.dtype(self.dtype)
        blank = numpy.zeros((self.length or 0,) * self.ndim, dtype)
        values = [blank if value is _json.NOTHING else value for value in values]
        for value in values:
            if not is_ndarray(value) or value.dtype != dtype or value.ndim != self.ndim:
                return None
        lengths = [value.size for value in values]
        if self.length is not None and lengths.count(self.length) < len(lengths):
            return None
        shapes = [*chain.from_iterable([value.shape for value in values])] if self.ndim > 1 else []
        if max(shapes, default=0) >= 2**31:
            return None
        return sum(lengths), lengths, [value.tobytes() for value in values], shapes

    def merge(self, payloads: list[Payload]) -> Payload:
        """Join lengths, elements and shapes."""
        lengths = [*chain.from_iterable([part[1] for part in payloads])]
        data = [*chain.from_iterable([part[2] for part in payloads])]
        return sum(lengths), lengths, data, [*chain.from_iterable([part[3] for part in payloads])]

    def lay(self, payload: Payload, out: Buffers) -> None:
        """Use the elements as they are; make offsets and shapes where there are dimensions."""
        _, lengths, data, shapes = payload
        if self.ndim > 1:
            out.begin(len(lengths), None)
        if self.ndim:
            if self.length is None:
                out.buffers.append(pack_offsets(lengths))
            out.begin(sum(lengths), None)
        out.buffers.append(pack_bits(b"".join(data)) if self.dtype == "bool" else data)
        if self.ndim > 1:
            out.begin(len(lengths), None)
            out.begin(len(shapes), None)
            out.buffers.append(struct.pack(f"{len(shapes)}i", *shapes))

    def why(self, value: Any) -> str:
        """Name dtype and dimensions."""
        if not is_ndarray(value):
            return super().why(value)
        return f"{describe(value)} of shape {value.shape} does not fit {self.name}"


class Seen(NdArray):
    """Arrays or tensors of one dtype and number of dimensions, seen as arrays of another dtype.

    Parameters
    ----------
    kind : str
        ``tensor`` for those of torch, ``array`` for those of numpy.
    dtype : str
        Name of the dtype.
    ndim : int
        Number of dimensions.
    """

    def __init__(self, kind: str, dtype: str, ndim: int) -> None:
        element, added = _arrays.elements_of(dtype)
        super().__init__(_ELEMENTS[element], ndim + added)
        self.metadata = {b"persisting:kind": kind.encode(), b"persisting:dtype": dtype.encode()}
        self.kind = kind
        self.seen_dtype = dtype
        self.seen_ndim = ndim
        self.name = f"{kind}({dtype}, {ndim}-D)"

    def fit(self, values: list[Any]) -> Payload | None:
        """Copy the elements; what is of another kind, dtype or ndim does not fit."""
        nothing = _json.NOTHING
        if not all(value is nothing or self._takes(value) for value in values):
            return None
        try:
            return super().fit([v if v is nothing else _arrays.seen(v) for v in values])
        except (TypeError, RuntimeError):
            return None

    def _takes(self, value: Any) -> bool:
        is_one = _arrays.is_tensor if self.kind == "tensor" else is_ndarray
        same = is_one(value) and value.ndim == self.seen_ndim
        return same and _arrays.dtype_of(value) == self.seen_dtype and is_native(value)

    def why(self, value: Any) -> str:
        """Name dtype and dimensions, or why a tensor has no elements to copy."""
        if not _arrays.is_tensor(value) and not is_ndarray(value):
            return super().why(value)
        try:
            _arrays.seen(value)
        except (TypeError, RuntimeError) as error:
            return f"{error} cannot be held; put a dense tensor"
        return f"{describe(value)} of shape {tuple(value.shape)} does not fit {self.name}"


def describe(value: Any) -> str:
    """Name dtype and dimensions of an array or tensor."""
    if _arrays.is_tensor(value):
        return f"tensor({_arrays.dtype_of(value)}, {value.ndim}-D)"
    return f"ndarray({value.dtype}, {value.ndim}-D)"


def is_native(value: Any) -> bool:
    """Tell whether an array has the byte order of the machine, as each tensor has."""
    return _arrays.is_tensor(value) or bool(value.dtype.isnative)


def codec_for(value: Any) -> NdArray | None:
    """Return the codec of an array or tensor, or None when no column keeps dtype or byte order."""
    dtype = _arrays.dtype_of(value)
    element = _ELEMENTS.get(_arrays.elements_of(dtype)[0])
    if element is None or not is_native(value):
        return None
    if _arrays.is_tensor(value):
        return Seen("tensor", dtype, value.ndim)
    if value.dtype.kind in "cmM":
        return Seen("array", dtype, value.ndim)
    if dtype not in _ELEMENTS:
        return None
    return NdArray(element, value.ndim)


def codec_of(field: pa.Field) -> NdArray | None:
    """Return the codec of a column of arrays or tensors.

    None when its metadata does not mark it as one, or its type is not that of one.
    """
    metadata = field.metadata or {}
    kind = metadata.get(b"persisting:kind", b"").decode()
    if kind not in ("ndarray", "tensor", "array"):
        return None
    plain = _codec_of(field.type)
    if kind == "ndarray" or plain is None:
        return plain
    dtype = metadata.get(b"persisting:dtype", b"").decode()
    element, added = _arrays.elements_of(dtype)
    if element != plain.dtype or plain.ndim < added or plain.length is not None:
        return None
    return Seen(kind, dtype, plain.ndim - added)


def _codec_of(storage: pa.DataType) -> NdArray | None:
    """Return the codec of arrays that are stored as a type, or None."""
    ndim, element, length = 0, storage, None
    if pa.types.is_struct(storage):
        if [field.name for field in storage] != ["data", "shape"]:
            return None
        shape = storage.field("shape").type
        element = storage.field("data").type
        if not pa.types.is_fixed_size_list(shape) or not pa.types.is_list(element):
            return None
        ndim, element = shape.list_size, element.value_type
    elif pa.types.is_list(storage):
        ndim, element = 1, storage.value_type
    elif pa.types.is_fixed_size_list(storage):
        ndim, element, length = 1, storage.value_type, storage.list_size
    if element not in _NAMES:
        return None
    codec = NdArray(element, ndim, length)
    return codec if codec.type.equals(storage) else None


def read(codec: NdArray, array: pa.Array) -> list[Any]:
    """Make numpy arrays from a column.

    Parameters
    ----------
    codec : NdArray
        Codec of the column.
    array : pa.Array
        The column, of storage type ``codec.type``.

    Returns
    -------
    list of numpy.ndarray or torch.Tensor
        Writable arrays that own their elements; None where the column is null.

    Raises
    ------
    ImportError
        If numpy, or torch for tensors, is not installed.
    """
    arrays = _read(codec, array)
    if not isinstance(codec, Seen):
        return arrays
    kind, dtype = codec.kind, codec.seen_dtype
    return [None if each is None else _arrays.unseen(kind, dtype, each) for each in arrays]


def _read(codec: NdArray, array: pa.Array) -> list[Any]:
    """Make numpy arrays of the elements as they are stored."""
    numpy = importlib.import_module("numpy")
    n = len(array)
    if codec.ndim == 0:
        shapes: list[Any] = [()] * n
        offsets = [*range(n + 1)]
        items = array
    elif codec.length is not None:
        shapes = [-1] * n
        offsets = [i * codec.length for i in range(n + 1)]
        items = array.values.slice(array.offset * codec.length, n * codec.length)
    else:
        lists = array if codec.ndim == 1 else array.field(0)
        shapes = [-1] * n if codec.ndim == 1 else array.field(1).to_pylist()
        offsets = lists.offsets.to_numpy().tolist()
        items = lists.values.slice(offsets[0], offsets[-1] - offsets[0])
    flat = _elements(numpy, codec.dtype, items)
    first = offsets[0]
    valid = array.is_valid().to_pylist() if array.null_count else [True] * n
    return [
        flat[start - first : stop - first].reshape(shape).copy() if there else None
        for (start, stop), shape, there in zip(pairwise(offsets), shapes, valid, strict=True)
    ]


def _elements(numpy: Any, dtype: str, items: pa.Array) -> Any:
    """View elements as a flat numpy array; bools are unpacked."""
    count, skip, data = len(items), items.offset, items.buffers()[1]
    if not count:
        return numpy.empty(0, dtype)
    if dtype != "bool":
        return numpy.frombuffer(data, dtype, skip + count)[skip:]
    whole, skip = divmod(skip, 8)
    bits = numpy.frombuffer(data, "uint8", offset=whole)
    return numpy.unpackbits(bits, count=skip + count, bitorder="little")[skip:].view("bool")
