"""Read every block of a store and compare it with its checksums; change nothing.

A store that is open elsewhere is checked as it is at the moment; blocks that its
process replaces or forgets meanwhile are counted, and are no fault. A damaged block is
a miss when it is asked for, never wrong bytes.

Status: 0 sound, 1 damaged, 2 it could not be checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting._cli import _buckets
from persisting._cli._buckets import count, size
from persisting._cli._output import printable
from persisting._cli.kv import _stores

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

DAMAGED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _stores.add_path(parser, several=True)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each store")


def run(arguments: argparse.Namespace) -> int:
    """Verify and return the status."""
    return _buckets.each(
        arguments, look, show, lambda found: 0 if found["sound"] else DAMAGED, _stores.find
    )


def look(path: Path) -> dict[str, Any]:
    """Return what was found."""
    with _stores.looking(path) as store:
        return {"path": str(path), **store.verify()}


def show(path: Path, found: dict[str, Any]) -> None:
    """Print what was found for a person."""
    state = "sound" if found["sound"] else "DAMAGED"
    print(f"{path}: {state}, {count(found['keys'], 'block')} of {size(found['bytes'])} read")
    for fault in found["faults"]:
        of = f" (namespace {printable(fault['namespace'])})" if fault["namespace"] else ""
        print(f"  fault: {fault['file']}, byte {fault['byte']}{of}: {fault['what']}")
    if gone := found["gone"]:
        print(f"  note: {count(gone, 'block')} went meanwhile")
