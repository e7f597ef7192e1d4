"""Steps written by a worker, for the table in docs/trajectories.md.

python3 -m benchmarks.trajectory [--directory DIR] [--steps 200000] [--rounds 3]

Steps of 998 bytes (84 float32, an action, a reward, two flags, 80 tokens of int64) in batches of
1,000 and one by one, and samples of a language model of 10 KB (a text of 4,096 bytes, 512 tokens of
int64, 512 log probabilities of float32, a reward) in batches of 64 and one by one. Beside the store
are those that are installed: SQLite, whose log is synced with its checkpoints only (NORMAL);
torchrl's LazyMemmapStorage and cpprb, which a crash empties; and the floor, which is the same
columns copied into arrays in memory. Sides take turns; of all rounds the best rate counts, and in
parentheses the least processor time of a step, in microseconds, that of all threads.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from persisting.trajectory import Column, TrajectoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

Steps = dict[str, Any]

RAGGED = {"tokens": Column.ragged(np.int64), "logprobs": Column.ragged(np.float32)}
EPISODE = 100


def plain(count: int) -> Steps:
    """Return steps of 998 bytes."""
    rng = np.random.default_rng(1)
    return {
        "obs": rng.random((count, 84), np.float32),
        "action": rng.integers(0, 18, count),
        "reward": rng.random(count, np.float32),
        "terminated": np.zeros(count, bool),
        "truncated": np.zeros(count, bool),
        "tokens": rng.integers(0, 100_000, (count, 80)),
    }


def samples(count: int) -> Steps:
    """Return what a language model wrote, 10 KB each."""
    rng = np.random.default_rng(2)
    return {
        "text": [f"{i:08d}" * 512 for i in range(count)],
        "tokens": [*rng.integers(0, 100_000, (count, 512))],
        "logprobs": [*rng.random((count, 512), np.float32)],
        "reward": rng.random(count),
    }


def parts(steps: Steps, size: int) -> list[Steps]:
    """Return steps in batches."""
    count = len(next(iter(steps.values())))
    return [{k: v[i : i + size] for k, v in steps.items()} for i in range(0, count, size)]


def singles(steps: Steps) -> list[Steps]:
    """Return steps one by one."""
    count = len(next(iter(steps.values())))
    return [{k: v[i] for k, v in steps.items()} for i in range(count)]


class Ours:
    """A store, which acknowledges each call."""

    def __init__(self, directory: Path, steps: Steps) -> None:
        ragged = RAGGED if "logprobs" in steps else {}
        self.store = TrajectoryStore(directory / "store", columns=ragged)
        self.writer = self.store.writer()

    def many(self, batch: Steps) -> None:
        self.writer.extend(batch)

    def one(self, step: Steps) -> None:
        self.writer.append(step)

    def close(self) -> None:
        self.writer.close()
        self.store.close()


class SQLite:
    """A table whose rows are blobs, a transaction for each call."""

    def __init__(self, directory: Path, steps: Steps) -> None:
        self.db = sqlite3.connect(directory / "db", isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=NORMAL")
        self.db.execute(f"CREATE TABLE steps ({', '.join(steps)})")
        self.insert = f"INSERT INTO steps VALUES ({', '.join('?' * len(steps))})"

    def _row(self, values: Any) -> list[Any]:
        return [v if isinstance(v, str) else v.tobytes() if v.ndim else v.item() for v in values]

    def many(self, batch: Steps) -> None:
        self.db.execute("BEGIN")
        self.db.executemany(self.insert, map(self._row, zip(*batch.values(), strict=True)))
        self.db.execute("COMMIT")

    def one(self, step: Steps) -> None:
        self.db.execute(self.insert, self._row(step.values()))

    def close(self) -> None:
        self.db.close()


class Floor:
    """The same columns in memory, and nothing of it kept."""

    def __init__(self, _: Path, steps: Steps) -> None:
        self.room = 4096
        self.cells = {
            k: [b""] * self.room
            if isinstance(v[0], str)
            else np.zeros((self.room, *np.shape(v[0])), v[0].dtype)
            for k, v in steps.items()
        }
        self.at = 0

    def many(self, batch: Steps) -> None:
        count = len(next(iter(batch.values())))
        if self.at + count > self.room:
            self.at = 0
        for name, values in batch.items():
            self.cells[name][self.at : self.at + count] = values
        self.at += count

    def one(self, step: Steps) -> None:
        at = self.at = (self.at + 1) % self.room
        for name, value in step.items():
            self.cells[name][at] = value

    def close(self) -> None:
        pass


class TorchRL:
    """A replay buffer over mapped files; only for columns of one shape."""

    def __init__(self, directory: Path, steps: Steps) -> None:
        import torch
        from tensordict import TensorDict
        from torchrl.data import LazyMemmapStorage, ReplayBuffer

        def made(batch: Steps, size: list[int]) -> TensorDict:
            return TensorDict({k: torch.as_tensor(v) for k, v in batch.items()}, batch_size=size)

        self.made = made
        storage = LazyMemmapStorage(len(steps["reward"]), scratch_dir=str(directory))
        self.buffer = ReplayBuffer(storage=storage, batch_size=256)

    def many(self, batch: Steps) -> None:
        self.buffer.extend(self.made(batch, [len(batch["reward"])]))

    def one(self, step: Steps) -> None:
        self.buffer.add(self.made(step, []))

    def close(self) -> None:
        pass


class Cpprb:
    """A replay buffer in memory; only for columns of one shape."""

    def __init__(self, _: Path, steps: Steps) -> None:
        import cpprb

        columns = {k: {"shape": v.shape[1:] or 1, "dtype": v.dtype} for k, v in steps.items()}
        self.buffer = cpprb.ReplayBuffer(len(steps["reward"]), columns)

    def many(self, batch: Steps) -> None:
        self.buffer.add(**batch)

    one = many

    def close(self) -> None:
        pass


SIDES: dict[str, type] = {
    "store": Ours,
    "SQLite": SQLite,
    "torchrl": TorchRL,
    "cpprb": Cpprb,
    "floor": Floor,
}


def measured(
    make: type, steps: Steps, calls: list[Steps], verb: str, directory: Path
) -> tuple[float, float]:
    """Return the seconds in which a side acknowledges all steps, and of the processor in all."""
    with tempfile.TemporaryDirectory(dir=directory) as path:
        side = make(Path(path), steps)
        do: Callable[[Steps], None] = getattr(side, verb)
        began, cpu = time.perf_counter(), time.process_time()
        for call in calls:
            do(call)
        took = time.perf_counter() - began
        side.close()
        return took, time.process_time() - cpu


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.trajectory")
    parser.add_argument("--directory", type=Path, default=Path.cwd())
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    steps, texts = plain(arguments.steps), samples(arguments.steps // 20)
    work = {
        "998 B, in batches of 1,000": (steps, parts(steps, 1000), "many"),
        "998 B, one by one": (steps, singles(steps), "one"),
        "10 KB, in batches of 64": (texts, parts(texts, 64), "many"),
        "10 KB, one by one": (texts, singles(texts), "one"),
    }
    print(f"| steps/s | {' | '.join(SIDES)} |")
    print(f"|---|{'---:|' * len(SIDES)}")
    for name, (of, calls, verb) in work.items():
        found: dict[str, list[tuple[float, float]]] = {label: [] for label in SIDES}
        for number in range(arguments.rounds):
            turn = [*SIDES][number % len(SIDES) :] + [*SIDES][: number % len(SIDES)]
            for label in turn:
                if of is texts and label in ("torchrl", "cpprb"):
                    continue
                with contextlib.suppress(ImportError):
                    side = SIDES[label]
                    found[label].append(measured(side, of, calls, verb, arguments.directory))
        count = len(next(iter(of.values())))
        cells = []
        for times in found.values():
            walls, cpus = zip(*times, strict=True) if times else ((), ())
            shown = f"{count / min(walls):,.0f} ({min(cpus) / count * 1e6:.1f})" if walls else "-"
            cells.append(shown)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
