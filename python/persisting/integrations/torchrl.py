"""Replay buffers of torchrl over a store of trajectories, which a crash does not take.

As in ::

    from persisting.integrations.torchrl import TrajectoryReplayBuffer, TrajectorySampler
    from persisting.trajectory import Slices, TrajectoryStore

    store = TrajectoryStore("/nvme/replay")
    buffer = TrajectoryReplayBuffer(store, sampler=TrajectorySampler(Slices(8)), batch_size=256)
    for data in collector:
        buffer.extend(data.reshape(-1))
        batch = buffer.sample()

A step is acknowledged when `extend` returns, and a buffer over the same store has it again. The
samplers of torchrl draw of the buffer as of any other. Those over trajectories look at all steps
again after each write; `TrajectorySampler` draws by the index of the store and reads its copies in
memory, in one call.

A leaf of a TensorDict is a column, ``("next", "reward")`` is ``next.reward``. A step belongs to an
episode: that of its ``("collector", "traj_ids")``, where there is such a leaf, else the one that
the step before it did not end. ``("next", "done")`` ends one, with the leaves of ``next`` as its
final observation.

References
----------
`Storage`, `Writer`, `Sampler` and `TensorDictReplayBuffer` of torchrl 0.14.1.
"""

from __future__ import annotations

import json
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensordict import NonTensorStack, TensorDict, TensorDictBase, is_leaf_nontensor
from torchrl.data import TensorDictReplayBuffer
from torchrl.data.replay_buffers.checkpointers import StorageCheckpointerBase
from torchrl.data.replay_buffers.samplers import Sampler
from torchrl.data.replay_buffers.storages import Storage
from torchrl.data.replay_buffers.writers import RoundRobinWriter

from persisting._arguments import integer
from persisting._errors import ConflictError, InvalidArgumentError
from persisting.integrations._arrivals import Arrivals
from persisting.trajectory import Slices, Steps

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from persisting.trajectory import Batch, TrajectoryStore, Writer

    Key = str | tuple[str, ...]

# torchrl counts what was written in 32 bits.
_MOST = 2**31 - 1
_NEXT = "next"
_TRAJECTORY = ("collector", "traj_ids")
_INDEX = "index"  # which torchrl adds to what it writes and draws
_FILE = "trajectories.json"
_DONE, _ENDS = "done", ("terminated", "truncated")
_HELD = ("array", "text")  # kinds of columns that a TensorDict of one shape can have
_PLACE = ("episode", "step")  # columns of the store's own


def _column(key: Key) -> str:
    """Return the name of the column of a leaf.

    Raises
    ------
    InvalidArgumentError
        A dot in its name would make it another one.
    """
    parts = (key,) if isinstance(key, str) else key
    if any("." in part for part in parts):
        raise InvalidArgumentError(f"key {key!r}: a dot stands between the parts of a column")
    return ".".join(parts)


def _key(column: str) -> Key:
    parts = tuple(column.split("."))
    return parts[0] if len(parts) == 1 else parts


def _values(leaf: Any) -> Any:
    """Return a leaf as a writer takes it."""
    return leaf.detach().cpu() if isinstance(leaf, torch.Tensor) else leaf.tolist()


def _numbers(leaves: Mapping[str, Any], name: str, count: int, default: int) -> np.ndarray:
    """Return the number of each step that a leaf has, if there is one."""
    if name not in leaves:
        return np.full(count, default)
    found: np.ndarray = np.asarray(leaves[name]).reshape(count, -1)[:, 0]
    return found


def _flags(leaves: Mapping[str, Any], name: str, count: int) -> np.ndarray:
    """Tell of each step whether a leaf of what it led to is set."""
    leaf = leaves.get(f"{_NEXT}.{name}")
    if leaf is None:
        return np.zeros(count, bool)
    found: np.ndarray = np.any(np.asarray(leaf, bool).reshape(count, -1), axis=1)
    return found


