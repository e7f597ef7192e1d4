"""What the metrics say to Prometheus, to prometheus_client and to Python."""

from __future__ import annotations

import gc
import http.server
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import prometheus_client
import pytest
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families as parse

from persisting import PersistingBackend, metrics
from persisting._engine import functions
from tests.support import QUIET, eventually, python

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Opener


openmetrics: Any = openmetrics_parser.text_string_to_metric_families


def ask(url: str, **headers: str) -> tuple[int, str]:
    """Return status and body of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def values(families: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the samples of parsed families by name and labels; bounds are written one way."""

    def labels(sample: Any) -> frozenset[tuple[str, str]]:
        bounds = {"le": str(float(sample.labels["le"]))} if "le" in sample.labels else {}
        return frozenset({**sample.labels, **bounds}.items())

    return {(s.name, labels(s)): s.value for family in families for s in family.samples}


@pytest.fixture
async def busy(opening: Opener, bucket: Path) -> PersistingBackend:
    """Open a bucket that has done something of everything."""
    backend = opening(PersistingBackend, bucket, flush_interval=0)
    for n in range(40):
        await backend.put({"n": n})
    await backend.get(10, 0)
    await backend.flush()
    await backend.compact()
    await backend.put_batch([{"n": n, "new": n} for n in range(5)])  # logged when it returns
    assert isinstance(backend, PersistingBackend)
    return backend


def samples(name: str, backend: PersistingBackend) -> dict[str, Any]:
    """Return the samples of a bucket by the value of the last label that is not its own."""
    path = Path(backend.storage_path)
    own = {"topic": str(path.parent), "bucket": path.name}
    found = {}
    for sample in metrics.collect()[name]["samples"]:
        if own.items() <= sample["labels"].items():
            (last,) = set(sample["labels"]) - set(own) or {""}
            found[sample["labels"].get(last, "")] = sample
    return found


async def test_collect_says_what_get_metrics_says(busy: PersistingBackend) -> None:
    found = busy.get_metrics()
    assert samples("persisting_records_total", busy)["put"]["value"] == found["put_count"] == 45
    assert samples("persisting_records_total", busy)["get"]["value"] == found["records_read"] == 10
    assert samples("persisting_buffer_size", busy)[""]["value"] == 5
    flushes = samples("persisting_flush_duration_seconds", busy)[""]
    assert flushes["count"] == found["flush_count"] == 1
    assert flushes["sum"] == pytest.approx(found["flush_seconds"])
    assert flushes["buckets"] == sorted(flushes["buckets"], key=lambda b: b["le"])
    operations = samples("persisting_operations_total", busy)
    assert {name: s["value"] for name, s in operations.items()} == {
        "put": found["append_count"],
        "get": 1,
        "flush": 1,
        "compaction": 1,
        "index": 0,
    }


async def test_every_way_out_says_the_same(busy: PersistingBackend) -> None:
    registry = prometheus_client.CollectorRegistry()
    collector = metrics.register(registry)
    bridged = values(registry.collect())
    registry.unregister(collector)
    assert not values(registry.collect())
    text = values(parse(metrics.exposition()))
    with metrics.start_http_server(port=0) as server:
        served = values(parse(ask(f"{server.url}/metrics")[1]))
        accept = "application/openmetrics-text;version=1.0.0"
        modern = values(openmetrics(ask(f"{server.url}/metrics", Accept=accept)[1]))
    volatile = ("persisting_lag", "persisting_process", "persisting_open", "persisting_log")

    def steady(found: Any) -> dict[Any, float]:
        return {key: v for key, v in found.items() if not key[0].startswith(volatile)}

    assert len(steady(text)) > 150
    assert steady(text) == steady(served) == steady(modern) == steady(bridged)


async def test_the_server_refuses_and_gives_nothing_else_away(busy: PersistingBackend) -> None:
    with metrics.start_http_server(port=0, username="u", password="p") as server:
        assert ask(f"{server.url}/metrics")[0] == 401
        assert ask(f"{server.url}/metrics", Authorization="Basic dTpw")[0] == 200
        assert ask(f"{server.url}/debug/pprof/", Authorization="Basic dTpw")[0] == 404
    with pytest.raises(ValueError, match="allow_remote"):
        metrics.start_http_server(port=0, addr="0.0.0.0")
    with pytest.raises(ValueError, match="port"):
        metrics.start_http_server(port=70000)
    with pytest.raises(ValueError, match="certificate"):
        metrics.start_http_server(port=0, cert_file="no", key_file="no")
    with (
        metrics.start_http_server(port=0, addr="0.0.0.0", allow_remote=True) as server,
        pytest.raises(ValueError, match="in use"),
    ):
        metrics.start_http_server(port=int(server.url.rpartition(":")[2]))


