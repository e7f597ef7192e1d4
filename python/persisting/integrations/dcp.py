"""Checkpoints of torch.distributed in a store of parameters.

Each rank writes the shards that it has, and the version appears when all have::

    dcp.save(state_dict, storage_writer=StoreWriter("/nvme/params", "org/model"))
    dcp.load(state_dict, storage_reader=StoreReader("/nvme/params", "org/model"))

Any number of ranks loads it, sharded in any way, and so does `ParameterStore.load`, which has the
tensors by their fully qualified names. What `ParameterStore.save` has stored can be loaded too.
Nothing of the store is unpickled; objects that are no tensors are written by `torch.save` and read
by torch's planner, which unpickles them.

References
----------
`StorageWriter` and `StorageReader` of ``torch/distributed/checkpoint/storage.py``, torch 2.13.
"""

from __future__ import annotations

import dataclasses
import io
import json
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadItemType, WriteItemType
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter, WriteResult
from torch.futures import Future

from persisting._errors import InvalidArgumentError
from persisting.params import Box, ParameterStore
from persisting.params._dtypes import torch_dtype

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from torch.distributed.checkpoint.planner import (
        LoadPlan,
        LoadPlanner,
        ReadItem,
        SavePlan,
        SavePlanner,
        WriteItem,
    )

    from persisting.params import Weights

# Objects of a version: what torch.save has written of what is no tensor, and the planner's paths.
_SAVED = "dcp.saved:"
_PATHS = "dcp.paths"


@dataclasses.dataclass(frozen=True)
class _Part:
    """What the coordinator tells a rank."""

    transaction: str
    rank: int


class StoreWriter(StorageWriter):
    """Writes checkpoints as versions of parameters.

    Parameters
    ----------
    path : str or path-like
        Directory of the store, which all ranks see.
    name : str
        Of the parameters. A `checkpoint_id` that is given to `dcp.save` is used instead of it.
    tags : iterable of str
        Tags that name the version from its first moment on.
    metadata : mapping, optional
        Kept as JSON.

    Attributes
    ----------
    version : int or None
        What the last save has become, on the rank that coordinates it.

    Notes
    -----
    It can be pickled between saves, as `dcp.async_save` in a process of its own does. A save that
    fails leaves nothing that can be seen; what it wrote goes with the next save, or with `gc`. It
    needs all ranks to be coordinated (`use_collectives`), and planners without a cache of plans.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        tags: Iterable[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.path = path
        self.name = name
        self.tags = tuple(tags)
        self.metadata = None if metadata is None else dict(metadata)
        self.version: int | None = None
        self._store: ParameterStore | None = None
        self._begun: tuple[str, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is open."""
        return self.__dict__ | {"_store": None, "_begun": None}

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Take another name."""
        if checkpoint_id is not None:
            self.name = str(checkpoint_id)

    def _close(self) -> None:
        store, begun, self._store, self._begun = self._store, self._begun, None, None
        if store is None:
            return
        with store:
            if begun is not None:
                store.abort(begun[0])

    def _open(self) -> ParameterStore:
        if self._store is None:
            self._store = ParameterStore(self.path)
        return self._store

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Begin a save; one that has not ended is given up."""
        self.version = None
        self._close()
        if kwargs.get("use_collectives") is False:
            raise InvalidArgumentError(
                "use_collectives is False: the ranks of a version have to be coordinated"
            )

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Begin a transaction and tell all ranks of it; the coordinator does this."""
        if not all(plan.usable for plan in plans):
            raise InvalidArgumentError(
                "the planner caches plans, which do not bring the transaction to the ranks: "
                "want enable_plan_caching=False"
            )
        # One more part is the coordinator's own.
        transaction = self._open().begin(self.name, len(plans) + 1)
        self._begun = (transaction, len(plans))
        return [
            dataclasses.replace(plan, storage_data=_Part(transaction, rank))
            for rank, plan in enumerate(plans)
        ]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write the part of this rank."""
        part: _Part = plan.storage_data
        pieces: dict[str, list[Box]] = {}
        objects: dict[str, bytes] = {}
        results = []
        for item in plan.items:
            value = planner.resolve_data(item)
            if item.type == WriteItemType.BYTE_IO:
                data = value.getvalue()
                objects[_SAVED + item.index.fqn] = data
                results.append(WriteResult(item.index, len(data), None))
            else:
                tensor = value.detach()
                pieces.setdefault(item.index.fqn, []).append(_box(item, tensor))
                results.append(WriteResult(item.index, tensor.nbytes, None))
        self._open().part(part.transaction, part.rank, pieces, objects=objects)
        if self._begun is None:  # the coordinator's stays open, as the transaction ends with it
            self._close()
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Publish the version; the coordinator does this when all ranks have written."""
        if self._begun is None:
            raise InvalidArgumentError("there is no save to finish on this rank")
        transaction, rank = self._begun
        store = self._open()
        store.part(transaction, rank, {}, objects={_PATHS: _encoded(metadata.planner_data)})
        self.version = store.commit(transaction, tags=self.tags, metadata=self.metadata).version
        self._begun = None
        self._close()

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Whether it may be the name of parameters."""
        return bool(str(checkpoint_id))


def _box(item: WriteItem, tensor: torch.Tensor) -> Box:
    """Return a shard as a box of its tensor."""
    found = item.tensor_data
    return Box(tensor, tuple(found.size), tuple(found.chunk.offsets))


