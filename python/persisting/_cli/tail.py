"""Print the last rows, and with -f those that come.

Works while the bucket is open elsewhere, shows all rows that are acknowledged, and
changes nothing. Ctrl-C ends -f.

Status: 0, or 2 when it could not be read.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from persisting._cli import _looking, _output
from persisting._cli._looking import Rows, looking, note, one
from persisting._cli._selection import count
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import argparse

    from persisting._engine.bucket import Bucket


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _looking.add_path(parser)
    parser.add_argument("-n", type=count, default=10, metavar="N", help="rows; default %(default)s")
    parser.add_argument("-f", "--follow", action="store_true", help="wait for rows that come")
    parser.add_argument(
        "--interval",
        type=float,
        default=0.5,
        metavar="S",
        help="seconds between two looks of -f; default %(default)s",
    )
    _output.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print and return the status."""
    if not 0.01 <= arguments.interval <= 3600:
        raise InvalidArgumentError(f"--interval: want 0.01 to 3600, got {arguments.interval}")
    with looking(one(arguments.path)) as table:
        end = table.renew()
        schema = table.schema()
        rows = Rows(schema)
        printer = _output.printer(arguments, rows.schema)
        show(table, start(table, arguments.n, end), end, rows, printer)
        try:
            while arguments.follow:
                time.sleep(arguments.interval)
                first, end = end, table.renew()
                if end < first:
                    note(f"the bucket has {first - end} rows less than before")
                if table.schema() != schema:
                    schema = table.schema()
                    rows = Rows(schema)
                    printer = _output.printer(arguments, rows.schema)
                show(table, first, end, rows, printer)
        except KeyboardInterrupt:
            pass
    return 0


def start(table: Bucket, wanted: int, end: int) -> int:
    """Return the offset from which on so many rows are left."""
    span = wanted
    while wanted:
        first = max(0, end - span)
        with table.read(first, end - first) as cursor:
            runs = cursor.offsets()
        if first == 0 or sum(stop - begin for begin, stop in runs) >= wanted:
            break
        span *= 4
    else:
        return end
    for begin, stop in reversed(runs):
        if stop - begin >= wanted:
            return stop - wanted
        wanted -= stop - begin
    return 0


def show(table: Bucket, first: int, end: int, rows: Rows, printer: _output.Printer) -> None:
    """Print the rows that are left of a range."""
    if first >= end:
        return
    with table.read(first, end - first) as cursor:
        for batch in rows.read(cursor):
            printer.write(batch)
    sys.stdout.flush()
