"""What vLLM runs when it starts: it is told of what there is, which is imported when it is used."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def register() -> None:
    """Give the plugs the short name ``persisting``; a vLLM without one of them stays as it is."""
    for add in (_tier, _loader, _transfer):
        _try(add)


def _try(add: Callable[[], Any]) -> None:
    try:
        add()
    except ImportError as reason:
        logging.getLogger("persisting.integrations").info("this vLLM has no %s", reason)
    except ValueError:  # vLLM loads its plugins in a process more than once
        return


def _tier() -> None:
    from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory

    SecondaryTierFactory.register_tier(
        "persisting", "persisting.integrations.vllm", "PersistingTier"
    )


@functools.cache  # vLLM warns when a loader is registered again
def _loader() -> None:
    from vllm.model_executor.model_loader import register_model_loader

    from persisting.integrations.vllm_weights import PersistingLoader

    register_model_loader("persisting")(PersistingLoader)


def _transfer() -> None:
    from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

    WeightTransferEngineFactory.register_engine(
        "persisting", "persisting.integrations.vllm_weights", "PersistingTransfer"
    )
