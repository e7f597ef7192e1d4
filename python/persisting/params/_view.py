"""Views of tensors of an open version, of which only what is asked for is read."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, SupportsIndex

from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import EllipsisType

    import numpy as np

    from persisting.params._infos import TensorInfo
    from persisting.params._weights import Framework, Weights

    Index = SupportsIndex | slice | EllipsisType
    Indices = Index | tuple[Index, ...]


class TensorView:
    """A tensor of an open version. Each use reads what it needs, checks it, and keeps nothing.

    It is made by `Weights`, as in ``store.open("org/model")["embed"]``, and can be read until that
    is closed. ``view[rows, columns]`` takes integers and slices as numpy does, of which rows and
    columns are read alone; `numpy.asarray` and all that asks for an array reads the whole tensor.

    Attributes
    ----------
    name : str
        Of the tensor.
    dtype : str
        A tag: that of safetensors where it has one, as ``"BF16"``.
    shape : tuple of int
        Its dimensions.
    nbytes : int
        Its size.
    """

    def __init__(self, weights: Weights, name: str, info: TensorInfo) -> None:
        self._weights = weights
        self._info = info
        self.name = name
        self.dtype = info.dtype
        self.shape = info.shape
        self.nbytes = info.nbytes

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __getitem__(self, index: Indices) -> np.ndarray:
        """Read a part into a new array of numpy.

        Raises
        ------
        IndexError
            There is no such element.
        InvalidArgumentError
            It is no integer, slice or ellipsis, which are what can be read alone, or numpy has no
            such dtype.
        CorruptError
            The bytes are not those that were saved; the message names tensor, file and place.
        """
        found: np.ndarray = self._read(index, "numpy")
        return found

    def torch(self, index: Indices = ...) -> Any:
        """Read all, or a part, into a new tensor of torch; as with ``view[index]`` otherwise."""
        return self._read(index, "torch")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all into a new array of numpy."""
        if copy is False:
            raise ValueError(f"tensor {self.name!r} is not in memory, so an array is a copy")
        found = self[...]
        return found if dtype is None else found.astype(dtype, copy=False)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"tensor {self.name!r} has no dimensions, so it has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """Read row after row."""
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        return f"TensorView({self.name!r}, {self.dtype}, {self.shape})"

    def _read(self, index: Indices, framework: Framework) -> Any:
        """Read the box around what is asked for, and take it out of that."""
        read, taken = [], []
        for size, along in zip(self.shape, self._each(index), strict=True):
            around, inside = self._along(size, along)
            read.append(around)
            taken.append(inside)
        self._check_steps(taken)
        slices = {self.name: tuple(read)} if read else None
        found = self._weights.load(keys=[self.name], slices=slices, framework=framework)
        plain = all(inside == slice(None) for inside in taken)
        return found[self.name] if plain else found[self.name][tuple(taken)]

    def _each(self, index: Indices) -> list[SupportsIndex | slice]:
        """Return what is asked for along each dimension."""
        given = index if isinstance(index, tuple) else (index,)
        at = [i for i, along in enumerate(given) if along is Ellipsis] or [len(given)]
        before, behind = given[: at[0]], given[at[0] + 1 :]
        left = self.ndim - len(before) - len(behind)
        if left < 0 or len(at) > 1:
            raise IndexError(f"tensor {self.name!r}: {index!r} is of another shape: {self.shape}")
        return [*before, *[slice(None)] * left, *behind]  # type: ignore[list-item]

    def _along(self, size: int, along: SupportsIndex | slice) -> tuple[slice, int | slice]:
        """Return what is read along a dimension, and what is taken of that."""
        if isinstance(along, slice):
            wanted = range(size)[along]
            if not wanted:
                return slice(0, 0), slice(None)
            ends = sorted((wanted[0], wanted[-1]))
            step = wanted.step if len(wanted) > 1 else 1
            return slice(ends[0], ends[1] + 1), slice(None) if step == 1 else slice(
                None, None, step
            )
        try:
            number = operator.index(along) if not isinstance(along, bool) else None
        except TypeError:
            number = None
        if number is None:
            raise InvalidArgumentError(
                f"tensor {self.name!r}: {along!r} is no integer, slice or ellipsis; "
                "numpy.asarray(view) reads all"
            )
        if not -size <= number < size:
            raise IndexError(f"tensor {self.name!r}: there is no {number} of {size}")
        return slice(number % size, number % size + 1), 0

    def _check_steps(self, taken: list[int | slice]) -> None:
        """Refuse to take single elements out of what is read, where several are in a byte."""
        if taken and self._info.bits % 8 and taken[-1] != slice(None):
            raise InvalidArgumentError(
                f"tensor {self.name!r}: elements of {self.dtype} end within a byte, "
                "and are read by slices without a step"
            )