def _runs(of: np.ndarray, done: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield the steps, from one to another, that follow each other in one episode."""
    begins = np.flatnonzero(done[:-1] | (of[1:] != of[:-1])) + 1
    return zip([0, *begins.tolist()], [*begins.tolist(), len(done)], strict=True)


def _final(leaves: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the last of some steps led to, of the columns that it has a next one of."""
    final = {}
    for name, values in leaves.items():
        following = leaves.get(f"{_NEXT}.{name}")
        if following is not None and _form(values) == _form(following):
            final[name] = following[-1]
    return final or None


def _form(values: Any) -> Any:
    return (values.dtype, values.shape[1:]) if isinstance(values, torch.Tensor) else list


def _tensor(values: Any) -> Any:
    """Return a column for a TensorDict."""
    if isinstance(values, list):
        return NonTensorStack(*values)
    return torch.from_numpy(np.ascontiguousarray(values))


def _tensors(columns: Mapping[str, Any], count: int) -> TensorDict:
    leaves = {_key(name): _tensor(values) for name, values in columns.items() if count}
    return TensorDict(leaves, batch_size=[count])


def _at(values: Any, places: np.ndarray) -> Any:
    """Return the values at places."""
    return [values[at] for at in places] if isinstance(values, list) else values[places]


class _Checkpointer(StorageCheckpointerBase):
    """Notes what a storage has: its steps are on the disk already."""

    def dumps(self, storage: TrajectoryStorage, path: str | os.PathLike[str]) -> None:
        """Write how many steps there are."""
        directory = Path(path)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _FILE).write_text(json.dumps(storage.state_dict()))

    def loads(self, storage: TrajectoryStorage, path: str | os.PathLike[str]) -> None:
        """Hold that against what there is."""
        storage.load_state_dict(json.loads((Path(path) / _FILE).read_text()))


