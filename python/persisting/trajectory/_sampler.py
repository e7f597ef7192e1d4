"""Samplers: what is drawn, and in which order."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from persisting._arguments import integer, text
from persisting._errors import InvalidArgumentError, NotFoundError, WaitTimeoutError
from persisting.trajectory._batch import NEXT, Batch, Form
from persisting.trajectory._ragged import Loose, Packed, Padded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from persisting.trajectory._columns import Column
    from persisting.trajectory._contents import Contents
    from persisting.trajectory._served import Store

Order = Literal[
    "uniform",
    "episodes",
    "prioritized",
    "sequential",
    "shuffle",
    "fifo",
    "lifo",
    "highest",
    "lowest",
]

MOST_DRAWS = 1 << 20
_MOST_ROWS = 2**62
_MOST_TIMES = 254
_NEWEST = 2**31 - 1
# Seconds that the library waits at once, so that an interrupt gets through.
_LAP = 0.2


@dataclass(frozen=True)
class Steps:
    """Single steps."""


@dataclass(frozen=True)
class Slices:
    """Windows of steps of one episode, which follow each other.

    Arrays have the shape [draws, burn_in + length, ...].

    Attributes
    ----------
    length : int
        Steps of a window.
    stride : int
        One window begins every so many steps of an episode, from its first.
    pad : bool or "edge"
        Whether windows also begin where an episode has fewer steps left, of which `Batch.mask`
        tells; by default all have their length. An episode that is open gives whole ones only.
        What is missing is zeros, or with ``"edge"`` the nearest step again (of ragged columns, and
        of those by content, it is always empty).
    burn_in : int
        How many steps before a window come with it, from which a recurrent network gets its state:
        the first of the arrays. At the begin of an episode there are fewer, of which `Batch.mask`
        tells. The order, a priority and `min_version` are of the window behind them.
    """

    length: int
    stride: int = 1
    pad: bool | Literal["edge"] = False
    burn_in: int = 0


@dataclass(frozen=True)
class NStep:
    """Single steps with the return over the next n rewards, and what is behind these.

    It ends with the episode; one that is open gives no shorter ones.

    Attributes
    ----------
    n : int
        Rewards, that of the step included.
    gamma : float
        By which each counts less than the one before, 0 to 1.
    reward : str
        The column, of float32 or float64.
    """

    n: int
    gamma: float = 0.99
    reward: str = "reward"


@dataclass(frozen=True)
class Groups:
    """Episodes of one group, of which none is open; in a random order.

    Arrays have the shape [draws, n, length, ...], and without `length` if that is 1.

    Attributes
    ----------
    n : int
        Episodes of each group. Groups with fewer are not drawn.
    length : int
        Steps that an episode has at most; where it has fewer, `Batch.mask` tells.
    varied : str, optional
        A column of float32 or float64, as the rewards. Groups are not drawn in which its sum is the
        same for all episodes, as these say nothing of which is better [1]_.

    References
    ----------
    .. [1] Yu et al.: DAPO, an open-source LLM reinforcement learning system at scale, 2025.
    """

    n: int
    length: int = 1
    varied: str | None = None


Unit = Steps | Slices | NStep | Groups


@dataclass(frozen=True)
class RateLimit:
    """When a sampler draws, by how many steps have come: as Reverb's limiters [1]_.

    Draws are held back while there would be more of them than `samples_per_insert` for each step
    that came, and `Sampler.wait_for_room` holds a worker back while there would be fewer. Steps
    count from `min_size` on, or from those that there were when the sampler was made, if that is
    more; `Sampler.state_dict` knows how many, and the draws.

    Attributes
    ----------
    min_size : int
        How many steps there must be for any draw.
    samples_per_insert : float, optional
        How many draws are made for each step that comes; by default any number.
    error_buffer : float
        By how many draws the two may be apart. It is at least the draws of one `sample`, and those
        that belong to one step.

    References
    ----------
    .. [1] Cassirer et al.: Reverb, a framework for experience replay, 2021.
    """

    min_size: int = 1
    samples_per_insert: float | None = None
    error_buffer: float = 0.0


def _law(unit: Unit) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Return what the engine wants to know of a unit, and the shape of a draw."""
    law: dict[str, Any] = {"length": 1, "stride": 1}
    if isinstance(unit, Slices):
        law["length"] = integer("length", unit.length, 1, MOST_DRAWS)
        law["stride"] = integer("stride", unit.stride, 1, MOST_DRAWS)
        law["pad"] = bool(unit.pad)
        if isinstance(unit.pad, str):
            if unit.pad != "edge":
                raise InvalidArgumentError(f"pad is {unit.pad!r}, want a bool or 'edge'")
            law["edge"] = True
        burn_in = integer("burn_in", unit.burn_in, 0, MOST_DRAWS)
        if burn_in:
            law["burn_in"] = burn_in
        return law, (burn_in + law["length"],)
    if isinstance(unit, NStep):
        law["n_step"] = integer("n", unit.n, 1, MOST_DRAWS)
        law["gamma"], law["reward"] = float(unit.gamma), unit.reward
    elif isinstance(unit, Groups):
        law["group"] = integer("n", unit.n, 1, MOST_DRAWS)
        law["length"] = integer("length", unit.length, 1, MOST_DRAWS)
        law["pad"] = True
        if unit.varied is not None:
            law["varied"], law["reward"] = True, unit.varied
        return law, (law["group"], *((law["length"],) if unit.length > 1 else ()))
    elif not isinstance(unit, Steps):
        raise InvalidArgumentError(f"unit is {unit!r:.60}, want Steps, Slices, NStep or Groups")
    return law, ()


