"""vLLM on the CPU with weights from a store of parameters, beside the files that they came from."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import safetensors.torch
import torch
from vllm.config.load import LoadConfig
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader import get_model_loader

from persisting._errors import InvalidArgumentError
from persisting.integrations._vllm import register
from persisting.integrations._weights import Source
from persisting.params import ParameterStore
from tests.engines.programs.vllm_cpu import make_model

if TYPE_CHECKING:
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
