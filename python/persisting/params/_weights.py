"""An open version of parameters."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from persisting._arguments import integer
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.params._boxes import Range, Sorting, Stored, in_bytes, is_box, parse, reads
from persisting.params._files import is_file, object_name, of_object
from persisting.params._memory import Destination, destination, existing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from typing_extensions import Self

    from persisting._engine.params import Weights as Handle

Framework = Literal["numpy", "torch", "bytes"]
_FRAMEWORKS = ("numpy", "torch", "bytes")

Rows = slice | tuple[int, int]
Selection = Rows | tuple[slice, ...]


@dataclass(frozen=True)
class TensorInfo:
    """What is stored of a tensor.

    Attributes
    ----------
    dtype : str
        A tag: that of safetensors where it has one, as ``"BF16"``.
    shape : tuple of int
        Its dimensions; of ``F4`` and ``F6`` in values, not in bytes.
    nbytes : int
        Its size.
    tie : int
        The same number, not 0, for tensors of the version that were one in memory.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    tie: int = 0

    @property
    def bits(self) -> int:
        """Size of an element; 0 where there is none."""
        return 8 * self.nbytes // math.prod(self.shape) if self.nbytes else 0


class Weights:
    """An open version: it stays as it is, and its files stay, until it is closed.

    It is made by `ParameterStore.open`, and is a context manager.

    Attributes
    ----------
    name : str
        Of the parameters.
    version : int
        Its number.
    tags : tuple of str
        Tags that named it when it was opened.
    metadata : dict
        What it was saved with.
    tensors : dict of str to TensorInfo
        What there is, in the order in which it was saved.
    objects : dict of str to int
        Objects that were saved with them, with their sizes in bytes.
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        try:
            found = handle.describe()
        except BaseException:
            handle.close()
            raise
        self.name: str = found["name"]
        self.version: int = found["version"]
        self.tags: tuple[str, ...] = tuple(found["tags"])
        self.metadata: dict[str, Any] = found.get("metadata") or {}
        self._numbers: dict[str, int] = {}
        self.tensors: dict[str, TensorInfo] = {}
        self._files: dict[str, TensorInfo] = {}
        self.objects: dict[str, int] = {}
        self._boxes: dict[str, list[Stored]] = {}
        columns = found["tensors"].values()
        for number, (name, dtype, shape, nbytes, tie) in enumerate(zip(*columns, strict=True)):
            if is_box(name):
                self._add_box(number, name, dtype, tuple(shape), nbytes)
                continue
            self._numbers[name] = number
            kept = object_name(name)
            if kept is not None:
                self.objects[kept] = nbytes
                continue
            infos = self._files if is_file(name) else self.tensors
            infos[name] = TensorInfo(dtype, tuple(shape), nbytes, tie)

    def _names(self) -> set[str]:
        """Return the names of tensors and of all that is beside them."""
        return {*self._numbers, *self._boxes}

    def _add_box(
        self, number: int, box: str, dtype: str, sizes: tuple[int, ...], nbytes: int
    ) -> None:
        name, shape, offsets = parse(box)
        whole = nbytes * math.prod(shape) // math.prod(sizes) if nbytes else 0
        self.tensors[name] = TensorInfo(dtype, shape, whole)
        self._boxes.setdefault(name, []).append(Stored(number, offsets, sizes))

    def close(self) -> None:
        """Let the files go. A second call does nothing."""
        self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def keys(self) -> list[str]:
        """Return the names of the tensors, in the order in which they were saved."""
        return [*self.tensors]

    def boxes(self, name: str) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Return offsets and sizes of the boxes that a tensor is stored in, one or several.

        Raises
        ------
        NotFoundError
            There is no such tensor.
        """
        if name not in self.tensors:
            raise self._missing(name)
        shape = self.tensors[name].shape
        if name not in self._boxes:
            return [((0,) * len(shape), shape)]
        return [(box.offsets, box.sizes) for box in self._boxes[name]]

    def _missing(self, name: str) -> NotFoundError:
        return NotFoundError(f"version {self.version} of {self.name!r} has no {name!r}")

    def load(
        self,
        *,
        keys: Iterable[str] | None = None,
        slices: Mapping[str, Selection] | None = None,
        out: Mapping[str, Any] | None = None,
        framework: Framework = "numpy",
        verify: bool = True,
    ) -> dict[str, Any]:
        """Read tensors; waits for the disk. The parameters are those of `ParameterStore.load`."""
        if framework not in _FRAMEWORKS:
            raise InvalidArgumentError(
                f"framework is {framework!r}, want one of {', '.join(_FRAMEWORKS)}"
            )
        given, rows = out or {}, slices or {}
        wanted = [*(given if keys is None and out is not None else keys or self.tensors)]
        if keys is not None and not wanted:
            return {}
        for name in (*wanted, *given, *rows):
            if name not in self.tensors:
                raise self._missing(name)
        batch, sorting = _Reads(), Sorting(self._read_arrays(verify))
        found: dict[str, Any] = {}
        tied: dict[int, Any] = {}
        for name in wanted:
            info, whole = self.tensors[name], name not in rows
            if whole and info.tie in tied and name not in given:
                found[name] = tied[info.tie]
                continue
            part = None if whole and name not in self._boxes else _part(name, info, rows.get(name))
            shape, nbytes = (part.shape, part.nbytes) if part else (info.shape, info.nbytes)
            if name in given:
                place = existing(name, given[name], info.dtype, shape, nbytes)
            else:
                place = destination(framework, info.dtype, shape, nbytes)
                if whole and info.tie:
                    tied[info.tie] = place.value
            found[name] = place.value
            if part is None:
                batch.add(self._numbers[name], 0, place)
            else:
                self._gather(name, part.range, place, batch, sorting)
        batch.run(self._handle, verify)
        sorting.finish()
        return found

    def _gather(
        self, name: str, wanted: Range, place: Destination, batch: _Reads, sorting: Sorting
    ) -> None:
        """Add the reads of a box: straight to their place, or to be sorted."""
        for read in reads(self._stored(name), wanted):
            if read.at is None:
                sorting.add(read, place.bytes(), wanted)
            else:
                batch.add(read.number, read.offset, place.part(read.at, read.nbytes))

    def _stored(self, name: str) -> list[tuple[int, Range]]:
        """Return the boxes of a tensor, by the numbers of the engine."""
        bits = self.tensors[name].bits
        boxes = self._boxes.get(name)
        numbers = [box.number for box in boxes] if boxes else [self._numbers[name]]
        ranges = [in_bytes(name, bits, *box) for box in self.boxes(name)]
        return [*zip(numbers, ranges, strict=True)]

    def _read_arrays(self, verify: bool) -> Callable[[list[tuple[int, int, Any]]], None]:
        def run(parts: list[tuple[int, int, Any]]) -> None:
            batch = _Reads()
            for number, offset, data in parts:
                batch.add(number, offset, _buffer(data))
            batch.run(self._handle, verify)

        return run

    def read_object(self, name: str) -> bytes:
        """Read an object that was saved with the tensors.

        Raises
        ------
        NotFoundError
            There is no such object.
        CorruptError
            The bytes are not those that were saved.
        """
        if name not in self.objects:
            raise self._missing(name)
        content = bytearray(self.objects[name])
        if content:
            self._read_bytes(of_object(name), 0, memoryview(content))
        return bytes(content)

    def _read_bytes(self, name: str, begin: int, into: memoryview) -> None:
        """Read a part of a tensor or of a file into a buffer."""
        if name in self._boxes:
            info = self.tensors[name]
            row = 8 * info.nbytes // info.shape[0]
            first, end = 8 * begin // row, -(-8 * (begin + len(into)) // row)
            rows = self.load(keys=[name], slices={name: (first, end)}, framework="bytes")[name]
            into[:] = memoryview(rows)[begin - first * row // 8 :][: len(into)]
            return
        batch = _Reads()
        batch.add(self._numbers[name], begin, _buffer(into))
        batch.run(self._handle, True)


def _buffer(into: Any) -> Destination:
    import numpy as np

    seen = np.frombuffer(into, np.uint8)
    return Destination(seen.__array_interface__["data"][0], seen.nbytes, seen)


@dataclass
class _Reads:
    """What one call reads."""

    numbers: array[int] = field(default_factory=lambda: array("q"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    addresses: array[int] = field(default_factory=lambda: array("Q"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    kept: list[Any] = field(default_factory=list)

    def add(self, number: int, offset: int, place: Destination) -> None:
        if place.nbytes:
            self.numbers.append(number)
            self.offsets.append(offset)
            self.addresses.append(place.address)
            self.lengths.append(place.nbytes)
            self.kept.append(place.value)

    def run(self, handle: Handle, verify: bool) -> None:
        handle.load(self.numbers, self.offsets, self.addresses, self.lengths, verify=verify)


class _Part(NamedTuple):
    """What is wanted of a tensor."""

    shape: tuple[int, ...]
    range: Range

    @property
    def nbytes(self) -> int:
        return math.prod(self.range.sizes)


def _part(name: str, info: TensorInfo, selection: Selection | None) -> _Part:
    """Return the box of a tensor that is selected."""
    along = [] if selection is None else _each(selection)
    if along and not info.shape:
        raise InvalidArgumentError(f"tensor {name!r} has no rows: its shape is ()")
    if len(along) > len(info.shape):
        raise InvalidArgumentError(
            f"tensor {name!r}: {len(along)} slices, and its shape is {info.shape}"
        )
    ranges = [_range(name, rows, count) for rows, count in zip(along, info.shape, strict=False)]
    ranges += [(0, count) for count in info.shape[len(along) :]]
    offsets = tuple(begin for begin, _ in ranges)
    sizes = tuple(end - begin for begin, end in ranges)
    return _Part(sizes, in_bytes(name, info.bits, offsets, sizes))


def _each(selection: Selection) -> Sequence[Rows]:
    """Return what is selected of the first dimensions."""
    if isinstance(selection, slice):
        return [selection]
    boxed = [rows for rows in selection if isinstance(rows, slice)]
    return boxed if boxed and len(boxed) == len(selection) else [cast("Rows", selection)]


def _range(name: str, rows: Rows, count: int) -> tuple[int, int]:
    """Return the bounds of what is selected of a dimension of some length."""
    if isinstance(rows, slice):
        begin, end, step = rows.indices(count)
        if step != 1:
            raise InvalidArgumentError(f"tensor {name!r}: the step of {rows} is not 1")
        return begin, max(begin, end)
    begin, end = (integer(f"slices[{name!r}]", bound, 0, count) for bound in rows)
    if end < begin:
        raise InvalidArgumentError(f"tensor {name!r}: rows {begin} to {end} are none")
    return begin, end
