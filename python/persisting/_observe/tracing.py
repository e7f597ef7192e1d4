"""OpenTelemetry spans, when the program has set OpenTelemetry up."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

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
        _calls.clear()
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


async def put(
    path: str, count: int, store: Callable[[T], Awaitable[None] | None], records: T
) -> None:
    """Store so many records inside a span, and wait for what is left to wait for."""
    with span("put", path, records=count):
        storing = store(records)
        if storing is not None:
            await storing


@dataclass
class _Call:
    """A call into the engine: on which thread, in which context, and from when to when (ns)."""

    thread: int
    context: Any
    began: int
    ended: int | None = None


_calls: deque[_Call] = deque(maxlen=1024)  # the last ones


def caller(function: Callable[[], T]) -> Callable[[], T]:
    """Return a function whose work in the engine has spans in that of the caller of this one."""
    if tracer is None:
        return function
    from opentelemetry import context

    current = context.get_current()

    def call() -> T:
        own = _Call(threading.get_native_id(), current, time.time_ns())
        _calls.append(own)
        try:
            return function()
        finally:
            own.ended = time.time_ns()

    return call


def work(message: dict[str, Any]) -> None:
    """Make a span of a message of the engine that says how long some work of its own took.

    The engine does it of its own accord, and the span is a root, or on the thread of a call that
    asked for something else.
    """
    if tracer is None:
        return
    attrs = dict(message["attrs"])
    took, operation, thread = attrs.pop("took"), attrs.pop("operation"), attrs.pop("thread")
    del attrs["asked"]
    end = message["time"]
    start = end - int(took * 1e9)
    around = (
        call.context
        for call in reversed(tuple(_calls))
        if call.thread == thread and call.began <= start and (call.ended or end) >= end
    )
    span = tracer.start_span(
        f"persisting.{operation}",
        context=next(around, None),
        start_time=start,
        attributes={f"persisting.{name}": value for name, value in attrs.items()},
    )
    if "error" in attrs:
        from opentelemetry.trace import Status, StatusCode

        span.set_status(Status(StatusCode.ERROR, attrs["error"]))
    span.end(end)
