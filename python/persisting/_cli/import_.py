"""Append the rows of a Parquet, Arrow or JSON lines file or a Lance table, batch by batch.

    persisting import ./bucket rollouts.parquet
    persisting import ./bucket old/data.lance

A bucket that is not there is made under another name and renamed when all rows are in
it and on disk: it is there as a whole or not at all. To one that is there, rows are
appended in the order of the file: when that fails, or is killed, the first rows of the
file are stored and no others, and a message says how many; --skip goes on behind them.
The bucket must not be open elsewhere.

Status: 0, or 2 when it failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from persisting._cli import _formats
from persisting._cli._buckets import PARTS, count, has
from persisting._cli._looking import one
from persisting._cli._progress import Bar
from persisting._cli._selection import count as number
from persisting._cli._streams import say, tell, utf8
from persisting._engine import directory
from persisting._errors import InvalidArgumentError, LockedError, PersistingError
from persisting.queue import LanceBackend

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

INTERRUPTS = (KeyboardInterrupt, asyncio.CancelledError)  # what Ctrl-C is in a coroutine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("path", type=Path, metavar="PATH", help="a bucket, made if it is not there")
    _formats.add_format(parser, "stdin", _formats.READABLE)
    parser.add_argument(
        "--skip", type=number, default=0, metavar="N", help="rows at the start to leave out"
    )
    parser.add_argument(
        "--compression",
        type=utf8,
        default="auto",
        help="of new columns: none, lz4, zstd, zstd:1 to zstd:22",
    )
    parser.add_argument("--json", action="store_true", help="tell what was stored as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Import and return the status."""
    kind = _formats.format_of(arguments.file, arguments.format, _formats.READABLE)
    path = arguments.path
    there = path.is_dir() and any(path.iterdir())
    if there:
        path = one(path)
    with _formats.source(kind, arguments.file) as source, interruptible():
        if there:
            first, rows = asyncio.run(append(path, source, arguments))
        else:
            first, rows = 0, make(path, source, arguments)
    if arguments.json:
        print(json.dumps({"path": str(path), "first_offset": first, "rows": rows}))
    else:
        tell(f"{path}: {count(rows, 'row')} stored, from offset {first} on")
    return 0


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Have Ctrl-C end the import at once, also where it waits for stdin.

    The handler that asyncio puts in the place of Python's own waits for the end of a read.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # whoever has set another, or none, knows better
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def make(path: Path, source: _formats.Source, arguments: argparse.Namespace) -> int:
    """Make a bucket with the rows, whole or not at all; return how many."""
    temp = path.with_name(f".{path.name}.importing")
    if has(temp, PARTS):
        if directory.inspect(temp)["in_use_by"]:
            raise LockedError(f"another import is making {path}")
        shutil.rmtree(temp)  # one that was killed has left it
    try:
        _, rows = asyncio.run(append(temp, source, arguments, alone=True))
        if path.is_dir():
            path.rmdir()  # it is empty
        temp.rename(path)
        _formats.sync_directory(path.parent)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    return rows


async def append(
    path: Path, source: _formats.Source, arguments: argparse.Namespace, *, alone: bool = False
) -> tuple[int, int]:
    """Append the rows to a bucket; return the offset of the first, and how many.

    Nobody waits for a put of these, so there is no need of a log.
    """
    bucket = LanceBackend(0, path, compression=arguments.compression)
    first = bucket.total_count()
    try:
        try:
            with Bar(f"import {arguments.file}") as shown:
                await put(bucket, source, arguments.skip, shown)
        finally:
            await bucket.aclose()
    except (PersistingError, *INTERRUPTS) as error:
        rows = bucket.total_count() - first
        stored = arguments.skip + rows
        outcome = (
            "no bucket was made"
            if alone
            else f"the first {count(stored, 'row')} of the file are stored, "
            f"{rows:,} of them now; --skip {stored} goes on behind them"
        )
        if isinstance(error, INTERRUPTS):
            say(outcome)
            raise
        raise type(error)(f"{error} ({outcome})") from error
    return first, bucket.total_count() - first


async def put(bucket: LanceBackend, source: _formats.Source, skip: int, shown: Bar) -> None:
    """Put the rows of a file but for those to skip."""
    rows = 0
    for part in source.parts():
        length = len(part)
        left: Any = part[max(0, skip - rows) :]
        rows += length
        if len(left) == 0:
            continue
        try:
            if isinstance(left, pa.RecordBatch):
                await bucket.put_arrow(left)
            else:
                await bucket.put_batch(left)
        except PersistingError as error:
            raise type(error)(f"rows {rows - length} to {rows - 1} of the file: {error}") from error
        if source.rows is not None:
            shown.update(rows, source.rows, f"{rows:,} rows")
        else:
            shown.update(source.place() if source.size else 0, source.size, f"{rows:,} rows")
    if skip > rows:
        raise InvalidArgumentError(f"--skip {skip}: the file has {rows} rows")
