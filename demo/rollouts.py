"""Record reinforcement-learning rollouts in a Pulsing queue, through a SIGKILL, and lose nothing.

    python3 build.py demo [--producers N] [--steps N] [--path DIRECTORY] [--keep]

Several producers play CartPole-v1 and put every step into a Pulsing queue with
``backend="persisting"``. They run in a process of their own, which reports to this one each
record before its put and again right after the put returned. That process is killed with
SIGKILL in the middle. New processes open the queue, read it back, and go on where each producer
was. The demo fails if one acknowledged record is missing, doubled, changed or out of order. Then
an agent is trained from a trajectory store, which is killed as well: see `agent.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import random
import statistics
import sys
import tempfile
import time
import zlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium
import numpy as np
from pulsing.core import ActorSystem, SystemConfig
from pulsing.streaming import read_queue, register_backend, write_queue

from demo import agent
from demo.processes import Child, DemoError, print_table, say
from persisting.queue import PersistingBackend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from typing import TypeAlias

    Record: TypeAlias = dict[str, Any]
    Policy: TypeAlias = Callable[[Any, random.Random], int]

TOPIC = "rollouts"
BUCKETS = 2
OPTIONS = {"flush_threshold": 1000}
KILL_AFTER = 0.45  # of all steps
READ_ROWS = 1000

POLICIES: dict[str, Policy] = {
    "random": lambda obs, rng: rng.randrange(2),
    "lean": lambda obs, rng: int(obs[2] > 0),
    "swing": lambda obs, rng: int(obs[2] + 0.25 * obs[3] > 0),
    "noisy": lambda obs, rng: int(obs[2] + 0.25 * obs[3] > rng.gauss(0, 0.1)),
}


class Row(NamedTuple):
    """What identifies a record and proves its content, and what the table of returns needs."""

    producer: str
    episode: int
    step: int
    fingerprint: str
    reward: float
    done: bool

    @classmethod
    def of(cls, record: Record) -> Row:
        """Return the row of a record."""
        place = (record["producer"], record["episode"], record["step"])
        return cls(*place, fingerprint(record), record["reward"], record["done"])

    def __str__(self) -> str:
        return f"{self.producer} episode {self.episode} step {self.step}"


def fingerprint(record: Record) -> str:
    """Return a hash in which every value counts, with its type, dtype and shape."""

    def plain(value: object) -> object:
        if isinstance(value, np.ndarray):
            return ["ndarray", value.dtype.str, value.shape, value.tobytes().hex()]
        raise TypeError(f"a {type(value).__name__} is not expected in a record")

    text = json.dumps(record, default=plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def producer_names(count: int) -> list[str]:
    """Return the names of the producers; each carries the name of its policy."""
    policies = itertools.islice(itertools.cycle(POLICIES), count)
    return [f"{policy}-{number}" for number, policy in enumerate(policies)]


def play(producer: str) -> Iterator[Record]:
    """Yield the steps of one episode of CartPole-v1 after the other; the same each time."""
    policy_name = producer.partition("-")[0]
    policy = POLICIES[policy_name]
    env = gymnasium.make("CartPole-v1")
    for episode in itertools.count():
        seed = zlib.crc32(f"{producer}/{episode}".encode())
        rng = random.Random(seed)
        obs, _ = env.reset(seed=seed)
        done = False
        for step in itertools.count():
            action = policy(obs, rng)
            following, reward, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
            yield {
                "producer": producer,
                "episode": episode,
                "step": step,
                "obs": obs,
                "action": action,
                "reward": float(reward),
                "done": done,
                "info": {
                    "policy": policy_name,
                    "seed": seed,
                    "end": {"fell": terminated, "time": truncated},
                },
            }
            obs = following
            if done:
                break


# Processes that open the queue. Each reports to the parent through its connection.


@contextlib.asynccontextmanager
async def actor_system() -> AsyncIterator[ActorSystem]:
    """Run a Pulsing actor system that knows our backend."""
    register_backend("persisting", PersistingBackend)
    system = await ActorSystem.create(SystemConfig.standalone(), asyncio.get_running_loop())
    try:
        yield system
    finally:
        await system.shutdown()


async def read_all(system: ActorSystem, path: str) -> list[Record]:
    """Return every record of the queue, bucket after bucket, each in its order."""
    reader = await read_queue(
        system,
        TOPIC,
        num_buckets=BUCKETS,
        storage_path=path,
        backend="persisting",
        backend_options=OPTIONS,
    )
    records: list[Record] = []
    while page := await reader.get(limit=READ_ROWS):
        records += page
    return records


def write(path: str, names: Sequence[str], steps: int, parent: Connection) -> None:
    """Put `steps` steps of each producer into the queue, less what it already holds."""
    asyncio.run(write_async(path, names, steps, parent))
    os._exit(0)  # see read


async def write_async(path: str, names: Sequence[str], steps: int, parent: Connection) -> None:
    """Do the work of `write`."""
    async with actor_system() as system:
        stored = defaultdict(list)
        for record in await read_all(system, path):
            stored[record["producer"]].append(record)
        writer = await write_queue(
            system,
            TOPIC,
            bucket_column="producer",
            num_buckets=BUCKETS,
            storage_path=path,
            backend="persisting",
            backend_options=OPTIONS,
        )

        async def produce(name: str) -> None:
            steps_of_producer = itertools.islice(play(name), steps)
            for old, again in zip(stored[name], steps_of_producer, strict=False):
                if fingerprint(old) != fingerprint(again):
                    raise DemoError(f"playing {Row.of(again)} again does not give what is stored")
            for record in steps_of_producer:
                row = Row.of(record)
                parent.send(("sent", row))
                await writer.put(record)
                parent.send(("acknowledged", row))

        await asyncio.gather(*(produce(name) for name in names))
        statistics_of_queue = await writer.queue.stats()
        parent.send(("stats", statistics_of_queue["buckets"]))


def read(path: str, parent: Connection) -> None:
    """Report the row of every record in the queue."""
    asyncio.run(read_async(path, parent))
    os._exit(0)  # the threads of Pulsing 0.1.2 crash an interpreter that shuts down beside them


async def read_async(path: str, parent: Connection) -> None:
    """Do the work of `read`."""
    async with actor_system() as system:
        parent.send(("rows", [Row.of(record) for record in await read_all(system, path)]))


# The parent: starts and kills these processes, and holds them to what they acknowledged.


class Ledger:
    """Every record sent, by producer in order, and how many of them were acknowledged."""

    def __init__(self) -> None:
        self.sent: defaultdict[str, list[Row]] = defaultdict(list)
        self.acknowledged: Counter[str] = Counter()

    def note(self, kind: str, row: Row) -> None:
        """Take in one report of a writer."""
        if kind == "sent":
            self.sent[row.producer].append(row)
        else:
            self.acknowledged[row.producer] += 1

    def in_flight(self) -> int:
        """Return how many records were sent and not acknowledged."""
        return sum(map(len, self.sent.values())) - self.acknowledged.total()

    def faults(self, rows: Iterable[Row]) -> list[str]:
        """Return all that is wrong with the rows that came back."""
        faults = []
        came: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            came[row.producer].append(row)
        for producer in self.sent.keys() | came.keys():
            sent, back = self.sent[producer], came[producer]
            places = Counter(row[:3] for row in back)
            contents = {row[:3]: row for row in sent}
            promised = sent[: self.acknowledged[producer]]
            faults += [f"missing: {row}" for row in promised if row[:3] not in places]
            faults += [f"came back {n} times: {place}" for place, n in places.items() if n > 1]
            faults += [f"never sent: {row}" for row in back if row[:3] not in contents]
            faults += [f"changed: {row}" for row in back if contents.get(row[:3], row) != row]
            if not faults and back != sent[: len(back)]:
                faults.append(f"out of order: {producer}")
        return faults

    def settle(self, rows: Iterable[Row]) -> int:
        """Take what came back for the truth: return how many of those in flight are stored."""
        before = self.acknowledged.total()
        self.acknowledged = Counter(row.producer for row in rows)
        for producer, sent in self.sent.items():
            del sent[self.acknowledged[producer] :]
        return self.acknowledged.total() - before


def run_writer(
    ledger: Ledger, path: Path, names: Sequence[str], steps: int, kill_at: int | None
) -> dict[int, dict[str, Any]]:
    """Run a writer to its end, or kill it after `kill_at` records; return its buckets' stats."""
    child = Child(write, str(path), names, steps)
    stats: dict[int, dict[str, Any]] = {}
    before = ledger.acknowledged.total()
    started = stopped = 0.0
    for kind, content in child.reports():
        if kind == "stats":
            stats = content
            continue
        ledger.note(kind, content)
        stopped = time.monotonic()
        started = started or stopped
        if kill_at is not None and ledger.acknowledged.total() >= kill_at:
            child.kill()
            kill_at = None
            stats = {}
    written = ledger.acknowledged.total() - before
    rate = written / max(stopped - started, 1e-9)
    say(f"   {written:,} steps acknowledged in {stopped - started:.1f} s ({rate:,.0f}/s)")
    child.check(expected=0 if stats else -9)
    return stats


