"""The commands about stores of blocks, with and without a process that has one open."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from persisting._cli import main
from persisting.kv import KVStore
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CAPACITY = 64 << 20


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command of `persisting kv` and return its status and output."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["kv", *map(str, arguments)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def fill(path: Path) -> KVStore:
    """Open a store with some of everything."""
    store = KVStore(path, capacity=CAPACITY, namespace="model/bf16", salt="tenant")
    assert all(store.set_many([f"key {i}" for i in range(40)], [os.urandom(5000)] * 40))
    assert store.set(b"\xff\x00", b"x")
    assert store.pin("key 7")
    store.set_quota("tenant", "10 MiB")
    return store


@pytest.fixture(params=["open", "closed"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A store that this process has open, or nobody."""
    store = fill(tmp_path / "kv")
    if request.param == "closed":
        store.close()
    yield tmp_path / "kv"
    store.close()


def test_stat(filled: Path, shell: Any) -> None:
    status, told, _ = shell("stat", filled)
    assert status == 0
    assert "41 blocks" in told
    assert "of 64.0 MiB" in told
    assert "namespace model/bf16: 41 blocks" in told
    assert "salt tenant: 41 blocks" in told
    assert "quota 10.0 MiB" in told
    assert "pinned: 12.0 KiB" in told
    holder = f"process {os.getpid()}"
    _, text, _ = shell("stat", "--json", filled)
    found = json.loads(text)
    assert found["keys"] == 41
    assert found["capacity_bytes"] == CAPACITY
    assert "hits" not in found
    assert (holder in told) == (holder in found["in_use_by"]) == bool(found["in_use_by"])


def test_who_has_it_open_is_told(tmp_path: Path, shell: Any) -> None:
    with fill(tmp_path / "kv"):
        assert f"process {os.getpid()}" in shell("stat", tmp_path / "kv")[1]
    assert "open at this moment" not in shell("stat", tmp_path / "kv")[1]


def test_ls(filled: Path, shell: Any) -> None:
    status, told, _ = shell("ls", filled)
    assert status == 0
    lines = told.splitlines()
    assert len(lines) == 41
    (pinned,) = (line for line in lines if line.endswith("pinned"))
    assert pinned.split("\t")[1:] == ["model/bf16", "tenant", "key 7", "pinned"]
    assert sum("\\xff" in line for line in lines) == 1
    found = [json.loads(line) for line in shell("ls", "--json", filled)[1].splitlines()]
    keys = {base64.b64decode(entry["key"]): entry for entry in found}
    assert set(keys) == {f"key {i}".encode() for i in range(40)} | {b"\xff\x00"}
    assert keys[b"key 7"] | {"key": ""} == {
        "key": "",
        "namespace": "model/bf16",
        "salt": "tenant",
        "length": 5000,
        "pinned": True,
    }
    assert len(shell("ls", "-n", 3, filled)[1].splitlines()) == 3
    assert shell("ls", "--namespace", "other", filled) == (0, "", "")
    assert "--limit" in shell("ls", "-n", -1, filled)[2]


def test_verify(filled: Path, shell: Any) -> None:
    status, told, _ = shell("verify", filled)
    assert status == 0
    assert "sound, 41 blocks" in told
    (segment,) = (path for path in filled.glob("*.seg") if b"key 3" in path.read_bytes())
    at = segment.read_bytes().index(b"key 3") + 5000
    with segment.open("r+b") as file:
        file.seek(at)
        before = file.read(1)
        file.seek(at)
        file.write(bytes([before[0] ^ 1]))
    status, told, _ = shell("verify", filled)
    assert status == 1
    assert "DAMAGED, 40 blocks" in told
    assert str(segment) in told
    found = json.loads(shell("verify", "--json", filled)[1])
    assert not found["sound"]
    (fault,) = found["faults"]
    assert fault["byte"] % 4096 == 0
    assert 0 < at - fault["byte"] < 8192


def test_what_changes_a_store_leaves_one_that_is_open_alone(tmp_path: Path, shell: Any) -> None:
    path = tmp_path / "kv"
    with fill(path) as store:
        for arguments in (("evict", path, "--to", "1 GiB"), ("drop", path, "model/bf16")):
            status, _, told = shell(*arguments)
            assert status == 2
            assert f"process {os.getpid()}" in told
        assert store.stats()["keys"] == 41


