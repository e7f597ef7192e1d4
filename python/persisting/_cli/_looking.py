"""What the commands that look at rows share: a bucket that is there to be read.

They look at a clone: links to the files of the table, and a copy of the log. So they
see all acknowledged rows, whoever has the bucket open, hold no lock, and change nothing.
"""

from __future__ import annotations

import contextlib
import os
import resource
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting._cli import _buckets
from persisting._cli._streams import say
from persisting._engine import directory
from persisting._engine.bucket import Bucket
from persisting._errors import InvalidArgumentError, PersistingError
from persisting._records import RecordDecoder, visible

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import pyarrow as pa

    from persisting._engine.cursor import Cursor

OFFSET = "_offset"

_FDS = Path("/proc/self/fd")
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
def looking(path: Path, *, told: bool = False) -> Iterator[Bucket]:
    """Open a clone of a bucket.

    Parameters
    ----------
    path
        The bucket.
    told
        Whether it was said before which rows are missing.
    """
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(tempfile.TemporaryDirectory(prefix="persisting-"))
        scratch = Path(made).resolve()  # as the engine names it
        clone = scratch / "bucket"
        try:
            found = directory.clone(path, clone)
            with contextlib.suppress(FileNotFoundError):  # then the open says what is missing
                _hold(clone, stack)
            if found["in_use_by"] and not found["logged"] and not told:
                note(
                    f"{found['in_use_by']} has it open without a log: rows not flushed are missing"
                )
            with Bucket(clone, _QUIET) as table:
                yield table
        except PersistingError as error:
            raise type(error)(str(error).replace(str(clone), str(path))) from error


def _hold(clone: Path, stack: contextlib.ExitStack) -> None:
    """Keep what the clone links to, also when the one who has the bucket open removes it."""
    if not _FDS.is_dir():
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for link in [path for path in clone.rglob("*") if path.is_symlink()]:
        fd = os.open(link, os.O_RDONLY)
        stack.callback(os.close, fd)
        link.unlink()
        link.symlink_to(_FDS / str(fd))


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
