"""The command line of stores of trajectories."""

from __future__ import annotations

import io
import json
import sys
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._cli import _plots, main
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


def test_replay(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "replay", path, "game\x1b1")
    assert lines[:7] == [
        "step 0",
        "  version: 1",
        "  obs: [1.0, 2.0]",
        "  tokens: [1]",
        "  reward: 0.5",
        "  won: false",
        "  text: é",
    ]
    assert [line for line in lines if "sum of" in line] == [
        "  sum of reward: 0.5",
        "  sum of reward: 1.0",
        "  sum of reward: 1.5",
    ]
    assert lines[-2:] == ["ended, truncated after 3 steps", "  obs: [1.0, 2.0]"]
    *steps, end = map(json.loads, run(capsys, "replay", path, "game\x1b1", "--json"))
    assert [step["step"] for step in steps] == [0, 1, 2]
    assert [step["sum of reward"] for step in steps] == [0.5, 1.0, 1.5]
    assert end == {
        "state": "ended",
        "terminated": False,
        "truncated": True,
        "final_observation": {"obs": [1.0, 2.0]},
    }
    (line,) = run(capsys, "replay", path, "game\x1b2", "--json", "-n", 1, "--column", "won")
    assert json.loads(line)["sum of won"] == 0
    (said,) = run(capsys, "replay", path, "game\x1b2", "--column", "text", status=2)
    assert "'text' is no number of each step" in said
    (said,) = run(capsys, "replay", path, "game\x1b2", "--interval", "-1", status=2)
    assert "--interval is -1.0" in said
    (said,) = run(capsys, "replay", path, "none", status=2)
    assert "none" in said


