"""No expression ends the process, however long or deep it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from persisting._errors import InvalidArgumentError
from tests.support import command, run

if TYPE_CHECKING:
    from pathlib import Path

    from persisting import LanceBackend

# Answered however many parts they have, up to these.
LONG = {
    "and": 10_000,
    "or": 10_000,
    "list": 100_000,
    "list of strings": 100_000,
    "cases": 100,
    "sum": 100,
    "factors": 100,
    "strings": 100,
    "comparisons": 100,
    "arguments": 1000,
    "array": 1000,
}

# Shapes that are wrong at any depth: they have no such type, or are no expression.
WRONG = {
    "backticks",
    "comments",
    "fields",
    "intervals",
    "open brackets",
    "path in a column",
    "selects",
    "subscripts",
    "type in a tried one",
}


def outcomes(path: Path, stack: int, *sizes: int) -> dict[tuple[str, int, str], str]:
    done = run(command("deep", path, stack, *sizes), timeout=500)
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"status {done.returncode} after {last}\n{done.stderr[-2000:]}"
    found = {}
    for line in done.stdout.splitlines():
        asked, outcome = line.split(" -> ")
        shape, n, way = asked.rsplit(maxsplit=2)
        found[shape, int(n), way] = outcome
    return found


def check(found: dict[tuple[str, int, str], str]) -> None:
    for (shape, n, way), outcome in found.items():
        if n <= LONG.get(shape, 10) and shape not in WRONG:
            assert outcome == "answered", (shape, n, way, outcome)
        elif outcome != "answered":
            assert outcome.startswith("refused: "), (shape, n, way, outcome)
    assert "at most" in found.get(("sum", 10_000, "count"), "at most")


@pytest.mark.parametrize("stack", [8 << 20, 512 << 10], ids=["8 MiB", "512 KiB"])
def test_expressions_of_every_shape(tmp_path: Path, stack: int) -> None:
    check(outcomes(tmp_path / "bucket", stack, 10, 100, 1000))


@pytest.mark.slow
@pytest.mark.parametrize("n", [10_000, 100_000])
def test_longer_expressions_of_every_shape(tmp_path: Path, n: int) -> None:
    check(outcomes(tmp_path / "bucket", 8 << 20, n))


async def test_a_bound_is_named(backend: LanceBackend) -> None:
    await backend.put({"i": 1})
    for sql, message in (
        ("i = 0" + " + 1" * 2500, "operators deep, at most 1024 are read"),
        ("i = 1" + " AND i = 1" * 30_000, "ANDs and ORs in a row, at most 20000 are read"),
        ("i IN (1" + ", 1" * 300_000 + ")", "words, at most 524288 are read"),
        ("i = 1" + " " * (5 << 20), "bytes, at most 4194304 are read"),
    ):
        for call in (backend.count, backend.delete, backend.query):
            with pytest.raises(InvalidArgumentError, match=message):
                await call(sql)
    assert await backend.count("i = 1" + " OR i = 2" * 500) == 1
