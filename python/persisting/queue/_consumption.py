"""The tensor API of Pulsing: batches of records for tasks that consume each of them once."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from persisting import _arguments
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting._loop.threads import on_thread
from persisting._observe import logs
from persisting.queue._columns import rows_of, stacked
from persisting.queue._ready import Ready
from persisting.queue.metadata import READY, BatchMeta, FieldMeta

if TYPE_CHECKING:
    import threading

    from persisting._engine.bucket import Bucket
    from persisting.queue._keys import Keys
    from persisting.sampler import BaseSampler

_RECEIPTS = 1024


class Consumption(ABC):
    """The methods by which tasks consume the records of a backend.

    Notes
    -----
    A record is ready for a task once it has a value, other than None, in each of the fields that
    the task asks for, and until the task has consumed it or it was removed. What tasks have
    consumed is durable: it is acknowledged as a put to a log is, so it survives the end of the
    process at once, and a power failure after `wal_sync_interval`, for `LanceBackend` as well.
    Indexes are offsets, which never change. A record that is lost at a crash, as those of
    `LanceBackend` can be, is not consumed either.

    `get_meta` consumes what it gives. Two calls for one task never give the same record, whichever
    tasks, threads or clients of Pulsing they come from.
    """

    _taking: threading.Lock  # held while a task looks at what is ready, and consumes of it
    _keys: Keys
    _receipts: dict[str, BatchMeta]  # of batches that were put and not asked for again

    @abstractmethod
    def total_count(self) -> int:
        """Return the offset of the next record."""

    @abstractmethod
    def _consumed(self) -> Bucket:
        """Return the open bucket."""

    @abstractmethod
    async def put_batch(self, records: Sequence[dict[str, Any]]) -> None:
        """Store records."""

    @abstractmethod
    async def _settled(self) -> int:
        """Wait until all that was put is stored or refused; return the offset that comes next."""

    @abstractmethod
    async def get_by_indices(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return the records at offsets."""

    async def put_tensor(
        self,
        data: Any,
        partition_id: str = "default",
        *,
        custom_meta: Mapping[int, dict[str, Any]] | None = None,
        receipt: str | None = None,
    ) -> BatchMeta:
        """Store a batch, one record for each row.

        Parameters
        ----------
        data
            A dict of columns (tensors, arrays or lists, the first dimension of which is the row),
            a list of records, or a TensorDict.
        partition_id
            What the batch is asked for in; it is repeated in the result.
        custom_meta
            Repeated in the result; not stored.
        receipt
            A name, given once, under which `get_meta` returns the result again: Pulsing's actor
            keeps it to itself. The newest 1,024 are kept, in memory.

        Returns
        -------
        BatchMeta
            The offsets of the records, and their fields.

        Raises
        ------
        SchemaError
            `data` is none of these, or as `put_batch`.
        """
        rows = rows_of(data)
        first = await self._settled()
        await self.put_batch(rows)
        fields = [_field(name, value) for name, value in (rows[0] if rows else {}).items()]
        meta = BatchMeta.of(partition_id, range(first, first + len(rows)), fields)
        meta.custom_meta.update(custom_meta or {})
        if receipt is not None:
            self._receipts[receipt] = meta
            while len(self._receipts) > _RECEIPTS:
                del self._receipts[next(iter(self._receipts))]
        return meta

    async def get_meta(
        self,
        fields: Sequence[str],
        batch_size: int,
        task_name: str = "default",
        sampler: BaseSampler | None = None,
        *,
        lookup: Mapping[str, Any] | None = None,
        **sampling: Any,
    ) -> BatchMeta:
        """Choose records that are ready for a task, which has consumed them then.

        Parameters
        ----------
        fields
            Fields that the records have; none of them is ready where there is no such field.
        batch_size
            How many; fewer where fewer are ready.
        task_name
            The task.
        sampler
            Chooses instead of the order of the offsets. Its `sample` is called, on a thread, with a
            sequence of the offsets that are ready, which is none of Python ints, `batch_size` and
            `sampling`, and returns those to read and those that are consumed.
        lookup
            Says which records instead, of which none is consumed: `{"receipt": name}` those of a
            `put_tensor`; `{"keys": list}` those that have keys in the partition, without the keys
            that no record has, and with None for the list all of them, with `"earlier": True`
            those as well that have no key any more because a newer record has it. Key and tag are
            in `custom_meta`.
        **sampling
            What the sampler needs, and `partition_id`.

        Returns
        -------
        BatchMeta
            The offsets and fields. Nothing was read.

        Raises
        ------
        InvalidArgumentError
            The name of the task is empty or longer than 1,024 bytes, the size negative, or
            `lookup` is none of these.
        NotFoundError
            A sampler chose an offset that there is not, or there is no such receipt.
        PoisonedError, ClosedError
            As `put`.
        """
        names = [*fields]
        size = _arguments.integer("batch_size", batch_size, 0)
        partition = sampling.get("partition_id", "default")
        if lookup is not None:
            return await self._found(lookup, partition, names)
        bucket, rows = self._consumed(), self.total_count()

        def take() -> Sequence[int]:
            with self._taking:
                return bucket.take_ready(task_name, names, size)

        def sample() -> Sequence[int]:
            assert sampler is not None
            with self._taking:
                ready = Ready(bucket.ready(task_name, names, rows))
                given = _given(sampler, task_name, sampling)
                chosen, consumed = sampler.sample(ready, size, **given)
                bucket.mark(task_name, consumed)
                return chosen

        chosen = await on_thread(take if sampler is None else sample)
        return BatchMeta.of(partition, chosen, names)

    async def _found(
        self, lookup: Mapping[str, Any], partition: str, fields: list[str]
    ) -> BatchMeta:
        self._consumed()  # it is open
        if lookup.keys() == {"receipt"}:
            meta = self._receipts.pop(lookup["receipt"], None)
            if meta is None:
                raise NotFoundError(f"there is no receipt {lookup['receipt']!r} any more")
            return meta
        if "keys" not in lookup or not lookup.keys() <= {"keys", "earlier"}:
            wanted = '{"receipt": name} or {"keys": list, "earlier": bool}'
            raise InvalidArgumentError(f"lookup: want {wanted}, got {dict(lookup)}")
        earlier = bool(lookup.get("earlier"))
        found = await on_thread(lambda: self._keys.find(partition, lookup["keys"], earlier=earlier))
        meta = BatchMeta.of(partition, [offset for _, offset, _ in found], fields)
        meta.custom_meta.update({at: {"key": key, "tag": tag} for key, at, tag in found})
        return meta

    async def get_data(
        self,
        batch_meta: BatchMeta | Mapping[str, Any],
        fields: Sequence[str] | None = None,
        *,
        stack: bool = False,
    ) -> Any:
        """Read the records of a batch.

        Parameters
        ----------
        batch_meta
            What `get_meta` or `put_tensor` returned, or the dict of it.
        fields
            Fields to return; None is all.
        stack
            Whether to return columns, in which tensors and arrays of one shape are one.

        Returns
        -------
        list of dict, or dict
            The records in the order of the batch, without fields that they lack; or the columns.
            Records that were removed are left out, which is logged.
        """
        indexes = _indexes(batch_meta)
        try:
            records = await self.get_by_indices(indexes)
        except NotFoundError:
            bucket = self._consumed()
            there = await on_thread(lambda: [i for i in indexes if _is_there(bucket, i)])
            logs.left_out(len(indexes) - len(there), len(indexes))
            records = await self.get_by_indices(there)
        if fields is not None:
            wanted = {*fields}
            records = [
                {name: value for name, value in record.items() if name in wanted}
                for record in records
            ]
        return stacked(records) if stack else records

    async def mark_consumed(self, task_name: str, global_indexes: Sequence[int]) -> None:
        """Note that a task has consumed the records at offsets.

        Raises
        ------
        NotFoundError
            There never was a record at an offset.
        """
        await on_thread(self._consumed().mark, task_name, [*global_indexes])

    async def reset_consumption(self, task_name: str) -> None:
        """Forget what a task has consumed: all records are ready for it again."""
        await on_thread(self._consumed().unmark, task_name)

    async def consumption(self) -> dict[str, int]:
        """Return how many records each task has consumed."""
        return await on_thread(self._consumed().marked)

    async def clear(self, global_indexes: Sequence[int]) -> None:
        """Remove the records at offsets, as `delete` does, and what tasks have consumed of them.

        Those that were removed before are passed over, and the others keep their offsets. Each call
        flushes and makes a version of the table: clear many at a time.

        Raises
        ------
        NotFoundError
            There never was a record at an offset.
        """
        await on_thread(self._consumed().clear, [*global_indexes])


def _given(sampler: BaseSampler, task: str, sampling: dict[str, Any]) -> dict[str, Any]:
    """Return what a sampler is called with: task and partition too, if it takes them."""
    known = inspect.signature(sampler.sample).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in known.values())
    given = {"task_name": task, "partition_id": "default", **sampling}
    optional = {"task_name", "partition_id"}
    return {
        name: value
        for name, value in given.items()
        if takes_all or name in known or name not in optional
    }


def _indexes(meta: BatchMeta | Mapping[str, Any]) -> list[int]:
    if not isinstance(meta, Mapping):
        return [*meta.global_indexes]
    indexes = meta.get("global_indexes")
    if indexes is None:
        indexes = [sample["global_index"] for sample in meta.get("samples", ())]
    return [*indexes]


def _is_there(bucket: Bucket, offset: int) -> bool:
    return 0 <= offset < bucket.acknowledged() and bucket.first_from(offset) == offset


def _field(name: str, value: Any) -> FieldMeta:
    """Describe a field by its value in the first record."""
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    return FieldMeta(
        name,
        None if dtype is None else str(dtype),
        None if shape is None else tuple(shape),
        READY if value is not None else "not_produced",
    )
