"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _build.process import ROOT, say
from benchmarks import report, runner
from benchmarks.environments import DIRECTORY, peers

if TYPE_CHECKING:
    from benchmarks.model import Benchmark

NAMES = ("queue", "batch", "single", "durable", "pulsing", "arrow", "recovery", "growth")
RESULTS = ROOT / "docs" / "benchmarks"
QUICK_RESULTS = ROOT / ".build" / "benchmarks"


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
    parser.add_argument("--path", type=Path, default=DIRECTORY, help="where to write (the cache)")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; choose from {', '.join(NAMES)}")
    peers()
    arguments.path.mkdir(parents=True, exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory(dir=arguments.path, prefix="data-") as directory:
        for name in arguments.names or NAMES:
            path = Path(directory)
            result = runner.run(name, load(name), quick=arguments.quick, directory=path)
            file = save(result)
            failed |= bool(result["failures"])
            print(report.text(result), flush=True)
            say(f"{name}: written to {file.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
