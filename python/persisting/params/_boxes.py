"""Boxes of tensors: as ranks write them, and as any of them is read from what they wrote.

A box is a range of indices in each dimension. The engine stores one as a tensor of its own, whose
name says where it belongs; here tensors are put together again from theirs.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_MARK = "\0box:"

# What cannot be read to where it is wanted goes through memory of its own, in pieces of at most
# this size, several of which are read at once.
PIECE_BYTES = 8 << 20
AT_ONCE_BYTES = 64 << 20


@dataclass(frozen=True)
class Box:
    """A part of a tensor, as a rank has it.

    Attributes
    ----------
    value : tensor
        What is in it, as of `ParameterStore.save`.
    shape : tuple of int
        Dimensions of the whole tensor.
    offsets : tuple of int
        Where in it the box begins, in each dimension.
    """

    value: Any
    shape: tuple[int, ...]
    offsets: tuple[int, ...]


def is_box(name: str) -> bool:
    """Whether a name is that of a box in an open version."""
    return name.startswith(_MARK)


class Stored(NamedTuple):
    """A box of a tensor in an open version."""

    number: int  # of the engine's tensors
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]


def parse(name: str) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """Return the name and the shape of the tensor that a box is of, and its offsets."""
    shape, offsets, tensor = name.removeprefix(_MARK).split(":", 2)
    return tensor, _numbers(shape), _numbers(offsets)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def tensor_of(name: str) -> str:
    """Return the name of the tensor that an entry of a version is, or is a box of."""
    return parse(name)[0] if is_box(name) else name


class Range(NamedTuple):
    """Offsets and sizes of a box; the last dimension counts bytes."""

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    def meet(self, other: Range) -> Range | None:
        """Return what two boxes have in common."""
        begins = tuple(map(max, self.offsets, other.offsets))
        ends = tuple(map(min, self.ends(), other.ends()))
        sizes = tuple(end - begin for begin, end in zip(begins, ends, strict=True))
        return Range(begins, sizes) if min(sizes) > 0 else None

    def ends(self) -> tuple[int, ...]:
        """Return where it ends in each dimension."""
        return tuple(a + b for a, b in zip(self.offsets, self.sizes, strict=True))

    def within(self, outer: Range) -> tuple[slice, ...]:
        """Return its indices in an array that is a box around it."""
        begins = (a - b for a, b in zip(self.offsets, outer.offsets, strict=True))
        return tuple(slice(a, a + n) for a, n in zip(begins, self.sizes, strict=True))

    def place(self, outer: Range) -> int | None:
        """Return at which byte of a box around it this one lies, None if it is not in one piece."""
        partial = [i for i, n in enumerate(self.sizes) if n != outer.sizes[i]]
        if partial and any(n != 1 for n in self.sizes[: partial[-1]]):
            return None
        place = 0
        for offset, begin, size in zip(self.offsets, outer.offsets, outer.sizes, strict=True):
            place = place * size + offset - begin
        return place


def in_bytes(name: str, bits: int, offsets: Sequence[int], sizes: Sequence[int]) -> Range:
    """Return a box of elements of some bits as one of bytes.

    Raises
    ------
    InvalidArgumentError
        It begins or ends within a byte.
    """
    if not sizes:
        return Range((0,), (bits // 8,))
    first, count = offsets[-1] * bits, sizes[-1] * bits
    if first % 8 or count % 8:
        raise InvalidArgumentError(f"tensor {name!r}: a box begins or ends within a byte")
    return Range((*offsets[:-1], first // 8), (*sizes[:-1], count // 8))


class Read(NamedTuple):
    """Bytes of a stored box that are read in one piece."""

    number: int
    offset: int
    nbytes: int
    at: int | None  # byte of what is wanted that they belong to; None if they have to be sorted
    rows: Range  # of the stored box: what the bytes are
    wanted: Range  # of that


def reads(stored: Sequence[tuple[int, Range]], wanted: Range) -> Iterator[Read]:
    """Yield what has to be read for a box, of those that are stored, given by their numbers."""
    for number, whole in stored:
        common = whole.meet(wanted)
        if common is not None:
            yield from _reads(number, whole, common, wanted)


def _reads(number: int, whole: Range, common: Range, wanted: Range) -> Iterator[Read]:
    there, here = common.place(whole), common.place(wanted)
    if there is not None and here is not None:
        yield Read(number, there, math.prod(common.sizes), here, common, common)
        return
    # Whole rows of the stored box, of the innermost dimension along which enough fit in a piece.
    dim = 0
    while math.prod(whole.sizes[dim + 1 :]) > PIECE_BYTES and dim < len(whole.sizes) - 1:
        dim += 1
    row = math.prod(whole.sizes[dim + 1 :])
    step = max(1, PIECE_BYTES // row)
    for part in _along(common, dim, step):
        outer = Range(
            (*part.offsets[: dim + 1], *whole.offsets[dim + 1 :]),
            (*part.sizes[: dim + 1], *whole.sizes[dim + 1 :]),
        )
        place = outer.place(whole)
        assert place is not None, (outer, whole)
        yield Read(number, place, math.prod(outer.sizes), None, outer, part)


def _along(common: Range, dim: int, step: int) -> Iterator[Range]:
    """Cut a box: into single indices before a dimension, and some at a time along it."""
    offsets, sizes = common
    for leading in itertools.product(*map(range, sizes[:dim])):
        begin = tuple(offset + index for offset, index in zip(offsets, leading, strict=False))
        for first in range(0, sizes[dim], step):
            count = min(step, sizes[dim] - first)
            yield Range(
                (*begin, offsets[dim] + first, *offsets[dim + 1 :]),
                (*(1 for _ in begin), count, *sizes[dim + 1 :]),
            )


class Sorting:
    """Reads whose bytes have to be sorted: a bounded number of bytes at a time."""

    def __init__(self, run: Callable[[list[tuple[int, int, Any]]], None]) -> None:
        self._run = run
        self._waiting: list[tuple[Read, Any, Any, Range]] = []
        self._size = 0

    def add(self, read: Read, into: Any, wanted: Range) -> None:
        """Read into memory of its own, and copy from there, at once or later."""
        import numpy as np

        self._waiting.append((read, np.empty(read.nbytes, np.uint8), into, wanted))
        self._size += read.nbytes
        if self._size >= AT_ONCE_BYTES:
            self.finish()

    def finish(self) -> None:
        """Do all that is waiting."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        self._run([(read.number, read.offset, data) for read, data, _, _ in waiting])
        for read, data, into, wanted in waiting:
            rows, shaped = data.reshape(read.rows.sizes), into.reshape(wanted.sizes)
            shaped[read.wanted.within(wanted)] = rows[read.wanted.within(read.rows)]
