"""What puts go through on their way to the engine."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from persisting._engine.columns import Columns
from persisting._errors import PersistingError, SchemaError, WouldBlockError
from persisting._loop.acknowledgements import Acknowledgements
from persisting._loop.futures import settle
from persisting._loop.threads import call_on_thread
from persisting._observe import tracing
from persisting._records import UNTYPED, Message, RecordEncoder, normalise
from persisting.queue._ring import Ring

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeVar

    import pyarrow as pa

    from persisting._engine.bucket import Bucket

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


class _Group:
    """Batches that are stored together, and the puts that wait for them.

    Parameters
    ----------
    batches
        In their order.
    puts
        Futures of the puts.
    news
        Whether they have columns that the encoder does not know yet: what comes behind has to
        wait until the engine has taken or refused them.
    """

    def __init__(
        self,
        batches: Sequence[Message | pa.RecordBatch],
        puts: Sequence[asyncio.Future[None]],
        *,
        news: bool = False,
    ) -> None:
        self.batches = deque(batches)
        self.puts = puts
        self.news = news
        self.rows = sum([batch.num_rows for batch in batches])
        # Of several, as only Arrow data come, none is stored before all were found right.
        self.several = len(batches) > 1
        self.unchecked = deque(batches if self.several else ())
        self._checked_rows = 0

    def take_check(self, check: Callable[[], object]) -> None:
        """Take note of what the check of the next batch gave; raise what it raised."""
        try:
            check()
        except SchemaError as refused:
            if self._checked_rows == 0:
                raise
            start = self._checked_rows
            msg = f"{refused}; rows are counted from row {start} of the data on"
            raise SchemaError(msg) from refused
        self._checked_rows += self.unchecked.popleft().num_rows


class _Later:
    """A put that becomes batches once all before it was taken or refused."""

    news = True

    def __init__(
        self,
        put: asyncio.Future[None],
        *,
        records: Sequence[dict[str, Any]] = (),
        data: pa.Table | pa.RecordBatch | None = None,
    ) -> None:
        self.puts = (put,)
        self.records = records
        self.data = data
        self.rows: int = len(records) if data is None else data.num_rows


class _Change:
    """A change of the columns, beside which nothing else goes on."""

    news = True
    rows = 0

    def __init__(self, change: asyncio.Future[Any], do: Callable[[], Any]) -> None:
        self.puts = (change,)
        self.do = do


_Entry: TypeAlias = "_Group | _Later | _Change"


class Writer:
    """Turn puts into batches, and wait for the engine to acknowledge them.

    The records of a put are encoded when it is called, and handed over at once if nobody waits.
    Those that only the encoder can read become one batch with what other tasks put in the same
    turn of the event loop.

    Parameters
    ----------
    bucket
        The open bucket.
    advance
        Called with the number of acknowledged rows when it has grown.

    Notes
    -----
    What cannot be handed over at once stands in a line, in the order of the calls, and the rows
    that the encoder holds come behind. A put whose batches depend on what becomes of those
    before it, and a change of the columns, stand there as they are.

    Callbacks of the event loop move the line on, not a task, which could be cancelled. It
    belongs to no loop: one that ends leaves it to the next from which a call comes.
    """

    def __init__(self, bucket: Bucket, advance: Callable[[int], None]) -> None:
        self._bucket = bucket
        self._advance = advance
        self._encoder = RecordEncoder(bucket.schema())
        self._acknowledgements = Acknowledgements(bucket, advance, self._lost)
        self._open: list[asyncio.Future[None]] = []  # puts whose rows the encoder holds
        self._line: deque[_Entry] = deque()  # to be stored before those
        self._in_line = 0  # rows
        self._call: concurrent.futures.Future[Any] | None = None  # for the first in the line
        self._loop: asyncio.AbstractEventLoop | None = None  # on which the line moves on
        self._moving: asyncio.Handle | None = None
        self._stored = False  # the bucket was closed, and has all that was handed over
        self._putter = 0  # id of the task that puts at once in this turn of the loop
        self._columns: dict[int, tuple[pa.Schema, Columns]] = {}  # by id of the first
        self._row_of_puts = 0
        self._ring = Ring(bucket)
        self._ring.following = bucket.acknowledged()
        # Of the messages that the ring takes: the bucket's. Others might change that.
        self._ringed: pa.Schema | None = None
        self._latest: pa.Schema | None = None  # of the message that was handed over
        self._alike = 0  # how many of it, in a row

    @property
    def placed(self) -> int:
        """The number of rows that there are once all that was put is stored."""
        return self._ring.following + self._in_line + self._encoder.rows

    def put(self, records: Sequence[dict[str, Any]]) -> Awaitable[None] | None:
        """Store the records of one put; return what is left to wait for, if anything is.

        Where they depend on what becomes of those before them they stand in line as they are.
        Records like some before become a message of their own, which C writes; the encoder takes
        the others.
        """
        if self._depends():
            return self._stand_as_they_are(records)
        message = self._encoder.message(records)
        if message is None:
            return self._encode(records)
        return self._offer(_in_best_form(message))

    def _encode(self, records: Sequence[dict[str, Any]]) -> Awaitable[None] | None:
        """Store what the encoder has to look at; what other tasks put in this turn joins it."""
        loop = self._here()
        alone = self._takes_turn(loop)
        if not self._encoder.add(records):
            return self._stand_as_they_are(records)
        if not records:
            return None
        if alone:
            return self._offer(self._finish(), news=True)
        done = loop.create_future()
        self._open.append(done)
        self._move_on_soon()
        return done

    def _offer(
        self, batch: Message | pa.RecordBatch, *, news: bool = False
    ) -> Awaitable[None] | None:
        """Hand a batch over at once, or have it stand in line if something has to be waited for.

        With `news` it may have columns that the encoder has yet to hear of.
        """
        if self._acknowledgements or self._open or self._line:
            return self._stand_in_line([batch])
        try:
            end, acknowledged = self._hand_over(batch)
        except WouldBlockError:
            return self._stand_in_line([batch])
        except PersistingError:
            if news:
                self._encoder.rollback()
            raise
        if news:
            self._encoder.committed(batch.schema)
        self._advance(acknowledged)
        if acknowledged < end:
            return self._acknowledgements.wait(end)
        self._row_of_puts += 1
        return None if self._row_of_puts % _FAIRNESS else asyncio.sleep(0)

    async def put_arrow(self, data: pa.Table | pa.RecordBatch) -> None:
        """Store the rows of one put of Arrow data."""
        loop = self._here()
        if self._depends():
            await self._enter(_Later(loop.create_future(), data=data))
            return
        known = self._encoder.schema
        batches = list(normalise(data, known))
        if batches:
            await self._stand_in_line(batches, news=not _knows(known, batches))

    async def change(self, do: Callable[[], T]) -> T:
        """Call, on a thread, what changes the columns, while no put is on its way.

        Once it has begun it goes on to its end, also when nobody waits for that any more.
        """
        changed: asyncio.Future[T] = self._here().create_future()
        self._enter(_Change(changed, tracing.caller(do)))
        return await changed

    async def settle(self) -> None:
        """Wait until everything that was put so far is acknowledged or has failed."""
        self._here()
        if self._line or self._open:
            await self._stand_in_line([], news=self._depends())
        await self._acknowledgements.settle()

    def end(self, cause: Exception, stored: bool) -> None:
        """Tell all who wait that the bucket was closed, with what it had `stored` or not."""
        self._stored = stored
        if not stored:
            self._ring.following = 0
        self._acknowledgements.end(None if stored else cause)
        begun = [self._line.popleft()] if self._call is not None else []
        left, self._line = self._line, deque(begun)  # which will tell how it ended
        self._in_line = sum([entry.rows for entry in begun])
        puts, self._open = self._open, []
        self._encoder = RecordEncoder()
        for entry in left:
            settle(entry.puts, cause)
        settle(puts, cause)
        if not begun:
            self._forget_columns()

    def _takes_turn(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether a put of this task may be handed over at once."""
        putter = id(asyncio.current_task())
        if self._putter not in (0, putter) or (self._open or self._line or self._acknowledgements):
            return False
        if self._putter == 0:
            self._putter = putter
            loop.call_soon(self._end_turn)
        return True

    def _end_turn(self) -> None:
        self._putter = 0

    def _depends(self) -> bool:
        """Tell whether what a put becomes depends on what becomes of those before it."""
        return not self._open and bool(self._line) and self._line[-1].news

    # ---- the engine ----

    def _finish(self) -> Message | pa.RecordBatch:
        """Make a batch of the rows that the encoder holds."""
        return _in_best_form(self._encoder.finish_message())

    def _hand_over(
        self, batch: Message | pa.RecordBatch, *, checked: bool = False
    ) -> tuple[int, int]:
        """Append a batch, which may have been `checked`, unless that has to be waited for.

        Returns
        -------
        tuple of int
            The offset after it, and the number of rows that are acknowledged.
        """
        if batch.schema is not self._ringed or type(batch) is not Message:
            self._ringed = None
        elif not self._acknowledgements and self._ring.put(batch.data, batch.num_rows):
            return self._ring.following, self._ring.following
        columns = self._columns_of(batch)
        notify = self._acknowledgements.ask()
        try:
            first, acknowledged = self._append(batch, columns, notify, checked, no_wait=True)
        except PersistingError:
            raise
        except BaseException:  # such as Ctrl-C when it was done
            self._resynchronise()
            raise
        return self._appended(batch, first, acknowledged)

    def _append(
        self,
        batch: Message | pa.RecordBatch,
        columns: Columns | None,
        notify: bool,
        checked: bool,
        *,
        no_wait: bool = False,
    ) -> tuple[int, int]:
        """Append a batch; `columns` are those of a message. It may be called on a thread."""
        bucket = self._bucket
        if columns is None:
            return bucket.append(batch, no_wait=no_wait, notify=notify, checked=checked)
        return bucket.append_message(columns, batch.data, no_wait=no_wait, notify=notify)

    def _appended(
        self, batch: Message | pa.RecordBatch, first: int, acknowledged: int
    ) -> tuple[int, int]:
        """Take note of where the engine has put a batch; return what `_hand_over` does."""
        self._ring.following = end = first + batch.num_rows
        if acknowledged == end and self._ringed is None and type(batch) is Message:
            self._enter_ring(batch)
        return end, acknowledged

    def _enter_ring(self, message: Message) -> None:
        """Let messages like this go through the ring after some of them in a row."""
        if message.schema is not self._latest:
            self._latest, self._alike = message.schema, 0
        self._alike += 1
        if self._alike % _ALIKE or self._bucket.closed:
            return
        columns = self._columns_of(message)
        if columns is not None and self._ring.open(columns):
            self._ringed = message.schema

    def _columns_of(self, message: Message | pa.RecordBatch) -> Columns | None:
        """Return the columns of a message as the engine knows them; a batch has its own."""
        if type(message) is not Message:
            return None
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

    def _resynchronise(self) -> None:
        """Learn from the engine what there is, after a call of which nobody knows how it ended."""
        self._ringed = None
        self._encoder.rollback()
        with contextlib.suppress(PersistingError):  # it was closed
            self._encoder.committed(self._bucket.schema())
            self._ring.following = max(self._ring.following, self._bucket.acknowledged())

    def _lost(self) -> None:
        """Take note that rows which the engine had taken are not stored."""
        with contextlib.suppress(PersistingError):  # it was closed
            self._ring.following = self._bucket.acknowledged()

    # ---- the line ----

    def _here(self) -> asyncio.AbstractEventLoop:
        """Return the event loop; what waits goes on there if it was another before."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._moving, self._putter = loop, None, 0
            self._acknowledgements.move(loop)
            if self._line or self._open:
                self._move_on_soon()
        return loop

    def _stand_as_they_are(self, records: Sequence[dict[str, Any]]) -> asyncio.Future[None]:
        """Have copies of records stand in line, as later changes to them have no effect."""
        return self._enter(_Later(self._here().create_future(), records=_copied(records)))

    def _stand_in_line(
        self, batches: Sequence[Message | pa.RecordBatch], *, news: bool = False
    ) -> asyncio.Future[None]:
        """Store batches behind all that waits; return what is left to wait for."""
        return self._enter(_Group(batches, (self._here().create_future(),), news=news))

    def _enter(self, entry: _Entry) -> asyncio.Future[Any]:
        """Put an entry behind all that waits; return the future of its put."""
        self._close_open()
        self._line.append(entry)
        self._in_line += entry.rows
        self._move_on_soon()
        return entry.puts[0]

    def _close_open(self, *, first: bool = False) -> None:
        """Make a group of the rows that the encoder holds: the last in the line, or the first."""
        puts, self._open = self._open, []
        if not puts:
            return
        try:
            group = _Group([self._finish()], puts)
        except BaseException as cause:  # there is no memory for it, say
            self._encoder.rollback()
            settle(puts, _for_others(cause))
            if not isinstance(cause, Exception):
                raise
            return
        self._in_line += group.rows
        if first:
            self._line.appendleft(group)
        else:
            self._line.append(group)

    def _move_on_soon(self) -> None:
        # A call that ends later has the loop move on that is there then: see `_called`.
        waits = self._call is not None and not self._call.done()
        if self._moving is None and not waits and self._loop is not None:
            self._moving = self._loop.call_soon(self._move_on, self._loop)

    def _move_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Store what stands in line, as far as nothing has to be waited for."""
        if loop is not self._loop:
            return  # another has taken over
        self._moving = None
        while self._call is None or self._call.done():
            if not self._line:
                self._close_open()
            if not self._line:
                break
            first = self._line[0]
            try:
                self._move(first)
            except BaseException as cause:
                self._refuse(first, cause)
                if not isinstance(cause, Exception):  # such as Ctrl-C, and the loop may go on
                    self._move_on_soon()
                    raise

    def _move(self, first: _Entry) -> None:
        """Go a step with the first entry of the line."""
        if self._call is not None:
            self._finish_call(first, self._call)
        elif isinstance(first, _Group):
            self._store_next(first)
        elif first.puts[0].done():  # nobody waits, and it has not begun
            self._leave(first)
        elif isinstance(first, _Change):
            self._ringed = None
            self._call_on_thread(first.do)
        elif first.data is not None:
            self._leave(first)
            batches = list(normalise(first.data, self._encoder.schema))
            group = _Group(batches, first.puts, news=True)
            self._line.appendleft(group)
            self._in_line += group.rows
        else:
            self._add_all_that_wait()

    def _leave(self, entry: _Entry) -> None:
        """Take the first entry out of the line."""
        self._line.popleft()
        self._in_line -= entry.rows

    def _refuse(self, entry: _Entry, cause: BaseException) -> None:
        """Tell those who wait for an entry that it is not stored, or not wholly."""
        if self._line and self._line[0] is entry:
            self._leave(entry)
        if isinstance(cause, PersistingError):
            self._encoder.rollback()
        else:
            self._resynchronise()
        settle(entry.puts, _for_others(cause))

    def _store_next(self, group: _Group) -> None:
        """Hand over the next batch of a group, on a thread if that has to be waited for."""
        if not group.batches:
            self._leave(group)
            settle(group.puts, None)
            return
        if group.unchecked:
            check = partial(self._bucket.check, group.unchecked[0])
            try:
                group.take_check(partial(check, no_wait=True))
            except WouldBlockError:
                self._call_on_thread(check)
            return
        batch = group.batches[0]
        try:
            end, acknowledged = self._hand_over(batch, checked=group.several)
        except WouldBlockError:
            notify = self._acknowledgements.ask()
            append = partial(self._append, batch, self._columns_of(batch), notify, group.several)
            self._call_on_thread(append)
            return
        self._handed_over(group, end, acknowledged)

    def _handed_over(self, group: _Group, end: int, acknowledged: int) -> None:
        """Take note that the engine has the next batch of a group."""
        batch = group.batches.popleft()
        group.rows -= batch.num_rows
        self._in_line -= batch.num_rows
        self._encoder.committed(batch.schema)
        self._advance(acknowledged)
        if group.batches:
            return
        self._leave(group)
        if acknowledged >= end or self._stored:
            settle(group.puts, None)
        else:
            self._acknowledgements.tell(end, group.puts)

    def _add_all_that_wait(self) -> None:
        """Encode the first puts of records in the line, as many as may share a batch."""
        while self._line:
            later = self._line[0]
            if not isinstance(later, _Later) or later.data is not None:
                break
            if not later.puts[0].done():
                try:
                    if not self._encoder.add(later.records):
                        if self._open:
                            break
                        raise RuntimeError("the encoder waits for nothing")
                except Exception as refused:
                    settle(later.puts, _for_others(refused))
                else:
                    self._open += later.puts
            self._leave(later)
        self._close_open(first=True)

    def _call_on_thread(self, do: Callable[[], Any]) -> None:
        self._call = call_on_thread(do)
        self._call.add_done_callback(self._called)

    def _called(self, _: object) -> None:
        """Have the line move on; this is the thread of a call that has ended."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it is closed, and the next one moves it
                loop.call_soon_threadsafe(self._move_on, loop)

    def _finish_call(self, entry: _Entry, call: concurrent.futures.Future[Any]) -> None:
        """Take note of what a call for the first entry of the line has brought."""
        self._call = None
        if self._stored or self._bucket.closed:
            self._forget_columns()
        if isinstance(entry, _Group) and entry.unchecked:
            entry.take_check(call.result)
            return
        if isinstance(entry, _Group):
            end, acknowledged = self._appended(entry.batches[0], *call.result())
            self._handed_over(entry, end, acknowledged)
            return
        try:
            result = call.result()
        finally:
            with contextlib.suppress(PersistingError):  # it was closed
                self._encoder = RecordEncoder(self._bucket.schema())
            self._forget_columns()
        self._leave(entry)
        settle(entry.puts, None, result)


def _in_best_form(batch: Message | pa.RecordBatch) -> Message | pa.RecordBatch:
    """Return a batch as it is best handed over."""
    if isinstance(batch, Message) and len(batch.data) > _MESSAGE:
        return batch.batch()
    return batch


def _copied(records: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Copy records, as later changes to them have no effect."""
    try:
        return copy.deepcopy(records)
    except Exception:
        RecordEncoder().add(records)  # which says what cannot be held
        raise


def _knows(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> bool:
    """Tell whether a schema has all columns of batches as they have them."""
    known = {field.name: field for field in schema}
    return all(
        field.name in known and field.equals(known[field.name], check_metadata=True)
        for batch in batches
        for field in batch.schema
        if field.name != UNTYPED
    )


def _for_others(cause: BaseException) -> Exception:
    """Return what those are told who did not raise an exception, but whom it concerns."""
    if isinstance(cause, Exception) and not isinstance(cause, StopIteration | StopAsyncIteration):
        return cause
    told = PersistingError(
        f"the put was interrupted, by {type(cause).__name__}: it is stored or it is not"
    )
    told.__cause__ = cause
    return told
