"""Does at random what tasks do with a queue until it is killed, and says before and after.

usage: trainer DIRECTORY SEED

Each line is JSON: {"try": call} before a call and {"done": result} after it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from typing import Any

import numpy as np

from persisting import KVInterface, Queue


def say(**line: Any) -> None:
    """Print a line as a whole."""
    os.write(1, (json.dumps(line) + "\n").encode())


def choose(chance: random.Random, total: int) -> dict[str, Any]:
    """Return a call."""
    task, partition = chance.choice("ab"), chance.choice("pq")
    step = chance.randrange(20)
    if total < 20 or step < 3:
        return {"call": "put", "values": [total + i for i in range(chance.choice([1, 20]))]}
    if step < 8:
        return {"call": "take", "task": task, "size": chance.randrange(1, 6)}
    if step < 11:
        return {"call": "mark", "task": task, "offsets": chance.sample(range(total), 3)}
    if step == 11:
        return {"call": "reset", "task": task}
    if step == 12:
        return {"call": "clear", "offsets": chance.sample(range(total), 2)}
    if step == 13:
        return {"call": "flush"}
    keys = chance.sample([f"key {i}" for i in range(12)], chance.randrange(1, 4))
    if step < 18:
        tags = [{"n": chance.randrange(9)} for _ in keys]
        values = [total + i for i in range(len(keys))]
        return {"call": "kv_put", "partition": partition} | {
            "keys": keys,
            "values": values,
            "tags": tags,
        }
    return {"call": "kv_clear", "partition": partition, "keys": keys}


async def do(queue: Queue, call: dict[str, Any]) -> Any:
    """Make a call; return what is to be told of its result."""
    name, task, partition = call["call"], call.get("task", ""), call.get("partition", "")
    if name == "put":
        backend: Any = await queue._place.bucket("p")
        return (await backend.put_tensor({"x": np.array(call["values"])})).global_indexes
    if name == "take":
        return (await queue.get_meta(["x"], call["size"], task)).global_indexes
    if name == "mark":
        await queue.mark_consumed(task, call["offsets"])
    elif name == "reset":
        await queue.reset_consumption(task)
    elif name == "clear":
        await queue.clear(call["offsets"])
    elif name == "flush":
        await queue.flush()
    elif name == "kv_put":
        records = [{"x": np.int64(value)} for value in call["values"]]
        await KVInterface(queue).kv_batch_put(call["keys"], records, partition, call["tags"])
    else:
        await KVInterface(queue).kv_clear(call["keys"], partition)
    return None


async def main(directory: str, seed: int) -> None:
    """Go on until killed."""
    chance = random.Random(seed)
    options = {"wal_sync_interval": chance.choice([0, 1.0])}
    queue = Queue("topic", directory, backend_options=options)
    while True:
        call = choose(chance, len(queue))
        say(**{"try": call})
        say(done=await do(queue, call))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
