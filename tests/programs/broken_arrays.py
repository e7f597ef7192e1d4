"""Append arrays that contradict themselves or their schema; each must be refused.

usage: broken_arrays DIRECTORY
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

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


def no_bitmap(batch: Exported) -> None:
    child(batch, 0)[0].null_count = 1


def no_text(batch: Exported) -> None:
    child(batch, 1)[0].buffers[2] = None


def no_offsets(batch: Exported) -> None:
    child(batch, 1)[0].buffers[1] = None


def offset_without_end(batch: Exported) -> None:
    child(batch, 0)[0].offset = 2**62


def short_items(batch: Exported) -> None:
    child(batch, 2)[0].children[0].contents.length = 2


def short_fixed_items(batch: Exported) -> None:
    child(batch, 3)[0].children[0].contents.length = 5


def short_field(batch: Exported) -> None:
    child(batch, 4)[0].children[0].contents.length = 2


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
    no_bitmap,
    no_text,
    no_offsets,
    offset_without_end,
    short_items,
    short_fixed_items,
    short_field,
)

UNSTORABLE = (
    pa.array(["a", "b", "a"]).dictionary_encode(),
    pa.array(["a", "b", "c"], pa.string_view()),
    pa.array([[1], [2], []], pa.list_view(pa.int64())),
)


def nested() -> pa.RecordBatch:
    """Return the rows with a column of each kind that has children, and one of nulls."""
    columns = {
        **rows().to_pydict(),
        "list": [[1, 2], [], [3]],
        "fixed": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int64(), 2)),
        "struct": [{"a": 1}, {"a": None}, {"a": 3}],
        "none": pa.nulls(3),
    }
    return pa.RecordBatch.from_pydict(columns)


def main(directory: Path) -> None:
    w = World(directory)
    for spoil in CASES:
        batch = Exported(nested())
        spoil(batch)
        print(spoil.__name__, flush=True)
        found = w.call("persisting_bucket_append", batch=batch)
        print("   ", found.status.name, found.message, flush=True)
        assert found.status == Status.INVALID_ARGUMENT
        assert found.untouched
        assert batch.released
    for column in UNSTORABLE:
        found = w.call(
            "persisting_bucket_append",
            batch=Exported(pa.RecordBatch.from_arrays([column], ["column"])),
        )
        print("   ", found.status.name, found.message, flush=True)
        assert found.status == Status.SCHEMA
        assert '"column"' in found.message
    assert w.append(nested()) == Status.OK
    assert w.append(nested().slice(1, 1)) == Status.OK
    assert w.call("persisting_bucket_flush").status == Status.OK
    w.close()
    print("survived")


main(Path(sys.argv[1]))
