"""A sampler of a store of trajectories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from persisting._engine import functions
from persisting._engine.handles import Handle, method

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from persisting._engine.trajectory import Trajectories


class Into(Protocol):
    """Where a sample is written to."""

    @property
    def addresses(self) -> np.ndarray:
        """Of its parts, as `persisting_sampler_sample` wants them: an array of int64."""


class Sampler(Handle):
    """What draws steps by a law. Its methods may be called from any thread; nobody has to close it.

    Parameters
    ----------
    store
        Whose steps are drawn. It is kept alive.
    law
        See `persisting_sampler_open`.
    """

    position = method(functions.sampler_position)
    refresh = method(functions.sampler_refresh)
    wait = method(functions.sampler_wait)
    wait_for_room = method(functions.sampler_wait_for_room)

    def __init__(self, store: Trajectories, law: Mapping[str, Any]) -> None:
        self._store = store
        number = store._use(functions.sampler_open, law)
        super().__init__(number, functions.sampler_close, "")

    def sample(self, draws: int, oldest: int, into: Into) -> int:
        """Draw steps of a version or later, and return how many were drawn."""
        at = into.addresses
        return self._use(functions.sampler_sample, draws, oldest, at.ctypes.data, len(at))
