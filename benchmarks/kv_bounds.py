"""What a store keeps to whatever is asked of it, for the second list of figures in docs/kv.md.

python3 -m benchmarks.kv_bounds [--directory DIR] [--gb 50] [PART ...]

open    a million keys: the time of an opening, and what memory it takes
churn   thirty times the capacity is set while 32 threads read: what the directory takes, what is
        written, and whether a block with a lease is ever gone
hits    hits of a trace (conversations over shared prefixes, a scan) by policy, beside an exact LRU
mixed   the time of loads alone and beside sets at full rate
submit  the time in which batches of 128 keys are submitted
steady  what memory the process takes while 50 GB, or --gb, are set and read
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from persisting.integrations._connector import Connector
from persisting.kv import KVStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = 4096
POLICIES = ("s3fifo", "lru", "lfu", "fifo")


def percentile(laps: list[float], share: float) -> float:
    """Return the time that such a share of the laps stays below."""
    return sorted(laps)[min(len(laps) - 1, int(share * len(laps)))]


# The first store that a process opens loads the library, which is none of the keys'.
OPENING = """
import resource, sys, time
from persisting.kv import KVStore
KVStore(sys.argv[1] + " to load the library", capacity="1 MiB").close()
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
before, began = resident(), time.perf_counter()
with KVStore(sys.argv[1], capacity="10 GiB") as store:
    took = time.perf_counter() - began
    keys = store.stats()["keys"]
    each = (resident() - before) / keys
    print(f"opening with {keys:,} keys: {took:.2f} s, {each:.0f} bytes a key")
"""


def opening(directory: Path) -> None:
    """Open a store of a million keys in a process of its own."""
    with KVStore(directory, capacity="10 GiB", sync="never") as store:
        for first in range(0, 1_000_000, 10_000):
            keys = [f"{i:064x}" for i in range(first, first + 10_000)]
            assert all(store.set_many(keys, [b"x"] * len(keys)))
    subprocess.run([sys.executable, "-c", OPENING, str(directory)], check=True)


def allocated(directory: Path) -> int:
    """Return the bytes that the file system has given to a directory's files."""
    total = 0
    for path in directory.iterdir():
        try:
            total += path.stat().st_blocks * 512
        except FileNotFoundError:  # a journal that a checkpoint has replaced
            continue
    return total


def churn(directory: Path) -> None:
    """Set thirty times the capacity while 32 threads read what they have found."""
    capacity, size, segment, readers = 128 << 20, 64 << 10, 2 << 20, 32
    count = 30 * capacity // size
    value = random.Random(1).randbytes(size)
    seen, failed, most, done = [0], [0], [0], threading.Event()
    newest = [0]
    with KVStore(directory, capacity=capacity, segment_bytes=segment) as store:

        def read(seed: int) -> None:
            chance, buffer = random.Random(seed), bytearray(size)
            while not done.is_set():
                key = str(max(0, newest[0] - int(chance.expovariate(1 / 200))))
                if store.exists(key, lease=1):
                    seen[0] += 1
                    failed[0] += not store.load(key, buffer)
                time.sleep(0.25)

        def sample() -> None:
            while not done.is_set():
                most[0] = max(most[0], allocated(directory))
                time.sleep(0.05)

        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(readers)]
        threads.append(threading.Thread(target=sample))
        for thread in threads:
            thread.start()
        refused = 0
        for first in range(0, count, 16):
            keys = [str(i) for i in range(first, first + 16)]
            stored = store.set_many(keys, [value[i:] + value[:i] for i in range(16)])
            refused += stored.count(False)
            newest[0] = first
        done.set()
        for thread in threads:
            thread.join()
        stats = store.stats()
    print(
        f"churn: {count * size / 1e9:.1f} GB into {capacity >> 20} MiB: at most "
        f"{most[0] / capacity:.3f} of it allocated (a segment is {segment / capacity:.3f}), "
        f"write amplification {stats['write_amplification']:.3f}, {seen[0]:,} blocks found with a "
        f"lease and {failed[0]} of them not read, {refused} sets refused"
    )


