"""Reading what is in a bucket, whoever writes to it."""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from persisting import _arguments
from persisting._errors import (
    InvalidArgumentError,
    NotFoundError,
    SchemaError,
    WouldBlockError,
)
from persisting._loop.threads import drain, on_thread, opened_on_thread
from persisting._records import RecordDecoder, strip, visible
from persisting.queue._prefetch import Prefetch
from persisting.queue._queries import Queries
from persisting.queue._versions import BucketView, Version, choose, version_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from datetime import datetime

    from persisting._engine.bucket import Bucket
    from persisting._engine.queries import Queryable

OFFSET = "_offset"
"""The column that `get_arrow` adds for offsets."""

# Rows up to which those of a get are made one batch.
_FEW = 1024

# So few rows before the end, as one who waits finds them, a stream takes as a get does.
_NEW = 64


class Reads(Queries):
    """The methods that read a bucket, of the backend that has it open or of another process.

    Notes
    -----
    `_total` is the number of records that reads may see; who derives from this keeps it.
    """

    storage_path: str
    batch_size: int
    _bucket: Bucket
    _total: int

    def _begin_reads(self) -> None:
        """Make what reads need."""
        self._decoder = RecordDecoder()
        self._prefetch = Prefetch(self.batch_size)

    @abstractmethod
    def _check_open(self) -> None:
        """Raise a ClosedError where it is closed."""

    @abstractmethod
    async def _more(self, timeout: float | None) -> bool:
        """Wait for records that come; False if none came in time."""

    # ---- reads ----

    async def get(self, limit: int, offset: int) -> list[dict[str, Any]]:
        """Return the records at the offsets `[offset, offset + limit)` that exist.

        Parameters
        ----------
        limit
            Most records to return.
        offset
            Offset of the first one. As in a slice of a list, a negative number counts
            from the end.

        Returns
        -------
        list of dict
            The records, in the order of their offsets. Where records were removed they end before
            the first removed one: the i-th has the offset `offset + i`.

        Raises
        ------
        RemovedError
            The record at `offset` was removed; `first` is the first offset that is left.
        SchemaError
            Python has no object for a value that came in as Arrow data; `column` and `offset` of
            the error say where. `get_arrow` reads it, and a get from the next offset goes on.
        """
        self._check_open()
        if type(limit) is not int or type(offset) is not int:
            limit, offset = _arguments.integers("limit, offset", (limit, offset))
        start, stop, _ = slice(offset, offset + limit).indices(self._total)
        if start >= stop:
            return []
        count = stop - start
        try:
            if count <= _FEW:
                return self._few(start, count)
            batches = self._run(start, count, no_wait=True)
        except WouldBlockError:
            batches = await on_thread(self._run, start, count)
        return self._decoder.decode(batches, start.__add__)

    async def get_stream(
        self,
        limit: int,
        offset: int,
        wait: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the records from `offset` on in lists of at most `batch_size`.

        Parameters
        ----------
        limit
            Most records to yield in all.
        offset
            Offset of the first one; a negative number counts from the end, as it is when the
            first record is asked for.
        wait
            Whether to wait for records that do not exist yet; a put ends the wait at
            once.
        timeout
            Seconds to wait for the next record before the stream ends; None or 0 is
            without limit.

        Yields
        ------
        list of dict
            At least one record, in the order of their offsets.

        Raises
        ------
        RemovedError
            The next record was removed; `first` is the first offset after it that is left.
        SchemaError
            Python has no object for a value of the next record, which has the offset `offset` of
            the error. All before it were yielded.
        """
        limit, offset = _arguments.integers("limit, offset", (limit, offset))
        self._check_open()
        if offset < 0:
            offset = max(self._total + offset, 0)
        prefetch = self._prefetch
        following: asyncio.Future[list[pa.RecordBatch]] | None = None
        try:
            while limit > 0:
                self._check_open()
                stop = min(offset + min(limit, prefetch.rows), self._total)
                if offset >= stop:
                    if not wait or not await self._more(timeout):
                        return
                    continue
                if following is None and self._total - offset <= min(_NEW, limit):
                    newest: list[dict[str, Any]] = []
                    with contextlib.suppress(WouldBlockError, SchemaError):
                        newest = self._few(offset, self._total - offset)
                    offset += len(newest)
                    limit -= len(newest)
                    for start in range(0, len(newest), self.batch_size):
                        yield newest[start : start + self.batch_size]
                    if newest:
                        continue
                on_disk = following is not None
                try:
                    if following is None:
                        batches = self._run(offset, stop - offset, no_wait=True)
                    elif following.get_loop() is asyncio.get_running_loop():
                        batches = await following
                    else:
                        batches = await on_thread(self._run, offset, stop - offset)
                except WouldBlockError:
                    on_disk = True
                    batches = await on_thread(self._run, offset, stop - offset)
                following = None
                count = sum(batch.num_rows for batch in batches)
                prefetch.learn(count, sum(batch.nbytes for batch in batches))
                first = offset
                offset += count
                limit -= count
                least = min(prefetch.rows, limit, self._total - offset)
                if on_disk and prefetch.twice and least > 0:
                    following = on_thread(self._run, offset, least)
                for part in prefetch.cut(batches):
                    for records in self._lists(part, first):
                        yield records
                    first += sum(batch.num_rows for batch in part)
        finally:
            if following is not None and not following.get_loop().is_closed():
                following.cancel()

    def _few(self, start: int, count: int) -> list[dict[str, Any]]:
        """Read few rows, up to the first that was removed, in one call and without waiting."""
        return self._decoder.decode_at(*self._bucket.get(start, count), start)

    def _lists(self, batches: list[pa.RecordBatch], first: int) -> Iterator[list[dict[str, Any]]]:
        """Make lists of records of batches, whose first row has the offset `first`."""
        fault = None
        try:
            records = self._decoder.decode(batches, first.__add__)
        except SchemaError as error:
            if error.offset is None:
                raise
            fault = error
            readable = pa.Table.from_batches(batches).slice(0, error.offset - first)
            records = self._decoder.decode(readable.to_batches())
        for start in range(0, len(records), self.batch_size):
            yield records[start : start + self.batch_size]
        if fault is not None:
            raise fault

    async def get_by_indices(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the records at the given offsets, in the order given.

        Parameters
        ----------
        indices
            Offsets; one may occur more than once.

        Raises
        ------
        NotFoundError
            An offset does not exist. It is a LookupError.
        """
        self._check_open()
        wanted = _arguments.integers("indices", indices)
        try:
            cursor = self._bucket.take(wanted, no_wait=True)
            batches = drain(cursor)
        except WouldBlockError:
            batches = await on_thread(lambda: drain(self._bucket.take(wanted)))
        return self._decoder.decode(batches, wanted.__getitem__)

    async def get_arrow(
        self, limit: int | None = None, offset: int = 0, *, with_offsets: bool = False
    ) -> pa.Table:
        """Return records as an Arrow table, without copying columns.

        Parameters
        ----------
        limit
            Number of offsets to look at; None is all.
        offset
            The first of them.
        with_offsets
            Whether to add the column `_offset`, int64, at the end.

        Returns
        -------
        pyarrow.Table
            The columns of the bucket; a key that a record lacks is null. Records that were
            removed are left out.
        """
        self._check_open()
        start, stop = _arguments.span(self._total, limit, offset)
        batches, runs = await self._batches(start, stop - start) if start < stop else ([], [])
        schema = batches[0].schema if batches else self._bucket.schema()
        table = strip(pa.Table.from_batches(batches, schema))
        if with_offsets:
            offsets = [pa.array(range(first, end), pa.int64()) for first, end in runs]
            table = table.append_column(OFFSET, pa.chunked_array(offsets, pa.int64()))
        return table

    async def _batches(
        self, offset: int, count: int
    ) -> tuple[list[pa.RecordBatch], list[tuple[int, int]]]:
        """Read what is left of a range, and the runs of its offsets."""

        def read(*, no_wait: bool = False) -> tuple[list[pa.RecordBatch], list[tuple[int, int]]]:
            with self._bucket.read(offset, count, no_wait=no_wait) as cursor:
                return list(cursor), cursor.offsets()

        try:
            return read(no_wait=True)
        except WouldBlockError:
            return await on_thread(read)

    def _run(self, offset: int, count: int, no_wait: bool = False) -> list[pa.RecordBatch]:
        """Read a range up to the first gap."""
        with self._bucket.read(offset, count, no_wait=no_wait, run=True) as cursor:
            return list(cursor)

    # ---- queries, which are in the base class, and indexes ----

    def _queried(self) -> Queryable:
        self._check_open()
        return self._bucket

    async def list_indexes(self) -> list[dict[str, Any]]:
        """Return what indexes there are.

        Returns
        -------
        list of dict
            `name`, `column`, `type`, `rows_indexed`, `rows_unindexed`, `parts`, `bytes` (None
            where unknown) and `details` of the type. `progress` is None, or tells of an
            index that is being built its `stage` and how much is `completed` of the
            `total` (None where unknown), in `unit`.
        """
        self._check_open()
        return await on_thread(self._bucket.indexes)

    async def index_stats(self, name: str) -> dict[str, Any]:
        """Return what Lance says of an index; NotFoundError if there is none of that name."""
        self._check_open()
        return await on_thread(self._bucket.index_stats, name)

    # ---- columns ----

    @property
    def schema(self) -> pa.Schema:
        """The columns of the bucket (pyarrow.Schema)."""
        self._check_open()
        return visible(self._bucket.schema())

    # ---- removal, and consumers ----

    def first_offset(self, offset: int = 0) -> int:
        """Return the first offset from `offset` on whose record is left.

        That of the next record to be put when there is none.
        """
        self._check_open()
        return self._bucket.first_from(offset)

    async def committed(self, consumer: str) -> int | None:
        """Return the offset that a consumer committed last; None if it never did."""
        return (await self.consumers()).get(consumer)

    async def consumers(self) -> dict[str, int]:
        """Return the offsets of all consumers, by name."""
        self._check_open()
        return await on_thread(self._bucket.consumers)

    # ---- versions ----

    async def list_versions(self) -> list[Version]:
        """Return the versions that are there, the oldest first.

        Flushes, compactions and changes make versions. Compactions remove those that are neither
        tagged nor open.
        """
        self._check_open()
        return [version_of(told) for told in await on_thread(self._bucket.versions)]

    async def at(
        self,
        version: int | None = None,
        *,
        tag: str | None = None,
        timestamp: datetime | None = None,
    ) -> BucketView:
        """Open an old version for reading.

        Parameters
        ----------
        version, tag, timestamp
            One of them: a number, a name, or a time, for the newest version that is there and was
            made by then. A time without a zone is local.

        Returns
        -------
        BucketView
            Keeps the version until it is closed; use it in a `with` statement.

        Raises
        ------
        NotFoundError
            There is no such version any more.
        """
        number = await self._resolve(version, tag, timestamp)
        return BucketView(await opened_on_thread(self._bucket.at, number))

    async def _resolve(
        self, version: int | None, tag: str | None, timestamp: datetime | None
    ) -> int:
        self._check_open()
        if sum(given is not None for given in (version, tag, timestamp)) != 1:
            raise InvalidArgumentError("give one of version, tag and timestamp")
        if version is not None:
            return _arguments.integer("version", version, 0, _arguments.MOST)
        found, wanted = choose(await self.list_versions(), tag, timestamp)
        if found is None:
            raise NotFoundError(f"the bucket {self.storage_path} does not have {wanted}")
        return found.version
