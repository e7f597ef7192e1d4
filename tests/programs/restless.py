"""Use a bucket from many tasks and loops, with pauses wherever Python and the engine meet.

    python -m tests.programs.restless DIRECTORY SEED SECONDS

Each life opens a bucket with small limits, so that puts are held back again and again, and reads,
changes and cancels beside them. A life that does not end in time prints what every task and every
goroutine does, and ends the process with a signal. The last line says how many lives there were.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import functools
import os
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

import persisting
from persisting import LanceBackend, PersistingBackend
from persisting._errors import NotFoundError, PersistingError
from persisting._loop.acknowledgements import Acknowledgements

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LONGEST = 300.0  # seconds of a life

PAUSED = (
    *("append", "append_message", "notify", "set_waker", "wait", "acknowledged"),
    *("open_ring", "drain_ring", "read", "get", "schema"),
)


def paused(function: Callable[..., Any], chance: random.Random) -> Callable[..., Any]:
    """Return a function that pauses now and then before and after it does its work."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if chance.random() < 0.02:
            time.sleep(chance.choice((0, 0, 0.0005, 0.005)))
        try:
            return function(*arguments, **options)
        finally:
            if chance.random() < 0.02:
                time.sleep(chance.choice((0, 0, 0.0005, 0.005)))

    return call


class Watchdog:
    """Ends the process when a life takes too long."""

    def __init__(self) -> None:
        self._fed = time.monotonic()
        self.about = ""
        self.loops: set[asyncio.AbstractEventLoop] = set()
        threading.Thread(target=self._watch, daemon=True).start()

    def feed(self, about: str) -> None:
        self._fed, self.about = time.monotonic(), about
        self.loops.clear()

    def _watch(self) -> None:
        while time.monotonic() - self._fed < LONGEST:
            time.sleep(1)
        print(f"STUCK: {self.about}", file=sys.stderr, flush=True)
        for loop in self.loops:
            for task in asyncio.all_tasks(loop):
                with contextlib.suppress(Exception):
                    task.print_stack(file=sys.stderr)
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        sys.stderr.flush()
        # The runtime of Go takes it for a fault, and prints all goroutines.
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(10)
        os._exit(3)