def trace(seed: int, requests: int) -> Iterator[tuple[str, bool]]:
    """Yield keys of blocks in the order in which an engine asks for them.

    Conversations begin with one of 40 shared prefixes of 8 blocks, chosen by Zipf's law, and grow
    by 2 blocks a turn, each of which asks for all blocks from the first on. A fifth of all turns is
    of conversations that have no second. The second value says whether a key is of the scan: once,
    in the middle, twice as many blocks as the capacity has are asked for once.
    """
    chance = random.Random(seed)
    weights = [1 / (i + 1) for i in range(40)]
    active: list[list[int]] = []  # prefix, number, turns, of conversations
    made = asked = number = 0
    scanned = False
    while asked < requests:
        if not scanned and asked > requests // 2:
            scanned = True
            yield from ((f"scan {i}", True) for i in range(2 * BLOCKS))
        if len(active) < 60 or chance.random() < 0.25:
            number += 1
            active.append([chance.choices(range(40), weights)[0], number, 0])
        talk = chance.choice(active[-90:])
        talk[2] += 1
        keys = [f"p{talk[0]} {i}" for i in range(8)] + [
            f"c{talk[1]} {i}" for i in range(2 * talk[2])
        ]
        yield from ((key, False) for key in keys)
        asked += len(keys)
        if chance.random() < 0.2 or talk[2] > 12:
            active.remove(talk)
        made += 1


BLOCKS = 2000


def hits(directory: Path) -> None:
    """Play the trace with each policy, and with an exact LRU of as many blocks."""
    requests = [*trace(7, 200_000)]
    tail = [i for i, (_, scan) in enumerate(requests) if scan][-1]
    size = 3 * PAGE
    shares: dict[str, list[float]] = {}

    def played(name: str, asked: Callable[[str], bool], reset: Callable[[], None]) -> None:
        for scans in (True, False):
            reset()
            counted = found = 0
            for at, (key, scan) in enumerate(requests):
                if scan and not scans:
                    continue
                hit = asked(key)
                if at > len(requests) // 10 and not scan:
                    counted += 1
                    found += hit
            shares.setdefault(name, []).append(found / counted)

    exact: OrderedDict[str, None] = OrderedDict()

    def asked_exact(key: str) -> bool:
        hit = key in exact
        exact[key] = None
        exact.move_to_end(key)
        if len(exact) > BLOCKS:
            exact.popitem(last=False)
        return hit

    played("exact LRU", asked_exact, exact.clear)
    buffer, value = bytearray(size), bytes(size)
    for policy in POLICIES:
        stores: list[KVStore] = []

        def reset(policy: str = policy, stores: list[KVStore] = stores) -> None:
            if stores:
                stores.pop().close()
            where = directory / f"{policy}{random.randrange(10**9)}"
            capacity = (size + PAGE) * BLOCKS
            segment = capacity // 64 // PAGE * PAGE  # as many as a store of 1 TB has
            stores.append(
                KVStore(
                    where, capacity=capacity, segment_bytes=segment, policy=policy, sync="never"
                )
            )

        def asked(key: str, stores: list[KVStore] = stores) -> bool:
            return stores[0].load(key, buffer) or not stores[0].set(key, value)

        played(policy, asked, reset)
        stores.pop().close()
    count = len(requests) - 2 * BLOCKS
    print(f"hits of {count:,} requests, {BLOCKS} blocks fit, the scan ends at {tail:,}:")
    for name, (with_scan, without) in shares.items():
        print(f"  {name}: {100 * with_scan:.1f} % with the scan, {100 * without:.1f} % without")


