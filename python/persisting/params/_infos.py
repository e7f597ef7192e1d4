"""What is stored of a tensor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorInfo:
    """What is stored of a tensor.

    Attributes
    ----------
    dtype : str
        A tag: that of safetensors where it has one, as ``"BF16"``.
    shape : tuple of int
        Its dimensions; of ``F4`` and ``F6`` in values, not in bytes.
    nbytes : int
        Its size.
    tie : int
        The same number, not 0, for tensors of the version that were one in memory.
    """

    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    tie: int = 0
