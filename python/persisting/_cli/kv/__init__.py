"""Look at stores of blocks, and look after them.

`stat`, `ls` and `verify` work beside the process that has a store open, and change
nothing. `evict` and `drop` open it, and name the process that has it where there is one.

Status: 0, 2 when it could not be done, and what else the help of each command says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from persisting._cli import _commands
from persisting._cli.kv import bench, drop, evict, ls, stat, verify

if TYPE_CHECKING:
    import argparse

COMMANDS: dict[str, _commands.Command] = {
    "stat": stat,
    "ls": ls,
    "verify": verify,
    "evict": evict,
    "drop": drop,
    "bench": bench,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    _commands.declare(parser, COMMANDS)


def run(arguments: argparse.Namespace) -> int:
    """Refuse: the parser does not end without one of the commands."""
    raise AssertionError(arguments)
