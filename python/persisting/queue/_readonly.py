"""Reading a bucket that another process may have open."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

from persisting import _arguments
from persisting._engine.bucket import Bucket
from persisting._errors import ClosedError, WouldBlockError
from persisting._loop.threads import on_thread
from persisting._observe import logs
from persisting._records import visible
from persisting.queue._backend import LanceBackend
from persisting.queue._reads import Reads

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator

    import pyarrow as pa
    from typing_extensions import Self

# Seconds between two looks of a stream that waits, which double while nothing comes. A look takes
# 0.12 ms, and wakes threads that take longer: one each 20 ms took 7 % of a processor, these 1.2 %.
_SHORTEST, _LONGEST = 0.005, 0.1


class ReadOnlyBucket(Reads):
    """A bucket that is open for reading; `open_readonly` makes one.

    It has the methods of `PersistingBackend` that read. Those that write are not there.
    """

    def __init__(self, path: str | bytes | os.PathLike[Any], batch_size: int) -> None:
        self.batch_size = _arguments.integer("batch_size", batch_size, 1)
        self.storage_path = _arguments.path("path", path)
        logs.start()
        self._bucket = Bucket(self.storage_path, None)
        self._total = self._bucket.acknowledged()
        self._begin_reads()

    def __getattr__(self, name: str) -> Any:
        if hasattr(LanceBackend, name):
            raise AttributeError(
                f"{name}: the bucket {self.storage_path} is open for reading only; "
                "PersistingBackend opens it to write, in one process at a time",
                name=name,
                obj=self,
            )
        raise AttributeError(f"ReadOnlyBucket has no {name}", name=name, obj=self)

    async def _renew(self) -> None:
        """See what was acknowledged before the call."""
        self._check_open()
        try:
            self._total = self._bucket.renew(no_wait=True)
        except WouldBlockError:
            self._total = await on_thread(self._bucket.renew)

    # ---- reads, which are in the base class ----

    async def get(self, limit: int, offset: int) -> list[dict[str, Any]]:
        """Return records; see `LanceBackend.get`."""
        await self._renew()
        return await super().get(limit, offset)

    async def get_arrow(
        self, limit: int | None = None, offset: int = 0, *, with_offsets: bool = False
    ) -> pa.Table:
        """Return the records that are left as a table; see `LanceBackend.get_arrow`."""
        await self._renew()
        return await super().get_arrow(limit, offset, with_offsets=with_offsets)

    async def get_stream(
        self, limit: int, offset: int, wait: bool = False, timeout: float | None = None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield records in lists; see `LanceBackend.get_stream`.

        With `wait`, a record of another process is seen at most 0.1 s after it was put.
        """
        await self._renew()
        async for records in super().get_stream(limit, offset, wait, timeout):
            yield records

    async def _more(self, timeout: float | None) -> bool:
        before, until = self._total, time.monotonic() + (timeout or math.inf)
        pause = _SHORTEST
        while self._total <= before:
            left = until - time.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(pause, left))
            await self._renew()
            pause = min(2 * pause, _LONGEST)
        return True

    @property
    def schema(self) -> pa.Schema:
        """The columns of the bucket (pyarrow.Schema); may wait for the disk."""
        self.total_count()
        return visible(self._bucket.schema())

    def total_count(self) -> int:
        """Return the offset after the last record; may wait for the disk."""
        self._check_open()
        self._total = self._bucket.renew()
        return self._total

    async def stats(self) -> dict[str, Any]:
        """Return the state of the bucket; see `LanceBackend.stats`.

        `in_use_by` says which process has it open, and is absent where none has.
        """
        self._check_open()
        return await on_thread(self._bucket.stats)

    # ---- the end ----

    def close(self) -> None:
        """Let go of the bucket; a second call does nothing."""
        self._bucket.close()

    async def aclose(self) -> None:
        """Let go of the bucket, without blocking the event loop."""
        await on_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    def _check_open(self) -> None:
        if self._bucket.closed:
            raise ClosedError(f"the bucket {self.storage_path} is closed")


def open_readonly(path: str | bytes | os.PathLike[Any], batch_size: int = 100) -> ReadOnlyBucket:
    """Open a bucket for reading, which another process may have open at the same time.

    Parameters
    ----------
    path
        Directory of the bucket: the `storage_path` of a backend, or `bucket_0` and so on below that
        of a Pulsing queue. This process need not be allowed to write there.
    batch_size
        Most records in a list that `get_stream` yields.

    Returns
    -------
    ReadOnlyBucket
        Has the methods of `PersistingBackend` that read: `get`, `get_arrow`, `get_by_indices`,
        `get_stream`, `query` and its relatives, `schema`, `total_count`, `stats`, `consumers`,
        `list_versions`, `at`. Use it in a `with` statement, from one event loop.

    Raises
    ------
    NotFoundError
        There is no bucket.
    WALError, CorruptError, StorageError
        It is damaged; the errors are those of opening it to write.

    Notes
    -----
    Opening reads the disk. It takes no lock, and changes nothing on any disk. The other process may
    put, flush, compact, remove, change columns, crash and come back meanwhile.

    Each call sees every record that was acknowledged before the call began, whatever became of it
    since: whether it is in `puts.ring`, in the log or in Lance. It may see records that are written
    and not acknowledged yet. Of a bucket without a log it sees what is flushed: the rest is in the
    memory of the other process.

    A repair that goes back to an older version, and a directory that is made anew, end the use of
    it: calls raise PoisonedError, and it can be opened again.

    Examples
    --------
    >>> import persisting
    >>> with persisting.open_readonly("./rollouts/bucket_0") as bucket:  # doctest: +SKIP
    ...     print(bucket.total_count(), bucket.schema)
    """
    return ReadOnlyBucket(path, batch_size)
