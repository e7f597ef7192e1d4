"""An open version of parameters."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from persisting._arguments import integer
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.params._files import is_file
from persisting.params._memory import Destination, destination, existing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Self

    from persisting._engine.params import Weights as Handle

Framework = Literal["numpy", "torch", "bytes"]
_FRAMEWORKS = ("numpy", "torch", "bytes")

Rows = slice | tuple[int, int]


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
        columns = found["tensors"].values()
        for number, (name, dtype, shape, nbytes, tie) in enumerate(zip(*columns, strict=True)):
            self._numbers[name] = number
            infos = self._files if is_file(name) else self.tensors
            infos[name] = TensorInfo(dtype, tuple(shape), nbytes, tie)

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
            reads.add(self._numbers[name], begin, place)
        reads.run(self._handle, verify)
        return found

    def _read_bytes(self, name: str, begin: int, into: memoryview) -> None:
        """Read a part of a tensor or of a file into a buffer."""
        reads = _Reads()
        reads.add(self._numbers[name], begin, _buffer(into))
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
