"""Boxes of tensors: as ranks write them, and as any of them is read from what they wrote.

A box is a range of indices in each dimension. The engine stores one as a tensor of its own, whose
name says where it belongs; here tensors are put together again from theirs.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MARK = "\0box:"


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
        return _place(self, outer)


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
    """Rows of a stored box, which go to rows of what is wanted: one, where they are in one piece.

    Attributes
    ----------
    number : int
        The box, of the engine's tensors.
    offset, at : int
        First byte, there and in what is wanted.
    nbytes, rows : int
        Size of a row, and how many there are.
    step, distance : int
        From one row to the next, there and in what is wanted.
    """

    number: int
    offset: int
    at: int
    nbytes: int
    rows: int
    step: int
    distance: int


def reads(stored: Sequence[tuple[int, Range]], wanted: Range) -> Iterator[Read]:
    """Yield what has to be read for a box, of those that are stored, given by their numbers."""
    for number, whole in stored:
        common = whole.meet(wanted)
        if common is not None:
            yield from _reads(number, whole, common, wanted)


class _Dim(NamedTuple):
    """A dimension of what two boxes have in common."""

    size: int
    step: int  # bytes from one index to the next, in the stored box
    distance: int  # and in what is wanted


def _reads(number: int, whole: Range, common: Range, wanted: Range) -> Iterator[Read]:
    *leading, rows, row = _dims(whole, common, wanted)
    offset, at = _place(common, whole), _place(common, wanted)
    for index in itertools.product(*(range(dim.size) for dim in leading)):
        there = sum(i * dim.step for i, dim in zip(index, leading, strict=True))
        here = sum(i * dim.distance for i, dim in zip(index, leading, strict=True))
        yield Read(number, offset + there, at + here, row.size, *rows)


def _dims(whole: Range, common: Range, wanted: Range) -> list[_Dim]:
    """Return at least two dimensions, the last of single bytes, of which none goes on in another.

    A slice along the last dimension has two, however many the tensor has.
    """
    dims = [_Dim(1, 1, 1)]
    step = distance = 1
    for size, here, there in reversed([*zip(common.sizes, whole.sizes, wanted.sizes, strict=True)]):
        inner = dims[-1]
        if (step, distance) == (inner.size * inner.step, inner.size * inner.distance):
            dims[-1] = _Dim(size * inner.size, inner.step, inner.distance)
        elif size > 1:
            dims.append(_Dim(size, step, distance))
        step, distance = step * here, distance * there
    if len(dims) == 1:
        dims.append(_Dim(1, step, distance))
    return dims[::-1]


def _place(inner: Range, outer: Range) -> int:
    """Return at which byte of a box one inside it begins."""
    place = 0
    for offset, begin, size in zip(inner.offsets, outer.offsets, outer.sizes, strict=True):
        place = place * size + offset - begin
    return place
