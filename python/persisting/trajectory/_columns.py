"""What the columns of a step hold, and how values come in and out of Arrow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from persisting._errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

Kind = Literal["array", "ragged", "text", "binary"]

# Of an array of booleans, which is stored as bytes.
_DTYPE = b"persisting.dtype"
# The columns that the store gives each step itself.
PLACE = ("episode", "step", "bootstrap")
VERSION = "version"


@dataclass(frozen=True)
class Column:
    """The type of a column of steps; without one the first step gives it.

    Attributes
    ----------
    kind : str
        ``"array"`` for values of one shape, ``"ragged"`` for sequences of numbers of any length,
        ``"text"`` or ``"binary"``.
    dtype : numpy.dtype or None
        Of the numbers: booleans, integers and floats.
    shape : tuple of int
        Of a value of an array; () for a number.
    """

    kind: Kind
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()

    @staticmethod
    def array(dtype: npt.DTypeLike, shape: Sequence[int] = ()) -> Column:
        """Return the type of arrays of one shape, or of numbers."""
        if math.prod(shape) < 1:
            raise SchemaError(f"an array of shape {tuple(shape)} holds nothing")
        return Column("array", _plain(np.dtype(dtype)), tuple(shape))

    @staticmethod
    def ragged(dtype: npt.DTypeLike) -> Column:
        """Return the type of sequences of numbers of any length, such as tokens."""
        return Column("ragged", _plain(np.dtype(dtype)))

    @staticmethod
    def text() -> Column:
        """Return the type of strings."""
        return Column("text")

    @staticmethod
    def binary() -> Column:
        """Return the type of bytes."""
        return Column("binary")

    # ---- types of values ----

    @staticmethod
    def of_value(name: str, value: Any) -> Column:
        """Return the type that the value of a first step has."""
        if isinstance(value, str):
            return Column.text()
        if isinstance(value, bytes):
            return Column.binary()
        found = as_array(name, value)
        if isinstance(value, list | tuple):
            if found.ndim != 1 or not found.size:
                raise SchemaError(
                    f"column {name!r}: the type of {value!r:.60} is not clear: give an array, or"
                    " the type of the column to TrajectoryStore"
                )
            return Column.ragged(found.dtype)
        return Column.array(found.dtype, found.shape)

    @staticmethod
    def of_values(name: str, values: Any) -> Column:
        """Return the type that the values of several first steps have."""
        if not isinstance(values, list | tuple):
            values = as_array(name, values)
        if not len(values):
            raise SchemaError(f"column {name!r}: no values")
        if isinstance(values, np.ndarray):
            return Column.array(values.dtype, values.shape[1:])
        if any(isinstance(v, np.ndarray) and v.shape != values[0].shape for v in values):
            return Column.ragged(as_array(name, values[0]).dtype)
        clear = (v for v in values if not isinstance(v, list | tuple) or v)
        first = Column.of_value(name, next(clear, values[0]))
        whole = first.kind == "array" and not first.shape and not hasattr(values[0], "dtype")
        return Column.of_values(name, np.asarray(values)) if whole else first

    @staticmethod
    def of_field(field: pa.Field) -> Column:
        """Return the type of a column of the store."""
        kind = field.type
        if pa.types.is_string(kind):
            return Column.text()
        if pa.types.is_binary(kind):
            return Column.binary()
        if pa.types.is_list(kind):
            return Column.ragged(kind.value_type.to_pandas_dtype())
        if isinstance(kind, pa.FixedShapeTensorType):
            named = (field.metadata or {}).get(_DTYPE)
            dtype = named.decode() if named else kind.value_type.to_pandas_dtype()
            return Column.array(dtype, kind.shape)
        return Column.array(kind.to_pandas_dtype())

    def field(self, name: str) -> pa.Field:
        """Return the column of the store."""
        if self.kind == "text":
            return pa.field(name, pa.string())
        if self.kind == "binary":
            return pa.field(name, pa.binary())
        assert self.dtype is not None
        if self.kind == "ragged":
            return pa.field(name, pa.list_(pa.from_numpy_dtype(self.dtype)))
        if not self.shape:
            return pa.field(name, pa.from_numpy_dtype(self.dtype))
        if self.dtype == bool:
            kind = pa.fixed_shape_tensor(pa.uint8(), self.shape)
            return pa.field(name, kind, metadata={_DTYPE: b"bool"})
        return pa.field(name, pa.fixed_shape_tensor(pa.from_numpy_dtype(self.dtype), self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of a value, where all have the same size, else a guess."""
        return math.prod(self.shape) * self.dtype.itemsize if self.dtype is not None else 64

    # ---- values ----

    def cell(self, name: str, value: Any) -> Any:
        """Return a value as the column holds it, in memory of its own."""
        if self.kind in ("text", "binary"):
            wanted: type = str if self.kind == "text" else bytes
            if not isinstance(value, wanted):
                raise SchemaError(f"column {name!r} holds {self.kind}, not {value!r:.60}")
            return value
        found = self._exact(name, as_array(name, value))
        if self.kind == "ragged" and found.ndim != 1:
            raise SchemaError(f"column {name!r} holds sequences, not an array of {found.shape}")
        if self.kind == "array" and found.shape != self.shape:
            raise SchemaError(f"column {name!r} has the shape {self.shape}, not {found.shape}")
        return found

    def cells(self, name: str, values: Any) -> Any:
        """Return values for `arrow`: an array in memory of its own, or a list."""
        if self.kind == "ragged":  # which `arrow` copies once more, as it puts them side by side
            return [v if self.is_items(v) else self.cell(name, v) for v in values]
        if self.kind != "array":
            return [self.cell(name, value) for value in values]
        if isinstance(values, list | tuple) and any(hasattr(v, "__array__") for v in values):
            return np.stack([self.cell(name, value) for value in values])
        found = self._exact(name, as_array(name, values))
        if found.shape[1:] != self.shape:
            raise SchemaError(f"column {name!r} has the shape {self.shape}, not {found.shape[1:]}")
        return found

    def is_items(self, value: Any) -> bool:
        """Tell whether a value of a ragged column is an array just as the column holds it."""
        if not isinstance(value, np.ndarray):
            return False
        return value.dtype == self.dtype and value.ndim == 1

    def _exact(self, name: str, found: np.ndarray) -> np.ndarray:
        """Return a copy with the column's dtype, if no value changes by that."""
        assert self.dtype is not None
        if found.dtype == self.dtype:
            return np.array(found, order="C")
        with np.errstate(invalid="ignore", over="ignore"):
            copy = np.array(found, self.dtype, order="C")
            if not np.can_cast(found.dtype, self.dtype, "safe"):
                back = copy.astype(found.dtype)
                # Of integers that wrap around, the way back would be the same.
                same = (back == found) & ((copy < 0) == (found < 0))
                same |= (back != back) & (found != found)
                if not same.all():
                    other = found[~same].flat[0] if found.ndim else found
                    raise SchemaError(
                        f"column {name!r} holds {self.dtype}, which {other!r} of {found.dtype} is"
                        " not exactly: convert it, or give the column that type from the start"
                    )
        return copy

    def arrow(self, cells: Any) -> pa.Array:
        """Return what `cells` gave as Arrow data."""
        if self.kind == "text":
            return pa.array(cells, pa.string())
        if self.kind == "binary":
            return pa.array(cells, pa.binary())
        if self.kind == "ragged":
            ends = np.zeros(len(cells) + 1, np.int32)
            np.cumsum([len(cell) for cell in cells], out=ends[1:])
            items = pa.array(np.concatenate(cells))
            return pa.ListArray.from_arrays(pa.array(ends), items)
        if not self.shape:
            return pa.array(cells)
        flat = cells.reshape(-1)
        flat = pa.array(flat.view(np.uint8) if self.dtype == bool else flat)
        storage = pa.FixedSizeListArray.from_arrays(flat, math.prod(self.shape))
        return pa.ExtensionArray.from_storage(self.field("").type, storage)

    def read(self, column: pa.ChunkedArray) -> Any:
        """Return the values of a column: an array for an array, else a list."""
        if self.kind in ("text", "binary"):
            return column.to_pylist()
        assert self.dtype is not None
        if self.kind == "ragged":
            return [part for chunk in column.chunks for part in _parts(chunk)]
        if not column.num_chunks:
            return np.empty((0, *self.shape), self.dtype)
        return np.concatenate([self._whole(chunk) for chunk in column.chunks])

    def _whole(self, chunk: pa.Array) -> np.ndarray:
        if not self.shape:
            plain: np.ndarray = chunk.to_numpy(zero_copy_only=False)
            return plain
        assert self.dtype is not None
        count = math.prod(self.shape)
        storage = chunk.storage
        items = storage.values.slice(storage.offset * count, len(storage) * count)
        values: np.ndarray = items.to_numpy(zero_copy_only=False)
        return values.view(self.dtype).reshape(-1, *self.shape)


