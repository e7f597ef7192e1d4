"""Put a large table and get it back; the resident memory must not grow by a second copy.

usage: zero_copy BACKEND DIRECTORY
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

import persisting
from persisting._engine import functions
from tests.support import QUIET

MEGABYTE = 1 << 20
SIZE = 128 * MEGABYTE
ALLOWED = SIZE // 4


def resident() -> int:
    """Return the bytes of memory that belong to this process and to no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def buffers(table: pa.Table) -> set[int]:
    return {
        buffer.address
        for column in table.columns
        for chunk in column.chunks
        for buffer in chunk.buffers()
        if buffer is not None
    }


async def main(name: str, directory: Path) -> None:
    rows = SIZE // 16
    values = np.arange(rows, dtype=np.int64)
    table = pa.table({"ints": values, "floats": values * 0.5})
    options = {**QUIET, "flush_threshold": 2 * rows, "flush_bytes": 4 * SIZE}
    async with getattr(persisting, name)(0, directory, **options) as backend:
        await backend.put_arrow(pa.table({"ints": [1], "floats": [0.5]}))
        before = resident(), pa.total_allocated_bytes(), functions.library_usage()[1]
        await backend.put_arrow(table)
        back = await backend.get_arrow(rows, 1)
        after = resident(), pa.total_allocated_bytes(), functions.library_usage()[1]
        grown = [new - old for old, new in zip(before, after, strict=True)]
        print("resident, pyarrow, library grew by", grown)
        assert back.num_rows == rows
        assert buffers(back) == buffers(table)
        assert max(grown) < ALLOWED, grown
        assert back.equals(table)
    print("ok")


asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
