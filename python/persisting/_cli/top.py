"""Watch the buckets and stores of a running program: rates, lag, log, memory, hits.

The program must have called `persisting.metrics.start_http_server`. Needs the package
rich: `pip install "persisting[cli]"`. Ctrl-C ends it.

Status: 0, 2 when there is no answer.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from persisting._cli import _server
from persisting._cli._buckets import size
from persisting._cli._output import printable
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import argparse

    from rich.console import Group
    from rich.table import Table

COLUMNS = (
    "bucket", "records", "put/s", "got/s", "not in Lance", "lag", "log", "table", "fragments",
    "memory", "flushes", "errors", "state",
)  # fmt: skip

STORE_COLUMNS = (
    "store", "blocks", "size", "capacity", "pinned", "hits", "got/s", "set/s", "evicted/s",
    "not stored/s", "waiting", "written/set", "faults",
)  # fmt: skip

# Counts of a store, by what they tell of.
LOADS = ("hits", "missed_absent", "missed_length", "missed_damaged", "missed_failed", "missed_late")
NOT_STORED = ("not_stored_failed", "not_stored_refused", "not_stored_full", "not_stored_shed")
FAULTS = ("missed_damaged", "missed_failed", "write_errors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _server.add_arguments(parser)
    parser.add_argument(
        "--interval", type=float, default=2.0, help="seconds between two looks; default %(default)s"
    )
    parser.add_argument("--once", action="store_true", help="look twice, print, and end")


def run(arguments: argparse.Namespace) -> int:
    """Watch and return the status."""
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError as error:
        raise OSError('top needs the package rich: pip install "persisting[cli]"') from error
    if not 0.1 <= arguments.interval <= 3600:
        raise InvalidArgumentError(f"--interval: want 0.1 to 3600, got {arguments.interval}")
    console = Console()
    before = look(arguments)
    try:
        if arguments.once:
            time.sleep(arguments.interval)
            console.print(draw(look(arguments), before))
            return 0
        with Live(draw(before, before), console=console, auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(arguments.interval)
                try:
                    now = look(arguments)
                except ConnectionError as error:
                    shown = draw(before, before, str(error))
                else:
                    shown, before = draw(now, before), now
                live.update(shown, refresh=True)
    except KeyboardInterrupt:
        return 0


def look(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask the server how the buckets are."""
    body = _server.ask(arguments, "status.json")
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):  # no JSON
        status = None
    if not isinstance(status, dict) or not {"buckets", "stores"} <= status.keys():
        raise ConnectionError(f"{arguments.url} answers, but not with the state of buckets")
    return status


def draw(now: dict[str, Any], before: dict[str, Any], trouble: str = "") -> Group:
    """Make tables of what is now, with rates since a look before, and what is to be said."""
    from rich.console import Group

    tables = [draw_buckets(now, before)]
    if now["stores"]:
        tables.append(draw_stores(now, before))
    tables[-1].caption = trouble or None
    return Group(*tables)


def draw_buckets(now: dict[str, Any], before: dict[str, Any]) -> Table:
    """Make a table of the buckets."""
    from rich.text import Text

    title = f"Persisting {now['version']}, process {now['pid']}, {len(now['buckets'])} buckets"
    table = empty(title, COLUMNS)
    known = {bucket["path"]: bucket["counts"] for bucket in before["buckets"]}
    seconds = now["time"] - before["time"]
    for bucket in now["buckets"]:
        counts = bucket["counts"]
        past = known.get(bucket["path"])
        cells = [
            printable(bucket["path"]),
            f"{bucket['rows']:,}",
            rate("put_count", counts, past, seconds),
            rate("records_read", counts, past, seconds),
            f"{bucket['buffer_rows']:,}",
            f"{counts['lag_seconds']:.1f} s",
            size(bucket["wal_bytes"]),
            size(bucket["table_bytes"]),
            f"{bucket['fragments']:,}",
            size(bucket["memory_bytes"]),
            f"{counts['flush_count']:,}",
            f"{counts['error_count']:,}",
        ]
        state = Text("refuses writes", "bold red") if bucket["poisoned"] else Text("ok", "green")
        table.add_row(*map(Text, cells), state)
    return table


def draw_stores(now: dict[str, Any], before: dict[str, Any]) -> Table:
    """Make a table of the stores of blocks."""
    from rich.text import Text

    table = empty(f"{len(now['stores'])} stores of blocks", STORE_COLUMNS)
    known = {store["path"]: store for store in before["stores"]}
    seconds = now["time"] - before["time"]
    for store in now["stores"]:
        past = known.get(store["path"])
        written = store["written_bytes"]
        faults = sum(store[name] for name in FAULTS)
        cells = [
            printable(store["path"]),
            f"{store['keys']:,}",
            size(store["bytes"]),
            size(store["capacity_bytes"]),
            size(store["pinned_bytes"]),
            share(store, past),
            rate("hits", store, past, seconds),
            rate("sets", store, past, seconds),
            rate("evicted", store, past, seconds),
            rate("not stored", unstored(store), past and unstored(past), seconds),
            f"{store['queued_loads'] + store['queued_stores']:,}",
            f"{1 + store['moved_bytes'] / written:.2f}" if written else "",
        ]
        style = "bold red" if faults else "green"
        table.add_row(*map(Text, cells), Text(f"{faults:,}", style))
    return table


def empty(title: str, columns: tuple[str, ...]) -> Table:
    """Make a table without rows."""
    from rich.table import Table

    table = Table(title=title, expand=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", overflow="fold", no_wrap=i > 0)
    return table


def unstored(store: dict[str, Any]) -> dict[str, int]:
    """Return how many sets were not stored."""
    return {"not stored": sum(store[name] for name in NOT_STORED)}


def share(store: dict[str, Any], past: dict[str, Any] | None) -> str:
    """Return the share of hits among the loads since a look before, or since the opening."""
    counted = {name: store[name] - (past[name] if past else 0) for name in LOADS}
    loads = sum(counted.values())
    return f"{counted['hits'] / loads:.0%}" if loads > 0 else ""


def rate(name: str, now: dict[str, Any], past: dict[str, Any] | None, seconds: float) -> str:
    """Return how much a count has grown in a second; nothing if that is not known."""
    if past is None or seconds <= 0 or now[name] < past[name]:
        return ""
    return f"{(now[name] - past[name]) / seconds:,.0f}"
