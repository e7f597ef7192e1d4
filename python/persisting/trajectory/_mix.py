"""Batches of several samplers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from persisting._arguments import integer
from persisting._errors import InvalidArgumentError
from persisting.trajectory._sampler import MOST_DRAWS, Sampler, end_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from persisting.trajectory._batch import Batch


class Mix:
    """Draws batches of several samplers, of each a share.

    Of a batch each sampler makes as many draws as its share says, rounded down or up so that it is
    the share in the mean: with halves, and an even number of draws, always half of them [1]_. The
    samplers have the same unit and the same columns; they may be of different stores. Draws come
    one after the other, from one thread.

    Parameters
    ----------
    shares : mapping of Sampler to float
        The samplers, and how much of a batch each has: above 0, of any sum.
    seed : int
        Begins what is random.

    Raises
    ------
    InvalidArgumentError
        A share is not above 0, or the samplers give different arrays.

    References
    ----------
    .. [1] Ball, Smith, Kostrikov, Levine: Efficient online reinforcement learning with offline
       data, 2023.
    """

    def __init__(self, shares: Mapping[Sampler, float], *, seed: int = 0) -> None:
        self._samplers = [*shares]
        given = np.array([*shares.values()], np.float64)
        if not len(given) or not np.isfinite(given).all() or (given <= 0).any():
            raise InvalidArgumentError(f"shares are {[*shares.values()]}, want numbers above 0")
        self._ends = np.cumsum(given / given.sum())
        self._ends[-1] = 1
        self._chance = random.Random(integer("seed", seed, 0, 2**63 - 1))
        forms = [sampler._form for sampler in self._samplers]
        for form in forms[1:]:
            if not form.is_like(forms[0]):
                raise InvalidArgumentError("samplers that give different arrays cannot be mixed")
        self._form = next((form for form in forms if "weights" in form.known), forms[0])

    def sample(
        self,
        draws: int,
        *,
        min_version: int | None = None,
        timeout: float | None = None,
    ) -> Batch:
        """Draw steps, as `Sampler.sample`; `Batch.sources` says of each draw whose it is.

        Where one sampler has `Batch.weights`, those of draws of others are 1.

        Returns
        -------
        Batch
            As many draws, those of each sampler together; fewer where one has not as many left.

        Raises
        ------
        NotFoundError
            A sampler has nothing to be drawn.
        """
        count = integer("draws", draws, 1, MOST_DRAWS)
        batch, end = self._form.allocate(count), end_of(timeout)
        sources, at = np.empty(count, np.intp), 0
        tables: list[list[pa.Table]] = []
        parts = self._parts(count)
        for source, (sampler, share) in enumerate(zip(self._samplers, parts, strict=True)):
            if not share:
                continue
            part = sampler._form.part(batch, at, at + share)
            drawn = sampler._draw(part, share, min_version, end)
            if batch.weights is not None and part.weights is None:
                batch.weights[at : at + drawn] = 1
            tables.append(sampler._form.read(part.first(drawn)))
            sources[at : at + drawn] = source
            at += drawn
        batch.sources = sources
        if at < count:
            batch = batch.first(at)
        self._form.add(batch, [pa.concat_tables(each) for each in zip(*tables, strict=True)])
        return batch

    def _parts(self, count: int) -> np.ndarray:
        """Return how many draws each sampler makes."""
        ends = np.floor(self._ends * count + self._chance.random()).astype(np.int64)
        ends[-1] = count
        parts: np.ndarray = np.diff(ends, prepend=0)
        return parts

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` goes on from: plain numbers and texts."""
        version, words, gauss = self._chance.getstate()
        samplers = [sampler.state_dict() for sampler in self._samplers]
        return {"samplers": samplers, "random": [version, [*words], gauss]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a mix of the same samplers was.

        Raises
        ------
        InvalidArgumentError
            It is the state of another one, or none.
        """
        try:
            samplers, (version, words, gauss) = [*state["samplers"]], state["random"]
            if len(samplers) != len(self._samplers):
                raise ValueError(f"{len(samplers)} samplers, not {len(self._samplers)}")
            self._chance.setstate((version, tuple(words), gauss))
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidArgumentError(f"state is not that of a mix: {error!r}") from None
        for sampler, one in zip(self._samplers, samplers, strict=True):
            sampler.load_state_dict(one)