async def test_scrapes_while_buckets_open_and_close(tmp_path: Path) -> None:
    before = functions.library_usage()
    stop = threading.Event()
    answers: list[int] = []

    def scrape(url: str) -> None:
        while not stop.is_set():
            answers.append(ask(f"{url}/metrics")[0])
            answers.append(ask(f"{url}/status.json")[0])

    with metrics.start_http_server(port=0) as server:
        threads = [threading.Thread(target=scrape, args=(server.url,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for i in range(30):
            backend = PersistingBackend(0, tmp_path / f"queue/bucket_{i % 3}", **QUIET)
            await backend.put_batch([{"n": n} for n in range(100)])
            await backend.aclose()
        stop.set()
        for thread in threads:
            thread.join()
    assert len(answers) > 20
    assert set(answers) == {200}
    assert str(tmp_path) not in metrics.exposition()
    gc.collect()
    assert functions.library_usage() == before
    with pytest.raises(urllib.error.URLError):
        ask(f"{server.url}/metrics")


def test_a_server_that_nobody_keeps_goes_on() -> None:
    url = metrics.start_http_server(port=0).url
    gc.collect()
    assert ask(f"{url}/metrics")[0] == 200
    (server,) = (s for s in metrics._servers if s.url == url)
    server.close()


def test_a_server_ends_with_the_interpreter_without_a_word() -> None:
    script = "from persisting import metrics; print(metrics.start_http_server(port=0).url)"
    assert python(script).startswith("http://127.0.0.1:")


class Gateway(http.server.BaseHTTPRequestHandler):
    """A Pushgateway that keeps what it gets."""

    got: ClassVar[list[tuple[str, str, str | None, str]]] = []
    status: ClassVar[int] = 200

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.got.append((self.command, self.path, self.headers["Authorization"], body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        Gateway.got.clear()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_push(busy: PersistingBackend, gateway: str) -> None:
    labels = {"instance": "a b", "path": "/x/y", "empty": ""}
    metrics.push(gateway + "/", "train", grouping=labels, username="u", password="p")
    ((_, path, authorization, body),) = Gateway.got
    assert path == "/metrics/job/train/instance/a%20b/path@base64/L3gveQ/empty@base64/="
    assert authorization == "Basic dTpw"
    assert ("persisting_open_buckets", frozenset()) in values(parse(body))
    assert busy.storage_path.rpartition("/")[0] in body


@pytest.mark.parametrize(
    ("url", "job", "says"), [("gateway:9091", "x", "url"), ("http://gateway", "", "job")]
)
def test_a_push_to_nowhere_is_refused(url: str, job: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        metrics.push(url, job)
    with pytest.raises(ValueError, match=says):
        metrics.push_at_exit(url, job)


def test_a_gateway_that_refuses_is_an_error(gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gateway, "status", 500)
    with pytest.raises(OSError, match="500") as refused:
        metrics.push(gateway, "x")
    assert isinstance(refused.value, urllib.error.HTTPError)
    refused.value.close()


BATCH_JOB = """
import asyncio, sys
from persisting import PersistingBackend, metrics
early = PersistingBackend(0, sys.argv[1] + "/queue/early")
metrics.push_at_exit(sys.argv[2], "batch", timeout=5)

async def main():
    await early.put({"n": 1})
    async with PersistingBackend(0, sys.argv[1] + "/queue/closed") as closed:
        await closed.put_batch([{"n": 1}] * 7)
    forgotten = PersistingBackend(0, sys.argv[1] + "/queue/forgotten")
    await forgotten.put_batch([{"n": 1}] * 3)
    return forgotten

keep = asyncio.run(main())
"""


def test_a_push_at_exit_has_the_counts_of_all_buckets(tmp_path: Path, gateway: str) -> None:
    python(BATCH_JOB, tmp_path, gateway)
    assert eventually(lambda: bool(Gateway.got))
    ((_, path, _, body),) = Gateway.got
    assert path == "/metrics/job/batch"
    found = values(parse(body))
    puts = {
        dict(labels)["bucket"]: value
        for (name, labels), value in found.items()
        if name == "persisting_records_total" and ("operation", "put") in labels
    }
    assert puts == {"early": 1, "closed": 7, "forgotten": 3}
    topic = ("topic", str(tmp_path / "queue"))
    closed = frozenset({topic, ("bucket", "forgotten")})
    assert found["persisting_flush_duration_seconds_count", closed] == 1


def test_a_push_at_exit_that_fails_is_logged(tmp_path: Path) -> None:
    script = """
import logging, sys
logging.basicConfig(stream=sys.stdout)
from persisting import metrics
metrics.push_at_exit("http://127.0.0.1:1", "x", timeout=5)
"""
    assert "were not pushed to http://127.0.0.1:1" in python(script)
