"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _build.process import ROOT, say
from benchmarks import report, runner
from benchmarks.environments import DIRECTORY, peers

if TYPE_CHECKING:
    from benchmarks.model import Benchmark

NAMES = (
    *("queue", "batch", "single", "durable", "pulsing", "arrow"),
    *("reads", "mixed", "queries", "recovery", "growth", "counting", "scrapes"),
)
# What the README shows, with docs/benchmarks/summary.svg.
HEADLINES = (
    ("queue", "put_batch(100)"),
    ("queue", "get_stream, reopened"),
    ("single", "1 task"),
    ("durable", "64 writers"),
    ("reads", "get(1, random), cold"),
)
RESULTS = ROOT / "docs" / "benchmarks"
SUMMARY = RESULTS / "summary.json"
PAGE = ROOT / "docs" / "benchmarks.md"
QUICK_RESULTS = ROOT / ".build" / "benchmarks"

INTRODUCTION = """\
# Benchmarks

This page, its tables and its pictures are made by `python3 build.py bench`, which anyone can
repeat; `--quick` takes minutes, and names select benchmarks. Nothing here is edited by hand.

Each side runs in a process, a Python environment and a directory of its own. The sides take turns,
beginning with another one in each round; rates, p50 and p99 (of one call) are medians over the
rounds. "ours / side" is the median of our rate over that side's in the same round: above 1, ours is
faster. "CPU s" is the processor time of all threads, and of the server where there is one;
"peak MB" the most resident memory while that figure was measured; "written / put" the bytes written
to the disk per byte of records as JSON, or of Arrow data. The peers' libraries and versions
are in `benchmarks/environments.py`.
"""


def load(name: str) -> Benchmark:
    """Return a benchmark by its name."""
    benchmark: Benchmark = importlib.import_module(f"benchmarks.{name}").BENCHMARK
    return benchmark


def save(result: dict[str, Any]) -> Path:
    """Write a result as JSON, over that of an earlier run, and return the file."""
    directory = QUICK_RESULTS if result["quick"] else RESULTS
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{result['name']}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    return file


def publish() -> None:
    """Draw the committed results and write the page that shows them."""
    files = [file for name in NAMES if (file := RESULTS / f"{name}.json").exists()]
    found = {file.stem: json.loads(file.read_text()) for file in files}
    chosen = [(found[name], figure) for name, figure in HEADLINES if name in found]
    headlines = report.summary("summary", "the figures in short", chosen)
    SUMMARY.write_text(json.dumps(headlines, indent=1) + "\n")
    subprocess.run([peers(), "-m", "benchmarks.plots", SUMMARY, *files], cwd=ROOT, check=True)
    sections = [report.markdown(headlines, "From the benchmarks below.")]
    for file in files:
        module = importlib.import_module(f"benchmarks.{file.stem}")
        sections.append(report.markdown(json.loads(file.read_text()), module.__doc__ or ""))
    PAGE.write_text("\n".join([INTRODUCTION, *sections]))


def main() -> int:
    """Run the command line."""
    width = max(map(len, NAMES))
    listing = "\n".join(f"  {name:<{width}}  {load(name).title}" for name in NAMES)
    parser = argparse.ArgumentParser(
        prog="build.py bench",
        description="Measure Persisting beside other stores, in turn, on this machine.",
        epilog=f"benchmarks:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks (all)")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, minutes")
    parser.add_argument("--rounds", type=int, help="rounds (each benchmark's own number; quick 1)")
    parser.add_argument("--path", type=Path, default=DIRECTORY, help="where to write (the cache)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    peers()
    arguments.path.mkdir(parents=True, exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory(dir=arguments.path, prefix="data-") as directory:
        for name in arguments.names or NAMES:
            benchmark = load(name)
            rounds = arguments.rounds or (1 if arguments.quick else benchmark.rounds)
            result = runner.run(name, benchmark, rounds, Path(directory), quick=arguments.quick)
            file = save(result)
            failed |= bool(result["failures"])
            print(report.text(result), flush=True)
            say(f"{name}: written to {file.relative_to(ROOT)}")
    if not arguments.quick:
        publish()
        say(f"all results: {PAGE.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
