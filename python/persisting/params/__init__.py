"""Versions of model weights: stored once what is the same, loaded at the speed of the disk.

A trainer saves a version after each step, servers load it by its number, by a tag, or as the
latest; all of them use one directory at the same time.
"""

from persisting.params._boxes import Box
from persisting.params._infos import TensorInfo
from persisting.params._patches import Patch
from persisting.params._store import Diff, ParameterStore, VersionInfo, compare
from persisting.params._view import TensorView
from persisting.params._weights import Pulled, Weights

__all__ = [
    "Box",
    "Diff",
    "ParameterStore",
    "Patch",
    "Pulled",
    "TensorInfo",
    "TensorView",
    "VersionInfo",
    "Weights",
    "compare",
]
