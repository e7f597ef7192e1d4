"""Files that a version has beside its tensors, under names that no tensor may have.

They come from a directory that was imported: all of a file, or of a file of safetensors what stands
before its tensors, from which it can be written again as it was. Or they are objects, plain bytes
that were saved together with the tensors.
"""

from __future__ import annotations

_FILE = "\0file:"
_HEAD = "\0head:"
_OBJECT = "\0object:"

DTYPE = "FILE"


def may_be_reserved(name: str) -> bool:
    """Whether a name begins as those that no tensor may have, which hardly any does."""
    return name.startswith("\0")


def of_file(path: str) -> str:
    """Return the name for a file, by its path in the directory."""
    return _FILE + path


def of_head(path: str) -> str:
    """Return the name for the beginning of a file of safetensors."""
    return _HEAD + path


def is_file(name: str) -> bool:
    """Whether a name is that of a file, or of a beginning."""
    return name.startswith((_FILE, _HEAD))


def head_path(name: str) -> str | None:
    """Return the path of the file of safetensors whose beginning this is; None for another."""
    return name.removeprefix(_HEAD) if name.startswith(_HEAD) else None


def file_path(name: str) -> str | None:
    """Return the path of the file that this is; None for a beginning."""
    return name.removeprefix(_FILE) if name.startswith(_FILE) else None


def of_object(name: str) -> str:
    """Return the name under which an object is stored."""
    return _OBJECT + name


def object_name(name: str) -> str | None:
    """Return the name of the object that this is; None for another."""
    return name.removeprefix(_OBJECT) if name.startswith(_OBJECT) else None
