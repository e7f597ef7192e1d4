"""Print the first rows.

Works while the bucket is open elsewhere, and changes nothing.

Status: 0, or 2 when it could not be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persisting._cli import _looking, _output
from persisting._cli._looking import Rows, looking, one
from persisting._cli._selection import count

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _looking.add_path(parser)
    parser.add_argument("-n", type=count, default=10, metavar="N", help="rows; default %(default)s")
    _output.add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print and return the status."""
    with looking(one(arguments.path)) as table:
        rows = Rows(table.schema())
        printer = _output.printer(arguments, rows.schema)
        left = arguments.n
        with table.read(table.first_from(0), table.acknowledged()) as cursor:
            for batch in rows.read(cursor):
                printer.write(batch[:left])
                left -= len(batch)
                if left <= 0:
                    break
    return 0
