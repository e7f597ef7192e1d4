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

import numpy as np
import pytest

from persisting import PersistingBackend, metrics
from persisting._cli import main
from persisting._cli._store_tables import KINDS
from persisting._cli.top import draw
from persisting.kv import KVStore
from persisting.params import ParameterStore
from persisting.trajectory import TrajectoryStore
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
    none: dict[str, Any] = {kind: [] for kind in ("buckets", *KINDS)}
    shown = draw({**head, **none, **now}, {**head, **none, **before})
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
        {"time": 12.0, "buckets": [later, fresh]},
        {"time": 10.0, "buckets": [bucket]},
    )
    assert cells["bucket"] == [str(tmp_path), "new\N{REPLACEMENT CHARACTER}[2J"]
    assert cells["put/s"] == ["500", ""]
    assert cells["got/s"] == ["0", ""]
    assert cells["state"] == ["refuses writes"] * 2


def looked(url: str) -> dict[str, Any]:
    """Return what the server says of all buckets and stores."""
    with urllib.request.urlopen(f"{url}/status.json") as answer:
        status: dict[str, Any] = json.loads(answer.read())
    return status


def test_stores_of_blocks(tmp_path: Path) -> None:
    with metrics.start_http_server(port=0) as server:

        def look() -> dict[str, Any]:
            return looked(server.url)

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


def test_stores_of_parameters(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weight = rng.normal(size=200_000).astype(np.float32)
    with metrics.start_http_server(port=0) as server:
        with ParameterStore(tmp_path / "params") as store:
            store.save("model", {"weight": weight})
            before = looked(server.url)
            weight[::1000] += 1e-6
            store.save("model", {"weight": weight})
            with store.open("model") as version:
                version.load()
                assert eventually(lambda: looked(server.url)["parameters"][0]["open_versions"] == 1)
                now = looked(server.url)
        assert looked(server.url)["parameters"] == []
    (state,) = now["parameters"]
    assert state["whole_bytes"] == state["changed_bytes"] == weight.nbytes
    before["time"], now["time"] = state["newest_time"] + 5, state["newest_time"] + 7
    cells = drawn(now, before)
    assert cells["parameters"] == [str(tmp_path / "params")]
    assert (cells["names"], cells["versions"], cells["newest"]) == (["1"], ["2"], ["7 s"])
    assert cells["of tensors"] == ["1.5 MiB"]
    assert cells["saved/s"] == cells["loaded/s"] == ["390.6 KiB"]
    assert 50 < float(cells["written/saved"][0].rstrip("%")) < 52
    assert (cells["pulled/s"], cells["in use"], cells["faults"]) == (["0 bytes"], ["1"], ["0"])


def test_stores_of_trajectories(tmp_path: Path) -> None:
    with metrics.start_http_server(port=0) as server:
        with (
            TrajectoryStore(tmp_path / "steps") as store,
            store.writer(episode_id="one", buffer_bytes=0) as writer,
        ):
            writer.append({"obs": np.zeros(4)})
            before = looked(server.url)
            writer.extend({"obs": np.ones((9, 4))})
            store.sampler().sample(32)
            store.lease([0, 1])
            batch = store.lease([2])
            store.ack(batch)
            store.update_priorities([0, 1, 2], [1, 2, 3])
            assert eventually(lambda: looked(server.url)["trajectories"][0]["leased"] == 1)
            now = looked(server.url)
        assert looked(server.url)["trajectories"] == []
        assert str(tmp_path) not in metrics.exposition()
    before["time"], now["time"] = 10.0, 11.0
    cells = drawn(now, before)
    assert cells["trajectories"] == [str(tmp_path / "steps")]
    assert (cells["episodes"], cells["open"], cells["steps"]) == (["1"], ["1"], ["10"])
    assert (cells["appended/s"], cells["drawn/s"], cells["hot"]) == (["9"], ["32"], ["100%"])
    assert cells["sample"][0].endswith(" ms")
    assert (cells["leased"], cells["acked/s"], cells["priorities/s"]) == (["1"], ["1"], ["3"])
    assert (cells["in sheets"], cells["behind"], cells["faults"]) == (["0"], ["0"], ["0"])
    # Its two buckets are shown as buckets are.
    assert sorted(path.rpartition("/")[2] for path in cells["bucket"]) == ["episodes", "steps"]


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
