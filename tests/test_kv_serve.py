"""A store that one process serves to others: real processes, which are killed as well."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from persisting._cli import main
from persisting._errors import InvalidArgumentError, StorageError
from persisting.integrations._tier import Tier
from persisting.kv import KVStore
from tests.support import ROOT, eventually, python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 1 << 20


def content(key: str) -> bytes:
    """Return the one block that a key ever has."""
    return hashlib.shake_128(key.encode()).digest(SIZE)


class Served:
    """A process that serves a store."""

    def __init__(self, path: Path) -> None:
        self.path, self.socket = path / "kv", path / "sock"
        self.address = f"unix:{self.socket}"
        self.start()

    def start(self) -> None:
        arguments = ["kv", "serve", self.path, "--socket", self.socket, "--capacity", "256 MiB"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "persisting", *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.address in self.process.stdout.readline()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        with self.process:
            return self.process.wait(60)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path)
    yield made
    if made.process.returncode is None:
        assert made.end(signal.SIGTERM) == 0
        assert not made.socket.exists()


CLIENT = f"""
import sys
from persisting.kv import KVStore
from tests.test_kv_serve import content
store = KVStore.connect(sys.argv[1])
wrong = misses = 0
print("ready", flush=True)
for i in range(int(sys.argv[2])):
    key = f"key {{i % 40}}"
    if i // 40 % 2 == int(sys.argv[3]):
        store.set(key, content(key))
    else:
        buffer = bytearray({SIZE})
        if store.load(key, buffer):
            wrong += buffer != content(key)
        else:
            misses += 1
