"""The offsets that are ready, as a sampler gets them: a sequence over bits, not a list."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import overload

_CHUNK = 1 << 10  # bytes


class Ready(Sequence[int]):
    """Offsets in rising order.

    Parameters
    ----------
    bits
        Bit `i % 8` of byte `i // 8` says whether offset `i` is one.
    """

    def __init__(self, bits: bytes) -> None:
        self._bits = bits
        starts = range(0, len(bits), _CHUNK)
        counts = (_number(bits[start : start + _CHUNK]).bit_count() for start in starts)
        self._ranks = [0, *accumulate(counts)]  # how many come before each chunk

    def __len__(self) -> int:
        return self._ranks[-1]

    def __contains__(self, offset: object) -> bool:
        if not isinstance(offset, int) or not 0 <= offset < len(self._bits) * 8:
            return False
        return bool(self._bits[offset // 8] >> offset % 8 & 1)

    def __iter__(self) -> Iterator[int]:
        return self._from(0)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> list[int]: ...
    def __getitem__(self, at: int | slice) -> int | list[int]:
        if isinstance(at, slice):
            places = range(len(self))[at]
            if places.step != 1:
                return [self[place] for place in places]
            found = self._from(places.start) if places else iter(())
            return [next(found) for _ in places]
        place = at + len(self) if at < 0 else at
        if not 0 <= place < len(self):
            msg = f"index {at} is out of range, {len(self)} are ready"
            raise IndexError(msg)
        return next(self._from(place))

    def _from(self, place: int) -> Iterator[int]:
        """Yield the offsets from a place on."""
        chunk = bisect_right(self._ranks, place) - 1
        skip = place - self._ranks[chunk]
        for start in range(chunk * _CHUNK, len(self._bits), 8):
            word = _number(self._bits[start : start + 8])
            count = word.bit_count()
            if skip >= count:
                skip -= count
                continue
            while word:
                low = word & -word
                word ^= low
                if skip:
                    skip -= 1
                else:
                    yield start * 8 + low.bit_length() - 1


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")
