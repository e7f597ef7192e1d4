"""Rows for a person, for a program, and for whoever reads neither tables nor JSON."""

from __future__ import annotations

import base64
import datetime
import json
import math
import sys
from typing import TYPE_CHECKING, Any

from persisting._cli._streams import holds_all_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    import pyarrow as pa
    from rich.console import Console

Row = tuple[int, dict[str, Any]]

_WIDEST = 48  # a cell, in characters
_NARROWEST = 8
_GAP = 2  # between two columns
_LONGEST = 1000  # of a value that is looked at for a cell


class Printer:
    """Prints rows as they come.

    Attributes
    ----------
    limit : int or None
        Most rows to print where the user did not say; None is all.
    """

    limit: int | None = None

    def write(self, rows: Sequence[Row]) -> None:
        """Print rows."""
        raise NotImplementedError


def add_json(parser: argparse.ArgumentParser) -> None:
    """Declare the form of the output."""
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")


def printer(arguments: argparse.Namespace, schema: pa.Schema, number: str = "_offset") -> Printer:
    """Return what prints rows in the form that was asked for, or that fits where they go.

    `number` names what each row begins with.
    """
    if arguments.json:
        return Lines(number)
    if sys.stdout.isatty():
        try:
            from rich.console import Console
        except ImportError:
            return Plain(schema, number)
        return Pretty(schema, number, Console(highlight=False))
    return Plain(schema, number)


class Lines(Printer):
    """An object of JSON for each row, whose number is its first member."""

    def __init__(self, number: str) -> None:
        self._number = number

    def write(self, rows: Sequence[Row]) -> None:
        """Print rows."""
        escaped = not holds_all_text(sys.stdout)
        sys.stdout.writelines(
            to_json({self._number: n, **record}, escaped=escaped) + "\n" for n, record in rows
        )


class Plain(Printer):
    """Values between tabs, below a line of names; nothing is cut."""

    def __init__(self, schema: pa.Schema, number: str) -> None:
        self._names = schema.names
        print("\t".join(map(_escape, [number, *self._names])))

    def write(self, rows: Sequence[Row]) -> None:
        """Print rows."""
        for n, record in rows:
            cells = [_escape(text(record[name])) if name in record else "" for name in self._names]
            print(str(n), *cells, sep="\t")


class Pretty(Printer):
    """Tables as wide as the terminal; all that `write` gets have the columns of the first."""

    limit = 100

    def __init__(self, schema: pa.Schema, number: str, console: Console) -> None:
        self._number = number
        self._names = schema.names
        self._types = [str(kind).replace("extension<arrow.json>", "json") for kind in schema.types]
        self._console = console
        self._widths: list[int] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Print rows."""
        from rich.table import Table
        from rich.text import Text

        cells = [[str(n), *(_cell(record, name) for name in self._names)] for n, record in rows]
        first = not self._widths
        if first:
            self._fit(cells)
        table = Table(box=None, show_header=first, pad_edge=False, padding=(0, _GAP, 0, 0))
        kinds = ["", *self._types]
        shown = len(self._widths)
        for i, name in enumerate([self._number, *self._names][:shown]):
            head = Text(printable(name), "bold")
            head.append(f"\n{kinds[i]}", "dim not bold")
            right = i == 0 or kinds[i] in _NUMBERS
            table.add_column(
                head,
                width=self._widths[i],
                justify="right" if right else "left",
                no_wrap=True,
                overflow="ellipsis",
            )
        for row in cells:
            table.add_row(
                *(Text(cell, "dim" if i == 0 else "") for i, cell in enumerate(row[:shown]))
            )
        self._console.print(table)
        hidden = self._names[shown - 1 :]
        if first and hidden:
            names = ", ".join(map(printable, hidden))
            self._console.print(Text(f"columns that did not fit: {names}", "dim"), soft_wrap=True)

    def _fit(self, cells: list[list[str]]) -> None:
        """Choose the widths of as many columns as fit."""
        heads = [
            [self._number, ""],
            *([n, k] for n, k in zip(self._names, self._types, strict=True)),
        ]
        room = self._console.width
        wanted = [
            min(_WIDEST, max(len(cell) for cell in [*head, *(row[i] for row in cells)]))
            for i, head in enumerate(heads)
        ]
        wanted[0] = max(wanted[0], len(cells[-1][0]) if cells else 0)
        least = [min(width, _NARROWEST) for width in wanted]
        while len(wanted) > 2 and sum(least[: len(wanted)]) + _GAP * (len(wanted) - 1) > room:
            wanted.pop()
        room -= _GAP * (len(wanted) - 1)
        while sum(wanted) > room and max(wanted[1:], default=0) > _NARROWEST:
            widest = max(range(1, len(wanted)), key=wanted.__getitem__)
            wanted[widest] -= 1
        self._widths = wanted


_NUMBERS = {
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("halffloat", "float", "double"),
}


def _cell(record: dict[str, Any], name: str) -> str:
    if name not in record:
        return ""
    value = record[name]
    if isinstance(value, str | bytes):
        value = value[:_LONGEST]
    return printable(text(value).replace("\n", "\N{RETURN SYMBOL}").replace("\t", " "))[:_LONGEST]


def text(value: Any) -> str:
    """Return a value as text; what is nested as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    found = plain(value)
    return found if isinstance(found, str) else to_json(found)


def printable(text: str) -> str:
    """Return text without what would steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _escape(text: str) -> str:
    """Return text for one cell of a line."""
    if text.isprintable() and "\\" not in text:
        return text
    text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    return printable(text.replace("\r", "\\r"))


def to_json(value: Any, *, escaped: bool = False) -> str:
    """Return a value as JSON, `escaped` to ASCII; what JSON cannot hold as `plain` says."""
    try:
        return json.dumps(value, default=plain, ensure_ascii=escaped, allow_nan=False)
    except ValueError:  # a NaN, or an infinity
        return json.dumps(_finite(value), ensure_ascii=escaped, allow_nan=False)


def plain(value: Any) -> Any:
    """Return something that JSON holds for a value that it does not.

    Bytes become text in base64, times text in ISO 8601, durations seconds, arrays lists,
    decimals text.
    """
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict | list | tuple | int | float | str) or value is None:
        return value
    return str(value)


def _finite(value: Any) -> Any:
    """Put null in the place of what is no number."""
    value = plain(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
