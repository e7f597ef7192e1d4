"""Where tensors of other libraries are in memory, and memory for new ones."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from persisting._errors import InvalidArgumentError
from persisting.params._dtypes import numpy_dtype, numpy_tag, torch_dtype, torch_tag

if TYPE_CHECKING:
    from collections.abc import Sequence

# A disk writes straight into memory that lies as the tensor does in the file, at 64 behind a
# multiple of 4096. torch gives such by itself.
_PAGE = 4096
_PHASE = 64
_LARGE = 64 << 10


class Located(NamedTuple):
    """A tensor in memory."""

    dtype: str
    shape: tuple[int, ...]
    address: int
    nbytes: int
    owner: Any  # keeps the memory
    same: tuple[Any, ...]  # equal for tensors that are one in memory


def is_torch(value: Any) -> bool:
    """Whether it is a tensor of torch, which need not be installed."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def locate(name: str, value: Any) -> Located:
    """Return where a tensor is: in its own memory if it is contiguous on the CPU, else in a copy.

    Raises
    ------
    InvalidArgumentError
        It is no tensor of plain values.
    """
    try:
        return _locate_torch(value) if is_torch(value) else _locate_array(value)
    except InvalidArgumentError as reason:
        raise InvalidArgumentError(f"tensor {name!r}: {reason}") from None


def _locate_torch(value: Any) -> Located:
    if str(value.layout) != "torch.strided" or value.is_quantized or value.is_meta:
        kind = "quantized" if value.is_quantized else f"{value.layout} on {value.device}"
        raise InvalidArgumentError(f"a {kind} tensor has no plain values in memory")
    plain = value.detach()
    seen = (
        plain.data_ptr(),
        tuple(plain.shape),
        plain.stride(),
        plain.dtype,
        str(plain.device),
        plain.is_conj(),
        plain.is_neg(),
    )
    plain = plain.cpu().resolve_conj().resolve_neg().contiguous()
    tag = torch_tag(plain.dtype)
    shape = tuple(plain.shape)
    if tag == "F4" and shape:
        shape = (*shape[:-1], 2 * shape[-1])
    nbytes = plain.numel() * plain.element_size()
    return Located(tag, shape, plain.data_ptr(), nbytes, plain, seen)


def _locate_array(value: Any) -> Located:
    import numpy as np

    array = seen_as = _as_array(value)
    tag = numpy_tag(array.dtype)
    address = array.__array_interface__["data"][0]
    seen = (address, array.shape, array.strides, tag)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
        tag = numpy_tag(array.dtype)
    if not array.flags.c_contiguous:
        array = np.array(array, order="C")
    if array is not seen_as:
        address = array.__array_interface__["data"][0]
    # What was seen stays as well, so that no other tensor gets its address.
    return Located(tag, array.shape, address, array.nbytes, (array, seen_as), seen)


def _as_array(value: Any) -> Any:
    """View what is no tensor of torch as an array of numpy, without a copy where there is a way."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(value)
    try:
        if isinstance(value, bytes | bytearray):
            return np.frombuffer(value, np.uint8)
        for protocol in ("__array_interface__", "__array__"):
            if hasattr(value, protocol):
                return np.asarray(value)
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(memoryview(value))
    except (TypeError, ValueError, BufferError, RuntimeError) as reason:
        raise InvalidArgumentError(
            f"{type(value).__name__} is no tensor, array or buffer: {reason}"
        ) from None


class Destination(NamedTuple):
    """Memory that a tensor is read into."""

    address: int
    nbytes: int
    value: Any  # what the caller gets

    def bytes(self) -> Any:
        """Return the memory as a flat array of uint8, which is valid as long as the value is."""
        import numpy as np

        return np.asarray(_Bytes(self.address, self.nbytes))

    def part(self, begin: int, nbytes: int) -> Destination:
        """Return a part of the memory."""
        return Destination(self.address + begin, nbytes, self.value)


class _Bytes:
    """Memory as numpy asks for it."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.__array_interface__ = {
            "data": (address, False),
            "shape": (nbytes,),
            "typestr": "|u1",
            "version": 3,
        }


def destination(framework: str, dtype: str, shape: Sequence[int], nbytes: int) -> Destination:
    """Return new memory for a tensor, as an array of numpy or a tensor of torch."""
    if framework == "torch":
        torch = importlib.import_module("torch")
        kind = torch_dtype(dtype)
        sizes = (*shape[:-1], shape[-1] // 2) if dtype == "F4" and shape else tuple(shape)
        made = torch.empty(sizes, dtype=kind)
        return Destination(made.data_ptr(), nbytes, made)
    memory = empty(nbytes)
    address = memory.__array_interface__["data"][0]
    if framework == "bytes":
        return Destination(address, nbytes, memory)
    return Destination(address, nbytes, memory.view(numpy_dtype(dtype)).reshape(shape))


def empty(nbytes: int) -> Any:
    """Return new memory, that a disk writes straight into if it is large."""
    import numpy as np

    if nbytes < _LARGE:
        return np.empty(nbytes, np.uint8)
    room = np.empty(nbytes + _PAGE, np.uint8)
    skip = (_PHASE - room.__array_interface__["data"][0]) % _PAGE
    return room[skip : skip + nbytes]


def existing(name: str, value: Any, dtype: str, shape: Sequence[int], nbytes: int) -> Destination:
    """Return the memory of a tensor of the caller, which must be as the one that is read.

    Raises
    ------
    InvalidArgumentError
        It has another dtype or shape, is not contiguous on the CPU, or cannot be written to.
    """
    found = locate(name, value)
    if (found.dtype, found.shape, found.nbytes) != (dtype, tuple(shape), nbytes):
        raise InvalidArgumentError(
            f"tensor {name!r}: out is {found.dtype} {list(found.shape)}, "
            f"the stored one {dtype} {list(shape)}"
        )
    if nbytes and (found.same[0] != found.address or not _writable(value)):
        raise InvalidArgumentError(
            f"tensor {name!r}: out must be contiguous on the CPU and writable"
        )
    return Destination(found.address, nbytes, value)


def _writable(value: Any) -> bool:
    if is_torch(value):
        return not value.is_conj() and not value.is_neg()
    return bool(_as_array(value).flags.writeable)
