"""SGLang's loader with weights from a store of parameters.

SGLang does not serve without a GPU: its own code makes the loader and runs it, over a module.
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from sglang.srt.configs.device_config import DeviceConfig
from sglang.srt.configs.load_config import LoadConfig
from sglang.srt.model_loader import loader as loaders

from persisting.integrations import _weights, sglang_weights
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pytest


class Model(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.a = torch.nn.Linear(300, 20)
        self.b = torch.nn.Linear(20, 7)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        own = self.state_dict()
        for name, value in weights:
            own[name].copy_(value)


def weights(seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    return {name: torch.randn(v.shape).bfloat16() for name, v in Model().state_dict().items()}


def same(model: torch.nn.Module, saved: dict[str, Any]) -> bool:
    return all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())


def test_a_model_is_loaded_and_updated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "_initialize_model", lambda *_: Model())
    monkeypatch.setattr(loaders, "_get_quantization_config", lambda *_: None)
    monkeypatch.setattr(_weights, "BATCH_BYTES", 1000)
    with ParameterStore(tmp_path) as store:
        for seed in (1, 2):
            store.save("org/model", weights(seed))
    options = {"store": str(tmp_path), "version": 1}
    config = LoadConfig(
        load_format=sglang_weights.PersistingLoader, model_loader_extra_config=json.dumps(options)
    )
    loader = loaders.get_model_loader(config)
    assert type(loader) is sglang_weights.PersistingLoader
    described = SimpleNamespace(dtype=torch.bfloat16, model_path="org/model", quantization=None)
    loader.download_model(described)
    model = loader.load_model(model_config=described, device_config=DeviceConfig("cpu"))
    assert same(model, weights(1))
    sglang_weights.apply(model, sglang_weights.request(str(tmp_path), "org/model", 2))
    assert same(model, weights(2))
