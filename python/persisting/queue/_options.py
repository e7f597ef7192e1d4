"""The options of the backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping


class LanceOptions(TypedDict, total=False):
    """The options of `LanceBackend`, whose text says what they do."""

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
    """The options of `PersistingBackend`, whose text says what they do."""

    enable_wal: bool
    max_wal_size: int
    wal_compression: str
    wal_recovery: str
    wal_sync_interval: float


# Names of persisting 0.3.0, and those that are the same here.
_RENAMED = {"auto_flush_interval_sec": "flush_interval"}


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
