"""What is exported is what the published readers of the formats take."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import minari
import numpy as np
import pytest
import torch
from google.protobuf.json_format import MessageToDict, ParseDict
from gymnasium import spaces
from harbor.models.trajectories import Trajectory
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as gen_ai

from persisting._errors import InvalidArgumentError
from persisting.trajectory import (
    ATIF_COLUMNS,
    SPAN_COLUMNS,
    TrajectoryStore,
    export_atif,
    export_lerobot,
    export_minari,
    export_otel,
    import_atif,
    import_lerobot,
    import_minari,
    import_openai,
    import_otel,
)
from tests.test_trajectory_exchange import CHATS, RUNS, lines, play

if TYPE_CHECKING:
    from pathlib import Path


def validated(store: TrajectoryStore) -> list[Trajectory]:
    file = io.BytesIO()
    export_atif(store, file)
    return [Trajectory.model_validate_json(line) for line in file.getvalue().splitlines()]


def test_runs_are_valid(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path, columns=ATIF_COLUMNS) as store:
        import_atif(store, lines(RUNS))
        found = validated(store)
    assert [one.to_json_dict() for one in found] == RUNS
    written = [json.dumps(one.to_json_dict()).encode() for one in found]
    with TrajectoryStore(tmp_path / "again", columns=ATIF_COLUMNS) as store:
        import_atif(store, written)
        assert validated(store) == found


def test_chats_are_valid_runs(tmp_path: Path) -> None:
    whole = CHATS[:-1]  # the last one has half of a character, which strict readers refuse
    with TrajectoryStore(tmp_path) as store:
        import_openai(store, lines(whole))
        found = validated(store)
    assert len(found) == len(whole)
    assert found[0].steps[2].observation is not None


def with_ids(value: Any, change: Any) -> Any:
    """Return a trace with other texts for its ids, which JSON has in hexadecimal."""
    if isinstance(value, list):
        return [with_ids(one, change) for one in value]
    if not isinstance(value, dict):
        return value
    names = ("traceId", "spanId", "parentSpanId")
    return {n: change(v) if n in names else with_ids(v, change) for n, v in value.items()}


def sorted_attributes(request: Any) -> Any:
    """Return the spans of a request, whose attributes have no order."""
    spans = [
        MessageToDict(span)
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    for span in spans:
        span["attributes"].sort(key=lambda attribute: attribute["key"])
    return sorted(spans, key=lambda span: span["startTimeUnixNano"])


def test_spans_that_the_sdk_wrote(tmp_path: Path) -> None:
    finished = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "solver"}))
    provider.add_span_processor(SimpleSpanProcessor(finished))
    tracer = provider.get_tracer("agents", "1.0")
    message = [{"role": "user", "parts": [{"type": "text", "content": "1+1? é"}]}]
    with tracer.start_as_current_span("invoke_agent", attributes={gen_ai.GEN_AI_AGENT_NAME: "a"}):
        for turn in range(2):
            with tracer.start_as_current_span("chat m") as span:
                span.set_attribute(gen_ai.GEN_AI_OPERATION_NAME, "chat")
                span.set_attribute(gen_ai.GEN_AI_INPUT_MESSAGES, json.dumps(message))
                span.set_attribute(gen_ai.GEN_AI_USAGE_INPUT_TOKENS, 10 + turn)
                span.set_attribute(gen_ai.GEN_AI_RESPONSE_FINISH_REASONS, ["stop"])
                span.add_event("first token")
    request = encode_spans(finished.get_finished_spans())
    document = MessageToDict(request, use_integers_for_enums=True)
    line = with_ids(document, lambda text: base64.b64decode(text).hex())
    with TrajectoryStore(tmp_path, columns=SPAN_COLUMNS) as store:
        assert import_otel(store, lines([line])) == 1
        (row,) = store.episodes().to_pylist()
        run = store.episode(row["episode_id"])
        assert run.env == "a"
        assert run.steps["name"] == ["invoke_agent", "chat m", "chat m"]
        assert run.steps["input_tokens"].tolist() == [-1, 10, 11]
        assert json.loads(run.steps["input"][1]) == message
        file = io.BytesIO()
        assert export_otel(store, file) == 1
    written = with_ids(
        json.loads(file.getvalue()), lambda text: base64.b64encode(bytes.fromhex(text)).decode()
    )
    found = ParseDict(written, ExportTraceServiceRequest())
    assert sorted_attributes(found) == sorted_attributes(request)
    assert found.resource_spans[0].resource == request.resource_spans[0].resource
    assert (
        found.resource_spans[0].scope_spans[0].scope
        == request.resource_spans[0].scope_spans[0].scope
    )


@pytest.mark.parametrize("observation", ["obs", "picture", ["obs", "picture"]])
def test_a_data_set_of_minari(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, observation: str | list[str]
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr("persisting.trajectory._minari._AT_ONCE", 2)
    with TrajectoryStore(tmp_path / "store") as store:
        for game in range(5):
            play(store, f"game {game}", 3 + game, terminated=game % 2 == 0, truncated=game == 1)
        store.writer(episode_id="open").close()
        options: dict[str, Any] = {"data_format": "arrow", "jpeg_encoding": False}
        options["observation"] = observation
        export_minari(store, "maze/random-v0", **options)
        dataset = minari.load_dataset("maze/random-v0")
        assert dataset.total_episodes == 5
        assert dataset.total_steps == 3 + 4 + 5 + 6 + 7
        assert dataset.action_space == spaces.Discrete(5)
        for found, game in zip(dataset, range(5), strict=True):
            wanted = store.episode(f"game {game}")
            assert [*found.actions] == [*wanted.steps["action"]]
            assert [*found.rewards] == [*wanted.steps["reward"]]
            assert [*found.terminations] == [False] * (2 + game) + [wanted.terminated]
            assert [*found.truncations] == [False] * (2 + game) + [wanted.truncated]
        with TrajectoryStore(tmp_path / "again") as again:
            for _ in range(2):
                assert import_minari(again, dataset, observation=str(observation)) == 5
            for game in range(5):
                wanted, got = store.episode(f"game {game}"), again.episode(f"maze/random-v0/{game}")
                assert (got.terminated, got.truncated) == (wanted.terminated, wanted.truncated)
                assert got.final_observation is not None
                assert wanted.final_observation is not None
                for name, column in got.steps.items():
                    assert np.array_equal(column, wanted.steps[name])
                for name, value in got.final_observation.items():
                    assert np.array_equal(value, wanted.final_observation[name])
        with pytest.raises(InvalidArgumentError, match="no column 'x'"):
            export_minari(store, "maze/x-v0", action="x")
        with pytest.raises(InvalidArgumentError, match="no episode has ended"):
            export_minari(store, "maze/x-v0", "steps > 100")


def test_a_data_set_of_lerobot(tmp_path: Path) -> None:
    def step(game: int, at: int) -> dict[str, Any]:
        value = 10 * game + at
        return {
            "obs": np.full(3, value, np.float32) + np.arange(3, dtype=np.float32),
            "action": np.array([value, -value], np.float64),
            "reward": value / 2,
            "done": at == game + 1,
            "note": f"step {value}",
        }

    with TrajectoryStore(tmp_path / "store") as store:
        for game in range(3):
            writer = store.writer(env="maze", episode_id=f"game {game}")
            for at in range(game + 2):
                writer.append(step(game, at))
            writer.end_episode(truncated=True, metadata={"task": "walk"} if game else {})
        assert export_lerobot(store, tmp_path / "data", fps=10) == 3
        with pytest.raises(InvalidArgumentError, match="is there"):
            export_lerobot(store, tmp_path / "data", fps=10)

    dataset = LeRobotDataset(
        "maze", root=tmp_path / "data", delta_timestamps={"action": [-0.1, 0.0]}
    )
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (3, 9, 10)
    assert [*dataset.meta.tasks.index] == ["maze", "walk"]
    frame = 0
    for game in range(3):
        for at in range(game + 2):
            found, wanted = dataset[frame], step(game, at)
            before = step(game, max(at - 1, 0))
            assert np.array_equal(found["observation.state"], wanted["obs"])
            assert found["observation.state"].dtype == torch.float32
            assert np.array_equal(found["action"], [before["action"], wanted["action"]])
            assert found["action_is_pad"].tolist() == [at == 0, False]
            assert found["next.reward"] == wanted["reward"]
            assert found["done"] == wanted["done"]
            assert found["note"] == wanted["note"]
            assert found["timestamp"] == np.float32(at / 10)
            assert found["task"] == ("walk" if game else "maze")
            assert (found["episode_index"], found["index"]) == (game, frame)
            frame += 1
    rewards = [step(game, at)["reward"] for game in range(3) for at in range(game + 2)]
    stats = dataset.meta.stats["next.reward"]
    assert stats["mean"] == pytest.approx(np.mean(rewards))
    assert stats["std"] == pytest.approx(np.std(rewards))
    assert (stats["min"], stats["max"]) == (min(rewards), max(rewards))

    with TrajectoryStore(tmp_path / "again") as store:
        for _ in range(2):
            assert import_lerobot(store, tmp_path / "data") == 3
        for game in range(3):
            got = store.episode(f"data/{game}")
            for at in range(game + 2):
                for name, value in step(game, at).items():
                    assert np.array_equal(got.steps[name][at], value), name
            assert got.env == ("walk" if game else "maze")
        with pytest.raises(InvalidArgumentError, match="is no data set of LeRobot"):
            import_lerobot(store, tmp_path / "store")


def test_a_data_set_that_lerobot_wrote(tmp_path: Path) -> None:
    features = {
        "observation.state": {"dtype": "float32", "shape": (2,), "names": None},
        "action": {"dtype": "float32", "shape": (1,), "names": None},
    }
    made = LeRobotDataset.create("m", 10, features, root=tmp_path / "data", use_videos=False)
    for game in range(2):
        for at in range(3):
            state = np.array([game, at], np.float32)
            made.add_frame({"observation.state": state, "action": state[:1], "task": "walk"})
        made.save_episode()
    made.finalize()
    with TrajectoryStore(tmp_path / "store") as store:
        assert import_lerobot(store, tmp_path / "data") == 2
        got = store.episode("data/1")
        assert got.steps["obs"].tolist() == [[1, 0], [1, 1], [1, 2]]
        assert got.steps["action"].tolist() == [1, 1, 1]
        assert (got.env, got.metadata) == ("walk", {"task": "walk"})
