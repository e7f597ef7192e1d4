"""The log of the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting._engine import functions

if TYPE_CHECKING:
    from collections.abc import Mapping


def set_levels(levels: Mapping[str, int], *, tracing: bool) -> None:
    """Set the least level of each component that is logged, and whether work is traced."""
    functions.log_levels({"levels": levels, "tracing": tracing})


def next_messages(seconds: float) -> dict[str, Any]:
    """Wait for log messages and return them; see `persisting_log_next`."""
    return functions.log_next(int(seconds * 1e9))
