"""Checks of arguments, before one crosses the C boundary, where a number is cut to 64 bits."""

from __future__ import annotations

import math
import operator
import os
from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST = 2**63 - 1
"""The largest number of the boundary."""


def integer(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """Return an argument as an int.

    Parameters
    ----------
    name
        Its name, for the error.
    value
        An int, or what is one, as those of numpy; no bool.
    least, most
        Bounds; None is none.

    Raises
    ------
    InvalidArgumentError
        It is none, or out of bounds. It is a ValueError.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if (
        number is None
        or (least is not None and number < least)
        or (most is not None and number > most)
    ):
        wanted = f"{name}: want an int{_bounds(least, most)}"
        raise InvalidArgumentError(f"{wanted}, got {_shown(value)}")
    return number


def real(value: Any) -> float:
    """Return an int or a float, or what is one, as those of numpy, as a float; NaN for others."""
    try:
        return math.nan if isinstance(value, str | bytes | bytearray) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def seconds(name: str, value: Any, most: float) -> float:
    """Return a number of seconds, from 0 to `most`.

    Raises
    ------
    InvalidArgumentError
        It is no number, or out of bounds.
    """
    if not 0 <= (found := real(value)) <= most:
        raise InvalidArgumentError(f"{name}: want 0 to {most:g} seconds, got {_shown(value)}")
    return found


def in_range(name: str, value: Any, least: int, most: int) -> int:
    """Return what `integer` does, and True and False as 1 and 0."""
    if isinstance(value, int) and least <= value <= most:
        return value
    return integer(name, value, least, most)


def _bounds(least: int | None, most: int | None) -> str:
    """Say between what a number has to be."""
    if least is not None and most is not None:
        return f" from {least} to {most}"
    if least is not None:
        return f" of at least {least}"
    return "" if most is None else f" of at most {most}"


def span(total: int, limit: Any, offset: Any) -> tuple[int, int]:
    """Return where a slice of `total` records begins and ends.

    Parameters
    ----------
    total
        Number of records.
    limit
        Most records; None is all.
    offset
        As in a slice of a list; so is `offset + limit`.
    """
    offset = integer("offset", offset)
    end = None if limit is None else offset + integer("limit", limit)
    start, stop, _ = slice(offset, end).indices(total)
    return start, max(start, stop)


def text(name: str, value: Any) -> bytes:
    """Return a string for C, where it ends at a zero byte.

    Raises
    ------
    InvalidArgumentError
        It is no str, has a zero character, or a lone surrogate.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{name}: want a str, got {_shown(value)}")
    if "\0" in value:
        raise InvalidArgumentError(f"{name}: {value!r} has a zero byte, a NUL character")
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(f"{name}: {value!r} is not Unicode text") from None


def path(name: str, value: str | bytes | os.PathLike[Any]) -> str:
    """Return a path as a str.

    Raises
    ------
    InvalidArgumentError
        It is none, is empty, or has a zero character or a lone surrogate.
    """
    try:
        found = os.fsdecode(value)
        os.fsencode(found)
    except (TypeError, UnicodeEncodeError):
        raise InvalidArgumentError(f"{name}: want a path, got {_shown(value)}") from None
    if not found or "\0" in found:
        raise InvalidArgumentError(f"{name}: want a path, got {found!r}")
    return found


def integers(name: str, values: Sequence[Any]) -> list[int]:
    """Return arguments as ints; see `integer`."""
    return [value if type(value) is int else integer(name, value) for value in values]


def _shown(value: object) -> str:
    """Print a value within about 60 characters."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"one of {value.bit_length()} bits"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
