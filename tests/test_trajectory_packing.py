"""Sequences divided among batches and parts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persisting._errors import InvalidArgumentError
from persisting.trajectory import balance, pack

LENGTHS = st.lists(st.integers(0, 50), max_size=60)


def assert_each_once(parts: list[np.ndarray], count: int) -> None:
    """Assert that each sequence is in one part, in their order."""
    assert sorted(itertools.chain(*parts)) == [*range(count)]
    assert all((np.diff(part) > 0).all() for part in parts)


@given(lengths=LENGTHS, room=st.integers(50, 120))
def test_no_batch_has_more_than_the_budget(lengths: list[int], room: int) -> None:
    parts = pack(np.array(lengths, np.int64), room)
    assert_each_once(parts, len(lengths))
    sums = [sum(lengths[i] for i in part) for part in parts]
    assert all(total <= room for total in sums)
    # Of two batches the sequences would never fit into one.
    assert all(a + b > room for a, b in itertools.combinations(sums, 2))


def best(lengths: list[int], parts: int) -> int:
    """Return the least that the fullest part can have."""
    fullest = sum(lengths)
    for where in itertools.product(range(parts), repeat=len(lengths)):
        sums = [0] * parts
        for size, part in zip(lengths, where, strict=True):
            sums[part] += size
        fullest = min(fullest, max(sums))
    return fullest


@given(lengths=st.lists(st.integers(0, 30), min_size=3, max_size=7), parts=st.integers(1, 3))
def test_parts_are_nearly_as_even_as_they_can_be(lengths: list[int], parts: int) -> None:
    found = balance(np.array(lengths), parts)
    assert len(found) == parts
    assert_each_once(found, len(lengths))
    fullest = max(sum(lengths[i] for i in part) for part in found)
    # The bound of the differencing method (Michiels, Korst, Aarts, van Leeuwen, 2003).
    assert fullest <= best(lengths, parts) * (4 / 3 - 1 / (3 * parts)) + 1e-9


@given(lengths=st.lists(st.integers(0, 1000), min_size=4, max_size=64), parts=st.integers(1, 8))
def test_parts_of_as_many_each(lengths: list[int], parts: int) -> None:
    lengths = lengths[: len(lengths) // parts * parts] or [1] * parts
    found = balance(np.array(lengths), parts, equal=True)
    assert_each_once(found, len(lengths))
    assert {len(part) for part in found} == {len(lengths) // parts}


def test_parts_of_many() -> None:
    chance = np.random.default_rng(1)
    lengths = chance.lognormal(6, 1, 4096).astype(int)
    for equal, apart in ((False, 1e-5), (True, 1e-2)):
        parts = balance(lengths, 8, equal=equal)
        sums = [lengths[part].sum() for part in parts]
        assert (max(sums) - min(sums)) / np.mean(sums) < apart
    batches = pack(lengths, 32_768)
    assert len(batches) <= lengths.sum() / 32_768 * 1.01 + 1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: pack([3, 9], 8), "sequence 1 has 9 values, more than the budget of 8"),
        (lambda: pack([3], 0), "budget: want an int from 1"),
        (lambda: pack([-1], 5), "want integers of 0 or more"),
        (lambda: pack([[1]], 5), "want integers"),
        (lambda: pack([0.5], 5), "want integers"),
        (lambda: balance([1, 2], 3), "2 sequences cannot be divided among 3 parts"),
        (lambda: balance([1, 2, 3], 2, equal=True), "of as many each"),
        (lambda: balance([1], 0), "parts: want an int from 1"),
    ],
)
def test_what_cannot_be(call: Any, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        call()
