"""The metrics of all open buckets, and their HTTP server."""

from __future__ import annotations

import ctypes
import json
from ctypes import byref
from typing import TYPE_CHECKING, Any

from persisting._engine.handles import Handle
from persisting._engine.library import as_json, call, library, string

if TYPE_CHECKING:
    from collections.abc import Mapping


def text() -> str:
    """Return the metrics of all open buckets in the Prometheus text format."""
    return string(call, library().persisting_metrics_text)


def families() -> list[dict[str, Any]]:
    """Return the same as data; see `persisting_metrics_json`."""
    families: list[dict[str, Any]] = json.loads(string(call, library().persisting_metrics_json))
    return families


def retain(yes: bool) -> None:
    """Keep the last counts of buckets when they are closed, or no longer."""
    call(library().persisting_metrics_retain, yes)


class Server(Handle):
    """An HTTP server of metrics and of the status page.

    Parameters
    ----------
    options
        See `persisting_server_start`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        functions = library()
        number = ctypes.c_uint64()
        call(functions.persisting_server_start, as_json(options), byref(number))
        super().__init__(number.value, functions.persisting_server_close, "a metrics server")
        self.url = string(self._use, functions.persisting_server_address)
