"""Samplers: which of the records that are ready a task gets, and has consumed then.

The names and signatures are those of persisting 0.3.0 and of TransferQueue, so that samplers which
were written for those work here. `PersistingBackend.get_meta` takes any of them.

References
----------
https://github.com/DeepLink-org/Persisting, https://github.com/TransferQueue/TransferQueue
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Sampled: TypeAlias = "tuple[list[int], list[int]]"
"""Indexes to read, and those that count as consumed."""


class BaseSampler(ABC):
    """What a sampler is. One thread at a time uses it."""

    def __init__(self) -> None:
        self._states: dict[str, dict[Any, Sampled]] = {}  # by partition

    @abstractmethod
    def sample(
        self, ready_indexes: Sequence[int], batch_size: int, *args: Any, **kwargs: Any
    ) -> Sampled:
        """Choose indexes.

        Parameters
        ----------
        ready_indexes
            Those that are ready and not consumed, in rising order.
        batch_size
            How many are wanted.
        *args, **kwargs
            What the sampler needs besides, as `get_meta` was given it.

        Returns
        -------
        tuple of list of int
            The indexes to read, and those that are consumed then.
        """

    def __call__(
        self, ready_indexes: Sequence[int], batch_size: int, *args: Any, **kwargs: Any
    ) -> Sampled:
        """Do what `sample` does."""
        return self.sample(ready_indexes, batch_size, *args, **kwargs)

    def clear_cache(self, partition_id: str) -> None:
        """Forget what was chosen of a partition."""
        self._states.pop(partition_id, None)


class SequentialSampler(BaseSampler):
    """Take the first indexes that are ready; fewer than wanted where there are no more."""

    def sample(
        self, ready_indexes: Sequence[int], batch_size: int, *args: Any, **kwargs: Any
    ) -> Sampled:
        """Choose indexes; see `BaseSampler.sample`."""
        chosen = [*ready_indexes[:batch_size]]
        return chosen, [*chosen]


class RankAwareSampler(BaseSampler):
    """Give each rank of a data-parallel group its batches, the same again for the same batch.

    Notes
    -----
    What was chosen is kept by partition, task, rank and batch until `clear_cache`.
    """

    def sample(
        self,
        ready_indexes: Sequence[int],
        batch_size: int,
        dp_rank: int = -1,
        batch_index: int = -1,
        task_name: str = "",
        partition_id: str = "",
        *args: Any,
        **kwargs: Any,
    ) -> Sampled:
        """Choose indexes; none while fewer than `batch_size` are ready.

        Raises
        ------
        ValueError
            `dp_rank` or `batch_index` is missing or negative.
        """
        if dp_rank < 0 or batch_index < 0:
            msg = f"want dp_rank and batch_index from 0 on, got {dp_rank} and {batch_index}"
            raise ValueError(msg)
        batches = self._states.setdefault(partition_id, {})
        known = batches.get((task_name, dp_rank, batch_index))
        if known is None:
            chosen = [*ready_indexes[:batch_size]]
            if len(chosen) < batch_size:
                return [], []
            known = batches[task_name, dp_rank, batch_index] = chosen, [*chosen]
        return [*known[0]], [*known[1]]


class GRPOGroupNSampler(BaseSampler):
    """Take whole groups: runs of so many indexes in a row, as the samples of a prompt are put.

    Parameters
    ----------
    n_samples_per_prompt
        Indexes of a group.

    Raises
    ------
    ValueError
        It is not positive.
    """

    def __init__(self, n_samples_per_prompt: int = 1) -> None:
        super().__init__()
        if n_samples_per_prompt < 1:
            msg = f"n_samples_per_prompt is {n_samples_per_prompt}, want 1 at least"
            raise ValueError(msg)
        self.n_samples_per_prompt = n_samples_per_prompt

    def sample(
        self,
        ready_indexes: Sequence[int],
        batch_size: int,
        task_name: str = "",
        partition_id: str = "",
        *args: Any,
        **kwargs: Any,
    ) -> Sampled:
        """Choose indexes; none while there are fewer groups than `batch_size` asks for.

        With `dp_rank` and `batch_index` the same batch is chosen again, as by `RankAwareSampler`.

        Raises
        ------
        ValueError
            `batch_size` is no multiple of the size of a group.
        """
        n = self.n_samples_per_prompt
        if batch_size % n:
            msg = f"batch_size {batch_size} is no multiple of n_samples_per_prompt, {n}"
            raise ValueError(msg)
        rank, batch = kwargs.get("dp_rank"), kwargs.get("batch_index")
        batches = self._states.setdefault(partition_id, {})
        known = batches.get((task_name, rank, batch))
        if known is None:
            chosen = _groups(ready_indexes, n, batch_size // n)
            known = chosen, [*chosen]
            if chosen and rank is not None and batch is not None:
                batches[task_name, rank, batch] = known
        return [*known[0]], [*known[1]]


def _groups(ready: Sequence[int], size: int, wanted: int) -> list[int]:
    """Return so many runs of a size, the first that there are; nothing if there are fewer."""
    chosen: list[int] = []
    run: list[int] = []
    if not wanted:
        return chosen
    for index in ready:
        run = [*run, index] if run and index == run[-1] + 1 else [index]
        if len(run) == size:
            chosen += run
            run = []
            if len(chosen) == size * wanted:
                return chosen
    return []


async def get_sampled_batch(
    backend: Any,
    sampler: BaseSampler,
    batch_size: int,
    consumed_offset: int,
    partition_id: str = "default",
    sampling_config: Mapping[str, Any] | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Read a batch that a sampler chooses.

    Parameters
    ----------
    backend
        A backend with `get_meta` and `get_data`, which remembers what is consumed, or one with
        `total_count` and `get_by_indices`.
    sampler
        The sampler.
    batch_size
        How many records are wanted.
    consumed_offset
        How many were consumed so far.
    partition_id
        The partition, for the sampler.
    sampling_config
        What the sampler needs besides; of `fields` and `task_name` those of `get_meta`.

    Returns
    -------
    tuple of list of dict and int
        The records, and how many are consumed now.
    """
    config = {"partition_id": partition_id, **(sampling_config or {})}
    if hasattr(backend, "get_meta") and hasattr(backend, "get_data"):
        fields = config.pop("fields", [])
        task = config.pop("task_name", "default")
        meta = await backend.get_meta(fields, batch_size, task, sampler, **config)
        records = await backend.get_data(meta) if meta.size else []
        return records, consumed_offset + meta.size
    ready = range(consumed_offset, max(consumed_offset, backend.total_count()))
    chosen, consumed = sampler.sample(ready, batch_size, **config)
    records = await backend.get_by_indices(chosen) if chosen else []
    return records, consumed_offset + len(consumed)
