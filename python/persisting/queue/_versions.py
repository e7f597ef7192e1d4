"""Versions of a bucket."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from persisting._arguments import integer, span
from persisting._loop.threads import drain, on_thread
from persisting._records import RecordDecoder, strip, visible
from persisting.queue._queries import Queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from persisting._engine.versions import View


class Version(NamedTuple):
    """A version of a bucket's table.

    Attributes
    ----------
    version : int
        Its number, which rises with each flush, compaction and change.
    time : datetime
        When it was made, in UTC.
    rows : int
        How many records it has.
    tags : tuple of str
        Its names.
    """

    version: int
    time: datetime
    rows: int
    tags: tuple[str, ...]


def version_of(told: Mapping[str, Any]) -> Version:
    """Return a version as the engine tells of it."""
    return Version(
        version=told["version"],
        time=_time(told["time"]),
        rows=told["rows"],
        tags=tuple(told["tags"]),
    )


def choose(
    versions: Sequence[Version], tag: str | None, timestamp: datetime | None
) -> tuple[Version | None, str]:
    """Return the version of a tag, or the newest made by a time, and what was looked for."""
    if tag is not None:
        found = [one for one in versions if tag in one.tags]
        wanted = f"a version with the tag {tag!r}"
    else:
        assert timestamp is not None
        until = timestamp.astimezone(timezone.utc)
        found = [one for one in versions if one.time <= until]
        wanted = f"a version of {timestamp} or before"
    return (found[-1] if found else None), wanted


class BucketView(Queries):
    """One version of a bucket, for reading, queries and searches.

    Usable from one event loop, also when the bucket has gone on or is closed.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._decoder = RecordDecoder()

    def _queried(self) -> View:
        return self._view

    @property
    def schema(self) -> pa.Schema:
        """The columns of the version (pyarrow.Schema)."""
        return visible(self._view.schema())

    def total_count(self) -> int:
        """Return the offset after the last record."""
        return self._view.rows()[1]

    def row_count(self) -> int:
        """Return how many records there are."""
        return self._view.rows()[0]

    async def get(self, limit: int, offset: int) -> list[dict[str, Any]]:
        """Return records; see `LanceBackend.get`."""
        limit = integer("limit", limit)
        start, stop = span(self.total_count(), limit, offset)
        if stop == start:
            return []
        batches = await on_thread(lambda: drain(self._view.read(start, stop - start, run=True)))
        return self._decoder.decode(batches, start.__add__)

    async def get_arrow(self, limit: int | None = None, offset: int = 0) -> pa.Table:
        """Return the records that are left as a table; see `LanceBackend.get_arrow`."""
        start, stop = span(self.total_count(), limit, offset)
        batches = await on_thread(lambda: drain(self._view.read(start, stop - start)))
        return strip(pa.Table.from_batches(batches, self._view.schema()))

    def close(self) -> None:
        """Let go of the version; a second call does nothing."""
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _time(text: str) -> datetime:
    """Read a time of RFC 3339 in UTC, which has up to nine digits of a second."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    micros = (fraction + "000000")[:6]
    return datetime.fromisoformat(f"{seconds}.{micros}+00:00")
