"""Sizes and keys, as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from persisting._engine.kv import Keys
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

_UNITS = {"": 1, "b": 1} | {
    letter + suffix: base**power
    for power, letter in enumerate("kmgtp", 1)
    for suffix, base in (("b", 1000), ("ib", 1024), ("i", 1024), ("", 1000))
}


def in_bytes(size: int | str, name: str) -> int:
    """Return a size in bytes: ``5``, ``"5 GB"`` (1000^3) or ``"5 GiB"`` (1024^3)."""
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    if isinstance(size, str):
        said = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", size)
        if said and said[2].lower() in _UNITS:
            return int(float(said[1]) * _UNITS[said[2].lower()])
    raise InvalidArgumentError(f'{name} is {size!r}, want bytes, or text such as "500 GiB"')


def in_ms(seconds: float, name: str) -> int:
    """Return a time in milliseconds, at least 1 of any that is not 0."""
    if not 0 <= seconds < 1e9:
        raise InvalidArgumentError(f"{name} is {seconds!r}, want 0 to 1e9 seconds")
    return max(int(seconds * 1000), 1) if seconds else 0


def as_key(key: str | bytes) -> bytes:
    """Return the bytes of a key."""
    if isinstance(key, bytes):
        return key
    if isinstance(key, str):
        return key.encode()
    raise InvalidArgumentError(f"a key is str or bytes, got {type(key).__name__}")


def as_keys(keys: Iterable[str | bytes]) -> Keys:
    """Return keys as the engine takes them."""
    listed = _listed(keys)
    try:  # most are all text
        return Keys.of_texts(cast("list[str]", listed))
    except TypeError:
        return Keys([*map(as_key, listed)])


def each_key(keys: Iterable[str | bytes]) -> list[bytes]:
    """Return the bytes of each key."""
    return [*map(as_key, _listed(keys))]


def _listed(keys: Iterable[str | bytes]) -> list[str | bytes]:
    if isinstance(keys, str | bytes):
        raise InvalidArgumentError("want several keys, got one: put it in a list")
    return [*keys]
