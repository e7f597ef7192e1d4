"""Queries: finding records by what they hold."""

from __future__ import annotations

import asyncio
import functools
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from persisting._arguments import MOST, integer
from persisting._errors import InvalidArgumentError, WouldBlockError
from persisting._loop.threads import on_thread, opened_on_thread
from persisting._records import strip

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from typing import TypeVar

    from persisting._engine.queries import Queryable

    T = TypeVar("T")

OrderBy: TypeAlias = "str | tuple[str, str] | Sequence[str | tuple[str, str]]"

_MAX_K = 1 << 20  # what a search finds is held in memory
_DIRECTIONS = {"asc": False, "desc": True}


class Queries:
    """The methods that look for records by what they hold, of a backend or of a version.

    Notes
    -----
    A query of a backend sees the records that were acknowledged when it was called and
    none that came later. Those that are not in Lance yet are flushed before it runs, so its
    answer does not depend on what was flushed.

    A filter is an SQL expression over the columns; records for which it is neither false
    nor null pass. Names that are no plain words, or words of SQL, stand in backticks,
    `` `reward.mean` > 0 ``, strings in single quotes, fields of a struct after a dot, and
    `_offset` is the offset of the record. `json_get_int`, `json_get_float`,
    `json_get_string` and `json_get_bool` reach into columns of JSON. docs/queries.md says
    more.
    """

    def _queried(self) -> Queryable:
        """Return what is open and answers."""
        raise NotImplementedError

    async def query(
        self,
        filter: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        offset: int = 0,
        order_by: OrderBy | None = None,
        with_offset: bool = False,
        use_index: bool = True,
    ) -> pa.Table:
        """Return the records that pass a filter, as an Arrow table.

        Parameters
        ----------
        filter
            SQL; None lets all records pass.
        columns
            Columns of the result, in that order; None is all.
        limit
            Most rows; None is all.
        offset
            Rows to leave out at the start.
        order_by
            A column, or a tuple of a column and "asc" or "desc", or a list of such. Nulls
            come last, equal records in the order of their offsets. None is the order of
            the offsets.
        with_offset
            Whether the result ends with an int64 column `_offset`.
        use_index
            Whether indexes may be used. They change nothing but the time it takes.

        Returns
        -------
        pyarrow.Table
            The columns as they were put; a key that a record lacks is null.

        Raises
        ------
        InvalidArgumentError
            The filter does not parse (the message has line and column), is too deep or too
            long, cannot be computed of some record (a division by zero, a cast), or something
            names a column that there is not. It is a ValueError.
        StorageError, ClosedError
            As `flush` and `get`.
        """
        request = _request(
            filter,
            columns=columns,
            limit=limit,
            offset=offset,
            order_by=order_by,
            with_offset=with_offset,
            use_index=use_index,
        )
        return await self._table(request, None)

    async def query_batches(
        self,
        filter: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        offset: int = 0,
        order_by: OrderBy | None = None,
        with_offset: bool = False,
        use_index: bool = True,
    ) -> AsyncGenerator[pa.RecordBatch, None]:
        """Yield what `query` returns batch by batch, for answers larger than memory.

        Yields
        ------
        pyarrow.RecordBatch
            At least one row. All batches see the records of the first.
        """
        request = _request(
            filter,
            columns=columns,
            limit=limit,
            offset=offset,
            order_by=order_by,
            with_offset=with_offset,
            use_index=use_index,
        )
        cursor = await opened_on_thread(self._queried().query, request, None)
        try:
            batches = iter(cursor)
            while (batch := await on_thread(next, batches, None)) is not None:
                yield strip(batch)
        finally:
            cursor.close()

    async def search(
        self,
        query: Any,
        column: str | Sequence[str],
        k: int = 10,
        *,
        filter: str | None = None,
        metric: str | None = None,
        columns: Sequence[str] | None = None,
        with_offset: bool = False,
        nprobes: int | None = None,
        refine: int | None = None,
        ef: int | None = None,
        use_index: bool = True,
    ) -> pa.Table:
        """Return the records nearest to a vector, or those that fit a text best.

        Parameters
        ----------
        query
            A str is a text. Anything else is a vector: a sequence of numbers, a numpy
            array of one dimension, or an Arrow array.
        column
            Column to search, of strings for a text, of fixed-size lists of floats for a
            vector. For a text it may be a list of columns.
        k
            Most rows of the result, of the records that pass `filter`.
        filter
            SQL; None lets all records pass.
        metric
            "l2", "cosine" or "dot"; None is that of the index, or "l2" without one.
        columns
            Columns of the result; None is all.
        with_offset
            Whether the result ends with an int64 column `_offset`.
        nprobes
            Partitions of an IVF index to look into. More find more and take longer.
        refine
            Compare `refine * k` candidates of a quantized index by their whole vectors.
        ef
            Candidates in the graph of an HNSW index.
        use_index
            Whether a vector index, and indexes for the filter, may be used; without one
            the answer is exact.

        Returns
        -------
        pyarrow.Table
            The best first; after the columns asked for, float32 `_distance` (smaller is
            nearer) for a vector, or `_score` (larger is better) for a text.

        Raises
        ------
        InvalidArgumentError
            As `query`; the vector does not have the length of those in the column.

        Notes
        -----
        An index of type "inverted" makes a search for a text fast. Without one texts are cut
        into words as such an index with the default options does.
        """
        request, vector = _search_request(
            query,
            column,
            filter,
            k=k,
            metric=metric,
            nprobes=nprobes,
            refine=refine,
            ef=ef,
            columns=columns,
            with_offset=with_offset,
            use_index=use_index,
        )
        return await self._table(request, vector)

    async def count(self, filter: str | None = None) -> int:
        """Return how many records pass a filter; all do without one."""
        return await on_thread(self._queried().count, filter)

    async def explain(
        self,
        filter: str | None = None,
        *,
        search: tuple[Any, str | Sequence[str]] | None = None,
        **options: Any,
    ) -> str:
        """Return the plan of a query, which names the indexes that are used, as text.

        Parameters
        ----------
        filter
            As `query`.
        search
            `(query, column)` explains `search` instead of `query`.
        **options
            The keyword arguments of `query`, or of `search` and `k`.
        """
        vector = None
        if search is None:
            request = _request(filter, **options)
        else:
            request, vector = _search_request(*search, filter, **options)
        return await on_thread(self._queried().explain, request, vector)

    async def _table(self, request: Mapping[str, Any], vector: list[float] | None) -> pa.Table:
        source = self._queried()
        if vector is None and self._pace.allows(request):
            table = self._pace.collect(source, request)
            if table is not None:
                await asyncio.sleep(0)
                return table
        return await on_thread(_collect, source, request, vector)

    @functools.cached_property
    def _pace(self) -> _Pace:
        return _Pace()


