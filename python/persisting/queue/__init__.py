"""Durable storage backends for Pulsing queues.

Examples
--------
>>> from pulsing.streaming import register_backend  # pulsing.queue in Pulsing 0.1.0
>>> from persisting.queue import PersistingBackend
>>> register_backend("persisting", PersistingBackend)
"""

from persisting.queue._backend import LanceBackend, PersistingBackend

__all__ = ["LanceBackend", "PersistingBackend"]
