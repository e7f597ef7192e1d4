"""What it costs put_batch when the metrics are scraped 100 times a second, far more than in use.

Batches of 100 records are put for some seconds into one bucket, then in turn into 64 that are
open; the sides differ in a scraper, which is a process of its own and asks for OpenMetrics,
compressed. "CPU s" is that of the process with the buckets alone, and "CPU us per record" what a
record took of it; the rates show what is left for puts where the scraper needs a processor as well.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from benchmarks.model import Benchmark, Environment, Side
from benchmarks.records import batches, record_bytes, trajectories
from benchmarks.worker import warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.model import Run

BATCH = 100
BUCKETS = 64

# Asks 100 times a second until it is killed, and says when it has had its first answer.
SCRAPER = """
import http.client, sys, time
connection = http.client.HTTPConnection(sys.argv[1])
accept = {"Accept": "application/openmetrics-text;version=1.0.0", "Accept-Encoding": "gzip"}
due = time.monotonic()
while True:
    connection.request("GET", "/metrics", headers=accept)
    answer = connection.getresponse()
    assert answer.status == 200 and answer.read(), answer.status
    print(".", end="", flush=True)
    due += 0.01
    time.sleep(max(0, due - time.monotonic()))
"""


@contextlib.contextmanager
def scraping(url: str) -> Iterator[subprocess.Popen[str]]:
    """Scrape meanwhile; the process prints a dot for each answer."""
    argv = [sys.executable, "-c", SCRAPER, url.removeprefix("http://")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as scraper:
        assert scraper.stdout is not None
        assert scraper.stdout.read(1) == ".", "the scraper has no answer"
        try:
            yield scraper
        finally:
            scraper.kill()


async def measure(run: Run, *, scraped: bool) -> None:
    """Put batches, and have the metrics scraped or not."""
    from persisting import metrics
    from persisting.queue import PersistingBackend

    clock = time.perf_counter
    await warm_up(lambda path: PersistingBackend(0, path), run.path)
    lists = itertools.cycle(batches(trajectories(run.sized(10_000, 1_000)), BATCH))
    for count in (1, BUCKETS):
        name = "1 bucket" if count == 1 else f"{count} buckets"
        backends: list[Any] = [
            PersistingBackend(i, str(run.path / str(count) / f"bucket_{i}")) for i in range(count)
        ]
        for backend in backends:
            await backend.put_batch(next(lists))
        with contextlib.ExitStack() as stack:
            if scraped:
                server = stack.enter_context(metrics.start_http_server(port=0))
                scraper = stack.enter_context(scraping(server.url))
            turns = itertools.cycle(backends)
            with run.measure(name, BATCH, put_bytes=record_bytes()) as laps:
                deadline = clock() + run.sized(10, 1)
                while (started := clock()) < deadline:
                    await next(turns).put_batch(next(lists))
                    laps.append(clock() - started)
            if scraped:
                scraper.kill()
                assert scraper.stdout is not None
                run.notes[f"scrapes per second, {name}"] = len(scraper.stdout.read()) / sum(laps)
        run.notes[f"CPU us per record, {name}"] = run.figures[-1].cpu / len(laps) / BATCH * 1e6
        for backend in backends:
            await backend.aclose()


async def scraped(run: Run) -> None:
    """Measure puts beside 100 scrapes a second."""
    await measure(run, scraped=True)


async def unscraped(run: Run) -> None:
    """Measure puts alone."""
    await measure(run, scraped=False)


BENCHMARK = Benchmark(
    "put_batch(100) beside 100 scrapes a second",
    {
        "scraped": Side(Environment.OURS, scraped),
        "not scraped": Side(Environment.OURS, unscraped),
    },
    ours=2,
)
