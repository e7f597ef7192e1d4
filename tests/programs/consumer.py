"""Puts, takes, marks and clears records until it is killed, and says before and after.

usage: consumer DIRECTORY SEED
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from persisting import PersistingBackend


def say(*words: object) -> None:
    """Print a line as a whole."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def main(directory: str, seed: int) -> None:
    """Go on until killed."""
    chance = random.Random(seed)
    backend = PersistingBackend(0, directory, wal_sync_interval=chance.choice([0, 1.0]))
    say("open", backend.total_count())
    while True:
        task, total = chance.choice("ab"), backend.total_count()
        step = chance.randrange(10)
        if step < 2 or total < 20:
            await backend.put_batch([{"x": i} for i in range(total, total + 20)])
        elif step < 6:
            say("try", "take", task)
            meta = await backend.get_meta(["x"], chance.randrange(1, 6), task)
            say("done", "take", task, *meta.global_indexes)
        elif step < 9:
            chosen = chance.sample(range(total), 3)
            say("try", "mark", task, *chosen)
            await backend.mark_consumed(task, chosen)
            say("done", "mark", task, *chosen)
        elif chance.random() < 0.3:
            chosen = chance.sample(range(total), 2)
            say("try", "clear", "-", *chosen)
            await backend.clear(chosen)
            say("done", "clear", "-", *chosen)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
