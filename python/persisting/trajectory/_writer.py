"""Writers of episodes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from persisting._arguments import integer
from persisting._errors import ClosedError, InvalidArgumentError, SchemaError
from persisting._loop.threads import on_thread
from persisting.trajectory._columns import VERSION, Column, batch, oldest
from persisting.trajectory._sheet import other_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from persisting.trajectory._contents import Contents
    from persisting.trajectory._served import Store
    from persisting.trajectory._sheet import Sheet, Sheets

# How many bytes of steps an append may leave with the writer, and for how many seconds.
BUFFER_BYTES = 256 << 10
_BUFFER_SECONDS = 0.02
_MOST_VERSION = 2**31 - 1


class Columns:
    """The columns of a store, which all its writers share; none until there is a first step."""

    def __init__(self, declared: Mapping[str, Column], contents: Contents) -> None:
        self.declared = dict(declared)
        self.contents = contents
        self.known: dict[str, Column] = {}

    def of_step(self, step: Mapping[str, Any]) -> dict[str, Column]:
        """Return the columns, which a first step gives."""
        return self.known or self._all({name: (Column.of_value, step[name]) for name in step})

    def of_steps(self, arrays: Mapping[str, Any]) -> dict[str, Column]:
        """Return the columns, which several first steps give."""
        return self.known or self._all({name: (Column.of_values, arrays[name]) for name in arrays})

    def cells(self, name: str, column: Column, values: Any) -> Any:
        """Return values for `Column.arrow`; those that are stored by content are on disk then."""
        if column.by_content:
            return self.contents.names(name, column, values)
        return column.cells(name, values)

    def row(self, columns: dict[str, Column], values: Mapping[str, Any], version: int) -> Any:
        """Return one step as Arrow data."""
        cells: dict[str, Any] = {}
        for name, column in columns.items():
            if column.by_content:
                cells[name] = self.contents.names(name, column, [values[name]])
            else:
                cell = column.cell(name, values[name])
                cells[name] = cell[None] if column.kind == "array" else [cell]
        return batch(columns, cells, np.full(1, oldest(columns, cells, version), np.int32))

    def _all(self, found: dict[str, Any]) -> dict[str, Column]:
        if not found:
            raise SchemaError("a step needs at least one column")
        return {
            name: self.declared.get(name) or of(name, value) for name, (of, value) in found.items()
        }


class Writer:
    """Writes the steps of an episode. It is made by `TrajectoryStore.writer`.

    A writer belongs to one thread at a time. As a context manager it flushes at the end, and leaves
    the episode open unless `end_episode` was called.

    Attributes
    ----------
    episode_id : str
        Of the episode.
    attempt : int
        Which attempt at it.
    """

    def __init__(
        self,
        store: Store,
        columns: Columns,
        sheets: Sheets,
        identity: Mapping[str, Any],
        start: int | None,
        buffer_bytes: int,
    ) -> None:
        self._store = store
        self._columns = columns
        self._sheets = sheets
        self._buffer_bytes = buffer_bytes
        self._sheet: Sheet | None = None  # from the first `append` on
        self._closed = False
        self.episode_id: str = identity["id"]
        self.attempt: int = identity["attempt"]
        self._number, following = store.begin(identity)
        self._sent = following if start is None else start

    @property
    def next_step(self) -> int:
        """The place of the step that comes next."""
        return self._sent + (self._sheet.count if self._sheet else 0)

    def append(self, step: Mapping[str, Any], *, version: int = -1) -> int:
        """Add a step.

        Parameters
        ----------
        step : mapping of str to value
            Numbers, arrays of one shape (also of torch), lists of numbers of any length, str or
            bytes; the columns and types are those of the first step of the store. Values are
            copied.
        version : int
            Of the policy that chose the action; -1 where that is not known.

        Returns
        -------
        int
            Its place in the episode. The step survives the end of the process. It is seen by reads,
            and held against what is there, by the next `flush` or `end_episode` and by the append
            that finds it 20 ms old or the buffer full; within a second it is in the log, which
            survives a failure of the power after ``wal_sync_interval``. With ``buffer_bytes=0`` all
            of that is done when this returns.

        Raises
        ------
        SchemaError
            The step has other columns, or a value that a column cannot hold exactly.
        DuplicateError
            Another step is there; see `TrajectoryStore.writer`.
        ConflictError
            The episode has ended, or was superseded.
        """
        if self._due() or not self._try(step, version):
            self._append_anyway(step, version)
        return self.next_step - 1

    def extend(self, arrays: Mapping[str, Any], *, version: Any = -1) -> int:
        """Add several steps, which are acknowledged when it returns; errors as of `append`.

        Parameters
        ----------
        arrays : mapping of str to array or list
            For each column an array whose first dimension is the steps, or a list of values.
        version : int or array of int
            Of the policy, for all steps or for each.

        Returns
        -------
        int
            The place of the first of them.
        """
        self.flush()
        columns = self._columns.of_steps(arrays)
        if arrays.keys() != columns.keys():
            raise other_columns(arrays, columns)
        cells = {name: self._columns.cells(name, c, arrays[name]) for name, c in columns.items()}
        lengths = {name: len(column) for name, column in cells.items()}
        count = next(iter(lengths.values()))
        if set(lengths.values()) != {count}:
            raise SchemaError(f"columns of steps have different lengths: {lengths}")
        first = self._sent
        if count:
            version = oldest(columns, cells, version)
            versions = Column.array(np.int32).cells(
                VERSION, np.full(count, version) if np.ndim(version) == 0 else version
            )
            if len(versions) != count:
                raise SchemaError(f"{len(versions)} versions for {count} steps")
            self._send(batch(columns, cells, versions), columns)
        return first

    def flush(self) -> None:
        """Have all steps acknowledged. After an error the same steps are tried again."""
        self._check_open()
        sheet = self._sheet
        if sheet is not None and sheet.count:
            count = sheet.count
            sheet.send()
            self._sent += count
            self._columns.known = sheet.columns

    def end_episode(
        self,
        final_observation: Mapping[str, Any] | None = None,
        *,
        terminated: bool = False,
        truncated: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """End the episode; durable as a step is, and the same again does nothing.

        Parameters
        ----------
        final_observation : mapping of str to value, optional
            What the last action led to: some of the columns. It is the next observation of the last
            step, which a truncated episode needs for its value.
        terminated, truncated : bool
            Whether the episode reached its end, or was cut off.
        metadata : mapping, optional
            Kept as JSON.

        Raises
        ------
        ConflictError
            The episode has ended otherwise, or was superseded.
        """
        ending = {
            "steps": 0,
            "terminated": bool(terminated),
            "truncated": bool(truncated),
            "metadata": dict(metadata or {}),
        }
        try:
            json.dumps(ending, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidArgumentError(f"metadata: JSON cannot hold it: {error}") from None
        self.flush()
        if final_observation is not None:
            self._send_final(final_observation)
        ending["steps"] = self._sent
        self._store.finish(self._number, ending)
        self._end()

    def close(self) -> None:
        """Flush, and leave the episode as it is. A second call does nothing."""
        if not self._closed:
            self.flush()
            self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- what AsyncWriter does in parts ----

    def _due(self) -> bool:
        """Whether steps are to be sent before or with another one."""
        sheet = self._sheet
        if sheet is None or not self._buffer_bytes:
            return True
        return sheet.count > 0 and (
            sheet.count == sheet.rows or time.monotonic() - sheet.began > _BUFFER_SECONDS
        )

    def _keeps_values(self) -> bool:
        """Whether a step may have a value that is to be stored by its content."""
        columns = self._columns.known or self._columns.declared
        return any(column.by_content for column in columns.values())

    def _try(self, step: Mapping[str, Any], version: int) -> bool:
        """Add a step to the sheet that there is; False, with nothing done, if it has no room."""
        self._check_open()
        sheet = self._sheet
        assert sheet is not None
        version = sheet.version(step, version)
        if version.__class__ is not int or not -1 <= version <= _MOST_VERSION:
            version = integer(VERSION, version, -1, _MOST_VERSION)
        if not sheet.count:
            sheet.begin(self._number, self._sent)
        return sheet.add(step, version)

    def _append_anyway(self, step: Mapping[str, Any], version: int) -> None:
        """Add a step, after those that are there were sent."""
        self.flush()
        if self._sheet is None:
            self._sheet = self._sheets.take(self._columns.of_step(step), self._buffer_bytes)
        if not self._try(step, version):  # it is larger than all of the sheet
            columns = self._sheet.columns
            self._send(self._columns.row(columns, step, version), columns)
        elif not self._buffer_bytes:
            self.flush()

    # ---- parts ----

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the writer of episode {self.episode_id!r} is closed")

    def _end(self) -> None:
        self._closed = True
        if self._sheet is not None:
            self._sheets.give(self._sheet)
            self._sheet = None

    def _send(self, steps: Any, columns: dict[str, Column]) -> None:
        self._store.append(self._number, self._sent, steps)
        self._sent += len(steps)
        self._columns.known = columns

    def _send_final(self, observation: Mapping[str, Any]) -> None:
        known = self._columns.known
        if unknown := observation.keys() - known.keys():
            raise SchemaError(f"steps have no columns {sorted(unknown)}; there are {[*known]}")
        columns = {name: known[name] for name in observation}
        row = self._columns.row(columns, observation, -1)
        self._store.append(self._number, self._sent, row, final=True)


class AsyncWriter:
    """A `Writer` for an event loop, which it never holds up.

    It is made by `TrajectoryStore.async_writer`; its methods are those of `Writer`, and may be
    called by several tasks, whose steps come in the order of the calls.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._turn = asyncio.Lock()

    @property
    def episode_id(self) -> str:
        """Of the episode."""
        return self._writer.episode_id

    @property
    def attempt(self) -> int:
        """Which attempt at it."""
        return self._writer.attempt

    @property
    def next_step(self) -> int:
        """The place of the step that comes next."""
        return self._writer.next_step

    async def append(self, step: Mapping[str, Any], *, version: int = -1) -> int:
        """Add a step; see `Writer.append`."""
        async with self._turn:
            writer = self._writer
            if writer._keeps_values():  # which waits for the disk
                return await on_thread(lambda: writer.append(step, version=version))
            if writer._due() or not writer._try(step, version):
                await on_thread(lambda: writer._append_anyway(step, version))
            return writer.next_step - 1

    async def extend(self, arrays: Mapping[str, Any], *, version: Any = -1) -> int:
        """Add several steps; see `Writer.extend`."""
        async with self._turn:
            return await on_thread(lambda: self._writer.extend(arrays, version=version))

    async def flush(self) -> None:
        """Have all steps acknowledged."""
        async with self._turn:
            await on_thread(self._writer.flush)

    async def end_episode(
        self,
        final_observation: Mapping[str, Any] | None = None,
        *,
        terminated: bool = False,
        truncated: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """End the episode; see `Writer.end_episode`."""
        async with self._turn:
            await on_thread(
                lambda: self._writer.end_episode(
                    final_observation,
                    terminated=terminated,
                    truncated=truncated,
                    metadata=metadata,
                )
            )

    async def close(self) -> None:
        """Flush, and leave the episode as it is. A second call does nothing."""
        async with self._turn:
            await on_thread(self._writer.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()
