"""The command line of stores of parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._cli import main
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ParameterStore(tmp_path / "store") as store:
        table = np.arange(6.0)
        store.save("m", {"a": table, "b": table, "c": np.array(1)}, tags=["t"], metadata={"k": 1})
        store.save("m", {"a": table + 1, "b": table, "d": np.zeros((0, 3))})
        store.save("other\x1b", {})
    return tmp_path / "store"


def run(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> list[str]:
    """Run a command and return the lines that it printed."""
    assert main(["params", *map(str, arguments)]) == status
    said = capsys.readouterr()
    return (said.out or said.err).splitlines()


def test_ls(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "ls", path) == [
        "m: version 2, 96 bytes",
        "other\N{REPLACEMENT CHARACTER}: version 1, 0 bytes",
    ]
    first, second = run(capsys, "ls", path, "m")
    assert first.startswith("1 [t]: 20")
    assert "3 tensors, 104 bytes" in first
    assert second.startswith("2: ")
    found = [json.loads(line) for line in run(capsys, "ls", path, "m", "--json")]
    assert [(row["version"], row["tags"]) for row in found] == [(1, ["t"]), (2, [])]


def test_show_and_diff(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "show", path, "m", "t") == [
        'version 1, metadata {"k": 1}',
        "a: F64 6, 48 bytes, tied (1)",
        "b: F64 6, 48 bytes, tied (1)",
        "c: I64 scalar, 8 bytes",
    ]
    lines: list[dict[str, Any]] = [json.loads(s) for s in run(capsys, "show", path, "m", "--json")]
    assert lines[2] == {"name": "d", "dtype": "F64", "shape": [0, 3], "nbytes": 0, "tie": 0}
    assert run(capsys, "diff", path, "m", "t") == [
        "+ d",
        "- c",
        "* a",
        "1 tensor the same; 48 bytes of 96 bytes differ",
    ]
    (line,) = run(capsys, "diff", path, "m", "2", "1", "--json")
    assert json.loads(line)["added"] == ["c"]


def test_tags(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "tag", path, "m", "prod", "t", "--expect", "0") == ["prod: version 1"]
    (said,) = run(capsys, "tag", path, "m", "prod", "--expect", "7", status=2)
    assert "not at 7" in said
    assert run(capsys, "tag", path, "m", "prod", "--delete") == []
    (said,) = run(capsys, "show", path, "m", "prod", status=2)
    assert "no tag" in said


@pytest.mark.parametrize("where", ["file.safetensors", "directory"])
def test_out_and_in(path: Path, capsys: pytest.CaptureFixture[str], where: str) -> None:
    target = path.parent / where
    assert run(capsys, "export", path, "m", target, "t") == []
    new = path.parent / "new"
    (said,) = run(capsys, "import", new, "n", target, "--tag", "in")
    assert said.startswith("version 1: ")
    with ParameterStore(new) as store:
        assert store.load("n", "in")["b"].tolist() == [*map(float, range(6))]


def test_push_and_prune(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = path.parent / "there"
    (said,) = run(capsys, "push", path, "m", there, "t", "--as", "n", "--tag", "prod")
    assert said.startswith("version 1: 104 bytes, ")
    with ParameterStore(there, read_only=True) as store:
        assert store.load("n", "prod")["b"].tolist() == [*map(float, range(6))]
        assert store.versions("n")[0].metadata == {"k": 1}
    with ParameterStore(path) as store:
        for _ in range(4):
            store.save("m", {})
    assert run(capsys, "prune", path, "m", "2", "--every", "3") == [
        "2 versions removed; gc gives their space back"
    ]
    (line,) = run(capsys, "prune", path, "m", "1", "--json")
    assert json.loads(line) == {"removed": [3, 5]}
    (said,) = run(capsys, "prune", path, "m", "0", status=2)
    assert "newest" in said


def test_verify_and_gc(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "verify", path) == ["sound"]
    with ParameterStore(path) as store:
        store.drop("m")
    (said,) = run(capsys, "gc", path)
    assert said.startswith("4 files removed, ")
    (said,) = run(capsys, "verify", path, "m", status=2)
    assert 'no "m"' in said
    (manifest,) = (path / "manifests").iterdir()
    manifest.write_bytes(manifest.read_bytes()[:-1] + b"x")
    (said,) = run(capsys, "verify", path, status=1)
    assert said.startswith("fault: ")
    assert manifest.name in said


def test_a_store_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (said,) = run(capsys, "ls", tmp_path / "none", status=2)
    assert "no parameter store" in said
    assert not (tmp_path / "none").exists()
