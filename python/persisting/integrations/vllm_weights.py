r"""Weights of vLLM from a store of parameters: a loader, and an engine that follows a trainer.

The loader reads the weights of a model when vLLM starts::

    vllm serve ./config --load-format persisting \
        --model-loader-extra-config '{"store": "/nvme/params", "name": "org/model"}'

``./config`` has the files beside the weights (``config.json``, tokenizer). The engine has a server
that runs load what a newer version changed::

    vllm serve ... --weight-transfer-config '{"backend": "persisting"}'

after which its routes take ``{"store": ..., "name": ...}`` to begin, and ``{"version": 7}`` to
update. Where this package is installed, vLLM finds both by the name ``persisting``.

References
----------
`BaseModelLoader` of ``vllm/model_executor/model_loader/base_loader.py`` and `WeightTransferEngine`
of ``vllm/distributed/weight_transfer/base.py``, vLLM 0.32 and 0.33.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
    layerwise_groups,
)
from vllm.model_executor.model_loader.base_loader import BaseModelLoader
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)

from persisting._errors import InvalidArgumentError
from persisting.integrations._weights import Source
from persisting.params import compare

if TYPE_CHECKING:
    from torch import nn
    from vllm.config import ModelConfig

    from persisting.params import Weights


class PersistingLoader(BaseModelLoader):
    """Loads a model from a version of parameters, whose tensors have the names of a checkpoint.

    Its options are ``store``, ``name``, ``version`` and ``verify``; the name is by default that of
    the model.
    """

    def download_model(self, model_config: ModelConfig) -> None:
        """Do nothing: the weights are on a disk."""

    def load_weights(self, model: nn.Module, model_config: ModelConfig) -> None:
        """Read all tensors and hand them to the model."""
        source = Source(self.load_config.model_loader_extra_config or {}, model_config.model)
        with source.open() as weights:
            model.load_weights(source.tensors(weights, weights.keys()))


@dataclass
class StoreInfo(WeightTransferInitInfo):
    """Where the weights are.

    Attributes
    ----------
    store : str
        Directory of the store.
    name : str
        Of the parameters.
    version : int or str, optional
        What the server has loaded already; with it the first update reads only what changed.
    verify : bool
        Whether every byte is checked.
    """

    store: str
    name: str
    version: int | str | None = None
    verify: bool = True


@dataclass
class UpdateInfo(WeightTransferUpdateInfo):
    """What an update loads.

    Attributes
    ----------
    version : int or str
        A number, a tag, or ``"latest"``. All ranks of a server must load the same, so a number is
        what to send.
    """

    version: int | str = "latest"


class PersistingTransfer(WeightTransferEngine):
    """Updates the weights of a server that runs, from versions of a store.

    An update reads the layers of which a tensor is not the same as in the version before: vLLM
    can only replace a layer as a whole. The version that is loaded stays open until the next.
    """

    init_info_cls = StoreInfo
    update_info_cls = UpdateInfo

    _source: Source | None = None
    _loaded: Weights | None = None

    def init_transfer_engine(self, init_info: StoreInfo) -> None:
        """Open the store."""
        self.shutdown()
        self._source = Source(
            {"store": init_info.store, "name": init_info.name, "verify": init_info.verify}, ""
        )
        if init_info.version is not None:
            self._loaded = self._source.open(init_info.version)

    def start_weight_update(self) -> None:
        """Have the model take weights as they are in a checkpoint."""
        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """Load the layers that a version changed."""
        if self._source is None:
            raise InvalidArgumentError("the weight transfer was not initialized with a store")
        before, weights = self._loaded, self._source.open(update_info.version)
        self._loaded = None  # until all is in place
        try:
            names = weights.keys() if before is None else _changed_layers(before, weights)
            self.model.load_weights(self._source.tensors(weights, names))
            self._loaded = weights
        finally:
            for done in (before, weights):
                if done is not None and done is not self._loaded:
                    done.close()

    def finish_weight_update(self) -> None:
        """Bring the new weights into the form that the model runs with."""
        finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Let the version go."""
        loaded, self._loaded, self._source = self._loaded, None, None
        if loaded is not None:
            loaded.close()


def _changed_layers(before: Weights, after: Weights) -> list[str]:
    """Return the tensors of all layers of which one is new or not the same."""
    found = compare(before, after)
    changed = {*found.added, *found.changed}
    groups = layerwise_groups(after.keys())
    return [name for group in groups if not changed.isdisjoint(group) for name in group]
