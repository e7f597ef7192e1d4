"""Run benchmarks: sides in turn, each in a fresh process and directory."""

from __future__ import annotations

import itertools
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _build.process import ROOT, environment, say
from benchmarks.environments import python

if TYPE_CHECKING:
    from benchmarks.model import Benchmark, Side

TIMEOUT_SECONDS = 1800


class SideError(Exception):
    """A side failed; the message is the end of its output."""


def run(
    name: str, benchmark: Benchmark, round_count: int, directory: Path, *, quick: bool
) -> dict[str, Any]:
    """Run one benchmark and return its rounds, as they are written to JSON.

    Parameters
    ----------
    name
        The benchmark's module.
    benchmark
        What it says about itself.
    round_count
        How often each side takes its turn.
    directory
        Where the sides may write, each in a directory of its own that is removed afterwards.
    quick
        Whether to take the small sizes.
    """
    disk = raw_rates(directory)
    rounds: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    for number in range(round_count):
        results: dict[str, Any] = {}
        for label, side in rotated(benchmark.sides, number):
            if label in failures:
                continue
            started = time.monotonic()
            try:
                results[label] = run_side(name, label, side, quick=quick, directory=directory)
            except SideError as error:
                failures[label] = str(error)
                say(f"{name}, round {number + 1}: {label} FAILED\n{error}")
                continue
            say(f"{name}, round {number + 1}: {label}, {time.monotonic() - started:.1f} s")
        rounds.append({label: results[label] for label in benchmark.sides if label in results})
    return {
        "name": name,
        "title": benchmark.title,
        "sides": list(benchmark.sides),
        "ours": benchmark.ours,
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(directory),
        "disk": disk,
        "quick": quick,
        "rounds": rounds,
        "failures": failures,
    }


def rotated(sides: dict[str, Side], number: int) -> list[tuple[str, Side]]:
    """Return the sides, beginning with another one in each round."""
    start = number % len(sides)
    return list(itertools.islice(itertools.cycle(sides.items()), start, start + len(sides)))


def run_side(name: str, label: str, side: Side, *, quick: bool, directory: Path) -> dict[str, Any]:
    """Run one side once and return its figures and notes."""
    path = Path(tempfile.mkdtemp(dir=directory))
    size = "quick" if quick else "full"
    command = [python(side.environment), "-m", "benchmarks.worker", name, label, path, size]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment(PYTHONUNBUFFERED="1"),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as expired:
        raise SideError(f"no result after {TIMEOUT_SECONDS} s") from expired
    finally:
        os.sync()
        shutil.rmtree(path, ignore_errors=True)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).splitlines()
        raise SideError("\n".join([*lines[-20:], f"exit status {done.returncode}"]))
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def raw_rates(directory: Path) -> dict[str, float]:
    """Return what the disk does alone.

    Returns
    -------
    dict
        "write": bytes written and synced per second, of 256 MB in blocks of 1 MB. "syncs":
        fdatasync calls per second, each after 400 bytes over blocks that exist.
    """
    block, count, puts = os.urandom(1 << 20), 256, 500
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        started = time.perf_counter()
        for _ in range(count):
            file.write(block)
        os.fdatasync(file.fileno())
        write = count * len(block) / (time.perf_counter() - started)
        started = time.perf_counter()
        for number in range(puts):
            os.pwrite(file.fileno(), block[:400], number * 400)
            os.fdatasync(file.fileno())
        return {"write": write, "syncs": puts / (time.perf_counter() - started)}


def machine(directory: Path) -> str:
    """Return the machine in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    found = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True)
    return (
        f"{os.cpu_count()} x {models[0] if models else platform.machine()}, "
        f"{memory / 2**30:.0f} GiB, {found.stdout.strip()}, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )
