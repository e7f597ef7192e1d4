"""The log of the engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from persisting._engine.library import as_json, call, library, string

if TYPE_CHECKING:
    from collections.abc import Mapping


def set_levels(levels: Mapping[str, int], *, tracing: bool) -> None:
    """Set the least level of each component that is logged, and whether work is traced."""
    call(library().persisting_log_levels, as_json({"levels": levels, "tracing": tracing}))


def next_messages(seconds: float) -> dict[str, Any]:
    """Wait for log messages and return them; see `persisting_log_next`."""
    text = string(call, library().persisting_log_next, int(seconds * 1e9))
    logged: dict[str, Any] = json.loads(text)
    return logged
