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
from persisting._cli._output import printable
from persisting._cli._store_tables import KINDS, Kind, Looks
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import argparse

    from rich.console import Group
    from rich.table import Table

COLUMNS = (
    "bucket", "records", "put/s", "got/s", "not in Lance", "lag", "log", "table", "fragments",
    "memory", "flushes", "errors", "state",
)  # fmt: skip


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
    """Ask the server how the buckets and stores are."""
    body = _server.ask(arguments, "status.json")
    try:
        status = json.loads(body)
    except (ValueError, RecursionError):  # no JSON
        status = None
    if not isinstance(status, dict) or not {"buckets", *KINDS} <= status.keys():
        raise ConnectionError(f"{arguments.url} answers, but not with the state of buckets")
    return status


def draw(now: dict[str, Any], before: dict[str, Any], trouble: str = "") -> Group:
    """Make tables of what is now, with rates since a look before, and what is to be said."""
    from rich.console import Group

    tables = [draw_buckets(now, before)]
    tables += [
        draw_stores(kind, looks(name, now, before)) for name, kind in KINDS.items() if now[name]
    ]
    tables[-1].caption = trouble or None
    return Group(*tables)


def looks(kind: str, now: dict[str, Any], before: dict[str, Any]) -> list[Looks]:
    """Return what is to be shown of the buckets, or of the stores of a kind."""
    known = {one["path"]: one for one in before[kind]}
    seconds = now["time"] - before["time"]
    return [Looks(one, known.get(one["path"]), now["time"], seconds) for one in now[kind]]


def draw_buckets(now: dict[str, Any], before: dict[str, Any]) -> Table:
    """Make a table of the buckets."""
    from rich.text import Text

    title = f"Persisting {now['version']}, process {now['pid']}, {len(now['buckets'])} buckets"
    table = empty(title, COLUMNS)
    for bucket in looks("buckets", now, before):
        counts = Looks(
            bucket.now["counts"], bucket.past and bucket.past["counts"], bucket.time, bucket.seconds
        )
        cells = [
            printable(bucket.now["path"]),
            bucket.count("rows"),
            counts.rate("put_count"),
            counts.rate("records_read"),
            bucket.count("buffer_rows"),
            f"{counts.now['lag_seconds']:.1f} s",
            bucket.bytes("wal_bytes"),
            bucket.bytes("table_bytes"),
            bucket.count("fragments"),
            bucket.bytes("memory_bytes"),
            counts.count("flush_count"),
            counts.count("error_count"),
        ]
        poisoned = bucket.now["poisoned"]
        state = Text("refuses writes", "bold red") if poisoned else Text("ok", "green")
        table.add_row(*map(Text, cells), state)
    return table


def draw_stores(kind: Kind, stores: list[Looks]) -> Table:
    """Make a table of the stores of a kind."""
    from rich.text import Text

    table = empty(f"{len(stores)} {kind.title}", kind.columns)
    for store in stores:
        faults = sum(store.now[name] for name in kind.faults)
        style = "bold red" if faults else "green"
        table.add_row(*map(Text, kind.cells(store)), Text(f"{faults:,}", style))
    return table


def empty(title: str, columns: tuple[str, ...]) -> Table:
    """Make a table without rows."""
    from rich.table import Table

    table = Table(title=title, expand=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left", overflow="fold", no_wrap=i > 0)
    return table
