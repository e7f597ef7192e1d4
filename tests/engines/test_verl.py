"""verl's checkpoint engine over a store of parameters, without verl's workers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import torch
from verl.checkpoint_engine.base import CheckpointEngineRegistry
from verl.utils.import_utils import import_external_libs

from persisting._errors import ConflictError
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def weights(step: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(step)
    return {f"layer.{i}": torch.randn(30, 40).bfloat16() for i in range(3)}


def sent(step: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors in memory that is used again, as verl does."""
    memory = torch.empty(30, 40, dtype=torch.bfloat16)
    for name, value in weights(step).items():
        yield name, memory.copy_(value)


async def received(engine: Any, step: int) -> dict[str, torch.Tensor]:
    return {name: value async for name, value in engine.receive_weights(global_steps=step)}


def engines(path: Path, count: int, **more: Any) -> list[Any]:
    import_external_libs("persisting.integrations.verl")
    options = {"store": str(path), "name": "org/model"} | more
    return [
        CheckpointEngineRegistry.new("persisting", bucket_size=1 << 20, **options)
        for _ in range(count)
    ]


def connect(actors: list[Any], rollouts: list[Any]) -> None:
    """Do what verl's manager does before each update."""
    told = [engine.prepare() for engine in actors + rollouts]
    groups = type(actors[0]).build_topology(len(actors), len(rollouts), told)
    for members, arguments in zip((actors, rollouts), groups, strict=True):
        assert all(len(values) == len(members) for values in arguments.values())
        for i, engine in enumerate(members):
            engine.init_process_group(**{name: values[i] for name, values in arguments.items()})


def test_updates_of_several_steps(tmp_path: Path) -> None:
    actors, rollouts = engines(tmp_path, 2), engines(tmp_path, 3)

    async def update(step: int) -> list[Any]:
        sending = [actor.send_weights(sent(step), global_steps=step) for actor in actors]
        found: list[Any] = await asyncio.gather(*(received(r, step) for r in rollouts), *sending)
        return found

    for step in (10, 11, 12):
        connect(actors, rollouts)
        found = asyncio.run(update(step))
        for got in found[: len(rollouts)]:
            assert [*got] == [*weights(step)]
            assert all(torch.equal(got[name], value) for name, value in weights(step).items())
        for engine in actors + rollouts:
            engine.finalize()
    with ParameterStore(tmp_path) as store:
        assert [v.metadata for v in store.versions("org/model")] == [
            {"global_steps": step} for step in (10, 11, 12)
        ]


def test_what_does_not_fit(tmp_path: Path) -> None:
    (actor,), (rollout,) = engines(tmp_path, 1), engines(tmp_path, 1, timeout=0.1)
    connect([actor], [rollout])
    with pytest.raises(TimeoutError, match=r"after 0 came within 0\.1 s"):
        asyncio.run(received(rollout, 1))
    asyncio.run(actor.send_weights(sent(1), global_steps=1))
    with pytest.raises(ConflictError, match="is of step 1, not 2"):
        asyncio.run(received(rollout, 2))
    (other,) = engines(tmp_path, 1)
    connect([actor], [])
    connect([other], [])
    asyncio.run(actor.send_weights(sent(2)))
    with pytest.raises(ConflictError, match="newest version"):
        asyncio.run(other.send_weights(sent(3)))
