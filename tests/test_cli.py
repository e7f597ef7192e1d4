"""The command line on real buckets, sound and damaged."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from persisting import PersistingBackend
from persisting._cli import COMMANDS, main
from tests.support import QUIET, ROOT, run

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 60  # three flushes of 10 each, and 30 in the log

CRASH = """
import asyncio, os, signal, sys
from persisting import PersistingBackend
from tests.test_cli import QUIET, record

async def main():
    bucket = PersistingBackend(0, sys.argv[1], wal_sync_interval=0, **QUIET)
    for first in (0, 10, 20):
        await bucket.put_batch([record(i) for i in range(first, first + 10)])
        await bucket.flush()
    if sys.argv[2] == "cut":
        await bucket.flush()  # with nothing to do, it takes from the log what is in the table
    for first in (30, 40, 50):
        await bucket.put_batch([record(i) for i in range(first, first + 10)])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def record(number: int) -> dict[str, Any]:
    return {"n": number, "text": f"record {number}"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bucket whose process was killed."""
    path = tmp_path_factory.mktemp("template") / "bucket_0"
    assert run([sys.executable, "-c", CRASH, str(path), "cut"]).returncode == -9
    return path


@pytest.fixture
def crashed(template: Path, tmp_path: Path) -> Path:
    """A copy of the bucket for one test."""
    path = tmp_path / "buckets" / "bucket_0"
    shutil.copytree(template, path)
    return path


def persisting(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "persisting", *map(str, arguments)])


def described(*arguments: object, status: int = 0) -> dict[str, Any]:
    """Run with --json and return the line for the one bucket."""
    done = persisting(*arguments, "--json")
    assert done.returncode == status, done
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def files(path: Path) -> dict[str, tuple[float, bytes]]:
    """Return the files below a directory with times and contents."""
    return {str(p): (p.stat().st_mtime, p.read_bytes()) for p in path.rglob("*") if p.is_file()}


def data_file(bucket: Path) -> Path:
    """Return the data file of the first flush."""
    (fragment, *_) = described("inspect", bucket)["table"]["fragments"]
    assert fragment["rows"] == [[0, 10]]
    return bucket.joinpath("data.lance", "data", str(fragment["files"][0]))


def remove_a_data_file(bucket: Path) -> None:
    data_file(bucket).unlink()


def make_a_data_file_a_terabyte(bucket: Path) -> None:
    os.truncate(data_file(bucket), 2**40)


def flip_a_byte_of_the_log(bucket: Path) -> None:
    (segment,) = bucket.glob("wal/*.wal")
    content = bytearray(segment.read_bytes())
    content[content.index(b"record 42")] ^= 1
    segment.write_bytes(content)


def empty_the_identity(bucket: Path) -> None:
    (bucket / "bucket.json").write_text("")


# The part of a file's name, the rows that are lost, and whether those are null.
DAMAGES: dict[str, tuple[Callable[[Path], None], str, range]] = {
    "a data file is gone": (remove_a_data_file, ".lance", range(10)),
    "a data file is a terabyte": (make_a_data_file_a_terabyte, ".lance", range(10)),
    "a byte of the log": (flip_a_byte_of_the_log, ".wal", range(40, 50)),
    "the identity": (empty_the_identity, "bucket.json", range(0)),
}
damaged = pytest.mark.parametrize(("damage", "file", "lost"), DAMAGES.values(), ids=list(DAMAGES))


def test_what_a_crash_left_is_sound(crashed: Path) -> None:
    before = files(crashed)
    done = persisting("verify", crashed)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{crashed}: sound, 60 rows, 30 of them in the table and 30 in the log" in done.stdout
    found = described("verify", crashed)
    assert found["sound"]
    assert found["faults"] == []
    assert found["in_use_by"] is None
    assert found["table"]["rows_read"]
    assert not described("verify", crashed, "--quick")["table"]["rows_read"]
    assert files(crashed) == before


@damaged
def test_damage_is_found(
    crashed: Path, damage: Callable[[Path], None], file: str, lost: range
) -> None:
    damage(crashed)
    found = described("verify", crashed, status=1)
    assert not found["sound"]
    assert any(file in fault["file"] and fault["what"] for fault in found["faults"])
    if lost:
        rows = [run for fault in found["faults"] for run in fault["rows"] or []]
        assert any(first <= lost[0] and lost[-1] < end for first, end in rows)
    done = persisting("verify", crashed)
    assert done.returncode == 1
    assert f"{crashed}: DAMAGED" in done.stdout
    assert file in done.stdout
    assert done.stderr == ""


async def records(bucket: Path) -> list[dict[str, Any]]:
    """Put one more record into a bucket, and return all."""
    async with PersistingBackend(0, bucket, **QUIET) as opened:
        await opened.put(record(ROWS))
        return await opened.get(1000, 0)


@damaged
def test_damage_is_repaired(
    crashed: Path, damage: Callable[[Path], None], file: str, lost: range
) -> None:
    damage(crashed)
    names = {path.name for path in crashed.rglob("*")}
    planned = described("repair", crashed, status=1)
    assert {path.name for path in crashed.rglob("*")} == names
    assert planned["after"] is None
    done = described("repair", crashed, "--apply")
    assert done["steps"] == planned["steps"]
    assert done["lost"] == planned["lost"] == ([[lost[0], lost[-1] + 1]] if lost else [])
    assert done["after"]["sound"]
    assert described("repair", crashed)["steps"] == []
    wanted = [{} if number in lost else record(number) for number in range(ROWS + 1)]
    assert asyncio.run(records(crashed)) == wanted


def test_what_the_log_still_has_is_not_lost(tmp_path: Path) -> None:
    """A small log keeps what is in the table: a lost data file costs nothing then."""
    path = tmp_path / "bucket_0"
    assert run([sys.executable, "-c", CRASH, str(path), "kept"]).returncode == -9
    assert described("verify", path)["sound"]
    remove_a_data_file(path)
    done = described("repair", path, "--apply")
    assert done["lost"] == []
    assert done["after"]["sound"]
    assert asyncio.run(records(path)) == [record(number) for number in range(ROWS + 1)]


def test_a_repair_is_told_to_a_person(crashed: Path) -> None:
    remove_a_data_file(crashed)
    before = files(crashed)
    planned = persisting("repair", crashed)
    assert planned.returncode == 1
    assert "make the rows 0 to 9 null" in planned.stdout
    assert "nothing was changed" in planned.stdout
    assert files(crashed) == before
    done = persisting("repair", crashed, "--apply")
    assert done.returncode == 0
    assert "lost: rows 0 to 9" in done.stdout
    assert "now: sound, 60 rows" in done.stdout
    assert "nothing to do" in persisting("repair", crashed, "--apply").stdout


def test_what_is_beyond_repair_is_left_alone(crashed: Path) -> None:
    (crashed / "wal" / "mine.wal").write_text("foreign")
    before = files(crashed)
    del before[str(crashed / "LOCK")]
    for arguments in ([], ["--apply"]):
        done = persisting("repair", crashed, *arguments)
        assert done.returncode == 1
        assert "beyond repair" in done.stdout
        assert "mine.wal" in done.stdout
    after = files(crashed)
    assert {path: after[path] for path in before} == before


def test_inspect_shows_what_there_is(crashed: Path) -> None:
    before = files(crashed)
    done = persisting("inspect", crashed)
    assert done.returncode == 0
    for line in ("text: utf8", "3 fragments", "rows 0 to 9", "version 3: 30 rows", "rows 30 to 59"):
        assert line in done.stdout
    found = described("inspect", crashed)
    assert [column["name"] for column in found["columns"]] == ["n", "text"]
    assert [version["version"] for version in found["table"]["versions"]] == [3, 2, 1]
    (segment,) = found["log"]["segments"]
    assert (segment["first_row"], segment["rows"], segment["entries"]) == (30, 30, 3)
    assert found["disk_bytes"] > segment["allocated_bytes"] > 0
    assert files(crashed) == before


async def test_a_bucket_that_is_open(tmp_path: Path) -> None:
    path = tmp_path / "bucket_0"
    async with PersistingBackend(0, path, **QUIET) as bucket:
        await bucket.put_batch([record(i) for i in range(10)])
        await bucket.flush()
        await bucket.put(record(10))
        own = f"process {os.getpid()} "
        for command in ("verify", "inspect"):
            found = described(command, path)
            assert found["sound"]
            assert found["rows"] == 11
            assert own in found["in_use_by"]
        assert (
            f"open at this moment, by process {os.getpid()} " in persisting("verify", path).stdout
        )
        for arguments in ([], ["--apply"]):
            done = persisting("repair", path, *arguments)
            assert done.returncode == 2
            assert own in done.stderr
        await bucket.put(record(11))
        assert await bucket.get(100, 0) == [record(i) for i in range(12)]


def test_all_buckets_of_a_directory(crashed: Path) -> None:
    second = crashed.with_name("bucket_1")
    shutil.copytree(crashed, second)
    flip_a_byte_of_the_log(second)
    (crashed.parent / "notes").mkdir()
    done = persisting("verify", crashed.parent)
    assert done.returncode == 1
    assert f"{crashed}: sound" in done.stdout
    assert f"{second}: DAMAGED" in done.stdout
    lines = persisting("inspect", crashed.parent, "--json").stdout.splitlines()
    assert [json.loads(line)["path"] for line in lines] == [str(crashed), str(second)]


def test_what_cannot_run_has_status_2(tmp_path: Path) -> None:
    for command in ("verify", "repair", "inspect"):
        for path in (tmp_path, tmp_path / "none"):
            done = persisting(command, path)
            assert (done.returncode, done.stdout) == (2, "")
            assert str(path) in done.stderr
            assert "Traceback" not in done.stderr
    assert [*tmp_path.iterdir()] == []
    for arguments in ([], ["verify"], ["verify", "here", "--apply"], ["mend", "here"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2


def test_a_reader_that_goes_away_is_no_fault(crashed: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "persisting", "inspect", crashed],
            cwd=ROOT,
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, b"")


def test_the_command_is_installed() -> None:
    done = run([str(Path(sys.executable).with_name("persisting")), "--help"])
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_what_its_status_means(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "Status: 0" in capsys.readouterr().out
