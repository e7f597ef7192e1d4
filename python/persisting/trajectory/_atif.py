"""Trajectories of agents in ATIF, the Agent Trajectory Interchange Format.

A step of ATIF is a step of the columns `ATIF_COLUMNS`: its source, its message, the tokens that
were generated and their log probabilities, and as JSON all else. What a trajectory has beside its
steps is the metadata of the episode.

References
----------
Harbor's RFC 0001, version 1.8, and `harbor.models.trajectories.Trajectory` of harbor 0.26.0.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from persisting._errors import InvalidArgumentError
from persisting.trajectory import _documents, _openai
from persisting.trajectory._columns import Column
from persisting.trajectory._documents import MORE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from persisting.trajectory._store import Episode, TrajectoryStore

VERSION = "ATIF-v1.8"

_SOURCE, _MESSAGE = "source", "message"
_STEPS, _METRICS = "steps", "metrics"
_ARRAYS = {"completion_token_ids": "int64", "logprobs": "float64"}

ATIF_COLUMNS = {
    _SOURCE: Column.text(),
    _MESSAGE: Column.text(),
    **{name: Column.ragged(dtype) for name, dtype in _ARRAYS.items()},
    MORE: Column.text(),
}


def export_atif(store: TrajectoryStore, file: IO[bytes], where: str | None = None) -> int:
    """Write the episodes that have ended as trajectories of ATIF 1.8, one in each line.

    Parameters
    ----------
    store : TrajectoryStore
        With `ATIF_COLUMNS`, or with messages as `import_openai` stores them: results of tools
        become observations of the step that called them.
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
        The steps are neither, or the filter is none.
    """
    count = 0
    for episode in _documents.ended(store, where):
        if _SOURCE in episode.steps:
            found = {**episode.metadata, _STEPS: _steps(episode)}
        else:
            chat = _openai.messages(episode)
            found = {"extra": episode.metadata, _STEPS: _of_messages(chat)}
        named = {"schema_version": VERSION, "trajectory_id": episode.episode_id}
        agent = {"name": episode.env or "unknown", "version": "unknown"}
        _documents.write(file, {**named, "agent": agent, **found})
        count += 1
    return count


def _steps(episode: Episode) -> list[dict[str, Any]]:
    if missing := ATIF_COLUMNS.keys() - episode.steps.keys():
        raise InvalidArgumentError(
            f"the steps of {episode.episode_id!r} are none of ATIF: they lack {sorted(missing)}"
        )
    rows = zip(*(episode.steps[name] for name in ATIF_COLUMNS), strict=True)
    found = []
    for at, (source, message, *arrays, more) in enumerate(rows, 1):
        rest = _documents.unpack(more)
        filled = {name: array.tolist() for name, array in zip(_ARRAYS, arrays, strict=True)}
        filled = {name: values for name, values in filled.items() if values}
        if filled:
            rest[_METRICS] = rest.get(_METRICS, {}) | filled
        found.append({"step_id": at, _SOURCE: source, _MESSAGE: message, **rest})
    return found


_SOURCES = {"assistant": "agent", "user": "user"}


def _of_messages(chat: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages as steps; what ATIF has no place for is in `extra`."""
    steps: list[dict[str, Any]] = []
    for message in chat:
        role, content = message.pop("role"), message.pop("content")
        if role == "tool" and steps and _answers(steps[-1], message, content):
            continue
        step: dict[str, Any] = {"step_id": len(steps) + 1, "source": _SOURCES.get(role, "system")}
        step["message"] = content if isinstance(content, str) else ""
        if role not in ("assistant", "user", "system"):
            message["role"] = role
        if content is not None and not isinstance(content, str):
            message["content"] = content
        if role == "assistant":
            step |= _agent_only(message)
        steps.append(step | ({"extra": message} if message else {}))
    return steps


def _agent_only(message: dict[str, Any]) -> dict[str, Any]:
    """Take out of a message what only a step of an agent has."""
    found = {}
    if isinstance(message.get("reasoning_content"), str):
        found["reasoning_content"] = message.pop("reasoning_content")
    try:
        calls = [_call(call) for call in message.get("tool_calls") or ()]
    except (KeyError, TypeError, ValueError):
        return found  # of another kind than functions, and stay as they are
    if calls:
        found["tool_calls"] = calls
        del message["tool_calls"]
    return found


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = call["function"]
    arguments = json.loads(function["arguments"] or "{}")
    if not isinstance(arguments, dict):
        raise TypeError("the arguments of a function are an object")
    return {
        "tool_call_id": call["id"],
        "function_name": function["name"],
        "arguments": arguments,
    }


def _answers(step: dict[str, Any], message: dict[str, Any], content: Any) -> bool:
    """Give a step the result of one of its calls, if this is one."""
    called = [call["tool_call_id"] for call in step.get("tool_calls", ())]
    if message.get("tool_call_id") not in called or not isinstance(content, str):
        return False
    results = step.setdefault("observation", {"results": []})["results"]
    results.append({"source_call_id": message["tool_call_id"], "content": content})
    return True


def import_atif(store: TrajectoryStore, file: Iterable[bytes]) -> int:
    """Store trajectories of ATIF, each as an episode that has ended.

    Parameters
    ----------
    store : TrajectoryStore
        A new one, opened with ``columns=ATIF_COLUMNS``, or one that has such steps.
    file : iterable of bytes
        A trajectory in each line. An episode has the id of its trajectory, or a hash of it, so a
        file that is imported again is passed over. Its group is the session, its env the agent.

    Returns
    -------
    int
        How many episodes the file has.

    Raises
    ------
    InvalidArgumentError
        A line is no trajectory; those before it are stored.
    DuplicateError, ConflictError
        An id is that of another episode.
    SchemaError
        The store has other columns.
    """
    _documents.require(store, ATIF_COLUMNS, "ATIF_COLUMNS")
    count = 0
    for document in _documents.read(file):
        about = document.members
        if not str(about.get("schema_version", VERSION)).startswith("ATIF-v1."):
            raise document.wrong(f"want {VERSION}, got {about['schema_version']!r:.60}")
        columns: dict[str, list[Any]] = {name: [] for name in ATIF_COLUMNS}
        for step in document.take_list(_STEPS, _SOURCE):
            _add(columns, step)
        agent = about.get("agent")
        writer = store.writer(
            episode_id=_text(about, "trajectory_id") or document.id,
            group=_text(about, "session_id"),
            env=_text(agent, "name") if isinstance(agent, dict) else "",
            start=0,
        )
        writer.extend(columns)
        writer.end_episode(terminated=True, metadata=about)
        count += 1
    return count


def _add(columns: dict[str, list[Any]], step: dict[str, Any]) -> None:
    """Add a step to the columns."""
    step.pop("step_id", None)
    columns[_SOURCE].append(step.pop(_SOURCE))
    columns[_MESSAGE].append(_documents.take_text(step, _MESSAGE))
    metrics = step.get(_METRICS)
    given = metrics if isinstance(metrics, dict) else {}
    for name, dtype in _ARRAYS.items():
        numbers = given.get(name)
        held = isinstance(numbers, list) and numbers
        columns[name].append(np.array(given.pop(name)) if held else np.empty(0, dtype))
    if metrics == {}:
        del step[_METRICS]
    columns[MORE].append(_documents.pack(step))


def _text(members: dict[str, Any], name: str) -> str:
    found = members.get(name)
    return found if isinstance(found, str) else ""
