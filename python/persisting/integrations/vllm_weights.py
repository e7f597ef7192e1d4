r"""Weights of vLLM from a store of parameters: a loader, and an engine that follows a trainer.

The loader reads the weights of a model when vLLM starts::

    vllm serve ./config --load-format persisting \
        --model-loader-extra-config '{"store": "/nvme/params", "name": "org/model"}'

``./config`` has the files beside the weights (``config.json``, tokenizer). The engine has a server
that runs load what a newer version changed::

    vllm serve ... --weight-transfer-config '{"backend": "persisting"}'

after which its routes take ``{"store": ..., "name": ...}`` to begin, and ``{"version": 7}`` to
update; with ``"sparse": true`` among the first only the values that changed are written. Where
this package is installed, vLLM finds both by the name ``persisting``.

References
----------
`BaseModelLoader` of ``vllm/model_executor/model_loader/base_loader.py`` and `WeightTransferEngine`
of ``vllm/distributed/weight_transfer/base.py``, vLLM 0.32 and 0.33.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
    layerwise_groups,
)
from vllm.model_executor.model_loader.base_loader import BaseModelLoader
from vllm.model_executor.model_loader.checkpoint_weight_patch import (
    CheckpointWeightPatch,
    load_checkpoint_weight_patches,
)
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

    from persisting.params import Patch, Weights

# Of which vLLM takes the positions and values that changed.
_PATCHED = (torch.bfloat16, torch.float16, torch.float32, torch.float64)


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
    sparse : bool
        Whether an update writes the values that changed to where they are. It needs a `version`,
        and a model whose loader copies them as they are: of floats that are not quantized.
    """

    store: str
    name: str
    version: int | str | None = None
    verify: bool = True
    sparse: bool = False


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
    can only replace a layer as a whole. A sparse one finds what changed by reading both versions,
    a tensor at a time, and writes nothing else. The version that is loaded stays open until the
    next.
    """

    init_info_cls = StoreInfo
    update_info_cls = UpdateInfo

    _source: Source | None = None
    _loaded: Weights | None = None
    _sparse: bool = False

    def init_transfer_engine(self, init_info: StoreInfo) -> None:
        """Open the store."""
        if init_info.sparse and init_info.version is None:
            raise InvalidArgumentError(
                "sparse updates are told from the version that is loaded: version must be given"
            )
        self.shutdown()
        self._sparse = init_info.sparse
        self._source = Source(
            {"store": init_info.store, "name": init_info.name, "verify": init_info.verify}, ""
        )
        if init_info.version is not None:
            self._loaded = self._source.open(init_info.version)

    def start_weight_update(self) -> None:
        """Have the model take weights as they are in a checkpoint; a sparse update leaves it so."""
        if not self._sparse:
            initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: UpdateInfo) -> None:
        """Load the layers, or write the values, that a version changed."""
        if self._source is None:
            raise InvalidArgumentError("the weight transfer was not initialized with a store")
        if self._sparse and self._loaded is None:
            raise InvalidArgumentError(
                "an update failed, so the model may be of two versions: begin again without sparse"
            )
        before, weights = self._loaded, self._source.open(update_info.version)
        self._loaded = None  # until all is in place
        try:
            if before is not None and self._sparse:
                _patch(self.model, before, weights)
            else:
                names = weights.keys() if before is None else _changed_layers(before, weights)
                self.model.load_weights(self._source.tensors(weights, names))
            self._loaded = weights
        finally:
            for done in (before, weights):
                if done is not None and done is not self._loaded:
                    done.close()

    def finish_weight_update(self) -> None:
        """Bring the new weights into the form that the model runs with."""
        if not self._sparse:
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


def _patch(model: nn.Module, before: Weights, after: Weights) -> None:
    """Make the weights of a version, which a model has, those of another one, in place."""
    for patch in after.patches(before, framework="torch"):
        load_checkpoint_weight_patches(
            model, [_as_vllm_takes_it(patch, after)], validate_unique_indices=False
        )


def _as_vllm_takes_it(patch: Patch, after: Weights) -> CheckpointWeightPatch:
    """Return a patch with positions, or all of a tensor: a NaN stands for what did not change."""
    indices, values = patch.indices, patch.values
    if indices is not None and (values.dtype not in _PATCHED or bool(values.isnan().any())):
        whole = after.load(keys=[patch.name], framework="torch")[patch.name]
        indices, values = None, whole.reshape(-1)
    return CheckpointWeightPatch(patch.name, patch.shape, values.dtype, values, indices)
