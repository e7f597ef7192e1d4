"""A store of trajectories that another process serves, in the place of one that is open here."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from persisting._engine.trajectory import Trajectories
from persisting._errors import (
    ClosedError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    SchemaError,
    WaitTimeoutError,
)
from persisting.trajectory._connection import Connection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from persisting.trajectory._batch import Batch

_COUNT_AT = 80  # in a sheet, see the package comment of `engine/sheet`
_COUNT = struct.Struct("<Q")
_ASK_SECONDS = 0.005  # between two questions whether a limit allows what is waited for


class Served:
    """What `Trajectories` is, in another process: its methods, and the errors of these.

    A connection is made anew by the call that finds none. `ClosedError` is raised where that
    fails, and where one is lost in the midst of a call.

    Parameters
    ----------
    address
        ``unix:PATH`` or ``tcp:HOST:PORT``.
    """

    def __init__(self, address: str) -> None:
        self.path = address
        self.closed = False
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._made: weakref.WeakSet[ServedSheet | ServedSampler] = weakref.WeakSet()
        self._give(Connection(address))

    def close(self) -> None:
        """Store what sheets have, and end all connections; a second call does nothing."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        with contextlib.ExitStack() as all_of_them:  # of which each ends, whatever another raises
            for made in [*self._made]:
                all_of_them.callback(made.close)

    def connection(self) -> Connection:
        """Return a new connection.

        Raises
        ------
        ClosedError
            The store is closed, or nobody serves it.
        """
        if self.closed:
            raise ClosedError(f"the connection to the trajectory store at {self.path} is closed")
        return Connection(self.path)

    def call(self, verb: str, body: Sequence[Any] = (), **arguments: Any) -> tuple[Any, memoryview]:
        """Ask for something; see `Connection.call`."""
        connection = self._take()
        try:
            return connection.call(verb, body, **arguments)
        finally:
            self._give(connection)

    def _take(self) -> Connection:
        """Return a connection that nobody uses."""
        while True:
            with self._lock:
                found = self._idle.pop() if self._idle else None
            if found is None:
                return self.connection()
            if found.alive():
                return found
            if found.process == os.getpid():
                found.close()

    def _give(self, connection: Connection) -> None:
        with self._lock:
            if not self.closed:
                self._idle.append(connection)
                return
        connection.close()

    # ---- writing ----

    def begin(self, episode: Mapping[str, Any]) -> tuple[int, int]:
        """Begin an episode, and return its number and the next step."""
        found, _ = self.call("begin", episode=dict(episode))
        return found["number"], found["next"]

    def append(self, number: int, step: int, steps: pa.RecordBatch, *, final: bool = False) -> int:
        """Store steps, and return how many were not there."""
        found, _ = self.call("append", _message(steps), number=number, step=step, final=final)
        stored: int = found["stored"]
        return stored

    def finish(self, number: int, ending: Mapping[str, Any]) -> None:
        """End an episode."""
        self.call("finish", number=number, ending=dict(ending))

    def close_lost(self, idle_ms: int) -> int:
        """Close episodes as lost, and return how many."""
        count: int = self.call("close_lost", idle_ms=idle_ms)[0]["count"]
        return count

    def remove(self, ids: Sequence[str]) -> int:
        """Remove episodes, and return how many."""
        count: int = self.call("remove", ids=[*ids])[0]["count"]
        return count

    def keep(self, values: pa.RecordBatch, names: np.ndarray) -> None:
        """Store values, a column of binary; their names go to an array [values, 32] of bytes."""
        names.data.cast("B")[:] = self.call("keep", _message(values))[1]

    def sheet(self, columns: pa.Schema, rows: int, heap: int) -> ServedSheet:
        """Make a sheet, see `ServedSheet`."""
        made = ServedSheet(self, columns, rows, heap)
        self._made.add(made)
        return made

    # ---- reading ----

    def describe(self, episode_id: str) -> dict[str, Any]:
        """Return what an episode is."""
        found: dict[str, Any] = self.call("describe", id=episode_id)[0]
        return found

    def read(self, number: int) -> pa.RecordBatchReader:
        """Read the steps of an episode, and its last observation."""
        return self._rows("read", number=number)

    def take(self, offsets: np.ndarray) -> pa.RecordBatchReader:
        """Read the steps at offsets, an array of contiguous int64."""
        return self._rows("take", (_bytes(offsets),), count=len(offsets))

    def kept(self, names: np.ndarray) -> pa.RecordBatchReader:
        """Read values by their names, an array [values, 32] of contiguous bytes."""
        return self._rows("kept", (_bytes(names),))

    def steps(self, query: Mapping[str, Any]) -> pa.RecordBatchReader:
        """Answer a query over the rows of steps."""
        return self._rows("steps", query=dict(query))

    def episodes(self, query: Mapping[str, Any]) -> pa.RecordBatchReader:
        """Answer a query over what happened to episodes."""
        return self._rows("episodes", query=dict(query))

    def _rows(self, verb: str, body: Sequence[Any] = (), **arguments: Any) -> pa.RecordBatchReader:
        return pa.ipc.open_stream(self.call(verb, body, **arguments)[1])

    def are_steps(self, offsets: np.ndarray, into: np.ndarray) -> None:
        """Say in an array of bytes which offsets are of steps that count."""
        _, found = self.call("are_steps", (_bytes(offsets),), count=len(offsets))
        into.data.cast("B")[:] = found

    def are_episodes(self, offsets: np.ndarray, numbers: np.ndarray, into: np.ndarray) -> None:
        """Say in an array of bytes which rows are the newest of their episodes."""
        body = (_bytes(offsets), _bytes(numbers))
        into.data.cast("B")[:] = self.call("are_episodes", body, count=len(offsets))[1]

    def schema(self) -> pa.Schema:
        """Return the columns of steps."""
        return self._rows("schema").schema

    def stats(self) -> dict[str, Any]:
        """Return how much there is."""
        found: dict[str, Any] = self.call("stats")[0]
        return found

    def flush(self) -> None:
        """Bring all that is acknowledged into the tables."""
        self.call("flush")

    # ---- drawing and consuming ----

    def sampler(self, law: Mapping[str, Any]) -> ServedSampler:
        """Make a sampler, see `ServedSampler`."""
        made = ServedSampler(self, law)
        self._made.add(made)
        return made

    def prioritize(self, offsets: np.ndarray, priorities: np.ndarray) -> None:
        """Give steps priorities, arrays of contiguous int64 and float64."""
        self.call("prioritize", (_bytes(offsets), _bytes(priorities)), count=len(offsets))

    def priorities(self, offsets: np.ndarray, into: np.ndarray) -> None:
        """Write the priorities of steps to an array."""
        _, found = self.call("priorities", (_bytes(offsets),), count=len(offsets))
        into.data.cast("B")[:] = found

    def lease(self, task: str, offsets: np.ndarray) -> int:
        """Give out the steps at offsets, and return the batch."""
        found, _ = self.call("lease", (_bytes(offsets),), task=task, count=len(offsets))
        batch: int = found["batch"]
        return batch

    def ack(self, batch: int) -> None:
        """Note that a batch was consumed."""
        self.call("ack", number=batch)

    def pending(self) -> list[dict[str, Any]]:
        """Return the batches that were not acknowledged."""
        found: list[dict[str, Any]] = self.call("pending")[0]
        return found

    def tag(self, name: str) -> None:
        """Give a name to what is acknowledged now."""
        self.call("tag", name=name)

    def restore(self, name: str) -> None:
        """Have batches pending again that were acknowledged since a tag."""
        self.call("restore", name=name)

    def untag(self, name: str) -> None:
        """Take a tag away."""
        self.call("untag", name=name)

    def tags(self) -> list[str]:
        """Return the names of tags."""
        found: list[str] = self.call("tags")[0]
        return found


