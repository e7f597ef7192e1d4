"""An open version of parameters."""

from __future__ import annotations

import functools
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from persisting._arguments import integer
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.params._files import is_file
from persisting.params._infos import TensorInfo
from persisting.params._memory import Destination, destination, existing
from persisting.params._patches import Patch, patch, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from typing_extensions import Self

    from persisting._engine.params import Weights as Handle

Framework = Literal["numpy", "torch", "bytes"]
Arrays = Literal["numpy", "torch"]
_FRAMEWORKS = ("numpy", "torch", "bytes")

Rows = slice | tuple[int, int]


@dataclass(frozen=True)
class Pulled:
    """What a pull did.

    Attributes
    ----------
    version : int
        Which the tensors are of now.
    same, told, loaded : int
        Numbers of tensors that were the same already, that were made of what was in memory, and
        that were read as a whole.
    read : int
        Bytes that were read.
    """

    version: int
    same: int
    told: int
    loaded: int
    read: int


@dataclass
class _Described:
    """The tensors of a version, with their numbers, and its files."""

    numbers: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    files: dict[str, TensorInfo] = field(default_factory=dict)


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
    def _described(self) -> _Described:
        """What there is, which takes a while of many tensors, and is often not asked for."""
        found = _Described()
        columns = self._handle.describe()["tensors"].values()
        for number, (name, dtype, shape, nbytes, tie) in enumerate(zip(*columns, strict=True)):
            found.numbers[name] = number
            infos = found.files if is_file(name) else found.tensors
            infos[name] = TensorInfo(dtype, tuple(shape), nbytes, tie)
        return found

    @property
    def tensors(self) -> dict[str, TensorInfo]:
        """What there is, in the order in which it was saved."""
        return self._described.tensors

    @property
    def _files(self) -> dict[str, TensorInfo]:
        """Files that came with an imported version."""
        return self._described.files

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

    def load(
        self,
        *,
        keys: Iterable[str] | None = None,
        slices: Mapping[str, Rows] | None = None,
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
                raise NotFoundError(f"version {self.version} of {self.name!r} has no {name!r}")
        reads = _Reads()
        found: dict[str, Any] = {}
        tied: dict[int, Any] = {}
        for name in wanted:
            info = self.tensors[name]
            begin, shape, nbytes = _part(name, info, rows.get(name))
            whole = name not in rows
            if name in given:
                place = existing(name, given[name], info.dtype, shape, nbytes)
            elif whole and info.tie in tied:
                found[name] = tied[info.tie]
                continue
            else:
                place = destination(framework, info.dtype, shape, nbytes)
                if whole and info.tie:
                    tied[info.tie] = place.value
            found[name] = place.value
            reads.add(self._described.numbers[name], begin, place)
        reads.run(self._handle, verify)
        return found

    def pull(self, tensors: Mapping[str, Any], before: Weights, *, verify: bool = True) -> Pulled:
        """Make tensors of another version those of this one, as `ParameterStore.pull` does."""
        reads = _Reads()
        for name, value in tensors.items():
            info = self.tensors.get(name)
            if info is None:
                raise NotFoundError(f"version {self.version} of {self.name!r} has no {name!r}")
            place = existing(name, value, info.dtype, info.shape, info.nbytes)
            reads.add(self._described.numbers[name], 0, place)
        return Pulled(version=self.version, **reads.pull(self._handle, before._handle, verify))

    def patches(self, before: Weights, *, framework: Arrays = "numpy") -> Iterator[Patch]:
        """Tell what changed since another version, as `ParameterStore.patches` does."""
        if framework not in ("numpy", "torch"):
            raise InvalidArgumentError(f"framework is {framework!r}, want 'numpy' or 'torch'")
        changes = before._handle.diff(self._handle)["changes"]
        changed = {change["name"]: change["kind"] for change in changes}
        for name, info in self.tensors.items():
            if name not in changed:
                continue
            now = self.load(keys=[name], framework="bytes")[name]
            known = before.tensors.get(name)
            if known is None or (known.dtype, known.shape) != (info.dtype, info.shape):
                yield whole(name, info, now, framework)
                continue
            old = before.load(keys=[name], framework="bytes")[name]
            yield patch(name, info, old, now, framework)

    def _read_bytes(self, name: str, begin: int, into: memoryview) -> None:
        """Read a part of a tensor or of a file into a buffer."""
        reads = _Reads()
        reads.add(self._described.numbers[name], begin, _buffer(into))
        reads.run(self._handle, True)


def _buffer(into: memoryview) -> Destination:
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


def _part(name: str, info: TensorInfo, rows: Rows | None) -> tuple[int, tuple[int, ...], int]:
    """Return the first byte, the shape and the size of the rows of a tensor."""
    if rows is None:
        return 0, info.shape, info.nbytes
    if not info.shape:
        raise InvalidArgumentError(f"tensor {name!r} has no rows: its shape is ()")
    count = info.shape[0]
    if isinstance(rows, slice):
        begin, end, step = rows.indices(count)
        if step != 1:
            raise InvalidArgumentError(f"tensor {name!r}: the step of {rows} is not 1")
        end = max(begin, end)
    else:
        begin, end = (integer(f"slices[{name!r}]", bound, 0, count) for bound in rows)
        if end < begin:
            raise InvalidArgumentError(f"tensor {name!r}: rows {begin} to {end} are none")
    size, rest = divmod(info.nbytes, count) if count else (0, 0)
    if rest:
        raise InvalidArgumentError(f"tensor {name!r}: a row of {info.dtype} ends within a byte")
    return begin * size, (end - begin, *info.shape[1:]), (end - begin) * size
