"""Queue: the records of a topic, of this process alone or of a cluster of Pulsing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from persisting import _arguments
from persisting._errors import InvalidArgumentError
from persisting.queue._places import Here, Remote
from persisting.queue.metadata import BatchMeta

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from typing_extensions import Self

    from persisting.sampler import BaseSampler

_ZEROCOPY_MODES = ("auto", "off")


class Queue:
    """A durable queue of records, with the methods of persisting 0.3.0.

    Where `pulsing.init()` was awaited before, the records are in buckets of a Pulsing queue, which
    every process of the cluster reaches by the name; else in one bucket that this process owns.

    Parameters
    ----------
    name
        The topic.
    storage_path
        A directory; the records are in the directory `name` in it.
    batch_size
        Most records in a list that `stream` yields.
    auto_flush_interval_sec
        Seconds after which records are moved from the log into Lance; 0 waits until there are many.
        They are durable before that as well.
    enable_metrics
        Whether to count and to time.
    num_buckets
        Buckets of the Pulsing queue.
    bucket_column
        The field of which Pulsing takes the bucket of a record that is put as a dict. Batches go to
        the bucket of their partition.
    zerocopy_mode
        "auto" or "off", which are the same here: tensors and arrays are columns in any case.
    backend_options
        Further options of `PersistingBackend`.

    Raises
    ------
    InvalidArgumentError
        The name is empty, an option is unknown or out of range, or the directory has records that
        were put the other way, with Pulsing or without it.
    LockedError, WALError, CorruptError, StorageError
        As `PersistingBackend`; through Pulsing the log has them, and a call fails.

    Notes
    -----
    An acknowledged put survives the end of the process, and a power failure after
    `wal_sync_interval`. So do what tasks have consumed, and keys and tags of `KVInterface`.

    A partition is a way to a bucket, not a wall within it: tasks of two partitions that share one
    take other names.
    """

    def __init__(
        self,
        name: str,
        storage_path: str = "./data",
        *,
        batch_size: int = 100,
        auto_flush_interval_sec: float = 0.0,
        enable_metrics: bool = False,
        num_buckets: int = 4,
        bucket_column: str = "id",
        zerocopy_mode: str = "auto",
        backend_options: Mapping[str, Any] | None = None,
    ) -> None:
        if not _arguments.text("name", name):
            raise InvalidArgumentError("name: want a string that is not empty, got ''")
        if zerocopy_mode not in _ZEROCOPY_MODES:
            raise InvalidArgumentError(
                f'zerocopy_mode: want "auto" or "off", got {zerocopy_mode!r}: objects are stored '
                "as columns, never as they pickle themselves"
            )
        self.name = name
        options = {
            "auto_flush_interval_sec": auto_flush_interval_sec,
            "enable_metrics": enable_metrics,
            **(backend_options or {}),
        }
        path = f"{storage_path}/{name}"
        self._place: Here | Remote
        if _has_pulsing():
            self._place = Remote(name, path, num_buckets, bucket_column, batch_size, options)
        else:
            self._place = Here(path, batch_size, options)

    async def put(
        self, data: Any, partition_id: str = "default", fields: Sequence[str] | None = None
    ) -> BatchMeta | None:
        """Store a record, a list of records, or a batch.

        Parameters
        ----------
        data
            A dict is a record, a list of dicts are records. A TensorDict is a batch; each row of
            it is a record.
        partition_id
            Of a batch.
        fields
            Not used.

        Returns
        -------
        BatchMeta or None
            The offsets of a batch. None for records.

        Raises
        ------
        SchemaError
            A record cannot be held exactly, or does not fit those before. It is a TypeError.
            Through Pulsing it is a PulsingError with its text.
        """
        if isinstance(data, dict) or (isinstance(data, list) and data):
            await self._place.put(data)
            return None
        return await self._place.put_tensor(data, partition_id)

    async def put_batch(self, records: list[dict[str, Any]], partition_id: str = "default") -> None:
        """Store records; `partition_id` is not used."""
        await self._place.put(records)

    async def flush(self) -> None:
        """Move the records into Lance; see `PersistingBackend.flush`."""
        await self._place.flush()

    async def get(self, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """Read records.

        Parameters
        ----------
        limit
            Most records.
        offset
            Where to begin; records that were removed are passed over. Through Pulsing it is 0,
            reads of this queue go on where the last one ended, in each bucket, and one that
            comes upon a removed record fails.

        Raises
        ------
        InvalidArgumentError
            Through Pulsing, `offset` is not 0.
        """
        return await self._place.get(limit, offset)

    async def get_meta(
        self,
        fields: Sequence[str],
        batch_size: int,
        task_name: str = "default",
        partition_id: str = "default",
        sampler: BaseSampler | None = None,
        **sampling_kwargs: Any,
    ) -> BatchMeta:
        """Choose records for a task, which has consumed them then.

        See `PersistingBackend.get_meta`. Through Pulsing the sampler is pickled for each call, so
        what it remembers stays in the call.
        """
        bucket = await self._place.bucket(partition_id)
        meta = await bucket.get_meta(
            fields=[*fields],
            batch_size=batch_size,
            task_name=task_name,
            sampler=sampler,
            partition_id=partition_id,
            **sampling_kwargs,
        )
        return meta if isinstance(meta, BatchMeta) else BatchMeta.from_dict(meta)

    async def get_data(self, batch_meta: BatchMeta, partition_id: str = "default") -> Any:
        """Read the fields that a batch names, all if it names none; a list of dicts.

        Records that were removed are left out, and so are fields that a record lacks.
        """
        bucket = await self._place.bucket(partition_id)
        fields = batch_meta.field_names or None
        return await bucket.get_data({"global_indexes": batch_meta.global_indexes}, fields=fields)

    async def get_batch(
        self,
        fields: Sequence[str],
        batch_size: int,
        task_name: str = "default",
        partition_id: str = "default",
        sampler: BaseSampler | None = None,
        **sampling_kwargs: Any,
    ) -> Any:
        """Choose records for a task, and read them: `get_meta`, then `get_data`."""
        meta = await self.get_meta(
            fields, batch_size, task_name, partition_id, sampler, **sampling_kwargs
        )
        return await self.get_data(meta, partition_id) if meta.size else []

    async def mark_consumed(
        self, task_name: str, global_indexes: Sequence[int], partition_id: str = "default"
    ) -> None:
        """Note that a task has consumed records of the bucket of a partition."""
        bucket = await self._place.bucket(partition_id)
        await bucket.mark_consumed(task_name, [*global_indexes])

    async def reset_consumption(self, task_name: str, partition_id: str = "default") -> None:
        """Forget what a task has consumed in the bucket of a partition."""
        bucket = await self._place.bucket(partition_id)
        await bucket.reset_consumption(task_name)

    async def clear(self, global_indexes: Sequence[int], partition_id: str = "default") -> None:
        """Remove records of the bucket of a partition; the others keep their indexes."""
        bucket = await self._place.bucket(partition_id)
        await bucket.clear([*global_indexes])

    async def stream(
        self,
        limit: int = 100,
        offset: int = 0,
        wait: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield records in lists.

        Parameters
        ----------
        limit
            Most records.
        offset
            As of `get`.
        wait
            Whether to wait for records at the end.
        timeout
            Seconds to wait for the next ones; None is for ever.
        """
        async for records in self._place.stream(limit, offset, wait, timeout):
            yield records

    async def stats(self) -> dict[str, Any]:
        """Return the state of the bucket, or of the buckets that were reached so far."""
        return await self._place.stats()

    def writer(self) -> QueueWriter:
        """Return what only puts."""
        return QueueWriter(self)

    def reader(self) -> QueueReader:
        """Return what only reads."""
        return QueueReader(self)

    def __len__(self) -> int:
        """Return the number of records that were ever put; through Pulsing that is not known.

        Raises
        ------
        TypeError
            Through Pulsing: `stats` says it.
        """
        return self._place.total_count()

    def __bool__(self) -> bool:
        return True

    def close(self) -> None:
        """Flush and close; a second call does nothing. In a coroutine, await `aclose` instead.

        Through Pulsing the buckets stay open until its system ends.
        """
        self._place.close()

    async def aclose(self) -> None:
        """Flush and close without blocking the event loop."""
        await self._place.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()


