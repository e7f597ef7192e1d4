"""An open store of parameters, and an open version of one.

Memory goes over the boundary as addresses, and nothing is copied. Whoever calls keeps it alive.
"""

from __future__ import annotations

import ctypes
import itertools
import os
from array import array
from ctypes import byref
from typing import TYPE_CHECKING, Any

from persisting._engine import boundary, functions
from persisting._engine.handles import Handle, method

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


class Tensors:
    """The tensors of a save, column by column, as C wants them."""

    def __init__(self) -> None:
        self._names: list[bytes] = []
        self._dtypes: dict[str, int] = {}
        self._dtype_numbers = array("i")
        self._ranks = array("i")
        self._dims = array("q")
        self._addresses = array("Q")
        self._lengths = array("q")
        self._ties = array("i")
        self._wholes = array("q")
        self._offsets = array("q")

    def add(
        self, name: str, dtype: str, shape: Sequence[int], address: int, length: int, tie: int
    ) -> None:
        """Add a tensor of `length` bytes at an address."""
        self._names.append(name.encode())
        self._dtype_numbers.append(self._dtypes.setdefault(dtype, len(self._dtypes)))
        self._ranks.append(len(shape))
        self._dims.extend(shape)
        self._addresses.append(address)
        self._lengths.append(length)
        self._ties.append(tie)

    def copy(self, memory: Callable[[int], int]) -> None:
        """Have tensors lie in copies: `memory` returns an address with room for so many bytes."""
        copies: dict[tuple[int, int], int] = {}
        for i, length in enumerate(self._lengths):
            if not length:
                continue
            lies = (self._addresses[i], length)
            if lies not in copies:
                copies[lies] = memory(length)
                ctypes.memmove(copies[lies], *lies)
            self._addresses[i] = copies[lies]

    def extend(
        self,
        names: Iterable[str],
        dtypes: Sequence[str],
        shapes: Sequence[Sequence[int]],
        addresses: Iterable[int],
        lengths: Iterable[int],
        ties: Iterable[int],
    ) -> None:
        """Add many tensors, in half the time that it takes one by one."""
        self._names.extend(map(str.encode, names))
        for dtype in dict.fromkeys(dtypes):
            self._dtypes.setdefault(dtype, len(self._dtypes))
        self._dtype_numbers.extend(map(self._dtypes.__getitem__, dtypes))
        self._ranks.extend(map(len, shapes))
        self._dims.extend(itertools.chain.from_iterable(shapes))
        self._addresses.extend(addresses)
        self._lengths.extend(lengths)
        self._ties.extend(ties)

    def add_box(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        address: int,
        length: int,
        tie: int,
        whole: Sequence[int],
        offsets: Sequence[int],
    ) -> None:
        """Add a box of a tensor with the shape `whole`; those of a part are all added so."""
        self.add(name, dtype, shape, address, length, tie)
        self._wholes.extend(whole)
        self._offsets.extend(offsets)

    @property
    def nbytes(self) -> int:
        """Size of all tensors."""
        return sum(self._lengths)

    def boxes(self) -> tuple[int, int]:
        """Return where the shapes of the tensors are that the boxes are of, and their offsets."""
        return _address(self._wholes), _address(self._offsets)

    def columns(self) -> tuple[boundary.Tensors, list[Any]]:
        """Return the struct and what must live as long as it is used."""
        blob = b"".join(self._names)
        kept: list[Any] = [
            ctypes.create_string_buffer(blob, len(blob) + 1),
            array("i", map(len, self._names)),
            "".join(f"{dtype}\n" for dtype in self._dtypes).encode(),
        ]
        numbers = (
            self._dtype_numbers,
            self._ranks,
            self._dims,
            self._addresses,
            self._lengths,
            self._ties,
        )
        struct = boundary.Tensors(
            len(self._names),
            ctypes.addressof(kept[0]),
            _address(kept[1]),
            kept[2],
            *map(_address, numbers),
        )
        return struct, kept


