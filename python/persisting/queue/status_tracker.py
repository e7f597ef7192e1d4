"""What is produced and consumed of one partition, in memory.

For programs that keep such a state themselves; backends keep theirs on the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting.queue.metadata import READY, BatchMeta, FieldMeta, SampleMeta

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class StatusTracker:
    """Which fields of which samples are produced, and what each task has consumed.

    Parameters
    ----------
    partition_id
        The partition, for the metadata of batches.
    """

    def __init__(self, partition_id: str) -> None:
        self.partition_id = partition_id
        self._fields: dict[int, dict[str, FieldMeta]] = {}
        self._consumed: dict[str, set[int]] = {}
        self._keys: dict[str, int] = {}

    def mark_produced(
        self,
        global_indexes: Iterable[int],
        fields: Sequence[str],
        dtypes: Mapping[str, Any] | None = None,
        shapes: Mapping[str, Any] | None = None,
    ) -> None:
        """Note that samples have values in some fields, and in no others."""
        dtypes, shapes = dtypes or {}, shapes or {}
        for index in global_indexes:
            self._fields[index] = {
                name: FieldMeta(name, dtypes.get(name), shapes.get(name), READY) for name in fields
            }

    def scan_ready(self, fields: Iterable[str], task_name: str) -> list[int]:
        """Return the samples that have all the fields and that a task has not consumed."""
        wanted, consumed = {*fields}, self._consumed.get(task_name, set())
        return sorted(
            index
            for index, have in self._fields.items()
            if index not in consumed and wanted <= have.keys()
        )

    def make_batch_meta(self, global_indexes: Iterable[int], fields: Sequence[str]) -> BatchMeta:
        """Describe samples as a batch."""
        samples = []
        for index in global_indexes:
            have = self._fields.get(index, {})
            chosen = {name: have.get(name, FieldMeta(name)) for name in fields}
            samples.append(SampleMeta(self.partition_id, index, chosen))
        return BatchMeta(samples)

    def mark_consumed(self, task_name: str, global_indexes: Iterable[int]) -> None:
        """Note that a task has consumed samples."""
        self._consumed.setdefault(task_name, set()).update(global_indexes)

    def reset_consumption(self, task_name: str) -> None:
        """Forget what a task has consumed."""
        self._consumed.pop(task_name, None)

    def register_key(self, key: str, global_index: int) -> None:
        """Give a sample a key."""
        self._keys[key] = global_index

    def get_key(self, key: str) -> int | None:
        """Return the sample that has a key; None if there is none."""
        return self._keys.get(key)
