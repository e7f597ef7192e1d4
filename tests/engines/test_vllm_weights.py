"""vLLM on the CPU with weights from a store of parameters, beside the files that they came from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from vllm.config.load import LoadConfig
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader import get_model_loader

from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.integrations._vllm import register
from persisting.integrations._weights import Source
from persisting.integrations.vllm_weights import PersistingTransfer, StoreInfo, UpdateInfo
from persisting.params import ParameterStore
from tests.engines.programs.vllm_cpu import make_model

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def tokens(directory: Path, how: str) -> list[list[int]]:
    argv = [sys.executable, "-m", "tests.engines.programs.vllm_weights", how]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return found


def step(model: Path) -> None:
    """Change one layer and what tells tokens apart, as a step of a training does."""
    file = model / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    torch.manual_seed(5)
    for name in ("model.layers.1.self_attn.q_proj.weight", "lm_head.weight"):
        weights[name] = weights[name] + 0.05 * torch.randn(weights[name].shape).bfloat16()
    safetensors.torch.save_file(weights, file, {"format": "pt"})


def test_the_store_serves_what_the_files_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_model()
    (tmp_path / "config").mkdir()
    shutil.copy("model/config.json", "config")
    with ParameterStore("store") as store:
        store.import_hf("org/model", "model")
        step(tmp_path / "model")
        store.import_hf("org/model", "model")
        assert store.diff("org/model", 1, 2).changed == (
            "lm_head.weight",
            "model.layers.1.self_attn.q_proj.weight",
        )
    (expected,) = tokens(tmp_path, "files")
    first, back, again, forth = tokens(tmp_path, "store")
    assert first == forth == expected
    assert back == again != expected  # version 1, with the layers that the step changed


class Packed(torch.nn.Module):  # type: ignore[misc]
    """A model that has two tensors of a checkpoint in one parameter, as those of vLLM do."""

    def __init__(self) -> None:
        super().__init__()
        self.qk = torch.nn.Parameter(torch.zeros(64, 32, dtype=torch.bfloat16))
        self.table = torch.nn.Parameter(torch.zeros(100, 32))
        self.steps = torch.nn.Buffer(torch.zeros(7, dtype=torch.int64))

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        places = {"q": self.qk[:40], "k": self.qk[40:], "table": self.table, "steps": self.steps}
        found = set()
        for name, value in weights:
            places[name].data.copy_(value)
            found.add(name)
        return found


def trained(before: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Move some values, to odd ones as well; from the second step on to a NaN in the table."""
    generator = torch.Generator().manual_seed(seed)
    after = {name: value.clone() for name, value in before.items()}
    for name in ("q", "k", "table"):
        flat = after[name].view(-1)
        flat[torch.randint(len(flat), (9,), generator=generator)] += 1
        flat[torch.randint(len(flat), (3,), generator=generator)] = -0.0
        flat[seed] = float("inf")
    if seed > 1:
        after["table"][3, 4] = float("nan")
    after["steps"] = after["steps"] + 1
    return after


def bits(value: torch.Tensor) -> bytes:
    seen: bytes = value.detach().contiguous().view(torch.uint8).numpy().tobytes()
    return seen


def test_a_sparse_update_writes_what_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {
        "q": torch.randn(40, 32).bfloat16(),
        "k": torch.randn(24, 32).bfloat16(),
        "table": torch.randn(100, 32),
        "steps": torch.zeros(7, dtype=torch.int64),
    }
    versions = [tensors]
    with ParameterStore(tmp_path) as store:
        store.save("m", tensors)
        for seed in (1, 2, 3):
            versions.append(trained(versions[-1], seed))
            store.save("m", versions[-1])
    model = Packed()
    model.load_weights(tensors.items())
    config = SimpleNamespace(parallel_config=None, model_config=None)
    engine = PersistingTransfer(None, config, torch.device("cpu"), model)
    where: dict[str, Any] = {"store": str(tmp_path), "name": "m", "sparse": True}
    with pytest.raises(InvalidArgumentError, match="version must be given"):
        engine.init_transfer_engine(StoreInfo(**where))
    engine.init_transfer_engine(StoreInfo(**where, version=1))
    for version in (2, 3, 3, 4, 1):
        engine.start_weight_update()
        engine.receive_weights(UpdateInfo(version))
        engine.finish_weight_update()
        wanted = versions[version - 1]
        for found, name in [
            (model.qk[:40], "q"),
            (model.qk[40:], "k"),
            (model.table, "table"),
            (model.steps, "steps"),
        ]:
            assert bits(found) == bits(wanted[name]), (version, name)
    with pytest.raises(NotFoundError):
        engine.receive_weights(UpdateInfo(9))  # which leaves what is there
    engine.receive_weights(UpdateInfo(2))
    monkeypatch.setattr(model, "load_weights", lambda weights: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        engine.receive_weights(UpdateInfo(3))
    with pytest.raises(InvalidArgumentError, match="two versions"):
        engine.receive_weights(UpdateInfo(3))
    engine.shutdown()


def test_vllm_finds_both_by_the_short_name() -> None:
    register()
    register()
    options = {"store": "/nvme/params", "name": "org/model"}
    config = LoadConfig(load_format="persisting", model_loader_extra_config=options)
    assert type(get_model_loader(config)).__name__ == "PersistingLoader"
    assert "persisting" in WeightTransferEngineFactory._registry


@pytest.mark.parametrize(
    ("options", "says"),
    [({}, "there is no store"), ({"store": "x", "shop": 1}, "unknown: shop")],
)
def test_options_that_are_none(options: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        Source(options, "org/model")