def mixed(directory: Path) -> None:
    """Load blocks one at a time, alone and beside sets at full rate."""
    size, count = 3 << 19, 64
    value = random.Random(1).randbytes(size)
    buffer = bytearray(size)
    with KVStore(directory, capacity="2 GiB") as store:
        assert all(
            store.set_many(
                [str(i) for i in range(count)], [value[i:] + value[:i] for i in range(count)]
            )
        )
        assert all(store.pin(str(i)) for i in range(count))  # the sets may not push them out
        store.flush()
        done = threading.Event()
        wrote = [0]

        def write() -> None:
            made = 0
            while not done.is_set():
                keys = [f"new {made + i}" for i in range(8)]
                made += 8
                blocks = [value[made + i :] + value[: made + i] for i in range(8)]
                wrote[0] += sum(store.set_many(keys, blocks))

        def laps(seconds: float) -> list[float]:
            took: list[float] = []
            ends = time.perf_counter() + seconds
            while (began := time.perf_counter()) < ends:
                assert store.load(str(len(took) % count), buffer)
                took.append(time.perf_counter() - began)
            return took

        alone = laps(8)
        writer = threading.Thread(target=write)
        writer.start()
        began = time.perf_counter()
        beside = laps(12)
        rate = wrote[0] * size / 1e9 / (time.perf_counter() - began)
        done.set()
        writer.join()
    for name, took in (("alone", alone), (f"beside sets of {rate:.2f} GB/s", beside)):
        middle, high = percentile(took, 0.5), percentile(took, 0.99)
        each = f"{middle * 1e3:.2f} ms, p99 {high * 1e3:.2f} ms"
        print(f"load of 1.5 MiB {name}: {each}, {len(took):,} loads")


def submit(directory: Path) -> None:
    """Submit batches of 128 keys to the connector of LMCache, which never waits for them."""
    size = 4 * PAGE
    memory = memoryview(bytearray(128 * size))
    connector = Connector(str(directory), "1 GiB")
    rounds: dict[str, list[float]] = {"set": [], "get": [], "exists": []}
    for number in range(300):
        keys = [f"model@00000000@0@{number:032x}{i:032x}" for i in range(128)]
        buffers = [memory[i * size : (i + 1) * size] for i in range(128)]
        submits: dict[str, Callable[[], int]] = {
            "set": partial(connector.submit_batch_set, keys, buffers),
            "get": partial(connector.submit_batch_get, keys, buffers),
            "exists": partial(connector.submit_batch_exists, keys),
        }
        for name, begin in submits.items():
            began = time.perf_counter()
            task = begin()
            rounds[name].append(time.perf_counter() - began)
            while not any(done[0] == task for done in connector.drain_completions()):
                os.sched_yield()
    connector.close()
    for name, took in rounds.items():
        middle, high = percentile(took, 0.5), percentile(took, 0.99)
        print(f"submit of 128 keys to {name}: {middle * 1e6:.0f} us, p99 {high * 1e6:.0f} us")


def resident() -> int:
    """Return the bytes of memory that the process takes, files that are mapped left out."""
    with Path("/proc/self/statm").open() as file:
        _, all_of_it, shared, *_ = map(int, file.read().split())
    return (all_of_it - shared) * PAGE


def steady(directory: Path, total: float) -> None:
    """Set and read so many bytes, and look at what memory the process takes from the tenth on."""
    size, count = 3 << 19, 64
    memory = memoryview(bytearray(random.Random(1).randbytes(size * count)))
    buffers = [memory[i * size : (i + 1) * size] for i in range(count)]
    taken: list[int] = []
    moved, first = 0.0, 0
    with KVStore(directory, capacity="1 GiB") as store:
        while moved < total:
            keys = [str(first + i) for i in range(count)]
            first += count
            memory[:8] = first.to_bytes(8, "little")
            assert all(store.set_many(keys, buffers))
            assert all(store.load_many(keys, buffers))
            moved += 2 * size * count
            if moved > total / 10:
                taken.append(resident())
    print(
        f"resident while {moved / 1e9:.0f} GB were moved, from the tenth on: "
        f"{taken[0] >> 20} MiB at first, {max(taken) >> 20} MiB at most, {taken[-1] >> 20} at last"
    )


PARTS: dict[str, Callable[[Path], None]] = {
    "open": opening,
    "churn": churn,
    "hits": hits,
    "mixed": mixed,
    "submit": submit,
}


def main() -> None:
    """Print what was asked for, all of it by default."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.kv_bounds")
    parser.add_argument("--directory", type=Path, default=Path.cwd())
    parser.add_argument("--gb", type=float, default=50, help="set and read by steady")
    names = [*PARTS, "steady"]
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(names)}; all by default")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - {*names}:
        parser.error(f"there is no part {', '.join(sorted(unknown))}, want some of {names}")
    parts = PARTS | {"steady": partial(steady, total=arguments.gb * 1e9)}
    for name in arguments.parts or names:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as path:
            parts[name](Path(path) / "kv")


if __name__ == "__main__":
    main()
