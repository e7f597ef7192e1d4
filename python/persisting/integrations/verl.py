"""The store of parameters between the trainer and the rollouts of verl.

The trainer's first rank saves a version at each update, and the rollouts load it::

    checkpoint_engine:
      backend: persisting
      custom_backend_module: persisting.integrations.verl
      engine_kwargs: {persisting: {store: /nvme/params, name: org/model}}

Every update is a version that stays, with ``global_steps`` in its metadata; the retention is the
user's.

References
----------
`CheckpointEngine` of ``verl/checkpoint_engine/base.py``, verl 0.9.1.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

from persisting._errors import ConflictError, NotFoundError
from persisting.integrations._weights import Source
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import torch

# How often a rollout looks whether the version is there: it reads one small file.
LOOK_SECONDS = 0.05


@CheckpointEngineRegistry.register("persisting")
class PersistingEngine(CheckpointEngine):
    """Sends weights by saving a version, and receives them by loading it.

    Parameters
    ----------
    bucket_size : int
        verl's; not used.
    store : str
        Directory of the store, which trainer and rollouts see.
    name : str
        Of the parameters.
    timeout : float, default 1800
        Seconds that a rollout waits for the trainer.
    is_master : bool
        verl's; not used.

    Notes
    -----
    The rank that saves holds the model on the CPU meanwhile: what verl yields may be overwritten.
    """

    wire_format = "named_tensors"

    def __init__(
        self,
        bucket_size: int,
        store: str,
        name: str,
        *,
        timeout: float = 1800.0,
        is_master: bool = False,
    ) -> None:
        self.source = Source({"store": store, "name": name}, name)
        self.timeout = timeout
        self.rank: int | None = None  # of the trainer; None for a rollout
        self.before = 0

    def prepare(self) -> dict[str, Any]:
        """Return the newest version, which the next one follows."""
        return {"before": self._latest()}

    def _latest(self) -> int:
        with ParameterStore(self.source.path) as store:
            try:
                return store.latest(self.source.name)
            except NotFoundError:
                return 0

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict[str, Any]]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Tell all workers the version before, and those of the trainer their ranks."""
        before = metadata[0]["before"]
        ranks: list[int | None] = [*range(actor_wg_world_size)]
        nobody: list[int | None] = [None] * rollout_world_size
        return (
            {"rank": ranks, "before": [before] * actor_wg_world_size},
            {"rank": nobody, "before": [before] * rollout_world_size},
        )

    def init_process_group(self, *, rank: int | None, before: int) -> None:
        """Take what `build_topology` has made for this worker."""
        self.rank = rank
        self.before = before

    def finalize(self) -> None:
        """Do nothing: no memory and no connection is kept."""

    async def send_weights(
        self, weights: Iterator[tuple[str, torch.Tensor]], global_steps: int | None = None
    ) -> None:
        """Save the weights as the next version; other ranks than the first only make them.

        Raises
        ------
        ConflictError
            Somebody else has saved a version meanwhile.
        """
        if self.rank != 0:
            for _ in weights:  # all ranks gather them together
                pass
            return
        held = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights}
        await asyncio.to_thread(self._save, held, global_steps)

    def _save(self, held: dict[str, torch.Tensor], global_steps: int | None) -> None:
        metadata = {} if global_steps is None else {"global_steps": global_steps}
        with ParameterStore(self.source.path) as store:
            found = store.save(self.source.name, held, metadata=metadata, expect=self.before)
        self.before = found.version

    async def receive_weights(
        self, global_steps: int | None = None
    ) -> AsyncIterator[tuple[str, torch.Tensor]]:
        """Wait for the version of this update and yield its tensors.

        Raises
        ------
        TimeoutError
            The trainer has not saved it in time.
        ConflictError
            The version that came is of another step.
        """
        until = time.monotonic() + self.timeout
        while (version := await asyncio.to_thread(self._latest)) <= self.before:
            if time.monotonic() > until:
                raise TimeoutError(
                    f"no version of {self.source.name!r} after {self.before} came within "
                    f"{self.timeout:g} s"
                )
            await asyncio.sleep(LOOK_SECONDS)
        with self.source.open(version) as weights:
            step = weights.metadata.get("global_steps")
            if global_steps is not None and step != global_steps:
                raise ConflictError(
                    f"version {version} of {self.source.name!r} is of step {step}, "
                    f"not {global_steps}"
                )
            for name, tensor in self.source.tensors(weights, weights.keys()):
                yield name, tensor
        self.before = version
