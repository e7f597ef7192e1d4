"""What the commands about directories share: finding buckets, and telling of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting._cli._streams import say
from persisting._errors import NotFoundError, PersistingError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

PARTS = ("bucket.json", "data.lance", "wal")
MARKS = PARTS[:2]  # names that little else has
FAILED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the path and the form of the output."""
    parser.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="a bucket, or a directory of buckets such as the storage_path of a queue",
    )
    parser.add_argument("--json", action="store_true", help="a line of JSON for each bucket")


def find(path: Path) -> list[Path]:
    """Return the buckets at `path`: itself, or those that it holds.

    Raises
    ------
    NotFoundError
        There is none.
    """
    if has(path, PARTS):
        return [path]
    found = sorted(p for p in path.iterdir() if has(p, MARKS)) if path.is_dir() else []
    if not found:
        raise NotFoundError(f"{path} is no bucket and holds none: it has no {' or '.join(PARTS)}")
    return found


def has(path: Path, parts: tuple[str, ...]) -> bool:
    """Return whether a directory has one of the parts."""
    return any(os.path.lexists(path / part) for part in parts)


def each(
    arguments: argparse.Namespace,
    look: Callable[[Path], dict[str, Any]],
    show: Callable[[Path, dict[str, Any]], None],
    judge: Callable[[dict[str, Any]], int],
    found_at: Callable[[Path], list[Path]] = find,
) -> int:
    """Look at each bucket or store, print what was found and return the highest status."""
    worst = 0
    for path in found_at(arguments.path):
        try:
            found = look(path)
        except PersistingError as error:
            say(f"{path}: {error}")
            worst = max(worst, FAILED)
            continue
        if arguments.json:
            print(json.dumps(found))
        else:
            show(path, found)
        worst = max(worst, judge(found))
    return worst


def count(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(count: float) -> str:
    """Return a number of bytes for a person."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def rows(first: int, end: int) -> str:
    """Return a run of rows, `[first, end)`, for a person; an end below 0 is not known."""
    if end < 0:
        return f"all rows from {first} on"
    return f"row {first}" if end == first + 1 else f"rows {first} to {end - 1}"


def ranges(runs: list[list[int]]) -> str:
    """Return runs of rows for a person."""
    return ", ".join(rows(first, end) for first, end in runs)


def summary(found: dict[str, Any]) -> str:
    """Return a line on the rows of a bucket."""
    removed = found["table"]["end"] - found["table"]["rows"]
    return (
        f"{count(found['rows'], 'row')}, {found['table']['rows']:,} of them in the table "
        f"and {found['log']['rows']:,} in the log"
        + (f"; {removed:,} were removed" if removed else "")
    )


def show_faults(found: dict[str, Any]) -> None:
    """Print faults and notes, a line each."""
    for fault in found["faults"]:
        place = fault["file"] if fault["byte"] is None else f"{fault['file']}, byte {fault['byte']}"
        lost = f" ({ranges(fault['rows'])})" if fault["rows"] else ""
        print(f"  fault: {place}: {fault['what']}{lost}")
    for note in found["notes"]:
        print(f"  note: {note}")
    if found["in_use_by"]:
        print(f"  note: open at this moment, by {found['in_use_by']}")
