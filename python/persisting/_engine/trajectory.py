"""An open store of trajectories."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting import _arguments
from persisting._arguments import MOST
from persisting._engine import functions
from persisting._engine.cursor import Cursor
from persisting._engine.handles import Handle, method
from persisting._engine.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pyarrow as pa


class Trajectories(Handle):
    """An open store of trajectories. Its methods may be called from any thread.

    All of them wait for the disk or may do so.

    Parameters
    ----------
    path
        Directory of the store.
    options
        See `persisting_trajectories_open`.
    read_only
        Whether it must be there, and is read beside the process that has it open.
    """

    begin = method(functions.trajectories_begin)
    append = method(functions.trajectories_append)
    finish = method(functions.trajectories_finish)
    close_lost = method(functions.trajectories_close_lost)
    remove = method(functions.trajectories_remove)
    describe = method(functions.trajectories_describe)
    schema = method(functions.trajectories_schema)
    flush = method(functions.trajectories_flush)
    stats = method(functions.trajectories_stats)
    ack = method(functions.trajectories_ack)
    pending = method(functions.trajectories_pending)
    tag = method(functions.trajectories_tag)
    restore = method(functions.trajectories_restore)
    untag = method(functions.trajectories_untag)
    tags = method(functions.trajectories_tags)

    def __init__(
        self, path: str | os.PathLike[str], options: Mapping[str, Any], *, read_only: bool
    ) -> None:
        self.path = os.path.realpath(_arguments.path("path", path))
        number = functions.trajectories_open(self.path, options, open_read_only=read_only)
        name = f"the trajectory store {self.path}"
        super().__init__(number, functions.trajectories_close, name, close_takes_long=True)

    def read(self, number: int) -> Cursor:
        """Read the steps of an episode, and its last observation."""
        return self._cursor(functions.trajectories_read, number)

    def take(self, offsets: np.ndarray) -> Cursor:
        """Read the steps at offsets, an array of contiguous int64."""
        return self._cursor(functions.trajectories_take, offsets.ctypes.data, len(offsets))

    def keep(self, values: pa.RecordBatch, names: np.ndarray) -> None:
        """Store values, a column of binary; their names go to an array [values, 32] of bytes."""
        self._use(functions.trajectories_keep, values, names.ctypes.data, names.nbytes)

    def kept(self, names: np.ndarray) -> Cursor:
        """Read values by their names, an array [values, 32] of contiguous bytes."""
        return self._cursor(functions.trajectories_kept, names.ctypes.data, names.nbytes)

    def steps(self, query: Mapping[str, Any]) -> Cursor:
        """Answer a query over the rows of steps."""
        return self._cursor(functions.trajectories_steps, query)

    def are_steps(self, offsets: np.ndarray, into: np.ndarray) -> None:
        """Say in an array of bytes which offsets, of contiguous int64, are of steps that count."""
        function = functions.trajectories_are_steps
        self._use(function, offsets.ctypes.data, len(offsets), into.ctypes.data)

    def prioritize(self, offsets: np.ndarray, priorities: np.ndarray) -> None:
        """Give steps priorities, arrays of contiguous int64 and float64."""
        function = functions.trajectories_prioritize
        self._use(function, offsets.ctypes.data, priorities.ctypes.data, len(offsets))

    def priorities(self, offsets: np.ndarray, into: np.ndarray) -> None:
        """Write the priorities of steps to an array; as `prioritize`."""
        function = functions.trajectories_priorities
        self._use(function, offsets.ctypes.data, into.ctypes.data, len(offsets))

    def episodes(self, query: Mapping[str, Any]) -> Cursor:
        """Answer a query over what happened to episodes."""
        return self._cursor(functions.trajectories_episodes, query)

    def are_episodes(self, offsets: np.ndarray, numbers: np.ndarray, into: np.ndarray) -> None:
        """Say in an array of bytes which rows are the newest of their episodes; as `are_steps`."""
        function = functions.trajectories_are_episodes
        of = offsets.ctypes.data, numbers.ctypes.data
        self._use(function, *of, len(offsets), into.ctypes.data)

    def _cursor(self, function: Any, *arguments: Any) -> Cursor:
        return Cursor(self._use(function, *arguments), self, None)

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns of an open cursor."""
        return functions.cursor_schema(cursor)

    def lease(self, task: str, offsets: np.ndarray) -> int:
        """Give out the steps at offsets, an array of contiguous int64, and return the batch."""
        return self._use(functions.trajectories_lease, task, offsets.ctypes.data, len(offsets))

    def sheet(self, columns: pa.Schema, rows: int, heap: int) -> Sheet:
        """Make a sheet, see `Sheet`."""
        return Sheet(*self._use(functions.trajectories_sheet, columns, rows, heap))

    def sampler(self, law: Mapping[str, Any]) -> Sampler:
        """Make a sampler, see `Sampler`."""
        return Sampler(self, law)


class Sheet(Handle):
    """A file in which a writer puts steps. Nothing is lost when it is not closed, nobody warned.

    Parameters
    ----------
    number
        Of the library.
    path
        Of the file, see `persisting_trajectories_sheet`.
    """

    ask = method(functions.sheet_ask)
    send = method(functions.sheet_send)
    lasting = True  # what is there survives the end of the process

    def __init__(self, number: int, path: str) -> None:
        self.path = path
        super().__init__(number, functions.sheet_close, "", close_takes_long=True)

    def map(self) -> mmap.mmap:
        """Return the memory of the sheet."""
        with Path(self.path).open("r+b") as file:
            return mmap.mmap(file.fileno(), 0)


class Server(Handle):
    """What serves an open store to other processes, until it is closed.

    Attributes
    ----------
    addresses : list of str
        What `TrajectoryStore.connect` takes, such as ``unix:/run/steps.sock``.
    """

    def __init__(self, store: Trajectories, options: Mapping[str, Any]) -> None:
        number = store._use(functions.trajectories_serve, options)
        close, name = functions.trajectories_server_close, f"the server of {store.path}"
        super().__init__(number, close, name, close_takes_long=True)
        self.addresses: list[str] = self._use(functions.trajectories_server_addresses)


def milliseconds(name: str, seconds: float) -> int:
    """Return a time in seconds, which is not negative, in milliseconds."""
    return round(_arguments.seconds(name, seconds, MOST // 1000) * 1000)
