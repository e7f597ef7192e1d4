"""What samplers of trajectories take, for the figures in docs/trajectories.md.

python3 -m benchmarks.trajectory_samplers [--directory DIR] [steps ...]

Steps of 998 bytes in six columns, in episodes of 100, of which each batch is 256: for each law the
times of a call into the same memory; beside them numpy, which takes the same columns from arrays by
random numbers, and so has neither episodes nor next observations.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from persisting.trajectory import (
    Column,
    NStep,
    Packed,
    Padded,
    Slices,
    Steps,
    TrajectoryStore,
)

if TYPE_CHECKING:
    from collections.abc import Callable

EPISODE = 100
BATCH = 256
CALLS = 1500
HOT = 12 << 30


def episode(chance: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the steps of an episode."""
    return {
        "obs": chance.standard_normal((EPISODE, 84), dtype=np.float32),
        "action": chance.integers(0, 18, EPISODE),
        "reward": chance.standard_normal(EPISODE, dtype=np.float32),
        "terminated": np.arange(EPISODE) == EPISODE - 1,
        "truncated": np.zeros(EPISODE, bool),
        "tokens": chance.integers(0, 150_000, (EPISODE, 80)),
    }


def timed(what: str, call: Callable[[], Any], calls: int = CALLS) -> None:
    """Print the times of a call, in microseconds."""
    for _ in range(calls // 10):
        call()
    laps = np.empty(calls)
    for i in range(calls):
        began = time.perf_counter()
        call()
        laps[i] = time.perf_counter() - began
    p10, p50, p99 = np.percentile(laps, [10, 50, 99]) * 1e6
    print(f"  {what:32} p10 {p10:7.1f}  p50 {p50:7.1f}  p99 {p99:7.1f} us", flush=True)


def write(store: TrajectoryStore, steps: dict[str, np.ndarray], name: str, version: int) -> None:
    """Write an episode."""
    writer = store.writer(episode_id=name)
    writer.extend(steps, version=version)
    writer.end_episode({"obs": steps["obs"][0]}, truncated=True)


def laws(store: TrajectoryStore, count: int) -> None:
    """Draw by each law."""
    oldest = count // EPISODE * 9 // 10
    each: tuple[tuple[str, Any, dict[str, Any], dict[str, Any]], ...] = (
        ("uniform", Steps(), {}, {}),
        ("uniform, next_obs", Steps(), {"next": ("obs",)}, {}),
        ("uniform, the newest tenth", Steps(), {}, {"min_version": oldest}),
        ("shuffle", Steps(), {"order": "shuffle"}, {}),
        ("prioritized", Steps(), {"order": "prioritized"}, {}),
        ("the oldest", Steps(), {"order": "fifo"}, {}),
        ("the highest priorities", Steps(), {"order": "highest"}, {}),
        ("uniform, a tenth by a filter", Steps(), {"where": "reward > 1.2816"}, {}),
        ("uniform, the newest tenth only", Steps(), {"newest": count // 10}, {}),
        ("3 steps, next_obs", NStep(3), {"next": ("obs",)}, {}),
        ("32 slices of 8", Slices(8), {}, {}),
        ("32 slices of 8, by episodes", Slices(8), {"order": "episodes"}, {}),
    )
    for what, unit, options, bound in each:
        sampler = store.sampler(unit, **options)
        draws = BATCH // 8 if isinstance(unit, Slices) else BATCH
        out = sampler.sample(draws, **bound)
        while out.draws < draws:
            out = sampler.sample(draws, **bound)
        if what == "uniform":
            timed("uniform, new memory", partial(sampler.sample, draws))
        timed(what, partial(sampler.sample, draws, out, **bound))
    sampler = store.sampler(order="prioritized")
    out, values = sampler.sample(BATCH), np.linspace(0.1, 0.9, BATCH)
    timed("update of 256 priorities", lambda: store.update_priorities(out.offsets, values))

    def both() -> None:
        store.update_priorities(out.offsets, values)
        sampler.sample(BATCH, out)

    timed("prioritized, and an update of it", both)


def numpy(steps: dict[str, np.ndarray], count: int, chance: np.random.Generator) -> None:
    """Take the same from arrays in memory."""
    columns = [np.ones((count, *column.shape[1:]), column.dtype) for column in steps.values()]

    def uniform() -> None:
        rows = chance.integers(0, count, BATCH)
        for column in columns:
            column[rows]

    def slices() -> None:
        rows = (chance.integers(0, count - 8, BATCH // 8)[:, None] + np.arange(8)).ravel()
        for column in columns:
            column[rows]

    timed("numpy, uniform", uniform)
    timed("numpy, 32 slices of 8", slices)


def ragged(directory: Path, count: int) -> None:
    """Draw samples of 64 to 512 tokens and a text."""
    chance = np.random.default_rng(8)
    columns = {"tokens": Column.ragged("int32"), "prompt": Column.text()}
    with TrajectoryStore(directory, columns=columns) as store:
        for number in range(count // EPISODE):
            tokens = [
                chance.integers(0, 150_000, n, np.int32) for n in chance.integers(64, 512, 100)
            ]
            writer = store.writer(episode_id=str(number))
            writer.extend({"tokens": tokens, "prompt": [f"question {number}"] * EPISODE})
            writer.end_episode(truncated=True)
        store.flush()
        forms: tuple[tuple[str, Packed | Padded], ...] = (
            ("packed", Packed()),
            ("padded", Padded(side="left", value=0)),
        )
        for name, form in forms:
            sampler = store.sampler(columns=["tokens", "prompt"], ragged=form)
            timed(f"{BATCH} ragged, {name}", partial(sampler.sample, BATCH), 50)


def beside_a_writer(store: TrajectoryStore, steps: dict[str, np.ndarray]) -> None:
    """Draw while another thread writes about 50,000 steps a second."""
    sampler = store.sampler()
    out, done, written = sampler.sample(BATCH), threading.Event(), [0]

    def work() -> None:
        while not done.wait(0.0015):
            write(store, steps, f"beside {written[0]}", 0)
            written[0] += 1

    thread, began = threading.Thread(target=work), time.perf_counter()
    thread.start()
    timed("uniform, beside a writer", lambda: sampler.sample(BATCH, out), 4000)
    rate = written[0] * EPISODE / (time.perf_counter() - began)
    done.set()
    thread.join()
    print(f"  the writer wrote {rate:,.0f} steps a second")


def measure(directory: Path, count: int) -> None:
    """Measure all of it with so many steps."""
    chance = np.random.default_rng(7)
    steps = episode(chance)
    print(f"{count:,} steps", flush=True)
    with TrajectoryStore(directory, hot_bytes=HOT) as store:
        write(store, steps, "-1", 0)
        store.sampler()  # so that the others are copied as they come
        began = time.perf_counter()
        for number in range(count // EPISODE - 1):
            write(store, steps, str(number), number)
        print(f"  {count / (time.perf_counter() - began):,.0f} steps a second were written")
        laws(store, count)
        numpy(steps, count, chance)
        beside_a_writer(store, steps)
    ragged(directory.with_name("ragged"), min(count, 100_000))
    for what in ("with", "without"):
        began = time.perf_counter()
        with TrajectoryStore(directory, hot_bytes=HOT) as store:
            opened = time.perf_counter()
            store.sampler().sample(BATCH)
            drawn = time.perf_counter()
        print(
            f"  opened in {opened - began:.2f} s, first sample {what} copies {drawn - opened:.2f} s"
        )
        shutil.rmtree(directory / "mirror")


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("steps", nargs="*", type=float, default=[1e5, 1e6])
    arguments = parser.parse_args()
    for count in arguments.steps:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            measure(Path(directory) / "store", int(count))


if __name__ == "__main__":
    main()
