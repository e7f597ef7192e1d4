"""Asks a bucket for expressions of every shape and size, on a thread of the given stack."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import TYPE_CHECKING, Any

from persisting import LanceBackend
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def shapes(n: int) -> dict[str, str]:
    """Return expressions of n parts."""
    return {
        "sum": "i = 1" + " + 0" * n,
        "factors": "1 =" + " i *" * n + " 1",
        "and": "i = 1" + " AND i < 2" * n,
        "or": "i = 2" + " OR i = 1" * n,
        "and or": "i = 1" + " AND i < 2 OR i = 1" * n,
        "brackets": "(" * n + "i = 1" + ")" * n,
        "open brackets": "(" * n,
        "not": "NOT " * (2 * n) + "(i = 1)",
        "minus": "i = " + "- " * (2 * n) + "1",
        "case": "CASE WHEN i = 1 THEN " * n + "true" + " END" * n,
        "cases": "CASE" + " WHEN i = 2 THEN false" * n + " ELSE true END",
        "functions": "abs(" * n + "i" + ")" * n + " = 1",
        "list": "i IN (" + ", ".join(map(str, range(n + 2))) + ")",
        "list of strings": "s NOT IN ('" + "', '".join(map(str, range(n))) + "')",
        "arguments": "coalesce(" + "i, " * n + "i) = 1",
        "array": "array_has([" + "1, " * n + "1], i)",
        "casts": "i" + "::bigint" * n + " = 1",
        "null tests": "i" + " IS NOT NULL" * n,
        "fields": "i" + ".x" * n + " = 1",
        "subscripts": "i" + "[1]" * n + " = 1",
        "strings": "s = 'x'" + " || ''" * n,
        "like": "s LIKE '" + "%" * n + "x'",
        "pattern": "regexp_like(s, '" + "(" * n + "x" + ")" * n + "')",
        "types": "CAST(i AS " + "ARRAY<" * n + "int" + ">" * n + ") IS NULL",
        "between": "i BETWEEN 0 AND 2" + " AND i BETWEEN 0 AND 2" * n,
        "intervals": "i = " + "interval " * n + "'1 day'",
        "comparisons": "i = 1" + " = true" * n,
        "path of JSON": "json_exists(j, '$" + ".a" * n + "')",
        "predicate of JSON": "json_exists(j, '$ ? " + "(" * n + "@.a == 1" + ")" * n + "')",
        "path in a column": "json_exists(j, CASE WHEN i = 1 THEN repeat('[', " + str(n) + ") END)",
        "JSONB": "j = jsonb '" + "[" * n + "]" * n + "'",
        "type in a string": "arrow_cast(i, '" + "List(" * n + "Int8" + ")" * n + "') IS NULL",
        "type in a tried one": "arrow_try_cast(i, '" + "List(" * n + "Int8" + ")" * n + "') = i",
        "type of": "arrow_typeof(" * n + "i" + ")" * n + " = 'Utf8'",
        "selects": "i IN " + "(SELECT " * n + "1" + ")" * n,
        "backticks": "`" + "i`.`" * n + "i` = 1",
        "comments": "i = 1 " + "/* " * n + "*/ " * n,
    }


WAYS: dict[str, Callable[[LanceBackend, str], Awaitable[Any]]] = {
    "count": lambda b, sql: b.count(sql),
    "query": lambda b, sql: b.query(sql, order_by="i"),
    "explain": lambda b, sql: b.explain(sql),
    "search": lambda b, sql: b.search("x", "s", filter=sql),
    "delete": lambda b, sql: b.delete(f"i = 2 AND ({sql})"),
    "add": lambda b, sql: b.add_column("more", expression=sql),
}


async def batches(backend: LanceBackend, sql: str) -> int:
    """Return how many records come in batches."""
    return sum([batch.num_rows async for batch in backend.query_batches(sql)])


async def ask(path: str, sizes: list[int]) -> None:
    """Print what became of each."""
    async with LanceBackend(0, path) as backend:
        await backend.put({"i": 1, "s": "x", "j": {"a": 1}})
        for n in sizes:
            for shape, sql in shapes(n).items():
                for way, call in {**WAYS, "batches": batches}.items():
                    if n > 100 and way not in ("count", "delete", "add"):
                        continue
                    print(shape, n, way, end=" ", flush=True)
                    try:
                        await call(backend, sql)
                        print("-> answered", flush=True)
                    except InvalidArgumentError as e:
                        print("-> refused:", str(e)[-300:].replace("\n", " "), flush=True)
                    if way == "add" and "more" in backend.schema.names:
                        await backend.drop_column("more")
        assert await backend.count("i = 1") == 1


def main(path: str, stack: str, sizes: list[str]) -> None:
    """Ask on a thread."""
    threading.stack_size(int(stack))
    failed: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(ask(path, [*map(int, sizes)]))
        except BaseException as e:
            failed.append(e)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
