"""Runs commands with stdouts of all kinds, in one process, and prints what came of each.

The one argument is a directory with `bucket` and `rows.jsonl`. The answer is a JSON object: for
each kind of stdout and each command the status, and what it wrote to stdout and to stderr.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from persisting import metrics
from persisting._cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def commands(directory: Path, url: str) -> dict[str, list[str]]:
    """Return commands by a name for each; those that begin with ! print nothing on stdout."""
    bucket, rows, out = (str(directory / name) for name in ("bucket", "rows.jsonl", "out.jsonl"))
    return {
        "help": ["--help"],
        "help of query": ["query", "--help"],
        "version": ["--version"],
        "query": ["query", bucket, "t <> 'x€'"],
        "query, JSON": ["query", bucket, "--json"],
        "query, count": ["query", bucket, "--count"],
        "query, explain": ["query", bucket, "--explain", "t = 'é€'"],
        "head": ["head", bucket],
        "head, JSON": ["head", bucket, "--json"],
        "tail": ["tail", bucket],
        "tail, JSON": ["tail", bucket, "--json"],
        "export to stdout": ["export", bucket, "-", "--format", "jsonl"],
        "export to stdout, Arrow": ["export", bucket, "-", "--format", "arrow"],
        "! export": ["export", bucket, out, "--force"],
        "export, JSON": ["export", bucket, out, "--force", "--json"],
        "! import": ["import", str(directory / "copy"), rows],
        "import, JSON": ["import", str(directory / "copy"), rows, "--json"],
        "! index create": ["index", bucket, "create", "t", "--replace"],
        "index list": ["index", bucket, "list"],
        "index list, JSON": ["index", bucket, "list", "--json"],
        "compact": ["compact", bucket],
        "compact, JSON": ["compact", bucket, "--json"],
        "verify": ["verify", bucket],
        "verify, JSON": ["verify", bucket, "--json"],
        "repair": ["repair", bucket],
        "repair, JSON": ["repair", bucket, "--json"],
        "inspect": ["inspect", bucket],
        "inspect, JSON": ["inspect", bucket, "--json"],
        "top": ["top", "--once", "--interval", "0.1", "--url", url],
        "metrics": ["metrics", "--url", url],
        "kv stat": ["kv", "stat", str(directory / "kv")],
        "kv ls": ["kv", "ls", str(directory / "kv")],
        "kv verify": ["kv", "verify", str(directory / "kv")],
        "params ls": ["params", "ls", str(directory / "params")],
        "params ls, JSON": ["params", "ls", str(directory / "params"), "--json"],
        "params show": ["params", "show", str(directory / "params"), "m€"],
        "params diff": ["params", "diff", str(directory / "params"), "m€", "1"],
        "params verify": ["params", "verify", str(directory / "params")],
        "traj ls": ["traj", "ls", str(directory / "trajectories")],
        "traj ls, JSON": ["traj", "ls", str(directory / "trajectories"), "--json"],
        "traj show": ["traj", "show", str(directory / "trajectories"), "é€"],
        "traj show, JSON": ["traj", "show", str(directory / "trajectories"), "é€", "--json"],
        "traj stats": ["traj", "stats", str(directory / "trajectories")],
        "traj export to stdout": [
            *("traj", "export", str(directory / "trajectories"), "-", "--format", "openai"),
        ],
    }


def closed() -> None:
    os.close(1)
    sys.stdout = None  # as Python starts without one


def full() -> None:
    device = os.open("/dev/full", os.O_WRONLY)
    os.dup2(device, 1)
    os.close(device)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), "utf-8")


def left() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    os.close(writing)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), "utf-8")


def encoded(encoding: str, file: IO[bytes]) -> None:
    os.dup2(file.fileno(), 1)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding)


def run(argv: list[str], prepare: Callable[[IO[bytes]], None]) -> dict[str, Any]:
    """Run a command with a stdout, and gather what it prints."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        os.dup2(errors.fileno(), 2)
        prepare(out)
        try:
            status: Any = main(argv)
        except SystemExit as ended:
            status = ended.code or 0
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        out.seek(0)
        errors.seek(0)
        return {
            "status": status,
            "out": out.read().decode("latin-1"),
            "errors": errors.read().decode(),
        }


KINDS: dict[str, Callable[[IO[bytes]], None]] = {
    "utf-8": lambda out: encoded("utf-8", out),
    "ascii": lambda out: encoded("ascii", out),
    "latin-1": lambda out: encoded("latin-1", out),
    "closed": lambda _: closed(),
    "full": lambda _: full(),
    "left": lambda _: left(),
}


@contextlib.contextmanager
def kept() -> Iterator[int]:
    """Keep stdout and stderr under other numbers meanwhile."""
    out, errors, stream = os.dup(1), os.dup(2), sys.stdout
    try:
        yield out
    finally:
        os.dup2(out, 1)
        os.dup2(errors, 2)
        sys.stdout = stream


def all_of(directory: Path) -> dict[str, Any]:
    with metrics.start_http_server(port=0) as server, kept():
        return {
            kind: {
                name: run(argv, prepare) for name, argv in commands(directory, server.url).items()
            }
            for kind, prepare in KINDS.items()
        }


if __name__ == "__main__":
    print(json.dumps(all_of(Path(sys.argv[1]))))
