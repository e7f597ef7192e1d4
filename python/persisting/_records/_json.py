"""JSON text for nested data: exact, or refused.

What `dump` writes, `parse` gives back equal and with the same types. JSON itself would bend some
values silently (tuples become lists, int keys become text); those are found by reading the text
again, in one call for a whole column.
"""

from __future__ import annotations

import json
import sys
from typing import Any

METADATA = {
    b"ARROW:extension:name": b"arrow.json",
    b"ARROW:extension:metadata": b"",
}
"""Field metadata of a JSON column."""

MAX_DEPTH = 100
"""Lists and dicts within each other; readers of JSON have limits somewhat above this."""

INT_MIN = -(2**63)
INT_MAX = 2**64 - 1


class Nothing:
    """The class of `NOTHING`."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING = Nothing()
"""Stands for a missing value in the columns that have no neutral value of their own."""


def numpy_item(value: object) -> object:
    """Turn a numpy scalar into the Python value that is equal to it.

    Raises
    ------
    TypeError
        If the value is no numpy scalar, or no Python value is equal to it.
    """
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        item = value.item()
        if not isinstance(item, numpy.generic) and (item == value or item != item):
            return item
    msg = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(msg)


def _int64(text: str) -> int:
    """Read an int of at most 64 bits."""
    value = int(text)
    if len(text) >= 19 and not INT_MIN <= value <= INT_MAX:
        raise OverflowError
    return value


_encoder = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,
    allow_nan=False,
    separators=(",", ":"),
    default=numpy_item,
)
_decoder = json.JSONDecoder()
_checker = json.JSONDecoder(parse_int=_int64)


def dump(values: list[Any]) -> list[str] | None:
    """Write dicts and lists as JSON.

    Parameters
    ----------
    values : list
        Dicts and lists, and `NOTHING`, which is written as null.

    Returns
    -------
    list of str or None
        One text per value, or None when a value is of another class or would not come back equal.
    """
    if not {*map(type, values)} <= {dict, list}:
        if not all(isinstance(value, (dict, list, Nothing)) for value in values):
            return None
        values = [None if value is NOTHING else value for value in values]
    texts = []
    try:
        joined = _encoder.encode(values)
        start = 1
        for value in values:
            same, stop = _checker.raw_decode(joined, start)
            if same != value:
                return None
            texts.append(joined[start:stop])
            start = stop + 1
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    if len(joined) > 2 * MAX_DEPTH:
        for value, text in zip(values, texts, strict=True):
            if text.count("[") + text.count("{") > MAX_DEPTH and fault(value):
                return None
    return texts


def parse(texts: list[str]) -> list[Any]:
    """Read JSON texts.

    Parameters
    ----------
    texts : list of str
        One valid JSON text per value.

    Returns
    -------
    list
        The values, all of their own objects.

    Raises
    ------
    ValueError
        If a text is not JSON.
    """
    if len(texts) == 1:
        return [_decoder.decode(texts[0])]
    values: list[Any] = _decoder.decode(f"[{','.join(texts)}]")
    return values


def fault(value: object, path: str = "", depth: int = 0) -> str | None:
    """Find what JSON cannot hold exactly.

    Parameters
    ----------
    value : object
        A value within nested data, or all of it.
    path : str, default ""
        Where the value is, as an index expression.
    depth : int, default 0
        How many lists and dicts are around it.

    Returns
    -------
    str or None
        Path and reason of the first fault, or None when there is none.
    """
    place = f"at {path}: " if path else ""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return None if is_unicode(value) else f"{place}the str has a lone surrogate"
    if isinstance(value, int):
        fits = INT_MIN <= value <= INT_MAX
        return None if fits else f"{place}an int beyond 64 bits cannot be held"
    if isinstance(value, float):
        finite = value - value == 0
        return None if finite else f"{place}{float(value)} cannot be held in nested data"
    if isinstance(value, (list, dict)):
        if depth == MAX_DEPTH:
            return f"nested data is deeper than {MAX_DEPTH}, or contains itself"
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            if isinstance(value, dict) and not isinstance(key, str):
                return f"{place}the dict has a key of type {type(key).__name__}, not str"
            if isinstance(key, str) and not is_unicode(key):
                return f"{place}a key has a lone surrogate"
            found = fault(item, f"{path}[{key!r}]", depth + 1)
            if found is not None:
                return found
        return None
    try:
        return fault(numpy_item(value), path, depth)
    except TypeError:
        return f"{place}{type(value).__name__} cannot be held in nested data"


def is_unicode(text: str) -> bool:
    """Tell whether text has no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
