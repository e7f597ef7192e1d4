"""An open store of trajectories."""

from __future__ import annotations

import ctypes
import json
import os
from ctypes import byref
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from persisting import _arguments
from persisting._arguments import MOST, integer, text
from persisting._engine import boundary
from persisting._engine.boundary import ArrowSchema
from persisting._engine.cursor import Cursor, cursor_schema
from persisting._engine.handles import Handle
from persisting._engine.library import as_json, call, capsule_pointer, library, string

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np


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

    def __init__(
        self, path: str | os.PathLike[str], options: Mapping[str, Any], *, read_only: bool
    ) -> None:
        self.path = os.path.realpath(_arguments.path("path", path))
        functions = library()
        number = ctypes.c_uint64()
        flags = boundary.OPEN_READ_ONLY if read_only else 0
        directory = os.fsencode(self.path)
        call(
            functions.persisting_trajectories_open,
            directory,
            flags,
            as_json(options),
            byref(number),
        )
        super().__init__(
            number.value,
            functions.persisting_trajectories_close,
            f"the trajectory store {self.path}",
            close_takes_long=True,
        )
        self._append = functions.persisting_trajectories_append

    # ---- episodes are written ----

    def begin(self, episode: Mapping[str, Any]) -> tuple[int, int]:
        """Begin an episode, or go on with one; return its number and the next step."""
        number, step = ctypes.c_int64(), ctypes.c_int64()
        function = library().persisting_trajectories_begin
        self._use(function, as_json(episode), byref(number), byref(step))
        return number.value, step.value

    def append(self, number: int, step: int, batch: pa.RecordBatch, *, final: bool = False) -> int:
        """Store steps, or the last observation; return how many were not there before.

        The batch must not be changed afterwards.
        """
        schema, array = batch.__arrow_c_array__()
        stored = ctypes.c_int64()
        self._use(
            self._append,
            number,
            step,
            capsule_pointer(array, b"arrow_array"),
            capsule_pointer(schema, b"arrow_schema"),
            boundary.FINAL if final else 0,
            byref(stored),
        )
        return stored.value

    def finish(self, number: int, ending: Mapping[str, Any]) -> None:
        """End an episode."""
        self._use(library().persisting_trajectories_finish, number, as_json(ending))

    def close_lost(self, idle_ms: int) -> int:
        """Close open episodes as lost; return how many."""
        count = ctypes.c_int64()
        self._use(library().persisting_trajectories_close_lost, idle_ms, byref(count))
        return count.value

    # ---- and read ----

    def describe(self, episode_id: str) -> dict[str, Any]:
        """Return what the newest attempt of an episode is."""
        function = library().persisting_trajectories_describe
        found: dict[str, Any] = json.loads(
            string(self._use, function, text("episode_id", episode_id))
        )
        return found

    def read(self, number: int) -> Cursor:
        """Read the steps of an episode, and its last observation."""
        return self._cursor(library().persisting_trajectories_read, number)

    def take(self, offsets: np.ndarray) -> Cursor:
        """Read the steps at offsets, an array of contiguous int64."""
        function = library().persisting_trajectories_take
        return self._cursor(function, offsets.ctypes.data, len(offsets))

    def steps(self, query: Mapping[str, Any]) -> Cursor:
        """Answer a query over the rows of steps."""
        return self._cursor(library().persisting_trajectories_steps, as_json(query))

    def are_steps(self, offsets: np.ndarray, into: np.ndarray) -> None:
        """Say in an array of bytes which offsets, of contiguous int64, are of steps that count."""
        function = library().persisting_trajectories_are_steps
        self._use(function, offsets.ctypes.data, len(offsets), into.ctypes.data)

    def episodes(self, query: Mapping[str, Any]) -> Cursor:
        """Answer a query over what happened to episodes."""
        return self._cursor(library().persisting_trajectories_episodes, as_json(query))

    def are_episodes(self, offsets: np.ndarray, numbers: np.ndarray, into: np.ndarray) -> None:
        """Say in an array of bytes which rows are the newest of their episodes; as `are_steps`."""
        function = library().persisting_trajectories_are_episodes
        addresses = (array.ctypes.data for array in (offsets, numbers))
        self._use(function, *addresses, len(offsets), into.ctypes.data)

    def _cursor(self, function: Any, *arguments: Any) -> Cursor:
        number = ctypes.c_uint64()
        self._use(function, *arguments, byref(number))
        return Cursor(number.value, self, None)

    def schema_at(self, version: int, cursor: int) -> pa.Schema:
        """Return the columns of an open cursor."""
        return cursor_schema(cursor)

    def schema(self) -> pa.Schema:
        """Return the columns of steps; none before the first one."""
        out = ArrowSchema()
        self._use(library().persisting_trajectories_schema, byref(out))
        return pa.Schema._import_from_c(ctypes.addressof(out))

    # ---- upkeep ----

    def flush(self) -> None:
        """Bring what is acknowledged into the tables."""
        self._use(library().persisting_trajectories_flush)

    def stats(self) -> dict[str, Any]:
        """Return how much is in the store."""
        found: dict[str, Any] = json.loads(
            string(self._use, library().persisting_trajectories_stats)
        )
        return found


def milliseconds(name: str, seconds: float) -> int:
    """Return a time in seconds, which is not negative, in milliseconds."""
    return integer(name, round(seconds * 1000), 0, MOST)
