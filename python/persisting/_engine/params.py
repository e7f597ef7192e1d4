"""An open store of parameters, and an open version of one.

Memory goes over the boundary as addresses, and nothing is copied. Whoever calls keeps it alive.
"""

from __future__ import annotations

import ctypes
import json
import os
from array import array
from ctypes import byref
from typing import TYPE_CHECKING, Any

from persisting._arguments import text
from persisting._engine import boundary
from persisting._engine.handles import Handle
from persisting._engine.library import as_json, call, library, string

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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
        functions = library()
        number = ctypes.c_uint64()
        flags = (boundary.OPEN_READ_ONLY if read_only else 0) | (boundary.KEEP if keep else 0)
        call(functions.persisting_params_open, os.fsencode(self.path), flags, byref(number))
        name = f"the parameter store {self.path}"
        super().__init__(number.value, functions.persisting_params_close, name)

    def save(self, name: str, tensors: Tensors, options: Mapping[str, Any]) -> dict[str, Any]:
        """Store tensors as the next version; waits for the disk."""
        struct, kept = tensors.columns()
        found: dict[str, Any] = self._json(
            library().persisting_params_save, text("name", name), byref(struct), as_json(options)
        )
        kept.clear()
        return found

    def names(self) -> list[dict[str, Any]]:
        """Return what the catalog has of all names."""
        found: list[dict[str, Any]] = self._json(library().persisting_params_list)
        return found

    def get(self, name: str) -> dict[str, Any]:
        """Return what the catalog has of a name."""
        found: dict[str, Any] = self._json(library().persisting_params_get, text("name", name))
        return found

    def set_tag(self, name: str, tag: str, reference: str, expect: int) -> int:
        """Move a tag and return the version that it names."""
        out = ctypes.c_int64()
        self._use(
            library().persisting_params_set_tag,
            text("name", name),
            text("tag", tag),
            text("version", reference),
            expect,
            byref(out),
        )
        return out.value

    def delete_tag(self, name: str, tag: str, expect: int) -> None:
        """Remove a tag."""
        function = library().persisting_params_delete_tag
        self._use(function, text("name", name), text("tag", tag), expect)

    def delete(self, name: str, versions: Sequence[int]) -> None:
        """Remove versions, or all for none."""
        chosen = array("q", versions)
        function = library().persisting_params_delete
        self._use(function, text("name", name), _address(chosen), len(versions))

    def verify(self, name: str) -> dict[str, Any]:
        """Read and check all versions of a name, or of all names."""
        found: dict[str, Any] = self._json(library().persisting_params_verify, text("name", name))
        return found

    def collect(self) -> dict[str, Any]:
        """Remove files that nothing needs."""
        found: dict[str, Any] = self._json(library().persisting_params_collect)
        return found

    def _json(self, function: Any, *arguments: Any) -> Any:
        return json.loads(string(self._use, function, *arguments))

    def open(self, name: str, reference: str) -> Weights:
        """Open a version."""
        number = ctypes.c_uint64()
        self._use(
            library().persisting_weights_open,
            text("name", name),
            text("version", reference),
            byref(number),
        )
        return Weights(number.value, f"version {reference} of {name!r}")


class Weights(Handle):
    """An open version. Its methods may be called from any thread."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(number, library().persisting_weights_close, name)

    def entry(self) -> dict[str, Any]:
        """Return what the version is, without its tensors."""
        found: dict[str, Any] = json.loads(string(self._use, library().persisting_weights_entry))
        return found

    def describe(self) -> dict[str, Any]:
        """Return what the version is, with its tensors."""
        found: dict[str, Any] = json.loads(string(self._use, library().persisting_weights_describe))
        return found

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
        count = len(numbers)
        flags = 0 if verify else boundary.UNVERIFIED
        columns = map(_address, (numbers, offsets, addresses, lengths))
        self._use(library().persisting_weights_load, count, *columns, flags)

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
        flags = 0 if verify else boundary.UNVERIFIED
        columns = [_address(column) for column in (numbers, addresses, lengths)]
        function = library().persisting_weights_pull
        found: dict[str, Any] = json.loads(
            string(self._use, function, before._number, count, *columns, flags)
        )
        return found

    def diff(self, other: Weights) -> dict[str, Any]:
        """Return how another version differs from this one."""
        function = library().persisting_weights_diff
        found: dict[str, Any] = json.loads(string(self._use, function, other._number))
        return found
