"""Changes of a bucket's columns, removal of records, and offsets of consumers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from persisting._arguments import integer
from persisting._errors import InvalidArgumentError
from persisting._loop.threads import on_thread
from persisting._records import column_of, default_row, visible
from persisting.queue._base import Base


class Changes(Base):
    """The part of a backend that changes what is there."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of the bucket (pyarrow.Schema)."""
        self._check_open()
        return visible(self._bucket.schema())

    async def add_column(
        self,
        name: str,
        type: pa.DataType | str | None = None,
        *,
        default: Any = None,
        expression: str | None = None,
    ) -> None:
        """Add a column, in old records as in new ones; no data file is rewritten.

        Parameters
        ----------
        name
            Its name, which no column may have.
        type
            A pyarrow type, or its name, such as "int64", "double", "string", "timestamp[us]",
            "json". May be left out with a default or an expression.
        default
            Value that the records there are get; None is no value. Records that are put later
            lack the key unless they have it.
        expression
            SQL over the other columns, such as "reward * 2 + step", that gives the value of the
            records there are instead. Names that are no identifiers stand in backticks.

        Raises
        ------
        SchemaError
            The column is there, or cannot hold the values.
        InvalidArgumentError
            The expression cannot be understood; the text is the parser's.

        Notes
        -----
        As every change of columns: puts wait meanwhile, gets do not and see the columns of before
        or after; after a crash it has happened as a whole or not at all. A column without a value
        is added without writing data; another one is written, in files of its own.
        """
        if default is not None and expression is not None:
            raise InvalidArgumentError("add_column: give a default or an expression, not both")
        if expression is not None:
            field = column_of(name, "null" if type is None else type)
            await self._change(self._bucket.compute_column, field, expression)
        elif default is not None:
            await self._change(self._bucket.fill_column, default_row(name, type, default))
        elif type is None:
            raise InvalidArgumentError("add_column: give a type, a default or an expression")
        else:
            await self._change(self._bucket.add_columns, pa.schema([column_of(name, type)]))

    async def drop_column(self, name: str) -> None:
        """Take a column out of all records; `compact` gives its space back.

        Raises
        ------
        SchemaError
            There is no such column, or no other.
        """
        await self._change(self._bucket.drop_column, name)

    async def rename_column(self, name: str, to: str) -> None:
        """Give a column another name, in old records as in new ones; no data is rewritten.

        Raises
        ------
        SchemaError
            There is no such column, or one of the new name.
        """
        await self._change(self._bucket.rename_column, name, to)

    async def cast_column(self, name: str, type: pa.DataType | str) -> None:
        """Give a column another type where every value survives the way there and back.

        Parameters
        ----------
        name
            The column, which is written anew; others are not.
        type
            A pyarrow type or its name.

        Raises
        ------
        SchemaError
            There is no such column, or the type does not hold one of the values exactly. Where
            values may change, `add_column` with the expression "CAST(name AS type)",
            `drop_column` and `rename_column` do it.
        """
        await self._change(self._bucket.cast_column, column_of(name, type))

    async def _change(self, function: Any, *arguments: Any) -> None:
        self._check_open()
        await self._writer.change(lambda: function(*arguments))

    # ---- removal ----

    async def delete(self, filter: str) -> int:
        """Remove the records for which a filter is true.

        Parameters
        ----------
        filter
            SQL over the columns, such as "reward < 0 AND step > 10". Names that are no
            identifiers stand in backticks.

        Returns
        -------
        int
            How many were removed. Those that are put during the call stay.

        Raises
        ------
        InvalidArgumentError
            The filter cannot be understood; the text is the parser's.

        Notes
        -----
        The other records keep their offsets, and no offset is given again: `get` from a removed
        one raises RemovedError. Puts and gets go on meanwhile; `compact`, and the compactions in
        the background, give the space back.
        """
        self._check_open()
        return await on_thread(self._bucket.delete, filter)

    async def truncate_before(self, offset: int) -> int:
        """Remove the records below an offset, which may be `total_count()`; as `delete` does.

        Returns
        -------
        int
            How many were removed.

        Raises
        ------
        NotFoundError
            The offset is negative or beyond the end.
        """
        self._check_open()
        await self._reach(offset)
        return await on_thread(self._bucket.truncate_before, offset)

    def first_offset(self, offset: int = 0) -> int:
        """Return the first offset from `offset` on whose record is left.

        That of the next record to be put when there is none.
        """
        self._check_open()
        return self._bucket.first_from(offset)

    async def _reach(self, offset: int) -> None:
        """Wait for puts that `total_count` counts already, where an offset is among theirs."""
        if self._total < integer("offset", offset) <= self._writer.placed:
            await self._writer.settle()

    # ---- consumers ----

    async def commit(self, consumer: str, offset: int) -> None:
        """Note that a consumer is done with the records below an offset.

        Parameters
        ----------
        consumer
            Its name.
        offset
            At most `total_count()`; it may be lower than the one before.

        Notes
        -----
        On return the offset is synced to disk, and so are the records below it.
        """
        self._check_open()
        await self._reach(offset)
        await on_thread(self._bucket.commit, consumer, offset)

    async def committed(self, consumer: str) -> int | None:
        """Return the offset that a consumer committed last; None if it never did."""
        return (await self.consumers()).get(consumer)

    async def consumers(self) -> dict[str, int]:
        """Return the offsets of all consumers, by name."""
        self._check_open()
        return await on_thread(self._bucket.consumers)
