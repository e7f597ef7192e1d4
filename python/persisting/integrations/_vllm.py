"""What vLLM runs when it starts: it is told of the tier, which is imported when it is used."""

from __future__ import annotations

import logging


def register() -> None:
    """Give the tier the short name ``persisting``; a vLLM without tiers stays as it is."""
    try:
        from vllm.v1.kv_offload.tiering.factory import SecondaryTierFactory
    except ImportError as reason:
        logging.getLogger("persisting.integrations").info("vLLM has no secondary tiers: %s", reason)
        return
    try:
        SecondaryTierFactory.register_tier(
            "persisting", "persisting.integrations.vllm", "PersistingTier"
        )
    except ValueError:  # vLLM loads its plugins in a process more than once
        return
