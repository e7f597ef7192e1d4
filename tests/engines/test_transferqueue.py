"""TransferQueue with a bucket as its storage: a controller and an actor of ray, on the CPU."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import ray
import torch
import transfer_queue as tq
from omegaconf import OmegaConf
from tensordict import NonTensorStack, TensorDict

import persisting.integrations.transferqueue  # noqa: F401, registers the storage
from persisting._engine.bucket import Bucket
from persisting._errors import (
    ConflictError,
    InvalidArgumentError,
    LockedError,
    NotFoundError,
    SchemaError,
)
from persisting.integrations._values import decode, encode
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@contextlib.contextmanager
def queue(path: Path | str, **options: Any) -> Iterator[Any]:
    """Make a queue over a bucket; yield the client."""
    own = {"path": str(path), **options}
    backend = {"storage_backend": "Persisting", "Persisting": own}
    tq.init(OmegaConf.create({"backend": backend, "controller": {"polling_mode": True}}))
    try:
        yield tq.get_client()
    finally:
        tq.close()


def jagged(*lengths: int) -> torch.Tensor:
    rows = [torch.arange(n) + 100 * n for n in lengths]
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def fields(count: int, base: int = 0) -> TensorDict:
    """Return samples whose values tell `base`."""
    return TensorDict(
        {
            "tokens": jagged(*range(base + 1, base + 1 + count)),
            "hidden": (torch.arange(count * 6).reshape(count, 2, 3) + base).bfloat16(),
            "score": torch.arange(count, dtype=torch.float64) + base + 0.1,
            "text": NonTensorStack(*(f"é {base + i}" for i in range(count))),
            "extra": NonTensorStack(*({"n": [base + i], "a": np.arange(2)} for i in range(count))),
        },
        batch_size=count,
    )


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and bool(torch.equal(one, two))
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return bool(np.array_equal(one, two))


def assert_fields(found: TensorDict, wanted: TensorDict) -> None:
    assert {*found.keys()} == {*wanted.keys()}
    for name in wanted.keys():  # noqa: SIM118
        column, expected = found[name], wanted[name]
        pairs = zip([*column], [*expected], strict=True)
        assert all(same(one, two) for one, two in pairs), name


def keys(count: int, first: int = 0) -> list[str]:
    return [f"key {i}" for i in range(first, first + count)]


def test_values_come_back_by_key_and_field(tmp_path: Path) -> None:
    with queue(tmp_path) as client:
        wanted = fields(5)
        meta = tq.kv_batch_put(keys=keys(5), partition_id="p", fields=wanted, tags=[{"n": 1}] * 5)
        assert meta.size == 5
        assert_fields(tq.kv_batch_get(keys=keys(5), partition_id="p"), wanted)
        part = tq.kv_batch_get(keys=keys(5)[::-2], partition_id="p", select_fields=["text"])
        assert [*part["text"]] == ["é 4", "é 2", "é 0"]
        # A later stage adds a field.
        more = TensorDict({"advantage": torch.arange(3.0)}, batch_size=3)
        tq.kv_batch_put(keys=keys(3), partition_id="p", fields=more)
        both = tq.kv_batch_get(keys=keys(3), partition_id="p", select_fields=["advantage", "score"])
        assert_fields(
            both, TensorDict({"advantage": more["advantage"], "score": wanted["score"][:3]}, 3)
        )
        # And one puts a value again.
        tq.kv_batch_put(keys=keys(1), partition_id="p", fields=more[:1] + 7)
        again = tq.kv_batch_get(keys=keys(2), partition_id="p", select_fields=["advantage"])
        assert again["advantage"].tolist() == [7, 1]
        assert client.storage_manager.storage_client.get([]) == []


def test_by_metadata_of_the_controller(tmp_path: Path) -> None:
    with queue(tmp_path) as client:
        wanted = fields(6)
        client.put(wanted, partition_id="p")
        for first in (0, 3):
            meta = client.get_meta(
                data_fields=["score", "tokens"], batch_size=3, partition_id="p", task_name="t"
            )
            found = client.get_data(meta)
            assert_fields(found, wanted[first : first + 3].select("score", "tokens"))


def test_an_index_that_is_used_again_gives_no_other_data(tmp_path: Path) -> None:
    with queue(tmp_path) as client:
        tq.kv_batch_put(keys=keys(4), partition_id="p", fields=fields(4))
        before = client.kv_retrieve_meta(keys=keys(4), partition_id="p", create=False)
        assert_fields(client.get_data(before), fields(4))
        tq.kv_clear(keys=keys(4), partition_id="p")
        tq.kv_batch_put(keys=keys(4, 10), partition_id="p", fields=fields(4, 50))
        after = client.kv_retrieve_meta(keys=keys(4, 10), partition_id="p", create=False)
        assert sorted(after.global_indexes) == sorted(before.global_indexes)
        assert_fields(client.get_data(after), fields(4, 50))
        with pytest.raises(NotFoundError):
            client.get_data(before)
        # Those of another bucket are no better.
        metadata = after._custom_backend_meta
        metadata[0]["score"], metadata[1]["score"] = metadata[1]["score"], metadata[0]["score"]
        with pytest.raises(ConflictError, match="of another bucket"):
            client.get_data(after)
        metadata[0].pop("score")
        with pytest.raises(NotFoundError, match=r"@score was never put"):
            client.get_data(after)
        client.storage_manager.storage_client.clear(["0@score"], [None])


def owner(path: Path) -> int:
    """Return the process that has the bucket."""
    with pytest.raises(LockedError) as locked:
        Bucket(path, {})
    assert locked.value.pid is not None
    return locked.value.pid


def test_an_actor_that_is_killed_comes_back(tmp_path: Path) -> None:
    with queue(tmp_path):
        for turn in range(3):
            names = keys(4, 4 * turn)
            tq.kv_batch_put(keys=names, partition_id="p", fields=fields(4, turn))
            os.kill(owner(tmp_path), signal.SIGKILL)
            for earlier in range(turn + 1):
                found = tq.kv_batch_get(keys=keys(4, 4 * earlier), partition_id="p")
                assert_fields(found, fields(4, earlier))
        tq.kv_clear(keys=keys(12), partition_id="p")


def test_back_to_a_checkpoint(tmp_path: Path) -> None:
    with queue(tmp_path / "bucket"):
        tq.save_checkpoint(tmp_path / "empty")
        tq.kv_batch_put(keys=keys(4), partition_id="p", fields=fields(4))
        tq.save_checkpoint(tmp_path / "step 1")
        tq.kv_clear(keys=keys(2), partition_id="p")
        tq.kv_batch_put(keys=keys(2, 7), partition_id="p", fields=fields(2, 7))
        tq.save_checkpoint(tmp_path / "step 2")
        for _ in range(2):
            tq.load_checkpoint(tmp_path / "step 1")
            assert {*tq.kv_list(partition_id="p")["p"]} == {*keys(4)}
            assert_fields(tq.kv_batch_get(keys=keys(4), partition_id="p"), fields(4))
            tq.load_checkpoint(tmp_path / "step 2")
            assert_fields(tq.kv_batch_get(keys=keys(2, 7), partition_id="p"), fields(2, 7))
        tq.load_checkpoint(tmp_path / "empty")
        assert not any(tq.kv_list().values())
    with queue(tmp_path / "other"), pytest.raises(NotFoundError, match="of another bucket"):
        tq.load_checkpoint(tmp_path / "step 1")


def program(*arguments: object) -> list[str]:
    name = "tests.engines.programs.transferqueue"
    return [sys.executable, "-m", name, *map(str, arguments)]


@pytest.mark.parametrize("killed", ["driver", "actor and driver"])
def test_a_checkpoint_after_a_kill(tmp_path: Path, killed: str) -> None:
    """A program of its own, with a ray of its own, saves; another one loads."""
    bucket, checkpoint = tmp_path / "bucket", tmp_path / "checkpoint"
    with subprocess.Popen(
        program("save", bucket, checkpoint), stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as saving:
        assert saving.stdout is not None
        for line in saving.stdout:
            if line == "saved\n":
                break
        if killed != "driver":
            os.kill(owner(bucket), signal.SIGKILL)
        saving.kill()
    done = subprocess.run(
        program("load", bucket, checkpoint),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {f"sample {i}": [i] * (i + 1) for i in range(8)}


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [("", {}, "want a path"), ("x", {"wal_sync": 1}, "unknown option 'wal_sync'")],
)
def test_what_cannot_be_made(path: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgumentError, match=said), queue(path, **options):
        pass
    tq.close()


VALUES: dict[str, Any] = {
    "integers": torch.arange(7),
    "shape": torch.rand(3, 4, dtype=torch.float64),
    "number": torch.tensor(3.5),
    "nothing": torch.zeros(0, 3, dtype=torch.int16),
    "bfloat16": torch.rand(5).bfloat16(),
    "float8": torch.rand(5).to(torch.float8_e4m3fn),
    "bits": torch.tensor([True, False]),
    "complex": torch.complex(torch.rand(3), torch.rand(3)),
    "conjugate": torch.complex(torch.rand(3), torch.rand(3)).conj(),
    "steps": torch.arange(10)[::2],
    "transposed": torch.rand(3, 4).t(),
    "gradient": torch.rand(2, requires_grad=True),
    "sparse": torch.eye(3).to_sparse(),
    "text": "h\N{SNOWMAN} \ud800",
    "no text": "",
    "dict": {"a": np.arange(3), "b": [1, None]},
    "none": None,
    "scalar": np.float32(3),
    "bytes": b"x" * 9,
}


@pytest.mark.parametrize("most", [1, 100, 1 << 30])
def test_values_as_bytes(most: int) -> None:
    found = [value for array in encode([*VALUES.values()], most) for value in decode(array)]
    for (name, one), two in zip(VALUES.items(), found, strict=True):
        assert type(two) is type(one), name
        if isinstance(one, torch.Tensor):
            assert two.dtype == one.dtype
            assert two.shape == one.shape
            dense = [part.to_dense().detach() for part in (one, two)]
            if one.dtype == torch.float8_e4m3fn:
                dense = [part.float() for part in dense]
            assert torch.equal(*dense), name
        else:
            assert same(one, two), name
    whole = next(encode([*VALUES.values()], 1 << 30))
    assert decode(whole.slice(13, 2)) == [VALUES["text"], ""]
    assert decode(whole.slice(0, 0)) == []
    found[0][0] = 5  # the memory is ours


def test_a_value_that_cannot_be_stored() -> None:
    with pytest.raises(SchemaError, match="a function cannot be stored"):
        [*encode([lambda: None], 1)]
