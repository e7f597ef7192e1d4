"""numpy arrays and scalars and torch tensors, told from other values without importing either.

Arrays of some dtypes have no Arrow element of their own and are seen as arrays of another: complex
numbers as pairs, dates as counts, short floats as the integers of their bits. numpy and torch are
imported only to make what was put, when it is read.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_PAIRS = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
"""Complex dtypes, and those of their halves."""

_BITS = {1: "uint8", 2: "int16"}
"""For short floats that numpy lacks, by bytes: the dtype of their bits."""


def is_ndarray(value: object) -> bool:
    """Tell whether a value is a numpy array, in memory or mapped, and of no other subclass."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) in (numpy.ndarray, numpy.memmap)


def is_scalar(value: object) -> bool:
    """Tell whether a value is a numpy scalar."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.generic)


def is_tensor(value: object) -> bool:
    """Tell whether a value is a torch tensor, a parameter included."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, getattr(torch, "Tensor", ()))


def is_typed(array: Any) -> bool:
    """Tell whether Arrow has the elements of a numpy array as they are."""
    dtype = array.dtype
    return dtype.kind in "biuf" and dtype.itemsize <= 8 and bool(dtype.isnative)


def dtype_of(value: Any) -> str:
    """Return the name of the dtype of an array or tensor, as ``float32`` or ``bfloat16``."""
    return str(value.dtype).removeprefix("torch.") if is_tensor(value) else value.dtype.name


def elements_of(dtype: str) -> tuple[str, int]:
    """Return the dtype as which elements are seen, and how many dimensions that adds.

    Parameters
    ----------
    dtype : str
        Name of a dtype, with the unit of dates and durations in brackets.
    """
    if dtype in _PAIRS:
        return _PAIRS[dtype], 1
    if dtype.startswith(("datetime64[", "timedelta64[")):
        return "int64", 0
    if dtype == "bfloat16":
        return _BITS[2], 0
    if dtype.startswith("float8_"):
        return _BITS[1], 0
    return dtype, 0


def seen(value: Any) -> Any:
    """Return an array or tensor as a numpy array of `elements_of` its dtype.

    Raises
    ------
    TypeError
        If the elements of a tensor are not in memory as they are.
    """
    dtype = dtype_of(value)
    element, pairs = elements_of(dtype)
    if not is_tensor(value):
        if pairs:
            contiguous = sys.modules["numpy"].ascontiguousarray(value)
            value = contiguous.reshape(*value.shape, 1)
        return value if element == dtype else value.view(element)
    torch = sys.modules["torch"]
    if value.layout != torch.strided or value.is_quantized or value.device.type == "meta":
        msg = f"a tensor of layout {value.layout}, dtype {value.dtype} on {value.device.type}"
        raise TypeError(msg)
    plain = value.detach().cpu().resolve_conj().resolve_neg()
    if pairs:
        plain = torch.view_as_real(plain)
    elif element != dtype:
        plain = plain.contiguous().view(getattr(torch, element))
    return plain.numpy()


def unseen(kind: str, dtype: str, array: Any) -> Any:
    """Return the array or tensor of which `seen` gave an array.

    Parameters
    ----------
    kind : str
        ``tensor``, else it is a numpy array.
    dtype : str
        Name of its dtype.
    array : numpy.ndarray
        Its elements, in C order, of which nobody else has a view.

    Raises
    ------
    ImportError
        If it is a tensor and torch is not installed.
    """
    element, pairs = elements_of(dtype)
    if kind != "tensor":
        array = array if element == dtype else array.view(dtype)
        return array.reshape(array.shape[:-1]) if pairs else array
    torch = importlib.import_module("torch")
    tensor = torch.from_numpy(array)
    if pairs and tensor.numel() == 0:  # whose strides torch does not like
        return torch.empty(array.shape[:-1], dtype=getattr(torch, dtype))
    if pairs:
        return torch.view_as_complex(tensor)
    return tensor if element == dtype else tensor.view(getattr(torch, dtype))


def listed(values: list[Any]) -> list[Any]:
    """Replace the arrays and tensors among values, of a dimension at least, by lists."""
    arrays = [(is_ndarray(value) or is_tensor(value)) and value.ndim > 0 for value in values]
    return [v.tolist() if array else v for v, array in zip(values, arrays, strict=True)]


def scalar(dtype: str, value: Any) -> Any:
    """Return the numpy scalar of a dtype that is equal to a value; the value if none is any more.

    Raises
    ------
    ImportError
        If numpy is not installed.
    """
    made = importlib.import_module("numpy").dtype(dtype)
    try:
        found = made.type(value, *[dtype[:-1].partition("[")[2]] * (made.kind in "mM"))
    except (TypeError, ValueError, OverflowError):  # the column was cast since
        return value
    return found if found.item() == value or found != found else value
