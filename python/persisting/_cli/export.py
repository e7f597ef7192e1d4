"""Write the rows to a Parquet, Arrow or JSON lines file, batch by batch.

    persisting export ./bucket rollouts.parquet --filter "reward > 0"
    persisting export ./bucket - --format jsonl | jq .reward

Works while the bucket is open elsewhere, sees all rows that are acknowledged, and
changes nothing. The file appears under its name once it is whole and on disk.
JSON lines have the records, Parquet and Arrow the columns.

Status: 0, or 2 when it failed; then there is no new file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from persisting._cli import _formats, _looking, _selection
from persisting._cli._buckets import count, size
from persisting._cli._looking import looking, one
from persisting._cli._progress import Bar
from persisting._cli._streams import tell, utf8

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _looking.add_path(parser)
    _formats.add_format(parser, "stdout", _formats.FORMATS)
    parser.add_argument("--filter", type=utf8, metavar="FILTER", help="SQL; default all rows")
    _selection.add_selection(parser)
    parser.add_argument("--with-offset", action="store_true", help="add the column _offset")
    parser.add_argument("--force", action="store_true", help="replace FILE")
    parser.add_argument("--json", action="store_true", help="tell what was written as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Export and return the status."""
    kind = _formats.format_of(arguments.file, arguments.format, _formats.FORMATS)
    path, file = one(arguments.path), arguments.file
    rows = 0
    with looking(path) as table, _formats.written(file, force=arguments.force) as out:
        asked = _selection.request(
            arguments, table.schema(), limit=arguments.limit, with_offset=arguments.with_offset
        )
        total = table.count(None) if arguments.filter is None else None
        if total is not None and arguments.limit is not None:
            total = min(total, arguments.limit)
        with table.query(asked, None) as cursor, Bar(f"export {path.name}") as shown:
            sink = _formats.sink(kind, out, cursor.schema, stream=file == _formats.STDIO)
            for batch in cursor:
                sink.write(batch)
                rows += batch.num_rows
                shown.update(rows, total, f"{rows:,} rows")
            sink.close()
    if file != _formats.STDIO:
        written = file.stat().st_size
        if arguments.json:
            print(json.dumps({"file": str(file), "rows": rows, "bytes": written}))
        else:
            tell(f"{file}: {count(rows, 'row')}, {size(written)}")
    return 0
