"""An open version of parameters."""

from __future__ import annotations

import functools
import math
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from persisting._arguments import integer
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.params._boxes import Range, Read, in_bytes, reads, tensor_of
from persisting.params._files import of_object
from persisting.params._infos import Contents, TensorInfo, contents
from persisting.params._memory import Destination, Memory, existing
from persisting.params._patches import Patch, patch, whole
from persisting.params._view import TensorView

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from persisting._engine.params import Weights as Handle

Framework = Literal["numpy", "torch", "bytes"]
Arrays = Literal["numpy", "torch"]
_FRAMEWORKS = ("numpy", "torch", "bytes")

# Of up to so many tensors the engine is asked by their names, of more all are looked at.
_FEW = 100

Rows = slice | tuple[int, int]
Selection = Rows | tuple[slice, ...]


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes
    ----------
    version : int
        Which the tensors are of now.
    same, told, loaded : int
        Numbers of tensors that were the same already, that were made of what was in memory, and
        that were read as a whole; of one that is stored in boxes, each of them counts.
    read : int
        Bytes that were read.
    """

    version: int
    same: int
    told: int
    loaded: int
    read: int


def _can_be_a_name(key: object) -> bool:
    """Tell whether a tensor can have that name: Unicode text, without lone surrogates."""
    if not isinstance(key, str):
        return False
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


class Weights:
    """An open version: it stays as it is, and its files stay, until it is closed.

    It is made by `ParameterStore.open`, and is a context manager. By the names of its tensors it
    gives views of them, as a mapping does, of which nothing is read before they are indexed.

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
    """

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        try:
            found = handle.entry()
        except BaseException:
            handle.close()
            raise
        self.name: str = found["name"]
        self.version: int = found["version"]
        self.tags: tuple[str, ...] = tuple(found["tags"])
        self.metadata: dict[str, Any] = found.get("metadata") or {}

    @functools.cached_property
    def _contents(self) -> Contents:
        """What there is, which takes a while of many tensors, and is often not asked for."""
        return contents(self._handle.describe()["tensors"].values())

    def _known(self, names: Collection[object]) -> Contents:
        """Return what there is of tensors with some names; more, where that is known already."""
        if "_contents" in self.__dict__ or len(names) > _FEW:
            return self._contents
        found = self._handle.find([*filter(_can_be_a_name, names)])
        return contents(found["tensors"].values(), found["numbers"])

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """What there is, in the order in which it was saved."""
        return self._contents.tensors

    @property
    def objects(self) -> dict[str, int]:
        """Objects that were saved with the tensors, with their sizes in bytes."""
        return self._contents.objects

    @property
    def _files(self) -> dict[str, TensorInfo]:
        """Files that came with an imported version."""
        return self._contents.files

    def _names(self) -> set[str]:
        """Return the names of tensors and of all that is beside them."""
        return self._contents.names()

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

    def values(self) -> list[TensorView]:
        """Return views of all tensors."""
        return [TensorView(self, name, info) for name, info in self.tensors.items()]

    def items(self) -> list[tuple[str, TensorView]]:
        """Return the names of all tensors with their views."""
        return [*zip(self.tensors, self.values(), strict=True)]

    def __getitem__(self, name: str) -> TensorView:
        """Return a view of a tensor; `NotFoundError` says that there is none."""
        known = self._known([name])
        if name not in known.tensors:
            raise self._missing(name)
        return TensorView(self, name, known.tensors[name])

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def boxes(self, name: str) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Return offsets and sizes of the boxes that a tensor is stored in, one or several.

        Raises
        ------
        NotFoundError
            There is no such tensor.
        """
        known = self._known([name])
        if name not in known.tensors:
            raise self._missing(name)
        return [(box.offsets, box.sizes) for box in known.stored(name)]

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
        given, sliced = out or {}, slices or {}
        wanted = [*(given if keys is None and out is not None else keys or self.tensors)]
        if keys is not None and not wanted:
            return {}
        named = dict.fromkeys((*wanted, *given, *sliced))
        known = self._known(named)
        tensors = known.tensors
        for name in named:
            if name not in tensors:
                raise self._missing(name)
        memory = Memory(framework)
        batch, rows = _Reads(), _Rows()
        found: dict[str, Any] = {}
        tied: dict[int, Any] = {}
        for name in wanted:
            info, whole = tensors[name], name not in sliced
            if whole and info.tie in tied and name not in given:
                found[name] = tied[info.tie]
                continue
            plain = whole and name not in known.boxes
            part = None if plain else _part(name, info, sliced.get(name))
            shape, nbytes = (part.shape, part.nbytes) if part else (info.shape, info.nbytes)
            if name in given:
                place = existing(name, given[name], info.dtype, shape, nbytes)
            else:
                place = memory.take(info.dtype, shape, nbytes)
                if whole and info.tie:
                    tied[info.tie] = place.value
            found[name] = place.value
            if part is None:
                batch.add(known.numbers[name], 0, place)
            else:
                _gather(known, name, part.range, place, batch, rows)
        batch.run(self._handle, verify)
        rows.run(self._handle, verify)
        return found

    def pull(self, tensors: Mapping[str, Any], before: Weights, *, verify: bool = True) -> Pulled:
        """Make tensors of another version those of this one, as `ParameterStore.pull` does."""
        batch, strided = _Reads(), list[tuple[Any, Any]]()
        for name, value in tensors.items():
            if name not in self.tensors:
                raise self._missing(name)
            info = self.tensors[name]
            place = existing(name, value, info.dtype, info.shape, info.nbytes)
            if name not in self._contents.boxes:
                batch.add(self._contents.numbers[name], 0, place)
                continue
            around = in_bytes(name, info.bits, (0,) * len(info.shape), info.shape)
            for number, box in _ranges(self._contents, name):
                at = box.place(around)
                if at is not None:
                    batch.add(number, 0, place.part(at, math.prod(box.sizes)))
                    continue
                seen = place.bytes().reshape(around.sizes)[box.within(around)]
                strided.append((seen, seen.copy()))
                batch.add(number, 0, _buffer(strided[-1][1]))
        found = batch.pull(self._handle, before._handle, verify)
        for seen, changed in strided:
            seen[...] = changed
        return Pulled(version=self.version, **found)

    def patches(self, before: Weights, *, framework: Arrays = "numpy") -> Iterator[Patch]:
        """Tell what changed since another version, as `ParameterStore.patches` does."""
        if framework not in ("numpy", "torch"):
            raise InvalidArgumentError(f"framework is {framework!r}, want 'numpy' or 'torch'")
        changes = before._handle.diff(self._handle)["changes"]
        changed = {tensor_of(change["name"]) for change in changes}
        for name, info in self.tensors.items():
            if name not in changed:
                continue
            now = self.load(keys=[name], framework="bytes")[name]
            known = before.tensors.get(name)
            if known is None or (known.dtype, known.shape) != (info.dtype, info.shape):
                yield whole(name, info, now, framework)
                continue
            old = before.load(keys=[name], framework="bytes")[name]
            found = patch(name, info, old, now, framework)
            if len(found.indices):  # it may lie in other boxes only
                yield found

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
        if name in self._contents.boxes:
            info = self.tensors[name]
            row = 8 * info.nbytes // info.shape[0]
            first, end = 8 * begin // row, -(-8 * (begin + len(into)) // row)
            rows = self.load(keys=[name], slices={name: (first, end)}, framework="bytes")[name]
            into[:] = memoryview(rows)[begin - first * row // 8 :][: len(into)]
            return
        batch = _Reads()
        batch.add(self._contents.numbers[name], begin, _buffer(into))
        batch.run(self._handle, True)


def _ranges(known: Contents, name: str) -> list[tuple[int, Range]]:
    """Return the boxes of a tensor in bytes, by the numbers of the engine."""
    bits = known.tensors[name].bits
    return [
        (box.number, in_bytes(name, bits, box.offsets, box.sizes)) for box in known.stored(name)
    ]


def _gather(
    known: Contents, name: str, wanted: Range, place: Destination, batch: _Reads, rows: _Rows
) -> None:
    """Add the reads of a box: of one piece, or of rows."""
    for read in reads(_ranges(known, name), wanted):
        if read.rows == 1:
            batch.add(read.number, read.offset, place.part(read.at, read.nbytes))
        else:
            rows.add_rows(read, place)


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

    def pull(self, handle: Handle, before: Handle, verify: bool) -> dict[str, int]:
        return handle.pull(before, self.numbers, self.addresses, self.lengths, verify=verify)


@dataclass
class _Rows(_Reads):
    """The same where each part is rows, of which `lengths` has the sizes."""

    counts: array[int] = field(default_factory=lambda: array("q"))
    steps: array[int] = field(default_factory=lambda: array("q"))
    distances: array[int] = field(default_factory=lambda: array("q"))

    def add_rows(self, read: Read, place: Destination) -> None:
        self.add(read.number, read.offset, place.part(read.at, read.nbytes))
        self.counts.append(read.rows)
        self.steps.append(read.step)
        self.distances.append(read.distance)

    def run(self, handle: Handle, verify: bool) -> None:
        handle.load_rows(
            self.numbers,
            self.offsets,
            self.addresses,
            self.lengths,
            self.counts,
            self.steps,
            self.distances,
            verify=verify,
        )


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
