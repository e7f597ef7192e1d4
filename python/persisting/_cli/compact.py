"""Merge small fragments, take rows into indexes, and give space back.

Space of rows and columns that were removed, and of versions that nobody needs. The
bucket must not be open elsewhere: a program compacts its own, see
`compaction_threshold` and `compact()`.

Status: 0, or 2 when it failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting._cli import _buckets
from persisting._cli._buckets import count, size
from persisting._cli._looking import opened
from persisting._cli._progress import Bar
from persisting._engine import directory

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _buckets.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compact and return the status."""
    return _buckets.each(arguments, compact, show, lambda _: 0)


def compact(path: Path) -> dict[str, Any]:
    """Compact a bucket and return what changed."""
    before = directory.inspect(path)
    with opened(path) as table, Bar(f"compact {path.name}"):
        table.flush()
        table.compact()
    after = directory.inspect(path)
    return {
        "path": str(path),
        "rows": after["rows"],
        "before": _measure(before),
        "after": _measure(after),
    }


def _measure(found: dict[str, Any]) -> dict[str, int]:
    table = found["table"]
    return {
        "fragments": len(table.get("fragments", [])),
        "versions": len(table.get("versions", [])),
        "disk_bytes": found["disk_bytes"],
    }


def show(path: Path, found: dict[str, Any]) -> None:
    """Print what changed for a person."""
    before, after = found["before"], found["after"]
    print(
        f"{path}: {count(found['rows'], 'row')}, "
        f"{before['fragments']} -> {count(after['fragments'], 'fragment')}, "
        f"{before['versions']} -> {count(after['versions'], 'version')}, "
        f"{size(before['disk_bytes'])} -> {size(after['disk_bytes'])} on disk"
    )