Store: TypeAlias = Trajectories | Served


class ServedSheet:
    """A sheet of a writer in another process than the store's.

    The process of the store has made it for this connection, and stores what is there when that
    ends. Once the connection was lost, or on another machine, what is mapped here is a copy, which
    is sent whole: what the store took from the file as well it passes over.
    """

    def __init__(self, store: Served, columns: pa.Schema, rows: int, heap: int) -> None:
        self._store = store
        self._connection = store.connection()
        body = (columns.serialize(),)
        found, content = self._connection.call("sheet", body, rows=rows, heap=heap)
        self._shared = store.path.startswith("unix:")
        if self._shared:
            with Path(found["path"]).open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 0)
        else:
            self._map = mmap.mmap(-1, len(content))
            self._map[:] = content

    @property
    def lasting(self) -> bool:
        """Whether what is there survives the end of this process, or did not have to so far."""
        return self._connection.alive()

    def map(self) -> mmap.mmap:
        """Return the memory of the sheet."""
        return self._map

    def ask(self) -> None:
        """Have the store take the steps that there are beside this process; `send` tells errors."""
        if self._shared and self._connection.alive():
            with contextlib.suppress(ClosedError):
                self._connection.call("ask")

    def send(self) -> None:
        """Have the store take all steps. After an error they are there as before."""
        if self._shared and self._connection.alive():
            self._connection.call("send")
            return
        self._shared = False
        self._send_copy()

    def _send_copy(self) -> None:
        if self._count():
            self._store.call("send", (bytes(self._map),))
            _COUNT.pack_into(self._map, _COUNT_AT, 0)

    def _count(self) -> int:
        count: int = _COUNT.unpack_from(self._map, _COUNT_AT)[0]
        return count

    def close(self) -> None:
        """Store what is there, and give up what the store can never take; as one that is local."""
        with contextlib.suppress(ConflictError, NotFoundError, SchemaError, InvalidArgumentError):
            if self._connection.alive():
                if self._shared:
                    self._connection.call("end")
                elif self._count():
                    self._connection.call("send", (bytes(self._map),))
            elif self._count():
                with contextlib.closing(Connection(self._store.path)) as another:
                    another.call("send", (bytes(self._map),))
        self._connection.close()


