"""Samplers, and what says what a batch is, by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from persisting.queue.metadata import BatchMeta, FieldMeta, SampleMeta
from persisting.queue.status_tracker import StatusTracker
from persisting.sampler import (
    BaseSampler,
    GRPOGroupNSampler,
    RankAwareSampler,
    SequentialSampler,
    get_sampled_batch,
)


def test_in_order() -> None:
    sampler: BaseSampler = SequentialSampler()
    assert sampler.sample([3, 5, 8], 2) == ([3, 5], [3, 5])
    assert sampler([3, 5, 8], 9, any_option=1) == ([3, 5, 8], [3, 5, 8])
    assert sampler.sample([], 2) == ([], [])


def test_a_rank_gets_its_batch_again() -> None:
    sampler = RankAwareSampler()
    which: dict[str, Any] = {"dp_rank": 1, "batch_index": 0, "task_name": "t", "partition_id": "p"}
    assert sampler.sample([0, 1], 3, **which) == ([], [])
    first = sampler.sample([0, 1, 2, 3], 3, **which)
    assert first == ([0, 1, 2], [0, 1, 2])
    first[0].clear()
    assert sampler.sample([50, 60, 70], 3, **which)[0] == [0, 1, 2]
    for other in ({"dp_rank": 0}, {"batch_index": 1}, {"task_name": "u"}, {"partition_id": "q"}):
        assert sampler.sample([50, 60, 70], 3, **{**which, **other})[0] == [50, 60, 70]
    sampler.clear_cache("p")
    sampler.clear_cache("never seen")
    assert sampler.sample([50, 60, 70], 3, **which)[0] == [50, 60, 70]
    missed: list[dict[str, Any]] = [{}, {"dp_rank": -1, "batch_index": 0}, {"dp_rank": 0}]
    for missing in missed:
        with pytest.raises(ValueError, match="want dp_rank and batch_index"):
            sampler.sample([1], 1, **missing)


@pytest.mark.parametrize(
    ("ready", "size", "expected"),
    [
        ([0, 1, 3, 4, 6, 7], 4, [0, 1, 3, 4]),
        ([0, 2, 3, 4, 5, 9], 4, [2, 3, 4, 5]),
        ([0, 2, 4, 5], 4, []),
        ([1, 2, 3], 2, [1, 2]),
        ([], 2, []),
        ([1, 2], 0, []),
    ],
)
def test_whole_groups(ready: list[int], size: int, expected: list[int]) -> None:
    assert GRPOGroupNSampler(2).sample(ready, size) == (expected, expected)


def test_groups_of_a_rank_and_what_is_no_group() -> None:
    sampler = GRPOGroupNSampler(n_samples_per_prompt=2)
    which: dict[str, Any] = {"task_name": "t", "partition_id": "p", "dp_rank": 0, "batch_index": 3}
    assert sampler.sample([0, 2], 2, **which) == ([], [])
    assert sampler.sample([4, 5], 2, **which)[0] == [4, 5]
    assert sampler.sample([8, 9], 2, **which)[0] == [4, 5]
    assert sampler.sample([8, 9], 2, "t", "p")[0] == [8, 9]
    assert sampler.sample([1, 2], 2, "t", "p")[0] == [1, 2]
    with pytest.raises(ValueError, match="3 is no multiple of n_samples_per_prompt, 2"):
        sampler.sample([1, 2, 3], 3)
    with pytest.raises(ValueError, match="want 1 at least"):
        GRPOGroupNSampler(0)


class Plain:
    """A backend that remembers nothing."""

    def total_count(self) -> int:
        return 5

    async def get_by_indices(self, indices: list[int]) -> list[dict[str, Any]]:
        return [{"i": index} for index in indices]


async def test_a_batch_of_a_backend_that_remembers_nothing() -> None:
    got = await get_sampled_batch(Plain(), SequentialSampler(), 3, 0)
    assert got == ([{"i": 0}, {"i": 1}, {"i": 2}], 3)
    assert await get_sampled_batch(Plain(), SequentialSampler(), 3, 3) == ([{"i": 3}, {"i": 4}], 5)
    assert await get_sampled_batch(Plain(), SequentialSampler(), 3, 5) == ([], 5)


def test_metadata_comes_back_from_a_dict() -> None:
    fields = {"x": FieldMeta("x", "float32", (2,), "ready"), "y": FieldMeta("y")}
    meta = BatchMeta([SampleMeta("p", i, fields) for i in (3, 1)], {3: {"k": 1}}, {"note": 2})
    again = BatchMeta.from_dict(meta.to_dict())
    assert again == meta
    assert (again.size, again.global_indexes, again.field_names) == (2, [3, 1], ["x", "y"])
    assert [field.is_ready for field in fields.values()] == [True, False]
    assert not again.samples[0].is_ready
    chosen = meta.select_fields(["x", "other"])
    assert chosen.field_names == ["x"]
    assert chosen.samples[0].is_ready
    assert chosen.custom_meta == {3: {"k": 1}}
    assert BatchMeta.empty() == BatchMeta.from_dict({})
    assert BatchMeta.empty().field_names == []


def test_a_tracker_knows_what_is_ready() -> None:
    tracker = StatusTracker("p")
    tracker.mark_produced([2, 0, 1], ["a", "b"], dtypes={"a": "int64"})
    tracker.mark_produced([3], ["a"])
    assert tracker.scan_ready(["a"], "t") == [0, 1, 2, 3]
    assert tracker.scan_ready(["b", "a"], "t") == [0, 1, 2]
    assert tracker.scan_ready(["c"], "t") == []
    tracker.mark_consumed("t", [0, 2])
    assert tracker.scan_ready(["a"], "t") == [1, 3]
    assert tracker.scan_ready(["a"], "u") == [0, 1, 2, 3]
    meta = tracker.make_batch_meta([0, 3], ["a", "b"])
    assert meta.samples[0].fields["a"].dtype == "int64"
    assert [sample.is_ready for sample in meta.samples] == [True, False]
    tracker.reset_consumption("t")
    assert tracker.scan_ready(["a"], "t") == [0, 1, 2, 3]
    tracker.register_key("k", 3)
    assert (tracker.get_key("k"), tracker.get_key("other")) == (3, None)
