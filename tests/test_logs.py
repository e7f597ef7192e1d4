"""The engine's log in Python's logging, and its work as spans."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from persisting import PersistingBackend, SchemaError
from persisting._engine import functions
from persisting._engine.bucket import Bucket
from persisting._observe import logs, tracing
from tests.support import QUIET, eventually, python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support import Opener


async def test_messages_have_names_levels_and_attributes(
    caplog: pytest.LogCaptureFixture, opening: Opener, bucket: Path
) -> None:
    with caplog.at_level(logging.DEBUG, "persisting"):
        started = time.time()
        backend = opening(PersistingBackend, bucket)
        await backend.put({"n": 1})
        await backend.flush()
        assert eventually(lambda: "flush done" in caplog.text)
    record = next(r for r in caplog.records if r.message.startswith("flush done"))
    assert record.name == "persisting.engine"
    assert record.levelno == logging.DEBUG
    attributes: dict[str, Any] = record.__dict__["attributes"]
    assert attributes["bucket"] == str(bucket)
    assert 0 < attributes["took"] < 60
    assert started - 1 < record.created < time.time() + 1
    assert f"bucket={bucket}" in record.message


def test_levels_are_honoured_at_the_source(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for level, seen in ((logging.WARNING, False), (logging.DEBUG, True)):
        with caplog.at_level(level, "persisting"):
            logs.start()
            with Bucket(tmp_path / f"bucket_{level}", QUIET):
                pass
            assert eventually(lambda: "opened" in caplog.text, within=0.2) is seen
        caplog.clear()
    with caplog.at_level(logging.DEBUG, "persisting"):
        taken: list[str] = []
        monkeypatch.setattr(logs, "_deliver", lambda logged: taken.append(str(logged)))
        logging.disable(logging.CRITICAL)
        try:
            logs.start()
            with Bucket(tmp_path / "disabled", QUIET):
                pass
            assert not eventually(lambda: "disabled" in str(taken), within=0.2)
        finally:
            logging.disable(logging.NOTSET)
            logs.start()
        with Bucket(tmp_path / "enabled", QUIET):
            pass
        assert eventually(lambda: "enabled" in str(taken))


def test_a_slow_handler_holds_nothing_up(tmp_path: Path) -> None:
    held, entered = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            entered.set()
            held.wait(60)

    lost: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lost.append(record.getMessage())

    logger, keep, slow = logging.getLogger("persisting"), Keep(logging.WARNING), Slow()
    engine = logging.getLogger("persisting.engine")
    engine.addHandler(slow)
    logger.addHandler(keep)
    logger.setLevel(logging.DEBUG)
    try:
        logs.start()
        before = dropped()
        with Bucket(tmp_path / "first", QUIET):
            assert entered.wait(10)
        opened = 0
        while dropped() == before:
            opened += 1
            assert opened < 2000
            with Bucket(tmp_path / "again", QUIET):
                pass
        assert opened > 500
    finally:
        engine.removeHandler(slow)
        logger.setLevel(logging.NOTSET)
        logs.start()
        held.set()
    assert eventually(lambda: any("messages were dropped" in text for text in lost), within=30)
    logger.removeHandler(keep)


def test_a_filter_that_raises_costs_its_message_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        if "wrong" in record.getMessage():
            raise RuntimeError("a filter of the program")
        return True

    logger = logging.getLogger("persisting.engine")
    logger.addFilter(refuse)
    try:
        with caplog.at_level(logging.DEBUG, "persisting"):
            logs.start()
            for name in ("wrong", "right"):
                with Bucket(tmp_path / name, QUIET):
                    pass
            assert eventually(lambda: str(tmp_path / "right") in caplog.text)
    finally:
        logger.removeFilter(refuse)
        logs.start()
    assert str(tmp_path / "wrong") not in caplog.text
    assert "RuntimeError: a filter of the program" in capfd.readouterr().err


def dropped() -> float:
    families = {f["name"]: f for f in functions.metrics_json()}
    value: float = families["persisting_log_messages_dropped_total"]["samples"][0]["value"]
    return value


def test_the_last_messages_come_at_the_end_of_the_interpreter(tmp_path: Path) -> None:
    script = """
import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.DEBUG, format="%(name)s %(message)s")
from persisting import LanceBackend
kept = LanceBackend(0, sys.argv[1])
kept._bucket.append(__import__("pyarrow").record_batch({"n": [1]}))
"""
    assert "persisting.engine flush done" in python(script, tmp_path / "bucket")


def test_nothing_is_said_below_a_warning_by_default(tmp_path: Path) -> None:
    script = """