def _parts(chunk: pa.Array) -> list[np.ndarray]:
    """Return the lists of a chunk as arrays."""
    items = chunk.values.to_numpy(zero_copy_only=False)
    ends = chunk.offsets.to_numpy()
    return [items[ends[i] : ends[i + 1]] for i in range(len(chunk))]


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise SchemaError(f"steps hold booleans, integers and floats of up to 64 bits, not {dtype}")
    native: np.dtype[Any] = dtype.newbyteorder("=")
    return native


def as_array(name: str, value: Any) -> np.ndarray:
    """Return numbers as an array; those of torch may be on any device."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        found = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise SchemaError(f"column {name!r}: {value!r:.60} is no array: {error}") from None
    if found.dtype.kind not in "biuf":
        raise SchemaError(
            f"column {name!r}: steps hold numbers, arrays and sequences of numbers, text and"
            f" bytes, not {value!r:.60}"
        )
    return found


def batch(columns: dict[str, Column], cells: dict[str, Any], version: np.ndarray) -> pa.RecordBatch:
    """Return steps as Arrow data."""
    fields = [column.field(name) for name, column in columns.items()]
    arrays = [column.arrow(cells[name]) for name, column in columns.items()]
    fields.append(pa.field(VERSION, pa.int32()))
    return pa.RecordBatch.from_arrays([*arrays, pa.array(version)], schema=pa.schema(fields))