def test_the_process_that_serves_a_store_does_it(tmp_path: Path, shell: Any) -> None:
    socket = tmp_path / "s"
    with fill(tmp_path / "kv") as store:
        store.serve(socket)
        address = f"unix:{socket}"
        assert json.loads(shell("stat", "--json", address)[1])["keys"] == 41
        assert len(shell("ls", address, "--namespace", "model/bf16")[1].splitlines()) == 41
        status, told, _ = shell("verify", address)
        assert (status, told.count("sound")) == (0, 1)
        assert shell("drop", address, "none")[0] == 1
        status, told, _ = shell("drop", address, "model/bf16")
        assert status == 0
        assert "removed 41 blocks" in told
        assert store.stats()["keys"] == 0
        assert all(store.set(str(i), os.urandom(1 << 20)) for i in range(48))
        assert store.stats()["disk_bytes"] > 42 << 20
        status, told, _ = shell("evict", address, "--to", "42 MiB")
        assert status == 0
        assert "forgot" in told
        assert store.stats()["disk_bytes"] <= 42 << 20
    for command in (["verify"], ["drop", "x"], ["evict", "--to", "1 GiB"]):
        name, *more = command
        status, told, failure = shell(name, address, *more)
        assert (status, told) == (2, "")
        assert "no connection" in failure


def test_drop(tmp_path: Path, shell: Any) -> None:
    fill(tmp_path / "kv").close()
    assert shell("drop", tmp_path / "kv", "none")[0] == 1
    status, told, _ = shell("drop", tmp_path / "kv", "model/bf16")
    assert status == 0
    assert "removed 41 blocks" in told
    assert "0 blocks" in shell("stat", tmp_path / "kv")[1]


def test_evict(tmp_path: Path, shell: Any) -> None:
    path = tmp_path / "kv"
    with KVStore(path, capacity=CAPACITY, segment_bytes="1 MiB") as store:
        assert store.set("pinned", b"1")
        assert store.pin("pinned")
        for i in range(60):
            assert store.set(f"key {i}", os.urandom(500_000))
        used = store.stats()["disk_bytes"]
    status, told, _ = shell("evict", path, "--to", "16 MiB")
    assert status == 0
    assert "forgot" in told
    with KVStore(path, capacity=CAPACITY) as store:
        stats = store.stats()
        assert stats["disk_bytes"] <= 16 << 20 < used
        assert 0 < stats["keys"] < 61
        assert store.get("pinned") == b"1"
    assert json.loads(shell("stat", "--json", path)[1])["capacity_bytes"] == CAPACITY
    status, _, told = shell("evict", path, "--to", "5 KiB")
    assert status == 2
    assert "want at least" in told


def test_a_directory_of_stores(tmp_path: Path, shell: Any) -> None:
    for rank in range(2):
        fill(tmp_path / f"rank_{rank}").close()
    (tmp_path / "other").mkdir()
    status, told, _ = shell("verify", tmp_path)
    assert status == 0
    assert [line.split(":")[0] for line in told.splitlines()] == [
        str(tmp_path / "rank_0"),
        str(tmp_path / "rank_1"),
    ]
    status, _, told = shell("ls", tmp_path)
    assert status == 2
    assert "rank_0, rank_1" in told


@pytest.mark.parametrize("command", ["stat", "ls", "verify", "drop"])
def test_no_store(tmp_path: Path, shell: Any, command: str) -> None:
    for path in (tmp_path, tmp_path / "none"):
        status, told, failure = shell(command, path, *(["x"] if command == "drop" else []))
        assert (status, told) == (2, "")
        assert "no store of blocks" in failure
    assert not list(tmp_path.iterdir())


def test_bench(tmp_path: Path, shell: Any) -> None:
    status, told, _ = shell("bench", tmp_path, "--size", "64 KiB", "--total", "2 MiB", "--depth", 3)
    assert status == 0
    first, *lines = told.splitlines()
    assert first.startswith("32 blocks of 64.0 KiB, 3 at a time")
    assert [line.split()[0] for line in lines] == ["set", "memory", "disk"]
    assert all(float(line.split()[1]) > 0 and float(line.split()[3]) > 0 for line in lines)
    assert not list(tmp_path.iterdir())
    for wrong in (["--depth", 0], ["--size", "3 GiB"], ["--size", "x"]):
        assert shell("bench", tmp_path, *wrong)[0] == 2


HOLD = """
import sys
from persisting.kv import KVStore
store = KVStore(sys.argv[1], capacity=64 << 20)
i = 0
print("ready", flush=True)
while True:
    store.set(str(i % 500), bytes([i % 256]) * 20000)
    i += 1
"""


def test_beside_a_process_that_writes(tmp_path: Path, shell: Any) -> None:
    script = [sys.executable, "-c", HOLD, str(tmp_path / "kv")]
    with subprocess.Popen(script, cwd=ROOT, stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == "ready\n"
        for _ in range(5):
            status, told, failure = shell("verify", tmp_path / "kv")
            assert status == 0, told + failure
            assert f"process {busy.pid}" in shell("stat", tmp_path / "kv")[1]
            assert shell("ls", tmp_path / "kv")[0] == 0
            status, _, failure = shell("drop", tmp_path / "kv", "")
            assert status == 2
            assert f"process {busy.pid}" in failure
        busy.kill()
