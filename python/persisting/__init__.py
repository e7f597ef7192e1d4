"""Persisting: durable storage for AI workloads.

A bucket is an ordered, append-only sequence of records in one directory: a Lance table
behind a write-ahead log. `persisting.queue` gives Pulsing queues buckets to keep their
records in.
"""

from importlib.metadata import version as _version

from persisting._errors import (
    ClosedError,
    PersistingError,
    SchemaError,
    StorageError,
    WALError,
)
from persisting._memory import set_memory_budget
from persisting.queue import (
    BatchMeta,
    KVInterface,
    LanceBackend,
    PersistingBackend,
    Queue,
    QueueReader,
    QueueWriter,
)
from persisting.queue._readonly import open_readonly
from persisting.sampler import (
    BaseSampler,
    GRPOGroupNSampler,
    RankAwareSampler,
    SequentialSampler,
    get_sampled_batch,
)

__version__ = _version("persisting")

__all__ = [
    "BaseSampler",
    "BatchMeta",
    "ClosedError",
    "GRPOGroupNSampler",
    "KVInterface",
    "LanceBackend",
    "PersistingBackend",
    "PersistingError",
    "Queue",
    "QueueReader",
    "QueueWriter",
    "RankAwareSampler",
    "SchemaError",
    "SequentialSampler",
    "StorageError",
    "WALError",
    "__version__",
    "get_sampled_batch",
    "open_readonly",
    "set_memory_budget",
]
