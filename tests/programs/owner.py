"""Own a bucket and do what is asked on stdin, a word and its arguments a line.

usage: owner DIRECTORY OPTIONS

After each word, and while rows are put, prints how many records are acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from persisting import PersistingBackend


def record(number: int, added: int) -> dict[str, Any]:
    """Return the record with a number, once so many columns were added."""
    return {
        "n": number,
        "text": f"record {number}",
        "list": [*range(number % 4)],
        **{f"key {i}": number * i for i in range(added)},
    }


async def main() -> None:
    bucket = PersistingBackend(0, sys.argv[1], **json.loads(sys.argv[2]))
    added = 0
    for line in sys.stdin:
        word, *arguments = line.split()
        numbers = [int(argument) for argument in arguments]
        if word == "put":  # one by one, which goes through the ring
            for _ in range(numbers[0]):
                await bucket.put(record(bucket.total_count(), added))
                print(bucket.total_count(), flush=True)
        elif word == "batch":
            first = bucket.total_count()
            await bucket.put_batch([record(first + i, added) for i in range(numbers[0])])
        elif word == "key":
            added += 1
        elif word == "column":
            await bucket.add_column(f"column {numbers[0]}", default=numbers[0])
        elif word == "truncate":
            await bucket.truncate_before(numbers[0])
        elif word == "delete":
            await bucket.delete(f"n = {numbers[0]}")
        else:
            await getattr(bucket, word)()
        print(bucket.total_count(), "done", flush=True)
    await bucket.aclose()


if __name__ == "__main__":
    asyncio.run(main())
