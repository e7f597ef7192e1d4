"""What the parts of a backend share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from persisting._engine.bucket import Bucket
    from persisting._records import RecordDecoder
    from persisting.queue._writer import Writer


class Base:
    """An open bucket, and what puts go through."""

    storage_path: str
    _bucket: Bucket
    _writer: Writer
    _decoder: RecordDecoder
    _total: int

    def _check_open(self) -> None:
        """Raise ClosedError if the backend was closed."""
        raise NotImplementedError
