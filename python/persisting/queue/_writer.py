"""What puts go through on their way to the engine."""

from __future__ import annotations

import asyncio
import copy
import functools
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from persisting._errors import PersistingError, WouldBlockError
from persisting._records import RecordEncoder
from persisting.queue._acknowledgements import Acknowledgements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import pyarrow as pa

    from persisting._native import Bucket

# Puts in a row that a task may do before the event loop gets a turn.
_FAIRNESS = 16


class _Group(NamedTuple):
    """Batches that are stored together, and the puts that wait for them."""

    batches: Sequence[pa.RecordBatch]
    puts: Sequence[asyncio.Future[None]]


class Writer:
    """Turn puts into batches, and wait for the engine to acknowledge them.

    The records of a put are encoded when it is called. A task that puts alone hands its
    batch over at once. Where several tasks put, a turn of the event loop makes one batch
    of what they put in the turn before.

    Parameters
    ----------
    bucket
        The open bucket.
    advance
        Called with the number of acknowledged rows when it has grown.
    """

    def __init__(self, bucket: Bucket, advance: Callable[[int], None]) -> None:
        self._bucket = bucket
        self._advance = advance
        self._encoder = RecordEncoder(bucket.schema())
        self._acknowledgements = Acknowledgements(bucket, advance)
        self._open: list[asyncio.Future[None]] = []  # puts whose rows the encoder holds
        self._groups: deque[_Group] = deque()  # to be stored before those
        self._task: asyncio.Task[None] | None = None
        self._promotion: asyncio.Future[None] | None = None
        self._putter = 0  # id of the task that put last
        self._row_of_puts = 0

    @property
    def schema(self) -> pa.Schema:
        """The columns that the bucket has when all puts are stored."""
        return self._encoder.schema

    async def put(self, records: Sequence[dict[str, Any]]) -> None:
        """Store the records of one put."""
        putter = id(asyncio.current_task())
        alone = putter == self._putter and not (
            self._open or self._groups or self._task or self._acknowledgements
        )
        self._putter = putter
        if self._promotion is not None or not self._encoder.add(records):
            await self._add_in_turn(copy.deepcopy(records))
        if not records:
            return
        if alone:
            await self._store(self._encoder.finish())
            return
        done = asyncio.get_running_loop().create_future()
        self._open.append(done)
        self._start()
        await done

    async def put_batches(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Store the batches of one put."""
        self._close_open()
        await self._queue(batches)

    async def settle(self) -> None:
        """Wait until everything that was put so far is acknowledged or has failed."""
        await self._handed_over()
        await self._acknowledgements.settle()

    def end(self, cause: Exception, stored: bool) -> None:
        """Tell all who wait that the bucket was closed, with what it had `stored` or not."""
        self._acknowledgements.end(None if stored else cause)
        self._close_open()
        for group in self._groups:
            _settle(group.puts, cause)
        self._groups.clear()

    async def _handed_over(self) -> None:
        """Wait until the engine has everything that was put so far."""
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _add_in_turn(self, records: Sequence[dict[str, Any]]) -> None:
        """Add a put that must not share a batch with what is on its way, or comes behind one."""
        while self._promotion is not None:
            await asyncio.wait({self._promotion})
        self._promotion = asyncio.get_running_loop().create_future()
        try:
            while not self._encoder.add(records):
                self._start()
                await self._handed_over()
        finally:
            self._promotion.set_result(None)
            self._promotion = None

    async def _store(self, batch: pa.RecordBatch) -> None:
        """Hand a batch over at once, unless the engine would have to wait for a disk."""
        try:
            first, acknowledged = self._bucket.append(batch, no_wait=True)
        except WouldBlockError:
            await self._queue([batch])
            return
        except BaseException:
            self._encoder.rollback()
            raise
        self._encoder.committed(batch.schema)
        self._advance(acknowledged)
        end = first + batch.num_rows
        if acknowledged < end:
            await self._acknowledgements.wait(end)
            return
        self._row_of_puts += 1
        if self._row_of_puts % _FAIRNESS == 0:
            await asyncio.sleep(0)

    async def _queue(self, batches: Sequence[pa.RecordBatch]) -> None:
        done = asyncio.get_running_loop().create_future()
        self._groups.append(_Group(batches, [done]))
        self._start()
        await done

    def _close_open(self) -> None:
        """Make a group of the puts whose rows the encoder holds."""
        if self._open:
            puts, self._open = self._open, []
            self._groups.append(_Group([self._encoder.finish()], puts))

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._groups or self._open:
                if not self._groups:
                    self._close_open()
                await self._append(self._groups.popleft())
        finally:
            self._task = None

    async def _append(self, group: _Group) -> None:
        """Append the batches of a group; their acknowledgement resolves its puts."""
        loop = asyncio.get_running_loop()
        try:
            for batch in group.batches:
                try:
                    first, acknowledged = self._bucket.append(batch, no_wait=True)
                except WouldBlockError:
                    append = functools.partial(self._bucket.append, batch)
                    first, acknowledged = await loop.run_in_executor(None, append)
                self._encoder.committed(batch.schema)
        except PersistingError as refused:
            self._encoder.rollback()
            _settle(group.puts, refused)
            return
        except BaseException:
            self._encoder.rollback()
            raise
        self._advance(acknowledged)
        end = first + batch.num_rows
        if acknowledged >= end:
            _settle(group.puts, None)
            return
        waiting = self._acknowledgements.wait(end)
        waiting.add_done_callback(lambda done: _settle(group.puts, done.exception()))


def _settle(puts: Iterable[asyncio.Future[None]], cause: BaseException | None) -> None:
    """Tell those who wait for puts how they ended."""
    for put in puts:
        if put.done():
            continue
        if cause is None:
            put.set_result(None)
        else:
            put.set_exception(cause)
