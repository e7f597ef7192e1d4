"""Look at a store of trajectories, bring episodes in and out.

    persisting traj ls ./store "truncated AND steps > 10"
    persisting traj show ./store "worker 0, game 0"
    persisting traj replay ./store "worker 0, game 0" --interval 0.1
    persisting traj query ./store "reward > 0.5 AND step < 10"
    persisting traj stats ./store --column reward
    persisting traj plot ./store --column reward --output returns.svg
    persisting traj export ./store chats.jsonl --format openai
    persisting traj import ./store chats.jsonl --format openai
    persisting traj merge ./store ./other
    persisting traj rm ./store "worker 0, game 0"
    persisting traj serve ./store --socket ./steps.sock

The store may be in use, but not by import, merge and rm; the first two make it if it is not
there. PATH may also be the address of a process that serves one, as unix:./steps.sock. `serve`
gives other processes all methods of a store, TrajectoryStore.connect("unix:./steps.sock"),
until Ctrl-C or SIGTERM; they are told when it ends, and go on once it is back. Filters are SQL
over the columns of `ls --json`, and of query over those of steps. Needs numpy.
docs/trajectories.md has more.

Status: 0, or 2 when it failed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persisting._cli import _formats, _output, _plots, _selection, _serving
from persisting._cli._buckets import count, size
from persisting._cli._output import printable, to_json
from persisting._cli._selection import count as number
from persisting._cli._streams import holds_all_text, tell, utf8
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.kv._addresses import is_address

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import numpy as np
    import pyarrow as pa

    from persisting.trajectory import Column, Episode, TrajectoryStore

FORMATS = ("openai", "atif", "verl", "areal", "otel")

_WRITES = ("import", "merge")  # actions that open the store to write, and make it
_REWARD = "reward"  # the column of which sums are, where none is named
_BARS = 20  # of a histogram
_WIDTH = 40  # of its longest bar, in characters
_STATES = ("open", "ended", "lost", "superseded", "removed")


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
    replay = command("replay", "play an episode: its steps one after the other, and its end")
    for own in (show, replay):
        own.add_argument("episode", type=utf8, metavar="EPISODE", help="id of the episode")
    replay.add_argument("--interval", type=float, default=0.0, help="seconds between steps")
    query = command("query", "show the steps that an SQL filter takes, of all episodes")
    query.add_argument("where", type=utf8, metavar="FILTER", nargs="?", help="of steps")
    query.add_argument("--columns", action="append", type=utf8, default=[], metavar="A,B")
    stats = command("stats", "count steps and episodes, and draw the sums of a column")
    stats.add_argument("--column", type=utf8, help="a number of each step, such as reward")
    plot = command("plot", "draw the sums of a column, an episode beside the other")
    for own in (plot, replay):
        own.add_argument("--column", type=utf8, help=f"a number of each step; default {_REWARD}")
    plot.add_argument("--width", type=_positive, default=72, help="in characters")
    plot.add_argument("--height", type=_positive, default=8, help="in characters")
    plot.add_argument("--output", type=Path, metavar="FILE", help="an SVG instead; - is stdout")
    for own in (listing, stats, plot):
        own.add_argument("where", type=utf8, metavar="FILTER", nargs="?", help="of episodes")
    for own in (listing, show, replay, query):
        own.add_argument("-n", "--limit", type=number, help="list so many at most")
    for own in (listing, show, replay, query, stats, plot):
        own.add_argument("--json", action="store_true", help="lines of JSON")

    export = command("export", "write episodes that have ended, one in each line")
    load = command("import", "store the episodes of a file")
    for own, stdio in ((export, "stdout"), (load, "stdin")):
        own.add_argument("file", type=Path, metavar="FILE", help=f"a file; - is {stdio}")
        own.add_argument("--format", choices=FORMATS, required=True, help="what a line is")
    merge = command("merge", "store the episodes of another store that have ended")
    merge.add_argument("other", type=Path, metavar="OTHER", help="directory of the other store")
    remove = command("rm", "remove episodes from all reads and samplers")
    remove.add_argument("episodes", type=utf8, metavar="EPISODE", nargs="*", help="their ids")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    for own in (export, merge, remove):
        own.add_argument("--filter", type=utf8, metavar="FILTER", help="SQL, of episodes")
    for own in (export, plot):
        own.add_argument("--force", action="store_true", help="replace FILE")

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
    writes = arguments.action in _WRITES
    columns = _columns(arguments.format) if arguments.action == "import" else None
    if is_address(path):
        store = trajectory.TrajectoryStore.connect(path, columns=columns)
    else:
        store = trajectory.TrajectoryStore(path, columns=columns, read_only=not writes)
    with store:
        _ACTIONS[arguments.action](store, arguments)
    return 0


def _positive(text: str) -> int:
    """Read a number of 1 or more; argparse tells of a ValueError."""
    found = number(text)
    if not found:
        raise ValueError
    return found


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


# ---- replay ----


def _replay(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    if not 0 <= arguments.interval < float("inf"):
        raise InvalidArgumentError(f"--interval is {arguments.interval}, want 0 or more seconds")
    name = arguments.column
    if name is None and _is_number(store.columns.get(_REWARD)):
        name = _REWARD
    if name is not None:
        _require_number(store, name)
    episode = store.episode(arguments.episode)
    total = 0.0
    for at in range(len(episode))[: arguments.limit]:
        if at:
            time.sleep(arguments.interval)
        step = {column: values[at] for column, values in episode.steps.items()}
        said: dict[str, Any] = {"version": episode.version[at], **step}
        if name is not None:
            total += float(step[name])
            said[f"sum of {name}"] = total
        _print(arguments, {"step": at, **said}, _paragraph(f"step {at}", said))
        sys.stdout.flush()
    if arguments.limit is None or arguments.limit >= len(episode):
        _print(arguments, *_end(episode))


def _end(episode: Episode) -> tuple[dict[str, Any], str]:
    """Return how an episode ends, as an object and for a person."""
    flags = {name: getattr(episode, name) for name in ("terminated", "truncated")}
    final = episode.final_observation
    found = {"state": episode.state, **flags, "final_observation": final}
    said = ", ".join([episode.state, *(name for name, is_so in flags.items() if is_so)])
    return found, _paragraph(f"{said} after {count(len(episode), 'step')}", final or {})


def _paragraph(head: str, values: dict[str, Any]) -> str:
    """Return a line and one for each value below it."""
    lines = [f"  {printable(name)}: {printable(_output.text(v))}" for name, v in values.items()]
    return "\n".join([head, *lines])


# ---- query ----


def _query(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    schema = _schema(store.columns).insert(0, _place("episode")).insert(1, _place("step"))
    names = _selection.split(arguments.columns, schema) or schema.names
    wanted = _of(schema, names)
    found = store.query(arguments.where, columns=names, limit=arguments.limit)
    shown = _output.printer(arguments, wanted, "offset")
    if not len(found):  # a store without steps has no columns either
        shown.write([])
        return
    if arguments.limit is None and shown.limit is not None and len(found) > shown.limit:
        tell(f"these are the first {shown.limit} of {len(found):,} steps; -n gives more")
        found = found.slice(0, shown.limit)
    columns = store.columns
    cells = [
        columns[name].read(found[name]) if name in columns else found[name].to_pylist()
        for name in names
    ]
    rows = zip(found["offset"].to_pylist(), *cells, strict=True)
    shown.write([(offset, dict(zip(names, row, strict=True))) for offset, *row in rows])


def _place(name: str) -> pa.Field:
    import pyarrow as pa

    return pa.field(name, pa.uint32())


def _of(schema: pa.Schema, names: list[str]) -> pa.Schema:
    """Return some columns of a schema.

    Raises
    ------
    NotFoundError
        There is none of a name.
    """
    import pyarrow as pa

    for name in names:
        if name not in schema.names:
            raise NotFoundError(f"steps have no column {name!r}; there are {schema.names}")
    return pa.schema([schema.field(name) for name in names])


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

    _require_number(store, name)
    if not len(episodes):
        return np.empty(0)
    steps = store.query(columns=["episode", name])
    values, of = steps[name].to_numpy(), steps["episode"].to_numpy()
    state = episodes["state"].to_pylist()
    numbers = episodes["number"].to_numpy()[[one == "ended" for one in state]]
    sums = np.bincount(of, values, minlength=int(numbers.max(initial=0)) + 1)
    found: np.ndarray = sums[numbers]
    return found


def _is_number(column: Column | None) -> bool:
    return column is not None and column.kind == "array" and not column.shape


def _require_number(store: TrajectoryStore, name: str) -> None:
    """Raise an InvalidArgumentError unless a column is a number of each step."""
    if not _is_number(store.columns.get(name)):
        raise InvalidArgumentError(
            f"--column: {name!r} is no number of each step; columns are {[*store.columns]}"
        )


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


# ---- plot ----


def _plot(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    import numpy as np

    name = arguments.column or _REWARD
    episodes = store.episodes(arguments.where)
    sums = _sums(store, name, episodes)
    if arguments.json:
        ended = [row for row in episodes.to_pylist() if row["state"] == "ended"]
        for row, value in zip(ended, sums.tolist(), strict=True):
            _print(arguments, {"episode_id": row["episode_id"], "sum": value}, "")
        return
    drawn = sums[np.isfinite(sums)]
    if len(drawn) < len(sums):
        tell(f"{count(len(sums) - len(drawn), 'episode')} left out, whose sum is not finite")
    title = f"sum of {printable(name)}, {count(len(drawn), 'episode')}"
    if not len(drawn):
        raise NotFoundError("there is nothing to draw: no episode that has ended, or none here")
    if arguments.output is None:
        print(f"{title}: {_said(_spread(drawn))}")
        blocks = holds_all_text(sys.stdout)
        print(*_plots.text(drawn, arguments.width, arguments.height, blocks=blocks), sep="\n")
        return
    with _formats.written(arguments.output, force=arguments.force) as out:
        out.write(_plots.svg(drawn, title).encode())


# ---- export and import ----


def _columns(kind: str) -> dict[str, Column] | None:
    """Return the columns that a store needs for a format; None where it takes those that come."""
    from persisting import trajectory

    samples = trajectory.SAMPLE_COLUMNS
    own = {"atif": trajectory.ATIF_COLUMNS, "verl": samples, "areal": samples}
    return (own | {"otel": trajectory.SPAN_COLUMNS}).get(kind)


def _export(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    from persisting import trajectory

    write = {kind: getattr(trajectory, f"export_{kind}") for kind in FORMATS}
    file = arguments.file
    with _formats.written(file, force=arguments.force) as out:
        episodes = write[arguments.format](store, out, arguments.filter)
    if file != _formats.STDIO:
        tell(f"{file}: {count(episodes, 'episode')}, {size(file.stat().st_size)}")


def _import(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    from persisting import trajectory

    read = {kind: getattr(trajectory, f"import_{kind}") for kind in FORMATS}
    file = arguments.file
    if file == _formats.STDIO:
        episodes = read[arguments.format](store, sys.stdin.buffer)
    else:
        with file.open("rb") as lines:
            episodes = read[arguments.format](store, lines)
    tell(f"{arguments.path}: {count(episodes, 'episode')}")


# ---- merge and rm ----


def _merge(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    from persisting import trajectory

    with trajectory.TrajectoryStore(arguments.other, read_only=True) as other:
        episodes = trajectory.merge(store, other, arguments.filter)
    tell(f"{arguments.path}: {count(episodes, 'episode')} of {arguments.other}")


def _remove(store: TrajectoryStore, arguments: argparse.Namespace) -> None:
    from persisting import trajectory

    names = _to_remove(store, arguments)
    if not names:
        tell(f"{arguments.path}: there is no such episode")
        return
    if not arguments.yes and not _agreed(f"remove {count(len(names), 'episode')} for good? [y/N] "):
        tell("nothing was removed")
        return
    if is_address(arguments.path):
        removed = store.remove(names)
    else:  # what was open until now was read only
        with trajectory.TrajectoryStore(store.path) as own:
            removed = own.remove(names)
    tell(f"{arguments.path}: {count(removed, 'episode')} removed")


def _to_remove(store: TrajectoryStore, arguments: argparse.Namespace) -> list[str]:
    """Return the ids of what is to be removed.

    Raises
    ------
    InvalidArgumentError
        It was not said, or twice.
    NotFoundError
        There is none of an id.
    """
    names: list[str] = arguments.episodes
    if bool(names) == (arguments.filter is not None):
        raise InvalidArgumentError("want the ids of episodes, or --filter, which says which")
    there = store.episodes(arguments.filter).to_pylist()
    known = [row["episode_id"] for row in there if row["state"] in ("open", "ended", "lost")]
    for name in names:
        if name not in known:
            raise NotFoundError(f"there is no episode {name!r}")
    return names or known


def _agreed(question: str) -> bool:
    """Ask, and tell whether the answer is yes.

    Raises
    ------
    InvalidArgumentError
        There is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise InvalidArgumentError("--yes is needed where nobody can be asked")
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


_ACTIONS: dict[str, Callable[[TrajectoryStore, argparse.Namespace], None]] = {
    "ls": _list,
    "show": _show,
    "replay": _replay,
    "query": _query,
    "stats": _stats,
    "plot": _plot,
    "export": _export,
    "import": _import,
    "merge": _merge,
    "rm": _remove,
}
