"""Records like those that an agent leaves behind: about 400 bytes as JSON, with a token list."""

from __future__ import annotations

import functools
import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT = (
    "the agent reads file opens shell runs test fails again then edits line checks output of "
    "build looks for error in module calls tool with path and finds answer"
)
TOOLS = ("bash", "editor", "search", "browser", "python")


def trajectories(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return records of agent trajectories.

    Parameters
    ----------
    count
        How many.
    seed
        The same seed gives the same records.
    """
    rng = random.Random(seed)
    words = TEXT.split()
    records = []
    for number in range(count):
        text = " ".join(rng.choices(words, k=28))
        records.append(
            {
                "trajectory": f"run-{seed:02d}-{number // 40:06d}",
                "step": number % 40,
                "role": "assistant" if number % 2 else "tool",
                "tool": rng.choice(TOOLS),
                "text": text,
                "tokens": [rng.randrange(100_000) for _ in range(16)],
                "logprob": -rng.expovariate(2.0),
                "reward": float(number % 40 == 39),
                "done": number % 40 == 39,
            }
        )
    return records


def wide(count: int, columns: int = 64) -> list[dict[str, Any]]:
    """Return records of so many floats each."""
    rng = random.Random(columns)
    names = [f"value_{column:02d}" for column in range(columns)]
    return [{name: rng.gauss(0, 1) for name in names} for _ in range(count)]


def blobs(count: int, size: int = 1_000_000) -> list[dict[str, Any]]:
    """Return records of so many random bytes each."""
    rng = random.Random(size)
    return [{"step": step, "state": rng.randbytes(size)} for step in range(count)]


def encoded(record: dict[str, Any]) -> bytes:
    """Return a record as the JSON that a store of bytes would be given."""
    return json.dumps(record, separators=(",", ":")).encode()


def json_bytes(records: Sequence[dict[str, Any]]) -> int:
    """Return the size of records as JSON."""
    return sum(len(encoded(record)) for record in records)


@functools.cache
def record_bytes() -> float:
    """Return the mean size of a record as JSON."""
    return json_bytes(trajectories(1_000)) / 1_000


def batches(records: Sequence[dict[str, Any]], size: int) -> list[list[dict[str, Any]]]:
    """Return the records in lists of `size`."""
    return [list(records[at : at + size]) for at in range(0, len(records), size)]
