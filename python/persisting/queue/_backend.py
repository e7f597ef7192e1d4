"""LanceBackend and PersistingBackend: what a Pulsing queue keeps its records in."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from persisting import _arguments
from persisting._engine.bucket import Bucket
from persisting._errors import (
    ClosedError,
    InvalidArgumentError,
    NotFoundError,
    PersistingError,
    SchemaError,
)
from persisting._loop.futures import settle
from persisting._loop.threads import call_on_thread, on_thread
from persisting._observe import logs, tracing
from persisting._records import (
    column_of,
    declared,
    default_row,
    pull,
)
from persisting.queue._consumption import Consumption
from persisting.queue._keys import Keys
from persisting.queue._options import (
    LanceOptions,
    PersistingOptions,
    documented,
    for_engine,
)
from persisting.queue._reads import Reads
from persisting.queue._writer import Writer

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from typing_extensions import Self, Unpack


@documented(LanceOptions)
class LanceBackend(Reads, Consumption):
    """Storage of one bucket of a Pulsing queue in a Lance table.

    A put is acknowledged, and visible to every later get, once it is in memory;
    a flush moves the records into Lance. Records that were not flushed are lost when
    the process is killed. `PersistingBackend` keeps a write-ahead log against that.

    Parameters
    ----------
    bucket_id
        Number of the bucket in its queue.
    storage_path
        Directory of the bucket, a str or any other path; it holds `data.lance`. Created if
        missing. It is resolved once: a later change of the working directory does not matter.
    batch_size
        Most records in a list that `get_stream` yields.
    schema
        The columns that puts may have, and must have where a field is not nullable; others are
        refused. Those that the bucket lacks are added. None is to let puts make columns.
    **options
        See `LanceOptions`.

    Raises
    ------
    InvalidArgumentError
        An option is unknown or out of range; the message names the valid ones.
    SchemaError
        The bucket has a column of another type than `schema`.
    LockedError
        The bucket is open in this or another process.
    WALError, CorruptError, StorageError
        The bucket cannot be recovered.

    Notes
    -----
    The constructor reads the disk. No other method blocks the event loop that awaits
    it: what is not in memory is read on a thread. One event loop at a time may use a
    backend. A put whose await was cancelled is stored wholly or not at all.

    Retention removes the oldest records as `truncate_before` does, in the background: once there
    is an eighth more than a bound allows, or an eighth of `retention_age` after it. `compact`
    keeps to the bounds exactly.

    Records are dicts with str keys. A get returns records equal to those that were put:
    absent keys stay absent and None stays None. See the README for the types.
    """

    _NAME: ClassVar[str] = "lance"
    _OPTIONS: ClassVar[type[LanceOptions]] = LanceOptions
    _FIXED: ClassVar[dict[str, Any]] = {"enable_wal": False}

    def __init__(
        self,
        bucket_id: int,
        storage_path: str | bytes | os.PathLike[Any],
        batch_size: int = 100,
        schema: pa.Schema | None = None,
        **options: Unpack[LanceOptions],
    ) -> None:
        self._open(bucket_id, storage_path, batch_size, schema, options)

    def _open(
        self,
        bucket_id: int,
        storage_path: str | bytes | os.PathLike[Any],
        batch_size: int,
        schema: pa.Schema | None,
        options: Mapping[str, Any],
    ) -> None:
        """Open the bucket; an error is logged, because Pulsing keeps it to itself."""
        try:
            self.bucket_id = _arguments.integer("bucket_id", bucket_id, 0)
            self.batch_size = _arguments.integer("batch_size", batch_size, 1)
            given = for_engine(options, self._OPTIONS, type(self).__name__)
            self.storage_path = _arguments.path("storage_path", storage_path)
            self._open_bucket({**given, **self._FIXED}, schema)
        except PersistingError as error:
            logs.not_opened(storage_path, error)
            raise

    def _open_bucket(self, options: dict[str, Any], schema: pa.Schema | None) -> None:
        logs.start()
        columns = None if schema is None else declared(schema)
        with tracing.span("recovery", self.storage_path) as recovery:
            self._bucket = Bucket(self.storage_path, options)
            if recovery is not None:
                replayed = self._bucket.stats()["recovery"]["replayed_records"]
                recovery.set_attribute("persisting.replayed", replayed)
        self._closing = False
        self._closed: concurrent.futures.Future[None] | None = None  # once a close has begun
        self._is_ended = False  # nobody waits for it any more
        try:
            if columns is not None:
                self._bucket.declare(columns)
            self._total = self._bucket.acknowledged()
            self._writer = Writer(self._bucket, self._advance)
        except BaseException:
            self._bucket.close()
            raise
        self._begin_reads()
        self._readers: list[asyncio.Future[None]] = []
        self._taking = threading.Lock()
        self._keys = Keys(self._bucket)
        self._receipts = {}

    # ---- puts ----

    async def put(self, record: dict[str, Any]) -> None:
        """Store one record.

        Parameters
        ----------
        record
            The record. Later changes to it have no effect.

        Raises
        ------
        SchemaError
            The record cannot be held exactly, or does not fit the columns; nothing of
            it is stored. It is a TypeError.
        PoisonedError
            A write failed before; the bucket must be opened again.
        ClosedError
            The backend was closed.
        """
        self._check_open()
        if tracing.tracer:
            await tracing.put(self.storage_path, 1, self._writer.put, [record])
            return
        storing = self._writer.put([record])
        if storing is not None:
            await storing

    async def put_batch(self, records: Sequence[dict[str, Any]]) -> None:
        """Store records in their order, all of them or none.

        Parameters
        ----------
        records
            The records. Later changes to them have no effect.

        Raises
        ------
        SchemaError, PoisonedError, ClosedError
            As `put`.
        """
        if isinstance(records, dict | str | bytes) or not isinstance(records, Sequence):
            raise SchemaError(f"put_batch: want a list of dicts, got {type(records).__name__}")
        self._check_open()
        if tracing.tracer:
            await tracing.put(self.storage_path, len(records), self._writer.put, records)
            return
        storing = self._writer.put(records)
        if storing is not None:
            await storing

    async def put_arrow(self, data: Any) -> None:
        """Store the rows of Arrow data, without copying columns.

        Parameters
        ----------
        data
            Anything that speaks the Arrow PyCapsule protocol: a table, record batch or
            reader of pyarrow, a polars or pandas DataFrame, a DuckDB relation. It must
            not be changed afterwards, not even through a numpy view of its buffers. What makes
            its batches when it is asked for them, as a reader or a relation does, is asked on a
            thread; its rows come behind what is put meanwhile.

        Raises
        ------
        SchemaError
            A column has another type than that of the bucket, or one that Lance cannot
            hold; nothing is stored.
        PoisonedError, ClosedError
            As `put`. The rows before those at which the disk failed may be stored.

        Notes
        -----
        Dictionary-encoded and view columns are stored in their plain form, for which
        they are copied.

        References
        ----------
        https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
        """
        self._check_open()
        if not isinstance(data, pa.Table | pa.RecordBatch):
            data = await _pulled(data)
            self._check_open()
        if tracing.tracer:
            await tracing.put(self.storage_path, data.num_rows, self._writer.put_arrow, data)
            return
        await self._writer.put_arrow(data)

    def _advance(self, acknowledged: int) -> None:
        """Let readers see the rows up to `acknowledged`."""
        if acknowledged <= self._total:
            return
        self._total = acknowledged
        if self._readers:
            readers, self._readers = self._readers, []
            settle(readers, None)

    # ---- reads, which are in the base class ----

    async def _more(self, timeout: float | None) -> bool:
        """Wait for a put; False if none came in time."""
        self._check_open()
        reader = asyncio.get_running_loop().create_future()
        self._readers.append(reader)
        try:
            await asyncio.wait_for(reader, timeout or None)
        except asyncio.TimeoutError:
            return False
        finally:
            if reader in self._readers:
                self._readers.remove(reader)
        return True

    # ---- indexes ----

    async def create_index(
        self,
        column: str,
        type: str = "btree",
        *,
        name: str | None = None,
        replace: bool = False,
        **options: Any,
    ) -> None:
        """Build an index of a column.

        Parameters
        ----------
        column
            Name of the column.
        type
            "btree", "bitmap", "label_list", "ngram", "zonemap" or "bloom_filter" for
            filters, "inverted" for searches for a text, "ivf_flat", "ivf_pq", "ivf_sq",
            "ivf_hnsw_flat", "ivf_hnsw_pq" or "ivf_hnsw_sq" for vectors.
        name
            Name of the index; None is that of the column with "_idx" after it.
        replace
            Whether an index of that name may be replaced.
        **options
            Those of the type, such as `metric="cosine", partitions=256` of a vector index
            or `stem=True, language="English"` of a text index; docs/queries.md lists them.

        Raises
        ------
        InvalidArgumentError
            There is no such column, type or option, the column cannot have that index, or
            the name is taken.

        Notes
        -----
        Returns when the index is on disk; `list_indexes` tells how far it is meanwhile.
        Puts and gets go on. Records that come later are found as well, and are taken into
        the index by the background work and by `compact`.
        """
        self._check_open()
        index = {"column": column, "type": type, "replace": replace, "options": options}
        if name is not None:
            index["name"] = name
        with tracing.span("index", self.storage_path):
            await on_thread(self._bucket.create_index, index)

    async def drop_index(self, name: str) -> None:
        """Remove an index; NotFoundError, a LookupError, if there is none of that name."""
        self._check_open()
        await on_thread(self._bucket.drop_index, name)

    # ---- columns ----

    async def add_column(
        self,
        name: str,
        type: pa.DataType | str | None = None,
        *,
        default: Any = None,
        expression: str | None = None,
    ) -> None:
        """Add a column, in old records as in new ones; no data file is rewritten.

        Parameters
        ----------
        name
            Its name, which no column may have.
        type
            A pyarrow type, or its name, such as "int64", "double", "string", "timestamp[us]",
            "json". May be left out with a default or an expression.
        default
            Value that the records there are get; None is no value. Records that are put later
            lack the key unless they have it.
        expression
            SQL over the other columns, such as "reward * 2 + step", that gives the value of the
            records there are instead. Names that are no identifiers stand in backticks.

        Raises
        ------
        SchemaError
            The column is there, or cannot hold the values.
        InvalidArgumentError
            The expression cannot be understood; the text is the parser's.

        Notes
        -----
        As every change of columns: puts wait meanwhile, gets do not and see the columns of before
        or after; after a crash it has happened as a whole or not at all. A column without a value
        is added without writing data; another one is written, in files of its own.
        """
        if default is not None and expression is not None:
            raise InvalidArgumentError("add_column: give a default or an expression, not both")
        if expression is not None:
            field = column_of(name, "null" if type is None else type)
            await self._change(self._bucket.compute_column, field, expression)
        elif default is not None:
            await self._change(self._bucket.fill_column, default_row(name, type, default))
        elif type is None:
            raise InvalidArgumentError("add_column: give a type, a default or an expression")
        else:
            await self._change(self._bucket.add_columns, pa.schema([column_of(name, type)]))

    async def drop_column(self, name: str) -> None:
        """Take a column out of all records; `compact` gives its space back.

        Raises
        ------
        SchemaError
            There is no such column, or no other.
        """
        await self._change(self._bucket.drop_column, name)

    async def rename_column(self, name: str, to: str) -> None:
        """Give a column another name, in old records as in new ones; no data is rewritten.

        Raises
        ------
        SchemaError
            There is no such column, or one of the new name.
        """
        await self._change(self._bucket.rename_column, name, to)

    async def cast_column(self, name: str, type: pa.DataType | str) -> None:
        """Give a column another type where every value survives the way there and back.

        Parameters
        ----------
        name
            The column, which is written anew; others are not.
        type
            A pyarrow type or its name.

        Raises
        ------
        SchemaError
            There is no such column, or the type does not hold one of the values exactly. Where
            values may change, `add_column` with the expression "CAST(name AS type)",
            `drop_column` and `rename_column` do it.
        """
        await self._change(self._bucket.cast_column, column_of(name, type))

    async def _change(self, function: Any, *arguments: Any) -> None:
        self._check_open()
        await self._writer.change(lambda: function(*arguments))
        self._keys.forget()

    # ---- removal ----

    async def delete(self, filter: str) -> int:
        """Remove the records for which a filter is true.

        Parameters
        ----------
        filter
            SQL over the columns, such as "reward < 0 AND step > 10". Names that are no
            identifiers stand in backticks.

        Returns
        -------
        int
            How many were removed. Those that are put during the call stay.

        Raises
        ------
        InvalidArgumentError
            The filter cannot be understood; the text is the parser's.

        Notes
        -----
        The other records keep their offsets, and no offset is given again: `get` from a removed
        one raises RemovedError. Puts and gets go on meanwhile; `compact`, and the compactions in
        the background, give the space back.
        """
        self._check_open()
        return await on_thread(self._bucket.delete, filter)

    async def truncate_before(self, offset: int) -> int:
        """Remove the records below an offset, which may be `total_count()`; as `delete` does.

        Returns
        -------
        int
            How many were removed.

        Raises
        ------
        NotFoundError
            The offset is negative or beyond the end.
        """
        self._check_open()
        await self._reach(offset)
        return await on_thread(self._bucket.truncate_before, offset)

    async def _reach(self, offset: int) -> None:
        """Wait for puts that `total_count` counts already, where an offset is among theirs."""
        if self._total < _arguments.integer("offset", offset) <= self._writer.placed:
            await self._writer.settle()

    # ---- consumers ----

    async def commit(self, consumer: str, offset: int) -> None:
        """Note that a consumer is done with the records below an offset.

        Parameters
        ----------
        consumer
            Its name.
        offset
            At most `total_count()`; it may be lower than the one before.

        Notes
        -----
        On return the offset is synced to disk, and so are the records below it.
        """
        self._check_open()
        await self._reach(offset)
        await on_thread(self._bucket.commit, consumer, offset)

    # ---- what tasks consume, which is in the base class ----

    def _consumed(self) -> Bucket:
        self._check_open()
        return self._bucket

    async def _settled(self) -> int:
        self._check_open()
        while self._writer.placed != self._total:
            await self._writer.settle()
            await asyncio.sleep(0)
        return self._total

    # ---- versions ----

    async def snapshot(self, tag: str) -> int:
        """Flush, and keep the bucket as it is then under a name.

        Parameters
        ----------
        tag
            Letters, digits, "-", "_" and, inside, "."; not in use.

        Returns
        -------
        int
            The version.

        Raises
        ------
        InvalidArgumentError
            The name cannot be one or is in use.
        NotFoundError
            The bucket never had a record.
        """
        self._check_open()
        with tracing.span("flush", self.storage_path):
            await on_thread(self._bucket.flush)
        version = await self._newest()
        await self.tag(tag, version)
        return version

    async def tag(self, name: str, version: int) -> None:
        """Give a version a name, which compactions respect; synced to disk on return.

        Raises
        ------
        InvalidArgumentError
            The name cannot be one or is in use.
        NotFoundError
            The version is not there any more.
        """
        self._check_open()
        await on_thread(self._bucket.tag, name, version)

    async def untag(self, name: str) -> None:
        """Take a name away; the next compaction may remove the version.

        Raises
        ------
        NotFoundError
            There is no such tag.
        """
        self._check_open()
        await on_thread(self._bucket.untag, name)

    async def restore(self, version: int | None = None, *, tag: str | None = None) -> None:
        """Give the bucket the columns and the records of an old version.

        Records that were put later are removed, those that were removed later are back. Offsets
        stay: the next record gets the offset that it would have got without the call. Puts wait
        meanwhile, and a crash leaves the bucket as it was before or after.

        Parameters
        ----------
        version, tag
            One of them.

        Raises
        ------
        NotFoundError
            There is no such version any more.
        """
        number = await self._resolve(version, tag, None)
        await self._writer.change(lambda: self._bucket.restore(number))
        self._keys.forget()

    async def _newest(self) -> int:
        versions = await self.list_versions()
        if not versions:
            raise NotFoundError(f"the bucket {self.storage_path} has no version: it has no records")
        return versions[-1].version

    # ---- upkeep ----

    async def flush(self) -> None:
        """Move the acknowledged records into Lance; they are synced to disk on return.

        Raises
        ------
        StorageError, PoisonedError, ClosedError
            The flush failed; the records stay where they were.
        """
        self._check_open()
        with tracing.span("flush", self.storage_path):
            await on_thread(self._bucket.flush)

    async def compact(self) -> None:
        """Merge small fragments of the table and remove files that nothing needs.

        Records that retention does not keep are removed before. Offsets stay as they are; puts
        and gets go on meanwhile.
        """
        self._check_open()
        with tracing.span("compaction", self.storage_path):
            await on_thread(self._bucket.compact)

    async def stats(self) -> dict[str, Any]:
        """Return the state of the bucket.

        Returns
        -------
        dict
            `bucket_id`, `backend`, `storage_path`, `wal_enabled`; `total_count`,
            `persisted_count` and `buffer_size` in records (all, in Lance, and not yet);
            sizes in bytes; `recovery`, what opening it found; `retention`, the
            `removed_records` and `removed_bytes` since then; and `metrics` unless they are off.
        """
        self._check_open()
        return {
            "bucket_id": self.bucket_id,
            "backend": self._NAME,
            **self._bucket.stats(),
            "storage_path": self.storage_path,
        }

    def get_metrics(self) -> dict[str, Any]:
        """Return the counters of the bucket since it was opened; empty if they are off."""
        self._check_open()
        metrics: dict[str, Any] = self._bucket.stats().get("metrics", {})
        return metrics

    def total_count(self) -> int:
        """Return the number of records that have their place: the offset of the next one put.

        Those of puts that wait to be acknowledged are counted, though reads do not see them yet;
        where such a put fails they are no longer. No I/O is done.
        """
        return max(self._total, self._writer.placed)

    # ---- the end ----

    def close(self) -> None:
        """Flush and close; a second call does nothing.

        Blocks until the flush is on disk: in a coroutine, await `aclose` instead.

        Raises
        ------
        StorageError, PoisonedError
            The flush failed. The backend is closed nevertheless.
        """
        self._closing = True
        if self._closed is not None:  # an `aclose` is at it
            concurrent.futures.wait({self._closed})
            self._end(self._closed)
        if self._bucket.closed:
            return
        closed: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._closed = closed
        try:
            closed.set_result(tracing.caller(self._bucket.close)())
        except BaseException as cause:
            closed.set_exception(cause)
            raise
        finally:
            self._end(closed)

    async def aclose(self) -> None:
        """Flush and close as `close` does, without blocking the event loop.

        Once it has begun it goes on to its end, also when nobody waits for that any more. A
        second call waits for it.
        """
        self._closing = True
        if self._closed is None and not self._bucket.closed:
            await self._writer.settle()
        mine = self._closed is None and not self._bucket.closed
        if mine:
            self._closed = call_on_thread(tracing.caller(self._bucket.close))
            end = functools.partial(self._end_on, asyncio.get_running_loop())
            self._closed.add_done_callback(end)
        if self._closed is not None:
            ended = asyncio.get_running_loop().create_future()
            self._closed.add_done_callback(lambda _: settle((ended,), None))
            await ended
            cause = self._closed.exception()
            self._end(self._closed)
            if mine and cause is not None:
                raise cause

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def _end_on(
        self, loop: asyncio.AbstractEventLoop, closed: concurrent.futures.Future[None]
    ) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits on it
            loop.call_soon_threadsafe(self._end, closed)

    def _end(self, closed: concurrent.futures.Future[None]) -> None:
        """Let nobody wait for a backend that was closed."""
        if self._is_ended:
            return
        self._is_ended = True
        error = self._closed_error()
        self._writer.end(error, closed.exception() is None)
        readers, self._readers = self._readers, []
        settle(readers, error)

    def _check_open(self) -> None:
        if self._closing:
            raise self._closed_error()

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the backend of {self.storage_path} is closed")


async def _pulled(data: Any) -> pa.Table:
    """Take all rows of Arrow data, on a thread unless they are there already."""
    if type(data).__module__.startswith("polars.") and type(data).__name__ == "DataFrame":
        return pull(data)
    given_up = threading.Event()
    try:
        # A thread of the loop: what makes the batches may itself wait for calls of ours.
        return await asyncio.to_thread(pull, data, lambda: not given_up.is_set())
    except asyncio.CancelledError:
        given_up.set()
        raise


@documented(PersistingOptions)
class PersistingBackend(LanceBackend):
    """Storage of one bucket of a Pulsing queue in a Lance table behind a log.

    A put is acknowledged once it is in the write-ahead log, and is recovered from
    there after a crash. Takes the parameters of `LanceBackend` and these:

    Parameters
    ----------
    **options
        See `PersistingOptions`.
    """

    _NAME: ClassVar[str] = "persisting"
    _OPTIONS: ClassVar[type[LanceOptions]] = PersistingOptions
    _FIXED: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        bucket_id: int,
        storage_path: str | bytes | os.PathLike[Any],
        batch_size: int = 100,
        schema: pa.Schema | None = None,
        **options: Unpack[PersistingOptions],
    ) -> None:
        self._open(bucket_id, storage_path, batch_size, schema, options)