def run_reader(ledger: Ledger, path: Path) -> list[Row]:
    """Read everything back in a new process, hold it against the ledger, and return it."""
    acknowledged, in_flight = ledger.acknowledged.total(), ledger.in_flight()
    child = Child(read, str(path))
    rows: list[Row] = []
    for _, content in child.reports():
        rows += content
    child.check(expected=0)
    if faults := ledger.faults(rows):
        shown = "\n  ".join(faults[:10])
        raise DemoError(
            f"{acknowledged:,} records acknowledged, {len(rows):,} came back, "
            f"{len(faults):,} faults:\n  {shown}"
        )
    kept = ledger.settle(rows)
    say(f"   {len(rows):,} records came back: all {acknowledged:,} acknowledged ones, each once,")
    say(f"   unchanged and in order, and {kept} of the {in_flight} that were in flight")
    return rows


def print_returns(rows: Sequence[Row], names: Sequence[str]) -> None:
    """Print the returns of the finished episodes of each producer."""
    lines = []
    for name in names:
        own = [row for row in rows if row.producer == name]
        totals: Counter[int] = Counter()
        lengths: Counter[int] = Counter()
        for row in own:
            totals[row.episode] += row.reward  # type: ignore[assignment]
            lengths[row.episode] += 1
        finished = [row.episode for row in own if row.done]
        returns = [float(totals[episode]) for episode in finished] or [float("nan")]
        length = statistics.fmean([lengths[episode] for episode in finished] or [0])
        summary = (statistics.fmean(returns), min(returns), max(returns), length)
        lines.append((name, len(own), len(finished), *summary))
    header = ("producer", "steps", "episodes", "mean return", "min", "max", "mean length")
    print_table(header, lines)


