"""Programs of others against ours: Prometheus, promtool, Chromium.

They come from Debian's packages `prometheus` and `chromium`, and these tests fail without
them; `build.py test -- -m external` runs them, nothing else does.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from persisting import PersistingBackend, metrics
from tests.support import QUIET, ROOT, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.external


def program(name: str) -> str:
    """Return the path of a program."""
    found = shutil.which(name)
    assert found is not None, f"there is no {name}: apt-get install prometheus chromium"
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Prometheus:
    """A running server that scrapes `target` ten times a second."""

    def __init__(self, directory: Path, target: str, *features: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        config = directory / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 100ms, evaluation_interval: 200ms}\n"
            f"rule_files: [{ROOT / 'docs' / 'prometheus' / 'alerts.yml'}]\n"
            "scrape_configs: [{job_name: test, static_configs: [{targets: "
            f"['{target.removeprefix('http://')}']}}]}}]\n"
        )
        argv = [
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--log.level=error",
            *(f"--enable-feature={feature}" for feature in features),
        ]
        self.process = subprocess.Popen(argv)
        assert eventually(self.is_ready, within=60)

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready"):
            return True
        return False

    def ask(self, path: str, **arguments: str) -> Any:
        query = urllib.parse.urlencode(arguments)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}") as answer:
            found = json.load(answer)
        assert found["status"] == "success", found
        return found["data"]

    def value(self, query: str) -> float | None:
        """Return the value of a query that has one series."""
        result = self.ask("query", query=query)["result"]
        return float(result[0]["value"][1]) if len(result) == 1 else None


@contextlib.contextmanager
def prometheus(directory: Path, target: str, *features: str) -> Iterator[Prometheus]:
    server = Prometheus(directory, target, *features)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


async def work(directory: Path) -> tuple[list[PersistingBackend], dict[str, float]]:
    """Do something of everything; return what was done by the query that asks for it."""
    options = {**QUIET, "wal_sync_interval": 0, "cache_bytes": 1 << 16}
    for i in range(2):  # so that something is read back that was not just written
        earlier = PersistingBackend(i, directory / f"queue/bucket_{i}", **options)
        await earlier.put_batch([{"n": n, "text": "x" * 100} for n in range(5000)])
        await earlier.aclose()
    backends = [PersistingBackend(i, directory / f"queue/bucket_{i}", **options) for i in range(2)]
    for _ in range(60):
        for backend in backends:
            for n in range(20):
                await backend.put({"n": n, "text": "single"})
            await backend.put_batch([{"n": n, "text": "batch"} for n in range(100)])
            await backend.get(5, 0)
        await asyncio.sleep(0.05)
    await backends[0].get(100, 3000)
    for _ in range(3):
        await backends[0].flush()
        await backends[0].put({"n": 0})
    await backends[0].compact()
    return backends, {
        'sum(persisting_records_total{operation="put"})': 2 * 60 * 120 + 3,
        'sum(persisting_records_total{operation="get"})': 2 * 60 * 5 + 100,
        'sum(persisting_operations_total{operation="get"})': 2 * 60 + 1,
        "sum(persisting_rows)": 2 * 5000 + 2 * 60 * 120 + 3,
        'sum(persisting_operations_total{operation="flush"})': 3,
        "sum(persisting_flush_duration_seconds_count)": 3,
        "sum(persisting_compaction_duration_seconds_count)": 1,
        "sum(persisting_buffer_size)": 60 * 120 + 1,
        "sum(persisting_poisoned)": 0,
        "persisting_open_buckets": 2,
    }


def dashboard_queries() -> list[str]:
    dashboard = json.loads((ROOT / "docs" / "grafana" / "persisting.json").read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    assert len(queries) > 30
    values = {"$instance": ".*", "$topic": ".*", "$bucket": ".*", "$__rate_interval": "1m"}
    return [re.sub(r"\$\w+", lambda name: values[name[0]], query) for query in queries]


async def test_prometheus_counts_what_was_done(tmp_path: Path) -> None:
    with metrics.start_http_server(port=0) as server, prometheus(tmp_path, server.url) as found:
        backends, done = await work(tmp_path)
        for query, count in done.items():
            assert eventually(lambda q=query, c=count: found.value(q) == c), (  # type: ignore[misc]
                query,
                found.value(query),
                count,
            )
        assert found.value("up") == 1
        own = sum(backend.get_metrics()["wal_sync_count"] for backend in backends)
        assert found.value("sum(persisting_wal_fsync_duration_seconds_count)") == own
        time.sleep(0.3)
        without = [q for q in dashboard_queries() if not found.ask("query", query=q)["result"]]
        assert without == []
        rules = found.ask("rules")["groups"][0]["rules"]
        assert len(rules) > 5
        assert {rule["health"] for rule in rules} == {"ok"}
        assert {rule["state"] for rule in rules} == {"inactive"}
        backends[0]._bucket.close()
        assert eventually(lambda: found.value("persisting_open_buckets") == 1)
        assert eventually(lambda: found.value("sum(persisting_rows)") == 5000 + 60 * 120)
        for backend in backends:
            await backend.aclose()


async def test_prometheus_takes_native_histograms(tmp_path: Path) -> None:
    with (
        metrics.start_http_server(port=0) as server,
        prometheus(tmp_path, server.url, "native-histograms") as found,
    ):
        backends, _ = await work(tmp_path)
        puts = sum(backend.get_metrics()["wal_sync_count"] for backend in backends)
        query = "sum(histogram_count(persisting_wal_fsync_duration_seconds))"
        assert eventually(lambda: found.value(query) == puts)
        query = "histogram_quantile(0.5, sum(persisting_wal_fsync_duration_seconds))"
        assert 0 < (found.value(query) or 0) < 1
        for backend in backends:
            await backend.aclose()


async def test_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    backends, _ = await work(tmp_path)
    for argv, text in (
        (["check", "metrics"], metrics.exposition()),
        (["check", "rules", str(ROOT / "docs" / "prometheus" / "alerts.yml")], ""),
    ):
        done = subprocess.run(
            [program("promtool"), *argv], input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done
    for backend in backends:
        await backend.aclose()


async def test_a_browser_shows_the_status_page(tmp_path: Path) -> None:
    name = "<img src=x onerror=document.title='broken'>"
    async with PersistingBackend(0, tmp_path / name / "bucket_0", **QUIET) as backend:
        await backend.put_batch([{"n": n} for n in range(12345)])
        with metrics.start_http_server(port=0) as server:
            argv = [program("chromium"), "--headless", "--no-sandbox", "--disable-gpu"]
            argv += [f"--user-data-dir={tmp_path / 'chromium'}", "--virtual-time-budget=5000"]
            argv += [f"--screenshot={tmp_path / 'page.png'}", "--window-size=1400,400"]
            done = await asyncio.to_thread(
                subprocess.run,
                [*argv, "--dump-dom", server.url],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
    assert done.returncode == 0, done.stderr
    page = html.unescape(done.stdout)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", done.stdout)
    assert html.unescape(cells[0]) == str(tmp_path / name / "bucket_0")
    assert cells[1] == "12,345"
    assert cells[-1] == "ok"
    assert "<title>Persisting</title>" in page
    assert "process" in page
    assert "no answer" not in page
    assert "Content Security Policy" not in done.stderr
