"""Weights of SGLang from a store of parameters.

SGLang takes the class of a loader in place of the name of a format::

    Engine(model_path="./config", load_format=PersistingLoader,
           model_loader_extra_config='{"store": "/nvme/params", "name": "org/model"}')

``./config`` has the files beside the weights (``config.json``, tokenizer). A server that runs takes
new weights with `apply`, by the name of the function::

    sglang.launch_server ... --custom-weight-loader persisting.integrations.sglang_weights.apply
    engine.update_weights_from_tensor(
        request("/nvme/params", "org/model", 7),
        load_format="persisting.integrations.sglang_weights.apply")

References
----------
`BaseModelLoader` of ``sglang/srt/model_loader/loader.py``, SGLang 0.5.23.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch
from sglang.srt.model_loader.loader import BaseModelLoader, DefaultModelLoader

from persisting.integrations._weights import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sglang.srt.configs.load_config import LoadConfig
    from sglang.srt.configs.model_config import ModelConfig
    from torch import nn

_REQUEST = "persisting.request"


class PersistingLoader(DefaultModelLoader):
    """Loads a model from a version of parameters, whose tensors have the names of a checkpoint.

    Its options are ``store``, ``name``, ``version`` and ``verify``; the name is by default the path
    of the model.
    """

    def __init__(self, load_config: LoadConfig) -> None:
        # Not that of the class between, which knows the options of files alone.
        BaseModelLoader.__init__(self, load_config)
        self._options = load_config.model_loader_extra_config or {}

    def download_model(self, model_config: ModelConfig) -> None:
        """Do nothing: the weights are on a disk."""

    def _get_all_weights(
        self, model_config: ModelConfig, model: nn.Module
    ) -> Iterator[tuple[str, torch.Tensor]]:
        source = Source(self._options, model_config.model_path)
        with source.open() as weights:
            yield from source.tensors(weights, weights.keys())


def request(store: str, name: str, version: int | str) -> list[tuple[str, torch.Tensor]]:
    """Return what `apply` is to be told, as the tensors that SGLang sends to each of its workers.

    Parameters
    ----------
    store : str
        Directory of the store, which all workers see.
    name : str
        Of the parameters.
    version : int or str
        A number, or a tag that does not move meanwhile.
    """
    text = json.dumps({"store": store, "name": name, "version": version}).encode()
    return [(_REQUEST, torch.frombuffer(bytearray(text), dtype=torch.uint8))]


def apply(model: nn.Module, named_tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Load the version that `request` has named into a model of a worker."""
    told: dict[str, Any] = {}
    for name, tensor in named_tensors:
        if name == _REQUEST:
            told = json.loads(bytes(tensor.cpu().numpy()))
    source = Source(told, "")
    with source.open() as weights:
        model.load_weights(source.tensors(weights, weights.keys()))
