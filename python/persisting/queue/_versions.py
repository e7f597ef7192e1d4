"""Versions of a bucket."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from persisting._arguments import MOST, integer, span
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting._loop.threads import drain, on_thread, opened_on_thread
from persisting._observe import tracing
from persisting._records import RecordDecoder, strip, visible
from persisting.queue._base import Base
from persisting.queue._queries import Answers

if TYPE_CHECKING:
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


class Versions(Base):
    """The part of a backend that knows its past."""

    async def list_versions(self) -> list[Version]:
        """Return the versions that are there, the oldest first.

        Flushes, compactions and changes make versions. Compactions remove those that are neither
        tagged nor open.
        """
        self._check_open()
        return [
            Version(
                version=found["version"],
                time=_time(found["time"]),
                rows=found["rows"],
                tags=tuple(found["tags"]),
            )
            for found in await on_thread(self._bucket.versions)
        ]

    async def snapshot(self, tag: str) -> int:
        """Flush, and keep the bucket as it is then under a name.

        Parameters
        ----------
        tag
            Letters, digits, "-", "_" and, inside, "."; not in use.

        Returns
        -------
        int
            The version.

        Raises
        ------
        InvalidArgumentError
            The name cannot be one or is in use.
        NotFoundError
            The bucket never had a record.
        """
        self._check_open()
        with tracing.span("flush", self.storage_path):
            await on_thread(self._bucket.flush)
        version = await self._newest()
        await self.tag(tag, version)
        return version

    async def tag(self, name: str, version: int) -> None:
        """Give a version a name, which compactions respect; synced to disk on return.

        Raises
        ------
        InvalidArgumentError
            The name cannot be one or is in use.
        NotFoundError
            The version is not there any more.
        """
        self._check_open()
        await on_thread(self._bucket.tag, name, version)

    async def untag(self, name: str) -> None:
        """Take a name away; the next compaction may remove the version.

        Raises
        ------
        NotFoundError
            There is no such tag.
        """
        self._check_open()
        await on_thread(self._bucket.untag, name)

    async def at(
        self,
        version: int | None = None,
        *,
        tag: str | None = None,
        timestamp: datetime | None = None,
    ) -> BucketView:
        """Open an old version for reading.

        Parameters
        ----------
        version, tag, timestamp
            One of them: a number, a name, or a time, for the newest version that is there and was
            made by then. A time without a zone is local.

        Returns
        -------
        BucketView
            Keeps the version until it is closed; use it in a `with` statement.

        Raises
        ------
        NotFoundError
            There is no such version any more.
        """
        number = await self._resolve(version, tag, timestamp)
        return BucketView(await opened_on_thread(self._bucket.at, number))

    async def restore(self, version: int | None = None, *, tag: str | None = None) -> None:
        """Give the bucket the columns and the records of an old version.

        Records that were put later are removed, those that were removed later are back. Offsets
        stay: the next record gets the offset that it would have got without the call. Puts wait
        meanwhile, and a crash leaves the bucket as it was before or after.

        Parameters
        ----------
        version, tag
            One of them.

        Raises
        ------
        NotFoundError
            There is no such version any more.
        """
        number = await self._resolve(version, tag, None)
        await self._writer.change(lambda: self._bucket.restore(number))

    async def _newest(self) -> int:
        versions = await self.list_versions()
        if not versions:
            raise NotFoundError(f"the bucket {self.storage_path} has no version: it has no records")
        return versions[-1].version

    async def _resolve(
        self, version: int | None, tag: str | None, timestamp: datetime | None
    ) -> int:
        self._check_open()
        if sum(given is not None for given in (version, tag, timestamp)) != 1:
            raise InvalidArgumentError("give one of version, tag and timestamp")
        if version is not None:
            return integer("version", version, 0, MOST)
        versions = await self.list_versions()
        if tag is not None:
            found = [one for one in versions if tag in one.tags]
            wanted = f"a version with the tag {tag!r}"
        else:
            assert timestamp is not None
            found = [one for one in versions if one.time <= timestamp.astimezone(timezone.utc)]
            wanted = f"a version of {timestamp} or before"
        if not found:
            raise NotFoundError(f"the bucket {self.storage_path} does not have {wanted}")
        return found[-1].version


class BucketView(Answers):
    """One version of a bucket, for reading, queries and searches.

    Usable from one event loop, also when the bucket has gone on or is closed.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._decoder = RecordDecoder()

    def _asked(self) -> View:
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
