"""A second opinion on which records the contract accepts, and as which columns."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pyarrow as pa

JSON = "json"
NUMERIC = {"int", "int64", "uint64", "double"}
LEAVES = {bool: "bool", int: "int", float: "double", str: "string", bytes: "binary"}


class Refused(Exception):
    """Raised when the contract refuses a put."""


def exact(value: Any) -> Any:
    """Return what compares equal only to values of the same types."""
    if isinstance(value, dict):
        return {"dict": {key: exact(item) for key, item in value.items()}}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return type(value).__name__, value


def is_hollow(value: Any) -> bool:
    """Tell whether nothing in a value says which type it has."""
    return value is None or (isinstance(value, list) and all(map(is_hollow, value)))


def numbers(value: Any) -> list[Any]:
    """Return the numbers in a value that is no dict."""
    if isinstance(value, list):
        return [*chain.from_iterable(map(numbers, value))]
    return [value] if type(value) in (int, float) else []


def as_floats(value: Any) -> Any:
    """Turn ints into floats."""
    if isinstance(value, list):
        return [as_floats(item) for item in value]
    return float(value) if type(value) is int else value


def infer(values: list[Any]) -> str | None:
    """Return the kind of column that values need, None if they are hollow; or raise Refused."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    classes = set(map(type, values))
    if classes == {list}:
        items = [item for item in chain.from_iterable(values) if item is not None]
        if {list} < set(map(type, items)):
            return JSON
        try:
            item = infer(items)
        except Refused:
            return JSON
        return item if item in (None, JSON) else f"list<{item}>"
    if classes <= {list, dict}:
        return JSON
    leaves = {LEAVES.get(cls, "") for cls in classes}
    if leaves == {"int", "double"}:
        return "double"
    if len(leaves) > 1:
        raise Refused
    return leaves.pop()


def join(column: str | None, values: list[Any], older: list[Any]) -> str | None:
    """Return the kind of a column that holds `older` values and is to hold more.

    Hollow values that do not fit the others are kept apart from the column.
    """
    solid = [value for value in values if not is_hollow(value)]
    if not solid:
        return column
    try:
        return widen(column, values, older)
    except Refused:
        return widen(column, solid, older)


def widen(column: str | None, values: list[Any], older: list[Any]) -> str:
    """Do the same for values that must all fit."""
    kind = infer(values)
    assert kind is not None
    if column == JSON and kind.startswith("list<"):
        return JSON
    return unify(column or kind, kind, numbers(values), numbers(older))


def unify(one: str, two: str, new: list[Any], older: list[Any]) -> str:
    """Return the kind that holds the values of two."""
    if one.startswith("list<") and two.startswith("list<"):
        return f"list<{unify(one[5:-1], two[5:-1], new, older)}>"
    leaves = {one, two}
    if not leaves <= NUMERIC:
        if one != two:
            raise Refused
        return one
    ints = [n for n in new if type(n) is int]
    if any(not -(2**63) <= n < 2**64 for n in ints):
        raise Refused
    every = ints + [n for n in older if type(n) is int]
    if "double" in leaves:
        if any(int(float(n)) != n for n in every):
            raise Refused
        return "double"
    if "uint64" in leaves or any(n >= 2**63 for n in ints):
        if any(n < 0 for n in every):
            raise Refused
        return "uint64"
    return "int64"


class Columns:
    """The kinds of the columns of a bucket: int64, uint64, double, list<double>, json, ..."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}

    @classmethod
    def of(cls, schema: pa.Schema) -> Columns:
        """Read them from the schema of a bucket."""
        columns = cls()
        for field in schema:
            extension = (field.metadata or {}).get(b"ARROW:extension:name")
            is_json = extension is not None or isinstance(field.type, pa.BaseExtensionType)
            columns.kinds[field.name] = JSON if is_json else str(field.type).replace("item: ", "")
        return columns

    def take(self, put: list[dict[str, Any]], stored: list[dict[str, Any]]) -> None:
        """Add the columns of a put, or raise Refused and add none."""
        kinds = dict(self.kinds)
        for key in dict.fromkeys(chain.from_iterable(put)):
            older = [r[key] for r in stored if key in r]
            kind = join(kinds.get(key), [r[key] for r in put if key in r], older)
            if kind is not None:
                kinds[key] = kind
        self.kinds = kinds

    def seen(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return a record as a get gives it back: ints are floats in a column of floats."""
        return {
            key: as_floats(value) if "double" in self.kinds.get(key, "") else value
            for key, value in record.items()
        }