class TrajectoryStorage(Storage):
    """Steps of a store as the storage of a replay buffer.

    Step n of the store, in the order in which steps came, is at index n; with a bound, at n modulo
    the bound, where it takes the place of an older one, which stays in the store. While a storage
    is open nobody else writes steps.

    Parameters
    ----------
    store : TrajectoryStore
        Where the steps are. The storage does not close it.
    max_size : int, optional
        Most steps that are drawn, the newest ones; by default all of them.
    version_key : str or tuple of str, optional
        The leaf with the version of the policy that chose the action, a number of each step.
    """

    _default_checkpointer = _Checkpointer

    def __init__(
        self, store: TrajectoryStore, max_size: int | None = None, *, version_key: Key | None = None
    ) -> None:
        most = _MOST if max_size is None else integer("max_size", max_size, 1, _MOST)
        super().__init__(most)
        self._most: int = most
        self.store = store
        self._version_key = version_key
        self._session = uuid.uuid4().hex  # numbers of trajectories begin anew with each collector
        self._writers: dict[int, Writer] = {}
        self._begun = 0
        self._lock = threading.RLock()  # guards what follows
        self._offsets = np.empty(0, np.int64)
        self._steps = 0
        self._arrivals = Arrivals(store)
        self._columns: dict[str, tuple[int, torch.Tensor]] = {}
        self._drawn: tuple[Any, Batch] | None = None
        self._catch_up()
        self._set_last_cursor((self.cursor - 1) % most if self._steps else -1)

    # ---- what is where ----

    def __len__(self) -> int:
        return min(self._steps, self._most)

    @property
    def cursor(self) -> int:
        """The index of the step that comes next."""
        return self._steps % self._most

    def _catch_up(self) -> int:
        """Look at the rows that came; return how many of them are steps."""
        offsets = self._arrivals.more()
        end = self._steps + len(offsets)
        if end > len(self._offsets):
            # Twice as many, so that each is moved a few times at most.
            grown = np.empty(max(2 * len(self._offsets), end), np.int64)
            grown[: self._steps] = self._offsets[: self._steps]
            self._offsets = grown
        self._offsets[self._steps : end] = offsets
        self._steps = end
        return len(offsets)

    def offsets_of(self, index: Any) -> np.ndarray:
        """Return the offsets in the store of steps at indexes, an array of int64."""
        at = self._resolve(index)
        whole = self._steps // self._most * self._most + at
        steps = np.where(whole < self._steps, whole, whole - self._most)
        found: np.ndarray = self._offsets[steps]
        return found

    def indexes_of(self, offsets: np.ndarray) -> np.ndarray:
        """Return the indexes of steps at offsets in the store.

        Raises
        ------
        InvalidArgumentError
            One was replaced by a newer step.
        """
        steps = np.searchsorted(self._offsets[: self._steps], offsets)
        if len(steps) and steps.min() < self._steps - self.max_size:
            raise InvalidArgumentError(
                f"a TrajectorySampler draws of all steps of the store, {self._steps}, and the"
                f" storage has the newest {self.max_size}: make it without max_size, or use a"
                " sampler of torchrl"
            )
        found: np.ndarray = steps % self.max_size
        return found

    def _resolve(self, index: Any) -> np.ndarray:
        """Return indexes in any form as an array.

        Raises
        ------
        IndexError
            One is not there.
        """
        if isinstance(index, tuple):
            if len(index) != 1:
                raise IndexError(f"steps have one dimension, and the index {len(index)}")
            (index,) = index
        count = len(self)
        if isinstance(index, slice):
            return np.arange(count)[index]
        at = np.atleast_1d(np.asarray(index.cpu() if hasattr(index, "cpu") else index))
        if at.dtype == bool:
            return np.flatnonzero(at)
        at = np.where(at < 0, at + count, at).astype(np.int64)
        if at.ndim != 1 or (at.size and not 0 <= at.min() <= at.max() < count):
            raise IndexError(f"index {index!r:.60}: want one dimension, below {count}")
        return at

    def contains(self, item: Any) -> Any:
        """Tell of indexes whether there is a step."""
        at = torch.as_tensor(item)
        return (at >= -len(self)) & (at < len(self))

    # ---- writing ----

    def set(self, cursor: Any, data: Any, *, set_cursor: bool = True) -> None:
        """Store steps, which are acknowledged when it returns.

        Parameters
        ----------
        cursor : int, range or tensor
            Where: behind the last one, as `TrajectoryWriter` says.
        data : TensorDict
            A step, or [steps].
        set_cursor : bool
            True, as steps are not replaced.

        Raises
        ------
        InvalidArgumentError
            It is not a TensorDict, or the cursor is somewhere else.
        SchemaError
            The steps do not fit the columns of the store.
        ConflictError
            Somebody else writes steps.
        """
        if not isinstance(data, TensorDictBase):
            raise InvalidArgumentError(f"steps are a TensorDict, not {type(data).__name__}")
        if data.batch_dims == 0:
            data = data.unsqueeze(0)
        if data.batch_dims != 1:
            raise InvalidArgumentError(
                f"steps have the shape {[*data.batch_size]}: flatten them by reshape(-1)"
            )
        if not len(data):
            return
        with self._lock:
            wanted = (self.cursor + np.arange(len(data))) % self.max_size
            places = np.atleast_1d(np.asarray(cursor))
            if not set_cursor or not np.array_equal(places, wanted):
                raise InvalidArgumentError(
                    "steps are stored once, behind those that are there, and not replaced:"
                    f" want the cursor at {self.cursor}, as TrajectoryWriter has it"
                )
            self._set_last_cursor(cursor)
            try:
                self._append(data)
            finally:
                came = self._catch_up()
                self._bump_mutation_revision()
        if came != len(data):
            raise ConflictError(
                f"{came} steps came, of which this buffer wrote {len(data)}: while it is open"
                " nobody else writes"
            )

    def _append(self, data: TensorDictBase) -> None:
        """Append steps, in their order, each to its episode."""
        leaves = {
            _column(key): _values(data.get(key))
            for key in data.keys(True, True, is_leaf=is_leaf_nontensor)
            if key != _INDEX
        }
        count = len(data)
        of = _numbers(leaves, _column(_TRAJECTORY), count, -1)
        versions = np.full(count, -1)
        if self._version_key is not None:
            versions = _numbers(leaves, _column(self._version_key), count, -1)
        terminated, truncated = (_flags(leaves, name, count) for name in _ENDS)
        done = _flags(leaves, _DONE, count) | terminated | truncated
        for first, end in _runs(of, done):
            writer = self._writer(int(of[first]))
            part = {name: values[first:end] for name, values in leaves.items()}
            writer.extend(part, version=versions[first:end])
            if done[end - 1]:
                cut = bool(truncated[end - 1])
                over = bool(terminated[end - 1]) or not cut
                writer.end_episode(_final(part), terminated=over, truncated=cut)
                del self._writers[int(of[first])]

    def _writer(self, trajectory: int) -> Writer:
        """Return what writes the episode of a trajectory, which it begins."""
        writer = self._writers.get(trajectory)
        if writer is None:
            name = f"{self._session}/{self._begun}"
            writer = self._writers[trajectory] = self.store.writer(episode_id=name, start=0)
            self._begun += 1
        return writer

    # ---- reading ----

    def __getitem__(self, index: Any) -> Any:
        """Read steps; of a slice the columns that are asked of it, see `Columns`."""
        return Columns(self, index) if isinstance(index, slice) else self.get(index)

    def get(self, index: Any) -> TensorDict:
        """Read steps.

        Parameters
        ----------
        index : int, slice, range, array or tensor of int or bool
            Which.

        Returns
        -------
        TensorDict
            One step for an int, else [steps].
        """
        drawn, self._drawn = self._drawn, None
        if drawn is not None and drawn[0] is index:
            return self._of_batch(drawn[1])
        offsets = self.offsets_of(index)
        unique, places = np.unique(offsets, return_inverse=True)
        names = [name for name, column in self.store.columns.items() if column.kind in _HELD]
        taken = self.store.take(unique, names) if len(unique) else {}
        found = _tensors({name: _at(values, places) for name, values in taken.items()}, len(places))
        single = isinstance(index, int | np.integer) or getattr(index, "ndim", 1) == 0
        return found[0] if single else found

    def _of_batch(self, batch: Batch) -> TensorDict:
        """Return what a sampler of the store has drawn."""
        count = batch.offsets.size
        shape = batch.offsets.shape
        found = {name: v.reshape(count, *v.shape[len(shape) :]) for name, v in batch.items()}
        columns = self.store.columns
        rest = [n for n, column in columns.items() if n not in found and column.kind in _HELD]
        if rest and count:
            unique, places = np.unique(batch.offsets.reshape(-1), return_inverse=True)
            taken = self.store.take(unique, rest)
            found |= {name: _at(values, places) for name, values in taken.items()}
        return _tensors(found, count)

    def hold(self, index: torch.Tensor, batch: Batch) -> None:
        """Keep a batch for the `get` of the same index that follows."""
        self._drawn = index, batch

    def read_column(self, name: str) -> torch.Tensor:
        """Read a column of all steps, by their indexes; again only after more came.

        Raises
        ------
        ConflictError
            Episodes were removed, or others write.
        """
        with self._lock:
            known = self._columns.get(name)
            if known is None or known[0] != self._steps:
                known = self._columns[name] = self._steps, self._read_column(name)
            count = len(self)
            return torch.roll(known[1][self._steps - count :], self._steps % max(count, 1), 0)

    def _read_column(self, name: str) -> torch.Tensor:
        table = self.store.query(columns=[name])
        if not np.array_equal(table["offset"].to_numpy(), self._offsets[: self._steps]):
            raise ConflictError(
                f"the steps of {self.store.path} are other ones than when the buffer was made:"
                " make it anew"
            )
        column = self.store.columns.get(name)
        if column is None:  # the number of the episode, or the place in it
            return torch.from_numpy(table[name].to_numpy().astype(np.int64))
        return _tensor(column.read(table[name]))

    # ---- checkpoints ----

    def state_dict(self) -> dict[str, Any]:
        """Return how many steps there are: they are on the disk already."""
        return {"steps": self._steps}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on with the steps of the store, those that came since the checkpoint among them.

        Raises
        ------
        InvalidArgumentError
            It is the checkpoint of another store.
        """
        if state_dict["steps"] > self._steps:
            raise InvalidArgumentError(
                f"the checkpoint is of a buffer with {state_dict['steps']} steps, and"
                f" {self.store.path} has {self._steps}"
            )

    def _empty(self) -> None:
        raise InvalidArgumentError(
            "a store is not emptied by its buffer: TrajectoryStore.remove takes episodes away, and"
            " max_size has older steps replaced"
        )


class Columns:
    """The columns of a slice of a storage, each of which is read when it is asked for.

    The samplers of torchrl that look for trajectories take a column of all steps. Beside the leaves
    there are ``"episode"``, the number of the episode, and ``"step"``, the place in it.
    """

    def __init__(self, storage: TrajectoryStorage, rows: slice) -> None:
        self._storage = storage
        self._rows = rows

    def keys(self, include_nested: bool = True, leaves_only: bool = True) -> list[Key]:
        """Return the keys of all leaves."""
        names = [n for n, column in self._storage.store.columns.items() if column.kind in _HELD]
        return [_key(name) for name in (*names, *_PLACE)]

    def __getitem__(self, key: Key) -> Any:
        if key not in self.keys():
            raise KeyError(f"there is no {key!r}; there are {self.keys()}")
        at = np.arange(len(self._storage))[self._rows]
        return self._storage.read_column(_column(key))[torch.from_numpy(at)]

    def get(self, key: Key, default: Any = None) -> Any:
        """Return a column, or something else if there is none."""
        return self[key] if key in self.keys() else default


class TrajectoryWriter(RoundRobinWriter):
    """Writes behind the last step of a `TrajectoryStorage`, also one that had steps before."""

    @property
    def _cursor(self) -> int:
        storage: TrajectoryStorage | None = self._storage
        return 0 if storage is None else storage.cursor

    @_cursor.setter
    def _cursor(self, value: int) -> None:
        """Pass it over: a step that is stored moves the cursor, and nothing else does."""


class TrajectorySampler(Sampler):
    """Draws by the samplers of the store, see `TrajectoryStore.sampler`.

    Nothing is looked at again when steps come, and priorities are durable. It draws of all steps of
    the store, so its storage has no ``max_size``.

    Parameters
    ----------
    unit : Steps or Slices
        What is drawn. Of slices, which are not padded, the size of a batch is the number of steps
        in all, as of torchrl's, and the last step of each is marked ``("next", "truncated")`` and
        ``("next", "done")`` where the steps have these leaves.
    order : {"uniform", "episodes", "prioritized", "sequential", "shuffle"}
        Of `TrajectoryStore.sampler`. ``"episodes"`` is the law of torchrl's slices. The last two
        end, as torchrl's samplers without replacement do.
    min_version : int, optional
        The oldest version of the policy of which steps are drawn.
    seed, alpha, beta, epsilon
        Of `TrajectoryStore.sampler`. Weights are ``"priority_weight"``.
    reduction : str
        How several priorities of a step become one: ``"max"``, ``"min"``, ``"median"``, ``"mean"``.
    """

    def __init__(
        self,
        unit: Steps | Slices = Steps(),  # noqa: B008 - it cannot be changed
        order: str = "uniform",
        *,
        min_version: int | None = None,
        seed: int | None = None,
        alpha: float = 0.6,
        beta: float = 0.4,
        epsilon: float = 1e-8,
        reduction: str = "max",
    ) -> None:
        if getattr(unit, "pad", not isinstance(unit, Steps)):
            raise InvalidArgumentError(f"unit is {unit!r}, want Steps, or Slices that are whole")
        self._unit = unit
        self._order = order
        self._min_version = min_version
        self._options = {"seed": seed, "alpha": alpha, "beta": beta, "epsilon": epsilon}
        self.reduction = reduction
        self.ran_out = False
        self._sampler: Any = None
        self._state: Any = None

    @property
    def ran_out(self) -> bool:
        """Whether an order has come to its end."""
        return self._ran_out

    @ran_out.setter
    def ran_out(self, value: bool) -> None:
        self._ran_out = value

    def _of(self, storage: TrajectoryStorage) -> Any:
        """Return the sampler of a store, made when there are steps."""
        if self._sampler is None:
            options: dict[str, Any] = {"order": self._order, **self._options}
            self._sampler = storage.store.sampler(self._unit, **options)
            if self._state is not None:
                self._sampler.load_state_dict(self._state)
        return self._sampler

    def sample(
        self, storage: TrajectoryStorage, batch_size: int
    ) -> tuple[torch.Tensor, dict[Any, torch.Tensor]]:
        """Draw steps.

        Raises
        ------
        InvalidArgumentError
            The storage is not a `TrajectoryStorage`, or the size no multiple of that of a slice.
        NotFoundError
            There is nothing to be drawn.
        """
        if not isinstance(storage, TrajectoryStorage):
            raise InvalidArgumentError(f"want a TrajectoryStorage, not {type(storage).__name__}")
        length = self._unit.length if isinstance(self._unit, Slices) else 1
        if batch_size % length:
            raise InvalidArgumentError(f"a batch of {batch_size} steps is not of whole {length}s")
        sampler = self._of(storage)
        batch = sampler.sample(batch_size // length, min_version=self._min_version)
        if self._order in ("sequential", "shuffle"):
            self.ran_out = batch.draws < batch_size // length or sampler._ended()
        index = torch.from_numpy(storage.indexes_of(batch.offsets.reshape(-1)))
        storage.hold(index, batch)
        info: dict[Any, torch.Tensor] = _cuts(batch, length) if length > 1 else {}
        if batch.weights is not None:
            weights = np.repeat(batch.weights, length)
            info["priority_weight"] = torch.from_numpy(weights)
        return index, info

    def update_priority(
        self, index: Any, priority: Any, *, storage: TrajectoryStorage | None = None
    ) -> None:
        """Give steps priorities, which are acknowledged when it returns.

        Parameters
        ----------
        index : int or tensor of int
            Which steps.
        priority : float or tensor of float
            Of 0 or more: one for all, or for each one or several.
        storage : TrajectoryStorage
            Where they are.
        """
        if storage is None:
            raise InvalidArgumentError("storage: want the TrajectoryStorage with the steps")
        offsets = storage.offsets_of(torch.as_tensor(index).reshape(-1))
        given = torch.as_tensor(priority).detach().cpu().double()
        each = given.reshape(len(offsets), -1).amax(1) if given.ndim else given.expand(len(offsets))
        storage.store.update_priorities(offsets, each.numpy())

    def state_dict(self) -> dict[str, Any]:
        """Return what another one goes on from."""
        return {"sampler": self._state if self._sampler is None else self._sampler.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on where another one was."""
        self._state, self._sampler = state_dict["sampler"], None

    def dumps(self, path: str | os.PathLike[str]) -> None:
        """Write that to a file in a directory."""
        directory = Path(path)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _FILE).write_text(json.dumps(self.state_dict()))

    def loads(self, path: str | os.PathLike[str]) -> None:
        """Read it."""
        self.load_state_dict(json.loads((Path(path) / _FILE).read_text()))

    def _empty(self) -> None:
        self._state = self._sampler = None


