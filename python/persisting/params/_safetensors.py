"""Files of safetensors, and directories of them as Hugging Face has them, in and out.

References
----------
The format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from persisting._errors import CorruptError, InvalidArgumentError
from persisting.params import _files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from persisting.params._store import VersionInfo
    from persisting.params._weights import Weights

# The order in which safetensors writes: the last of these first, then by name.
_ORDER = [
    "BOOL",
    "F4",
    "F6_E2M3",
    "F6_E3M2",
    "U8",
    "I8",
    "F8_E5M2",
    "F8_E4M3",
    "F8_E8M0",
    "F8_E4M3FNUZ",
    "F8_E5M2FNUZ",
    "I16",
    "U16",
    "F16",
    "BF16",
    "I32",
    "U32",
    "F32",
    "C64",
    "F64",
    "I64",
    "U64",
]
_BITS = {"BOOL": 8, "F4": 4, "BF16": 16, "C64": 64} | {
    name: 8 if name.startswith("F8") else 6 if name.startswith("F6") else int(name[1:])
    for name in _ORDER
    if name not in ("BOOL", "F4", "BF16", "C64")
}

_LENGTH = 8
_MOST = 100_000_000  # bytes of a header
_METADATA = "__metadata__"
_CHUNK = 64 << 20


class Entry(NamedTuple):
    """A tensor in a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int  # in the data
    end: int


class File(NamedTuple):
    """What stands before the tensors of a file."""

    head: bytes  # with its length
    entries: tuple[Entry, ...]  # as they lie
    metadata: dict[str, str]


# ---- reading ----


def _read_file(path: Path) -> tuple[File, Any]:
    """Return the header of a file, and all of it as bytes that are read when they are needed.

    Raises
    ------
    CorruptError
        It is no file of safetensors.
    """
    import numpy as np

    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH), "little")
        if size < _LENGTH or length > min(_MOST, size - _LENGTH):
            raise CorruptError(f"{path} is no file of safetensors: it says of itself {length}")
        text = file.read(length)
    head = length.to_bytes(_LENGTH, "little") + text
    found = _parse(path, head, size - len(head))
    return found, np.memmap(path, np.uint8, "r")


def _parse(path: Path | str, head: bytes, data_bytes: int) -> File:
    try:
        fields = json.loads(head[_LENGTH:])
        metadata = fields.pop(_METADATA, None) or {}
        entries = [
            Entry(name, field["dtype"], tuple(field["shape"]), *field["data_offsets"])
            for name, field in fields.items()
        ]
        entries.sort(key=lambda entry: (entry.begin, entry.end))
    except (ValueError, KeyError, TypeError, AttributeError) as reason:
        raise CorruptError(f"{path} is no file of safetensors: {reason!r}") from None
    at = 0
    for entry in entries:
        if entry.begin != at or entry.end < at:
            raise CorruptError(f"{path}: tensor {entry.name!r} begins at {entry.begin}, want {at}")
        at = entry.end
    if at != data_bytes:
        raise CorruptError(f"{path}: its tensors have {at} bytes, the file has {data_bytes}")
    return File(head, tuple(entries), metadata)


class _Import:
    """What is read of some files."""

    def __init__(self) -> None:
        self.tensors: dict[str, Any] = {}
        self.typed: dict[str, tuple[str, tuple[int, ...]]] = {}
        self.metadata: dict[str, str] = {}

    def add_tensors(self, path: Path, known_as: str) -> None:
        """Add the tensors of a file, and what it takes to write it again."""
        found, data = _read_file(path)
        for entry in found.entries:
            if entry.name in self.tensors or _files.is_file(entry.name):
                raise InvalidArgumentError(
                    f"{path}: another file has a tensor {entry.name!r} as well"
                )
            begin, end = (len(found.head) + offset for offset in (entry.begin, entry.end))
            self.tensors[entry.name] = data[begin:end]
            self.typed[entry.name] = (entry.dtype, entry.shape)
        self._add_bytes(_files.of_head(known_as), found.head)
        self.metadata = {**found.metadata, **self.metadata}

    def add_file(self, path: Path, known_as: str) -> None:
        """Add any other file."""
        self._add_bytes(_files.of_file(known_as), path.read_bytes())

    def _add_bytes(self, name: str, content: bytes) -> None:
        self.tensors[name] = content
        self.typed[name] = (_files.DTYPE, (len(content),))

    def save(self, save: Callable[..., VersionInfo], name: str, tags: Iterable[str]) -> VersionInfo:
        """Save all as a version."""
        return save(name, self.tensors, typed=self.typed, tags=tags, metadata=self.metadata)


def import_file(
    save: Callable[..., VersionInfo],
    name: str,
    path: str | os.PathLike[str],
    tags: Iterable[str],
) -> VersionInfo:
    """Save a file as a version."""
    found = _Import()
    found.add_tensors(Path(path), Path(path).name)
    return found.save(save, name, tags)


