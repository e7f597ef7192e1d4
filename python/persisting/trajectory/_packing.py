"""Sequences of different lengths, divided among batches or ranks."""

from __future__ import annotations

import bisect
import heapq
from typing import TYPE_CHECKING

import numpy as np

from persisting._arguments import MOST, integer
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy.typing as npt


def pack(lengths: npt.ArrayLike, budget: int) -> list[npt.NDArray[np.intp]]:
    """Divide sequences among as few batches as is easy, each of no more values than a budget.

    Each is put where it leaves the least room, the longest first (best fit decreasing [1]_: at most
    11/9 of the fewest batches and one more).

    Parameters
    ----------
    lengths : array_like of int [sequences]
        How many values each has.
    budget : int
        How many a batch has at most.

    Returns
    -------
    list of numpy.ndarray of int
        Of each batch which sequences it has, in their order.

    Raises
    ------
    InvalidArgumentError
        A sequence is longer than the budget.

    References
    ----------
    .. [1] D. S. Johnson, Near-optimal bin packing algorithms, 1973.
    """
    sizes = _lengths(lengths)
    room_of = integer("budget", budget, 1, MOST)
    if len(sizes) and sizes.max() > room_of:
        at = int(sizes.argmax())
        raise InvalidArgumentError(
            f"sequence {at} has {sizes[at]} values, more than the budget of {room_of}"
        )
    members: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # what is left of each batch, and its number
    for i in np.argsort(-sizes, kind="stable"):
        size = int(sizes[i])
        at = bisect.bisect_left(rooms, (size, -1))
        left, number = rooms.pop(at) if at < len(rooms) else (room_of, len(members))
        if number == len(members):
            members.append([])
        members[number].append(int(i))
        bisect.insort(rooms, (left - size, number))
    return [np.array(sorted(each), np.intp) for each in members]


def balance(
    lengths: npt.ArrayLike, parts: int, *, equal: bool = False
) -> list[npt.NDArray[np.intp]]:
    """Divide sequences among parts, as ranks are, that have about as many values each.

    By the largest differences [1]_: the two most uneven divisions are laid over each other, the
    most of one onto the least of the other, until one is left.

    Parameters
    ----------
    lengths : array_like of int [sequences]
        How many values each has.
    parts : int
        How many parts.
    equal : bool
        Whether all have as many sequences.

    Returns
    -------
    list of numpy.ndarray of int
        Of each part which sequences it has, in their order.

    Raises
    ------
    InvalidArgumentError
        There are fewer sequences than parts, or for `equal` no multiple of them.

    References
    ----------
    .. [1] N. Karmarkar, R. M. Karp, The differencing method of set partitioning, 1982.
    """
    sizes = _lengths(lengths)
    count = integer("parts", parts, 1, MOST)
    if len(sizes) < count or (equal and len(sizes) % count):
        raise InvalidArgumentError(
            f"{len(sizes)} sequences cannot be divided among {count} parts"
            + (" of as many each" if equal else "")
        )
    order = [int(i) for i in np.argsort(sizes, kind="stable")]
    group = count if equal else 1
    heap: list[tuple[int, int, list[tuple[int, list[int]]]]] = []
    for first in range(0, len(order), group):
        each = [(int(sizes[i]), [i]) for i in reversed(order[first : first + group])]
        each += [(0, [])] * (count - len(each))
        heap.append((each[-1][0] - each[0][0], first, each))
    heapq.heapify(heap)
    while len(heap) > 1:
        (_, tie, most), (_, _, other) = heapq.heappop(heap), heapq.heappop(heap)
        both = [
            (a + b, mine + theirs)
            for (a, mine), (b, theirs) in zip(most, reversed(other), strict=True)
        ]
        both.sort(key=lambda part: -part[0])
        heapq.heappush(heap, (both[-1][0] - both[0][0], tie, both))
    return [np.array(sorted(members), np.intp) for _, members in heap[0][2]]


def _lengths(lengths: npt.ArrayLike) -> npt.NDArray[np.int64]:
    found = np.asarray(lengths)
    if found.ndim != 1 or found.dtype.kind not in "iu" or (found < 0).any():
        raise InvalidArgumentError(f"lengths are {lengths!r:.60}, want integers of 0 or more")
    return found.astype(np.int64)
