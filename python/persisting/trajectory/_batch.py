"""What a sampler draws: arrays in memory of the caller."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from persisting._errors import InvalidArgumentError
from persisting.trajectory._ragged import Loose, Ragged, check_finals

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    import pyarrow as pa
    from typing_extensions import Self

# What each sample has besides columns, in the order of `persisting_sampler_sample`.
_KNOWN: dict[str, np.dtype[Any]] = {
    "versions": np.dtype(np.int32),
    "offsets": np.dtype(np.int64),
    "episodes": np.dtype(np.uint32),
    "steps": np.dtype(np.uint32),
    "terminated": np.dtype(np.bool_),
    "truncated": np.dtype(np.bool_),
    "mask": np.dtype(np.bool_),
}
_BEHIND: dict[str, np.dtype[Any]] = {"next_offsets": np.dtype(np.int64)}
_WEIGHTS: dict[str, np.dtype[Any]] = {"weights": np.dtype(np.float32)}
_RETURNS: dict[str, np.dtype[Any]] = {
    "returns": np.dtype(np.float64),
    "discounts": np.dtype(np.float64),
}
_ALIGNMENT = 64

NEXT = "next_"


class Form:
    """The arrays of a sampler's batches, all but how many draws there are."""

    def __init__(
        self,
        columns: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
        shape: tuple[int, ...],
        *,
        loose: Loose | None,
        weights: bool,
        returns: bool,
    ) -> None:
        self.columns = columns
        self.shape = shape
        self.loose = loose
        self.known: dict[str, np.dtype[Any]] = dict(_KNOWN)
        if loose is not None and loose.following:
            self.known |= _BEHIND
        if weights:
            self.known |= _WEIGHTS
        if returns:
            self.known |= _RETURNS

    def allocate(self, draws: int) -> Batch:
        """Return a batch in memory of its own."""
        plan, size = [], 0
        shapes = [(d, (draws, *self.shape, *inner)) for d, inner in self.columns.values()]
        for dtype, shape in (*shapes, *self._known(draws)):
            plan.append((shape, dtype, size))
            size += -(-math.prod(shape) * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT
        buffer = np.empty(size, np.uint8)
        arrays = [np.ndarray(shape, dtype, buffer, at) for shape, dtype, at in plan]
        return self._batch(draws, arrays)

    def is_like(self, other: Form) -> bool:
        """Tell whether batches of another form have the same arrays, but for weights."""
        mine, theirs = self.known.keys() - _WEIGHTS.keys(), other.known.keys() - _WEIGHTS.keys()
        if (dict(self.columns), self.shape, mine) != (dict(other.columns), other.shape, theirs):
            return False
        if self.loose is None or other.loose is None:
            return self.loose is other.loose
        return self.loose.same(other.loose)

    def part(self, batch: Batch, first: int, end: int) -> Batch:
        """Return a batch over the memory of some draws of one of a form that is like this."""
        arrays = [batch._columns[name][first:end] for name in self.columns]
        arrays += [batch._known[name][first:end] for name in self.known]
        return self._batch(end - first, arrays)

    def read(self, batch: Batch) -> list[pa.Table]:
        """Read what is not in memory of the caller: of each step, and of what is behind it."""
        if self.loose is None:
            return []
        at = [batch.offsets] if self.loose.columns else []
        if self.loose.following:
            at.append(batch._known["next_offsets"])
        return [self.loose.read(offsets) for offsets in at]

    def add(self, batch: Batch, tables: list[pa.Table]) -> None:
        """Give a batch the columns that `read` gave."""
        if self.loose is None:
            return
        names: list[Mapping[str, str]] = [self.loose.columns] if self.loose.columns else []
        names += [self.loose.following] if self.loose.following else []
        for table, each in zip(tables, names, strict=True):
            for under, name in each.items():
                if each is self.loose.following:
                    behind = batch._known["next_offsets"]
                    check_finals(name, table[name], behind, batch.terminated)
                value, mask = self.loose.value(under, name, table[name], batch.offsets.shape)
                batch._columns[under] = value
                if mask is not None:
                    batch.masks[under] = mask

    def over(self, draws: int, given: Mapping[str, Any]) -> Batch:
        """Return a batch whose columns are arrays of the caller."""
        if given.keys() != self.columns.keys():
            raise InvalidArgumentError(
                f"out has the arrays {sorted(given)}, want {sorted(self.columns)}"
            )
        arrays = []
        for name, (dtype, inner) in self.columns.items():
            array, shape = given[name], (draws, *self.shape, *inner)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
                raise InvalidArgumentError(
                    f"out[{name!r}]: want an array of {dtype} with shape {shape},"
                    f" not {_described(array)}"
                )
            if not array.flags.c_contiguous or not array.flags.writeable:
                raise InvalidArgumentError(
                    f"out[{name!r}]: want an array that is contiguous and can be written to"
                )
            arrays.append(array)
        arrays += [np.empty(shape, dtype) for dtype, shape in self._known(draws)]
        return self._batch(draws, arrays)

    def _known(self, draws: int) -> list[tuple[np.dtype[Any], tuple[int, ...]]]:
        """Return the types and shapes of what there is besides columns."""
        return [
            (dtype, (draws,) if name in _WEIGHTS else (draws, *self.shape))
            for name, dtype in self.known.items()
        ]

    def _batch(self, draws: int, arrays: list[np.ndarray]) -> Batch:
        return Batch(
            self,
            draws,
            dict(zip(self.columns, arrays, strict=False)),
            dict(zip(self.known, arrays[len(self.columns) :], strict=True)),
            arrays,
        )


def _described(array: Any) -> str:
    if isinstance(array, np.ndarray):
        return f"{array.dtype} with {array.shape}"
    return f"{array!r:.60}"


class Batch(Mapping[str, Any]):
    """What was drawn: a mapping of the columns, and ``next_`` columns, to arrays [draws, ...].

    It is made by `Sampler.sample`, and may be given to it again as `out`. Draws of more than one
    step have a dimension more, as the unit of the sampler says. Where a window has no step, all is
    zero, but `offsets`. Ragged columns are a `Ragged`, or padded, and texts and bytes arrays of
    objects; they are in new memory each time.

    Attributes
    ----------
    offsets : numpy.ndarray of int64
        Of the steps, as `TrajectoryStore.take` wants them; -1 where there is none.
    episodes, steps : numpy.ndarray of uint32
        The number of the episode, and the place in it.
    versions : numpy.ndarray of int32
        Of the policy.
    terminated, truncated : numpy.ndarray of bool
        Whether the episode ended with that step, or with the last one that a return is over.
    mask : numpy.ndarray of bool
        Whether there is such a step.
    masks : dict of str to numpy.ndarray of bool
        Of padded columns: which values are no padding.
    next_offsets : numpy.ndarray of int64
        Where ragged columns are read as ``next_``: the offsets of what is behind the steps, or of
        the final observation; -1 where there is none.
    weights : numpy.ndarray of float32
        Of the order ``"prioritized"`` only, of each draw: how much it counts, so that what is drawn
        more often counts less; 1 for what is drawn least.
    returns, discounts : numpy.ndarray of float64
        Of `NStep` only: the discounted sum of rewards, and what a value of the ``next_`` columns
        counts: gamma to the number of the rewards, 0 where the episode terminated.
    sources : numpy.ndarray of int
        Of a `Mix` only, of each draw: which of its samplers made it.
    """

    def __init__(
        self,
        form: Form,
        draws: int,
        columns: dict[str, Any],
        known: dict[str, Any],
        arrays: list[np.ndarray],
    ) -> None:
        self._form = form
        self._draws = draws
        self._columns = columns
        self._known = known
        self._arrays = arrays
        self.offsets = known["offsets"]
        self.episodes = known["episodes"]
        self.steps = known["steps"]
        self.versions = known["versions"]
        self.terminated = known["terminated"]
        self.truncated = known["truncated"]
        self.mask = known["mask"]
        self.masks: dict[str, Any] = {}
        self.next_offsets = known.get("next_offsets")
        self.weights = known.get("weights")
        self.returns = known.get("returns")
        self.discounts = known.get("discounts")
        self.sources: Any = None

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Batch of {self.draws} draws of {[*self._columns]}"

    @functools.cached_property
    def addresses(self) -> np.ndarray:
        """Where a sampler of this process writes its parts to."""
        return np.array([array.ctypes.data for array in self._arrays], np.int64)

    @property
    def arrays(self) -> list[np.ndarray]:
        """Its parts in the order of `persisting_sampler_sample`."""
        return self._arrays

    @property
    def draws(self) -> int:
        """How many draws there are: fewer than were asked for at the end of an order."""
        return self._draws

    def torch(self) -> Self:
        """Return the same with tensors of torch over the same memory."""
        import torch

        def tensor(array: Any) -> Any:
            if isinstance(array, Ragged):
                return array.torch()
            return array if array.dtype == object else torch.from_numpy(array)

        return self._each(tensor, self._draws)

    def first(self, draws: int) -> Self:
        """Return the first draws, over the same memory; ragged columns are copied."""

        def cut(array: Any) -> Any:
            return array.select(np.arange(draws)) if isinstance(array, Ragged) else array[:draws]

        return self._each(cut, draws)

    def select(self, draws: npt.ArrayLike) -> Self:
        """Return some draws, in that order, in memory of their own: a part that `pack` gave."""
        at = np.asarray(draws, np.intp).reshape(-1)
        wrong = (at < 0) | (at >= self._draws)
        if wrong.any():
            raise InvalidArgumentError(f"there is no draw {at[wrong][0]} of {self._draws}")

        def chosen(array: Any) -> Any:
            return array.select(at) if isinstance(array, Ragged) else array[at]

        return self._each(chosen, len(at))

    def lengths(self, column: str | None = None) -> np.ndarray:
        """Return how many values of a ragged column, by default how many steps, a draw has."""
        if column is None:
            of = self.mask
        elif isinstance(self._columns.get(column), Ragged):
            of = self._columns[column].lengths
        elif column in self.masks:
            of = self.masks[column]
        else:
            raise InvalidArgumentError(f"{column!r} is no ragged column of {self!r}")
        found: np.ndarray = np.asarray(of).reshape(self._draws, -1).sum(axis=1, dtype=np.int64)
        return found

    def _each(self, do: Any, draws: int) -> Self:
        columns = {name: do(array) for name, array in self._columns.items()}
        known = {name: do(array) for name, array in self._known.items()}
        found = type(self)(self._form, draws, columns, known, self._arrays)
        found.masks = {name: do(array) for name, array in self.masks.items()}
        if self.sources is not None:
            found.sources = do(self.sources)
        return found
