"""Sizes and speeds of the compressions, for the tables in docs/compression.md.

python3 -m benchmarks.compression
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.records import trajectories
from persisting import LanceBackend, PersistingBackend

QUIET: dict[str, Any] = {"flush_interval": 0, "compaction_threshold": 0, "cache_bytes": 0}
COMPRESSIONS = ("none", "auto", "lz4", "zstd:1", "zstd", "zstd:9", "zstd:19")
PACKAGE = Path(__file__).parents[1] / "python"
SOURCES = [
    (str(file.relative_to(PACKAGE)), file.read_text().splitlines())
    for file in sorted(PACKAGE.rglob("*.py"))
]


def agent_text(rng: random.Random, size: int) -> str:
    """Return calls of tools and their answers, excerpts of source files, as an agent has them."""
    parts: list[str] = []
    while sum(map(len, parts)) < size:
        path, lines = rng.choice(SOURCES)
        start = rng.randrange(max(len(lines) - 30, 1))
        call = {"tool": "read_file", "arguments": {"path": path, "line": start, "lines": 30}}
        answer = {
            "role": "tool",
            "id": f"{rng.getrandbits(64):016x}",
            "content": lines[start:][:30],
        }
        parts += [json.dumps({"role": "assistant", "call": call}), json.dumps(answer)]
    return "\n".join(parts)[:size]


def columns(rng: random.Random) -> dict[str, pa.Array]:
    """Return columns of about 32 MB each."""
    numpy = np.random.default_rng(7)
    tokens = np.minimum(numpy.zipf(1.3, 8_000_000), 50_000).astype(np.int64)
    ends = pa.array(range(0, len(tokens) + 1, 1000), pa.int32())
    return {
        "agent text": pa.array([agent_text(rng, 4000) for _ in range(8_000)]),
        "token lists": pa.ListArray.from_arrays(ends, pa.array(tokens)),
        "floats": pa.array(numpy.standard_normal(4_000_000)),
        "bytes compressed already": pa.array([numpy.bytes(8000) for _ in range(4_000)]),
    }


async def measure(values: pa.Array, compression: str) -> tuple[float, float, float]:
    """Return bytes in the table, and MB/s of writing and, at best, of reading back."""
    with tempfile.TemporaryDirectory() as root:
        async with LanceBackend(0, root, compression=compression, **QUIET) as backend:
            await backend.put_arrow(pa.table({"x": values}))
            began = time.perf_counter()
            await backend.flush()
            wrote = time.perf_counter() - began
            size = (await backend.stats())["table_bytes"]
            rounds = []
            for _ in range(9):
                began = time.perf_counter()
                table = await backend.get_arrow()
                rounds.append(time.perf_counter() - began)
            assert table.num_rows == len(values)
    megabytes = values.nbytes / 1e6
    return size, megabytes / wrote, megabytes / min(rounds)


async def measure_log(
    records: list[dict[str, Any]], at_once: int, compression: str
) -> tuple[float, float, float]:
    """Return bytes in the log, and us of CPU of a put and of recovery, at best, per record."""
    put, recovered = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as root:
            options: Any = {**QUIET, "wal_compression": compression, "flush_threshold": 10**9}
            bucket, copy = Path(root) / "bucket", Path(root) / "copy"
            async with PersistingBackend(0, bucket, **options) as backend:
                began = time.process_time()
                for first in range(0, len(records), at_once):
                    await backend.put_batch(records[first : first + at_once])
                put.append(time.process_time() - began)
                await asyncio.sleep(0.1)
                size = (await backend.stats())["wal_bytes"]
                shutil.copytree(bucket, copy)
            began = time.process_time()
            async with PersistingBackend(0, copy, **options) as backend:
                assert backend.total_count() == len(records)
                recovered.append(time.process_time() - began)
    each = 1e6 / len(records)
    return size / len(records), min(put) * each, min(recovered) * each


async def log_table() -> None:
    """Print the table of the log."""
    records = trajectories(40_000)
    print("| puts | compression | bytes in the log | CPU of a put | of recovery |")
    print("|---|---|---:|---:|---:|")
    for at_once in (1, 100, 4000):
        for compression in ("none", "lz4", "zstd"):
            size, put, recovered = await measure_log(records, at_once, compression)
            costs = f"{size:.0f} | {put:.1f} us | {recovered:.1f} us"
            print(f"| {at_once} | `{compression}` | {costs} |")


async def main() -> None:
    """Print the tables."""
    await log_table()
    print("| data | compression | size | write MB/s | read MB/s |")
    print("|---|---|---:|---:|---:|")
    for name, values in columns(random.Random(7)).items():
        for compression in COMPRESSIONS:
            size, wrote, read = await measure(values, compression)
            ratio = size / values.nbytes
            print(f"| {name} | `{compression}` | {ratio:.2f} | {wrote:.0f} | {read:.0f} |")


if __name__ == "__main__":
    asyncio.run(main())
