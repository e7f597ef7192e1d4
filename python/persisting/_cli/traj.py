"""Look at a store of trajectories, bring episodes in and out.

    persisting traj ls ./store "truncated AND steps > 10"
    persisting traj show ./store "worker 0, game 0"
    persisting traj stats ./store --column reward
    persisting traj export ./store chats.jsonl --format openai
    persisting traj import ./store chats.jsonl --format openai
    persisting traj serve ./store --socket ./steps.sock

The store may be in use, but not by an import, which makes it if it is not there; PATH may
also be the address of a process that serves one, as unix:./steps.sock. `serve` gives other
processes all methods of a store, TrajectoryStore.connect("unix:./steps.sock"), until Ctrl-C
or SIGTERM; they are told when it ends, and go on once it is back. Filters are
SQL over the columns of `ls --json`. Needs numpy. docs/trajectories.md has more.

Status: 0, or 2 when it failed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting._cli import _formats, _output, _serving
from persisting._cli._buckets import count, size
from persisting._cli._output import printable, to_json
from persisting._cli._selection import count as number
from persisting._cli._streams import holds_all_text, tell, utf8
from persisting._errors import InvalidArgumentError
from persisting.kv._addresses import is_address

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import numpy as np
    import pyarrow as pa

    from persisting.trajectory import Column, TrajectoryStore

FORMATS = ("openai", "atif")

_BARS = 20  # of a histogram
_WIDTH = 40  # of its longest bar, in characters
_STATES = ("open", "ended", "lost", "superseded")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = "|".join([*_ACTIONS, "serve"])
    commands = parser.add_subparsers(required=True, metavar=actions, dest="action")

    def command(action: str, text: str) -> argparse.ArgumentParser:
        own = commands.add_parser(action, help=text)
        own.add_argument("path", type=utf8, metavar="PATH", help="directory of the store")
        return own

    listing = command("ls", "list the episodes, each attempt of them")
    show = command("show", "show the steps of an episode")
    show.add_argument("episode", type=utf8, metavar="EPISODE", help="id of the episode")
    stats = command("stats", "count steps and episodes, and draw the sums of a column")
    stats.add_argument("--column", type=utf8, help="a number of each step, such as reward")
    for own in (listing, stats):
        own.add_argument("where", type=utf8, metavar="FILTER", nargs="?", help="of episodes")
    for own in (listing, show):
        own.add_argument("-n", "--limit", type=number, help="list so many at most")
    for own in (listing, show, stats):
        own.add_argument("--json", action="store_true", help="lines of JSON")

    export = command("export", "write episodes that have ended, one in each line")
    load = command("import", "store the episodes of a file")
    for own, stdio in ((export, "stdout"), (load, "stdin")):
        own.add_argument("file", type=Path, metavar="FILE", help=f"a file; - is {stdio}")
        own.add_argument("--format", choices=FORMATS, required=True, help="what a line is")
    export.add_argument("--filter", type=utf8, metavar="FILTER", help="SQL; default all episodes")
    export.add_argument("--force", action="store_true", help="replace FILE")

    _serving.add_arguments(command("serve", "serve the store to other processes"))


def run(arguments: argparse.Namespace) -> int:
    """Do it and return the status."""
    try:
        from persisting import trajectory
    except ImportError as error:
        raise OSError("traj needs the package numpy: pip install numpy") from error
    path = arguments.path
    if arguments.action == "serve":
        return _serving.run(arguments, lambda: trajectory.TrajectoryStore(path))
    writes = arguments.action == "import"
    columns = trajectory.ATIF_COLUMNS if writes and arguments.format == "atif" else None
    if is_address(path):
        store = trajectory.TrajectoryStore.connect(path, columns=columns)
    else:
        store = trajectory.TrajectoryStore(path, columns=columns, read_only=not writes)
    with store:
        _ACTIONS[arguments.action](store, arguments)
    return 0


def _print(arguments: argparse.Namespace, found: dict[str, Any], line: str) -> None:
    print(to_json(found, escaped=not holds_all_text(sys.stdout)) if arguments.json else line)


# ---- ls ----


def _list(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    for row in store.episodes(arguments.where).slice(0, arguments.limit).to_pylist():
        if row["metadata"] is not None:
            row["metadata"] = json.loads(row["metadata"])
        _print(arguments, row, _episode_line(row))


def _episode_line(row: dict[str, Any]) -> str:
    """Return a line on an attempt at an episode."""
    said = [row["state"]]
    if row["steps"] is not None:
        said.append(count(row["steps"], "step"))
    said += [flag for flag in ("terminated", "truncated") if row[flag]]
    if row["attempt"]:
        said.append(f"attempt {row['attempt']}")
    named = [("env", row["env"]), ("group", row["group_id"])]
    said += [f"{name} {printable(value)}" for name, value in named if value]
    return f"{printable(row['episode_id'])}: {', '.join(said)}"


# ---- show ----


def _show(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    episode = store.episode(arguments.episode)
    columns = {"version": episode.version, **episode.steps}
    if not arguments.json:
        flags = [flag for flag in ("terminated", "truncated") if getattr(episode, flag)]
        print(
            f"{printable(episode.episode_id)}: {', '.join([episode.state, *flags])},"
            f" {count(len(episode), 'step')}, metadata {json.dumps(episode.metadata)}"
        )
        if episode.final_observation is not None:
            print(f"final observation: {printable(_output.text(episode.final_observation))}")
    shown = _output.printer(arguments, _schema(store.columns), "step")
    limit = arguments.limit if arguments.limit is not None else shown.limit
    steps = range(len(episode))[:limit]
    shown.write([(at, {name: column[at] for name, column in columns.items()}) for at in steps])


def _schema(columns: dict[str, Column]) -> pa.Schema:
    """Return the columns of steps as they are shown."""
    import pyarrow as pa

    return pa.schema(
        [("version", pa.int32()), *(column.field(name) for name, column in columns.items())]
    )


# ---- stats ----


def _stats(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    stats = store.stats()
    episodes = store.episodes(arguments.where)
    lengths = _lengths(episodes)
    found = {
        "path": store.path,
        **{name: stats[name] for name in ("steps", "final_observations", *_STATES)},
        "columns": {name: _type(column) for name, column in store.columns.items()},
        "lengths": _spread(lengths),
    }
    sums = None
    if arguments.column is not None:
        sums = _sums(store, arguments.column, episodes)
        found["sums"] = {"column": arguments.column, **_spread(sums)}
    if arguments.json:
        _print(arguments, found, "")
        return
    states = ", ".join(f"{stats[state]:,} {state}" for state in _STATES if stats[state])
    print(f"{store.path}: {count(stats['steps'], 'step')}; episodes: {states or 'none'}")
    for name, kind in found["columns"].items():
        print(f"  {printable(name)}: {kind}")
    if len(lengths):
        print(f"  steps of an episode that is over: {_said(found['lengths'])}")
    if sums is not None and len(sums):
        print(f"  sum of {printable(arguments.column)}: {_said(found['sums'])}")
        for line in _histogram(sums):
            print(f"    {line}")


def _lengths(episodes: pa.Table) -> np.ndarray:
    """Return the numbers of steps of the attempts that are over."""
    import numpy as np

    if not len(episodes):  # of a store without any there are no columns
        return np.empty(0, np.int64)
    lengths: np.ndarray = episodes["steps"].drop_null().to_numpy()
    return lengths


def _type(column: Column) -> str:
    """Return the type of a column for a person."""
    if column.dtype is None:
        return column.kind
    if column.kind == "ragged":
        return f"{column.dtype}, ragged"
    return " x ".join(map(str, [column.dtype, *column.shape]))


def _sums(store: TrajectoryStore, name: str, episodes: pa.Table) -> np.ndarray:
    """Return the sums of a column over the episodes that have ended.

    Raises
    ------
    InvalidArgumentError
        It is no number of each step.
    """
    import numpy as np

    column = store.columns.get(name)
    if column is None or column.kind != "array" or column.shape:
        raise InvalidArgumentError(
            f"--column: {name!r} is no number of each step; columns are {[*store.columns]}"
        )
    if not len(episodes):
        return np.empty(0)
    steps = store.query(columns=["episode", name])
    values, of = steps[name].to_numpy(), steps["episode"].to_numpy()
    state = episodes["state"].to_pylist()
    numbers = episodes["number"].to_numpy()[[one == "ended" for one in state]]
    sums = np.bincount(of, values, minlength=int(numbers.max(initial=0)) + 1)
    found: np.ndarray = sums[numbers]
    return found


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {"count": 0}
    return {
        "count": len(values),
        "min": float(values.min()),
        "mean": float(values.mean()),
        "max": float(values.max()),
    }


def _said(spread: dict[str, float]) -> str:
    return f"{spread['min']:,.4g} to {spread['max']:,.4g}, mean {spread['mean']:,.4g}"


def _histogram(values: np.ndarray) -> list[str]:
    """Return lines with how many values there are in each of some ranges."""
    import numpy as np

    counts, edges = np.histogram(values[np.isfinite(values)], min(_BARS, len(values)))
    edge = max((len(f"{edge:.4g}") for edge in edges), default=0)
    most = max(counts.max(), 1)
    return [
        f"{first:>{edge}.4g} {'#' * round(_WIDTH * number / most):<{_WIDTH}} {number:,}"
        for first, number in zip(edges, counts, strict=False)
    ]


# ---- export and import ----


def _export(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    from persisting import trajectory

    write = {"openai": trajectory.export_openai, "atif": trajectory.export_atif}
    file = arguments.file
    with _formats.written(file, force=arguments.force) as out:
        episodes = write[arguments.format](store, out, arguments.filter)
    if file != _formats.STDIO:
        tell(f"{file}: {count(episodes, 'episode')}, {size(file.stat().st_size)}")


def _import(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    from persisting import trajectory

    read = {"openai": trajectory.import_openai, "atif": trajectory.import_atif}
    file = arguments.file
    if file == _formats.STDIO:
        episodes = read[arguments.format](store, sys.stdin.buffer)
    else:
        with file.open("rb") as lines:
            episodes = read[arguments.format](store, lines)
    tell(f"{arguments.path}: {count(episodes, 'episode')}")


_ACTIONS: dict[str, Callable[[TrajectoryStore, argparse.Namespace], None]] = {
    "ls": _list,
    "show": _show,
    "stats": _stats,
    "export": _export,
    "import": _import,
}
