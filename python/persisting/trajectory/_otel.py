"""Spans of calls of models and tools, as OpenTelemetry's conventions for generative AI have them.

A file is one of OTLP in JSON lines, as collectors and exporters write it. A trace is an episode,
and each of its spans that has a ``gen_ai`` attribute is a step of `SPAN_COLUMNS`, in the order in
which they began; spans of other things are left out. What has no column is in `more`.

References
----------
Semantic conventions for generative AI (status: development) of
``opentelemetry-semantic-conventions`` 0.61b0, the OTLP JSON encoding, and the OTLP file exporter of
the specification.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError
from persisting.trajectory import _documents
from persisting.trajectory._columns import Column
from persisting.trajectory._documents import MORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import IO

    from persisting.trajectory._documents import Document
    from persisting.trajectory._store import Episode, TrajectoryStore

SPAN_COLUMNS = {
    "name": Column.text(),
    "operation": Column.text(),
    "input": Column.text(),
    "output": Column.text(),
    "input_tokens": Column.array("int64"),
    "output_tokens": Column.array("int64"),
    "start": Column.array("int64"),
    "end": Column.array("int64"),
    MORE: Column.text(),
}

_PREFIX = "gen_ai."
# The columns that are attributes.
_TEXTS = {
    "operation": "gen_ai.operation.name",
    "input": "gen_ai.input.messages",
    "output": "gen_ai.output.messages",
}
_NUMBERS = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
}
_TIMES = {"start": "startTimeUnixNano", "end": "endTimeUnixNano"}
_CONVERSATION, _AGENT = "gen_ai.conversation.id", "gen_ai.agent.name"

_RESOURCES, _SCOPES, _SPANS = "resourceSpans", "scopeSpans", "spans"
_TRACE, _SPAN = "traceId", "spanId"
_MOST = 2**63 - 1


@dataclass(frozen=True)
class _Span:
    """A span of a file: its members, what is said of its scope and resource, and its times."""

    members: dict[str, Any]
    scope: dict[str, Any]
    resource: dict[str, Any]
    times: dict[str, int]

    def attribute(self, name: str) -> Any:
        """Return the value of an attribute, None if it has none of that name."""
        values = [_plain(a.get("value")) for a in _attributes(self.members) if a["key"] == name]
        return values[0] if values else None


# ---- out ----


def export_otel(store: TrajectoryStore, file: IO[bytes], where: str | None = None) -> int:
    """Write the episodes that have ended as traces of OTLP, one in each line.

    Parameters
    ----------
    store : TrajectoryStore
        With `SPAN_COLUMNS`. Steps that were not imported get ids that are made of the episode's.
    file : binary file
        Where to.
    where : str, optional
        A filter of `TrajectoryStore.episodes`.

    Returns
    -------
    int
        How many episodes.

    Raises
    ------
    InvalidArgumentError
        The steps are no spans, or the filter is none.
    """
    count = 0
    for episode in _documents.ended(store, where):
        _documents.write(file, {_RESOURCES: _nested(episode)})
        count += 1
    return count


def _nested(episode: Episode) -> list[dict[str, Any]]:
    """Return the spans of an episode below their scopes and resources."""
    if missing := SPAN_COLUMNS.keys() - episode.steps.keys():
        raise InvalidArgumentError(
            f"the steps of {episode.episode_id!r} are no spans: they lack {sorted(missing)}"
        )
    spans = [_span(episode, at) for at in range(len(episode))]
    found = []
    for resource, of_resource in itertools.groupby(spans, lambda span: span.resource):
        scopes = [
            scope | {_SPANS: [span.members for span in of_scope]}
            for scope, of_scope in itertools.groupby(of_resource, lambda span: span.scope)
        ]
        found.append(resource | {_SCOPES: scopes})
    return found


def _span(episode: Episode, at: int) -> _Span:
    """Return a step as a span."""
    step = {name: column[at] for name, column in episode.steps.items()}
    more = _documents.unpack(step[MORE])
    members: dict[str, Any] = {
        _TRACE: hashlib.sha256(episode.episode_id.encode()).hexdigest()[:32],
        _SPAN: hashlib.sha256(f"{episode.episode_id}/{at}".encode()).hexdigest()[:16],
        "name": step["name"],
        **{name: str(step[column]) for column, name in _TIMES.items()},
    }
    members |= more.get("span", {})
    attributes = [
        {"key": name, "value": {"stringValue": step[column]}}
        for column, name in _TEXTS.items()
        if step[column]
    ]
    attributes += [
        {"key": name, "value": {"intValue": str(step[column])}}
        for column, name in _NUMBERS.items()
        if step[column] >= 0
    ]
    members["attributes"] = attributes + members.get("attributes", [])
    return _Span(members, more.get("scope", {}), more.get("resource", {}), {})


# ---- in ----


def import_otel(store: TrajectoryStore, file: Iterable[bytes]) -> int:
    """Store traces of OTLP, each as an episode that has ended.

    Parameters
    ----------
    store : TrajectoryStore
        A new one, opened with ``columns=SPAN_COLUMNS``, or one that has such steps.
    file : iterable of bytes
        All lines of a file, as the spans of a trace may be in any of them. An episode has the id of
        its trace, so a file that is imported again is passed over. Its group is the conversation
        and its env the agent, where a span names them. Messages are kept as JSON; numbers of tokens
        that a span does not tell are -1. Times are in nanoseconds since 1970, UTC.

    Returns
    -------
    int
        How many episodes the file has.

    Raises
    ------
    InvalidArgumentError
        A line has no spans. Then none is stored.
    DuplicateError, ConflictError
        A trace is there with other spans.
    SchemaError
        The store has other columns.
    """
    _documents.require(store, SPAN_COLUMNS, "SPAN_COLUMNS")
    traces: dict[str, list[_Span]] = {}
    for document in _documents.read(file):
        for span in _spans(document):
            if any(a["key"].startswith(_PREFIX) for a in _attributes(span.members)):
                traces.setdefault(span.members[_TRACE], []).append(span)
    for trace, spans in traces.items():
        spans.sort(key=lambda span: (span.times["start"], span.members[_SPAN]))
        _store(store, trace, spans)
    return len(traces)


def _spans(document: Document) -> Iterator[_Span]:
    """Yield the spans of a line.

    Raises
    ------
    InvalidArgumentError
        It is none of OTLP's traces.
    """
    for resource in _list(document, document.members, _RESOURCES):
        for scope in _list(document, resource, _SCOPES):
            for span in _list(document, scope, _SPANS):
                for name in (_TRACE, _SPAN):
                    if not isinstance(span.get(name), str) or not span[name]:
                        raise document.wrong(f'want a span with a "{name}", got {span!r:.100}')
                _list(document, span, "attributes", "key")
                times = {column: _time(document, span, name) for column, name in _TIMES.items()}
                yield _Span(
                    span,
                    {name: value for name, value in scope.items() if name != _SPANS},
                    {name: value for name, value in resource.items() if name != _SCOPES},
                    times,
                )


def _list(
    document: Document, members: dict[str, Any], name: str, key: str | None = None
) -> list[dict[str, Any]]:
    """Return a member that is a list of objects, each with a text of a name if one is given."""
    found = members.get(name, [] if members is not document.members else None)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise document.wrong(f'want "{name}", a list of objects, got {found!r:.60}')
    if key is not None and not all(isinstance(one.get(key), str) for one in found):
        raise document.wrong(f'"{name}": want objects with a text "{key}", got {found!r:.60}')
    return found


def _attributes(members: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = members.get("attributes", [])
    return found


def _time(document: Document, span: dict[str, Any], name: str) -> int:
    """Return a time of a span, which JSON has as a text."""
    found = _number(span.get(name, 0))
    if found is None:
        raise document.wrong(f'"{name}": want nanoseconds, got {span[name]!r:.60}')
    return found


def _number(value: Any) -> int | None:
    """Return a number that JSON has as a text or as a number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if 0 <= number <= _MOST else None


