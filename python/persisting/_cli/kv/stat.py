"""Show what a store holds: blocks, segments, namespaces, salts, and who has it open.

Changes nothing, and works on a store that is open elsewhere. What a running program
did with a store, and how fast, is shown by `persisting top`.

Status: 0, or 2 when it could not be read.
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

# What only the process that has the store open can tell.
OF_A_PROCESS = (
    "hits", "read_bytes", "misses", "sets", "not_stored", "written_bytes", "moved_bytes", "evicted",
    "evicted_bytes", "deleted", "expired", "write_errors", "queued_loads", "queued_stores",
    "store_backlog_bytes", "recovery_walks", "write_amplification",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _stores.add_path(parser, several=True)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each store")


def run(arguments: argparse.Namespace) -> int:
    """Look and return the status."""
    return _buckets.each(arguments, look, show, lambda _: 0, _stores.find)


def look(path: Path) -> dict[str, Any]:
    """Return what is known of a store without its process."""
    with _stores.looking(path) as store:
        stats = store.stats()
    found = {name: value for name, value in stats.items() if name not in OF_A_PROCESS}
    return {"path": str(path), "in_use_by": "", **found}


def show(path: Path, found: dict[str, Any]) -> None:
    """Print what was found for a person."""
    most = size(found["capacity_bytes"]) if found["capacity_bytes"] else "an unknown capacity"
    print(f"{path}: {count(found['keys'], 'block')}, {size(found['bytes'])} of {most}")
    print(
        f"  {count(found['segments'], 'segment')} of {size(found['segment_bytes'])}, "
        f"{found['free_segments']:,} of them free; {size(found['disk_bytes'])} on disk"
    )
    if pinned := found["pinned_bytes"]:
        print(f"  pinned: {size(pinned)}")
    for noun in ("namespace", "salt"):
        for name, usage in sorted(found[f"{noun}s"].items()):
            quota = usage.get("quota_bytes", 0)
            if (usage["keys"] and name) or quota:
                bound = f", quota {size(quota)}" if quota else ""
                text = f"{count(usage['keys'], 'block')}, {size(usage['bytes'])}{bound}"
                print(f"  {noun} {printable(name)}: {text}")
    if holder := found["in_use_by"]:
        print(f"  open at this moment, by {holder}")
