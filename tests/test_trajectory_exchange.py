"""Episodes into the formats of others and out of them."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._errors import InvalidArgumentError, SchemaError
from persisting.trajectory import (
    ATIF_COLUMNS,
    SAMPLE_COLUMNS,
    SPAN_COLUMNS,
    DuplicateError,
    TrajectoryStore,
    export_areal,
    export_atif,
    export_openai,
    export_otel,
    export_verl,
    import_areal,
    import_atif,
    import_openai,
    import_otel,
    import_rlds,
    import_verl,
    rlds_steps,
)
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
CHATS: list[dict[str, Any]] = [
    {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "1+1?"}], "name": "me"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
            {"role": "assistant", "content": "2", "reasoning_content": "easy"},
        ],
        "tools": [{"type": "function", "function": {"name": "add"}}],
        "id": "sum",
    },
    {"messages": [{"role": "user", "content": ""}]},
    {"messages": [{"role": "user", "content": ""}]},
    {"messages": [{"role": "developer", "content": "half of a character \ud800"}]},
]

RUNS: list[dict[str, Any]] = [
    {
        "schema_version": "ATIF-v1.8",
        "trajectory_id": "run 1",
        "session_id": "session",
        "agent": {"name": "solver", "version": "1.0", "model_name": "m"},
        "steps": [
            {"step_id": 1, "source": "user", "message": [{"type": "text", "text": "go"}]},
            {
                "step_id": 2,
                "source": "agent",
                "message": "done",
                "reasoning_content": "hm",
                "tool_calls": [{"tool_call_id": "c", "function_name": "f", "arguments": {}}],
                "observation": {"results": [{"source_call_id": "c", "content": "ok"}]},
                "metrics": {
                    "prompt_tokens": 5,
                    "completion_token_ids": [1, 2, 2**40],
                    "logprobs": [-0.1, -1e-30, 0.0],
                },
            },
            {"step_id": 3, "source": "agent", "message": "", "metrics": {"logprobs": [-1.5]}},
            {"step_id": 4, "source": "agent", "message": "", "metrics": {"logprobs": []}},
        ],
        "final_metrics": {"total_steps": 4},
    },
    {
        "schema_version": "ATIF-v1.4",
        "trajectory_id": "run 2",
        "agent": {"name": "solver", "version": "1.0"},
        "steps": [{"step_id": 1, "source": "system", "message": "hello"}],
    },
]


def lines(documents: list[Any]) -> list[bytes]:
    return [json.dumps(one).encode() + b"\n" for one in documents]


def exported(write: Callable[..., int], store: TrajectoryStore, *where: str) -> list[Any]:
    file = io.BytesIO()
    count = write(store, file, *where)
    found = [json.loads(line) for line in file.getvalue().splitlines()]
    assert len(found) == count
    return found


def test_chats_come_back(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path) as store:
        assert exported(export_openai, store) == []
        for _ in range(2):
            assert import_openai(store, [*lines(CHATS), b"\n"]) == len(CHATS)
        assert exported(export_openai, store) == CHATS
        assert exported(export_openai, store, "steps = 5") == CHATS[:1]
        assert store.episode("sum").steps["role"][2:4] == ["assistant", "tool"]
        assert store.query("role = 'tool'")["content"].to_pylist() == ["2"]
        with pytest.raises(DuplicateError):
            import_openai(store, lines([CHATS[1] | {"id": "sum"}]))


def test_runs_come_back(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path, columns=ATIF_COLUMNS) as store:
        for _ in range(2):
            assert import_atif(store, lines(RUNS)) == len(RUNS)
        assert exported(export_atif, store) == RUNS
        found = store.episode("run 1")
        assert (found.group, found.env) == ("session", "solver")
        assert found.steps["completion_token_ids"][1].tolist() == [1, 2, 2**40]
        assert found.steps["logprobs"][1].dtype == np.float64
        assert found.steps["logprobs"][0].size == 0
    with TrajectoryStore(tmp_path) as store:
        assert import_atif(store, lines(RUNS)) == len(RUNS)


def test_chats_become_runs(tmp_path: Path) -> None:
    """What has a place there is in it, and the rest is in `extra`."""
    odd: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [{"type": "custom", "id": "c2"}]},
        {"role": "tool", "tool_call_id": "c2", "content": "x"},
        {"role": "function", "content": "y"},
    ]
    with TrajectoryStore(tmp_path) as store:
        import_openai(store, lines([CHATS[0], {"messages": odd, "id": "odd"}]))
        run, other = exported(export_atif, store)
    assert run["schema_version"] == "ATIF-v1.8"
    assert run["trajectory_id"] == "sum"
    assert run["agent"] == {"name": "unknown", "version": "unknown"}
    assert run["extra"] == {"tools": CHATS[0]["tools"], "id": "sum"}
    call = {"tool_call_id": "c1", "function_name": "add", "arguments": {"a": 1}}
    assert run["steps"] == [
        {"step_id": 1, "source": "system", "message": "be brief"},
        {
            "step_id": 2,
            "source": "user",
            "message": "",
            "extra": {"name": "me", "content": [{"type": "text", "text": "1+1?"}]},
        },
        {
            "step_id": 3,
            "source": "agent",
            "message": "",
            "tool_calls": [call],
            "observation": {"results": [{"source_call_id": "c1", "content": "2"}]},
        },
        {"step_id": 4, "source": "agent", "message": "2", "reasoning_content": "easy"},
    ]
    assert [step["source"] for step in other["steps"]] == ["agent", "system", "system"]
    assert other["steps"][0]["extra"] == {"tool_calls": odd[0]["tool_calls"]}
    assert other["steps"][1]["extra"] == {"tool_call_id": "c2", "role": "tool"}
    assert other["steps"][2]["extra"] == {"role": "function"}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", r"line 2: "),
        (b"[1]", r"line 2: want an object, got b'\[1\]'"),
        (b"{}", r'line 2: want "messages", a list of objects'),
        (b'{"messages": []}', r'line 2: want "messages"'),
        (b'{"messages": [{"content": "x"}]}', r'"messages": want objects with a text "role"'),
        (b'{"messages": [{"role": 5}]}', r"got \{'role': 5\}"),
    ],
)
def test_a_line_that_is_no_chat(tmp_path: Path, line: bytes, said: str) -> None:
    with TrajectoryStore(tmp_path) as store:
        with pytest.raises(InvalidArgumentError, match=said):
            import_openai(store, [*lines(CHATS[:1]), line])
        assert len(exported(export_openai, store)) == 1


def test_a_line_that_is_no_run(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path, columns=ATIF_COLUMNS) as store:
        with pytest.raises(InvalidArgumentError, match=r"line 1: want ATIF-v1\.8, got 'ATIF-v2"):
            import_atif(store, lines([RUNS[0] | {"schema_version": "ATIF-v2.0"}]))
        with pytest.raises(InvalidArgumentError, match='want objects with a text "source"'):
            import_atif(store, lines([RUNS[0] | {"steps": [{}]}]))
        halves = {"source": "agent", "message": "", "metrics": {"completion_token_ids": [0.5]}}
        with pytest.raises(SchemaError, match="completion_token_ids"):
            import_atif(store, lines([{"steps": [halves]}]))


def test_a_store_of_something_else(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path) as store:
        with pytest.raises(SchemaError, match=r"columns of ATIF_COLUMNS.* this one has none"):
            import_atif(store, lines(RUNS))
        with store.writer(episode_id="one") as writer:
            writer.append({"source": "x", "reward": 1.0})
            writer.end_episode(terminated=True)
        with pytest.raises(InvalidArgumentError, match="'one' are no messages"):
            exported(export_openai, store)
        with pytest.raises(InvalidArgumentError, match="'one' are none of ATIF: they lack"):
            exported(export_atif, store)
        with pytest.raises(SchemaError):
            import_openai(store, lines(CHATS))


VERL: list[dict[str, Any]] = [
    {"input": "1+1?", "output": "2", "gts": "2", "score": 1.0, "step": 7, "uid": "a_0_0"},
    {"input": "1+1?", "output": "3", "gts": "2", "score": 0, "step": 7, "uid": "a_1_0", "acc": 0},
    {"input": "\ud800", "output": "", "gts": None, "score": None, "step": "last"},
    {"input": "", "output": "", "gts": None, "score": True, "step": 2**31},
    {"input": "", "output": "", "gts": None, "score": True, "step": 2**31},
]
AREAL: list[dict[str, Any]] = [
    {
        "task_id": 3,
        "sample_idx": i,
        "seqlen": 9,
        "prompt_len": 4,
        "head_version": 1,
        "tail_version": 2,
        "reward": i / 2,
        "prompt": "go",
        "completion": f"done {i}",
    }
    for i in range(2)
]


def test_dumps_of_verl_come_back(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path, columns=SAMPLE_COLUMNS) as store:
        for _ in range(2):
            assert import_verl(store, lines(VERL)) == len(VERL)
        assert exported(export_verl, store) == VERL
        good = store.query("reward = 1.0")
        assert good.select(["prompt", "completion", "version"]).to_pylist() == [
            {"prompt": "1+1?", "completion": "2", "version": 7}
        ]
        assert store.episodes("group_id = 'a'").num_rows == 2
        (first, *_) = exported(export_areal, store)
        assert first == {
            "prompt": "1+1?",
            "completion": "2",
            "reward": 1.0,
            "tail_version": 7,
            "gts": "2",
            "uid": "a_0_0",
        }


def test_dumps_of_areal_come_back(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path, columns=SAMPLE_COLUMNS) as store:
        for _ in range(2):
            assert import_areal(store, lines(AREAL)) == len(AREAL)
        assert exported(export_areal, store) == AREAL
        assert store.query()["version"].to_pylist() == [2, 2]
        assert store.episodes("group_id = '3'").num_rows == 2


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"input": 5}, 'line 1: want a text "input", got 5'),
        ({"input": "a"}, 'line 1: want a text "output", got None'),
        (
            {"input": "a", "output": "b"},
            r"line 1: want a \"score\", there are \['input', 'output'\]",
        ),
    ],
)
def test_a_line_that_is_no_sample(tmp_path: Path, members: dict[str, Any], said: str) -> None:
    with TrajectoryStore(tmp_path, columns=SAMPLE_COLUMNS) as store:
        with pytest.raises(InvalidArgumentError, match=said):
            import_verl(store, lines([members]))
        with pytest.raises(SchemaError, match=r"this one has \['prompt'"):
            import_atif(store, lines(RUNS))


def attribute(name: str, value: Any) -> dict[str, Any]:
    kind = "intValue" if isinstance(value, int) else "stringValue"
    return {"key": name, "value": {kind: str(value)}}


def span(trace: str, number: int, start: int, *attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "name": f"chat {number}",
        "kind": 3,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + 5),
        "attributes": [*attributes],
    }


QUESTION = [{"role": "user", "parts": [{"type": "text", "content": "1+1? é"}]}]
STRUCTURED = {
    "key": "gen_ai.input.messages",
    "value": {
        "arrayValue": {
            "values": [
                {
                    "kvlistValue": {
                        "values": [
                            {"key": "role", "value": {"stringValue": "tool"}},
                            {"key": "n", "value": {"intValue": "3"}},
                            {"key": "ok", "value": {"boolValue": True}},
                        ]
                    }
                }
            ]
        }
    },
}
SCOPE = {"scope": {"name": "agents", "version": "1"}}
RESOURCE = {"resource": {"attributes": [attribute("service.name", "solver")]}}
TRACES: list[dict[str, Any]] = [
    {
        "resourceSpans": [
            RESOURCE
            | {
                "scopeSpans": [
                    SCOPE
                    | {
                        "spans": [
                            span(
                                "aa" * 16,
                                2,
                                200,
                                attribute("gen_ai.operation.name", "chat"),
                                attribute("gen_ai.output.messages", "[]"),
                                attribute("gen_ai.usage.input_tokens", 12),
                                attribute("gen_ai.usage.output_tokens", 3),
                                attribute("gen_ai.request.model", "m"),
                            ),
                            span("bb" * 16, 3, 50, STRUCTURED),
                            span("aa" * 16, 4, 150, attribute("http.request.method", "GET")),
                        ]
                    }
                ]
            }
        ]
    },
    {
        "resourceSpans": [
            {
                "scopeSpans": [
                    {
                        "spans": [
                            span(
                                "aa" * 16,
                                1,
                                100,
                                attribute("gen_ai.agent.name", "solver"),
                                attribute("gen_ai.conversation.id", "talk"),
                                attribute("gen_ai.input.messages", json.dumps(QUESTION)),
                            )
                        ]
                    }
                ]
            }
        ]
    },
]


def spans(documents: list[Any]) -> dict[str, Any]:
    """Return the spans of a file by their ids, with their scopes and resources."""
    found = {}
    for document in documents:
        for resource in document["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                for one in scope["spans"]:
                    about = scope.get("scope"), resource.get("resource")
                    by_key = sorted(one["attributes"], key=lambda a: str(a["key"]))
                    found[one["spanId"]] = {**one, "attributes": by_key}, *about
    return found


def test_spans_come_back(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path, columns=SPAN_COLUMNS) as store:
        for _ in range(2):
            assert import_otel(store, lines(TRACES)) == 2
        run = store.episode("aa" * 16)
        assert (run.env, run.group) == ("solver", "talk")
        assert run.steps["name"] == ["chat 1", "chat 2"]
        assert run.steps["operation"] == ["", "chat"]
        assert json.loads(run.steps["input"][0]) == QUESTION
        assert run.steps["input_tokens"].tolist() == [-1, 12]
        assert run.steps["output_tokens"].tolist() == [-1, 3]
        assert run.steps["start"].tolist() == [100, 200]
        assert run.steps["end"].tolist() == [105, 205]
        other = store.episode("bb" * 16)
        assert json.loads(other.steps["input"][0]) == [{"role": "tool", "n": 3, "ok": True}]
        written = exported(export_otel, store)
    assert len(written) == 2
    wanted, found = spans(TRACES), spans(written)
    del wanted[f"{4:016x}"]  # of something else
    # Messages that were nested are a JSON text, as the conventions allow.
    text = other.steps["input"][0]
    wanted[f"{3:016x}"][0]["attributes"] = [attribute("gen_ai.input.messages", text)]
    assert found == wanted
    with TrajectoryStore(tmp_path / "again", columns=SPAN_COLUMNS) as store:
        assert import_otel(store, lines(written)) == 2
        assert exported(export_otel, store) == written


def test_spans_of_ones_own(tmp_path: Path) -> None:
    """A step that was not imported gets ids, always the same."""
    step = {"name": "call", "operation": "chat", "input": "", "output": "[]", "more": ""}
    step |= {"input_tokens": 1, "output_tokens": -1, "start": 5, "end": 6}
    with TrajectoryStore(tmp_path, columns=SPAN_COLUMNS) as store:
        with store.writer(episode_id="one") as writer:
            for _ in range(2):
                writer.append(step)
            writer.end_episode(terminated=True)
        (one,) = exported(export_otel, store)
        assert [one] == exported(export_otel, store)
    first, second = one["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert first["traceId"] == second["traceId"]
    assert first["spanId"] != second["spanId"]
    assert (len(first["traceId"]), len(first["spanId"])) == (32, 16)
    assert [a["key"] for a in first["attributes"]] == [
        "gen_ai.operation.name",
        "gen_ai.output.messages",
        "gen_ai.usage.input_tokens",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({}, 'want "resourceSpans", a list of objects, got None'),
        ({"resourceSpans": [5]}, 'want "resourceSpans"'),
        ({"resourceSpans": [{"scopeSpans": {}}]}, 'want "scopeSpans", a list'),
        ({"resourceSpans": [{"scopeSpans": [{"spans": [{}]}]}]}, 'want a span with a "traceId"'),
    ],
)
def test_a_line_that_is_no_trace(tmp_path: Path, line: Any, said: str) -> None:
    with TrajectoryStore(tmp_path, columns=SPAN_COLUMNS) as store:
        with pytest.raises(InvalidArgumentError, match=f"line 2: {said}"):
            import_otel(store, lines([TRACES[0], line]))
        assert exported(export_otel, store) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"startTimeUnixNano": "soon"}, '"startTimeUnixNano": want nanoseconds'),
        ({"attributes": [{"value": 1}]}, '"attributes": want objects with a text "key"'),
        ({"spanId": ""}, 'want a span with a "spanId"'),
    ],
)
def test_a_span_that_is_none(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    one = span("aa" * 16, 1, 5, attribute("gen_ai.operation.name", "chat")) | change
    line = {"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]}
    store = TrajectoryStore(tmp_path, columns=SPAN_COLUMNS)
    with store, pytest.raises(InvalidArgumentError, match=said):
        import_otel(store, lines([line]))


def play(
    store: TrajectoryStore,
    name: str,
    count: int,
    *,
    terminated: bool = False,
    truncated: bool = False,
) -> None:
    """Play an episode whose observations are a vector and a picture."""
    states = np.arange((count + 1) * 3, dtype=np.float32).reshape(-1, 3)
    pictures = np.arange((count + 1) * 8, dtype=np.uint8).reshape(-1, 2, 4)
    writer = store.writer(episode_id=name)
    writer.extend(
        {
            "obs": states[:-1],
            "picture": pictures[:-1],
            "action": np.arange(count) % 2 + 3,
            "reward": np.linspace(0, 1, count),
        }
    )
    final = {"obs": states[-1], "picture": pictures[-1]}
    writer.end_episode(final, terminated=terminated, truncated=truncated)


@pytest.mark.parametrize("observation", ["obs", ["obs", "picture"]])
def test_steps_of_rlds(tmp_path: Path, observation: str | list[str]) -> None:
    with TrajectoryStore(tmp_path / "one") as one, TrajectoryStore(tmp_path / "two") as two:
        play(one, "game/0", 4, terminated=True)
        play(one, "game/1", 1, truncated=True)
        played = [one.episode(f"game/{i}") for i in range(2)]
        steps = [[*rlds_steps(game, observation=observation)] for game in played]
        first = steps[0]
        assert [step["is_first"] for step in first] == [True, False, False, False, False]
        assert [step["is_last"] for step in first] == [False, False, False, False, True]
        assert [step["is_terminal"] for step in first] == [False, False, False, False, True]
        assert [step["discount"] for step in first] == [1, 1, 1, 1, 0]
        assert [step["action"] for step in first] == [3, 4, 3, 4, 0]
        assert steps[1][-1]["discount"] == 1
        for _ in range(2):
            assert import_rlds(two, steps, "game") == 2
        for game in played:
            found = two.episode(game.episode_id)
            assert (found.terminated, found.truncated) == (game.terminated, game.truncated)
            assert found.final_observation is not None
            assert game.final_observation is not None
            for name, column in found.steps.items():
                assert np.array_equal(column, game.steps[name])
                assert column.dtype == game.steps[name].dtype
            for name, value in found.final_observation.items():
                assert np.array_equal(value, game.final_observation[name])
        with pytest.raises(InvalidArgumentError, match="no column 'x'; there are"):
            [*rlds_steps(played[0], reward="x")]
        with pytest.raises(InvalidArgumentError, match="cut/0: want two steps or more"):
            import_rlds(two, [first[:-1]], "cut")


def test_steps_of_rlds_need_the_end(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path) as store:
        with store.writer(episode_id="one") as writer:
            writer.append({"obs": np.zeros(2), "action": 1, "reward": 0.0})
            writer.end_episode(truncated=True)
        with pytest.raises(InvalidArgumentError, match="'one' has no steps, or no final"):
            [*rlds_steps(store.episode("one"))]


PAGE = (ROOT / "docs" / "trajectories.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_examples_of_the_documentation() -> None:
    """Each goes on where the one before it ended, as a reader does."""
    known = {"__name__": "example"}
    for example in EXAMPLES:
        if "transfer_queue" not in example:
            exec(compile(example, "docs/trajectories.md", "exec"), known)
