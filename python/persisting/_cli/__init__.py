"""The command line `persisting`: one module per command.

A command is a module whose doc string is its description, with two functions:
`add_arguments(parser)`, and `run(arguments)`, which returns the exit status. What
it raises becomes a line on stderr and status 2.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from persisting._cli import (
    _commands,
    _streams,
    compact,
    export,
    head,
    import_,
    index,
    inspect,
    kv,
    metrics,
    params,
    query,
    repair,
    tail,
    top,
    traj,
    verify,
)
from persisting._engine.functions import version
from persisting._errors import PersistingError

if TYPE_CHECKING:
    from collections.abc import Sequence

CANNOT_RUN = 2
INTERRUPTED = 130  # as a shell has it for a program that Ctrl-C ended


COMMANDS: dict[str, _commands.Command] = {
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
    "kv": kv,
    "params": params,
    "traj": traj,
    "top": top,
    "metrics": metrics,
}


class Version(argparse.Action):
    """Prints the version, which only the library knows, and ends the program."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it."""
        print(f"persisting {version()}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="persisting", description="Read, fill and look after buckets and stores."
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    _commands.declare(parser, COMMANDS)
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
        The exit status: 0, 1 where a command says so, 2 when it could not run, 130 when
        Ctrl-C ended it.
    """
    _streams.prepare()
    try:
        arguments = parse(argv)
    except SystemExit as ended:  # after --help, or a line on what is wrong
        _streams.lost(sys.stderr)
        if _output_is_lost():
            raise SystemExit(CANNOT_RUN) from None
        raise ended from None
    status, failure = run(arguments)
    if _output_is_lost():
        return CANNOT_RUN
    if failure:
        _streams.say(failure)
    return status


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments.

    Raises
    ------
    SystemExit
        They are wrong, which was said, or ask for nothing but help.
    """
    parser = make_parser()
    arguments, rest = parser.parse_known_args(argv)
    if len(rest) == 1 and rest[0][:1] != "-" and vars(arguments).get("where", "") is None:
        arguments.where = rest.pop()  # argparse has looked for it before the options only
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def run(arguments: argparse.Namespace) -> tuple[int, str]:
    """Run a command; return its status, and what is to be said of a failure."""
    try:
        return arguments.run(arguments), ""
    except KeyboardInterrupt:
        return INTERRUPTED, "interrupted"
    except BrokenPipeError:  # of a pager that was left, say
        return CANNOT_RUN, ""
    except (PersistingError, OSError) as error:
        return CANNOT_RUN, str(error)
    except SystemExit:  # rich ends the program when its output goes nowhere
        return CANNOT_RUN, ""
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        # Status 1, which Python would end with, says of a bucket that it is damaged.
        name = type(error).__name__
        return CANNOT_RUN, f"internal error, python -X dev shows where: {name}: {error}"


def _output_is_lost() -> bool:
    """Tell whether stdout did not take all; say so, unless its reader left of its own accord."""
    error = _streams.lost(sys.stdout)
    if error is None:
        return False
    if not isinstance(error, BrokenPipeError):
        _streams.say(f"stdout: {error.strerror}")
    return True
