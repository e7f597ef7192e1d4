"""KVInterface: records of a queue under keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError
from persisting.queue._columns import is_tensordict, rows_of
from persisting.queue._keys import KEY, PARTITION, TAG
from persisting.queue.metadata import BatchMeta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persisting.queue._queue import Queue

_OURS = (KEY, PARTITION, TAG)


class KVInterface:
    """Records of a queue under keys, with the methods of persisting 0.3.0 and TransferQueue.

    Parameters
    ----------
    queue
        The queue. Any number of these, in any process that reaches the queue, see the same keys.

    Notes
    -----
    Key, partition and tag are fields of the record, `_key`, `_partition_id` and `_tag`, so they are
    durable with it, and nothing else has to be. A key has the newest record that was put under
    it; an earlier one stays in the queue without one, until `kv_clear` removes both.
    Tasks consume these records as they do others.
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    async def kv_put(
        self, key: str, data: Any, partition_id: str, tag: Mapping[str, Any] | None = None
    ) -> None:
        """Store one record under a key.

        Parameters
        ----------
        key
            The key.
        data
            A dict is the record. A TensorDict has one row, or no dimension.
        partition_id
            The partition; keys of two partitions have nothing to do with each other.
        tag
            What `kv_list` tells of the key.

        Raises
        ------
        InvalidArgumentError
            `data` are several records, or have a field `_key`, `_partition_id` or `_tag`, or the
            key is no string. It is a ValueError.
        SchemaError
            As `Queue.put`.
        """
        is_record = isinstance(data, Mapping) and not is_tensordict(data)
        record = [dict(data)] if is_record else data
        await self._put([key], record, partition_id, None if tag is None else [tag])

    async def kv_batch_put(
        self,
        keys: Sequence[str],
        data: Any,
        partition_id: str,
        tags: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Store as many records under keys, all of them or none.

        Parameters
        ----------
        keys
            The keys, each once.
        data
            A TensorDict, a list of records or a dict of columns, with a row for each key.
        partition_id, tags
            As of `kv_put`; a tag for each key.

        Raises
        ------
        InvalidArgumentError
            A key is there twice, or there are more or fewer rows or tags; and as `kv_put`.
        SchemaError
            As `Queue.put`.
        """
        await self._put([*keys], data, partition_id, tags)

    async def kv_batch_get(
        self, keys: Sequence[str], partition_id: str, fields: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Read records.

        Parameters
        ----------
        keys
            The keys. Those that there are not are left out: `kv_list` says which there are.
        partition_id
            The partition.
        fields
            Fields to return; None is all that were put.

        Returns
        -------
        list of dict
            In the order of the keys.
        """
        indexes, _ = await self._find(partition_id, {"keys": [*keys]})
        if not indexes:
            return []
        bucket = await self.queue._place.bucket(partition_id)
        wanted = None if fields is None else [*fields]
        records: list[dict[str, Any]] = await bucket.get_data(
            {"global_indexes": indexes}, fields=wanted
        )
        if wanted is None:
            for record in records:
                for name in _OURS:
                    record.pop(name, None)
        return records

    async def kv_list(self, partition_id: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the keys of a partition with their tags, in the order of their records."""
        _, told = await self._find(partition_id, {"keys": None})
        return [(each["key"], each["tag"]) for each in told.values()]

    async def kv_clear(self, keys: Sequence[str], partition_id: str) -> None:
        """Remove the records of keys, earlier ones as well; keys that there are not are no error.

        Each call makes a version of the table: clear many at a time.
        """
        indexes, _ = await self._find(partition_id, {"keys": [*keys], "earlier": True})
        await self.queue.clear(indexes, partition_id)

    async def _put(
        self,
        keys: list[Any],
        data: Any,
        partition: str,
        tags: Sequence[Mapping[str, Any]] | None,
    ) -> None:
        """Put data with the fields that say its keys."""
        wrong = [key for key in keys if not isinstance(key, str)]
        if wrong:
            raise InvalidArgumentError(f"keys: want strings, got {wrong[0]!r}")
        if len({*keys}) < len(keys):
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InvalidArgumentError(f"duplicate keys are not allowed, {twice!r} is one")
        if tags is not None and len(tags) != len(keys):
            raise InvalidArgumentError(f"want a tag for each of {len(keys)} keys, got {len(tags)}")
        ours: dict[str, list[Any]] = {KEY: keys, PARTITION: [partition] * len(keys)}
        if tags is not None and any(tags):
            ours[TAG] = [dict(tag) or None for tag in tags]
        bucket = await self.queue._place.bucket(partition)
        await bucket.put_tensor(_with(data, len(keys), ours), partition_id=partition)

    async def _find(
        self, partition: str, lookup: dict[str, Any]
    ) -> tuple[list[int], dict[int, dict[str, Any]]]:
        """Return the offsets of records, and key and tag by offset."""
        bucket = await self.queue._place.bucket(partition)
        meta = await bucket.get_meta([], 0, "", partition_id=partition, lookup=lookup)
        if isinstance(meta, BatchMeta):
            return meta.global_indexes, meta.custom_meta
        return meta["global_indexes"], meta["custom_meta"]


def _with(data: Any, count: int, ours: dict[str, list[Any]]) -> Any:
    """Return a batch of `count` rows with more columns, in the form that it has.

    Rows of a tensor are left in it: on the way to another process each would bring all of it.
    """
    if is_tensordict(data) and (not data.batch_size or hasattr(data, "tensordicts")):
        data = rows_of(data)
    if isinstance(data, list):
        _check(count, len(data), {name for row in data for name in row})
        return [
            {**row, **{name: column[at] for name, column in ours.items()}}
            for at, row in enumerate(data)
        ]
    if not hasattr(data, "items"):
        raise InvalidArgumentError(
            f"want a TensorDict, a list of dicts or a dict of columns, got {type(data).__name__}"
        )
    columns = dict(data.items())
    for name, column in columns.items():
        _check(count, len(column) if hasattr(column, "__len__") else -1, {name})
    return {**columns, **ours}


def _check(count: int, rows: int, names: set[str]) -> None:
    if rows != count:
        raise InvalidArgumentError(
            f"want as many rows as there are keys, {count}, got {max(rows, 0)} of {sorted(names)}"
        )
    if taken := sorted(names.intersection(_OURS)):
        raise InvalidArgumentError(
            f"fields {taken} say what key a record has, name yours otherwise"
        )
