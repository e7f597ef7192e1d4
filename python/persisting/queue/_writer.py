"""What puts go through on their way to the engine."""

from __future__ import annotations

import asyncio
import copy
import functools
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from persisting import _tracing
from persisting._errors import PersistingError, SchemaError, WouldBlockError
from persisting._native import Columns
from persisting._records import Message, RecordEncoder
from persisting.queue._acknowledgements import Acknowledgements
from persisting.queue._ring import Ring

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from typing import TypeVar

    import pyarrow as pa

    from persisting._native import Bucket

    T = TypeVar("T")

# Bytes up to which a batch is handed over as a message, which is copied, and not as
# Arrow arrays, which are not.
_MESSAGE = 128 << 10

# Schemas of messages that are kept at hand.
_COLUMNS = 64

# Messages of the same columns in a row after which the next go through the ring.
_ALIKE = 8

# Puts in a row that a task may do before the event loop gets a turn.
_FAIRNESS = 32


class _Group(NamedTuple):
    """Batches that are stored together, and the puts that wait for them."""

    batches: Sequence[Message | pa.RecordBatch]
    puts: Sequence[asyncio.Future[None]]


class Writer:
    """Turn puts into batches, and wait for the engine to acknowledge them.

    The records of a put are encoded when it is called. The first put in a turn of the
    event loop, and those that the same task does after it, are handed over at once. What
    other tasks put in the turn becomes one batch in the next.

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
        self._putter = 0  # id of the task that puts at once in this turn of the loop
        self._columns: dict[int, tuple[pa.Schema, Columns]] = {}  # by id of the first
        self._row_of_puts = 0
        self._ring = Ring(bucket)
        # Of the messages that the ring takes: the bucket's. Others might change that.
        self._ringed: pa.Schema | None = None
        self._latest: pa.Schema | None = None  # of the message that was handed over
        self._alike = 0  # how many of it, in a row

    @property
    def schema(self) -> pa.Schema:
        """The columns that the bucket has when all puts are stored."""
        return self._encoder.schema

    def put_one(self, record: dict[str, Any]) -> Awaitable[None] | None:
        """Store a record; return what is left to wait for, if anything is.

        A record like the one before, when nobody waits, is handed over at once.
        """
        waiting = self._acknowledgements or self._open or self._groups or self._task
        if waiting or self._promotion:
            return self.put((record,))
        message = self._encoder.message(record)
        if message is None:
            return self.put((record,))
        try:
            end, acknowledged = self._hand_over(message, no_wait=True)
        except WouldBlockError:
            return self._queue([message])
        return self._handed_over_at_once(end, acknowledged)

    async def put(self, records: Sequence[dict[str, Any]]) -> None:
        """Store the records of one put."""
        loop = asyncio.get_running_loop()
        alone = self._takes_turn(loop)
        if alone and self._promotion is None and type(records) is list:
            message = self._encoder.message(records)
            if message is not None:
                await self._store(_in_best_form(message))
                return
        if self._promotion is not None or not self._encoder.add(records):
            await self._add_in_turn(copy.deepcopy(records))
            alone = False
        if not records:
            return
        if alone:
            await self._store(self._finish())
            return
        done = loop.create_future()
        self._open.append(done)
        self._start()
        await done

    def _takes_turn(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether a put of this task may be handed over at once."""
        putter = id(asyncio.current_task())
        if self._putter not in (0, putter) or (
            self._open or self._groups or self._task or self._acknowledgements
        ):
            return False
        if self._putter == 0:
            self._putter = putter
            loop.call_soon(self._end_turn)
        return True

    def _end_turn(self) -> None:
        self._putter = 0

    async def put_batches(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Store the batches of one put."""
        self._close_open()
        await self._queue(batches)

    async def change(self, do: Callable[[], T]) -> T:
        """Call, on a thread, what changes the columns, while no put is on its way."""
        while self._promotion is not None:
            await asyncio.wait({self._promotion})
        loop = asyncio.get_running_loop()
        self._promotion = loop.create_future()
        self._ringed = None  # the columns change
        try:
            if self._open:
                self._start()
            await self._handed_over()
            try:
                return await loop.run_in_executor(None, _tracing.caller(do))
            finally:
                self._encoder = RecordEncoder(self._bucket.schema())
                self._forget_columns()
        finally:
            self._promotion.set_result(None)
            self._promotion = None

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
        self._forget_columns()

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

    def _finish(self) -> Message | pa.RecordBatch:
        """Make a batch of the rows that the encoder holds."""
        return _in_best_form(self._encoder.finish_message())

    def _hand_over(
        self, batch: Message | pa.RecordBatch, *, no_wait: bool = False, checked: bool = False
    ) -> tuple[int, int]:
        """Append a batch; return the offset after it and the rows that are acknowledged."""
        if not isinstance(batch, Message):
            self._ringed = None
            notify = self._acknowledgements.ask()
            first, acknowledged = self._bucket.append(
                batch, no_wait=no_wait, notify=notify, checked=checked
            )
            return first + batch.num_rows, acknowledged
        schema, rows, data = batch
        ring = self._ring
        if schema is not self._ringed:
            self._ringed = None
        elif not self._acknowledgements and ring.put(data, rows):
            return ring.following, ring.following
        columns = self._columns_of(batch)
        notify = self._acknowledgements.ask()
        first, acknowledged = self._bucket.append_message(
            columns, data, no_wait=no_wait, notify=notify
        )
        ring.following = end = first + rows
        if self._ringed is None and acknowledged == end:
            self._enter_ring(schema, columns)
        return end, acknowledged

    def _enter_ring(self, schema: pa.Schema, columns: Columns) -> None:
        """Let messages of a schema go through the ring after some of them in a row."""
        if schema is not self._latest:
            self._latest, self._alike = schema, 0
        self._alike += 1
        if self._alike % _ALIKE == 0 and self._ring.open(columns):
            self._ringed = schema

    def _columns_of(self, message: Message) -> Columns:
        known = self._columns.get(id(message.schema))
        if known is not None:
            return known[1]
        if len(self._columns) >= _COLUMNS:
            self._forget_columns()
        columns = Columns(message.schema)
        self._columns[id(message.schema)] = message.schema, columns
        return columns

    def _forget_columns(self) -> None:
        for _, columns in self._columns.values():
            columns.close()
        self._columns.clear()

    async def _store(self, batch: Message | pa.RecordBatch) -> None:
        """Hand a batch over at once, unless the engine would have to wait for a disk."""
        try:
            end, acknowledged = self._hand_over(batch, no_wait=True)
        except WouldBlockError:
            await self._queue([batch])
            return
        except BaseException:
            self._encoder.rollback()
            raise
        self._encoder.committed(batch.schema)
        waiting = self._handed_over_at_once(end, acknowledged)
        if waiting is not None:
            await waiting

    def _handed_over_at_once(self, end: int, acknowledged: int) -> Awaitable[None] | None:
        """Return what a put has to wait for whose rows end there, if anything."""
        self._advance(acknowledged)
        if acknowledged < end:
            return self._acknowledgements.wait(end)
        self._row_of_puts += 1
        return None if self._row_of_puts % _FAIRNESS else asyncio.sleep(0)

    async def _queue(self, batches: Sequence[Message | pa.RecordBatch]) -> None:
        done = asyncio.get_running_loop().create_future()
        self._groups.append(_Group(batches, [done]))
        self._start()
        await done

    def _close_open(self) -> None:
        """Make a group of the puts whose rows the encoder holds."""
        if self._open:
            puts, self._open = self._open, []
            self._groups.append(_Group([self._finish()], puts))

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
        checked = len(group.batches) > 1
        try:
            if checked:
                await self._check(group.batches)
            for batch in group.batches:
                hand_over = functools.partial(self._hand_over, batch, checked=checked)
                end, acknowledged = await _at_once_or_on_a_thread(hand_over)
                self._encoder.committed(batch.schema)
        except PersistingError as refused:
            self._encoder.rollback()
            _settle(group.puts, refused)
            return
        except BaseException:
            self._encoder.rollback()
            raise
        self._advance(acknowledged)
        if acknowledged >= end:
            _settle(group.puts, None)
            return
        waiting = self._acknowledgements.wait(end)
        waiting.add_done_callback(lambda done: _settle(group.puts, done.exception()))

    async def _check(self, batches: Sequence[Message | pa.RecordBatch]) -> None:
        """Raise before the first of several batches is stored when one of them cannot be.

        Only Arrow data come as several.
        """
        start = 0
        for batch in batches:
            try:
                await _at_once_or_on_a_thread(functools.partial(self._bucket.check, batch))
            except SchemaError as refused:
                if start == 0:
                    raise
                msg = f"{refused}; rows are counted from row {start} of the data on"
                raise SchemaError(msg) from refused
            start += batch.num_rows


async def _at_once_or_on_a_thread(do: Callable[..., T]) -> T:
    """Call what takes `no_wait`, and where it would have to wait, call it on a thread."""
    try:
        return do(no_wait=True)
    except WouldBlockError:
        return await asyncio.get_running_loop().run_in_executor(None, do)


def _in_best_form(batch: Message | pa.RecordBatch) -> Message | pa.RecordBatch:
    """Return a batch as it is best handed over."""
    if isinstance(batch, Message) and len(batch.data) > _MESSAGE:
        return batch.batch()
    return batch


def _settle(puts: Iterable[asyncio.Future[None]], cause: BaseException | None) -> None:
    """Tell those who wait for puts how they ended."""
    for put in puts:
        if put.done():
            continue
        if cause is None:
            put.set_result(None)
        else:
            put.set_exception(cause)
