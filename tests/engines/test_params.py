"""Tensors of torch in a store of parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch

from persisting._errors import InvalidArgumentError
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ParameterStore]:
    with ParameterStore(tmp_path / "store") as opened:
        yield opened


def same(found: torch.Tensor, saved: torch.Tensor) -> None:
    """Hold a tensor against the one that was saved: dtype, shape and every bit."""
    saved = saved.resolve_conj().resolve_neg().contiguous()
    assert (found.dtype, found.shape) == (saved.dtype, saved.shape)
    if found.numel():
        bits = [t.reshape(-1).view(torch.uint8) for t in (found, saved)]
        assert torch.equal(*bits)


DTYPES = [
    getattr(torch, name)
    for name in [
        "bool",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "float16",
        "bfloat16",
        "uint32",
        "int32",
        "float32",
        "uint64",
        "int64",
        "float64",
        "complex32",
        "complex64",
        "complex128",
        "float8_e4m3fn",
        "float8_e5m2",
        "float8_e4m3fnuz",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
        "float4_e2m1fn_x2",
        "int1",
        "int4",
        "uint7",
    ]
    if hasattr(torch, name)
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_comes_back(store: ParameterStore, dtype: torch.dtype) -> None:
    size = dtype.itemsize
    bits = torch.randint(0, 2 if dtype is torch.bool else 256, (24 * size,), dtype=torch.uint8)
    flat = bits.view(dtype)
    saved = {
        "matrix": flat.view(4, 6),
        "one": flat[0],
        "none": flat[:0].view(0, 6),
        "second half": flat[12:],
    }
    store.save("m", saved)
    found = store.load("m", framework="torch")
    assert [*found] == [*saved]
    into = {name: torch.empty_like(value) for name, value in saved.items()}
    assert store.load("m", out=into, framework="torch")["matrix"] is into["matrix"]
    for name, value in saved.items():
        same(found[name], value)
        same(into[name], value)
    part = store.load("m", framework="torch", slices={"matrix": (1, 3)}, keys=["matrix"])
    same(part["matrix"], saved["matrix"][1:3])


def test_views_are_saved_as_they_look(store: ParameterStore) -> None:
    z = torch.randn(5, 7, dtype=torch.complex64)
    saved = {
        "conj": z.conj(),
        "neg": z.conj().imag,
        "turned": z.T,
        "every other": z[:, ::2],
        "wide": torch.randn(3, 1).expand(3, 9),
        "grad": torch.nn.Parameter(torch.randn(4)),
    }
    assert saved["conj"].is_conj()
    assert saved["neg"].is_neg()
    store.save("m", saved)
    for name, value in store.load("m", framework="torch").items():
        same(value, saved[name].detach())


def test_tied_weights_of_a_module(store: ParameterStore) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 1000, bias=False)
    tied = torch.nn.Embedding(1000, 64)
    tied.weight = layer.weight
    module = torch.nn.ModuleDict({"in": tied, "out": layer})
    info = store.save("m", module.state_dict())
    assert info.stored < layer.weight.nbytes + 16_384
    found = store.load("m", framework="torch")
    assert found["in.weight"] is found["out.weight"]
    other = torch.nn.ModuleDict(
        {"in": torch.nn.Embedding(1000, 64), "out": torch.nn.Linear(64, 1000, bias=False)}
    )
    other.load_state_dict(found)
    same(other["out"].weight.data, layer.weight.data)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (torch.eye(3).to_sparse(), "torch.sparse_coo"),
        (torch.empty(3, device="meta"), "meta"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantized"),
    ],
)
def test_tensors_without_plain_values(store: ParameterStore, value: Any, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=re.escape(says)):
        store.save("m", {"t": value})


def test_a_file_is_written_as_the_library_does(store: ParameterStore, tmp_path: Path) -> None:
    names = {str(dtype).removeprefix("torch."): dtype for dtype in DTYPES}
    tensors = {
        name: torch.randint(0, 2, (8 * dtype.itemsize,), dtype=torch.uint8).view(dtype).view(2, 4)
        for name, dtype in names.items()
        if not name.startswith(("int1", "int4", "uint7", "complex32", "complex128"))
    }
    safetensors.torch.save_file(tensors, tmp_path / "theirs.safetensors", {"format": "pt"})
    store.save("m", tensors, metadata={"format": "pt"})
    store.export_safetensors("m", tmp_path / "ours")
    theirs = (tmp_path / "theirs.safetensors").read_bytes()
    assert (tmp_path / "ours").read_bytes() == theirs
    store.import_safetensors("other", tmp_path / "theirs.safetensors")
    for name, value in store.load("other", framework="torch").items():
        same(value, tensors[name])
