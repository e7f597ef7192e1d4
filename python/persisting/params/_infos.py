"""What is stored of a tensor, and what there is in a version."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from persisting.params._boxes import Stored, is_box, parse
from persisting.params._files import is_file, may_be_reserved, object_name

if TYPE_CHECKING:
    from collections.abc import Iterable


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

    @property
    def bits(self) -> int:
        """Size of an element; 0 where there is none."""
        return 8 * self.nbytes // math.prod(self.shape) if self.nbytes else 0


@dataclass
class Contents:
    """What there is in a version, by name.

    Attributes
    ----------
    numbers : dict of str to int
        Of the engine: of tensors that are stored as one, of files and of objects.
    tensors : dict of str to TensorInfo
        In the order in which they were saved.
    boxes : dict of str to list of Stored
        Of tensors that are stored in boxes, where those are.
    files : dict of str to TensorInfo
        That came with an imported version.
    objects : dict of str to int
        Sizes in bytes.
    """

    numbers: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, TensorInfo] = field(default_factory=dict)
    boxes: dict[str, list[Stored]] = field(default_factory=dict)
    files: dict[str, TensorInfo] = field(default_factory=dict)
    objects: dict[str, int] = field(default_factory=dict)

    def names(self) -> set[str]:
        """Return the names of tensors and of all that is beside them."""
        return {*self.numbers, *self.boxes}

    def stored(self, name: str) -> list[Stored]:
        """Return the boxes that a tensor is stored in; one that is stored as one is its own."""
        if name in self.boxes:
            return self.boxes[name]
        shape = self.tensors[name].shape
        return [Stored(self.numbers[name], (0,) * len(shape), shape)]

    def add(self, number: int, name: str, info: TensorInfo) -> None:
        """Add what the engine has under a name."""
        if is_box(name):
            self._add_box(number, name, info)
            return
        self.numbers[name] = number
        kept = object_name(name)
        if kept is not None:
            self.objects[kept] = info.nbytes
        else:
            (self.files if is_file(name) else self.tensors)[name] = info

    def _add_box(self, number: int, box: str, info: TensorInfo) -> None:
        name, shape, offsets = parse(box)
        nbytes = info.nbytes * math.prod(shape) // math.prod(info.shape) if info.nbytes else 0
        self.tensors[name] = TensorInfo(info.dtype, shape, nbytes)
        self.boxes.setdefault(name, []).append(Stored(number, offsets, info.shape))


def contents(columns: Iterable[Iterable[object]], numbers: Iterable[int] | None = None) -> Contents:
    """Return what there is, from names, dtypes, shapes, sizes and ties as the engine has them.

    Without numbers they are all that the engine has, in order. Tensors of which the same is
    stored, as those of layers of a model, share a `TensorInfo`.
    """
    found = Contents()
    infos: dict[object, TensorInfo] = {}
    rows = zip(*columns, strict=True)
    counted = enumerate(rows) if numbers is None else zip(numbers, rows, strict=True)
    for number, (name, dtype, shape, nbytes, tie) in counted:
        stored = (dtype, tuple(shape), nbytes, tie)
        info = infos.get(stored)
        if info is None:
            info = infos[stored] = TensorInfo(*stored)
        if may_be_reserved(name):
            found.add(number, name, info)
        else:
            found.numbers[name] = number
            found.tensors[name] = info
    return found
