"""Batches of a store of trajectories for the loaders of torch.

The dataset gives whole batches, so the loader makes none::

    dataset = TrajectoryDataset("unix:/run/steps.sock", 256, next=("obs",), seed=1)
    for batch in DataLoader(dataset, batch_size=None, num_workers=4):
        loss = f(batch["obs"], batch["next_obs"], batch["reward"])

Workers are processes of their own, and so want the address of a process that serves the store
(`TrajectoryStore.serve`, ``persisting traj serve``); they may be spawned or forked.

References
----------
`IterableDataset` and `get_worker_info` of torch 2.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset, get_worker_info

from persisting._arguments import integer
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.kv._addresses import is_address
from persisting.trajectory import Batch, Sampler, Steps, TrajectoryStore

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

# What a batch has besides columns.
_KNOWN = (
    "offsets",
    "episodes",
    "steps",
    "versions",
    "terminated",
    "truncated",
    "mask",
    "next_offsets",
    "weights",
    "returns",
    "discounts",
)
_ENDS = ("sequential", "shuffle")  # the orders of which each worker has a share
_STOP_SECONDS = 0.1  # between two looks whether a batch is still wanted
_MOST = 1 << 20


class TrajectoryDataset(IterableDataset[dict[str, Any]]):
    """Batches that a sampler draws: dicts of tensors, each batch over memory of its own.

    Of the orders ``"shuffle"`` and ``"sequential"`` each worker of a loader has a share: all of
    them together give each draw once. Of other orders, which do not end, each worker draws with
    another seed. Who goes over the dataset again gets the next epoch of a shuffle, or the steps
    that came since; workers that are begun anew do not know of it, see `set_epoch`.

    Parameters
    ----------
    store : TrajectoryStore or str
        A store, or the address of a process that serves one, which workers want.
    draws : int
        Of a batch; the last one may have fewer.
    unit : Steps, Slices, NStep or Groups
        What a draw is, see `TrajectoryStore.sampler`.
    order : str, default "shuffle"
        See `TrajectoryStore.sampler`.
    columns, next : sequence of str, optional
        What is read of each step, and of what is behind it.
    seed : int, default 0
        Begins what is random. All workers have the same.
    min_version : int, optional
        See `Sampler.sample`.
    prefetch : int, default 2
        How many batches are drawn before they are asked for, by a thread; 0 for none.
    **options
        What else `TrajectoryStore.sampler` takes, such as ``where`` and ``ragged``.

    Notes
    -----
    A batch has the columns, ``next_`` columns, and ``offsets``, ``episodes``, ``steps``,
    ``versions``, ``terminated``, ``truncated``, ``mask``; ``weights`` of the order
    ``"prioritized"``, ``returns`` and ``discounts`` of `NStep`, and of ragged columns
    ``next_offsets`` and ``masks``, as `Batch` has them.
    """

    def __init__(
        self,
        store: TrajectoryStore | str,
        draws: int,
        unit: Any = Steps(),  # noqa: B008 - it cannot be changed
        *,
        order: str = "shuffle",
        columns: Sequence[str] | None = None,
        next: Sequence[str] = (),
        seed: int = 0,
        min_version: int | None = None,
        prefetch: int = 2,
        **options: Any,
    ) -> None:
        path = store if isinstance(store, str) else store.path
        self._address = path if is_address(path) else None
        self._store = store if isinstance(store, TrajectoryStore) else None
        if self._address is None and self._store is None:
            raise InvalidArgumentError(
                f"store is {store!r}, want a TrajectoryStore, or unix:PATH or tcp:HOST:PORT"
            )
        self._draws = integer("draws", draws, 1, _MOST)
        self._prefetch = integer("prefetch", prefetch, 0, _MOST)
        self._seed = integer("seed", seed, 0, 2**62)
        self._order = order
        self._min_version = min_version
        self._sampler_options = {"columns": columns, "next": tuple(next), **options}
        self._unit = unit
        self._epoch = 0
        self._state: dict[str, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process goes on with."""
        self._check_shared()
        return self.__dict__ | {"_store": None}

    def _check_shared(self) -> None:
        if self._address is None:
            raise InvalidArgumentError(
                "the dataset is of a store that this process has open, and workers are others:"
                " serve the store, and give the dataset the address"
            )

    # ---- what is drawn ----

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Draw batches: to the end of an order that ends, else without end."""
        worker = get_worker_info()
        part = (0, 1) if worker is None else (worker.id, worker.num_workers)
        if worker is None and self._store is not None:
            yield from self._batches(self._store, part)
            return
        self._check_shared()
        assert self._address is not None
        with TrajectoryStore.connect(self._address) as store:
            yield from self._batches(store, part)

    def _batches(self, store: TrajectoryStore, part: tuple[int, int]) -> Iterator[dict[str, Any]]:
        sampler = self._sampler(store, part)
        drawn = _drawn(sampler, self._draws, self._min_version, alone=part == (0, 1))
        if self._prefetch:
            drawn = _Ahead(drawn, self._prefetch).items()
        try:
            for batch, state in drawn:
                self._state = {"part": [*part], "sampler": state}
                yield _tensors(batch)
        finally:
            drawn.close()

    def _sampler(self, store: TrajectoryStore, part: tuple[int, int]) -> Sampler:
        """Return the sampler of a worker, where it was."""
        options: dict[str, Any] = {**self._sampler_options, "order": self._order}
        if self._order in _ENDS:
            options |= {"seed": self._seed, "part": part}
        else:
            options["seed"] = self._seed + (self._epoch << 32) + part[0]
        sampler = store.sampler(self._unit, **options)
        if self._state is not None:
            if self._state["part"] != [*part]:
                here, there = _said(part), _said(self._state["part"])
                raise InvalidArgumentError(f"the state is of {there}, and this is {here}")
            sampler.load_state_dict(self._state["sampler"])
        elif self._order == "shuffle" and self._epoch:
            state = sampler.state_dict()
            state["position"]["epoch"] = self._epoch
            sampler.load_state_dict(state)
        return sampler

    # ---- where it is ----

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch, for workers, which do not know of those before.

        Parameters
        ----------
        epoch : int
            From 0. A shuffle of another epoch has another order.
        """
        self._epoch = integer("epoch", epoch, 0, 2**30)
        self._state = None

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` goes on from: behind the batch that was given last.

        It is that of this process: with workers each has its own, which a loader that keeps states
        asks them for.
        """
        return {"epoch": self._epoch, "state": self._state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a dataset of the same arguments was, and of as many workers.

        Raises
        ------
        InvalidArgumentError
            It is no such state. That it is of another worker, the first batch tells.
        """
        try:
            self._epoch, self._state = state["epoch"], state["state"]
        except (KeyError, TypeError) as error:
            raise InvalidArgumentError(f"state is not that of a dataset: {error!r}") from None


def _said(part: Sequence[int]) -> str:
    return f"worker {part[0]} of {part[1]}"


def _drawn(
    sampler: Sampler, draws: int, min_version: int | None, *, alone: bool
) -> Generator[tuple[Batch, dict[str, Any]], None, None]:
    """Draw batches, with the state behind each."""
    try:
        for batch in sampler.batches(draws, min_version=min_version):
            yield batch, sampler.state_dict()
    except NotFoundError:
        if alone:
            raise  # else the others have all that there is


class _Ahead:
    """Draws by a thread before it is asked to."""

    def __init__(self, drawn: Iterator[Any], most: int) -> None:
        self._drawn = drawn
        self._ready: queue.Queue[Any] = queue.Queue(most)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="persisting-batches", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for item in self._drawn:
                if not self._put((item, None)):
                    return
            self._put((None, None))
        except BaseException as error:
            self._put((None, error))

    def _put(self, item: Any) -> bool:
        """Wait for room; False once nobody wants it."""
        while not self._over.is_set():
            try:
                self._ready.put(item, timeout=_STOP_SECONDS)
            except queue.Full:
                continue
            return True
        return False

    def items(self) -> Generator[Any, None, None]:
        """Give what was drawn, and raise what the thread did."""
        try:
            while True:
                item, error = self._ready.get()
                if error is not None:
                    raise error
                if item is None:
                    return
                yield item
        finally:
            self._over.set()
            self._thread.join()


def _tensors(batch: Batch) -> dict[str, Any]:
    """Return all of a batch over its memory."""
    found = batch.torch()
    known = {name: getattr(found, name) for name in _KNOWN} | {"masks": found.masks or None}
    if both := known.keys() & {*found}:
        raise InvalidArgumentError(
            f"columns {sorted(both)} have names of what each batch has besides: say which columns"
            " you want"
        )
    return {**found, **{name: value for name, value in known.items() if value is not None}}
