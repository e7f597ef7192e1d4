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
from persisting.trajectory._columns import VERSION, Column, batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from persisting._engine.trajectory import Trajectories

# How many bytes of steps an append may leave with the writer, and for how many seconds.
BUFFER_BYTES = 64 << 10
_BUFFER_SECONDS = 0.02
_MOST_ROWS = 4096
_MOST_VERSION = 2**31 - 1


class Columns:
    """The columns of a store, which all its writers share; none until there is a first step."""

    def __init__(self, declared: Mapping[str, Column]) -> None:
        self.declared = dict(declared)
        self.known: dict[str, Column] = {}

    def of_step(self, step: Mapping[str, Any]) -> dict[str, Column]:
        """Return the columns, which a first step gives."""
        return self.known or self._all({name: (Column.of_value, step[name]) for name in step})

    def of_steps(self, arrays: Mapping[str, Any]) -> dict[str, Column]:
        """Return the columns, which several first steps give."""
        return self.known or self._all({name: (Column.of_values, arrays[name]) for name in arrays})

    def _all(self, found: dict[str, Any]) -> dict[str, Column]:
        if not found:
            raise SchemaError("a step needs at least one column")
        return {
            name: self.declared.get(name) or of(name, value) for name, (of, value) in found.items()
        }


class _Pending:
    """Steps that were not sent yet."""

    def __init__(self, columns: dict[str, Column], rows: int) -> None:
        self.columns = columns
        self.count = 0
        self.rows = rows
        self.began = time.monotonic()
        self._cells: dict[str, Any] = {
            name: np.empty((rows, *c.shape), c.dtype) if c.kind == "array" else [None] * rows
            for name, c in columns.items()
        }
        self._versions = np.empty(rows, np.int32)
        self._plan = [
            (name, self._cells[name], c.kind == "array", c.dtype, c.shape, c.cell)
            for name, c in columns.items()
        ]

    def add(self, step: Mapping[str, Any], version: int) -> None:
        """Copy a step."""
        at = self.count
        if len(step) != len(self._plan):
            raise _other_columns(step, self.columns)
        for name, cells, is_array, dtype, shape, cell in self._plan:
            try:
                value = step[name]
            except KeyError:
                raise _other_columns(step, self.columns) from None
            if (
                is_array
                and isinstance(value, np.ndarray)
                and value.dtype == dtype
                and value.shape == shape
            ):
                cells[at] = value
            else:
                cells[at] = cell(name, value)
        self._versions[at] = version
        self.count = at + 1

    def batch(self) -> Any:
        """Return the steps as Arrow data, whose memory is not written any more."""
        cells = {name: cells[: self.count] for name, cells in self._cells.items()}
        return batch(self.columns, cells, self._versions[: self.count])


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
        store: Trajectories,
        columns: Columns,
        identity: Mapping[str, Any],
        start: int | None,
        buffer_bytes: int,
    ) -> None:
        self._store = store
        self._columns = columns
        self._buffer_bytes = buffer_bytes
        self._pending: _Pending | None = None
        self._closed = False
        self.episode_id: str = identity["id"]
        self.attempt: int = identity["attempt"]
        self._number, following = store.begin(identity)
        self._sent = following if start is None else start

    @property
    def next_step(self) -> int:
        """The place of the step that comes next."""
        return self._sent + (self._pending.count if self._pending else 0)

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
            Its place in the episode. The step is acknowledged by the next `flush` or `end_episode`,
            and by the append that finds it 20 ms old or the buffer full; with ``buffer_bytes=0`` by
            this one.

        Raises
        ------
        SchemaError
            The step has other columns, or a value that a column cannot hold exactly.
        DuplicateError
            Another step is there; see `TrajectoryStore.writer`.
        ConflictError
            The episode has ended, or was superseded.
        """
        self._send_if_due()
        self._add(step, version)
        at = self.next_step - 1
        if not self._buffer_bytes:
            self.flush()
        return at

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
            raise _other_columns(arrays, columns)
        cells = {name: column.cells(name, arrays[name]) for name, column in columns.items()}
        lengths = {name: len(column) for name, column in cells.items()}
        count = next(iter(lengths.values()))
        if set(lengths.values()) != {count}:
            raise SchemaError(f"columns of steps have different lengths: {lengths}")
        first = self._sent
        if count:
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
        if self._pending is not None and self._pending.count:
            self._send(self._pending.batch(), self._pending.columns)
        self._pending = None

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
        self._closed = True

    def close(self) -> None:
        """Flush, and leave the episode as it is. A second call does nothing."""
        if not self._closed:
            self.flush()
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- what AsyncWriter does in parts ----

    def _due(self) -> bool:
        """Whether steps are to be sent before another one is added."""
        pending = self._pending
        return pending is not None and (
            pending.count == pending.rows or time.monotonic() - pending.began > _BUFFER_SECONDS
        )

    def _send_if_due(self) -> None:
        if self._due():
            self.flush()

    def _add(self, step: Mapping[str, Any], version: int) -> None:
        self._check_open()
        version = integer(VERSION, version, -1, _MOST_VERSION)
        if self._pending is None:
            columns = self._columns.of_step(step)
            size = 4 + sum(column.nbytes for column in columns.values())
            rows = min(max(self._buffer_bytes // size, 1), _MOST_ROWS)
            self._pending = _Pending(columns, rows)
        self._pending.add(step, version)

    # ---- parts ----

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"the writer of episode {self.episode_id!r} is closed")

    def _send(self, steps: Any, columns: dict[str, Column]) -> None:
        self._store.append(self._number, self._sent, steps)
        self._sent += len(steps)
        self._columns.known = columns

    def _send_final(self, observation: Mapping[str, Any]) -> None:
        known = self._columns.known
        if unknown := observation.keys() - known.keys():
            raise SchemaError(f"steps have no columns {sorted(unknown)}; there are {[*known]}")
        columns = {name: known[name] for name in observation}
        cells = {}
        for name, column in columns.items():
            cell = column.cell(name, observation[name])
            cells[name] = cell[None] if column.kind == "array" else [cell]
        row = batch(columns, cells, np.full(1, -1, np.int32))
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
            if writer._due():
                await on_thread(writer.flush)
            writer._add(step, version)
            at = writer.next_step - 1
            if not writer._buffer_bytes:
                await on_thread(writer.flush)
            return at

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


def _other_columns(step: Mapping[str, Any], columns: Mapping[str, Column]) -> SchemaError:
    """Return the error for a step with other columns than the first one."""
    missing, unknown = sorted(columns.keys() - step.keys()), sorted(step.keys() - columns.keys())
    return SchemaError(
        f"each step has the columns of the first one: {missing} are missing, {unknown} are unknown"
    )
