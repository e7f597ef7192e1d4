"""What `get_meta` says of a batch, before anything of it is read.

The names are those of persisting 0.3.0 and of TransferQueue.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from typing_extensions import Self

READY = "ready"
"""The production status of a field that has a value."""


@dataclass
class FieldMeta:
    """A field of a sample.

    Attributes
    ----------
    name
        Its name, the key in the records.
    dtype, shape
        Of its value, where that is known.
    production_status
        "ready" once it has a value.
    """

    name: str
    dtype: Any = None
    shape: Any = None
    production_status: str = "not_produced"

    @property
    def is_ready(self) -> bool:
        """Whether it has a value."""
        return self.production_status == READY

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "name": self.name,
            "dtype": None if self.dtype is None else str(self.dtype),
            "shape": None if self.shape is None else tuple(self.shape),
            "production_status": self.production_status,
        }


@dataclass
class SampleMeta:
    """A sample, which is a record.

    Attributes
    ----------
    partition_id
        The partition that it was asked for in.
    global_index
        Its offset in the bucket.
    fields
        Its fields by name.
    """

    partition_id: str
    global_index: int
    fields: dict[str, FieldMeta]

    @property
    def field_names(self) -> list[str]:
        """The names of its fields."""
        return [*self.fields]

    @property
    def is_ready(self) -> bool:
        """Whether all its fields have a value."""
        return all(each.is_ready for each in self.fields.values())

    def select_fields(self, names: Iterable[str]) -> SampleMeta:
        """Return it with some of its fields; names that it lacks are passed over."""
        chosen = {name: self.fields[name] for name in names if name in self.fields}
        return SampleMeta(self.partition_id, self.global_index, chosen)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "partition_id": self.partition_id,
            "global_index": self.global_index,
            "fields": {name: each.to_dict() for name, each in self.fields.items()},
        }


@dataclass
class BatchMeta:
    """The samples of a batch.

    Attributes
    ----------
    samples
        In their order.
    custom_meta
        What the program notes of samples, by index.
    extra_info
        What it notes of the batch.
    """

    samples: list[SampleMeta]
    custom_meta: dict[int, dict[str, Any]] = field(default_factory=dict)
    extra_info: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many samples there are."""
        return len(self.samples)

    @property
    def global_indexes(self) -> list[int]:
        """The offsets of the samples."""
        return [sample.global_index for sample in self.samples]

    @property
    def field_names(self) -> list[str]:
        """The names of the fields of the first sample."""
        return self.samples[0].field_names if self.samples else []

    def select_fields(self, names: Iterable[str]) -> BatchMeta:
        """Return it with some of its fields; names that it lacks are passed over."""
        chosen = [*names]
        samples = [sample.select_fields(chosen) for sample in self.samples]
        return BatchMeta(samples, dict(self.custom_meta), dict(self.extra_info))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, as `get_meta` of Pulsing's own backends does."""
        return {
            "samples": [sample.to_dict() for sample in self.samples],
            "global_indexes": self.global_indexes,
            "custom_meta": self.custom_meta,
            "extra_info": self.extra_info,
        }

    @classmethod
    def empty(cls) -> Self:
        """Return a batch without samples."""
        return cls([])

    @classmethod
    def of(
        cls, partition_id: str, indexes: Iterable[int], fields: Iterable[FieldMeta | str]
    ) -> Self:
        """Return the batch of samples at offsets that all have the same fields."""
        alike = {
            each.name: each
            for each in (
                FieldMeta(given, production_status=READY) if isinstance(given, str) else given
                for given in fields
            )
        }
        return cls([SampleMeta(partition_id, index, {**alike}) for index in indexes])

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return what `to_dict` was called of."""
        samples = [
            SampleMeta(
                sample.get("partition_id", "default"),
                int(sample["global_index"]),
                {
                    name: FieldMeta(**{"name": name, **each})
                    for name, each in sample.get("fields", {}).items()
                },
            )
            for sample in data.get("samples", ())
        ]
        return cls(samples, data.get("custom_meta", {}), data.get("extra_info", {}))