def test_replay_waits_between_steps(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("persisting._cli.traj.time.sleep", waits.append)
    run(capsys, "replay", path, "game\x1b1", "--interval", "0.5")
    assert waits == [0.5, 0.5]


def test_query(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names, *rows = run(capsys, "query", path, "step = 1 AND reward < 1")
    assert names.split("\t") == [
        *("offset", "episode", "step", "version", "obs", "tokens", "reward", "won", "text")
    ]
    assert [row.split("\t")[:5] for row in rows] == [
        ["1", "0", "1", "0", "[2.0, 3.0]"],
        ["5", "1", "1", "1", "[3.0, 4.0]"],
    ]
    lines = run(capsys, "query", path, "--columns", "tokens,step", "--json", "-n", 2)
    assert [*map(json.loads, lines)] == [
        {"offset": 0, "tokens": [0], "step": 0},
        {"offset": 1, "tokens": [], "step": 1},
    ]
    assert run(capsys, "query", path, "reward > 1000") == [names]
    (said,) = run(capsys, "query", path, "nope > 1", status=2)
    assert "nope" in said
    (said,) = run(capsys, "query", path, "--columns", "nope", status=2)
    assert "no column 'nope'" in said
    with TrajectoryStore(path.parent / "empty"):
        pass
    (line,) = run(capsys, "query", path.parent / "empty")
    assert line.split("\t") == ["offset", "episode", "step", "version"]


def test_plot(path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = run(capsys, "plot", path, "--height", 2)
    assert lines == [
        "sum of reward, 2 episodes: 0 to 1.5, mean 0.75",
        "1.5  █",
        "  0 ▁█",
    ]
    lines = run(capsys, "plot", path, "truncated", "--column", "won")
    assert lines[0] == "sum of won, 1 episode: 1 to 1, mean 1"
    assert len(lines) == 9
    found = map(json.loads, run(capsys, "plot", path, "--json"))
    assert [*found] == [
        {"episode_id": "game\x1b0", "sum": 0.0},
        {"episode_id": "game\x1b1", "sum": 1.5},
    ]
    picture = tmp_path / "returns.svg"
    assert run(capsys, "plot", path, "--output", picture) == []
    root = ElementTree.parse(picture).getroot()
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert [float(circle.get("cy", "")) for circle in circles] == [240, 60]
    (said,) = run(capsys, "plot", path, "--output", picture, status=2)
    assert "--force replaces it" in said
    (said,) = run(capsys, "plot", path, "--column", "text", status=2)
    assert "'text' is no number" in said
    (said,) = run(capsys, "plot", path, "steps > 9", status=2)
    assert "nothing to draw" in said


def test_a_plot_leaves_out_what_is_not_finite(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with TrajectoryStore(path) as store:
        writer = store.writer(episode_id="nan")
        row = {"obs": np.zeros((1, 2), np.float32), "tokens": [[1]], "won": [False], "text": [""]}
        writer.extend({**row, "reward": [np.nan]})
        writer.end_episode(terminated=True)
    assert main(["traj", "plot", str(path)]) == 0
    said = capsys.readouterr()
    assert said.err == "1 episode left out, whose sum is not finite\n"
    assert said.out.startswith("sum of reward, 2 episodes: 0 to 1.5")


@pytest.mark.parametrize(("blocks", "full"), [(True, "█"), (False, "#")])
def test_the_lines_of_a_plot(blocks: bool, full: str) -> None:
    rising = np.arange(8.0)
    lines = _plots.text(rising, 8, 8, blocks=blocks)
    picture = [line[2:].ljust(8) for line in lines]
    for column in range(8):
        heights = [row[column] for row in reversed(picture)]
        assert heights[:column] == [full] * column
        assert heights[column + 1 :] == [" "] * (7 - column)
    assert len(_plots.text(np.arange(1000.0), 10, 1, blocks=blocks)[0]) == len("949.5 ") + 10
    assert _plots.text(np.full(3, 7.0), 10, 1, blocks=blocks)[0].startswith("7 ")
    assert [*_plots.thin(np.arange(6.0), 3)] == [0.5, 2.5, 4.5]
    assert [*_plots.running(np.arange(4.0), 2)] == [0, 0.5, 1.5, 2.5]


def test_merge(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    into = path.parent / "into"
    (said,) = run(capsys, "merge", into, path, "--filter", "truncated")
    assert said == f"{into}: 1 episode of {path}"
    for _ in range(2):
        (said,) = run(capsys, "merge", into, path)
        assert said == f"{into}: 2 episodes of {path}"
    assert run(capsys, "show", into, "game\x1b0") == run(capsys, "show", path, "game\x1b0")
    (said,) = run(capsys, "merge", into, path.parent / "none", status=2)
    assert "none" in said


class Terminal(io.StringIO):
    """What somebody types."""

    def isatty(self) -> bool:
        return True


def test_rm(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    states = "state IN ('open', 'ended')"
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    (said,) = run(capsys, "rm", path, "retried", status=2)
    assert "--yes is needed" in said
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    (said,) = run(capsys, "rm", path, "retried")
    assert said == "remove 1 episode for good? [y/N] nothing was removed"
    assert len(run(capsys, "ls", path, states)) == 4
    monkeypatch.setattr(sys, "stdin", Terminal("Y\n"))
    (said,) = run(capsys, "rm", path, "retried")
    assert said.endswith(f"{path}: 1 episode removed")
    (said,) = run(capsys, "rm", path, "--filter", "group_id = 'level 0'", "--yes")
    assert said == f"{path}: 2 episodes removed"
    assert len(run(capsys, "ls", path, states)) == 1
    (said,) = run(capsys, "rm", path, "--filter", "group_id = 'level 0'", "--yes")
    assert said == f"{path}: there is no such episode"
    for wrong in (["retried"], ["nope"]):
        (said,) = run(capsys, "rm", path, *wrong, "--yes", status=2)
        assert f"no episode {wrong[0]!r}" in said
    for wrong in ([], ["game\x1b2", "--filter", "truncated"]):
        (said,) = run(capsys, "rm", path, *wrong, "--yes", status=2)
        assert "want the ids of episodes, or --filter" in said
    (said,) = run(capsys, "rm", path.parent / "none", "x", "--yes", status=2)
    assert not (path.parent / "none").exists()


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


SAMPLES: list[dict[str, Any]] = [
    {"input": "é", "output": "b", "score": 0.5, "step": 3, "gts": "b"},
    {"input": "é", "output": "c", "score": 0.0, "step": 3, "gts": "b"},
]
TASKS: list[dict[str, Any]] = [
    {"prompt": "é", "completion": "b", "reward": 0.5, "tail_version": 3, "task_id": 1}
]


@pytest.mark.parametrize(
    ("kind", "documents"),
    [("openai", CHATS), ("atif", RUNS), ("verl", SAMPLES), ("areal", TASKS)],
)
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
    lines = run(capsys, "export", store, "-", "--format", kind, "--filter", "number > 0")
    assert [*map(json.loads, lines)] == documents[1:]
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
