"""What the commands that look at rows share: a bucket that is open for reading.

So they see all acknowledged rows, whoever has the bucket open, hold no lock, and change nothing.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting._cli import _buckets
from persisting._cli._streams import say
from persisting._engine.bucket import Bucket
from persisting._errors import InvalidArgumentError
from persisting._records import RecordDecoder, visible

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import pyarrow as pa

    from persisting._engine.cursor import Cursor

OFFSET = "_offset"

_QUIET: dict[str, Any] = {
    "flush_interval": 0,
    "compaction_threshold": 0,
    "wal_sync_interval": 3600,
    "enable_metrics": False,
}


def add_path(parser: argparse.ArgumentParser) -> None:
    """Declare the path of one bucket."""
    parser.add_argument(
        "path", type=Path, metavar="PATH", help="a bucket, or a directory that holds just one"
    )


def one(path: Path) -> Path:
    """Return the bucket at `path`.

    Raises
    ------
    NotFoundError
        There is none.
    InvalidArgumentError
        There are several.
    """
    found = _buckets.find(path)
    if len(found) > 1:
        names = ", ".join(bucket.name for bucket in found)
        raise InvalidArgumentError(f"{path} holds several buckets, name one of {names}")
    return found[0]


@contextlib.contextmanager
def looking(path: Path) -> Iterator[Bucket]:
    """Open a bucket for reading, and say where rows are missing."""
    with Bucket(path, None) as table:
        state = table.stats()
        if "in_use_by" in state and not state["wal_enabled"]:
            note(f"{state['in_use_by']} has it open without a log: rows not flushed are missing")
        yield table


def note(text: str) -> None:
    """Tell something that is no part of the answer."""
    say(text)


class Rows:
    """The rows of a bucket as records, with their offsets.

    Parameters
    ----------
    schema
        The columns that they come with.
    """

    def __init__(self, schema: pa.Schema) -> None:
        schema = visible(schema)
        index = schema.get_field_index(OFFSET)
        self.schema = schema if index < 0 else schema.remove(index)
        self._decoder = RecordDecoder(stand_ins=True)

    def queried(self, batch: pa.RecordBatch) -> list[tuple[int, dict[str, Any]]]:
        """Decode a batch of a query that was asked for offsets."""
        offsets = batch.column(OFFSET).to_pylist()
        records = self._decoder.decode([batch.drop_columns([OFFSET])])
        return list(zip(offsets, records, strict=True))

    def read(self, cursor: Cursor) -> Iterator[list[tuple[int, dict[str, Any]]]]:
        """Decode what a read gives, batch by batch."""
        offsets = (n for first, end in cursor.offsets() for n in range(first, end))
        for batch in cursor:
            # The records first: zip would take an offset too many.
            yield [(n, r) for r, n in zip(self._decoder.decode([batch]), offsets, strict=False)]


def opened(path: Path) -> Bucket:
    """Open a bucket itself, for a command that changes it.

    Raises
    ------
    LockedError
        It is open elsewhere; the message says where.
    """
    return Bucket(path, {**_QUIET, "enable_wal": (path / "wal").is_dir()})
