"""What the loaders of inference engines have in common: names and tensors of a version, in order.

An engine copies each tensor into its own memory at once, so what is read is let go again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from persisting.params import Weights

# What is read in one go: enough to have the disk at work on all sides, little beside a model.
BATCH_BYTES = 512 << 20

_OPTIONS = ("store", "name", "version", "verify")


class Source:
    """Where an engine finds its weights.

    Parameters
    ----------
    options
        From the engine's configuration: ``store``, a directory; ``name`` of the parameters, by
        default that of the model; ``version``, a number or a tag, by default ``"latest"``;
        ``verify``, by default true.
    model
        What the engine calls the model.

    Raises
    ------
    InvalidArgumentError
        There is no ``store``, or something else.
    """

    def __init__(self, options: Mapping[str, Any], model: str) -> None:
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown or not options.get("store"):
            what = f"unknown: {', '.join(unknown)}" if unknown else "there is no store"
            raise InvalidArgumentError(
                f"the options of the loader are {', '.join(_OPTIONS)}, of which store, "
                f"the directory of the parameters, must be given; {what}"
            )
        self.path: str = options["store"]
        self.name: str = options.get("name", model)
        self.version: int | str = options.get("version", "latest")
        self.verify: bool = options.get("verify", True)

    def open(self, version: int | str | None = None) -> Weights:
        """Open the version, or another."""
        with ParameterStore(self.path, read_only=True) as store:
            return store.open(self.name, self.version if version is None else version)

    def tensors(self, weights: Weights, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Yield names and tensors of torch, read a batch at a time."""
        for batch in _batches(weights, names):
            yield from weights.load(keys=batch, framework="torch", verify=self.verify).items()


def _batches(weights: Weights, names: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in names:
        nbytes = weights.tensors[name].nbytes
        if batch and size + nbytes > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += nbytes
    if batch:
        yield batch
