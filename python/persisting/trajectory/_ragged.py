"""Columns of a sample whose values have different sizes: tokens, texts, bytes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from persisting._arguments import integer
from persisting._errors import ConflictError, InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    from typing_extensions import Self

    from persisting.trajectory._columns import Column
    from persisting.trajectory._contents import Contents
    from persisting.trajectory._served import Store

_LONGEST = 1 << 31
# What stands where there is no value.
_EMPTY: dict[str, Any] = {"text": "", "binary": b"", "segments": np.empty((0, 2), np.int32)}


@dataclass(frozen=True)
class Packed:
    """Sequences side by side, as kernels for variable lengths take them: a `Ragged`.

    Attributes
    ----------
    dtype : numpy dtype, optional
        Of the values, by default that of the column.
    """

    dtype: npt.DTypeLike | None = None


@dataclass(frozen=True)
class Padded:
    """Sequences as rows of one array [draws, ..., longest]; `Batch.masks` says what is padding.

    Attributes
    ----------
    value : int or float
        What it is padded with.
    side : {"right", "left"}
        Where.
    length : int, optional
        Of all rows, by default that of the longest sequence of the batch. A longer sequence is an
        error.
    dtype : numpy dtype, optional
        Of the values, by default that of the column.
    """

    value: float = 0
    side: Literal["left", "right"] = "right"
    length: int | None = None
    dtype: npt.DTypeLike | None = None


class Ragged:
    """Sequences of different lengths, side by side.

    Attributes
    ----------
    values : array [total]
        Of numpy, or of torch in a batch of tensors.
    cu_seqlens : array of int32 [sequences + 1]
        Where each begins, and behind the last one where it ends.
    shape : tuple of int
        Of the sequences, as [draws, length] of windows.
    """

    def __init__(self, values: Any, cu_seqlens: Any, shape: tuple[int, ...]) -> None:
        self.values = values
        self.cu_seqlens = cu_seqlens
        self.shape = shape

    @property
    def lengths(self) -> Any:
        """How many values each sequence has, of `shape`."""
        return (self.cu_seqlens[1:] - self.cu_seqlens[:-1]).reshape(self.shape)

    def __len__(self) -> int:
        return len(self.cu_seqlens) - 1

    def __getitem__(self, i: int) -> Any:
        if not 0 <= i < len(self):
            raise IndexError(f"sequence {i} of {len(self)}")
        return self.values[int(self.cu_seqlens[i]) : int(self.cu_seqlens[i + 1])]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Ragged of {len(self.values)} values in {self.shape} sequences"

    def select(self, draws: npt.NDArray[np.intp]) -> Ragged:
        """Return some of the draws, in that order, in memory of their own."""
        inner = len(self) // max(1, self.shape[0])
        which = (draws[:, None] * inner + np.arange(inner)).reshape(-1)
        lengths = np.diff(self.cu_seqlens)[which]
        ends = np.zeros(len(which) + 1, np.int32)
        np.cumsum(lengths, out=ends[1:])
        shift = np.repeat(self.cu_seqlens[which] - ends[:-1], lengths)
        return Ragged(self.values[np.arange(ends[-1]) + shift], ends, (len(draws), *self.shape[1:]))

    def torch(self) -> Ragged:
        """Return the same with tensors of torch over the same memory."""
        import torch

        values, ends = torch.from_numpy(self.values), torch.from_numpy(self.cu_seqlens)
        return Ragged(values, ends, self.shape)

    def padded(self, form: Padded) -> tuple[np.ndarray, np.ndarray]:
        """Return rows of one length [*shape, length], and which values are no padding."""
        lengths = np.diff(self.cu_seqlens)[:, None]
        longest = int(lengths.max(initial=0))
        length = longest if form.length is None else form.length
        if longest > length:
            raise InvalidArgumentError(
                f"a sequence has {longest} values, and is to be padded to {length}"
            )
        places = np.arange(length)
        mask = places >= length - lengths if form.side == "left" else places < lengths
        rows = np.full(mask.shape, form.value, self.values.dtype)
        rows[mask] = self.values
        return rows.reshape(*self.shape, length), mask.reshape(*self.shape, length)


class Loose:
    """The columns of a sampler's batches that are read by the offsets of what was drawn.

    Parameters
    ----------
    store, contents
        Whose steps are drawn, and the values of its columns by content.
    known
        The columns of the store.
    columns, following
        Those that are read of each step, and of what is behind it under their ``next_`` name.
    given
        The form of all ragged ones, or of each.
    """

    def __init__(
        self,
        store: Store,
        contents: Contents,
        known: Mapping[str, Column],
        columns: Sequence[str],
        following: Mapping[str, str],
        given: Packed | Padded | Mapping[str, Packed | Padded],
    ) -> None:
        self._store = store
        self._contents = contents
        self.columns = {name: name for name in columns}
        self.following = following
        ragged = [n for n in {*columns, *following.values()} if known[n].kind == "ragged"]
        forms = dict.fromkeys(ragged, given) if isinstance(given, Packed | Padded) else {**given}
        for name in forms:
            if name not in ragged:
                raise InvalidArgumentError(
                    f"ragged names the column {name!r}, and the sampler reads the ragged columns"
                    f" {sorted(ragged)}"
                )
        self.forms: dict[str, tuple[Packed | Padded, np.dtype[Any]]] = {
            name: _checked(name, forms.get(name, Packed()), known[name]) for name in ragged
        }
        self.known = {name: known[name] for name in (*columns, *following.values())}

    def same(self, other: Self) -> bool:
        """Tell whether another one gives the same columns in the same forms."""
        mine = self.columns, self.following, self.forms, self.known
        return mine == (other.columns, other.following, other.forms, other.known)

    def read(self, offsets: np.ndarray) -> pa.Table:
        """Return the columns at offsets; null where one is -1."""
        flat = offsets.reshape(-1)
        there, inverse = np.unique(flat[flat >= 0], return_inverse=True)
        rows = np.full(len(flat), -1, np.int64)
        rows[flat >= 0] = inverse
        with self._store.take(there) as cursor:
            table = pa.Table.from_batches([*cursor], cursor.schema)
        table = table.select([*self.known]).combine_chunks()
        return table.take(pa.array(rows, mask=rows < 0))

    def value(
        self, under: str, name: str, column: pa.ChunkedArray, shape: tuple[int, ...]
    ) -> tuple[Any, np.ndarray | None]:
        """Return a column in its form, and the mask of one that is padded."""
        known = self.known[name]
        if known.kind == "ragged":
            form, dtype = self.forms[name]
            packed = _packed(under, self._lists(known, column), dtype, shape)
            return packed.padded(form) if isinstance(form, Padded) else (packed, None)
        there, cells = self._cells(known, column)
        if known.kind == "array":
            array = np.zeros((len(column), *known.shape), known.dtype)
            array[there] = cells
            return array.reshape(*shape, *known.shape), None
        found = np.empty(len(column), object)
        found[:] = [_EMPTY[known.kind]] * len(column)
        for i, cell in zip(np.flatnonzero(there), cells, strict=True):
            found[i] = cell
        return found.reshape(shape), None

    def _cells(self, known: Column, column: pa.ChunkedArray) -> tuple[np.ndarray, Any]:
        """Return where a column has values, and these."""
        there = column.is_valid().to_numpy()
        read = partial(self._contents.read, known) if known.by_content else known.read
        return there, read(column.drop_null())

    def _lists(self, known: Column, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a ragged column as lists."""
        if not known.by_content:
            return column
        there, cells = self._cells(known, column)
        lists = replace(known, by_content=False).arrow(cells)
        rows = pa.array(np.cumsum(there) - 1, mask=~there)
        return pa.chunked_array([lists.take(rows)])


