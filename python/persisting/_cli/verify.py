"""Check the log and the table of a bucket, and change nothing.

Reads every row, and holds every file of the table against the checksum that was
noted when it was written. A bucket that is open elsewhere is checked as it is at the
moment. What a crash left, and the next open puts in order, is a note, not a fault.

Status: 0 sound, 1 damaged, 2 it could not be checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting._cli import _buckets
from persisting._engine import directory

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

DAMAGED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _buckets.add_arguments(parser)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="check that the files of the table are there and whole, and do not read its rows",
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify and return the status."""
    return _buckets.each(
        arguments,
        lambda path: directory.verify(path, quick=arguments.quick),
        show,
        lambda found: 0 if found["sound"] else DAMAGED,
    )


def show(path: Path, found: dict[str, Any]) -> None:
    """Print what was found for a person."""
    print(f"{path}: {'sound' if found['sound'] else 'DAMAGED'}, {_buckets.summary(found)}")
    _buckets.show_faults(found)
    if unknown := found["table"]["files_without_checksum"]:
        print(f"  note: no checksum was noted of {_buckets.count(unknown, 'file')} of the table")