def _encoded(planner_data: Any) -> bytes:
    """Return the paths in a state dict that its flat names stand for, as JSON."""
    paths = planner_data or {}
    plain = isinstance(paths, dict) and all(
        isinstance(name, str) and all(type(key) in (str, int) for key in path)
        for name, path in paths.items()
    )
    if not plain:
        raise InvalidArgumentError(
            "the planner's data is not the paths of a flat state dict, and cannot be stored "
            "without pickle"
        )
    return json.dumps({name: [*path] for name, path in paths.items()}).encode()


class StoreReader(StorageReader):
    """Reads checkpoints from versions of parameters, into tensors that are sharded in any way.

    Parameters
    ----------
    path : str or path-like
        Directory of the store, which all ranks see.
    name : str
        Of the parameters. A `checkpoint_id` that is given to `dcp.load` is used instead of it.
    version : int or str, default "latest"
        A number or a tag. All ranks load the version that the coordinator finds.
    verify : bool, default True
        Check every byte.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        *,
        version: int | str = "latest",
        verify: bool = True,
    ) -> None:
        super().__init__()
        self.path = path
        self.name = name
        self.version = version
        self.verify = verify
        self._weights: Weights | None = None

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Take another name."""
        if checkpoint_id is not None:
            self.name = str(checkpoint_id)

    def _close(self) -> None:
        weights, self._weights = self._weights, None
        if weights is not None:
            weights.close()

    def _open(self, version: int | str) -> Weights:
        if self._weights is None or version not in (self.version, self._weights.version):
            self._close()
            with ParameterStore(self.path, read_only=True) as store:
                self._weights = store.open(self.name, version)
        return self._weights

    def read_metadata(self) -> Metadata:
        """Begin a load, and return what the version has; no tensor is read."""
        self._close()  # of a load that has not ended
        weights = self._open(self.version)
        state: dict[str, Any] = {
            name.removeprefix(_SAVED): BytesStorageMetadata()
            for name in weights.objects
            if name.startswith(_SAVED)
        }
        for name, info in weights.tensors.items():
            chunks = [
                ChunkStorageMetadata(*(torch.Size(_in_torch(info.dtype, part)) for part in box))
                for box in weights.boxes(name)
            ]
            size = torch.Size(_in_torch(info.dtype, info.shape))
            properties = TensorProperties(dtype=torch_dtype(info.dtype))
            state[name] = TensorStorageMetadata(properties, size, chunks)
        paths = json.loads(weights.read_object(_PATHS)) if _PATHS in weights.objects else {}
        return Metadata(state, planner_data={name: tuple(path) for name, path in paths.items()})

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool) -> None:
        """Do nothing: the version is open."""

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        """Leave the plan as it is."""
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        """Tell all ranks the version that the coordinator has open."""
        version = self._open(self.version).version
        return [dataclasses.replace(plan, storage_data=version) for plan in plans]

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Read what this rank wants: straight into its tensors where they are contiguous."""
        weights = self._open(plan.storage_data)
        waiting: list[ReadItem] = []
        for item in plan.items:
            if item.type == LoadItemType.BYTE_IO:
                data = weights.read_object(_SAVED + item.storage_index.fqn)
                planner.load_bytes(item, io.BytesIO(data))
            else:
                waiting.append(item)
        while waiting:
            # Of each tensor one box at a time, those of all tensors together.
            now = {item.storage_index.fqn: item for item in reversed(waiting)}
            waiting = [item for item in waiting if now[item.storage_index.fqn] is not item]
            self._read(weights, now, planner)
        self._close()
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def _read(self, weights: Weights, items: dict[str, ReadItem], planner: LoadPlanner) -> None:
        targets, out, slices = {}, {}, {}
        for name, item in items.items():
            targets[name] = target = planner.resolve_tensor(item).detach()
            straight = target.device.type == "cpu" and target.is_contiguous()
            out[name] = target if straight else _empty(target)
            if item.lengths:
                slices[name] = _slices(weights.tensors[name].dtype, item)
        weights.load(out=out, slices=slices, verify=self.verify)
        for name, item in items.items():
            if out[name] is not targets[name]:
                targets[name].copy_(out[name])
            planner.commit_tensor(item, targets[name])

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Whether it may be the name of parameters."""
        return bool(str(checkpoint_id))


def _empty(target: torch.Tensor) -> torch.Tensor:
    """Return memory for what goes to a device, or to places that are not side by side."""
    return torch.empty(target.shape, dtype=target.dtype)


def _in_torch(dtype: str, numbers: Sequence[int]) -> tuple[int, ...]:
    """Return dimensions as torch counts them: two values of F4 are one."""
    sizes = tuple(numbers)
    return (*sizes[:-1], sizes[-1] // 2) if dtype == "F4" and sizes else sizes


def _slices(dtype: str, item: ReadItem) -> tuple[slice, ...]:
    """Return the box of the tensor that is wanted."""
    chunk = item.storage_index.offset or (0,) * len(item.lengths)
    begins = [a + b for a, b in zip(chunk, item.storage_offsets, strict=True)]
    ends = [a + b for a, b in zip(begins, item.lengths, strict=True)]
    if dtype == "F4" and begins:
        begins[-1], ends[-1] = 2 * begins[-1], 2 * ends[-1]
    return tuple(slice(a, b) for a, b in zip(begins, ends, strict=True))
