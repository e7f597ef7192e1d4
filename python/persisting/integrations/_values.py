"""Values of samples as bytes: tensors of any dtype and shape, text, and what pickle holds.

A value is a head and what it is made of, each padded to whole words of 8 bytes. The head is its own
number of words in one byte, and text: ``int64 2 3`` of a tensor of two rows and three columns, or
``text 5`` with a number of bytes.
"""

from __future__ import annotations

import functools
import math
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from persisting._errors import CorruptError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WORD = 8
_TEXT, _PICKLE = "text", "pickle"


def encode(values: Sequence[Any], most: int) -> Iterator[pa.LargeBinaryArray]:
    """Yield values as the elements of arrays.

    Parameters
    ----------
    values : sequence
        Tensors on any device, str, and what pickle takes.
    most : int
        Bytes of an array, beyond which another one is begun.

    Raises
    ------
    SchemaError
        Pickle does not take a value.
    """
    pieces: list[Any] = []
    ends, size = [0], 0
    for value in values:
        head, body = _encoded(value)
        padding = -len(body) % _WORD
        pieces += (head, body, bytes(padding))
        size += len(head) + len(body) + padding
        ends.append(size)
        if size >= most:
            yield _array(ends, pieces)
            pieces, ends, size = [], [0], 0
    if pieces:
        yield _array(ends, pieces)


def decode(array: pa.LargeBinaryArray) -> list[Any]:
    """Return the values again; tensors are on the CPU, in memory that may be written."""
    if not len(array):
        return []
    ends = np.frombuffer(array.buffers()[1], np.int64)[array.offset :][: len(array) + 1].tolist()
    memory = bytearray(memoryview(array.buffers()[2] or b"")[ends[0] : ends[-1]])
    view = memoryview(memory)
    found = []
    for end in ends[:-1]:
        at = end - ends[0]
        body = at + _WORD * memory[at]
        kind, count, shape = _parsed(bytes(view[at:body]))
        if isinstance(kind, torch.dtype):
            found.append(_tensor(memory, body, kind, count, shape))
        elif kind == _TEXT:
            found.append(str(view[body : body + count], "utf-8", "surrogatepass"))
        else:
            found.append(pickle.loads(view[body : body + count]))
    return found


def _array(ends: list[int], pieces: list[Any]) -> pa.LargeBinaryArray:
    offsets = pa.py_buffer(np.array(ends, np.int64))
    data = pa.py_buffer(b"".join(pieces))
    return pa.Array.from_buffers(pa.large_binary(), len(ends) - 1, [None, offsets, data])


def _encoded(value: Any) -> tuple[bytes, Any]:
    if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_quantized:
        # torch knows no bytes of complex numbers but those of their parts.
        plain = torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
        flat = plain.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return _head(value.dtype, tuple(value.shape)), memoryview(flat.numpy())
    if type(value) is str:
        text = value.encode("utf-8", "surrogatepass")
        return _head(_TEXT, (len(text),)), text
    try:
        pickled = pickle.dumps(value, protocol=5)
    except Exception as error:
        raise SchemaError(f"a {type(value).__name__} cannot be stored: {error}") from error
    return _head(_PICKLE, (len(pickled),)), pickled


@functools.lru_cache(maxsize=4096)
def _head(kind: torch.dtype | str, shape: tuple[int, ...]) -> bytes:
    text = " ".join([str(kind).removeprefix("torch."), *map(str, shape)]).encode()
    words = (1 + len(text) + _WORD - 1) // _WORD
    return bytes([words]) + text.ljust(words * _WORD - 1)


@functools.lru_cache(maxsize=4096)
def _parsed(head: bytes) -> tuple[torch.dtype | str, int, tuple[int, ...]]:
    """Return what a head says: the kind, the number of elements, and the shape."""
    name, *numbers = head[1:].decode().split()
    shape = tuple(map(int, numbers))
    count = math.prod(shape)
    if name in (_TEXT, _PICKLE):
        return name, count, shape
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise CorruptError(f"{name!r} is no dtype of this torch")
    return dtype, count, shape


def _tensor(
    memory: bytearray, at: int, dtype: torch.dtype, count: int, shape: tuple[int, ...]
) -> torch.Tensor:
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=at).reshape(shape)
