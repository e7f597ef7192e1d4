"""The steps of a store of trajectories by the order in which they came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from persisting.trajectory import TrajectoryStore

_AT_ONCE = 1 << 20  # rows that are looked at together


class Arrivals:
    """Tells of the steps that came, each once.

    Parameters
    ----------
    store : TrajectoryStore
        Of which.
    first : int
        The row of its table to begin with.
    """

    def __init__(self, store: TrajectoryStore, first: int = 0) -> None:
        self._store = store
        self._rows = first

    def more(self) -> np.ndarray:
        """Return the offsets of steps that came since, an array of int64, in their order."""
        end = self._store.stats()["rows"]
        found = [np.empty(0, np.int64)]
        for first in range(self._rows, end, _AT_ONCE):
            rows = np.arange(first, min(first + _AT_ONCE, end), dtype=np.int64)
            counts = np.zeros(len(rows), bool)
            self._store._store.are_steps(rows, counts)
            found.append(rows[counts])
        self._rows = max(self._rows, end)
        return np.concatenate(found)
