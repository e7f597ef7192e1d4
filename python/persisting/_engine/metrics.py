"""The HTTP server of the metrics of all open buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting._engine import functions
from persisting._engine.handles import Handle

if TYPE_CHECKING:
    from collections.abc import Mapping


class Server(Handle):
    """An HTTP server of metrics and of the status page.

    Parameters
    ----------
    options
        See `persisting_server_start`.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        super().__init__(
            functions.server_start(options), functions.server_close, "a metrics server"
        )
        self.url = self._use(functions.server_address)