class Life:
    """What is done with one bucket, from open to close."""

    def __init__(self, path: Path, chance: random.Random, watchdog: Watchdog) -> None:
        self.path = path
        self.chance = chance
        self.watchdog = watchdog
        self.stored: set[int] = set()
        self.refused = 0
        self.next = 0
        self.cls: type[LanceBackend] = chance.choice((LanceBackend, *2 * [PersistingBackend]))
        self.options: dict[str, Any] = {
            "flush_interval": chance.choice((0, 0.01, 0.5)),
            "flush_threshold": chance.choice((1, 20, 65536)),
            "flush_bytes": chance.choice((1 << 20, 1 << 16 << 10)),
            "compaction_threshold": chance.choice((0, 3, 32)),
            "cache_bytes": chance.choice((0, 1 << 20, 64 << 20)),
        }
        if self.cls is PersistingBackend:
            self.options["wal_sync_interval"] = chance.choice((0, 0, 0.01, 0.3, 1.0))
            self.options["max_wal_size"] = chance.choice((1 << 20, 2 << 20, 512 << 20))

    def number(self) -> int:
        self.next += 1
        return self.next

    def open(self) -> LanceBackend:
        backend = self.cls(0, self.path, **self.options)
        bucket: Any = backend._bucket
        for name in PAUSED:
            setattr(bucket, name, paused(getattr(bucket, name), self.chance))
        return backend

    async def write(self, backend: LanceBackend, count: int) -> None:
        chance = self.chance
        for _ in range(count):
            n, way = self.number(), chance.randrange(12)
            size = chance.choice((1, 1, 1, 100, 3000, 200_000))
            record = {"n": n, "s": "x" * size}
            put: Awaitable[None]
            if way < 6:
                put = backend.put(record)
            elif way < 8:
                put = backend.put_batch([record, {"n": -n, "s": "y"}])
            elif way < 10:
                put = backend.put_arrow(pa.table({"n": [n], "s": ["x" * size]}))
            elif way == 10:
                put = backend.put_arrow(pa.table({"n": [n]}).to_reader())
            else:
                put = backend.put({"n": n, f"key{chance.randrange(3)}": 1.5})
            if chance.random() < 0.05:
                task = asyncio.ensure_future(put)
                await asyncio.sleep(chance.choice((0, 0, 0.001)))
                task.cancel()
                await asyncio.wait({task})
                continue
            try:
                await put
            except PersistingError:  # its column was changed meanwhile
                self.refused += 1
            else:
                self.stored.add(n)
            if chance.random() < 0.05:
                await asyncio.sleep(chance.choice((0, 0.001, 0.01)))

    async def read(self, backend: LanceBackend, count: int) -> None:
        seen = 0
        async for records in backend.get_stream(count, 0, True, 0.5):
            seen += len(records)
        assert seen <= count

    async def upkeep(self, backend: LanceBackend) -> None:
        chance = self.chance
        for _ in range(chance.randrange(6)):
            what: Awaitable[Any] = chance.choice(
                (
                    lambda: backend.flush(),
                    lambda: backend.compact(),
                    lambda: backend.query("n > 3", limit=5),
                    lambda: backend.get_arrow(),
                    lambda: backend.add_column(f"c{self.number()}", "int64"),
                    lambda: backend.commit("me", backend.total_count()),
                )
            )()
            task = asyncio.ensure_future(what)
            if chance.random() < 0.3:
                await asyncio.sleep(chance.choice((0, 0.001, 0.01)))
                task.cancel()
            await asyncio.wait({task})
            fault = None if task.cancelled() else task.exception()
            if fault is not None and not isinstance(fault, NotFoundError):
                raise fault  # but for an offset that was counted for a put which was cancelled
            await asyncio.sleep(chance.choice((0, 0.001, 0.02)))

    async def turn(self, backend: LanceBackend, leave: bool) -> None:
        self.watchdog.loops.add(asyncio.get_running_loop())
        chance = self.chance
        writers = chance.choice((1, 2, 8, 30))
        tasks = [
            asyncio.ensure_future(self.write(backend, chance.randrange(1, 40)))
            for _ in range(writers)
        ]
        tasks += [asyncio.ensure_future(self.read(backend, chance.randrange(1, 200)))]
        tasks += [asyncio.ensure_future(self.upkeep(backend))]
        if leave:  # the loop ends in the midst of it
            await asyncio.sleep(chance.choice((0, 0.001, 0.02)))
            return
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if end is not None:
                raise end

    def run(self) -> None:
        backend = self.open()
        for _ in range(self.chance.randrange(1, 5)):
            turn = self.turn(backend, self.chance.random() < 0.3)
            if self.chance.random() < 0.5:
                asyncio.run(turn)
                continue
            thread = threading.Thread(target=asyncio.run, args=(turn,))
            thread.start()
            thread.join()
        if self.chance.random() < 0.5:
            asyncio.run(backend.aclose())
        else:
            backend.close()
        asyncio.run(self.check())

    async def check(self) -> None:
        async with self.cls(0, self.path) as backend:
            numbers = (await backend.get_arrow())["n"].to_pylist()
        positive = [n for n in numbers if n > 0]
        assert len(positive) == len({*positive}), "a put is there twice"
        assert self.stored <= {*positive}, f"lost {sorted(self.stored - {*positive})[:9]}"


def main(directory: Path, seed: int, seconds: float) -> None:
    """Live until the time is up."""
    chance = random.Random(seed)
    watchdog = Watchdog()
    hear = Acknowledgements.hear
    Acknowledgements.hear = paused(hear, chance)  # type: ignore[method-assign]
    persisting.set_memory_budget(16 << 20)
    ends, lives, rows, refused = time.monotonic() + seconds, 0, 0, 0
    while time.monotonic() < ends:
        path = directory / f"life{lives}"
        life = Life(path, random.Random(chance.random()), watchdog)
        watchdog.feed(f"seed {seed}, life {lives}: {life.cls.__name__} {life.options}")
        try:
            life.run()
        except BaseException:
            print(f"FAILED: {watchdog.about}", file=sys.stderr)
            raise
        rows += len(life.stored)
        refused += life.refused
        lives += 1
        shutil.rmtree(path)
    print(f"{lives} lives, {rows} puts stored, {refused} refused")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
