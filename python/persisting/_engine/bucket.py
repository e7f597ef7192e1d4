"""An open bucket."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from persisting import _arguments
from persisting._arguments import MOST, integer, integers
from persisting._engine import functions
from persisting._engine.boundary import NO_WAIT, NOTIFY
from persisting._engine.cursor import Cursor
from persisting._engine.handles import finish_closing, method
from persisting._engine.library import c, exception, release_array, scratch
from persisting._engine.queries import Queryable
from persisting._engine.versions import View
from persisting._errors import LockedError, NotFoundError, WouldBlockError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from persisting._engine.columns import Columns


class Bucket(Queryable):
    """An open bucket. Its methods may be called from any thread.

    Parameters
    ----------
    path
        Directory of the bucket, created if missing. It is resolved here, once, as the system
        does it: what becomes of the working directory, or of links on the way, does not matter.
    options
        See `persisting_bucket_open`; names are those of the engine. None opens the bucket for
        reading, beside the process that has it; see `persisting_bucket_open_read_only`.

    Raises
    ------
    InvalidArgumentError
        An option is unknown or out of range.
    LockedError
        The bucket is open elsewhere.
    NotFoundError
        The directory has a Lance table that is no bucket's; it is left as it is. There is no
        bucket to be opened for reading.
    WALError, CorruptError, StorageError
        The bucket cannot be recovered.

    Notes
    -----
    Opening waits for the disk: it recovers what the last opener left. A bucket that
    this process has open, and forgot without closing it, is closed first.
    """

    count = method(functions.bucket_count)
    _query = method(functions.bucket_query)
    _explain = method(functions.bucket_explain)

    def __init__(self, path: str | os.PathLike[str], options: Mapping[str, Any] | None) -> None:
        self.path = os.path.realpath(_arguments.path("path", path))
        if options is None:
            open_it = functools.partial(functions.bucket_open_read_only, self.path)
        else:
            open_it = functools.partial(functions.bucket_open, self.path, options)
        try:
            number = open_it()
        except LockedError as locked:
            if locked.pid != os.getpid():
                raise
            gc.collect()  # Pulsing forgets backends like that, in reference cycles
            finish_closing()
            number = open_it()
        name = f"the bucket {self.path}"
        super().__init__(number, functions.bucket_close, name, close_takes_long=True)
        self._append_message = c.persisting_bucket_append_message
        self._get = c.persisting_bucket_get
        self._schemas: dict[int, pa.Schema] = {}

    # ---- appends ----

    def append(
        self,
        batch: pa.RecordBatch,
        *,
        no_wait: bool = False,
        notify: bool = False,
        checked: bool = False,
        wait_ns: int = 0,
    ) -> tuple[int, int]:
        """Append the rows of `batch`; no column is copied.

        Parameters
        ----------
        batch
            Must not be changed afterwards.
        no_wait
            Raise `WouldBlockError`, with nothing stored, where the call would wait.
        notify
            Do `notify` for the end of the batch, unless it is acknowledged at once.
        checked
            `check` found nothing wrong with the batch.
        wait_ns
            Nanoseconds to wait for the acknowledgement; negative is without limit.

        Returns
        -------
        tuple of int
            Offset of the first row, and number of acknowledged rows of the bucket.
        """
        return self._use(
            functions.bucket_append,
            batch,
            wait_ns,
            no_wait=no_wait,
            notify=notify,
            checked=checked,
        )

    check = method(functions.bucket_check)

    def append_message(
        self, columns: Columns, message: bytes, *, no_wait: bool = False, notify: bool = False
    ) -> tuple[int, int]:
        """Append the rows of an Arrow IPC record batch message; see `append`."""
        out = scratch.out
        if self._append_message(
            self._number,
            columns._number,
            message,
            len(message),
            (NO_WAIT if no_wait else 0) | (NOTIFY if notify else 0),
            0,
            scratch.first,
            scratch.second,
            scratch.error,
        ):
            raise self._failure(exception(scratch.take_error()))
        return out[0], out[1]

    def open_ring(self, columns: Columns) -> int:
        """Open or empty `puts.ring` for `columns`; return the next offset, -1 if it cannot be."""
        return self._use(functions.bucket_open_ring, columns._number)

    drain_ring = method(functions.bucket_drain_ring)

    # ---- acknowledgements ----

    acknowledged = method(functions.bucket_acknowledged)
    notify = method(functions.bucket_notify)
    renew = method(functions.bucket_renew)
    set_waker = method(functions.bucket_set_waker)

    def wait(self, rows: int, timeout_ns: int = -1) -> None:
        """Wait until `rows` rows are acknowledged, at most `timeout_ns` nanoseconds."""
        self._use(functions.bucket_wait, rows, timeout_ns)

    # ---- reads ----

    def read(self, offset: int, count: int, *, no_wait: bool = False, run: bool = False) -> Cursor:
        """Read the rows left of `[offset, offset + count)`; may wait unless `no_wait`.

        With `run` up to the first row that was removed, and RemovedError if it is the first.
        """
        cursor, version = self._use(functions.bucket_read, offset, count, no_wait=no_wait, run=run)
        return Cursor(cursor, self, version)

    def get(self, offset: int, count: int) -> tuple[int, pa.Schema]:
        """Read few rows, up to the first that was removed, in one call and without waiting.

        At least one row must exist. WouldBlockError also where the columns change meanwhile.

        Returns
        -------
        tuple
            Address of a ``struct ArrowArray``, which the caller releases before the next call in
            this thread, and its columns.
        """
        array, at = scratch.array, scratch.array_at
        if self._get(self._number, offset, count, at, scratch.first, scratch.error):
            raise self._failure(exception(scratch.take_error()))
        version = scratch.out[0]
        schema = self._schemas.get(version) or self._schema_now(version)
        if schema is None:
            release_array(array.release)(at)
            raise WouldBlockError("the columns have changed")
        return at, schema

    def take(self, offsets: Sequence[int], *, no_wait: bool = False) -> Cursor:
        """Read the rows at `offsets`, in that order; may wait unless `no_wait`."""
        cursor, version = self._use(functions.bucket_take, *_offsets(offsets), no_wait=no_wait)
        return Cursor(cursor, self, version)

    def first_from(self, offset: int) -> int:
        """Return the first offset from `offset` on whose row is left, else that of the next row."""
        return self._use(functions.bucket_first_from, integer("offset", offset, -MOST, MOST))

    # ---- the schema ----

    def schema(self) -> pa.Schema:
        """Return the columns of the bucket."""
        return self._use(functions.bucket_schema)[0]

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns of schema `version`, which the open cursor `cursor` has."""
        schema = self._schemas.get(version)
        if schema is None:
            schema = functions.cursor_schema(cursor)
            self._schemas = {version: schema}
        return schema

    def _schema_now(self, version: int) -> pa.Schema | None:
        """Return the columns of a schema if it is that of the bucket now."""
        schema, current = self._use(functions.bucket_schema)
        self._schemas = {current: schema}
        return self._schemas.get(version)

    # ---- columns ----

    add_columns = method(functions.bucket_add_columns)
    declare = method(functions.bucket_declare)
    drop_column = method(functions.bucket_drop_column)
    fill_column = method(functions.bucket_fill_column)
    rename_column = method(functions.bucket_rename_column)

    def compute_column(self, field: pa.Field, expression: str) -> None:
        """Add a column with the value of an SQL expression, of whose type null stands for."""
        self._use(functions.bucket_compute_column, pa.schema([field]), expression)

    def cast_column(self, field: pa.Field) -> None:
        """Give the column of that name the type of `field`."""
        self._use(functions.bucket_cast_column, pa.schema([field]))

    # ---- removal, and consumers ----

    consumers = method(functions.bucket_consumers)
    delete = method(functions.bucket_delete)

    def truncate_before(self, offset: int) -> int:
        """Remove the rows below an offset; return how many."""
        return self._use(functions.bucket_truncate_before, integer("offset", offset, -MOST, MOST))

    def commit(self, consumer: str, offset: int) -> None:
        """Note the offset of a consumer."""
        self._use(functions.bucket_commit, consumer, integer("offset", offset, -MOST, MOST))

    # ---- what tasks consumed ----

    marked = method(functions.bucket_marked)
    unmark = method(functions.bucket_unmark)

    def mark(self, task: str, offsets: Sequence[int]) -> None:
        """Note that a task has consumed rows; may wait for the disk."""
        self._use(functions.bucket_mark, task, *_offsets(offsets))

    def take_ready(self, task: str, columns: Sequence[str], limit: int) -> list[int]:
        """Mark the first rows that have the columns and are not consumed; return their offsets."""
        limit = integer("limit", limit, 0, 1 << 32)
        offsets = (ctypes.c_int64 * limit)()
        count = self._use(functions.bucket_take_ready, task, [*columns], limit, offsets)
        return offsets[:count]

    def ready(self, task: str, columns: Sequence[str], rows: int) -> bytes:
        """Return which of the first rows have the columns and are not consumed, as bits."""
        bits = (ctypes.c_uint8 * ((rows + 63) // 64 * 8))()
        self._use(functions.bucket_ready, task, [*columns], bits, len(bits))
        return bytes(bits)

    def clear(self, offsets: Sequence[int]) -> int:
        """Remove rows, and what is noted of them; return how many there were."""
        return self._use(functions.bucket_clear, *_offsets(offsets))

    # ---- versions ----

    untag = method(functions.bucket_untag)
    versions = method(functions.bucket_versions)

    def at(self, version: int) -> View:
        """Open a version for reading."""
        version = integer("version", version, 0, MOST)
        return View(self._use(functions.view_open, version), self.path, version)

    def tag(self, name: str, version: int) -> None:
        """Give a version a name."""
        self._use(functions.bucket_tag, name, integer("version", version, 0, MOST))

    def restore(self, version: int) -> None:
        """Bring back the columns and rows of a version."""
        self._use(functions.bucket_restore, integer("version", version, 0, MOST))

    # ---- indexes, and upkeep ----

    compact = method(functions.bucket_compact)
    create_index = method(functions.bucket_create_index)
    drop_index = method(functions.bucket_drop_index)
    flush = method(functions.bucket_flush)
    index_stats = method(functions.bucket_index_stats)
    indexes = method(functions.bucket_indexes)
    stats = method(functions.bucket_stats)


def _offsets(offsets: Sequence[int]) -> tuple[ctypes.Array[ctypes.c_int64], int]:
    """Return offsets as the engine takes them: an array and its length."""
    wanted = integers("indices", offsets)
    unknown = next((offset for offset in wanted if not 0 <= offset <= MOST), None)
    if unknown is not None:
        raise NotFoundError(f"there is no offset {unknown}")
    return (ctypes.c_int64 * len(wanted))(*wanted), len(wanted)