def print_stats(stats: dict[int, dict[str, Any]], path: Path) -> None:
    """Print the buckets' stats and metrics, and the bytes on disk."""
    columns: dict[str, list[object]] = {}
    for bucket in stats.values():
        flat = {key: value for key, value in bucket.items() if not isinstance(value, dict)}
        flat |= bucket["metrics"]
        flat["last_flush_time"] = time.strftime("%H:%M:%S", time.localtime(flat["last_flush_time"]))
        del flat["storage_path"]
        for key, value in flat.items():
            columns.setdefault(key, []).append(value)
    header = ["", *(f"bucket {number}" for number in stats)]
    print_table(header, [(name, *values) for name, values in columns.items()])
    sizes: Counter[str] = Counter()
    for file in path.rglob("*"):
        if file.is_file():
            part = "WAL" if "wal" in file.relative_to(path).parts else "Lance"
            sizes[part] += file.stat().st_size
    say("   on disk: " + ", ".join(f"{size / 1e6:.2f} MB {name}" for name, size in sizes.items()))


def demonstrate(path: Path, producers: int, steps: int) -> None:
    """Run the demonstration in `path`."""
    names = producer_names(producers)
    total = producers * steps
    ledger = Ledger()
    say('CartPole-v1 rollouts in a Pulsing queue, backend="persisting"')
    say(f"   {producers} producers, {steps:,} steps each, {BUCKETS} buckets in {path}")
    say("1. write, and SIGKILL in the middle")
    run_writer(ledger, path, names, steps, kill_at=int(total * KILL_AFTER))
    say(f"   killed with {ledger.in_flight()} puts in flight")
    say("2. open in a new process and read everything")
    run_reader(ledger, path)
    say("3. open in a new process, play each producer's game up to where it was, and go on")
    stats = run_writer(ledger, path, names, steps, kill_at=None)
    say("4. open in a new process and read everything")
    rows = run_reader(ledger, path)
    if len(rows) != total:
        raise DemoError(f"{len(rows):,} records instead of {total:,}")
    say("5. episode returns, from what came back")
    print_returns(rows, names)
    say("6. stats and metrics of the last writer")
    print_stats(stats, path)
    say("7. train an agent from a trajectory store, publish each policy, and SIGKILL the trainer")
    agent.demonstrate(path / "agent", agent.VERSIONS)


def positive(text: str) -> int:
    """Return a command line argument that must be a positive number."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--producers", type=positive, default=4, help="producers (4)")
    parser.add_argument("--steps", type=positive, default=2000, help="steps of each (2000)")
    parser.add_argument("--path", type=Path, help="an empty directory (a temporary one)")
    parser.add_argument("--keep", action="store_true", help="keep the temporary directory")
    arguments = parser.parse_args()
    path: Path | None = arguments.path
    if path is not None and path.exists() and any(path.iterdir()):
        parser.error(f"{path} is not empty")
    started = time.monotonic()
    with contextlib.ExitStack() as cleanup:
        if path is None and arguments.keep:
            path = Path(tempfile.mkdtemp(prefix="persisting-demo-"))
        elif path is None:
            temporary = tempfile.TemporaryDirectory(prefix="persisting-demo-")
            path = Path(cleanup.enter_context(temporary))
        try:
            demonstrate(path, arguments.producers, arguments.steps)
        except DemoError as error:
            say(f"\nDEMO FAILED: {error}")
            return 1
        kept = arguments.keep or arguments.path
        say(f"done in {time.monotonic() - started:.1f} s" + (f"; kept in {path}" if kept else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
