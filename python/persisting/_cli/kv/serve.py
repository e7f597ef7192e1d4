"""Serve a store to other processes, until Ctrl-C or SIGTERM.

Programs take the address in the place of a path: KVStore.connect("unix:/run/kv.sock"),
and so do the plugs for vLLM, SGLang and LMCache. A store that is served has this
process as its owner; when it ends, its clients find nothing until it is back.

Status: 0, or 2 when it could not begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persisting._cli import _serving
from persisting._cli.kv import _stores
from persisting.kv import KVStore
from persisting.kv._sizes import in_bytes

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _stores.add_path(parser, address=False)
    parser.add_argument("--capacity", help='such as "500 GiB"; default: the last one of the store')
    _serving.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve and return the status."""
    # 0 is the capacity that the store had last.
    capacity = in_bytes(arguments.capacity, "--capacity") if arguments.capacity else 0
    return _serving.run(arguments, lambda: KVStore(arguments.path, capacity=capacity))