def check_finals(
    name: str, column: pa.ChunkedArray, offsets: np.ndarray, terminated: np.ndarray
) -> None:
    """Refuse what leads to a final observation that lacks a column, but where it terminated."""
    lacks = column.is_null().to_numpy() & (offsets.reshape(-1) >= 0) & ~terminated.reshape(-1)
    if lacks.any():
        raise ConflictError(
            f"the last observation at offset {offsets.reshape(-1)[lacks][0]} has no {name!r}, which"
            " the step before it leads to; ask for what it has"
        )


def _checked(
    name: str, form: Packed | Padded, column: Column
) -> tuple[Packed | Padded, np.dtype[Any]]:
    """Return a form with its dtype, if the column can have it."""
    assert column.dtype is not None
    if not isinstance(form, Packed | Padded):
        raise InvalidArgumentError(f"the form of {name!r} is {form!r:.60}, want Packed or Padded")
    dtype = column.dtype if form.dtype is None else np.dtype(form.dtype)
    if not np.can_cast(column.dtype, dtype, "same_kind"):
        raise InvalidArgumentError(
            f"column {name!r} holds {column.dtype}, of which samplers make no {dtype}"
        )
    if isinstance(form, Padded):
        if form.side not in ("left", "right"):
            raise InvalidArgumentError(f"side is {form.side!r}, want 'left' or 'right'")
        if form.length is not None:
            integer("length", form.length, 0, _LONGEST)
        with np.errstate(invalid="ignore", over="ignore"):
            held = np.array(form.value).astype(dtype)
        if held != form.value and held == held:
            raise InvalidArgumentError(
                f"column {name!r} is padded with {form.value!r}, which {dtype} does not hold"
            )
    return form, dtype


def _packed(
    name: str, column: pa.ChunkedArray, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> Ragged:
    """Return lists as sequences side by side, in memory of their own."""
    chunk = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    ends = np.zeros(len(chunk) + 1, np.int32)
    np.cumsum(chunk.value_lengths().fill_null(0).to_numpy(), out=ends[1:])
    values = chunk.flatten().to_numpy(zero_copy_only=False)
    assert len(values) == ends[-1], name
    return Ragged(np.array(values, dtype), ends, shape)
