"""Sets, reads and deletes blocks in eight threads until it is killed, and says before and after."""

from __future__ import annotations

import os
import random
import sys
import threading

from persisting.kv import KVStore

THREADS = 8
KEYS = 12


def content(key: str, version: int) -> bytes:
    """Return what a version of a key holds."""
    return random.Random(f"{key} {version}").randbytes(random.Random(version).randrange(60_000))


def say(*words: object) -> None:
    """Print a line that no other can tear."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def work(store: KVStore, thread: int, first: int) -> None:
    """Change the keys of one thread, one after the other."""
    chance = random.Random(f"{thread} {first}")
    for version in range(first, first + 10_000):
        key = f"{thread}.{chance.randrange(KEYS)}"
        if chance.random() < 0.15:
            say("try", key, -version)
            store.delete(key)
            say("done", key, -version)
            continue
        say("try", key, version)
        if store.set(key, content(key, version)):
            say("done", key, version)
        store.get(f"{chance.randrange(THREADS)}.{chance.randrange(KEYS)}")


def main() -> None:
    """Run until killed."""
    path, capacity, first = sys.argv[1:]
    store = KVStore(path, capacity=capacity, segment_bytes=1 << 20)
    say("open", "", 0)
    threads = [
        threading.Thread(target=work, args=(store, thread, int(first))) for thread in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
