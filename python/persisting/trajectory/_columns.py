"""What the columns of a step hold, and how values come in and out of Arrow."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from persisting._errors import InvalidArgumentError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

Kind = Literal["array", "ragged", "text", "binary", "segments"]

# Of an array of booleans, which is stored as bytes.
_DTYPE = b"persisting.dtype"
# Of lists of numbers that are segments.
_KIND = b"persisting.kind"
# Of names of values: what these are. The engine knows the columns of names by it.
_CONTENT = b"persisting.content"
# The size of the name of a value, see `persisting_trajectories_keep`.
NAME_BYTES = 32
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
        ``"text"``, ``"binary"`` or ``"segments"``.
    dtype : numpy.dtype or None
        Of the numbers: booleans, integers and floats.
    shape : tuple of int
        Of a value of an array; () for a number.
    by_content : bool
        Whether equal values are stored once, however many steps have them: for images and prompts
        of some KiB or more. Steps hold 32 bytes instead. Samplers give such a column if it is
        named, and filters do not see its values.
    """

    kind: Kind
    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()
    by_content: bool = False

    @property
    def fixed(self) -> bool:
        """Whether a value lies in a step, and all are of one size."""
        return self.kind == "array" and not self.by_content

    @staticmethod
    def array(
        dtype: npt.DTypeLike, shape: Sequence[int] = (), *, by_content: bool = False
    ) -> Column:
        """Return the type of arrays of one shape, or of numbers."""
        if math.prod(shape) < 1:
            raise SchemaError(f"an array of shape {tuple(shape)} holds nothing")
        return Column("array", _plain(np.dtype(dtype)), tuple(shape), by_content)

    @staticmethod
    def ragged(dtype: npt.DTypeLike, *, by_content: bool = False) -> Column:
        """Return the type of sequences of numbers of any length, such as tokens."""
        return Column("ragged", _plain(np.dtype(dtype)), by_content=by_content)

    @staticmethod
    def text(*, by_content: bool = False) -> Column:
        """Return the type of strings."""
        return Column("text", by_content=by_content)

    @staticmethod
    def binary(*, by_content: bool = False) -> Column:
        """Return the type of bytes."""
        return Column("binary", by_content=by_content)

    @staticmethod
    def segments() -> Column:
        """Return the type of versions of the policy that wrote the parts of a step.

        A value is a sequence of pairs ``(version, end)``, in their order: the policy of that
        version wrote the tokens up to `end`, from the end of the segment before. It comes back as
        an array of int32, [segments, 2]. The `version` of the step is the oldest of them, which is
        what the bound on staleness of a sampler is held against.
        """
        return Column("segments", np.dtype(np.int32))

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
        kind, metadata = field.type, field.metadata or {}
        if _CONTENT in metadata:
            told = json.loads(metadata[_CONTENT])
            dtype = None if told["dtype"] is None else np.dtype(told["dtype"])
            return Column(told["kind"], dtype, tuple(told["shape"]), by_content=True)
        if _KIND in metadata:
            return Column.segments()
        if pa.types.is_string(kind):
            return Column.text()
        if pa.types.is_binary(kind):
            return Column.binary()
        if pa.types.is_list(kind):
            return Column.ragged(kind.value_type.to_pandas_dtype())
        if isinstance(kind, pa.FixedShapeTensorType):
            named = metadata.get(_DTYPE)
            items = named.decode() if named else kind.value_type.to_pandas_dtype()
            return Column.array(items, kind.shape)
        return Column.array(kind.to_pandas_dtype())

    def field(self, name: str) -> pa.Field:
        """Return the column of the store."""
        if self.by_content:
            dtype = None if self.dtype is None else self.dtype.str
            told = json.dumps({"kind": self.kind, "dtype": dtype, "shape": self.shape})
            names = pa.list_(pa.uint8(), NAME_BYTES)
            return pa.field(name, names, metadata={_CONTENT: told.encode()})
        if self.kind == "text":
            return pa.field(name, pa.string())
        if self.kind == "binary":
            return pa.field(name, pa.binary())
        assert self.dtype is not None
        if self.kind in ("ragged", "segments"):
            metadata = {_KIND: b"segments"} if self.kind == "segments" else None
            return pa.field(name, pa.list_(pa.from_numpy_dtype(self.dtype)), metadata=metadata)
        if not self.shape:
            return pa.field(name, pa.from_numpy_dtype(self.dtype))
        if self.dtype == bool:
            kind = pa.fixed_shape_tensor(pa.uint8(), self.shape)
            return pa.field(name, kind, metadata={_DTYPE: b"bool"})
        return pa.field(name, pa.fixed_shape_tensor(pa.from_numpy_dtype(self.dtype), self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes that a step has of it, where all have the same size, else a guess."""
        if self.by_content:
            return NAME_BYTES
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
        if self.kind == "segments":
            return _segments(name, found)
        if self.kind == "ragged" and found.ndim != 1:
            raise SchemaError(f"column {name!r} holds sequences, not an array of {found.shape}")
        if self.kind == "array" and found.shape != self.shape:
            raise SchemaError(f"column {name!r} has the shape {self.shape}, not {found.shape}")
        return found

    def cells(self, name: str, values: Any) -> Any:
        """Return values for `arrow`: an array in memory of its own, or a list."""
        if self.kind in (
            "ragged",
            "segments",
        ):  # which `arrow` copies side by side
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
        if not isinstance(value, np.ndarray) or self.kind != "ragged":
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
        """Return what `cells` gave as Arrow data, or names of values."""
        if self.by_content:
            return pa.FixedSizeListArray.from_arrays(pa.array(cells.reshape(-1)), NAME_BYTES)
        if self.kind == "text":
            return pa.array(cells, pa.string())
        if self.kind == "binary":
            return pa.array(cells, pa.binary())
        if self.kind in ("ragged", "segments"):
            ends = np.zeros(len(cells) + 1, np.int32)
            np.cumsum([len(cell) for cell in cells], out=ends[1:])
            items = pa.array(np.concatenate([np.empty(0, self.dtype), *cells]))
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
        if self.kind in ("ragged", "segments"):
            parts = [part for chunk in column.chunks for part in _parts(chunk)]
            return parts if self.kind == "ragged" else [part.reshape(-1, 2) for part in parts]
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


def _segments(name: str, found: np.ndarray) -> np.ndarray:
    """Return pairs of version and end side by side, if they are those of segments."""
    if found.ndim != 2 or found.shape[1] != 2 or not len(found):
        raise SchemaError(
            f"column {name!r} holds pairs of a version and the end of its tokens, at least one:"
            f" not an array of {found.shape}"
        )
    if found[:, 0].min() < -1 or found[0, 1] < 0 or (np.diff(found[:, 1]) <= 0).any():
        raise SchemaError(
            f"column {name!r}: the versions of segments are -1 or more, and their ends grow: not"
            f" {found.tolist()!r:.60}"
        )
    return found.reshape(-1)


def oldest(columns: Mapping[str, Column], cells: Mapping[str, Any], version: Any) -> Any:
    """Return the versions of steps: where they have segments the oldest of each, else as given."""
    segments = [cells[name] for name in cells if columns[name].kind == "segments"]
    if not segments:
        return version
    if np.ndim(version) or version != -1:
        raise InvalidArgumentError(f"version is {version!r:.60}, but the segments of steps say it")
    return [min(int(cell[::2].min()) for cell in of) for of in zip(*segments, strict=True)]


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
