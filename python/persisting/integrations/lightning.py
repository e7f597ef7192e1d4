"""Checkpoints of Lightning in a store of parameters.

The tensors of a checkpoint become a version, so what did not change since any checkpoint is stored
once; at the path that Lightning chose stands a small file that says where they are::

    Trainer(plugins=[PersistingCheckpointIO("/nvme/params")])
    Trainer(plugins=[AsyncCheckpointIO(PersistingCheckpointIO("/nvme/params"))])

What is no tensor is written by `torch.save` beside them.

References
----------
`CheckpointIO` of ``lightning/fabric/plugins/io/checkpoint_io.py``, Lightning 2.6.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from persisting._errors import InvalidArgumentError
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from collections.abc import Callable

# The object of a version with all that is no tensor, and what stands there for one.
_REST = "lightning.rest"
_TENSOR = "\0persisting.tensor:"


class PersistingCheckpointIO(CheckpointIO):
    """Saves and loads checkpoints of Lightning.

    Parameters
    ----------
    store : str or path-like
        Directory of the store.
    prefix : str, default "lightning"
        What the names of the parameters begin with. The rest of a name is that of the checkpoint,
        and a digest of its path.

    Notes
    -----
    A save is durable when it returns. A checkpoint that replaces another at its path, and one that
    is removed, give their space back at once. The file at the path names the store's parameters,
    and can be moved; the store cannot, unless `store` is given anew.
    """

    def __init__(self, store: str | os.PathLike[str], *, prefix: str = "lightning") -> None:
        self.store = os.fspath(store)
        self.prefix = prefix

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,
    ) -> None:
        """Store a checkpoint, and the file that says where it is.

        Raises
        ------
        InvalidArgumentError
            There are `storage_options`, which have no meaning here.
        """
        if storage_options is not None:
            raise InvalidArgumentError(f"there are no storage_options: {storage_options!r}")
        tensors: dict[str, torch.Tensor] = {}
        rest = io.BytesIO()
        torch.save(_taken(checkpoint, "", tensors), rest)
        place = Path(path)
        name = self._name(place)
        with ParameterStore(self.store) as store:
            info = store.save(name, tensors, objects={_REST: rest.getvalue()})
            _write(place, {"parameters": name, "version": info.version})
            older = [one.version for one in store.versions(name) if one.version < info.version]
            if older:
                store.delete(name, older)
                store.gc()

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load a checkpoint; the parameters are those of `torch.load`.

        Raises
        ------
        FileNotFoundError
            There is nothing at the path.
        InvalidArgumentError
            What is there was not written by this class.
        """
        place = _read(Path(path))
        with (
            ParameterStore(self.store, read_only=True) as store,
            store.open(place["parameters"], place["version"]) as weights,
        ):
            tensors = weights.load(framework="torch")
            rest = torch.load(
                io.BytesIO(weights.read_object(_REST)),
                map_location=map_location,
                weights_only=weights_only,
            )
        moved = _mover(map_location)
        found: dict[str, Any] = _put(rest, {name: moved(t) for name, t in tensors.items()})
        return found

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Remove a checkpoint, if there is one at the path."""
        place = Path(path)
        if not place.exists():
            return
        name = _read(place)["parameters"]
        place.unlink()
        with ParameterStore(self.store) as store:
            if name in store.names():
                store.drop(name)
            store.gc()

    def _name(self, path: Path) -> str:
        """Return the name of the parameters for a path: that of a checkpoint that is there."""
        if path.is_file():
            found: str = _read(path)["parameters"]
            return found
        digest = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=8).hexdigest()
        return f"{self.prefix}/{path.name}-{digest}"


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a file durably, as a whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("w") as file:
        json.dump({"persisting": content}, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _read(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    try:
        found: dict[str, Any] = json.loads(content)["persisting"]
    except (ValueError, KeyError, TypeError):
        raise InvalidArgumentError(
            f"{path} is no checkpoint of a store of parameters: load it without this plugin"
        ) from None
    return found


def _plain(value: Any) -> bool:
    """Whether it is a tensor of which nothing but its values counts."""
    return (
        type(value) is torch.Tensor
        and value.layout is torch.strided
        and not (value.is_meta or value.is_quantized or value.requires_grad)
    )


def _taken(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a copy of dicts, lists and tuples, with a text in place of each tensor."""
    if _plain(value):
        key = path
        while key in tensors:  # 1 and "1" are two keys of a dict
            key += "'"
        tensors[key] = value
        return _TENSOR + key
    if isinstance(value, str) and value.startswith(_TENSOR):
        raise InvalidArgumentError(f"{path} is a text that stands for a tensor: {value!r}")
    if type(value) in (dict, OrderedDict):
        return type(value)((k, _taken(v, f"{path}.{k}", tensors)) for k, v in value.items())
    if type(value) in (list, tuple):
        return type(value)(_taken(v, f"{path}.{i}", tensors) for i, v in enumerate(value))
    return value


def _put(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return it with the tensors where they were."""
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value.removeprefix(_TENSOR)]
    if type(value) in (dict, OrderedDict):
        return type(value)((k, _put(v, tensors)) for k, v in value.items())
    if type(value) in (list, tuple):
        return type(value)(_put(v, tensors) for v in value)
    return value


def _mover(map_location: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what brings a tensor from the CPU to where `torch.load` would."""
    if map_location is None:
        return lambda tensor: tensor
    if isinstance(map_location, dict):
        return _mover(map_location.get("cpu"))
    if callable(map_location):

        def asked(tensor: torch.Tensor) -> torch.Tensor:
            storage = map_location(tensor.untyped_storage(), "cpu")
            return tensor if storage is None else tensor.to(storage.device)

        return asked
    return lambda tensor: tensor.to(map_location)