class _Pace:
    """Which queries are tried on the event loop: a thread takes as long as a short answer.

    The engine ends a try where it would have to wait. One that is in vain, or takes longer than
    a loop should be held up, sends the next ones to threads.
    """

    _LONG = 0.002

    def __init__(self) -> None:
        self._skip = 0

    def allows(self, request: Mapping[str, Any]) -> bool:
        """Tell whether to try a query."""
        if not request["filter"] or request["order_by"] or request["without_index"]:
            return False
        self._skip = max(self._skip - 1, -1)
        return self._skip < 0 and "search" not in request

    def collect(self, source: Queryable, request: Mapping[str, Any]) -> pa.Table | None:
        """Return the answer, or None where it has to be waited for."""
        began = time.monotonic()
        try:
            return _collect(source, {**request, "no_wait": True}, None)
        except WouldBlockError:
            self._skip = 16
            return None
        finally:
            if time.monotonic() - began > self._LONG:
                self._skip = 64


def _collect(source: Queryable, request: Mapping[str, Any], vector: list[float] | None) -> pa.Table:
    with source.query(request, vector) as cursor:
        return strip(pa.Table.from_batches(list(cursor), cursor.schema))


def _request(
    where: str | None,
    *,
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    offset: int = 0,
    order_by: OrderBy | None = None,
    with_offset: bool = False,
    use_index: bool = True,
) -> dict[str, Any]:
    """Write a query as `persisting_bucket_query` wants it."""
    if isinstance(columns, str):
        raise InvalidArgumentError(f"columns: want a list of names, got the string {columns!r}")
    if not isinstance(where, str | None):
        raise InvalidArgumentError(f"filter: want a string of SQL or None, got {where!r}")
    return {
        "filter": where or "",
        "columns": None if columns is None else list(columns),
        "limit": None if limit is None else integer("limit", limit, 0, MOST),
        "offset": integer("offset", offset, 0, MOST),
        "order_by": _order(order_by),
        "with_offset": with_offset,
        "without_index": not use_index,
    }


def _order(order_by: OrderBy | None) -> list[dict[str, Any]]:
    if order_by is None:
        return []
    if isinstance(order_by, str) or (
        isinstance(order_by, tuple) and len(order_by) == 2 and order_by[1] in _DIRECTIONS
    ):
        order_by = [order_by]  # type: ignore[list-item]
    keys = []
    for key in order_by:
        column, direction = (key, "asc") if isinstance(key, str) else key
        if direction not in _DIRECTIONS:
            raise InvalidArgumentError(f'order_by: want "asc" or "desc", got {direction!r}')
        keys.append({"column": column, "descending": _DIRECTIONS[direction]})
    return keys


def _search_request(
    query: Any,
    column: str | Sequence[str],
    where: str | None,
    *,
    k: int = 10,
    metric: str | None = None,
    nprobes: int | None = None,
    refine: int | None = None,
    ef: int | None = None,
    **options: Any,
) -> tuple[dict[str, Any], list[float] | None]:
    """Write a search as `persisting_bucket_query` wants it."""
    text = query if isinstance(query, str) else None
    search = {
        "columns": [column] if isinstance(column, str) else list(column),
        "text": text,
        "k": integer("k", k, 1, _MAX_K),
        "metric": metric or "",
        "nprobes": 0 if nprobes is None else integer("nprobes", nprobes, 0, _MAX_K),
        "refine": 0 if refine is None else integer("refine", refine, 0, _MAX_K),
        "ef": 0 if ef is None else integer("ef", ef, 0, _MAX_K),
    }
    request = {**_request(where, **options), "search": search}
    return request, None if text is not None else _vector(query)


def _vector(query: Any) -> list[float]:
    for convert in ("tolist", "to_pylist"):
        if hasattr(query, convert):
            query = getattr(query, convert)()
            break
    try:
        return [float(x) for x in query]
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"search: want a str, or a vector of numbers in one dimension: {error}"
        ) from error
