"""Stores of bytes that a user would pick instead, each opened for puts of single values."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sqlite3
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.environments import NATS_SERVER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.model import Run

NATS_CONFIGURATION = """
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{store}", sync_interval: always, max_file_store: 100GB }}
"""


class Sqlite:
    """A table with one column of bytes; each put is a transaction.

    Parameters
    ----------
    path
        Directory of the database.
    synchronous
        SQLite's setting: "FULL" syncs at each commit, "NORMAL" at checkpoints.
    """

    def __init__(self, path: Path, synchronous: str) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            path / "queue.sqlite", isolation_level=None, check_same_thread=False
        )
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"PRAGMA synchronous = {synchronous}")
        self._database.execute("CREATE TABLE queue (number INTEGER PRIMARY KEY, record BLOB)")

    def put(self, value: bytes) -> None:
        """Store one value."""
        with self._lock:
            self._database.execute("INSERT INTO queue (record) VALUES (?)", (value,))

    def put_batch(self, values: Sequence[bytes]) -> None:
        """Store values in one transaction."""
        with self._lock, self._database:
            self._database.execute("BEGIN")
            insert = "INSERT INTO queue (record) VALUES (?)"
            self._database.executemany(insert, [(value,) for value in values])

    def close(self) -> None:
        """Close the database."""
        self._database.close()


class Rocks:
    """RocksDB with numbers for keys.

    Parameters
    ----------
    path
        Directory of the database.
    sync
        Whether each write is synced.
    """

    def __init__(self, path: Path, *, sync: bool) -> None:
        from rocksdict import Options, Rdict, WriteBatch, WriteOptions  # type: ignore[import-not-found]

        self._database = Rdict(str(path / "rocks"), Options(raw_mode=True))
        self._options = WriteOptions()
        self._options.sync = sync
        self._batch: Callable[..., Any] = WriteBatch
        self._lock = threading.Lock()
        self._number = 0

    def put(self, value: bytes) -> None:
        """Store one value."""
        self._database.put(self._key(), value, write_opt=self._options)

    def put_batch(self, values: Sequence[bytes]) -> None:
        """Store values in one write."""
        batch = self._batch(raw_mode=True)
        for value in values:
            batch.put(self._key(), value)
        self._database.write(batch, self._options)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _key(self) -> bytes:
        with self._lock:
            self._number += 1
            return self._number.to_bytes(8, "big")


class RawFile:
    """Writes at the end of a file whose blocks are there already, each with fdatasync.

    Parameters
    ----------
    path
        Directory of the file.
    """

    SIZE = 64 << 20

    def __init__(self, path: Path) -> None:
        self._file = os.open(path / "raw", os.O_RDWR | os.O_CREAT)
        os.write(self._file, bytes(self.SIZE))
        os.fsync(self._file)
        self._end = 0

    def put(self, value: bytes) -> None:
        """Write one value and sync."""
        os.pwrite(self._file, value, self._end % (self.SIZE - len(value)))
        self._end += len(value)
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


@contextlib.contextmanager
def nats_server(run: Run) -> Iterator[str]:
    """Run a NATS server with a file store that syncs at each write, and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = run.path / "nats.conf"
    configuration.write_text(NATS_CONFIGURATION.format(port=port, store=run.path / "store"))
    with (run.path / "nats.log").open("wb") as log:
        command = [str(NATS_SERVER), "-c", str(configuration)]
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        run.servers.append(server.pid)
        yield f"nats://127.0.0.1:{port}"
    finally:
        run.servers.clear()
        server.terminate()
        server.wait()


@contextlib.asynccontextmanager
async def jetstream(address: str) -> AsyncIterator[Any]:
    """Connect to a NATS server and yield a JetStream context with a stream for `queue`."""
    import nats  # type: ignore[import-not-found]

    client = await nats.connect(address)
    try:
        context = client.jetstream()
        await context.add_stream(name="queue", subjects=["queue"], storage="file")
        yield context
    finally:
        await client.close()
        await asyncio.sleep(0)