def _cuts(batch: Batch, length: int) -> dict[Any, torch.Tensor]:
    """Return the flags of steps with the last one of each slice as one that was cut off."""
    info: dict[Any, torch.Tensor] = {}
    for name in ("truncated", _DONE):
        column = f"{_NEXT}.{name}"
        if column in batch:
            flags = batch[column].copy()
            flags[:, -1] = True
            info[_NEXT, name] = torch.from_numpy(flags.reshape(-1, *flags.shape[2:]))
    return info


class TrajectoryReplayBuffer(TensorDictReplayBuffer):
    """A replay buffer of torchrl over a store.

    Parameters
    ----------
    store : TrajectoryStore or TrajectoryStorage
        Where the steps are; one with steps is gone on with.
    **options
        Of `TensorDictReplayBuffer`: ``sampler`` (of torchrl, or a `TrajectorySampler`),
        ``batch_size``, ``prefetch``, ``transform``, ``priority_key`` and so on.
    """

    def __init__(self, store: TrajectoryStore | TrajectoryStorage, **options: Any) -> None:
        own = {"storage", "writer", "collate_fn"} & options.keys()
        if own:
            raise InvalidArgumentError(f"a TrajectoryReplayBuffer has {sorted(own)} of its own")
        storage = store if isinstance(store, TrajectoryStorage) else TrajectoryStorage(store)
        super().__init__(
            storage=storage, writer=TrajectoryWriter(), collate_fn=lambda data: data, **options
        )

    def __getitem__(self, index: Any) -> Any:
        """Read steps."""
        if isinstance(index, slice):
            index = np.arange(len(self))[index]
        return super().__getitem__(index)

    def update_tensordict_priority(self, data: TensorDictBase) -> None:
        """Give the steps of a batch the priorities that it has, under ``priority_key``."""
        if not isinstance(self._sampler, TrajectorySampler):
            super().update_tensordict_priority(data)
        elif data.get(self.priority_key, None) is not None:
            batch = data if data.batch_dims else data.unsqueeze(0)
            index = batch.get(_INDEX).reshape(len(batch), -1)[:, 0]
            self.update_priority(index, self._get_priority_vector(batch))
