"""Steps of episodes: written once each, kept through crashes, read as arrays.

A rollout worker writes the steps of an episode as it goes, and a trainer reads episodes, or steps
that an SQL filter chooses. It needs numpy.
"""

from persisting._errors import DuplicateError
from persisting.trajectory._columns import Column
from persisting.trajectory._store import Episode, Lease, TrajectoryStore
from persisting.trajectory._writer import AsyncWriter, Writer

__all__ = [
    "AsyncWriter",
    "Column",
    "DuplicateError",
    "Episode",
    "Lease",
    "TrajectoryStore",
    "Writer",
]