@dataclass(frozen=True)
class Bounds:
    """What is drawn of all that there is; see `TrajectoryStore.sampler`."""

    where: str | None = None
    newest: int | None = None
    times: int | None = None
    limit: RateLimit | None = None
    part: tuple[int, int] = (0, 1)

    def law(self) -> dict[str, Any]:
        """Return what the engine wants to know of it."""
        law: dict[str, Any] = {}
        if self.where is not None:
            law["where"] = text("where", self.where).decode()
        if self.newest is not None:
            law["newest"] = integer("newest", self.newest, 1, _MOST_ROWS)
        if self.times is not None:
            law["times"] = integer("times", self.times, 1, _MOST_TIMES)
        if self.limit is not None:
            law["limit"] = {
                "least": integer("min_size", self.limit.min_size, 0, _MOST_ROWS),
                "ratio": float(self.limit.samples_per_insert or 0),
                "slack": float(self.limit.error_buffer),
            }
        if self.part != (0, 1):
            law["part"], law["parts"] = (integer("part", n, 0, MOST_DRAWS) for n in self.part)
        return law


class Sampler:
    """Draws batches of steps. It is made by `TrajectoryStore.sampler`.

    Steps count once they are acknowledged, and until their episode is superseded, lost or removed.
    The methods may be called from any thread; draws come one after the other. Nobody has to close
    it, and it ends with its store.
    """

    def __init__(
        self,
        store: Store,
        contents: Contents,
        known: Mapping[str, Column],
        unit: Unit,
        order: Order,
        columns: Sequence[str] | None,
        following: Sequence[str],
        ragged: Packed | Padded | Mapping[str, Packed | Padded],
        seed: int | None,
        priority: tuple[float, float, float],
        bounds: Bounds,
    ) -> None:
        law, shape = _law(unit)
        names, read = _names(known, columns, following)
        nexts = [name for name in following if known[name].fixed]
        behind = {NEXT + name: name for name in following if name not in nexts}
        loose = Loose(store, contents, known, read, behind, ragged)
        self._store = store
        self._law = law | {
            "order": order,
            "seed": secrets.randbits(63) if seed is None else integer("seed", seed, 0, 2**63 - 1),
            "columns": names,
            "next": nexts,
        }
        self._law |= bounds.law()
        if behind:
            self._law["behind"] = True
        if order == "prioritized":
            alpha, beta, epsilon = map(float, priority)
            self._law |= {"alpha": alpha, "beta": beta, "epsilon": epsilon}
        self._handle = store.sampler(self._law)
        forms = {name: known[name] for name in names}
        forms |= {NEXT + name: known[name] for name in nexts}
        plain = {name: (_dtype(column), column.shape) for name, column in forms.items()}
        weights, returns = order == "prioritized", isinstance(unit, NStep)
        self._form = Form(
            plain,
            shape,
            loose=loose if read or behind else None,
            weights=weights,
            returns=returns,
        )

    def sample(
        self,
        draws: int,
        out: Batch | Mapping[str, Any] | None = None,
        *,
        min_version: int | None = None,
        timeout: float | None = None,
    ) -> Batch:
        """Draw steps, in one call that lets go of the GIL; ragged columns are another.

        Parameters
        ----------
        draws : int
            How many steps, windows or groups.
        out : Batch or mapping of str to numpy.ndarray, optional
            Where to write: a batch of this sampler for as many draws, which is returned again, or
            contiguous arrays for all columns whose values have one size. By default new memory.
        min_version : int, optional
            The oldest version of the policy of which steps are drawn; of a window all of them. The
            first sample with one reads the versions of all steps, 4 bytes of memory for each.
        timeout : float, optional
            Seconds to wait for the limit of the sampler, by default without end.

        Returns
        -------
        Batch
            As many draws; fewer at the end of the steps for the order ``"sequential"``, of an
            epoch for ``"shuffle"``, where there are not as many for ``"fifo"``, ``"lifo"``,
            ``"highest"`` and ``"lowest"``, and where all were drawn as often as `times` says.

        Raises
        ------
        InvalidArgumentError
            `draws`, or an array of `out`, is not as it must be.
        NotFoundError
            No step, or no episode that is long enough, is there.
        ConflictError
            A final observation lacks a column of which the next value is asked for.
        WaitTimeoutError
            The limit allowed no such draws within the time.
        """
        draws = integer("draws", draws, 1, MOST_DRAWS)
        batch = self._batch(draws, out)
        drawn = self._draw(batch, draws, min_version, end_of(timeout))
        if drawn < draws:
            batch = batch.first(drawn)
        if self._form.loose is not None:
            self._form.add(batch, self._form.read(batch))
        return batch

    def _draw(self, batch: Batch, draws: int, min_version: int | None, end: float) -> int:
        """Draw into a batch, but for what is ragged, and return how many draws were made."""
        oldest = -1 if min_version is None else integer("min_version", min_version, -1, _NEWEST)
        sample = partial(self._handle.sample, draws, oldest, batch)
        if "limit" not in self._law:
            return sample()
        while True:
            _wait(partial(self._handle.wait, draws), end)
            try:
                return sample()
            except WaitTimeoutError:  # another thread was first
                continue

    def wait_for_room(self, steps: int = 1, timeout: float | None = None) -> None:
        """Wait until the limit of the sampler allows more steps to come.

        A worker that calls it before it writes as many is held back while too few are drawn.

        Raises
        ------
        WaitTimeoutError
            After `timeout` seconds.
        """
        count = integer("steps", steps, 1, _MOST_ROWS)
        _wait(partial(self._handle.wait_for_room, count), end_of(timeout))

    def refresh(self) -> None:
        """Ask again which steps `where` takes: those that came since are not drawn before.

        Only these are asked for. What is acknowledged is brought into the table first, so it waits
        for the disk.
        """
        self._handle.refresh()

    def _batch(self, draws: int, out: Batch | Mapping[str, Any] | None) -> Batch:
        if out is None:
            return self._form.allocate(draws)
        if not isinstance(out, Batch):
            return self._form.over(draws, out)
        if out._form is not self._form or len(out.offsets) != draws:
            raise InvalidArgumentError(
                f"out is a {out!r}, want one of this sampler for {draws} draws"
            )
        return out

    def batches(self, draws: int, *, min_version: int | None = None) -> Iterator[Batch]:
        """Draw again and again, each time into new memory; see `sample`.

        With the order ``"sequential"``, or `times`, it ends where there are no more steps, with
        ``"shuffle"`` at the end of an epoch; with others never.
        """
        order = self._law["order"]
        while True:
            batch = self.sample(draws, min_version=min_version)
            if batch.draws:
                yield batch
            if not batch.draws or (order == "sequential" and batch.draws < draws):
                return
            if order == "shuffle" and self._ended():
                return

    def _ended(self) -> bool:
        """Whether an epoch has ended."""
        position = self._handle.position()
        return bool(position["at"] == position["rows"])

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` goes on from: plain numbers and texts."""
        return {"law": dict(self._law), "position": self._handle.position()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a sampler of the same unit, order and columns was.

        The same steps are drawn in the same order as long as none came or went; for the order
        ``"shuffle"`` also where others came, which belong to the next epoch.

        Raises
        ------
        InvalidArgumentError
            It is the state of another kind of sampler, or none.
        """
        try:
            law = dict(state["law"])
            same = {**law, "seed": 0} == {**self._law, "seed": 0}
            law["position"] = state["position"]
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(f"state is not that of a sampler: {error!r}") from None
        if not same:
            raise InvalidArgumentError(
                f"state is of the law {state['law']}, and this sampler has {self._law}"
            )
        handle = self._store.sampler(law)
        self._handle.close()
        self._handle, self._law = handle, dict(state["law"])


def end_of(timeout: float | None) -> float:
    """Return when a time in seconds is over; None is without end."""
    return float("inf") if timeout is None else time.monotonic() + timeout


def _wait(wait: Callable[[int], None], end: float) -> None:
    """Call what waits for some nanoseconds until it does so no longer, or a time is over."""
    while True:
        left = min(_LAP, end - time.monotonic())
        try:
            return wait(max(0, round(left * 1e9)))
        except WaitTimeoutError:
            if time.monotonic() >= end:
                raise


def _names(
    known: Mapping[str, Column], columns: Sequence[str] | None, following: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the columns to be read whose values have one size, by default all, and the others."""
    fixed = [name for name, column in known.items() if column.fixed]
    names = fixed if columns is None else [*columns]
    for name in (*names, *following):
        if name not in known:
            raise NotFoundError(f"steps have no column {name!r}; there are {[*known]}")
    both = [*names, *(NEXT + name for name in following)]
    if len({*both}) < len(both):
        raise InvalidArgumentError(f"the names {both} are not all different")
    return [n for n in names if n in fixed], [n for n in names if n not in fixed]


def _dtype(column: Column) -> Any:
    assert column.dtype is not None
    return column.dtype
