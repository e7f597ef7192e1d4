"""What `persisting top` shows of a store: columns, and the cells of one by two looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from persisting._cli._buckets import size
from persisting._cli._output import printable

if TYPE_CHECKING:
    from collections.abc import Callable

# Counts of a store of blocks, by what they tell of.
LOADS = ("hits", "missed_absent", "missed_length", "missed_damaged", "missed_failed", "missed_late")
NOT_STORED = ("not_stored_failed", "not_stored_refused", "not_stored_full", "not_stored_shed")
FAULTS = ("missed_damaged", "missed_failed", "write_errors")

# Bytes of the tensors of versions that were saved, by how they were stored.
SAVED = ("shared_bytes", "changed_bytes", "whole_bytes")


@dataclass(frozen=True)
class Looks:
    """A bucket or a store as status.json has it, and as it was at the look before."""

    now: dict[str, Any]
    past: dict[str, Any] | None  # None of one that was not there
    time: float  # of this look, in Unix seconds
    seconds: float  # between the two

    def since(self, *names: str) -> float:
        """Return the growth of the sum of counts since the look before, or the opening."""
        past = self.past or dict.fromkeys(names, 0)
        return float(sum(self.now[name] - past[name] for name in names))

    def rate(self, *names: str, text: Callable[[float], str] = "{:,.0f}".format) -> str:
        """Return that growth in a second as text; nothing if it is not known."""
        if self.past is None or self.seconds <= 0 or self.since(*names) < 0:
            return ""
        return text(self.since(*names) / self.seconds)

    def count(self, *names: str) -> str:
        """Return the sum of numbers as text."""
        return f"{sum(self.now[name] for name in names):,}"

    def bytes(self, name: str) -> str:
        """Return a number of bytes as text."""
        return size(self.now[name])


class Kind(NamedTuple):
    """What is shown of the stores of a kind."""

    title: str
    columns: tuple[str, ...]
    cells: Callable[[Looks], list[str]]  # but for the last column
    faults: tuple[str, ...]  # counts whose sum is the last column


def of_blocks(store: Looks) -> list[str]:
    """Return the cells of a store of blocks."""
    loads, written = store.since(*LOADS), store.now["written_bytes"]
    return [
        printable(store.now["path"]),
        store.count("keys"),
        store.bytes("bytes"),
        store.bytes("capacity_bytes"),
        store.bytes("pinned_bytes"),
        f"{store.since('hits') / loads:.0%}" if loads > 0 else "",
        store.rate("hits"),
        store.rate("sets"),
        store.rate("evicted"),
        store.rate(*NOT_STORED),
        store.count("queued_loads", "queued_stores"),
        f"{1 + store.now['moved_bytes'] / written:.2f}" if written else "",
    ]


def of_parameters(store: Looks) -> list[str]:
    """Return the cells of a store of parameters."""
    newest, saved = store.now["newest_time"], sum(store.now[name] for name in SAVED)
    return [
        printable(store.now["path"]),
        store.count("names"),
        store.count("versions"),
        f"{max(0, store.time - newest):,.0f} s" if newest else "",
        store.bytes("tensor_bytes"),
        store.bytes("disk_bytes"),
        store.rate(*SAVED, text=size),
        f"{store.now['written_bytes'] / saved:.1%}" if saved else "",
        store.rate("loaded_bytes", text=size),
        store.rate("pulled_bytes", text=size),
        store.count("open_versions"),
    ]


def of_trajectories(store: Looks) -> list[str]:
    """Return the cells of a store of trajectories."""
    samples, rows = store.since("samples"), store.since("rows_hot", "rows_cold")
    return [
        printable(store.now["path"]),
        store.count("open", "ended"),
        store.count("open"),
        store.count("open_steps", "ended_steps"),
        store.count("sheet_rows"),
        store.rate("appended"),
        store.rate("drawn"),
        f"{1000 * store.since('sample_seconds') / samples:.2f} ms" if samples > 0 else "",
        f"{store.since('rows_hot') / rows:.0%}" if rows > 0 else "",
        store.count("behind"),
        store.count("leased"),
        store.rate("acks"),
        store.rate("prioritized"),
    ]


# The kinds by their names in status.json, in the order in which they are shown.
KINDS = {
    "stores": Kind(
        "stores of blocks",
        (
            "store", "blocks", "size", "capacity", "pinned", "hits", "got/s", "set/s", "evicted/s",
            "not stored/s", "waiting", "written/set", "faults",
        ),
        of_blocks,
        FAULTS,
    ),
    "parameters": Kind(
        "stores of parameters",
        (
            "parameters", "names", "versions", "newest", "of tensors", "on disk", "saved/s",
            "written/saved", "loaded/s", "pulled/s", "in use", "faults",
        ),
        of_parameters,
        ("faults",),
    ),
    "trajectories": Kind(
        "stores of trajectories",
        (
            "trajectories", "episodes", "open", "steps", "in sheets", "appended/s", "drawn/s",
            "sample", "hot", "behind", "leased", "acked/s", "priorities/s", "faults",
        ),
        of_trajectories,
        ("faults",),
    ),
}  # fmt: skip
