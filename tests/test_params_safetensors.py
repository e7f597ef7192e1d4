"""Files of safetensors and directories of Hugging Face, in and out, byte for byte."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

from persisting._errors import CorruptError, InvalidArgumentError
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RNG = np.random.default_rng(5)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ParameterStore]:
    with ParameterStore(tmp_path / "store") as opened:
        yield opened


def model() -> dict[str, Any]:
    """Return tensors of dtypes that the library for numpy writes."""
    kinds = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "c8"]
    tensors = {
        f"layer.{kind}": np.frombuffer(RNG.bytes(np.dtype(kind).itemsize * 12), kind).reshape(3, 4)
        for kind in kinds
    }
    tensors["bf16"] = RNG.random(40_000).astype(ml_dtypes.bfloat16)
    return tensors | {
        'odd "key"\n\t\x7f\x01ä': np.zeros(3, "f4"),
        "": np.array(4, "f4"),
        "none": np.empty((0, 3), "i8"),
    }


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_a_file_is_written_as_the_library_does(
    store: ParameterStore, tmp_path: Path, metadata: Any
) -> None:
    tensors = model()
    safetensors.numpy.save_file(tensors, tmp_path / "theirs", metadata)
    store.save("m", tensors, metadata=metadata)
    store.export_safetensors("m", tmp_path / "ours")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_a_file_comes_back(store: ParameterStore, tmp_path: Path) -> None:
    tensors = model()
    safetensors.numpy.save_file(tensors, tmp_path / "file.safetensors", {"a": "1", "b": "ä"})
    info = store.import_safetensors("m", tmp_path / "file.safetensors", tags=["t"])
    assert info.metadata == {"a": "1", "b": "ä"}
    found = store.load("m", "t")
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert found[name].tobytes() == value.tobytes()
    store.export_safetensors("m", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "file.safetensors").read_bytes()
    assert store.save("m", tensors).stored < 3000  # all of it is there


def raw(fields: dict[str, Any], data: bytes, *, spaces: int = 0) -> bytes:
    """Write a file by hand."""
    text = json.dumps(fields, indent=1).encode() + b" " * spaces
    return struct.pack("<Q", len(text)) + text + data


def test_files_that_others_write_otherwise(store: ParameterStore, tmp_path: Path) -> None:
    fields = {
        "z": {"dtype": "F4", "shape": [2, 4], "data_offsets": [0, 4]},
        "a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [4, 7]},
        "m": {"dtype": "F8_E8M0", "shape": [], "data_offsets": [7, 8]},
        "__metadata__": {"z": "1", "a": "2"},
    }
    content = raw(fields, b"12345678", spaces=3)
    (tmp_path / "f.safetensors").write_bytes(content)
    store.import_safetensors("m", tmp_path / "f.safetensors")
    store.export_safetensors("m", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == content
    assert store.load("m", keys=["z"], framework="bytes")["z"].tobytes() == b"1234"
    assert store.load("m", slices={"z": (1, 2)}, keys=["z"], framework="bytes")["z"].tobytes() == (
        b"34"
    )
    with pytest.raises(InvalidArgumentError, match="F4"):
        store.load("m", keys=["z"])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        struct.pack("<Q", 100) + b"{}",
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{x",
        raw({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, b"123"),
        raw({"a": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}, b"123"),
        raw({"a": {"dtype": "U8", "shape": [2]}}, b"12"),
        raw({"a": 1}, b""),
        raw({"a": {"dtype": "U8", "shape": [-2], "data_offsets": [0, -2]}}, b""),
    ],
)
def test_files_that_are_none(store: ParameterStore, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.safetensors").write_bytes(content)
    with pytest.raises(CorruptError, match=r"f\.safetensors"):
        store.import_safetensors("m", tmp_path / "f.safetensors")
    assert store.names() == []


def shards(directory: Path) -> dict[str, bytes]:
    """Write a directory as Hugging Face has them, and return its files."""
    directory.mkdir()
    tensors = {name: value for name, value in model().items() if value.dtype != ml_dtypes.bfloat16}
    halves = [dict([*tensors.items()][::2]), dict([*tensors.items()][1::2])]
    weight_map: dict[str, str] = {}
    for number, half in enumerate(halves, 1):
        name = f"model-{number:05}-of-00002.safetensors"
        safetensors.numpy.save_file(half, directory / name, {"format": "pt"})
        weight_map |= dict.fromkeys(half, name)
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    (directory / "config.json").write_text('{"hidden": 4}\n')
    (directory / "empty.txt").touch()
    (directory / "nested").mkdir()
    (directory / "nested" / "tokenizer.json").write_bytes(RNG.bytes(200_000))
    (directory / ".cache").mkdir()
    (directory / ".cache" / "lock").touch()
    return files(directory)


def files(directory: Path) -> dict[str, bytes]:
    """Return the files below a directory, hidden ones left out."""
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


def test_a_directory_comes_back(store: ParameterStore, tmp_path: Path) -> None:
    before = shards(tmp_path / "hf")
    store.import_hf("org/m", tmp_path / "hf")
    with store.open("org/m") as weights:
        assert not any(name.startswith("\0") for name in weights.load())
    store.export_hf("org/m", tmp_path / "new" / "hf")
    assert files(tmp_path / "new" / "hf") == before
    assert [*(tmp_path / "new").iterdir()] == [tmp_path / "new" / "hf"]
    with pytest.raises(InvalidArgumentError, match="there already"):
        store.export_hf("org/m", tmp_path / "hf")
    with pytest.raises(InvalidArgumentError, match="2 files"):
        store.export_safetensors("org/m", tmp_path / "one")
    assert store.import_hf("org/m", tmp_path / "new" / "hf").stored < 5000


def test_a_version_that_was_no_directory(store: ParameterStore, tmp_path: Path) -> None:
    store.save("m", {"t": np.arange(3)})
    store.export_hf("m", tmp_path / "hf")
    with safetensors.safe_open(tmp_path / "hf" / "model.safetensors", "np") as file:
        assert file.get_tensor("t").tolist() == [0, 1, 2]


def test_a_tensor_in_two_files(store: ParameterStore, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    for name in ("a", "b"):
        safetensors.numpy.save_file({"t": np.zeros(2)}, tmp_path / "hf" / f"{name}.safetensors")
    with pytest.raises(InvalidArgumentError, match=r"b\.safetensors.*'t'"):
        store.import_hf("m", tmp_path / "hf")


@pytest.mark.parametrize(
    ("tensors", "says"),
    [({"t": np.zeros(2, "c16")}, "C128"), ({"__metadata__": np.zeros(2)}, "__metadata__")],
)
def test_what_safetensors_has_not(
    store: ParameterStore, tmp_path: Path, tensors: Any, says: str
) -> None:
    store.save("m", tensors)
    with pytest.raises(InvalidArgumentError, match=says):
        store.export_safetensors("m", tmp_path / "file")
    assert [*tmp_path.iterdir()] == [tmp_path / "store"]
