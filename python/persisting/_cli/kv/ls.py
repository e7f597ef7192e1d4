r"""List the keys of a store, with their lengths, namespaces and salts.

Changes nothing, and works on a store that is open elsewhere; what comes or goes
meanwhile may be listed or not. Keys that are no text have their other bytes as \x00.

Status: 0, or 2 when it could not be read.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from persisting._cli._output import printable
from persisting._cli._streams import utf8
from persisting._cli.kv import _stores
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from persisting._engine.kv import Store

PAGE = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _stores.add_path(parser)
    parser.add_argument("--namespace", type=utf8, help="list those of one namespace only")
    parser.add_argument("-n", "--limit", type=int, help="list so many at most")
    parser.add_argument(
        "--json",
        action="store_true",
        help='a line of JSON for each, with "key" in base64',
    )


def run(arguments: argparse.Namespace) -> int:
    """List and return the status."""
    if arguments.limit is not None and arguments.limit < 0:
        raise InvalidArgumentError(f"--limit: want at least 0, got {arguments.limit}")
    left = arguments.limit
    with _stores.looking(_stores.one(arguments.path)) as store:
        for namespace, entry in entries(store, arguments.namespace):
            if left == 0:
                break
            left = None if left is None else left - 1
            show(namespace, entry, as_json=arguments.json)
    return 0


def entries(store: Store, chosen: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield namespaces and keys, in the order of the former."""
    usage = store.stats()["namespaces"]
    for namespace in [chosen] if chosen is not None else sorted(usage):
        cursor: Any = None
        while True:
            page = store.keys(namespace, cursor, PAGE)
            yield from ((namespace, entry) for entry in page["keys"])
            if (cursor := page["next"]) is None:
                break


def show(namespace: str, entry: dict[str, Any], *, as_json: bool) -> None:
    """Print a key."""
    if as_json:
        print(json.dumps({"namespace": namespace, **entry}))
        return
    key = base64.b64decode(entry["key"]).decode(errors="backslashreplace")
    cells = [f"{entry['length']:>12}", namespace, entry["salt"], key]
    print("\t".join(map(printable, cells)) + ("\tpinned" if entry["pinned"] else ""))
