"""Where the records of a queue are: in a bucket of this process, or in those of Pulsing."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError, RemovedError
from persisting.queue._backend import PersistingBackend
from persisting.queue.metadata import BatchMeta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    Records = dict[str, Any] | list[dict[str, Any]]

_BACKEND = "persisting"


class Here:
    """One bucket, which this process has open.

    Parameters
    ----------
    path
        Its directory.
    batch_size
        Most records in a list of a stream.
    options
        Those of `PersistingBackend`.
    """

    def __init__(self, path: str, batch_size: int, options: Mapping[str, Any]) -> None:
        if any(Path(path).glob("bucket_[0-9]*")):
            raise InvalidArgumentError(
                f"{path} has buckets of Pulsing: await pulsing.init() before the queue is made"
            )
        self._backend = PersistingBackend(0, path, batch_size, **options)
        self.total_count = self._backend.total_count
        self.flush = self._backend.flush
        self.stats = self._backend.stats
        self.close = self._backend.close
        self.aclose = self._backend.aclose

    async def bucket(self, partition_id: str) -> Any:
        """Return what has the methods of a bucket: the backend, for all partitions."""
        return self._backend

    async def put(self, data: Records) -> None:
        """Store a record or a list of them."""
        if isinstance(data, dict):
            await self._backend.put(data)
        else:
            await self._backend.put_batch(data)

    async def put_tensor(self, data: Any, partition_id: str) -> BatchMeta:
        """Store a batch."""
        return await self._backend.put_tensor(data, partition_id)

    async def get(self, limit: int, offset: int) -> list[dict[str, Any]]:
        """Read records; those that were removed are passed over."""
        lists = self.stream(limit, offset, wait=False, timeout=None)
        return [record async for records in lists for record in records]

    async def stream(
        self, limit: int, offset: int, wait: bool, timeout: float | None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield records in lists; those that were removed are passed over."""
        at = offset if offset >= 0 else max(self.total_count() + offset, 0)
        while True:
            try:
                async for records in self._backend.get_stream(limit, at, wait, timeout):
                    yield records
                    at += len(records)
                    limit -= len(records)
            except RemovedError:
                at = self._backend.first_offset(at)
            else:
                return


class Remote:
    """The buckets of a Pulsing queue, each of which is an actor on one of its nodes.

    Parameters
    ----------
    topic
        Name of the queue.
    path
        The directory of the buckets.
    num_buckets
        How many there are.
    bucket_column
        The field by which records find theirs.
    batch_size
        Most records in a list of a stream.
    options
        Those of `PersistingBackend`.
    """

    def __init__(
        self,
        topic: str,
        path: str,
        num_buckets: int,
        bucket_column: str,
        batch_size: int,
        options: Mapping[str, Any],
    ) -> None:
        import pulsing
        from pulsing.streaming import register_backend

        if (Path(path) / "bucket.json").exists():
            raise InvalidArgumentError(
                f"{path} is a bucket that was written without Pulsing: make the queue before "
                "pulsing.init(), or give another storage_path"
            )
        register_backend(_BACKEND, PersistingBackend)
        self._batch_size = batch_size
        self._asked = {
            "system": pulsing.get_system(),
            "topic": topic,
            "num_buckets": num_buckets,
            "storage_path": path,
            "backend": _BACKEND,
            "backend_options": dict(options),
        }
        self._bucket_column = bucket_column
        self._opening = asyncio.Lock()
        self._writer: Any = None
        self._reader: Any = None

    async def _writing(self) -> Any:
        async with self._opening:
            if self._writer is None:
                from pulsing.streaming import write_queue

                self._writer = await write_queue(
                    **self._asked, bucket_column=self._bucket_column, batch_size=self._batch_size
                )
        return self._writer

    async def _reading(self) -> Any:
        async with self._opening:
            if self._reader is None:
                from pulsing.streaming import read_queue

                self._reader = await read_queue(**self._asked)
        return self._reader

    async def bucket(self, partition_id: str) -> Any:
        """Return what has the methods of a bucket: the actor of that of the partition."""
        queue = (await self._writing()).queue
        return await queue._ensure_bucket(queue.get_bucket_id(partition_id))

    async def put(self, data: Records) -> None:
        """Store a record or a list of them, each in its bucket."""
        await (await self._writing()).put(data)

    async def put_tensor(self, data: Any, partition_id: str) -> BatchMeta:
        """Store a batch; the actor keeps to itself where it is, so that is asked for."""
        bucket, receipt = await self.bucket(partition_id), uuid.uuid4().hex
        await bucket.put_tensor(data, partition_id=partition_id, receipt=receipt)
        return BatchMeta.from_dict(
            await bucket.get_meta([], 0, "", partition_id=partition_id, lookup={"receipt": receipt})
        )

    async def flush(self) -> None:
        """Flush the buckets that were reached."""
        await (await self._writing()).flush()

    async def get(self, limit: int, offset: int) -> list[dict[str, Any]]:
        """Read on."""
        if offset:
            raise InvalidArgumentError(
                f"offset: want 0, got {offset}: each bucket has offsets of its own, and reads "
                "through Pulsing go on where the last one ended"
            )
        records: list[dict[str, Any]] = await (await self._reading()).get(limit=limit)
        return records

    async def stream(
        self, limit: int, offset: int, wait: bool, timeout: float | None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Read on, list by list."""
        if offset:
            await self.get(0, offset)
        reader, left = await self._reading(), limit
        while left > 0:
            most = min(left, self._batch_size)
            records = await reader.get(limit=most, wait=wait, timeout=timeout)
            if not records:
                return
            yield records
            left -= len(records)

    async def stats(self) -> dict[str, Any]:
        """Return the state of the buckets that were reached."""
        stats: dict[str, Any] = await (await self._writing()).queue.stats()
        return stats

    def total_count(self) -> int:
        """Refuse: only the actors know it."""
        raise TypeError("a queue through Pulsing has no len(): its stats() have total_count")

    def close(self) -> None:
        """Leave the buckets to Pulsing."""

    async def aclose(self) -> None:
        """Leave the buckets to Pulsing."""
