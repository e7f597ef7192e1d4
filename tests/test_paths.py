"""Where a bucket is: paths that are relative, go through links, or are no str."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from persisting import LanceBackend, PersistingBackend
from persisting._cli import main
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from tests.support import Opener


async def test_a_relative_path_stays_where_it_was(
    opening: Opener,
    backend_class: type[LanceBackend],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = opening(backend_class, Path("relative"))
    monkeypatch.chdir("/")
    for i in range(40):  # from the ninth on through a mapped file
        await backend.put({"i": i})
    await backend.flush()
    await backend.compact()
    assert [r["i"] for r in await backend.get(99, 0)] == [*range(40)]
    assert backend.storage_path == "relative"
    await backend.aclose()
    assert {path.name for path in tmp_path.iterdir()} == {"relative"}


async def test_dots_behind_a_link_are_those_of_the_system(
    opening: Opener,
    backend_class: type[LanceBackend],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/deep")
    monkeypatch.chdir(tmp_path)
    backend = opening(backend_class, Path("link/../queue"))
    for i in range(20):
        await backend.put({"i": i})
    await backend.aclose()
    assert (tmp_path / "real" / "queue" / "bucket.json").exists()
    assert not (tmp_path / "queue").exists()
    assert main(["verify", "link/../queue"]) == 0
    assert main(["inspect", "link/../queue"]) == 0
    assert main(["query", "link/../queue", "--count"]) == 0
    assert capsys.readouterr().out.endswith("20\n")


async def test_a_link_that_is_turned_round_is_followed_no_more(
    opening: Opener, backend_class: type[LanceBackend], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "now").symlink_to("one")
    backend = opening(backend_class, tmp_path / "now" / "bucket")
    (tmp_path / "now").unlink()
    (tmp_path / "now").symlink_to("two")
    for i in range(20):
        await backend.put({"i": i})
    await backend.flush()
    assert [r["i"] for r in await backend.get(99, 0)] == [*range(20)]
    assert [*(tmp_path / "two").iterdir()] == []


class Pathlike:
    def __init__(self, path: Any) -> None:
        self.path = path

    def __fspath__(self) -> Any:
        return self.path


@pytest.mark.parametrize("kind", [str, Path, os.fsencode, Pathlike], ids=lambda k: k.__name__)
async def test_a_path_may_be_of_any_kind(
    backend_class: type[LanceBackend], bucket: Path, kind: Any
) -> None:
    async with backend_class(0, kind(str(bucket))) as backend:
        await backend.put({"i": 1})
        assert backend.storage_path == str(bucket)
        assert (await backend.stats())["storage_path"] == str(bucket)


@pytest.mark.parametrize("wrong", ["", b"", "a\0b", 5, None, Path("/tmp/\udcff"), "/tmp/a\nb"])
def test_what_is_no_path_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="path"):
        PersistingBackend(0, wrong)


async def test_a_ring_that_cannot_be_mapped_makes_no_put_fail(
    opening: Opener, bucket: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    backend = opening(PersistingBackend, bucket)

    def no_memory(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("persisting.queue._ring.mmap.mmap", no_memory)
    for i in range(100):
        await backend.put({"i": i})
    assert [r["i"] for r in await backend.get(999, 0)] == [*range(100)]
    assert caplog.text.count("puts go without a ring") == 1


async def test_many_of_one_directory_are_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(".")
    async with PersistingBackend(0, tmp_path / "link" / "link" / "b") as backend:
        with pytest.raises(Exception, match="process"):
            PersistingBackend(0, tmp_path / "b")
        await asyncio.gather(*(backend.put({"i": i}) for i in range(3)))
