"""The options of the backends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypedDict

from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeVar

    B = TypeVar("B", bound=type)


class LanceOptions(TypedDict, total=False):
    """The options of `LanceBackend`; their text is part of its docstring.

    Attributes
    ----------
    flush_threshold
        Unflushed rows that start a flush. Default 65,536.
    flush_bytes
        Unflushed bytes that start a flush; puts wait while there are half as
        many again. Default 64 MiB.
    flush_interval
        Seconds after which unflushed rows are flushed; 0 is never. Default 5. Also known as
        `auto_flush_interval_sec`, its name in persisting 0.3.0.
    compaction_threshold
        Fragments of the table that start a compaction; 0 is never. Default 32.
    compression
        "auto", "none", "lz4", "zstd", or "zstd:1" to "zstd:22" for a level, for columns of the
        table that are made from now on; None is "none". Default "auto".
    column_compression
        Dict of the same for columns by name. Default none.
    cache_bytes
        Most bytes of memory for flushed and recently read rows. Default 64 MiB.
    retention_rows
        Records that are kept, the newest; None keeps all. Default None.
    retention_bytes
        Bytes that the records that are kept may take in the files of the table. Default None.
    retention_age
        Seconds that a record is kept after it was flushed. Default None.
    enable_metrics
        Whether to count and to time. Default True.
    """

    auto_flush_interval_sec: float
    cache_bytes: int
    column_compression: Mapping[str, str]
    compaction_threshold: int
    compression: str | None
    enable_metrics: bool
    flush_bytes: int
    flush_interval: float
    flush_threshold: int
    retention_age: float | None
    retention_bytes: int | None
    retention_rows: int | None


class PersistingOptions(LanceOptions, total=False):
    """The options that `PersistingBackend` has besides.

    Attributes
    ----------
    enable_wal
        Whether to keep the log. Default True.
    wal_sync_interval
        Most seconds that a log entry stays unsynced: an acknowledged record survives
        the end of the process at once and a power failure after that time. 0 syncs
        before each acknowledgement; puts that wait share one sync. Default 1.
    max_wal_size
        Bytes of log that start a flush; puts wait while there are twice as many.
        Default 512 MiB.
    wal_compression
        "none", "lz4" or "zstd", of what is written to the log. Default "none".
    wal_recovery
        "strict" refuses to open a bucket whose log is damaged in the middle, "salvage"
        keeps what can be read and sets the damaged file aside. Default "strict".
    """

    enable_wal: bool
    max_wal_size: int
    wal_compression: str
    wal_recovery: str
    wal_sync_interval: float


# Names of persisting 0.3.0, and those that are the same here.
_RENAMED = {"auto_flush_interval_sec": "flush_interval"}


def documented(options: type[LanceOptions]) -> Callable[[B], B]:
    """Give a backend the text of its options where its docstring says to see them."""

    def complete(backend: B) -> B:
        if backend.__doc__ and options.__doc__:  # Python -OO leaves them out
            text = options.__doc__.partition("    ----------\n")[2].rstrip(" ")
            see = r" {4}\*\*options\n.*\n"
            backend.__doc__ = re.sub(see, lambda _: text, backend.__doc__)
        return backend

    return complete


def names(options: type[LanceOptions]) -> set[str]:
    """Return the names of options as the engine knows them."""
    return set(options.__annotations__) - set(_RENAMED)


def for_engine(
    options: Mapping[str, Any], declared: type[LanceOptions], backend: str
) -> dict[str, Any]:
    """Return options as the engine takes them, which looks at their values.

    Options that persisting 0.3.0 documents get the names and values that they have here.

    Raises
    ------
    InvalidArgumentError
        One is not valid, or given twice.
    """
    named = {_RENAMED.get(name, name): value for name, value in options.items()}
    if len(named) < len(options):
        twice = " and ".join(name for pair in _RENAMED.items() for name in pair)
        raise InvalidArgumentError(f"{twice} are one option, give it once")
    if named.get("compression", "none") is None:
        named["compression"] = "none"
    valid = names(declared)
    unknown = sorted(set(named) - valid)
    if unknown:
        raise InvalidArgumentError(
            f"unknown option {', '.join(map(repr, unknown))} of {backend}, "
            f"valid are batch_size, schema, {', '.join(sorted(valid))}"
        )
    return named
