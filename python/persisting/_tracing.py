"""OpenTelemetry spans, when the program has set OpenTelemetry up."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

# The tracer, while there is a provider that makes something of spans.
tracer: Any = None


def look() -> bool:
    """Find out whether the program traces; it has imported OpenTelemetry itself if it does."""
    global tracer
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return False
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        tracer = None
    elif tracer is None:
        tracer = provider.get_tracer("persisting")
    return tracer is not None


@contextlib.contextmanager
def span(operation: str, path: str, **attributes: Any) -> Iterator[Any]:
    """Make a span, in that of the caller, of what is done inside; None without tracing."""
    if tracer is None:
        yield None
        return
    named = {f"persisting.{name}": value for name, value in attributes.items()}
    named["persisting.bucket"] = path
    with tracer.start_as_current_span(f"persisting.{operation}", attributes=named) as made:
        yield made


async def put(path: str, records: int, storing: Awaitable[None]) -> None:
    """Await a put inside a span."""
    with span("put", path, records=records):
        await storing


def work(message: dict[str, Any]) -> None:
    """Make a span, a root, of a message of the engine that says how long its own work took."""
    if tracer is None:
        return
    attrs = dict(message["attrs"])
    took, operation = attrs.pop("took"), attrs.pop("operation")
    del attrs["asked"]
    end = message["time"]
    span = tracer.start_span(
        f"persisting.{operation}",
        start_time=end - int(took * 1e9),
        attributes={f"persisting.{name}": value for name, value in attrs.items()},
    )
    if "error" in attrs:
        from opentelemetry.trace import Status, StatusCode

        span.set_status(Status(StatusCode.ERROR, attrs["error"]))
    span.end(end)
