"""The command line `persisting`: one module per command.

A command is a module whose doc string is its description, with two functions:
`add_arguments(parser)`, and `run(arguments)`, which returns the exit status. What
it raises of `PersistingError` and `OSError` becomes a line on stderr and status 2.
"""

from __future__ import annotations

import argparse
import inspect as introspection
import os
import sys
from typing import TYPE_CHECKING, Protocol

from persisting._cli import (
    compact,
    export,
    head,
    import_,
    index,
    inspect,
    metrics,
    query,
    repair,
    tail,
    top,
    verify,
)
from persisting._errors import PersistingError

if TYPE_CHECKING:
    from collections.abc import Sequence

CANNOT_RUN = 2


class Command(Protocol):
    """What a module of a command has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it and return the exit status."""


COMMANDS: dict[str, Command] = {
    "query": query,
    "head": head,
    "tail": tail,
    "export": export,
    "import": import_,
    "index": index,
    "compact": compact,
    "verify": verify,
    "repair": repair,
    "inspect": inspect,
    "top": top,
    "metrics": metrics,
}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="persisting", description="Read, fill and look after buckets of Persisting."
    )
    parsers = parser.add_subparsers(required=True, metavar="command")
    for name, command in COMMANDS.items():
        description = introspection.getdoc(command) or ""
        summary = description.partition("\n")[0]
        own = parsers.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv
        The arguments; default is those of the process.

    Returns
    -------
    int
        The exit status: 0, 1 where a command says so, 2 when it could not run.
    """
    parser = make_parser()
    arguments, rest = parser.parse_known_args(argv)
    if len(rest) == 1 and rest[0][:1] != "-" and vars(arguments).get("where", "") is None:
        arguments.where = rest.pop()  # argparse has looked for it before the options only
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # a pager that was left, say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT_RUN
    except (PersistingError, OSError) as error:
        print(f"persisting: {error}", file=sys.stderr)
        return CANNOT_RUN
    return status