class ServedSampler:
    """A sampler in the process of the store.

    It goes on where it was when the connection was lost: a sample that did not arrive is drawn
    again.
    """

    def __init__(self, store: Served, law: Mapping[str, Any]) -> None:
        self._store = store
        self._law = dict(law)
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._connect()

    def _connect(self) -> Connection:
        connection = self._store.connection()
        try:
            self._law["position"] = connection.call("sampler", law=self._law)[0]["position"]
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def position(self) -> dict[str, Any]:
        """Return where it is."""
        position: dict[str, Any] = self._law["position"]
        return position

    def sample(self, draws: int, oldest: int, into: Batch) -> int:
        """Draw steps of a version or later, and return how many were drawn."""
        with self._lock:
            drawn, self._law["position"] = self._there().sample(draws, oldest, into.arrays)
        return drawn

    def refresh(self) -> None:
        """Ask again which steps the condition of the law takes."""
        self._call("refresh")

    def wait(self, draws: int, timeout_ns: int) -> None:
        """Wait until the limit allows so many draws."""
        self._wait("wait", draws, timeout_ns)

    def wait_for_room(self, count: int, timeout_ns: int) -> None:
        """Wait until the limit allows so many steps more to come."""
        self._wait("wait_for_room", count, timeout_ns)

    def _wait(self, verb: str, count: int, timeout_ns: int) -> None:
        """Ask again and again, so that what is waited for can come through the connection."""
        end = time.monotonic() + timeout_ns / 1e9
        while True:
            try:
                self._call(verb, count=count)
            except WaitTimeoutError:
                if time.monotonic() >= end:
                    raise
                time.sleep(_ASK_SECONDS)
            else:
                return

    def _call(self, verb: str, **arguments: Any) -> None:
        with self._lock:
            self._there().call(verb, **arguments)

    def _there(self) -> Connection:
        """Return the connection, a new one where it was lost; the caller has the lock."""
        if self._connection is None or not self._connection.alive():
            return self._connect()
        return self._connection

    def close(self) -> None:
        """End it; a second call does nothing."""
        if self._connection is not None:
            self._connection.close()


def _bytes(array: np.ndarray) -> memoryview:
    return array.data.cast("B") if array.size else memoryview(b"")


def _message(rows: pa.RecordBatch) -> tuple[bytes, pa.Buffer, pa.Buffer]:
    """Return rows as a request has them."""
    schema = rows.schema.serialize()
    return struct.pack("<I", schema.size), schema, rows.serialize()
