"""torch.distributed.checkpoint, of several ranks, over a store of parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

from persisting._errors import InvalidArgumentError
from persisting.integrations.dcp import StoreReader, StoreWriter
from persisting.params import ParameterStore
from tests.engines.programs.dcp import originals, same

if TYPE_CHECKING:
    from pathlib import Path


def ranks(directory: Path, *tasks: str) -> None:
    argv = [sys.executable, "-m", "tests.engines.programs.dcp", str(directory), *tasks]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.split() == [word for task in tasks for word in (task, "done")]


def test_four_ranks_save_and_others_load(tmp_path: Path) -> None:
    ranks(tmp_path, "sync:4", "load:1", "load:2", "load:8")
    with ParameterStore(tmp_path / "store") as store:
        assert store.versions("m")[0].metadata == {"how": "sync"}
        found = store.load("m", framework="torch")
        for name, whole in originals().items():
            assert same(found[f"model.{name}"], whole), name
        assert store.verify() == []
        assert store.gc()["staged"] == 0


@pytest.mark.parametrize("how", ["thread", "process"])
def test_a_save_in_the_background(tmp_path: Path, how: str) -> None:
    ranks(tmp_path, f"{how}:2", "load:1")


def test_versions_of_the_store_are_checkpoints(tmp_path: Path) -> None:
    saved = {"w": torch.randn(5, 7).bfloat16(), "b": torch.arange(3)}
    with ParameterStore(tmp_path) as store:
        store.save("m", saved)
    state = {name: torch.zeros_like(value) for name, value in saved.items()}
    dcp.load(state, checkpoint_id="m", storage_reader=StoreReader(tmp_path, "other"))
    assert all(same(state[name], value) for name, value in saved.items())


def test_a_save_that_fails_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = StoreWriter(tmp_path, "m")
    state = {"w": torch.ones(1000)}
    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "finish", lambda *_, **__: 1 / 0)
        with pytest.raises(CheckpointException, match="division by zero"):
            dcp.save(state, storage_writer=writer)
    with pytest.raises(CheckpointException, match="no version"):
        dcp.load(state, storage_reader=StoreReader(tmp_path, "m"))
    dcp.save(state, storage_writer=writer)
    with ParameterStore(tmp_path) as store:
        assert store.latest("m") == writer.version == 1
        assert store.gc()["staged"] == 0  # the next save has removed it


def test_a_load_that_fails_does_not_keep_its_version(tmp_path: Path) -> None:
    reader = StoreReader(tmp_path, "m")
    with ParameterStore(tmp_path) as store:
        store.save("m", {"w": torch.ones(3)})
        with pytest.raises(CheckpointException, match="other"):
            dcp.load({"other": torch.zeros(3)}, storage_reader=reader)
        store.save("m", {"w": torch.full((3,), 2.0)})
        state = {"w": torch.zeros(3)}
        dcp.load(state, storage_reader=reader)
        assert state["w"].tolist() == [2.0] * 3
        assert store.gc()["leased"] == 0


def test_pickle_is_only_in_what_torch_has_saved(tmp_path: Path) -> None:
    """Nothing of the store is unpickled: only torch's planner reads what torch.save has written."""
    dcp.save({"w": torch.ones(2), "n": 3}, storage_writer=StoreWriter(tmp_path, "m"))
    with ParameterStore(tmp_path) as store, store.open("m") as opened:
        assert sorted(opened.objects) == ["dcp.paths", "dcp.saved:n"]
        assert json.loads(opened.read_object("dcp.paths")) == {"n": ["n"], "w": ["w"]}
    state = {"w": torch.zeros(2)}
    dcp.load(state, storage_reader=StoreReader(tmp_path, "m"))
    assert torch.equal(state["w"], torch.ones(2))


def test_what_is_refused(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path, "m")
    with pytest.raises(InvalidArgumentError, match="use_collectives is False"):
        dcp.save({"w": torch.ones(2)}, storage_writer=writer, use_collectives=False)
    planner = dcp.DefaultSavePlanner(enable_plan_caching=True)
    dcp.save({"w": torch.ones(2)}, storage_writer=writer, planner=planner)
    with pytest.raises(CheckpointException, match="the planner caches plans"):
        dcp.save({"w": torch.ones(2)}, storage_writer=writer, planner=planner)
    with pytest.raises(CheckpointException, match="there is no parameter store"):
        dcp.load({"w": torch.ones(2)}, storage_reader=StoreReader(tmp_path / "none", "m"))