class QueueWriter:
    """What only puts.

    Parameters
    ----------
    queue
        The queue.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    async def put(
        self, data: Any, partition_id: str = "default", fields: Sequence[str] | None = None
    ) -> BatchMeta | None:
        """Store records or a batch; see `Queue.put`."""
        return await self.queue.put(data, partition_id, fields)

    async def put_batch(self, records: list[dict[str, Any]], partition_id: str = "default") -> None:
        """Store records; see `Queue.put_batch`."""
        await self.queue.put_batch(records, partition_id)

    async def flush(self) -> None:
        """Move the records into Lance; see `Queue.flush`."""
        await self.queue.flush()


class QueueReader:
    """What only reads, for tasks.

    Parameters
    ----------
    queue
        The queue.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    async def get_meta(
        self,
        fields: Sequence[str],
        batch_size: int,
        task_name: str = "default",
        partition_id: str = "default",
        sampler: BaseSampler | None = None,
        **sampling_kwargs: Any,
    ) -> BatchMeta:
        """Choose records for a task; see `Queue.get_meta`."""
        return await self.queue.get_meta(
            fields, batch_size, task_name, partition_id, sampler, **sampling_kwargs
        )

    async def get_data(self, batch_meta: BatchMeta, partition_id: str = "default") -> Any:
        """Read a batch; see `Queue.get_data`."""
        return await self.queue.get_data(batch_meta, partition_id)

    async def get_batch(
        self,
        fields: Sequence[str],
        batch_size: int,
        task_name: str = "default",
        partition_id: str = "default",
        sampler: BaseSampler | None = None,
        **sampling_kwargs: Any,
    ) -> Any:
        """Choose records for a task, and read them; see `Queue.get_batch`."""
        return await self.queue.get_batch(
            fields, batch_size, task_name, partition_id, sampler, **sampling_kwargs
        )

    async def reset(self, task_name: str = "default", partition_id: str = "default") -> None:
        """Forget what a task has consumed; see `Queue.reset_consumption`."""
        await self.queue.reset_consumption(task_name, partition_id)


def _has_pulsing() -> bool:
    """Say whether the program has started Pulsing's global system."""
    pulsing = sys.modules.get("pulsing")
    return pulsing is not None and bool(pulsing.is_initialized())
