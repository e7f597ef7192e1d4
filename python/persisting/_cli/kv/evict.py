"""Forget what is worth least, until a store takes no more than a size.

What is pinned stays. The capacity stays as well: the next program that stores blocks
fills the store again, up to its own.

Status: 0, or 2 when it could not be done; a store that is open elsewhere is left
alone, unless the address of its process is given in place of the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persisting._cli._buckets import count, size
from persisting._cli.kv import _stores
from persisting.kv._sizes import in_bytes

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _stores.add_path(parser)
    parser.add_argument("--to", required=True, metavar="SIZE", help='such as "100 GiB"')


def run(arguments: argparse.Namespace) -> int:
    """Evict and return the status."""
    path = _stores.one(arguments.path)
    goal = in_bytes(arguments.to, "--to")
    with _stores.opened(path) as store:
        before = store.stats()
        store.evict(goal)
        after = store.stats()
    gone = count(before["keys"] - after["keys"], "block")
    print(f"{path}: forgot {gone}; {size(after['disk_bytes'])} on disk")
    return 0
