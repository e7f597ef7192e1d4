"""Commands, and how the parser learns of them."""

from __future__ import annotations

import argparse
import inspect as introspection
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Command(Protocol):
    """What a module of a command has."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it and return the exit status."""


def declare(parser: argparse.ArgumentParser, commands: Mapping[str, Command]) -> None:
    """Give a parser commands; `run` of what it reads is the one that was chosen."""
    parsers = parser.add_subparsers(required=True, metavar="command")
    for name, command in commands.items():
        # Without doc strings, as python -OO has it, there are the names and the arguments.
        description = introspection.getdoc(command) or name
        summary = description.partition("\n")[0]
        own: Any = parsers.add_parser(
            name,
            help=summary[0].lower() + summary[1:].rstrip("."),
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        own.set_defaults(run=command.run)
        command.add_arguments(own)