def import_directory(
    save: Callable[..., VersionInfo],
    name: str,
    directory: str | os.PathLike[str],
    tags: Iterable[str],
) -> VersionInfo:
    """Save a directory as a version."""
    found, root = _Import(), Path(directory)
    if not root.is_dir():
        raise InvalidArgumentError(f"{root} is no directory")
    for path in _visible(root):
        known_as = path.relative_to(root).as_posix()
        if path.suffix == ".safetensors":
            found.add_tensors(path, known_as)
        else:
            found.add_file(path, known_as)
    return found.save(save, name, tags)


def _visible(root: Path) -> Iterator[Path]:
    """Yield the files below a directory, in order, without those whose name begins with a dot."""
    for path in sorted(root.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _visible(path)
        else:
            yield path


# ---- writing ----


def _canonical(weights: Weights) -> File:
    """Return the header that safetensors itself would write."""
    for name, info in weights.tensors.items():
        if info.dtype not in _BITS:
            raise InvalidArgumentError(f"tensor {name!r}: safetensors has no dtype {info.dtype}")
        if name == _METADATA:
            raise InvalidArgumentError(f"safetensors can have no tensor named {name}")
    infos = sorted(
        weights.tensors.items(), key=lambda item: (-_ORDER.index(item[1].dtype), item[0].encode())
    )
    texts = {k: v for k, v in weights.metadata.items() if isinstance(v, str)}
    fields: dict[str, Any] = {_METADATA: dict(sorted(texts.items()))} if texts else {}
    at = 0
    for name, info in infos:
        end = at + info.nbytes
        offsets = [at, end]
        fields[name] = {"dtype": info.dtype, "shape": info.shape, "data_offsets": offsets}
        at = end
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MOST:
        raise InvalidArgumentError(
            f"the header would have {len(text)} bytes, and safetensors reads {_MOST} at most"
        )
    return _parse(weights.name, len(text).to_bytes(_LENGTH, "little") + text, at)


def _heads(weights: Weights) -> dict[str, File]:
    """Return the files of safetensors that the version came from."""
    found = {}
    for name, info in weights._files.items():
        path = _files.head_path(name)
        if path is not None:
            head = _file_bytes(weights, name)
            text = json.loads(head[_LENGTH:])
            ends = [field["data_offsets"][1] for key, field in text.items() if key != _METADATA]
            found[path] = _parse(path, head, max(ends, default=0))
            assert info.nbytes == len(head)
    return found


def _file_bytes(weights: Weights, name: str) -> bytes:
    content = bytearray(weights._files[name].nbytes)
    if content:
        weights._read_bytes(name, 0, memoryview(content))
    return bytes(content)


def export_file(weights: Weights, path: str | os.PathLike[str]) -> None:
    """Write a version as one file, which appears when it is whole."""
    heads = _heads(weights)
    if len(heads) > 1:
        raise InvalidArgumentError(
            f"version {weights.version} of {weights.name!r} came from {len(heads)} files: "
            "export it as a directory"
        )
    (found,) = heads.values() or (_canonical(weights),)
    target = Path(path)
    staged = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        _write(weights, found, staged)
        staged.replace(target)
        _sync_directory(target.parent)
    finally:
        staged.unlink(missing_ok=True)


def export_directory(weights: Weights, directory: str | os.PathLike[str]) -> None:
    """Write a version as a directory, which appears when it is whole."""
    target = Path(directory)
    if target.exists():
        raise InvalidArgumentError(f"{target} is there already")
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    staged.mkdir()
    try:
        heads = _heads(weights) or {"model.safetensors": _canonical(weights)}
        for path, found in heads.items():
            _write(weights, found, _below(staged, path))
        for name in weights._files:
            other = _files.file_path(name)
            if other is not None:
                _write_bytes(_below(staged, other), [_file_bytes(weights, name)])
        for inside in [staged, *(path for path in staged.rglob("*") if path.is_dir())]:
            _sync_directory(inside)
        staged.rename(target)
        _sync_directory(target.parent)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _below(root: Path, path: str) -> Path:
    """Return where a file goes, which is nowhere but below the directory."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise CorruptError(f"a file of the version would be written to {path}")
    target = root.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _write(weights: Weights, found: File, path: Path) -> None:
    _write_bytes(path, _chunks(weights, found))


def _chunks(weights: Weights, found: File) -> Iterator[bytes | memoryview]:
    yield found.head
    buffer = memoryview(bytearray(_CHUNK))
    for entry in found.entries:
        length = entry.end - entry.begin
        for at in range(0, length, _CHUNK):
            chunk = buffer[: min(_CHUNK, length - at)]
            weights._read_bytes(entry.name, at, chunk)
            yield chunk


def _write_bytes(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    with path.open("xb", buffering=0) as file:
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
