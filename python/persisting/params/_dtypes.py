"""Names of dtypes: those of safetensors where it has one, else the library's own.

A tag says how the bytes of a tensor are to be read, and nothing else depends on it. `F4` are two
values in a byte, and the shape that is stored counts values; torch counts bytes.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy as np

# The tags of safetensors and how numpy, ml_dtypes or torch call the same.
_NUMPY = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "F16": "float16",
    "U32": "uint32",
    "I32": "int32",
    "F32": "float32",
    "C64": "complex64",
    "F64": "float64",
    "I64": "int64",
    "U64": "uint64",
    "C128": "complex128",
}
_ML_DTYPES = {
    "BF16": "bfloat16",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}
_TORCH = {**_NUMPY, **_ML_DTYPES, "F4": "float4_e2m1fn_x2"}

_NUMPY_TAGS = {name: tag for tag, name in {**_NUMPY, **_ML_DTYPES}.items()}
_TORCH_TAGS = {name: tag for tag, name in _TORCH.items()}


@functools.cache
def numpy_tag(dtype: np.dtype[Any]) -> str:
    """Return the tag of a dtype of numpy or ml_dtypes."""
    if dtype.hasobject or dtype.names is not None:
        raise InvalidArgumentError(f"{dtype} is no dtype of plain values")
    known = _NUMPY_TAGS.get(dtype.name)
    if known:
        return known
    if dtype.type.__module__.startswith("ml_dtypes"):
        return f"ml_dtypes.{dtype.name}"
    own: str = dtype.str
    return own


def numpy_dtype(tag: str) -> np.dtype[Any]:
    """Return the dtype of numpy or ml_dtypes for a tag.

    Raises
    ------
    InvalidArgumentError
        There is none, or ml_dtypes is not installed.
    """
    import numpy as np

    own = tag.removeprefix("ml_dtypes.")
    if tag in _ML_DTYPES or own != tag:
        try:
            found = importlib.import_module("ml_dtypes")
        except ImportError:
            raise InvalidArgumentError(
                f"numpy has no dtype for {tag}: install ml_dtypes, or load into torch"
            ) from None
        kind = getattr(found, _ML_DTYPES.get(tag, own), None)
        if kind is not None:
            made: np.dtype[Any] = np.dtype(kind)
            return made
    try:
        return np.dtype(_NUMPY.get(tag, tag))
    except TypeError:
        raise InvalidArgumentError(
            f'numpy has no dtype for {tag}: load into torch, or framework="bytes"'
        ) from None


@functools.cache
def torch_tag(dtype: Any) -> str:
    """Return the tag of a dtype of torch."""
    name = str(dtype).removeprefix("torch.")
    return _TORCH_TAGS.get(name, f"torch.{name}")


def torch_dtype(tag: str) -> Any:
    """Return the dtype of torch for a tag.

    Raises
    ------
    InvalidArgumentError
        There is none.
    """
    torch = importlib.import_module("torch")
    found = getattr(torch, _TORCH.get(tag, tag.removeprefix("torch.")), None)
    if not isinstance(found, torch.dtype):
        raise InvalidArgumentError(f'torch has no dtype for {tag}: load with framework="bytes"')
    return found
