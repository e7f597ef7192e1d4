"""Durable queues, and the storage backends of Pulsing's.

Examples
--------
>>> from pulsing.streaming import register_backend  # pulsing.queue in Pulsing 0.1.0
>>> from persisting.queue import PersistingBackend
>>> register_backend("persisting", PersistingBackend)
"""

from persisting.queue._backend import LanceBackend, PersistingBackend
from persisting.queue._columns import to_tensordict
from persisting.queue._kv import KVInterface
from persisting.queue._queue import Queue, QueueReader, QueueWriter
from persisting.queue.metadata import BatchMeta, FieldMeta, SampleMeta

__all__ = [
    "BatchMeta",
    "FieldMeta",
    "KVInterface",
    "LanceBackend",
    "PersistingBackend",
    "Queue",
    "QueueReader",
    "QueueWriter",
    "SampleMeta",
    "to_tensordict",
]
