"""Print the metrics of a running program, in the Prometheus text format.

The program must have called `persisting.metrics.start_http_server`.

Status: 0, 1 when no metric has such a name, 2 when there is no answer.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from persisting._cli import _server
from persisting._cli._streams import utf8

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "name",
        nargs="*",
        type=utf8,
        help="print only metrics with one of these in their names, such as flush",
    )
    _server.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print and return the status."""
    text = _server.ask(arguments, "metrics").decode(errors="replace")
    if arguments.name:
        text = "".join(chosen(text, arguments.name))
    sys.stdout.write(text)
    return 0 if text else 1


def chosen(text: str, names: list[str]) -> Iterator[str]:
    """Yield the lines of metrics that have one of `names` in theirs."""
    wanted = False
    for line in text.splitlines(keepends=True):
        if line.startswith("# HELP "):
            metric = line.split(" ", 3)[2]
            wanted = any(name in metric for name in names)
        if wanted:
            yield line
