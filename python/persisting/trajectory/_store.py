"""The store of trajectories."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from persisting._arguments import MOST, integer, text
from persisting._engine.trajectory import Server, Trajectories, milliseconds
from persisting._errors import InvalidArgumentError, NotFoundError, SchemaError
from persisting._loop.threads import on_thread
from persisting.trajectory._columns import PLACE, VERSION, Column, as_array
from persisting.trajectory._contents import Contents
from persisting.trajectory._ragged import Packed, Padded
from persisting.trajectory._sampler import Bounds, Order, RateLimit, Sampler, Steps, Unit
from persisting.trajectory._served import Served, Store
from persisting.trajectory._sheet import Sheets
from persisting.trajectory._writer import BUFFER_BYTES, AsyncWriter, Columns, Writer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt
    from typing_extensions import Self

_OFFSET = "_offset"
_MOST_ATTEMPT = 2**31 - 1


@dataclass(frozen=True)
class Episode:
    """An episode, all of it.

    Attributes
    ----------
    episode_id, group, env : str
        What it was begun with.
    attempt : int
        Which attempt it is.
    state : str
        ``"open"``, ``"ended"`` or ``"lost"``.
    terminated, truncated : bool
        How it ended.
    metadata : dict
        What it ended with.
    steps : dict of str to array or list
        The columns: an array [steps, *shape], or for ragged columns, texts and bytes a list.
    version : numpy.ndarray of int32
        The versions of the policy, of each step.
    final_observation : dict of str to value, or None
        What the last action led to.
    """

    episode_id: str
    group: str
    env: str
    attempt: int
    state: str
    terminated: bool
    truncated: bool
    metadata: dict[str, Any] = field(repr=False)
    steps: dict[str, Any] = field(repr=False)
    version: np.ndarray = field(repr=False)
    final_observation: dict[str, Any] | None = field(repr=False)

    def __len__(self) -> int:
        return len(self.version)


@dataclass(frozen=True)
class Lease:
    """Steps that were given out to be consumed and were not acknowledged.

    Attributes
    ----------
    batch : int
        The number of the batch.
    task : str
        What consumes it.
    offsets : numpy.ndarray of int64
        Of the steps, in the order in which they were given out.
    """

    batch: int
    task: str
    offsets: np.ndarray = field(repr=False)


class TrajectoryStore:
    """Steps of episodes in a directory.

    Parameters
    ----------
    path : str or path-like
        Directory of the store, made if it is missing.
    columns : mapping of str to Column, optional
        Types of columns that the first step does not make clear, such as of sequences that are
        given as arrays. Those of a store that has steps stay.
    wal_sync_interval : float, default 1.0
        Seconds after which an acknowledged step survives a failure of the power; 0 is at once. The
        end of the process it survives at once.
    hot_bytes : int, optional
        Most bytes of the copies of steps that samplers read, which the first sampler begins: mapped
        files that the system keeps in memory as it can. By default a quarter of the memory; 0 for
        none, so that samplers read the table, which takes about 300 times as long.
    read_only : bool, default False
        Read beside the process that has the store open: what is there at this moment.

    Raises
    ------
    LockedError
        The store is open elsewhere.
    NotFoundError
        There is no store to be read.
    InvalidArgumentError
        The directory holds something else.

    Notes
    -----
    All methods may be called from any thread; they wait for the disk, and let go of the GIL.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        columns: Mapping[str, Column] | None = None,
        wal_sync_interval: float = 1.0,
        hot_bytes: int | None = None,
        read_only: bool = False,
    ) -> None:
        declared = _declared(columns)
        if hot_bytes is None:
            hot_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
        options = {
            "wal_sync_interval": wal_sync_interval,
            "hot_bytes": integer("hot_bytes", hot_bytes, 0, MOST),
        }
        self._begin(Trajectories(path, options, read_only=read_only), declared)

    @classmethod
    def connect(cls, address: str, *, columns: Mapping[str, Column] | None = None) -> Self:
        """Connect to a store that another process serves, with the same methods.

        Parameters
        ----------
        address : str
            ``unix:PATH`` or ``tcp:HOST:PORT``, as `serve` gives it.
        columns : mapping of str to Column, optional
            As of a store that is opened.

        Raises
        ------
        ClosedError
            Nobody serves at the address.

        Notes
        -----
        When the owner of the store ends, a call raises `ClosedError`, and so do those that come
        after it until the store is served again; then they go on. Of a call that was under way it
        is not known whether it was done: steps can be said again, see `writer`, which keeps those
        that were not sent. It may be used in a forked process, and needs no engine there.
        """
        declared = _declared(columns)
        self = cls.__new__(cls)
        self._begin(Served(address), declared)
        return self

    def _begin(self, store: Store, columns: Mapping[str, Column]) -> None:
        self._store = store
        self._servers: list[Server] = []
        self.path = store.path
        self._contents = Contents(store)
        self._columns = Columns(columns, self._contents)
        self._sheets = Sheets(store, self._contents)
        try:
            self._look_at_columns()
        except BaseException:
            self._store.close()
            raise

    def _look_at_columns(self) -> None:
        """Take the columns that the store has, if it has any."""
        own = (*PLACE, VERSION)
        found = {f.name: Column.of_field(f) for f in self._store.schema() if f.name not in own}
        for name, column in self._columns.declared.items():
            if name in own:
                raise SchemaError(f"column {name!r}: each step has a column of that name itself")
            if found and found.get(name) != column:
                raise SchemaError(f"column {name!r} is {found.get(name)}, not {column}")
        self._columns.known = found

    def close(self) -> None:
        """Store what writers have not sent, and close the store. A second call does nothing."""
        self._sheets.end()
        for server in self._servers:
            server.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def serve(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        listen: str | None = None,
        allow_remote: bool = False,
    ) -> Server:
        """Serve the store to other processes, which `connect`, until it is closed.

        Parameters
        ----------
        socket : str or path-like, optional
            Path of a unix socket to make. Only processes of the same user may connect to it.
        listen : str, optional
            Address of TCP such as ``127.0.0.1:9643``, of the loopback interface. Every process of
            the machine may connect to it.
        allow_remote : bool, default False
            Must be True for a `listen` that other machines can reach. There is no password and no
            encryption: whoever connects may read and write everything.

        Returns
        -------
        Server
            With `addresses` for `connect`, and `close` to end it before the store.

        Raises
        ------
        InvalidArgumentError
            An address is not one to listen on, or the store is itself a connection.
        StorageError
            The address is taken.

        Notes
        -----
        The engine serves by itself, without the GIL.
        """
        if not isinstance(self._store, Trajectories):
            raise InvalidArgumentError(
                f"the store at {self.path} is a connection, and cannot be served"
            )
        options: dict[str, Any] = {"allow_remote": allow_remote}
        if socket is not None:
            options["socket"] = os.fspath(socket)
        if listen is not None:
            options["listen"] = listen
        server = Server(self._store, options)
        self._servers.append(server)
        return server

    @property
    def columns(self) -> dict[str, Column]:
        """The columns of the user, empty before the first step."""
        if not self._columns.known:  # steps may have come without a word of their writer
            self._look_at_columns()
        return dict(self._columns.known)

    # ---- writing ----

    def writer(
        self,
        *,
        env: str = "",
        group: str = "",
        episode_id: str | None = None,
        attempt: int = 0,
        start: int | None = None,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> Writer:
        """Begin an episode, or go on with one that is open.

        Parameters
        ----------
        env : str
            Where it is played.
        group : str
            What episodes belong together, as those of one prompt.
        episode_id : str, optional
            Names the episode; by default a new one. Steps are named by it, the attempt, and their
            place: what is there is not stored again, and something else in its place is a
            `DuplicateError`. So a writer that does not know what was stored says it again.
        attempt : int
            A higher one supersedes one that has not ended: none of its steps is seen any more.
        start : int, optional
            The place of the first step that the writer brings; by default the next one that the
            store lacks.
        buffer_bytes : int
            Size of the steps that `Writer.append` keeps back; 0 for none.

        Raises
        ------
        ConflictError
            There is a higher attempt, or the episode has ended in a lower one, or was closed as
            lost.
        """
        identity = {
            "id": uuid.uuid4().hex if episode_id is None else _text("episode_id", episode_id),
            "group": _text("group", group),
            "env": _text("env", env),
            "attempt": integer("attempt", attempt, 0, _MOST_ATTEMPT),
        }
        begin = None if start is None else integer("start", start, 0, MOST)
        size = integer("buffer_bytes", buffer_bytes, 0, 1 << 30)
        return Writer(self._store, self._columns, self._sheets, identity, begin, size)

    async def async_writer(
        self,
        *,
        env: str = "",
        group: str = "",
        episode_id: str | None = None,
        attempt: int = 0,
        start: int | None = None,
        buffer_bytes: int = BUFFER_BYTES,
    ) -> AsyncWriter:
        """Begin an episode, or go on with one, for an event loop; see `writer`."""
        writer = await on_thread(
            lambda: self.writer(
                env=env,
                group=group,
                episode_id=episode_id,
                attempt=attempt,
                start=start,
                buffer_bytes=buffer_bytes,
            )
        )
        return AsyncWriter(writer)

    def close_lost(self, after: float = 600.0) -> int:
        """Close open episodes as lost to which nothing was added for `after` seconds.

        None of their steps is seen by `query` any more, and they go on by a higher attempt only.
        After an opening the time begins anew.

        Returns
        -------
        int
            How many.
        """
        return self._store.close_lost(milliseconds("after", after))

    def remove(self, episode_ids: Sequence[str]) -> int:
        """Remove episodes: no read and no sampler gives any of their steps from now on.

        An id stays taken: its writer, or a file that is imported again, is told that the episode
        was removed; a higher attempt begins it anew. The bytes of its steps stay on the disk, at
        their offsets.

        Parameters
        ----------
        episode_ids : sequence of str
            Their ids. One that was removed is passed over.

        Returns
        -------
        int
            How many, which is durable as a step is.

        Raises
        ------
        NotFoundError
            There is none of an id. Then none is removed.
        """
        if isinstance(episode_ids, str):
            raise InvalidArgumentError(f"episode_ids: want a list of ids, got {episode_ids!r}")
        return self._store.remove([_text("episode_ids", one) for one in episode_ids])

    # ---- reading ----

    def episode(self, episode_id: str) -> Episode:
        """Read the newest attempt of an episode.

        Raises
        ------
        NotFoundError
            There is none of that id.
        """
        found = self._store.describe(episode_id)
        with self._store.read(found["number"]) as cursor:
            table = pa.Table.from_batches([*cursor], cursor.schema)
        final = None
        count = len(table)
        if count and table[PLACE[2]][count - 1].as_py():
            count -= 1
            final = self._final(table.slice(count))
        steps = table.slice(0, count)
        return Episode(
            episode_id=found["id"],
            group=found["group"],
            env=found["env"],
            attempt=found["attempt"],
            state=found["state"],
            terminated=found["terminated"],
            truncated=found["truncated"],
            metadata=found.get("metadata") or {},
            steps=self._arrays(steps, self.columns),
            version=_versions(steps),
            final_observation=final,
        )

    def _final(self, row: pa.Table) -> dict[str, Any]:
        """Return the columns of a last observation that have a value."""
        names = [name for name in self.columns if row[name].null_count == 0]
        return {name: value[0] for name, value in self._arrays(row, names).items()}

    def _arrays(self, table: pa.Table, names: Iterable[str]) -> dict[str, Any]:
        columns = self.columns
        return {
            name: self._read(columns[name], table[name])
            for name in names
            if name in table.schema.names
        }

    def _read(self, column: Column, values: pa.ChunkedArray) -> Any:
        return self._contents.read(column, values) if column.by_content else column.read(values)

    def episodes(self, where: str | None = None) -> pa.Table:
        """Return what episodes there are, a row for each attempt, as they began.

        Parameters
        ----------
        where : str, optional
            An SQL filter over the columns of the result, as of `LanceBackend.query`.

        Returns
        -------
        pyarrow.Table
            ``number`` (which steps have as ``episode``), ``episode_id``, ``group_id``, ``env``,
            ``attempt``, ``state`` (``"open"``, ``"ended"``, ``"lost"``, ``"superseded"``,
            ``"removed"``),
            ``steps`` (null while it is open), ``terminated``, ``truncated``,
            ``final_observation``, ``metadata`` (JSON), ``time`` (of its end, or of its begin while
            it is open).

        Raises
        ------
        InvalidArgumentError
            The filter is none.
        """
        found = self._query(self._store.episodes, where, None)
        if not len(found):
            return found.drop_columns([c for c in (_OFFSET,) if c in found.schema.names])
        offsets, newest = _int64(found[_OFFSET]), np.zeros(len(found), bool)
        numbers = _int64(found["number"])
        self._store.are_episodes(offsets, numbers, newest)
        return found.filter(pa.array(newest)).drop_columns([_OFFSET]).sort_by("number")

    def query(
        self,
        where: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> pa.Table:
        """Return the steps for which an SQL filter is true, in the order in which they came.

        Steps are those of episodes that are open or have ended, without final observations.

        Parameters
        ----------
        where : str, optional
            As of `LanceBackend.query`, over the user's columns, ``episode`` (number), ``step`` and
            ``version``: ``"reward > 0.5 AND step < 10"``.
        columns : sequence of str, optional
            The columns of the result; by default all.
        limit : int, optional
            Most steps.

        Returns
        -------
        pyarrow.Table
            The columns, and ``offset``, by which `take` reads the step again.

        Raises
        ------
        InvalidArgumentError
            The filter, or the name of a column, is wrong.
        """
        found = self._query(self._store.steps, where, columns)
        if _OFFSET not in found.schema.names:
            return found
        offsets, counts = _int64(found[_OFFSET]), np.zeros(len(found), bool)
        self._store.are_steps(offsets, counts)
        found = found.filter(pa.array(counts))
        names = ["offset" if name == _OFFSET else name for name in found.schema.names]
        found = found.rename_columns(names)
        if "bootstrap" in names and columns is None:
            found = found.drop_columns(["bootstrap"])
        if limit is not None:
            found = found.slice(0, integer("limit", limit, 0, MOST))
        return self._with_values(found)

    def _with_values(self, found: pa.Table) -> pa.Table:
        """Return steps with values in place of the names of those that are stored by content."""
        for name, column in self.columns.items():
            if column.by_content and name in found.schema.names:
                values = self._contents.arrow(column, found[name])
                found = found.set_column(found.schema.get_field_index(name), name, values)
        return found

    def _query(self, ask: Any, where: str | None, columns: Sequence[str] | None) -> pa.Table:
        query: dict[str, Any] = {
            "columns": None if columns is None else [*columns],
            "with_offset": True,
            "limit": None,
            "search": None,
        }
        if where is not None:
            query["filter"] = text("where", where).decode()
        with ask(query) as cursor:
            return pa.Table.from_batches([*cursor], cursor.schema)

    def take(self, offsets: npt.ArrayLike, columns: Sequence[str] | None = None) -> dict[str, Any]:
        """Read steps by the offsets that `query` gives, in that order.

        Returns
        -------
        dict of str to array or list
            The columns, as in `Episode.steps`.

        Raises
        ------
        NotFoundError
            There is no such step or column.
        """
        at = _offsets(offsets)
        counts = np.zeros(len(at), bool)
        self._store.are_steps(at, counts)
        if not counts.all():
            raise NotFoundError(f"offset {at[~counts][0]} is of no step of an episode that counts")
        known = self.columns
        names = [*(known if columns is None else columns)]
        for name in names:
            if name not in known:
                raise NotFoundError(f"steps have no column {name!r}; there are {[*known]}")
        with self._store.take(at) as cursor:
            table = pa.Table.from_batches([*cursor], cursor.schema)
        return self._arrays(table, names)

    def sampler(
        self,
        unit: Unit = Steps(),  # noqa: B008 - it cannot be changed
        *,
        order: Order = "uniform",
        columns: Sequence[str] | None = None,
        next: Sequence[str] = (),
        ragged: Packed | Padded | Mapping[str, Packed | Padded] = Packed(),  # noqa: B008 - as unit
        where: str | None = None,
        newest: int | None = None,
        times: int | None = None,
        limit: RateLimit | None = None,
        seed: int | None = None,
        alpha: float = 0.6,
        beta: float = 0.4,
        epsilon: float = 1e-8,
        part: tuple[int, int] = (0, 1),
    ) -> Sampler:
        """Make a sampler, which draws batches of steps for training.

        The first one of a store copies all steps, as far as `hot_bytes` go, which takes as long as
        to read them; later ones, and those of later openings, find the copies. Steps that come are
        copied as they are appended.

        Parameters
        ----------
        unit : Steps, Slices, NStep or Groups
            What a draw is.
        order : str
            ``"uniform"``: each draw as likely as any other. ``"episodes"``: each episode, and in it
            each draw. ``"prioritized"``: each as likely as the priority of its first step says, see
            `update_priorities`. ``"sequential"``: in the order in which they came, not beyond what
            cannot be drawn yet because its episode is open. ``"shuffle"``: all of them once in an
            order that the seed gives, and then anew in another. ``"fifo"``, ``"lifo"``: the oldest
            or the newest that there are, each once in a batch. ``"highest"``, ``"lowest"``: those
            of the highest or the lowest priorities, and the oldest of these.
        columns : sequence of str, optional
            What to read, by default all columns whose values have one size.
        next : sequence of str
            Columns of which the next value is given as well, as ``next_obs`` of ``obs``: of the
            step behind it, or of the final observation. Steps are not drawn of which it is not
            known; where an episode terminated without a final observation it is zeros.
        ragged : Packed or Padded, or a mapping of names to these
            What ragged columns are given as. They are read from the table, with texts and bytes.
        where : str, optional
            An SQL filter, as of `query`: draws begin at steps that it takes, and groups have the
            episodes whose first step it takes. Steps that come later are drawn after
            `Sampler.refresh`.
        newest : int, optional
            Of how many of the newest rows (steps and final observations) draws begin at one; by
            default of all.
        times : int, optional
            How often each draw is made at most, up to 254; of groups, each episode. It is part of
            `Sampler.state_dict`.
        limit : RateLimit, optional
            When there are draws at all.
        seed : int, optional
            Begins what is random, so that it is the same again. By default another each time.
        alpha, beta, epsilon : float
            Of the order ``"prioritized"`` [1]_: a step is as likely as ``(priority + epsilon) **
            alpha`` says, 0 being uniform, and the power of `Batch.weights` is beta, 1 making up for
            all of that.

        part : tuple of int, default (0, 1)
            Which of how many shares is drawn, for the orders ``"sequential"`` and ``"shuffle"``: as
            for processes that load together. Of each draw it is known whose it is, so that all of
            them have each once, also where steps come meanwhile.

        Raises
        ------
        NotFoundError
            There is no such column, or no step yet.
        InvalidArgumentError
            An argument is out of range, or `where` is no filter.

        References
        ----------
        .. [1] Schaul, Quan, Antonoglou, Silver: Prioritized Experience Replay, 2015.
        """
        known = self.columns
        bounds = Bounds(where, newest, times, limit, part)
        priority = alpha, beta, epsilon
        return Sampler(
            self._store,
            self._contents,
            known,
            unit,
            order,
            columns,
            next,
            ragged,
            seed,
            priority,
            bounds,
        )

    def update_priorities(self, offsets: npt.ArrayLike, priorities: npt.ArrayLike) -> None:
        """Give steps priorities, by which samplers of the order ``"prioritized"`` draw.

        They are acknowledged when it returns, as steps are, and kept as they are given: what a
        sampler makes of them is its own. A step that was given none has the highest of all.

        Parameters
        ----------
        offsets : array_like of int
            As `Batch.offsets` has them; of windows the first of each, ``offsets[:, 0]``.
        priorities : array_like of float
            Of 0 or more, as many; held as float32.

        Raises
        ------
        InvalidArgumentError
            A priority is negative or not finite, or there are not as many.
        NotFoundError
            There is no such step.
        """
        at = _offsets(offsets)
        given = np.ascontiguousarray(as_array("priorities", priorities), np.float64)
        if given.shape != at.shape:
            raise InvalidArgumentError(f"{given.shape} priorities for {at.shape} offsets")
        self._store.prioritize(at, given)

    def priorities(self, offsets: npt.ArrayLike) -> np.ndarray:
        """Return the priorities of steps, an array of float64; 1 where none was ever given."""
        at = _offsets(offsets)
        found = np.zeros(len(at))
        self._store.priorities(at, found)
        return found

    # ---- consuming ----

    def lease(self, offsets: npt.ArrayLike, *, task: str = "default") -> int:
        """Give steps out as a batch, which is pending until `ack`, also through a crash.

        Parameters
        ----------
        offsets : array of int
            Of steps, as `query` gives them.
        task : str
            What consumes the batch.

        Returns
        -------
        int
            The number of the batch; each has another one.

        Raises
        ------
        NotFoundError
            There is no such step.
        """
        return self._store.lease(_text("task", task), _offsets(offsets))

    def ack(self, batch: int) -> None:
        """Note that a batch was consumed. To say so again does nothing.

        Raises
        ------
        NotFoundError
            There is no such batch.
        """
        self._store.ack(integer("batch", batch, 0, MOST))

    def pending_batches(self, task: str | None = None) -> list[Lease]:
        """Return the batches that were not acknowledged, in the order of their leases.

        After a crash of a consumer these are the ones that it had, or had not yet acknowledged.

        Parameters
        ----------
        task : str, optional
            Those of one task only.
        """
        return [
            Lease(found["batch"], found["task"], np.array(found["offsets"], np.int64))
            for found in self._store.pending()
            if task is None or found["task"] == task
        ]

    def tag(self, name: str) -> None:
        """Give a name to what is acknowledged now, as of a checkpoint of the consumer.

        It is on the disk when this returns, with all steps that were stored. Nobody is stopped, and
        nothing is copied. A tag of that name is moved.
        """
        self._store.tag(_text("name", name))

    def restore(self, name: str) -> None:
        """Have the batches pending again that were acknowledged since a tag.

        For a consumer that goes back to its own state of that time: what it consumed since, and
        what was pending, `pending_batches` gives again. Tags that came after it are taken away.
        Steps stay.

        Raises
        ------
        NotFoundError
            There is no such tag.
        """
        self._store.restore(_text("name", name))

    def untag(self, name: str) -> None:
        """Take a tag away. What was acknowledged is kept from the oldest tag on.

        Raises
        ------
        NotFoundError
            There is no such tag.
        """
        self._store.untag(_text("name", name))

    def tags(self) -> list[str]:
        """Return the names of tags, the oldest first."""
        return self._store.tags()

    # ---- upkeep ----

    def flush(self) -> None:
        """Bring all that is acknowledged into the tables. Nobody needs to."""
        self._store.flush()

    def stats(self) -> dict[str, Any]:
        """Return how much there is.

        Returns
        -------
        dict
            ``steps`` and ``final_observations`` of open and ended episodes; ``rows`` in all;
            the numbers of ``open``, ``ended``, ``lost``, ``superseded`` and ``removed`` episodes;
            ``hot_rows`` and ``hot_bytes`` of the copies for samplers; ``path``; and the state of
            both buckets.
        """
        return self._store.stats()


def _declared(columns: Mapping[str, Column] | None) -> Mapping[str, Column]:
    """Return columns that a store is told of."""
    for name, column in (columns or {}).items():
        if not isinstance(column, Column):
            raise InvalidArgumentError(f"columns: want a Column for {name!r}, got {column!r}")
    return columns or {}


def _text(name: str, value: str) -> str:
    return text(name, value).decode()


def _offsets(offsets: npt.ArrayLike) -> np.ndarray:
    """Return offsets as contiguous int64."""
    at = np.ascontiguousarray(offsets)
    if at.ndim != 1 or (at.size and at.dtype.kind not in "iu"):
        raise InvalidArgumentError(f"offsets: want integers, got {offsets!r:.60}")
    return at.astype(np.int64)


def _int64(column: pa.ChunkedArray) -> np.ndarray:
    found: np.ndarray = np.ascontiguousarray(column.to_numpy(), np.int64)
    return found


def _versions(table: pa.Table) -> np.ndarray:
    if VERSION not in table.schema.names:
        return np.empty(0, np.int32)
    found: np.ndarray = np.asarray(table[VERSION].to_numpy(), np.int32)
    return found
