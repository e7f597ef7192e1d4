"""The native library is loaded when it is needed, and what is wrong with it is told then."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from persisting._engine import library
from persisting._engine.bucket import Bucket
from tests.support import python

if TYPE_CHECKING:
    from pathlib import Path


def test_a_library_that_is_not_there_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / library.NATIVE_LIBRARY.name
    monkeypatch.setattr(library, "NATIVE_LIBRARY", missing)
    with pytest.raises(ImportError, match=rf"needs {missing}, which is not there"):
        library.library.__wrapped__()


LOADED = """
import sys
from pathlib import Path
import persisting.kv, persisting.params

def loaded():
    return "libpersisting_native" in Path("/proc/self/maps").read_text()

with persisting.kv.KVStore(sys.argv[1] + "/kv", capacity="64 MiB") as store:
    assert store.set("key", b"block")
    assert store.get("key") == b"block"
with persisting.params.ParameterStore(sys.argv[1] + "/params") as store:
    assert store.names() == []
print(loaded())
"""


def test_stores_without_tables_do_not_load_it(tmp_path: Path) -> None:
    assert python(LOADED, tmp_path) == "False\n"


FLUSH = """
import asyncio, sys
from pathlib import Path
from persisting import PersistingBackend, StorageError
from persisting._engine import library
from persisting._engine.bucket import Bucket

library.LIBRARY = Path(sys.argv[1]) / "libpersisting.so"

async def main():
    backend = PersistingBackend(0, storage_path=Path(sys.argv[1]) / "bucket")
    await backend.put({"a": 1})
    print(await backend.get(1, 0))
    for _ in range(2):  # a failed load is tried again
        try:
            await backend.flush()
        except StorageError as error:
            print(error)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (None, "file too short"),
        ("int other;", "has no function pn_owned_release: it is of another release"),
    ],
)
def test_a_library_that_is_none_is_told_by_the_flush_and_costs_no_row(
    tmp_path: Path, source: str | None, told: str
) -> None:
    shutil.copy(library.LIBRARY, tmp_path)
    native = tmp_path / library.NATIVE_LIBRARY.name
    if source is None:
        native.touch()
    else:
        (tmp_path / "other.c").write_text(source)
        subprocess.run(["cc", "-shared", "-o", native, tmp_path / "other.c"], check=True)
    got, *errors = python(FLUSH, tmp_path).splitlines()
    assert got == "[{'a': 1}]"
    assert len(errors) == 2
    for error in errors:
        assert native.name in error
        assert told in error
    with Bucket(tmp_path / "bucket", {}) as bucket:
        bucket.flush()
        assert bucket.acknowledged() == 1


FORK = """
import ctypes, os, signal, sys
from persisting._engine.bucket import Bucket

bucket = Bucket(sys.argv[1] + "/bucket", {})  # which begins to load it
child = os.fork()
if child == 0:
    signal.alarm(20)
    ctypes.CDLL(sys.argv[2])
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
bucket.close()
"""


def test_a_child_that_is_forked_while_it_is_loaded_can_load_others(tmp_path: Path) -> None:
    (tmp_path / "other.c").write_text("int other;")
    other = tmp_path / "other.so"
    subprocess.run(["cc", "-shared", "-o", other, tmp_path / "other.c"], check=True)
    assert python(FORK, tmp_path, other) == "7\n"
