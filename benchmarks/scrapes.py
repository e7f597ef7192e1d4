"""What it costs put_batch when the metrics are scraped 100 times a second, far more than in use.

Batches of 100 records are put into one bucket, then in turn into 64 that are open. One process does
it, in turns of a second, of two with 64 buckets. In every other one the metrics are scraped, as
Prometheus does, by a process that is stopped in between. It is on the same processors; in the other
turns its like does the same and asks only itself, so that what scrapers do, elsewhere as a rule, is
not in the difference. "CPU" is that of the process with the buckets alone. The rows are flushed
between the turns: that is in "CPU" and not in "time". An answer that is not yet stale is given
again, for longer the more buckets there are, and grows stale between the turns too: the answers
that are made, which cost most, are more than with scrapes without end, the more so the shorter the
turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import turns
from benchmarks.model import Benchmark, Environment, Side
from benchmarks.records import batches, trajectories
from benchmarks.worker import warm_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.model import Run

BATCH = 100
BUCKETS = 64
SCRAPER = Path(__file__).with_name("scraper.py")


@contextlib.contextmanager
def stopped_scraper(url: str, *alone: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a scraper and stop it; it prints a dot for each answer."""
    host, port = url.removeprefix("http://").split(":")
    argv = [sys.executable, "-IS", str(SCRAPER), host, port, *alone]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as scraper:
        assert scraper.stdout is not None
        assert scraper.stdout.read(1) == b".", "the scraper has no answer"
        scraper.send_signal(signal.SIGSTOP)
        try:
            yield scraper
        finally:
            scraper.kill()


async def persisting(run: Run) -> None:
    """Put batches, and have the metrics scraped in every other turn."""
    from persisting import metrics
    from persisting.queue import PersistingBackend

    clock = time.perf_counter
    await warm_up(lambda path: PersistingBackend(0, path), run.path)
    lists = itertools.cycle(batches(trajectories(run.sized(10_000, 1_000)), BATCH))
    for count, pairs, seconds in ((1, 60, 1.0), (BUCKETS, 18, 2.0)):
        name = "1 bucket" if count == 1 else f"{count} buckets"
        backends: list[Any] = [
            PersistingBackend(i, str(run.path / str(count) / f"bucket_{i}"), **turns.QUIET)
            for i in range(count)
        ]
        in_turn = itertools.cycle(backends)

        async def put(
            laps: list[float],
            scraper: subprocess.Popen[bytes],
            in_turn: Iterator[Any] = in_turn,
            seconds: float = seconds,
        ) -> None:
            scraper.send_signal(signal.SIGCONT)
            deadline = clock() + (0.4 if run.quick else seconds)
            while (started := clock()) < deadline:
                await next(in_turn).put_batch(next(lists))
                laps.append(clock() - started)
            scraper.send_signal(signal.SIGSTOP)

        async def flush(backends: list[Any] = backends) -> None:
            await asyncio.gather(*(backend.flush() for backend in backends))

        for _ in backends:
            await next(in_turn).put_batch(next(lists))
        with (
            metrics.start_http_server(port=0) as server,
            stopped_scraper(server.url, "alone") as idle,
            stopped_scraper(server.url) as scraper,
        ):
            ways = {
                name: functools.partial(put, scraper=idle),
                f"{name}, scraped": functools.partial(put, scraper=scraper),
            }
            without, beside = await turns.alternate(run, ways, run.sized(pairs, 5), BATCH, flush)
            scraper.kill()
            assert scraper.stdout is not None
            scrapes = len(scraper.stdout.read()) * len(beside) / (len(beside) + 1)
        each = sum(turn.cpu for turn in without) / sum(turn.records for turn in without)
        extra = sum(turn.cpu - turn.records * each for turn in beside)
        run.notes[f"CPU us per scrape, {name}"] = extra / scrapes * 1e6
        run.notes[f"scrapes per second, {name}"] = scrapes / sum(turn.seconds for turn in beside)
        for backend in backends:
            await backend.aclose()


BENCHMARK = Benchmark(
    "put_batch(100) beside 100 scrapes a second",
    {"persisting": Side(Environment.OURS, persisting)},
    rounds=1,
)
