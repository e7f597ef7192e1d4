"""Programs of others against ours: Prometheus, promtool, Chromium.

They come from Debian's packages `prometheus` and `chromium`, and these tests fail without
them; `build.py test -- -m external` runs them, nothing else does.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import math
import re
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from persisting import PersistingBackend, SchemaError, metrics
from tests.support import QUIET, ROOT, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
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

    def has_data(self, query: str) -> bool:
        """Tell whether the answer to a query has a series with a number."""
        result = self.ask("query", query=query)["result"]
        return any(math.isfinite(float(series["value"][1])) for series in result)

    def expect(self, values: Mapping[str, float]) -> None:
        """Wait until queries have these values."""

        def others() -> dict[str, float | None]:
            now = {query: self.value(query) for query in values}
            return {query: value for query, value in now.items() if value != values[query]}

        assert eventually(lambda: not others(), within=60), (others(), values)


@contextlib.contextmanager
def prometheus(directory: Path, target: str, *features: str) -> Iterator[Prometheus]:
    server = Prometheus(directory, target, *features)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait(60)


ROUNDS = 3


def nothing_to_wait_for(_: dict[str, float]) -> None:
    """Go on at once."""


async def work(
    directory: Path, see: Callable[[dict[str, float]], None] = nothing_to_wait_for
) -> tuple[list[PersistingBackend], dict[str, float]]:
    """Do something of everything in each of some rounds.

    Parameters
    ----------
    directory
        Where the buckets are.
    see
        Is given, after each round, what was done so far by the query that asks for it, and
        returns when it is known.

    Returns
    -------
    tuple
        The backends, which are open, and what was done.
    """
    paths = [directory / f"queue/bucket_{i}" for i in range(2)]
    options = {**QUIET, "wal_sync_interval": 0, "cache_bytes": 1 << 20}
    for path in paths:  # of whose rows none is in memory when they are opened again
        async with PersistingBackend(0, path, **options) as earlier:
            await earlier.put_batch([{"n": n, "text": f"old {n}"} for n in range(5000)])
    backends = [PersistingBackend(i, path, **options) for i, path in enumerate(paths)]
    done: dict[str, float] = {}
    for number in range(1, ROUNDS + 1):
        for backend in backends:
            for n in range(32):
                await backend.put({"n": n, "text": "single"})
            await backend.put_batch([{"n": n, "text": "batch"} for n in range(100)])
            for _ in range(2):
                await backend.get(5, 1000)
            with pytest.raises(SchemaError):
                await backend.put_arrow(pa.table({"n": ["no number"]}))
        await backends[0].flush()
        await backends[0].create_index("n", "btree", name=f"round {number}")
        await backends[0].compact()
        done = {
            'sum(persisting_records_total{operation="put"})': number * 264,
            'sum(persisting_records_total{operation="get"})': number * 20,
            'sum(persisting_operations_total{operation="put"})': number * 66,
            'sum(persisting_operations_total{operation="get"})': number * 4,
            'sum(persisting_operations_total{operation="flush"})': number,
            'sum(persisting_errors_total{operation="put",kind="schema"})': number * 2,
            "sum(persisting_errors_total)": number * 2,
            "sum(persisting_put_duration_seconds_count)": 2 * -(-number * 33 // 16),
            "sum(persisting_flush_duration_seconds_count)": number,
            "sum(persisting_compaction_duration_seconds_count)": number,
            # built, and those of earlier rounds extended together
            "sum(persisting_index_duration_seconds_count)": number * 2 - 1,
            'sum(persisting_page_cache_reads_total{result="hit"})': number * 4 - 2,
            "sum(persisting_indexes)": number,
            "sum(persisting_rows)": 10_000 + number * 264,
            "sum(persisting_buffer_size)": number * 132,
            "sum(persisting_poisoned)": 0,
            "persisting_open_buckets": 2,
        }
        see(done)
    return backends, done


def dashboard_queries() -> list[str]:
    dashboard = json.loads((ROOT / "docs" / "grafana" / "persisting.json").read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    assert len(queries) > 30
    values = {"$instance": ".*", "$topic": ".*", "$bucket": ".*", "$__rate_interval": "1m"}
    return [re.sub(r"\$\w+", lambda name: values[name[0]], query) for query in queries]


async def test_prometheus_counts_what_was_done(tmp_path: Path) -> None:
    with metrics.start_http_server(port=0) as server, prometheus(tmp_path, server.url) as found:
        backends, _ = await work(tmp_path, found.expect)
        fsyncs = sum(backend.get_metrics()["wal_sync_count"] for backend in backends)
        found.expect({"up": 1, "sum(persisting_wal_fsync_duration_seconds_count)": fsyncs})
        without = [query for query in dashboard_queries() if not found.has_data(query)]
        assert without == []
        rules = found.ask("rules")["groups"][0]["rules"]
        assert len(rules) > 5
        assert {rule["health"] for rule in rules} == {"ok"}
        assert {rule["state"] for rule in rules} == {"inactive"}
        await backends[0].aclose()
        left = {"persisting_open_buckets": 1, "sum(persisting_rows)": 5000 + ROUNDS * 132}
        found.expect(left)
        await backends[1].aclose()


async def test_prometheus_takes_native_histograms(tmp_path: Path) -> None:
    with (
        metrics.start_http_server(port=0) as server,
        prometheus(tmp_path, server.url, "native-histograms") as found,
    ):
        backends, _ = await work(tmp_path)
        fsyncs = sum(backend.get_metrics()["wal_sync_count"] for backend in backends)
        found.expect({"sum(histogram_count(persisting_wal_fsync_duration_seconds))": fsyncs})
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


BUCKET = 'instance="i",topic="/q",bucket="b"'
# For each alert: series that mean trouble, as promtool writes them, one value a minute; and when,
# in minutes, the alert fires.
TROUBLE: dict[str, tuple[dict[str, str], int]] = {
    "PersistingBucketPoisoned": ({f"persisting_poisoned{{{BUCKET}}}": "1x5"}, 1),
    "PersistingDiskErrors": (
        {f'persisting_errors_total{{{BUCKET},operation="put",kind="storage"}}': "0 1x5"},
        2,
    ),
    "PersistingOpenFails": (
        {'persisting_open_errors_total{instance="i",kind="locked"}': "0 1x5"},
        2,
    ),
    "PersistingFlushStalled": ({f"persisting_lag_seconds{{{BUCKET}}}": "301x10"}, 6),
    "PersistingBackpressure": (
        {f"persisting_backpressure_seconds_total{{{BUCKET}}}": "0+10x20"},
        10,
    ),
    "PersistingMemoryBudget": (
        {
            'persisting_memory_budget_used_bytes{instance="i"}': "101x20",
            'persisting_memory_budget_bytes{instance="i"}': "100x20",
        },
        12,
    ),
    "PersistingSlowSync": (
        {
            f'persisting_wal_fsync_duration_seconds_bucket{{{BUCKET},le="0.128"}}': "0+90x30",
            f'persisting_wal_fsync_duration_seconds_bucket{{{BUCKET},le="0.512"}}': "0+100x30",
            f'persisting_wal_fsync_duration_seconds_bucket{{{BUCKET},le="+Inf"}}': "0+100x30",
        },
        20,
    ),
    "PersistingFragments": ({f"persisting_fragments{{{BUCKET}}}": "1001x40"}, 35),
    "PersistingIndexLag": (
        {
            f"persisting_index_lag_rows{{{BUCKET}}}": "20000x40",
            f"persisting_rows{{{BUCKET}}}": "100000x40",
        },
        35,
    ),
    "PersistingRecordsLost": ({f"persisting_lost_records_total{{{BUCKET}}}": "1x5"}, 1),
    "PersistingTornLog": (
        {
            f"persisting_wal_torn_bytes_total{{{BUCKET}}}": "0x5",
            f"persisting_healed_manifests_total{{{BUCKET}}}": "1x5",
        },
        1,
    ),
    "PersistingLogMessagesDropped": (
        {'persisting_log_messages_dropped_total{instance="i"}': "0 3x5"},
        2,
    ),
}


def test_alerts_fire_in_trouble_and_only_then(tmp_path: Path) -> None:
    rules = ROOT / "docs" / "prometheus" / "alerts.yml"
    assert re.findall(r"alert: (\w+)", rules.read_text()) == list(TROUBLE)
    firing = 'count by (alertname) (ALERTS{alertstate="firing"})'
    cases = []
    for alert, (series, minutes) in TROUBLE.items():
        fires = {"labels": f'{{alertname="{alert}"}}', "value": 1}
        for well in (False, True):
            expected = {"expr": firing, "eval_time": f"{minutes}m", "exp_samples": [fires][well:]}
            inputs = [{"series": s, "values": "0x40" if well else v} for s, v in series.items()]
            case = {"interval": "1m", "input_series": inputs, "promql_expr_test": [expected]}
            cases.append(case)
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(rules)], "tests": cases}))
    argv = [program("promtool"), "test", "rules", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_browser_shows_the_status_page(tmp_path: Path) -> None:
    name = "<img src=x onerror=document.title='broken'>"
    async with PersistingBackend(0, tmp_path / name / "bucket_0", **QUIET) as backend:
        await backend.put_batch([{"n": n} for n in range(12345)])
        await backend.get(10, 0)
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
    assert cells[1:4] == ["12,345", "0", "0"], "the rates come with the second look"
    assert cells[10:] == ["0", "0", "ok"]
    assert "<title>Persisting</title>" in page
    assert "process" in page
    assert "no answer" not in page
    assert "Content Security Policy" not in done.stderr
