"""Samplers: what is drawn, and in which order."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from persisting._arguments import integer
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.trajectory._batch import NEXT, Batch, Form

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from persisting.trajectory._columns import Column
    from persisting.trajectory._served import Store

Order = Literal["uniform", "episodes", "prioritized", "sequential", "shuffle"]

_MOST = 1 << 20
_NEWEST = 2**31 - 1


@dataclass(frozen=True)
class Steps:
    """Single steps."""


@dataclass(frozen=True)
class Slices:
    """Windows of steps of one episode, which follow each other.

    Arrays have the shape [draws, length, ...].

    Attributes
    ----------
    length : int
        Steps of a window.
    stride : int
        One window begins every so many steps of an episode, from its first.
    pad : bool
        Whether windows also begin where an episode has fewer steps left, of which `Batch.mask`
        tells; by default all have their length. An episode that is open gives whole ones only.
    """

    length: int
    stride: int = 1
    pad: bool = False


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
    """

    n: int
    length: int = 1


Unit = Steps | Slices | NStep | Groups


def _law(unit: Unit) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Return what the engine wants to know of a unit, and the shape of a draw."""
    law: dict[str, Any] = {"length": 1, "stride": 1}
    if isinstance(unit, Slices):
        law["length"] = integer("length", unit.length, 1, _MOST)
        law["stride"] = integer("stride", unit.stride, 1, _MOST)
        law["pad"] = bool(unit.pad)
        return law, (law["length"],)
    if isinstance(unit, NStep):
        law["n_step"] = integer("n", unit.n, 1, _MOST)
        law["gamma"], law["reward"] = float(unit.gamma), unit.reward
    elif isinstance(unit, Groups):
        law["group"] = integer("n", unit.n, 1, _MOST)
        law["length"] = integer("length", unit.length, 1, _MOST)
        law["pad"] = True
        return law, (law["group"], *((law["length"],) if unit.length > 1 else ()))
    elif not isinstance(unit, Steps):
        raise InvalidArgumentError(f"unit is {unit!r:.60}, want Steps, Slices, NStep or Groups")
    return law, ()


class Sampler:
    """Draws batches of steps. It is made by `TrajectoryStore.sampler`.

    Steps count once they are acknowledged, and until their episode is superseded or lost. The
    methods may be called from any thread; draws come one after the other. Nobody has to close it,
    and it ends with its store.
    """

    def __init__(
        self,
        store: Store,
        known: Mapping[str, Column],
        unit: Unit,
        order: Order,
        columns: Sequence[str] | None,
        following: Sequence[str],
        seed: int | None,
        priority: tuple[float, float, float],
        part: tuple[int, int],
    ) -> None:
        law, shape = _law(unit)
        names = _names(known, columns, following)
        self._store = store
        self._law = law | {
            "order": order,
            "seed": secrets.randbits(63) if seed is None else integer("seed", seed, 0, 2**63 - 1),
            "columns": names,
            "next": [*following],
        }
        if order == "prioritized":
            alpha, beta, epsilon = map(float, priority)
            self._law |= {"alpha": alpha, "beta": beta, "epsilon": epsilon}
        if part != (0, 1):
            self._law["part"], self._law["parts"] = (integer("part", n, 0, _MOST) for n in part)
        self._handle = store.sampler(self._law)
        forms = {name: known[name] for name in names}
        forms |= {NEXT + name: known[name] for name in following}
        plain = {name: (_dtype(column), column.shape) for name, column in forms.items()}
        weights, returns = order == "prioritized", isinstance(unit, NStep)
        self._form = Form(plain, shape, weights=weights, returns=returns)

    def sample(
        self,
        draws: int,
        out: Batch | Mapping[str, Any] | None = None,
        *,
        min_version: int | None = None,
    ) -> Batch:
        """Draw steps, in one call that lets go of the GIL.

        Parameters
        ----------
        draws : int
            How many steps, windows or groups.
        out : Batch or mapping of str to numpy.ndarray, optional
            Where to write: a batch of this sampler for as many draws, which is returned again, or
            contiguous arrays for all columns. By default new memory.
        min_version : int, optional
            The oldest version of the policy of which steps are drawn; of a window all of them. The
            first sample with one reads the versions of all steps, 4 bytes of memory for each.

        Returns
        -------
        Batch
            As many draws; fewer at the end of the steps for the order ``"sequential"``, and of an
            epoch for ``"shuffle"``.

        Raises
        ------
        InvalidArgumentError
            `draws`, or an array of `out`, is not as it must be.
        NotFoundError
            No step, or no episode that is long enough, is there.
        ConflictError
            A final observation lacks a column of which the next value is asked for.
        """
        draws = integer("draws", draws, 1, _MOST)
        batch = self._batch(draws, out)
        oldest = -1 if min_version is None else integer("min_version", min_version, -1, _NEWEST)
        drawn = self._handle.sample(draws, oldest, batch)
        return batch if drawn == draws else batch.first(drawn)

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

        With the order ``"sequential"`` it ends where there are no more steps, with ``"shuffle"``
        at the end of an epoch; with others never.
        """
        order = self._law["order"]
        while True:
            batch = self.sample(draws, min_version=min_version)
            if batch.draws:
                yield batch
            if order == "sequential" and batch.draws < draws:
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


def _names(
    known: Mapping[str, Column], columns: Sequence[str] | None, following: Sequence[str]
) -> list[str]:
    """Return the columns to be read; by default all whose values have one size."""
    fixed = [name for name, column in known.items() if column.kind == "array"]
    names = fixed if columns is None else [*columns]
    for name in (*names, *following):
        if name not in known:
            raise NotFoundError(f"steps have no column {name!r}; there are {[*known]}")
        if name not in fixed:
            raise InvalidArgumentError(
                f"column {name!r} is {known[name].kind}, and samplers give columns whose values"
                f" have one size: {fixed}; take() gives others by Batch.offsets"
            )
    both = [*names, *(NEXT + name for name in following)]
    if len({*both}) < len(both):
        raise InvalidArgumentError(f"the names {both} are not all different")
    return names


def _dtype(column: Column) -> Any:
    assert column.dtype is not None
    return column.dtype
