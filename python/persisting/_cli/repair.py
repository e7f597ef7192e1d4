"""Make a damaged bucket one that opens, with all rows that are left.

Shows what is to be done, and does it with --apply. Rows keep their offsets: those
lost between others become null, those lost at the end are gone. Damaged files are
kept under names that end in .broken or .corrupt. The bucket must be closed.

Status: 0 nothing to do, or done; 1 a repair is needed or was not possible; 2 it
could not run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting._cli import _buckets
from persisting._engine import directory
from persisting._errors import CorruptError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

NEEDED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _buckets.add_arguments(parser)
    parser.add_argument("--apply", action="store_true", help="do it; otherwise nothing changes")


def run(arguments: argparse.Namespace) -> int:
    """Repair, or show what a repair would do, and return the status."""
    return _buckets.each(
        arguments,
        lambda path: look(path, apply=arguments.apply),
        lambda path, found: show(path, found, apply=arguments.apply),
        judge,
    )


def look(path: Path, *, apply: bool) -> dict[str, Any]:
    """Return what the engine says of a repair, or what keeps it from one."""
    try:
        return {**directory.repair(path, apply=apply), "beyond_repair": None}
    except CorruptError as error:
        return {"path": str(path), "beyond_repair": str(error)}


def judge(found: dict[str, Any]) -> int:
    """Return the status for one bucket."""
    if found["beyond_repair"] is not None:
        return NEEDED
    end = found["after"] or found["before"]
    return 0 if end["sound"] else NEEDED


def show(path: Path, found: dict[str, Any], *, apply: bool) -> None:
    """Print what was found, or done, for a person."""
    if found["beyond_repair"] is not None:
        print(f"{path}: beyond repair: {found['beyond_repair']}")
        return
    before, after = found["before"], found["after"]
    if before["sound"]:
        print(f"{path}: sound, there is nothing to do")
        return
    print(f"{path}: DAMAGED")
    _buckets.show_faults(before)
    print("  done:" if apply else "  a repair would")
    for step in found["steps"]:
        print(f"    {step}")
    print(f"  lost: {_buckets.ranges(found['lost']) or 'nothing'}")
    if after is None:
        print("  nothing was changed: run this again with --apply, after making a copy")
        return
    print(f"  now: {'sound' if after['sound'] else 'DAMAGED'}, {_buckets.summary(after)}")
    _buckets.show_faults(after)
