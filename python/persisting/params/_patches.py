"""What changed in a tensor, element by element."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError
from persisting.params._dtypes import numpy_dtype, torch_dtype

if TYPE_CHECKING:
    from persisting.params._infos import TensorInfo

_NARROW = 1 << 31
"""Fewer elements than this have positions of 32 bits."""

_BITS = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}
"""Integers of as many bytes, to compare bits by."""


@dataclass(frozen=True)
class Patch:
    """How a tensor differs from what it was.

    Attributes
    ----------
    name, dtype : str
        The tensor and its tag, such as ``"BF16"``.
    shape : tuple of int
        Its dimensions.
    indices : numpy.ndarray, torch.Tensor or None
        Positions of the elements that changed, in the tensor as if it had one dimension,
        ascending; int32 where all fit, else int64. None if `values` is the whole tensor.
    values : numpy.ndarray or torch.Tensor
        What they are now, one of each of `indices`, with every bit; or all of them, flat.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    indices: Any
    values: Any


def whole(name: str, info: TensorInfo, now: Any, framework: str) -> Patch:
    """Return all elements of a tensor, whose bytes are given."""
    return Patch(name, info.dtype, info.shape, None, _typed(framework, info.dtype, now))


def patch(name: str, info: TensorInfo, before: Any, now: Any, framework: str) -> Patch:
    """Return the elements whose bits changed, of a tensor whose bytes are given.

    Raises
    ------
    InvalidArgumentError
        Elements end within a byte.
    """
    import numpy as np

    count = math.prod(info.shape)
    size, rest = divmod(now.nbytes, count)
    if rest:
        raise InvalidArgumentError(
            f"tensor {name!r}: an element of {info.dtype} ends within a byte"
        )
    before, after = before.reshape(count, size), now.reshape(count, size)
    if size in _BITS:
        changed = np.flatnonzero(before.view(_BITS[size]) != after.view(_BITS[size]))
    else:
        changed = np.flatnonzero((before != after).any(axis=1))
    values = _typed(framework, info.dtype, after[changed].reshape(-1))
    indices = changed.astype(np.int32 if count < _NARROW else np.int64)
    if framework == "torch":
        indices = importlib.import_module("torch").from_numpy(indices)
    return Patch(name, info.dtype, info.shape, indices, values)


def _typed(framework: str, dtype: str, values: Any) -> Any:
    """View bytes as values of a dtype, flat."""
    if framework == "torch":
        torch = importlib.import_module("torch")
        return torch.from_numpy(values).view(torch_dtype(dtype))
    return values.view(numpy_dtype(dtype))