print(wrong, misses, flush=True)
"""


def client(served: Served, rounds: int, part: int) -> subprocess.Popen[str]:
    script = [sys.executable, "-c", CLIENT, served.address, str(rounds), str(part)]
    process = subprocess.Popen(script, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_share_a_store(served: Served) -> None:
    for most, parts in ((40, (0, 1)), (0, (2,))):  # the last one only reads
        for process in [client(served, 240, part) for part in parts]:
            told, _ = process.communicate(timeout=120)
            wrong, misses = map(int, told.split())
            assert process.returncode == wrong == 0
            assert misses <= most
    with KVStore.connect(served.address) as store:
        stats = store.stats()
        assert stats["keys"] == 40
        assert stats["misses"]["damaged"] == 0


def test_clients_that_are_killed_leave_nothing_wrong(served: Served) -> None:
    for _ in range(5):
        clients = [client(served, 100_000, part) for part in range(2)]
        threading.Event().wait(0.3)
        for process in clients:
            process.kill()
            process.communicate(timeout=60)
    with KVStore.connect(served.address) as store:
        blocks = store.get_many(f"key {i}" for i in range(40))
        assert any(blocks)
        assert all(b is None or b == content(f"key {i}") for i, b in enumerate(blocks))
        assert store.set("alive", b"1")
        assert eventually(lambda: store.stats()["queued_stores"] == 0)


def test_a_server_that_is_killed_is_misses_until_it_is_back(served: Served) -> None:
    with KVStore.connect(served.address) as store:
        keys = [f"key {i}" for i in range(40)]
        assert all(store.set_many(keys, map(content, keys)))
        store.flush()
        timer = threading.Timer(0.05, served.process.kill)
        timer.start()
        wrong = ended = 0
        buffer = bytearray(SIZE)
        while not ended:
            for key in keys:
                if store.load(key, buffer):
                    wrong += buffer != content(key)
                else:
                    ended += 1
        timer.join()
        assert served.process.wait(60) == -signal.SIGKILL
        assert not wrong
        assert not store.exists(keys[0])
        assert store.get(keys[0]) is None
        assert not store.set("new", b"1")
        assert not store.delete(keys[0])
        assert store.match_prefix(keys) == 0
        assert "no connection" in store.stats()["disconnected"]
        for refused in (store.flush, lambda: store.drop_namespace("x"), lambda: [*store.keys()]):
            with pytest.raises(StorageError, match="no connection"):
                refused()
        served.process.communicate()
        served.start()
        assert eventually(lambda: store.exists(keys[0]))
        assert store.get_many(keys) == [*map(content, keys)]


def test_all_that_a_store_can_do(served: Served) -> None:
    with KVStore.connect(served.address, namespace="n", salt="s") as store:
        assert store.set("a", [b"12", bytearray(b"345")], ttl=100)
        assert store.set_many(["b", "c"], [np.arange(10), memoryview(b"")]) == [True, True]
        assert store.get("a") == b"12345"
        assert store.get("c") == b""
        array = np.zeros(10, np.int64)
        assert store.load("b", array)
        assert array.tolist() == [*range(10)]
        assert store.length("a") == 5
        assert store.exists_many(["a", "x", "b"]) == [True, False, True]
        assert store.match_prefix(["a", "b", "x"]) == 2
        assert store.touch("a")
        assert store.pin("a")
        assert store.unpin("a")
        assert sorted(store.keys(page=2)) == [b"a", b"b", b"c"]
        assert store.namespaces()["n"]["keys"] == 3
        store.set_quota("s", "1 GiB")
        assert store.stats()["salts"]["s"]["quota_bytes"] == 1 << 30
        assert store.delete("a")
        assert store.drop_namespace("n") == 2
        with pytest.raises(InvalidArgumentError, match="cannot be served"):
            store.serve(listen="127.0.0.1:0")


async def test_in_an_event_loop(served: Served) -> None:
    with KVStore.connect(served.address) as store:
        keys = [f"key {i}" for i in range(20)]
        sets = (store.aset(key, content(key)) for key in keys)
        assert all(await asyncio.gather(*sets))
        assert await asyncio.gather(*map(store.aget, keys)) == [*map(content, keys)]
        assert await store.aload("none", bytearray(5)) is False
        many = [f"many {i}" for i in range(5000)]
        assert all(await store.aset_many(many, [b"x"] * 5000))
        assert await store.aget_many(many) == [b"x"] * 5000


def test_a_store_serves_in_its_own_process(tmp_path: Path) -> None:
    with KVStore(tmp_path / "kv", capacity="64 MiB") as owner:
        server = owner.serve(tmp_path / "sock", listen="127.0.0.1:0")
        assert (tmp_path / "sock").stat().st_mode & 0o777 == 0o600
        for address in server.addresses:
            with KVStore.connect(address) as store:
                assert store.set(address, b"value")
                assert owner.get(address) == b"value"
    assert server.closed
    with pytest.raises(StorageError, match="no connection"):
        KVStore.connect(server.addresses[0])
    with pytest.raises(InvalidArgumentError, match="unix:PATH"):
        KVStore.connect(str(tmp_path))


def test_plugs_take_an_address(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    tier = Tier(served.address, "n", {"capacity": 1, "workers": 2})
    assert tier.store is not None
    assert tier.store.set("key", b"1")
    tier.close()
    early = Tier("unix:/nobody/there", "n", {})
    assert early.store is not None
    assert early.store.get("key") is None
    assert "no connection" in early.stats()["disconnected"]
    early.close()
    assert not caplog.records


def test_the_programs_of_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "kv.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(programs) == 3
    for number, program in enumerate(programs):
        directory = tmp_path / str(number)
        directory.mkdir()
        code = f"import os, sys; os.chdir(sys.argv[1])\n{program}"
        assert python(code, directory)


def test_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: object) -> str:
        assert main(["kv", "serve", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    path, size = tmp_path / "kv", ("--capacity", "64 MiB")
    assert "--socket" in refused(path, *size)
    assert "loopback" in refused(path, *size, "--listen", "0.0.0.0:0")
    assert "capacity" in refused(tmp_path / "new", "--socket", tmp_path / "sock")
    with KVStore(path, capacity="64 MiB"):
        assert f"process {os.getpid()}" in refused(path, *size, "--socket", tmp_path / "sock")
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "sock").unlink()