def _plain(value: Any) -> Any:
    """Return what a value of OTLP stands for; bytes and what is none stay as they are."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    ((kind, found),) = value.items()
    if kind == "arrayValue" and isinstance(found, dict):
        return [_plain(one) for one in found.get("values", [])]
    if kind == "kvlistValue" and isinstance(found, dict):
        return {one.get("key", ""): _plain(one.get("value")) for one in found.get("values", [])}
    if kind == "intValue":
        number = _number(found)
        return found if number is None else number
    return found if kind in ("stringValue", "boolValue", "doubleValue") else value


def _store(store: TrajectoryStore, trace: str, spans: list[_Span]) -> None:
    """Store the spans of a trace as an episode."""
    columns: dict[str, list[Any]] = {name: [] for name in SPAN_COLUMNS}
    group, env = _first(spans, _CONVERSATION), _first(spans, _AGENT)
    for span in spans:
        for name, cell in _cells(span).items():
            columns[name].append(cell)
    writer = store.writer(episode_id=trace, group=group, env=env, start=0)
    writer.extend(columns)
    writer.end_episode(terminated=True)


def _first(spans: list[_Span], name: str) -> str:
    """Return the first text that a span has for an attribute."""
    said = (span.attribute(name) for span in spans)
    return next((one for one in said if isinstance(one, str) and _documents.is_unicode(one)), "")


def _cells(span: _Span) -> dict[str, Any]:
    """Return a span as a step."""
    rest = {name: value for name, value in span.members.items() if name not in _TIMES.values()}
    cells: dict[str, Any] = {"name": _documents.take_text(rest, "name"), **span.times}
    taken = []
    for column, name in _TEXTS.items():
        text = _message(span.attribute(name))
        cells[column] = text or ""
        taken += [name] if text else []
    for column, name in _NUMBERS.items():
        number = _number(span.attribute(name))
        cells[column] = -1 if number is None else number
        taken += [] if number is None else [name]
    rest["attributes"] = [a for a in _attributes(span.members) if a["key"] not in taken]
    more = {"span": rest, "scope": span.scope, "resource": span.resource}
    cells[MORE] = _documents.pack({name: value for name, value in more.items() if value})
    return cells


def _message(value: Any) -> str | None:
    """Return messages as JSON, which they may be already; None for what a text cannot hold."""
    text = value if isinstance(value, str) else json.dumps(value) if value else ""
    return text if text and _documents.is_unicode(text) else None
