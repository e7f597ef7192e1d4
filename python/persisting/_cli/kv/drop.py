"""Remove all blocks of a namespace, durably.

Their place is used for new blocks; the files stay as large as they are.

Status: 0, 1 when the namespace has no blocks, 2 when it could not be done; a store that
is open elsewhere is left alone, unless the address of its process is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persisting._cli._buckets import count
from persisting._cli._streams import utf8
from persisting._cli.kv import _stores

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _stores.add_path(parser)
    parser.add_argument("namespace", type=utf8, help="as `stat` shows it; '' is a namespace too")


def run(arguments: argparse.Namespace) -> int:
    """Drop and return the status."""
    path = _stores.one(arguments.path)
    with _stores.opened(path) as store:
        dropped = store.drop(arguments.namespace)
    print(f"{path}: removed {count(dropped, 'block')}")
    return 0 if dropped else 1
