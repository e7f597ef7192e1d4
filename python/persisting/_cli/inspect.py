"""Show what a bucket holds: offsets, columns, fragments, versions, segments, sizes.

Changes nothing, and works on a bucket that is open elsewhere or damaged.

Status: 0, or 2 when it could not be read.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from persisting._cli import _buckets
from persisting._cli._buckets import count, ranges, rows, size
from persisting._engine import directory

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _buckets.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Inspect and return the status."""
    return _buckets.each(arguments, directory.inspect, show, lambda _: 0)


def show(path: Path, found: dict[str, Any]) -> None:
    """Print what was found for a person."""
    table, log = found["table"], found["log"]
    print(f"{path}: {_buckets.summary(found)}; {size(found['disk_bytes'])} on disk")
    print(f"  identity {found['id'] or 'unknown'}")
    _buckets.show_faults(found)
    columns = found.get("columns", [])
    print(f"  {count(len(columns), 'column')}")
    for column in columns:
        print(f"    {column['name']}: {column['type']}")
    fragments = table.get("fragments", [])
    print(
        f"  table: version {table['version']}, {count(len(fragments), 'fragment')}, "
        f"{size(table['bytes'])}"
    )
    for fragment in fragments:
        print(
            f"    fragment {fragment['id']}: {ranges(fragment['rows'])}, {size(fragment['bytes'])}"
        )
    for version in table.get("versions", []):
        print(f"    version {version['version']}: {describe_version(version)}")
    print(
        f"  log: {count(log['segments_found'], 'segment')}, {size(log['bytes'])} not in the table"
    )
    for segment in log.get("segments", []):
        print(f"    {segment['file']}: {describe_segment(segment)}")
    if waiting := found["ring"]["rows"]:
        print(f"  puts.ring: {count(waiting, 'row')} not in the log")
    for name in found["aside"]:
        print(f"  set aside: {name}")


def describe_version(version: dict[str, Any]) -> str:
    if version["torn"] is not None:
        return f"the manifest {version['torn']}"
    made = version["seconds"]
    when = "" if made is None else f", {datetime.datetime.fromtimestamp(made).astimezone()}"
    return f"{count(version['next_row_id'], 'row')}{when}"


def describe_segment(segment: dict[str, Any]) -> str:
    first = segment["first_row"]
    held = rows(first, first + segment["rows"]) if segment["rows"] else f"empty, from row {first}"
    marks = "".join(f", {mark}" for mark in ("closed", "salvaged") if segment[mark])
    used, allocated = size(segment["bytes"]), size(segment["allocated_bytes"])
    return f"{held}, {used} of {allocated}{marks}"
