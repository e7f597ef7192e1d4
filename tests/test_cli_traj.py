"""The command line of stores of trajectories."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._cli import main
from persisting.trajectory import TrajectoryStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with TrajectoryStore(tmp_path / "store") as store:
        for game in range(3):
            writer = store.writer(
                env="maze", group=f"level {game // 2}", episode_id=f"game\x1b{game}"
            )
            obs = np.arange(6.0, dtype=np.float32).reshape(3, 2) + game
            writer.extend(
                {
                    "obs": obs,
                    "tokens": [[game], [], [1, 2]],
                    "reward": np.full(3, game / 2),
                    "won": np.array([False, False, game > 0]),
                    "text": ["é", "b\tc", "\x1b"],
                },
                version=game,
            )
            if game < 2:
                writer.end_episode({"obs": obs[0]}, truncated=game == 1, metadata={"seed": game})
        retried = store.writer(episode_id="retried", buffer_bytes=0)
        retried.append({"obs": obs[0], "tokens": [1], "reward": 9.0, "won": False, "text": ""})
        store.writer(episode_id="retried", attempt=1).close()
    return tmp_path / "store"


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> list[str]:
    """Run a command and return the lines that it printed."""
    assert main(["traj", *map(str, arguments)]) == status
    said = capsys.readouterr()
    return (said.out or said.err).splitlines()


def test_ls(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = "game\N{REPLACEMENT CHARACTER}0: ended, 3 steps, env maze, group level 0"
    assert run(capsys, "ls", path) == [
        first,
        "game\N{REPLACEMENT CHARACTER}1: ended, 3 steps, truncated, env maze, group level 0",
        "game\N{REPLACEMENT CHARACTER}2: open, env maze, group level 1",
        "retried: superseded, 1 step",
        "retried: open, attempt 1",
    ]
    assert run(capsys, "ls", path, "-n", 1) == [first]
    (line,) = run(capsys, "ls", path, "--json", "truncated")
    found = json.loads(line)
    assert found["episode_id"] == "game\x1b1"
    assert found["metadata"] == {"seed": 1}
    (said,) = run(capsys, "ls", path, "no = 1", status=2)
    assert "no" in said


def test_show(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, final, names, *rows = run(capsys, "show", path, "game\x1b1")
    assert head == (
        'game\N{REPLACEMENT CHARACTER}1: ended, truncated, 3 steps, metadata {"seed": 1}'
    )
    assert final == 'final observation: {"obs": [1.0, 2.0]}'
    assert names.split("\t") == ["step", "version", "obs", "tokens", "reward", "won", "text"]
    assert rows[1].split("\t") == ["1", "1", "[3.0, 4.0]", "[]", "0.5", "false", r"b\tc"]
    (line,) = run(capsys, "show", path, "game\x1b2", "--json", "-n", 1)
    assert json.loads(line) == {
        "step": 0,
        "version": 2,
        "obs": [2.0, 3.0],
        "tokens": [2],
        "reward": 1.0,
        "won": False,
        "text": "é",
    }
    (said,) = run(capsys, "show", path, "none", status=2)
    assert "none" in said


def test_stats(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "stats", path, "--column", "reward")
    assert lines[0].endswith("store: 9 steps; episodes: 2 open, 2 ended, 1 superseded")
    assert lines[1:6] == [
        "  obs: float32 x 2",
        "  tokens: int64, ragged",
        "  reward: float64",
        "  won: bool",
        "  text: text",
    ]
    assert lines[6:8] == [
        "  steps of an episode that is over: 1 to 3, mean 2.333",
        "  sum of reward: 0 to 1.5, mean 0.75",
    ]
    assert [line.split() for line in lines[8:]] == [["0", "#" * 40, "1"], ["0.75", "#" * 40, "1"]]
    (line,) = run(capsys, "stats", path, "truncated", "--json", "--column", "won")
    found = json.loads(line)
    assert found["sums"] == {"column": "won", "count": 1, "min": 1.0, "mean": 1.0, "max": 1.0}
    assert found["columns"]["won"] == "bool"
    (said,) = run(capsys, "stats", path, "--column", "text", status=2)
    assert "'text' is no number of each step" in said
    (said,) = run(capsys, "stats", path, "--column", "nope", status=2)
    assert "nope" in said
    (line,) = run(capsys, "stats", path, "steps > 9", "--json", "--column", "reward")
    assert json.loads(line)["sums"] == {"column": "reward", "count": 0}
    with TrajectoryStore(path.parent / "empty"):
        pass
    (line,) = run(capsys, "stats", path.parent / "empty")
    assert line.endswith("empty: 0 steps; episodes: none")


CHATS: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "é"}, {"role": "assistant", "content": "b"}], "k": 1},
    {"messages": [{"role": "user", "content": "again"}]},
]
RUNS: list[dict[str, Any]] = [
    {
        "schema_version": "ATIF-v1.8",
        "trajectory_id": "run 1",
        "agent": {"name": "a", "version": "1"},
        "steps": [{"step_id": 1, "source": "user", "message": "é"}],
    }
]


@pytest.mark.parametrize(("kind", "documents"), [("openai", CHATS), ("atif", RUNS)])
def test_in_and_out(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    documents: list[dict[str, Any]],
) -> None:
    store, file, again = tmp_path / "store", tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in documents))
    number = f"{len(documents)} episode" + "s" * (len(documents) > 1)
    for _ in range(2):
        assert run(capsys, "import", store, file, "--format", kind) == [f"{store}: {number}"]
    (said,) = run(capsys, "export", store, again, "--format", kind)
    assert said.startswith(f"{again}: {number}, ")
    assert [*map(json.loads, again.read_text().splitlines())] == documents
    (said,) = run(capsys, "export", store, again, "--format", kind, status=2)
    assert "--force replaces it" in said
    lines = run(capsys, "export", store, "-", "--format", kind, "--filter", "steps = 1")
    assert [*map(json.loads, lines)] == documents[-1:]
    piped = io.TextIOWrapper(io.BytesIO(file.read_bytes()))
    monkeypatch.setattr(sys, "stdin", piped)
    run(capsys, "import", tmp_path / "piped", "-", "--format", kind)
    assert len(run(capsys, "ls", tmp_path / "piped")) == len(documents)
    file.write_text("5\n")
    (said,) = run(capsys, "import", store, file, "--format", kind, status=2)
    assert said == "persisting: line 1: want an object, got b'5'"


def test_a_store_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (said,) = run(capsys, "ls", tmp_path / "none", status=2)
    assert "none" in said
    assert not (tmp_path / "none").exists()
