"""The commands that ask running programs: `persisting top` and `persisting metrics`."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any, cast

import pytest

from persisting import PersistingBackend, metrics
from persisting._cli import main
from persisting._cli.top import draw
from persisting.kv import KVStore
from tests.support import QUIET, ROOT, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from rich.table import Table

    from tests.support import Opener


@pytest.fixture
async def url(opening: Opener, tmp_path: Path) -> AsyncIterator[str]:
    """Serve a bucket whose name looks like markup."""
    backend = opening(PersistingBackend, tmp_path / "[red]queue" / "bucket_0")
    await backend.put_batch([{"n": n} for n in range(1234)])
    with metrics.start_http_server(port=0) as server:
        yield server.url


async def test_metrics_prints_what_prometheus_gets(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["metrics", "--url", url]) == 0
    everything = capsys.readouterr().out
    assert everything.count("# TYPE") == len(metrics.collect())
    assert main(["metrics", "--url", url, "buffer", "lag_seconds"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split("{")[0] for line in lines if not line.startswith("#")} == {
        "persisting_buffer_size",
        "persisting_buffer_bytes",
        "persisting_lag_seconds",
    }
    assert main(["metrics", "--url", url, "nonsense"]) == 1


async def test_top_once(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    assert main(["top", "--once", "--interval", "0.1", "--url", url]) == 0
    shown = capsys.readouterr().out
    assert "[red]queue/bucket_0" in shown
    (row,) = (line for line in shown.splitlines() if "1,234" in line)
    cells = [cell.strip() for cell in row.split("│")[1:-1]]
    assert cells[1:5] == ["1,234", "0", "0", "1,234"]
    assert cells[-1] == "ok"


@pytest.mark.parametrize("command", ["top", "metrics"])
def test_no_answer(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--url", "http://127.0.0.1:1"]) == 2
    assert "start_http_server" in capsys.readouterr().err
    for wrong in ("file:///etc/passwd", "127.0.0.1", "http://"):
        assert main([command, "--url", wrong]) == 2
        assert "--url" in capsys.readouterr().err


def test_a_password_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    with metrics.start_http_server(port=0, username="me", password="a b:c@d") as server:
        address = server.url.removeprefix("http://")
        assert main(["metrics", "--url", f"http://me:a%20b:c%40d@{address}"]) == 0
        assert main(["metrics", "--url", f"http://me:no@{address}"]) == 2
        said = capsys.readouterr().err
    assert "Unauthorized" in said
    assert "no@" not in said


def drawn(now: dict[str, Any], before: dict[str, Any]) -> dict[str, list[str]]:
    """Return the cells of all tables, by the heads of their columns."""
    head = {"version": "1", "pid": 1}
    shown = draw({**head, **now}, {**head, **before})
    columns = [column for table in shown.renderables for column in cast("Table", table).columns]
    return {str(column.header): [str(cell) for cell in column.cells] for column in columns}


async def test_rates_are_those_between_two_looks(tmp_path: Path) -> None:
    counts = {
        "put_count": 100,
        "records_read": 0,
        "lag_seconds": 0,
        "flush_count": 0,
        "error_count": 0,
    }
    bucket = {
        "path": str(tmp_path),
        "poisoned": True,
        "counts": counts,
        **dict.fromkeys(
            ("rows", "buffer_rows", "wal_bytes", "table_bytes", "fragments", "memory_bytes"), 0
        ),
    }
    later = {**bucket, "counts": {**counts, "put_count": 1100}}
    fresh = {**bucket, "path": "new\x1b[2J"}
    cells = drawn(
        {"time": 12.0, "buckets": [later, fresh], "stores": []},
        {"time": 10.0, "buckets": [bucket], "stores": []},
    )
    assert cells["bucket"] == [str(tmp_path), "new\N{REPLACEMENT CHARACTER}[2J"]
    assert cells["put/s"] == ["500", ""]
    assert cells["got/s"] == ["0", ""]
    assert cells["state"] == ["refuses writes"] * 2


def test_stores_of_blocks(tmp_path: Path) -> None:
    with metrics.start_http_server(port=0) as server:

        def look() -> dict[str, Any]:
            with urllib.request.urlopen(f"{server.url}/status.json") as answer:
                status: dict[str, Any] = json.loads(answer.read())
            return status

        with KVStore(tmp_path / "kv", capacity="64 MiB") as store:
            before = look()
            assert store.set("key", b"x" * 5000)
            assert store.get("key")
            assert not store.load("none", bytearray(3))
            now = look()
        assert look()["stores"] == []
    for status, at in ((before, 10.0), (now, 12.0)):
        status["time"] = at
    cells = drawn(now, before)
    assert cells["store"] == [str(tmp_path / "kv")]
    assert cells["blocks"] == ["1"]
    assert cells["size"] == ["12.0 KiB"]
    assert cells["capacity"] == ["64.0 MiB"]
    assert cells["hits"] == ["50%"]
    assert cells["set/s"] == cells["got/s"] == ["0"]
    assert cells["written/set"] == ["1.00"]
    assert cells["faults"] == ["0"]
    assert cells["bucket"] == []


async def test_top_goes_on_until_it_is_interrupted(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    shown = b""

    def see(text: bytes) -> bool:
        nonlocal shown
        with contextlib.suppress(BlockingIOError):
            shown += os.read(leader, 1 << 16)
        return text in shown

    os.set_blocking(leader, False)
    with metrics.start_http_server(port=0) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "persisting", "top", "--interval=0.1", f"--url={server.url}"],
            cwd=ROOT,
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
        )
        os.close(follower)
        assert eventually(lambda: see(b"0 buckets"))
        async with PersistingBackend(0, tmp_path / "bucket_0", **QUIET):
            assert eventually(lambda: see(b"bucket_0"))
    assert eventually(lambda: see(b"no answer"))
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0, shown
    os.close(leader)