def _address(column: array[int]) -> int:
    """Return where the numbers of a column are; an empty one has an address as well."""
    if not column:
        column.append(0)
    return column.buffer_info()[0]


class Params(Handle):
    """An open store of parameters. Its methods may be called from any thread.

    Parameters
    ----------
    path
        Directory of the store.
    read_only
        Whether it must be there, and is not made.
    keep
        Whether a copy of what was saved last stays in memory.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool, keep: bool) -> None:
        self.path = os.fspath(path)
        number = functions.params_open(self.path, open_read_only=read_only, keep=keep)
        super().__init__(number, functions.params_close, f"the parameter store {self.path}")

    abort = method(functions.params_abort)
    begin = method(functions.params_begin)
    collect = method(functions.params_collect)
    commit = method(functions.params_commit)
    delete_tag = method(functions.params_delete_tag)
    get = method(functions.params_get)
    names = method(functions.params_list)
    set_tag = method(functions.params_set_tag)
    verify = method(functions.params_verify)
    wait = method(functions.params_wait)

    def save(
        self,
        name: str,
        tensors: Tensors,
        options: Mapping[str, Any],
        progress: boundary.Progress | None,
    ) -> dict[str, Any]:
        """Store tensors as the next version; waits for the disk."""
        struct, kept = tensors.columns()
        seen = None if progress is None else byref(progress)
        found = self._use(functions.params_save, name, byref(struct), options, seen)
        kept.clear()
        return found

    def part(self, transaction: str, rank: int, tensors: Tensors) -> None:
        """Store the part of a rank; waits for the disk."""
        struct, kept = tensors.columns()
        self._use(functions.params_part, transaction, rank, byref(struct), *tensors.boxes())
        kept.clear()

    def delete(self, name: str, versions: Sequence[int]) -> None:
        """Remove versions, or all for none."""
        chosen = array("q", versions)
        self._use(functions.params_delete, name, _address(chosen), len(versions))

    def open(self, name: str, reference: str) -> Weights:
        """Open a version."""
        number = self._use(functions.weights_open, name, reference)
        return Weights(number, f"version {reference} of {name!r}")


class Weights(Handle):
    """An open version. Its methods may be called from any thread."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(number, functions.weights_close, name)

    describe = method(functions.weights_describe)
    entry = method(functions.weights_entry)

    def load(
        self,
        numbers: array[int],
        offsets: array[int],
        addresses: array[int],
        lengths: array[int],
        *,
        verify: bool,
    ) -> None:
        """Read parts of tensors to addresses; waits for the disk."""
        numbers_at, offsets_at, addresses_at, lengths_at = map(
            _address, (numbers, offsets, addresses, lengths)
        )
        self._use(
            functions.weights_load,
            len(numbers),
            numbers_at,
            offsets_at,
            addresses_at,
            lengths_at,
            unverified=not verify,
        )

    def load_rows(
        self,
        numbers: array[int],
        offsets: array[int],
        addresses: array[int],
        lengths: array[int],
        rows: array[int],
        steps: array[int],
        distances: array[int],
        *,
        verify: bool,
    ) -> None:
        """Read rows of tensors to rows at addresses; waits for the disk."""
        count = len(numbers)
        columns = (numbers, offsets, addresses, lengths, rows, steps, distances)
        self._use(
            functions.weights_load_rows, count, *map(_address, columns), unverified=not verify
        )

    def pull(
        self,
        before: Weights,
        numbers: array[int],
        addresses: array[int],
        lengths: array[int],
        *,
        verify: bool,
    ) -> dict[str, Any]:
        """Make tensors at addresses, which are those of another version, those of this one."""
        count = len(numbers)
        columns = [_address(column) for column in (numbers, addresses, lengths)]
        return self._use(
            functions.weights_pull,
            before._number,
            count,
            *columns,
            unverified=not verify,
        )

    def push(self, to: Params, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Bring this version to a store; waits for the disk."""
        return self._use(functions.weights_push, to._number, name, options)

    def diff(self, other: Weights) -> dict[str, Any]:
        """Return how another version differs from this one."""
        return self._use(functions.weights_diff, other._number)
