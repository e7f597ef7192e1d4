"""Steps of episodes: written once each, kept through crashes, read as arrays.

A rollout worker writes the steps of an episode as it goes, and a trainer draws batches of steps by
a sampler, or reads episodes, or steps that an SQL filter chooses. It needs numpy.
"""

from persisting._errors import DuplicateError
from persisting.trajectory._batch import Batch
from persisting.trajectory._columns import Column
from persisting.trajectory._sampler import Groups, NStep, Sampler, Slices, Steps
from persisting.trajectory._store import Episode, TrajectoryStore
from persisting.trajectory._writer import AsyncWriter, Writer

__all__ = [
    "AsyncWriter",
    "Batch",
    "Column",
    "DuplicateError",
    "Episode",
    "Groups",
    "NStep",
    "Sampler",
    "Slices",
    "Steps",
    "TrajectoryStore",
    "Writer",
]
