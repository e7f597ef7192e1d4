"""An open bucket."""

from __future__ import annotations

import ctypes
import functools
import gc
import json
import os
from ctypes import byref
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from persisting import _arguments
from persisting._arguments import MOST, integer, integers, text
from persisting._engine.boundary import CHECK, CHECKED, NO_WAIT, NOTIFY, RUN, ArrowSchema
from persisting._engine.cursor import Cursor, cursor_schema
from persisting._engine.handles import finish_closing
from persisting._engine.library import (
    as_json,
    call,
    capsule_pointer,
    exception,
    library,
    release_array,
    scratch,
    string,
)
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

    _noun = "bucket"

    def __init__(self, path: str | os.PathLike[str], options: Mapping[str, Any] | None) -> None:
        self.path = os.path.realpath(_arguments.path("path", path))
        functions = library()
        number = ctypes.c_uint64()
        directory = os.fsencode(self.path)
        opening: tuple[Any, ...]
        if options is None:
            opening = (functions.persisting_bucket_open_read_only, directory)
        else:
            opening = (functions.persisting_bucket_open, directory, as_json(options))
        open_it = functools.partial(call, *opening, byref(number))
        try:
            open_it()
        except LockedError as locked:
            if locked.pid != os.getpid():
                raise
            gc.collect()  # Pulsing forgets backends like that, in reference cycles
            finish_closing()
            open_it()
        super().__init__(
            number.value,
            functions.persisting_bucket_close,
            f"the bucket {self.path}",
            close_takes_long=True,
        )
        self._append = functions.persisting_bucket_append
        self._append_message = functions.persisting_bucket_append_message
        self._acknowledged = functions.persisting_bucket_acknowledged
        self._read = functions.persisting_bucket_read
        self._get = functions.persisting_bucket_get
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
        flags = (NOTIFY if notify else 0) | (CHECKED if checked else 0)
        return self._append_with(batch, flags | (NO_WAIT if no_wait else 0), wait_ns)

    def check(self, batch: pa.RecordBatch, *, no_wait: bool = False) -> None:
        """Raise the SchemaError that `append` would raise, and store nothing."""
        self._append_with(batch, CHECK | (NO_WAIT if no_wait else 0), 0)

    def _append_with(self, batch: pa.RecordBatch, flags: int, wait_ns: int) -> tuple[int, int]:
        schema_capsule, array_capsule = batch.__arrow_c_array__()
        first, acknowledged = ctypes.c_int64(), ctypes.c_int64()
        self._use(
            self._append,
            capsule_pointer(array_capsule, b"arrow_array"),
            capsule_pointer(schema_capsule, b"arrow_schema"),
            flags,
            wait_ns,
            byref(first),
            byref(acknowledged),
        )
        return first.value, acknowledged.value

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
        following = ctypes.c_int64()
        self._use(library().persisting_bucket_open_ring, columns._number, byref(following))
        return following.value

    def drain_ring(self) -> None:
        """Have what is in the ring taken out soon."""
        self._use(library().persisting_bucket_drain_ring)

    # ---- acknowledgements ----

    def acknowledged(self) -> int:
        """Return the number of acknowledged rows."""
        rows = ctypes.c_int64()
        self._use(self._acknowledged, byref(rows))
        return rows.value

    def renew(self, *, no_wait: bool = False) -> int:
        """Bring in what another process did; return the number of acknowledged rows."""
        rows = ctypes.c_int64()
        self._use(library().persisting_bucket_renew, NO_WAIT if no_wait else 0, byref(rows))
        return rows.value

    def wait(self, rows: int, timeout_ns: int = -1) -> None:
        """Wait until `rows` rows are acknowledged, at most `timeout_ns` nanoseconds."""
        self._use(library().persisting_bucket_wait, rows, timeout_ns)

    def set_bell(self, fd: int) -> None:
        """Have `notify` write to `fd` how many more rows are acknowledged; -1 is for none."""
        self._use(library().persisting_bucket_set_bell, fd)

    def notify(self, rows: int) -> None:
        """Ask to be told by the bell once `rows` rows are acknowledged."""
        self._use(library().persisting_bucket_notify, rows)

    # ---- reads ----

    def read(self, offset: int, count: int, *, no_wait: bool = False, run: bool = False) -> Cursor:
        """Read the rows left of `[offset, offset + count)`; may wait unless `no_wait`.

        With `run` up to the first row that was removed, and RemovedError if it is the first.
        """
        number, version = ctypes.c_uint64(), ctypes.c_uint64()
        flags = (NO_WAIT if no_wait else 0) | (RUN if run else 0)
        self._use(self._read, offset, count, flags, byref(number), byref(version))
        return Cursor(number.value, self, version.value)

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
        self._use(self._get, offset, count, at, scratch.first)
        version = scratch.out[0]
        schema = self._schemas.get(version) or self._schema_now(version)
        if schema is None:
            release_array(array.release)(at)
            raise WouldBlockError("the columns have changed")
        return at, schema

    def take(self, offsets: Sequence[int], *, no_wait: bool = False) -> Cursor:
        """Read the rows at `offsets`, in that order; may wait unless `no_wait`."""
        number, version = ctypes.c_uint64(), ctypes.c_uint64()
        self._use(
            library().persisting_bucket_take,
            *_offsets(offsets),
            NO_WAIT if no_wait else 0,
            byref(number),
            byref(version),
        )
        return Cursor(number.value, self, version.value)

    def first_from(self, offset: int) -> int:
        """Return the first offset from `offset` on whose row is left, else that of the next row."""
        offset = integer("offset", offset, -MOST, MOST)
        first = ctypes.c_int64()
        self._use(library().persisting_bucket_first_from, offset, byref(first))
        return first.value

    # ---- the schema ----

    def schema(self) -> pa.Schema:
        """Return the columns of the bucket."""
        return self._versioned_schema()[0]

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns of schema `version`, which the open cursor `cursor` has."""
        schema = self._schemas.get(version)
        if schema is None:
            schema = cursor_schema(cursor)
            self._schemas = {version: schema}
        return schema

    def _schema_now(self, version: int) -> pa.Schema | None:
        """Return the columns of a schema if it is that of the bucket now."""
        schema, current = self._versioned_schema()
        self._schemas = {current: schema}
        return self._schemas.get(version)

    def _versioned_schema(self) -> tuple[pa.Schema, int]:
        out, version = ArrowSchema(), ctypes.c_uint64()
        self._use(library().persisting_bucket_schema, byref(out), byref(version))
        return pa.Schema._import_from_c(ctypes.addressof(out)), version.value

    # ---- columns ----

    def declare(self, schema: pa.Schema) -> None:
        """Refuse other columns and types from now on."""
        self._with_schema(library().persisting_bucket_declare, schema)

    def add_columns(self, schema: pa.Schema) -> None:
        """Add nullable columns that are null in the rows there are."""
        self._with_schema(library().persisting_bucket_add_columns, schema)

    def fill_column(self, row: pa.RecordBatch) -> None:
        """Add the column of `row` with its one value in the rows there are."""
        schema, array = row.__arrow_c_array__()
        self._use(
            library().persisting_bucket_fill_column,
            capsule_pointer(array, b"arrow_array"),
            capsule_pointer(schema, b"arrow_schema"),
        )

    def compute_column(self, field: pa.Field, expression: str) -> None:
        """Add a column with the value of an SQL expression, of whose type null stands for."""
        sql = text("expression", expression)
        self._with_schema(library().persisting_bucket_compute_column, pa.schema([field]), sql)

    def drop_column(self, name: str) -> None:
        """Take a column out."""
        self._use(library().persisting_bucket_drop_column, text("name", name))

    def rename_column(self, name: str, to: str) -> None:
        """Give a column another name."""
        names = text("name", name), text("to", to)
        self._use(library().persisting_bucket_rename_column, *names)

    def cast_column(self, field: pa.Field) -> None:
        """Give the column of that name the type of `field`."""
        self._with_schema(library().persisting_bucket_cast_column, pa.schema([field]))

    def _with_schema(self, function: Any, schema: pa.Schema, *more: Any) -> None:
        capsule = schema.__arrow_c_schema__()
        self._use(function, capsule_pointer(capsule, b"arrow_schema"), *more)

    # ---- removal, and consumers ----

    def delete(self, filter: str) -> int:
        """Remove the rows for which an SQL filter is true; return how many."""
        return self._number_of(library().persisting_bucket_delete, text("filter", filter))

    def truncate_before(self, offset: int) -> int:
        """Remove the rows below an offset; return how many."""
        number = integer("offset", offset, -MOST, MOST)
        return self._number_of(library().persisting_bucket_truncate_before, number)

    def _number_of(self, function: Any, *arguments: Any) -> int:
        rows = ctypes.c_int64()
        self._use(function, *arguments, byref(rows))
        return rows.value

    def commit(self, consumer: str, offset: int) -> None:
        """Note the offset of a consumer."""
        number = integer("offset", offset, -MOST, MOST)
        self._use(library().persisting_bucket_commit, text("consumer", consumer), number)

    def consumers(self) -> dict[str, int]:
        """Return the offsets of all consumers."""
        offsets: dict[str, int] = json.loads(
            string(self._use, library().persisting_bucket_consumers)
        )
        return offsets

    # ---- what tasks consumed ----

    def mark(self, task: str, offsets: Sequence[int]) -> None:
        """Note that a task has consumed rows; may wait for the disk."""
        self._use(library().persisting_bucket_mark, text("task", task), *_offsets(offsets))

    def unmark(self, task: str) -> None:
        """Forget all that a task has consumed; may wait for the disk."""
        self._use(library().persisting_bucket_unmark, text("task", task))

    def marked(self) -> dict[str, int]:
        """Return how many rows each task has consumed."""
        counts: dict[str, int] = json.loads(string(self._use, library().persisting_bucket_marked))
        return counts

    def take_ready(self, task: str, columns: Sequence[str], limit: int) -> list[int]:
        """Mark the first rows that have the columns and are not consumed; return their offsets."""
        limit = integer("limit", limit, 0, 1 << 32)
        offsets, count = (ctypes.c_int64 * limit)(), ctypes.c_int64()
        self._use(
            library().persisting_bucket_take_ready,
            text("task", task),
            json.dumps([*columns]).encode(),
            limit,
            offsets,
            byref(count),
        )
        return offsets[: count.value]

    def ready(self, task: str, columns: Sequence[str], rows: int) -> bytes:
        """Return which of the first rows have the columns and are not consumed, as bits."""
        bits = (ctypes.c_uint8 * ((rows + 63) // 64 * 8))()
        self._use(
            library().persisting_bucket_ready,
            text("task", task),
            json.dumps([*columns]).encode(),
            bits,
            len(bits),
        )
        return bytes(bits)

    def clear(self, offsets: Sequence[int]) -> int:
        """Remove rows, and what is noted of them; return how many there were."""
        return self._number_of(library().persisting_bucket_clear, *_offsets(offsets))

    # ---- versions ----

    def versions(self) -> list[dict[str, Any]]:
        """Return the versions that are there, the oldest first."""
        versions: list[dict[str, Any]] = json.loads(
            string(self._use, library().persisting_bucket_versions)
        )
        return versions

    def at(self, version: int) -> View:
        """Open a version for reading."""
        version = integer("version", version, 0, MOST)
        number = ctypes.c_uint64()
        self._use(library().persisting_view_open, version, byref(number))
        return View(number.value, self.path, version)

    def tag(self, name: str, version: int) -> None:
        """Give a version a name."""
        number = integer("version", version, 0, MOST)
        self._use(library().persisting_bucket_tag, text("name", name), number)

    def untag(self, name: str) -> None:
        """Take a name away."""
        self._use(library().persisting_bucket_untag, text("name", name))

    def restore(self, version: int) -> None:
        """Bring back the columns and rows of a version."""
        number = integer("version", version, 0, MOST)
        self._use(library().persisting_bucket_restore, number)

    # ---- indexes ----

    def create_index(self, index: Mapping[str, Any]) -> None:
        """Build an index; waits until it is on disk."""
        self._use(library().persisting_bucket_create_index, as_json(index))

    def drop_index(self, name: str) -> None:
        """Remove an index; waits for the disk."""
        self._use(library().persisting_bucket_drop_index, text("name", name))

    def indexes(self) -> list[dict[str, Any]]:
        """Describe the indexes; waits for the disk."""
        indexes: list[dict[str, Any]] = json.loads(
            string(self._use, library().persisting_bucket_indexes)
        )
        return indexes

    def index_stats(self, name: str) -> dict[str, Any]:
        """Return what Lance says of an index; waits for the disk."""
        wanted = text("name", name)
        found: dict[str, Any] = json.loads(
            string(self._use, library().persisting_bucket_index_stats, wanted)
        )
        return found

    # ---- upkeep ----

    def flush(self) -> None:
        """Move the acknowledged rows into Lance; waits for the disk."""
        self._use(library().persisting_bucket_flush)

    def compact(self) -> None:
        """Merge small fragments and remove old versions; waits for the disk."""
        self._use(library().persisting_bucket_compact)

    def stats(self) -> dict[str, Any]:
        """Return the state and the counters of the bucket."""
        stats: dict[str, Any] = json.loads(string(self._use, library().persisting_bucket_stats))
        return stats


def _offsets(offsets: Sequence[int]) -> tuple[ctypes.Array[ctypes.c_int64], int]:
    """Return offsets as the engine takes them: an array and its length."""
    wanted = integers("indices", offsets)
    unknown = next((offset for offset in wanted if not 0 <= offset <= MOST), None)
    if unknown is not None:
        raise NotFoundError(f"there is no offset {unknown}")
    return (ctypes.c_int64 * len(wanted))(*wanted), len(wanted)
