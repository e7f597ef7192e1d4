"""Print the rows that pass a filter.

    persisting query ./bucket "reward > 0.5 AND env = 'cartpole'" --order-by 'reward desc'

Works while the bucket is open elsewhere, sees all rows that are acknowledged, and
changes nothing. In a terminal at most 100 rows are shown unless --limit is given; into
a pipe all of them, with tabs between the values. docs/queries.md has the filters.

Status: 0, or 2 when it could not be answered.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from persisting._cli import _looking, _output, _selection
from persisting._cli._looking import Rows, looking, note, one
from persisting._cli._streams import utf8
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _looking.add_path(parser)
    parser.add_argument(
        "where", nargs="?", type=utf8, metavar="FILTER", help="SQL; default all rows"
    )
    parser.add_argument("--filter", type=utf8, metavar="FILTER", help="the same")
    _selection.add_selection(parser)
    _output.add_json(parser)
    parser.add_argument("--count", action="store_true", help="print how many rows pass instead")
    parser.add_argument(
        "--explain", action="store_true", help="print the plan, which names the indexes used"
    )


def run(arguments: argparse.Namespace) -> int:
    """Query and return the status."""
    if arguments.where is not None:
        if arguments.filter is not None:
            raise InvalidArgumentError("give the filter once, with or without --filter")
        arguments.filter = arguments.where
    path = one(arguments.path)
    with looking(path) as table:
        if arguments.count:
            found = table.count(arguments.filter)
            print(json.dumps({"count": found}) if arguments.json else found)
            return 0
        schema = table.schema()
        asked = _selection.request(arguments, schema, limit=arguments.limit, with_offset=True)
        if arguments.explain:
            plan = table.explain(asked, None).replace(table.path.lstrip("/"), str(path))
            print(json.dumps({"plan": plan}) if arguments.json else plan.rstrip())
            return 0
        with table.query(asked, None) as cursor:
            rows = Rows(cursor.schema)
            printer = _output.printer(arguments, rows.schema)
            most = printer.limit if arguments.limit is None else None
            shown = 0
            for batch in cursor:
                left = batch.num_rows if most is None else min(most - shown, batch.num_rows)
                if left or not shown:
                    printer.write(rows.queried(batch.slice(0, left)))
                shown += left
                if left < batch.num_rows:
                    note(f"these are the first {shown} rows; --limit and --offset give others")
                    break
            if not shown:
                printer.write([])
    return 0
