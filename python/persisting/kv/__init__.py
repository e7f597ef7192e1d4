"""A bounded store of blocks on disk, for caches: of attention keys and values above all.

Examples
--------
>>> import tempfile
>>> from persisting.kv import KVStore
>>> with KVStore(tempfile.mkdtemp(), capacity="64 MiB") as store:
...     store.set("block 1", b"some bytes")
...     store.get("block 1")
True
b'some bytes'
"""

from persisting.kv._store import KVStore

__all__ = ["KVStore"]
