"""Append arrays that contradict themselves or their schema; each must be refused.

usage: broken_arrays DIRECTORY
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from persisting._errors import Status
from tests.abi import ArrowArray, ArrowSchema, Exported, World, rows

if TYPE_CHECKING:
    from collections.abc import Callable


def child(batch: Exported, i: int) -> tuple[ArrowArray, ArrowSchema]:
    return batch.array.children[i].contents, batch.schema.children[i].contents


def unknown_format(batch: Exported) -> None:
    child(batch, 0)[1].format = b"zz"


def no_format(batch: Exported) -> None:
    child(batch, 0)[1].format = None


def not_a_struct(batch: Exported) -> None:
    batch.schema.format = b"l"


def negative_length(batch: Exported) -> None:
    batch.array.length = -1


def shorter_child(batch: Exported) -> None:
    child(batch, 0)[0].length = 1


def negative_offset(batch: Exported) -> None:
    child(batch, 0)[0].offset = -1


def too_few_children(batch: Exported) -> None:
    batch.array.n_children = 1


def no_children(batch: Exported) -> None:
    batch.array.n_children = 0


def too_few_buffers(batch: Exported) -> None:
    child(batch, 1)[0].n_buffers = 2


def too_many_buffers(batch: Exported) -> None:
    child(batch, 0)[0].n_buffers = 3


def no_values(batch: Exported) -> None:
    child(batch, 0)[0].buffers[1] = None


def no_buffers(batch: Exported) -> None:
    child(batch, 0)[0].buffers = ctypes.POINTER(ctypes.c_void_p)()


def descending_offsets(batch: Exported) -> None:
    offsets = (ctypes.c_int32 * 4)(0, 3, 1, 2)
    batch._keep.append(offsets)
    child(batch, 1)[0].buffers[1] = ctypes.addressof(offsets)


def negative_string_offset(batch: Exported) -> None:
    offsets = (ctypes.c_int32 * 4)(-5, 0, 1, 2)
    batch._keep.append(offsets)
    child(batch, 1)[0].buffers[1] = ctypes.addressof(offsets)


CASES: tuple[Callable[[Exported], None], ...] = (
    unknown_format,
    no_format,
    not_a_struct,
    negative_length,
    shorter_child,
    negative_offset,
    too_few_children,
    no_children,
    too_few_buffers,
    too_many_buffers,
    no_values,
    no_buffers,
    descending_offsets,
    negative_string_offset,
)


def main(directory: Path) -> None:
    w = World(directory)
    for spoil in CASES:
        batch = Exported()
        spoil(batch)
        print(spoil.__name__, flush=True)
        found = w.call("persisting_bucket_append", batch=batch)
        print("   ", found.status.name, found.message, flush=True)
        assert found.status in (Status.INVALID_ARGUMENT, Status.SCHEMA)
        assert found.untouched
        assert batch.consumed
    assert w.append(rows(2)) == Status.OK
    assert w.call("persisting_bucket_flush").status == Status.OK
    w.close()
    print("survived")


main(Path(sys.argv[1]))
