"""How far a stream reads ahead, and how what it read is cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

# So much is read at a time, the next of it while records are made of what came before.
_READ_ROWS = 4096
_READ_BYTES = 2 << 20

# Records are made of about so many rows at a time.
_DECODED_ROWS = 1024


class Prefetch:
    """How many rows a stream reads at a time; a multiple of its `batch_size`.

    Parameters
    ----------
    batch_size
        Rows of a list that the stream yields.

    Attributes
    ----------
    rows
        Rows to read at a time.
    twice
        Whether the next rows may be read while these are in memory.
    """

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self.rows = batch_size
        self.twice = False

    def learn(self, count: int, size: int) -> None:
        """Choose `rows` by the size in bytes of `count` rows that were read."""
        each = size // count or 1
        self.rows = self._whole(min(_READ_ROWS, _READ_BYTES // each))
        self.twice = self.rows * each <= _READ_BYTES

    def cut(self, batches: list[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
        """Cut batches into parts of so many rows as records are best made of at a time."""
        part: list[pa.RecordBatch] = []
        most = missing = self._whole(_DECODED_ROWS)
        for batch in batches:
            start = 0
            while start < batch.num_rows:
                taken = batch.slice(start, missing)
                part.append(taken)
                start += taken.num_rows
                missing -= taken.num_rows
                if not missing:
                    yield part
                    part, missing = [], most
        if part:
            yield part

    def _whole(self, rows: int) -> int:
        return max(rows // self._batch_size, 1) * self._batch_size
