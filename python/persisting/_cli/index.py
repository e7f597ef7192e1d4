"""List, build and drop the indexes of a bucket.

    persisting index ./bucket list
    persisting index ./bucket create env --type bitmap
    persisting index ./bucket create embedding --type ivf_pq -o metric=cosine -o partitions=64
    persisting index ./bucket drop env_idx

docs/queries.md has the types and their options. To build and to drop, the bucket must
not be open elsewhere: a program does that with its own, see `create_index()`. To list,
it may be.

Status: 0, or 2 when it failed.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from persisting._cli import _looking
from persisting._cli._buckets import size
from persisting._cli._looking import looking, one, opened
from persisting._cli._progress import Bar
from persisting._cli._streams import utf8
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import argparse

    from persisting._engine.bucket import Bucket

_LOOK = 0.2  # seconds between two looks at the progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _looking.add_path(parser)
    commands = parser.add_subparsers(required=True, metavar="list|create|drop", dest="action")
    listing = commands.add_parser("list", help="show the indexes and what they cover")
    listing.add_argument("--json", action="store_true", help="a line of JSON for each index")
    create = commands.add_parser("create", help="build an index of a column")
    create.add_argument("column", type=utf8, metavar="COLUMN")
    create.add_argument("--type", type=utf8, default="btree", help="default %(default)s")
    create.add_argument("--name", type=utf8, help="default: the column with _idx after it")
    create.add_argument("--replace", action="store_true", help="replace one of that name")
    create.add_argument(
        "-o",
        "--option",
        type=utf8,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the type; may be given again",
    )
    drop = commands.add_parser("drop", help="remove an index")
    drop.add_argument("name", type=utf8, metavar="NAME")


def run(arguments: argparse.Namespace) -> int:
    """Do it and return the status."""
    path = one(arguments.path)
    if arguments.action == "list":
        with looking(path) as table:
            show(table.indexes(), as_json=arguments.json)
        return 0
    if arguments.action == "drop":
        with opened(path) as table:
            table.drop_index(arguments.name)
        return 0
    index = {
        "column": arguments.column,
        "type": arguments.type,
        "replace": arguments.replace,
        "options": dict(map(option, arguments.option)),
    }
    if arguments.name is not None:
        index["name"] = arguments.name
    with opened(path) as table:
        build(table, index)
    return 0


def build(table: Bucket, index: dict[str, Any]) -> None:
    """Build an index, and show how far it is."""
    done = threading.Event()
    with Bar(f"index {index['column']}") as shown:

        def watch() -> None:
            while not done.wait(_LOOK):
                for found in table.indexes():
                    if found["progress"]:
                        progress = found["progress"]
                        shown.update(progress["completed"], progress["total"], progress["stage"])

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            table.create_index(index)
        finally:
            done.set()
            watcher.join()


def option(text: str) -> tuple[str, Any]:
    """Read NAME=VALUE; a value that is not JSON is a string."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgumentError(f"-o: want NAME=VALUE, got {text!r}")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):
        return name, {"True": True, "False": False}.get(value, value)


def show(indexes: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print the indexes."""
    for index in indexes:
        if as_json:
            print(json.dumps(index))
            continue
        taken = "" if index["bytes"] is None else f", {size(index['bytes'])}"
        print(
            f"{index['name']}: {index['type']} of {index['column']}, "
            f"{index['rows_indexed']:,} rows, {index['rows_unindexed']:,} not yet{taken}"
        )
