"""What `query` and `export` share: saying which rows, which columns, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting._cli._streams import utf8
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import pyarrow as pa


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Declare the columns, the order and the page."""
    parser.add_argument(
        "--columns",
        action="append",
        type=utf8,
        default=[],
        metavar="A,B",
        help="columns of the result, in this order; default all",
    )
    parser.add_argument("--limit", type=count, metavar="N", help="most rows")
    parser.add_argument("--offset", type=count, default=0, metavar="N", help="rows to leave out")
    parser.add_argument(
        "--order-by",
        action="append",
        type=utf8,
        default=[],
        metavar="'A desc'",
        help="a column, with asc or desc after it; again for rows that are equal in it",
    )


def count(text: str) -> int:
    """Read a number of up to 63 bits that is not negative; argparse tells of a ValueError."""
    number = int(text)
    if not 0 <= number < 2**63:
        raise ValueError
    return number


def request(
    arguments: argparse.Namespace, schema: pa.Schema, *, limit: int | None, with_offset: bool
) -> dict[str, Any]:
    """Write a query as `persisting_bucket_query` wants it."""
    columns = split(arguments.columns, schema)
    return {
        "filter": arguments.filter or "",
        "columns": columns or None,
        "limit": limit,
        "offset": arguments.offset,
        "order_by": [_key(text, schema) for text in arguments.order_by],
        "with_offset": with_offset,
    }


def split(given: Sequence[str], schema: pa.Schema) -> list[str]:
    """Return names of columns that were given with commas between them."""
    names: list[str] = []
    for text in given:
        names += [text] if text in schema.names else text.split(",")
    return names


def _key(text: str, schema: pa.Schema) -> dict[str, Any]:
    column, _, direction = text.rpartition(" ")
    if text in schema.names or not column:
        return {"column": text, "descending": False}
    if direction.lower() not in ("asc", "desc"):
        raise InvalidArgumentError(f"--order-by: want 'column asc' or 'column desc', got {text!r}")
    return {"column": column.rstrip(), "descending": direction.lower() == "desc"}