import sys
from persisting import LanceBackend
LanceBackend(0, sys.argv[1]).close()
"""
    assert python(script, tmp_path / "bucket") == ""


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Set OpenTelemetry up for a while."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = trace._TRACER_PROVIDER
    trace._TRACER_PROVIDER = provider
    logs.start()
    yield exporter
    trace._TRACER_PROVIDER = before
    logs.start()
    assert tracing.tracer is None


async def test_work_becomes_spans(
    spans: InMemorySpanExporter, opening: Opener, bucket: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with trace.get_tracer("test").start_as_current_span("outer") as outer:
        backend = opening(PersistingBackend, bucket)
        await backend.put({"n": 1})
        await backend.put_batch([{"n": 2}, {"n": 3}])
        with pytest.raises(SchemaError):
            await backend.put({"n": "x"})
        await backend.put_arrow(pa.table({"n": [4]}))
        await backend.flush()
        await backend.create_index("n", "btree")
        await backend.compact()
    done = ("recovery", *["put"] * 4, "flush", "index", "compaction")
    by_name = named(spans, "outer", *(f"persisting.{name}" for name in done))
    puts = by_name.pop("persisting.put")
    assert [span.attributes["persisting.records"] for span in puts] == [1, 2, 1, 1]
    assert [span.status.is_ok for span in puts] == [True, True, False, True]
    assert by_name["persisting.recovery"][0].attributes["persisting.replayed"] == 0
    (own,) = by_name.pop("outer")
    for span in puts + [span for (span,) in by_name.values()]:
        assert span.parent.span_id == outer.get_span_context().span_id, span.name
        assert span.attributes["persisting.bucket"] == str(bucket)
        assert own.start_time <= span.start_time <= span.end_time <= own.end_time, span.name
    assert "flush done" not in caplog.text, "spans are no log messages"


@pytest.mark.parametrize(
    "asked", ["count", "create_index", "rename_column", "snapshot", "aclose", "close"]
)
async def test_a_flush_on_the_way_belongs_to_what_was_asked_for(
    spans: InMemorySpanExporter, opening: Opener, bucket: Path, asked: str
) -> None:
    backend = opening(PersistingBackend, bucket)
    await backend.put({"n": 1})
    arguments = {
        "count": ("n = 1",),
        "create_index": ("n",),
        "rename_column": ("n", "m"),
        "snapshot": ("now",),
    }
    with trace.get_tracer("test").start_as_current_span("outer"):
        done = getattr(backend, asked)(*arguments.get(asked, ()))
        if asked != "close":
            await done
    by_name = named(spans, "outer", "persisting.flush")
    (outer,), (flush,) = by_name["outer"], by_name["persisting.flush"]
    around = by_name["persisting.index"][0] if asked == "create_index" else outer
    assert flush.parent.span_id == around.context.span_id
    assert outer.start_time <= flush.start_time <= flush.end_time <= outer.end_time


async def test_what_the_engine_does_by_itself_has_no_parent(
    spans: InMemorySpanExporter, opening: Opener, bucket: Path
) -> None:
    with trace.get_tracer("test").start_as_current_span("outer"):
        backend = opening(PersistingBackend, bucket, flush_threshold=100, compaction_threshold=3)
        for flushes in (1, 2, 3):
            await backend.put_batch([{"n": n} for n in range(100)])
            assert eventually(lambda n=flushes: backend.get_metrics()["flush_count"] == n)  # type: ignore[misc]
    found = named(spans, "persisting.flush", "persisting.compaction")
    for span in found["persisting.flush"] + found["persisting.compaction"]:
        assert span.parent is None
        assert span.attributes["persisting.bucket"] == str(bucket)
        assert 0 < span.end_time - span.start_time < 60e9
        assert abs(span.end_time / 1e9 - time.time()) < 60


def named(spans: InMemorySpanExporter, *wanted: str) -> dict[str, list[Any]]:
    """Wait for spans of these names and return all that are there, by name."""

    def missing() -> Counter[str]:
        return Counter(wanted) - Counter(span.name for span in spans.get_finished_spans())

    assert eventually(lambda: not missing()), missing()
    by_name: dict[str, list[Any]] = {}
    for span in spans.get_finished_spans():
        by_name.setdefault(span.name, []).append(span)
    return by_name


async def test_without_a_provider_there_are_no_spans(opening: Opener, bucket: Path) -> None:
    backend = opening(PersistingBackend, bucket)
    await backend.put({"n": 1})
    assert tracing.tracer is None
