"""The commands that read and fill buckets: query, head, tail, export, import, compact, index."""

from __future__ import annotations

import datetime
import functools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from persisting import LanceBackend, PersistingBackend
from persisting._cli import main
from persisting._engine.bucket import Bucket
from persisting._records import RecordDecoder
from tests.support import QUIET, ROOT, eventually
from tests.test_cli import files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support import Opener

PERSISTING = [sys.executable, "-m", "persisting"]
ROWS = 60


def record(n: int) -> dict[str, Any]:
    return {
        "n": n,
        "text": f"line {n}\n\t\\",
        "tokens": [n, n + 1],
        "info": {"a": [1, None, "x"]},
        "at": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        "raw": b"\0\xff",
    }


@pytest.fixture
async def live(opening: Opener, tmp_path: Path) -> AsyncIterator[Path]:
    """An open bucket: 40 rows in Lance, of which 5 were removed, and 20 in the log."""
    path = tmp_path / "queue" / "bucket_0"
    bucket = opening(PersistingBackend, path, **QUIET)
    await bucket.put_batch([record(n) for n in range(40)])
    await bucket.delete("n >= 10 AND n < 15")
    await bucket.put_batch([record(n) for n in range(40, ROWS)])
    yield path
    assert bucket.total_count() == ROWS


class Shell:
    """Runs commands in this process and reads what they print."""

    def __init__(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        self._capture = capfdbinary
        self.errors = ""

    def __call__(self, *arguments: object, status: int = 0) -> str:
        got = main([str(argument) for argument in arguments])
        out, errors = self._capture.readouterr()
        self.errors = errors.decode()
        assert got == status, self.errors
        return out.decode()

    def json(self, *arguments: object) -> list[dict[str, Any]]:
        lines = self(*arguments, "--json").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def shell(capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(capfdbinary)


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    assert all(row["_offset"] == row["n"] for row in rows)
    return [row["n"] for row in rows]


LEFT = [*range(10), *range(15, ROWS)]


def test_the_commands_that_read_change_nothing(
    live: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tempfile, "mkdtemp")  # so no directory can be made elsewhere
    before = files(live)
    assert numbers(shell.json("head", live, "-n", 12)) == [*range(10), 15, 16]
    assert numbers(shell.json("tail", live)) == [*range(50, ROWS)]
    assert numbers(shell.json("tail", live, "-n", 48)) == LEFT[-48:]
    assert numbers(shell.json("tail", live, "-n", 1000)) == LEFT
    assert shell.json("head", live, "-n", 0) == shell.json("tail", live, "-n", 0) == []
    assert numbers(shell.json("query", live, "n % 7 = 0")) == [n for n in LEFT if n % 7 == 0]
    asked = ("query", live.parent, "--order-by", "n desc", "--limit", 3, "--offset", 1)
    assert numbers(shell.json(*asked)) == [58, 57, 56]
    assert shell("query", live, "--count") == f"{len(LEFT)}\n"
    assert shell("query", live, "--count", "n >= 40") == "20\n"
    assert shell.json("query", live, "--count", "--filter", "n < 0") == [{"count": 0}]
    assert "n > Int64(3)" in shell("query", live, "--explain", "n > 3")
    assert str(live) in shell("query", live, "--explain")
    shell("index", live, "list")
    shell("export", live, "-", "--format", "jsonl")
    assert shell.errors == ""
    assert files(live) == before


def test_rows_into_a_pipe(live: Path, shell: Shell) -> None:
    found = shell("query", live, "n IN (3, 45)", "--columns", "text,tokens", "--columns", "raw")
    assert found.splitlines() == [
        "_offset\ttext\ttokens\traw",
        "3\tline 3\\n\\t\\\\\t[3, 4]\tAP8=",
        "45\tline 45\\n\\t\\\\\t[45, 46]\tAP8=",
    ]
    assert shell("head", live, "-n", 1).split("\t")[-2:] == ["2026-01-01T00:00:00+00:00", "AP8=\n"]


def test_rows_as_json(live: Path, shell: Shell) -> None:
    (row,) = shell.json("query", live, "n = 3")
    assert row == {
        **record(3),
        "_offset": 3,
        "at": "2026-01-01T00:00:00+00:00",
        "raw": "AP8=",
    }


def in_a_terminal(*arguments: object, columns: int) -> str:
    """Run in a terminal and return what it shows, without colours."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen(
        [*PERSISTING, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the end, as Linux tells of it
            break
        if not part:
            break
        shown += part
    os.close(leader)
    assert process.wait(30) == 0, shown
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r\n", "\n")


def test_tables_in_a_terminal(live: Path) -> None:
    for columns in (40, 100):
        shown = in_a_terminal("head", live, "-n", 3, columns=columns).splitlines()
        assert all(len(line) <= columns for line in shown[:5])
        assert shown[0].split()[:3] == ["_offset", "n", "text"]
        assert shown[1].split()[:2] == ["int64", "string"]
        assert shown[4].split()[:2] == ["2", "2"]
        assert (columns < 100) == (len(shown) > 5)  # columns that did not fit
    assert "raw" in in_a_terminal("head", live, columns=40).splitlines()[-1]
    empty = in_a_terminal("query", live, "n < 0", columns=100)
    assert empty.split()[:2] == ["_offset", "n"]


async def test_a_terminal_gets_the_first_rows(opening: Opener, tmp_path: Path) -> None:
    bucket = opening(PersistingBackend, tmp_path / "bucket")
    await bucket.put_batch([{"n": n, "esc": "\x1b[31mred"} for n in range(500)])
    shown = in_a_terminal("query", tmp_path / "bucket", columns=100)
    assert len(shown.splitlines()) == 103
    assert "these are the first 100 rows" in shown
    assert "\N{REPLACEMENT CHARACTER}[31mred" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("query", "{}", "n = = 3"), "Line: 1, Column: 5"),
        (("query", "{}", "nope = 3"), "nope"),
        (("query", "{}", "--columns", "n,nope"), "nope"),
        (("query", "{}", "--order-by", "n down"), "want 'column asc' or 'column desc'"),
        (("query", "{}", "n = 1", "--filter", "n = 1"), "give the filter once"),
        (("query", "{}/nothing"), "is no bucket"),
        (("tail", "{}", "--interval", "0"), "--interval"),
        (("export", "{}", "rows.csv"), "--format parquet|arrow|jsonl"),
        (("export", "{}", "-", "--format", "parquet"), "parquet needs a file"),
        (("import", "{}", "/nothing.jsonl"), "/nothing.jsonl"),
        (
            ("import", "{}", "/dev/null", "--format", "jsonl"),
            "is open in this process already",
        ),
        (("compact", "{}"), "is open in this process already"),
        (("index", "{}", "create", "n"), "is open in this process already"),
        (("index", "{}", "create", "n", "-o", "metric"), "want NAME=VALUE"),
        (("index", "{}", "drop", "n_idx"), "is open in this process already"),
    ],
)
def test_what_cannot_be_done(live: Path, shell: Shell, arguments: Any, says: str) -> None:
    shell(*(part.format(live) for part in arguments), status=2)
    assert says in shell.errors
    assert shell.errors.startswith("persisting: ")


def test_several_buckets(live: Path, shell: Shell) -> None:
    other = live.parent / "bucket_1"
    shell("import", other, os.devnull, "--format", "jsonl")
    shell("head", live.parent, status=2)
    assert "name one of bucket_0, bucket_1" in shell.errors
    with pytest.raises(SystemExit):
        main(["query", str(live), "n > 1", "n > 2"])


async def test_rows_without_a_log_are_missing_and_said_to_be(
    opening: Opener, tmp_path: Path, shell: Shell
) -> None:
    bucket = opening(LanceBackend, tmp_path / "bucket", **QUIET)
    await bucket.put_batch([{"n": n} for n in range(3)])
    await bucket.flush()
    await bucket.put_batch([{"n": n} for n in range(3, 6)])
    assert numbers(shell.json("head", tmp_path / "bucket")) == [0, 1, 2]
    assert "has it open without a log: rows not flushed are missing" in shell.errors


async def test_tail_follows_a_live_writer(opening: Opener, tmp_path: Path) -> None:
    path = tmp_path / "bucket"
    bucket = opening(PersistingBackend, path, flush_threshold=64, compaction_threshold=4)
    await bucket.put({"n": 0})
    lines: list[str] = []
    with subprocess.Popen(
        [*PERSISTING, "tail", path, "-f", "--json", "--interval", "0.02"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as tail:
        assert tail.stdout is not None
        follow = threading.Thread(target=lambda out=tail.stdout: lines.extend(out), daemon=True)
        follow.start()
        assert eventually(lambda: len(lines) == 1, within=20)
        for n in range(1, 400):
            await bucket.put({"n": n, "late": n} if n > 200 else {"n": n})
            time.sleep(0.002)
        await bucket.flush()
        await bucket.put({"n": 400})
        assert eventually(lambda: len(lines) == 401, within=20)
        tail.send_signal(signal.SIGINT)
        assert tail.wait(20) == 0
        follow.join(20)
    found = [json.loads(line) for line in lines]
    assert numbers(found) == [*range(401)]
    assert found[300]["late"] == 300


# ---- export and import ----


@pytest.mark.parametrize("kind", ["parquet", "arrow", "jsonl"])
def test_a_round_trip(live: Path, shell: Shell, tmp_path: Path, kind: str) -> None:
    file, copied = tmp_path / f"rows.{kind}", tmp_path / "copied"
    assert shell.json("export", live, file)[0]["rows"] == len(LEFT)
    assert shell.json("import", copied, file)[0] == {
        "path": str(copied),
        "first_offset": 0,
        "rows": len(LEFT),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copied", "queue", file.name]
    want = [record(n) for n in LEFT]
    if kind == "jsonl":
        want = [{**r, "at": "2026-01-01T00:00:00+00:00", "raw": "AP8="} for r in want]
    assert records(copied) == want


def test_exports_are_what_others_read(live: Path, shell: Shell, tmp_path: Path) -> None:
    shell(
        "export", live, tmp_path / "a.pq", "--filter", "n > 50", "--columns", "n", "--with-offset"
    )
    assert parquet.read_table(tmp_path / "a.pq").to_pydict() == {
        "n": [*range(51, 60)],
        "_offset": [*range(51, 60)],
    }
    shell("export", live, tmp_path / "a.arrow", "--order-by", "n desc", "--limit", 2)
    with pa.memory_map(str(tmp_path / "a.arrow")) as file:
        assert pa.ipc.open_file(file).read_all().column("n").to_pylist() == [59, 58]
    shell("export", live, tmp_path / "a.arrow", status=2)
    assert "--force replaces it" in shell.errors
    shell("export", live, tmp_path / "a.arrow", "--force", "--filter", "n = = 1", status=2)
    shell("export", live, tmp_path / "a.arrow", "--force", "--filter", "n = 1")
    with pa.memory_map(str(tmp_path / "a.arrow")) as file:
        assert pa.ipc.open_file(file).read_all().num_rows == 1
    assert {p.name for p in tmp_path.iterdir()} == {"a.arrow", "a.pq", "queue"}


def test_through_pipes(live: Path, tmp_path: Path) -> None:
    for kind in ("arrow", "jsonl"):
        exported = subprocess.run(
            [*PERSISTING, "export", live, "-", "--format", kind],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        subprocess.run(
            [*PERSISTING, "import", tmp_path / kind, "-", "--format", kind],
            cwd=ROOT,
            input=exported.stdout,
            check=True,
            capture_output=True,
        )
        assert len([*(tmp_path / kind).glob("data.lance/data/*")]) == 1


async def test_an_export_goes_on_while_the_writer_compacts(
    opening: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, file = tmp_path / "bucket", tmp_path / "rows.jsonl"
    bucket = opening(PersistingBackend, path, cache_bytes=0, **QUIET)
    for first in range(0, 40_000, 10_000):
        await bucket.put_batch([{"n": n} for n in range(first, first + 10_000)])
        await bucket.flush()
    old = {*path.glob("data.lance/data/*")}

    class Slow:
        """Lets the writer remove all that was there when the first batch has been written."""

        def __init__(self) -> None:
            self.removed = False

        def update(self, *_: object) -> None:
            if not self.removed:
                bucket._bucket.truncate_before(39_000)
                bucket._bucket.compact()
                assert old.isdisjoint(path.glob("data.lance/data/*"))
                self.removed = True

        def __enter__(self) -> Slow:
            return self

        def __exit__(self, *_: object) -> None:
            assert self.removed

    monkeypatch.setattr("persisting._cli.export.Bar", lambda _: Slow())
    assert main(["export", str(path), str(file)]) == 0
    assert [json.loads(line)["n"] for line in file.read_text().splitlines()] == [*range(40_000)]


def lines_to(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def records(path: Path) -> list[dict[str, Any]]:
    with Bucket(path, {**QUIET, "enable_wal": False}) as table, table.read(0, 10**9) as cursor:
        return RecordDecoder().decode(cursor)


def stored(path: Path) -> list[int]:
    return [row["n"] for row in records(path)]


def test_an_import_that_fails_says_what_is_stored(tmp_path: Path, shell: Shell) -> None:
    good = [{"n": n} for n in range(2500)]
    bad = lines_to(tmp_path / "bad.jsonl", [*good, {"n": "text"}])
    shell("import", tmp_path / "new", bad, status=2)
    assert "(no bucket was made)" in shell.errors
    assert [p.name for p in tmp_path.iterdir()] == ["bad.jsonl"]

    lines_to(tmp_path / "one.jsonl", [{"n": -1}])
    shell("import", tmp_path / "there", tmp_path / "one.jsonl")
    shell("import", tmp_path / "there", bad, status=2)
    assert "rows 2000 to 2500 of the file" in shell.errors
    assert "the first 2,000 rows of the file are stored" in shell.errors
    assert "--skip 2000 goes on" in shell.errors
    assert stored(tmp_path / "there") == [-1, *range(2000)]
    lines_to(bad, good)
    assert shell.json("import", tmp_path / "there", bad, "--skip", 2000)[0]["rows"] == 500
    assert stored(tmp_path / "there") == [-1, *range(2500)]
    shell("import", tmp_path / "there", bad, "--skip", 2501, status=2)
    assert "the file has 2500 rows" in shell.errors

    (tmp_path / "broken.jsonl").write_text('{"n": 1}\n\n{"n": \n')
    shell("import", tmp_path / "new", tmp_path / "broken.jsonl", status=2)
    assert "broken.jsonl, line 3" in shell.errors
    lines_to(tmp_path / "list.jsonl", [[1]])
    shell("import", tmp_path / "new", tmp_path / "list.jsonl", status=2)
    assert "line 1: want an object, got list" in shell.errors
    (tmp_path / "no.parquet").write_text("no")
    shell("import", tmp_path / "new", tmp_path / "no.parquet", status=2)
    assert "is no parquet file" in shell.errors
    assert not (tmp_path / "new").exists()


def has_files(path: Path, count: int) -> bool:
    return len([*path.glob("data.lance/data/*")]) >= count


def test_an_import_that_is_killed(tmp_path: Path, shell: Shell) -> None:
    lines_to(tmp_path / "one.jsonl", [{"n": -1}])
    shell("import", tmp_path / "there", tmp_path / "one.jsonl")
    rows = tmp_path / "rows.jsonl"
    lines_to(rows, [{"n": n, "text": "x" * 200} for n in range(400_000)])
    for path in (tmp_path / "new", tmp_path / "there"):
        with subprocess.Popen(
            [*PERSISTING, "import", path, rows], cwd=ROOT, stderr=subprocess.PIPE
        ) as process:
            work = path if path.name == "there" else tmp_path / ".new.importing"
            flushed = 3 if path.name == "there" else 1
            assert eventually(functools.partial(has_files, work, flushed), within=60)
            process.kill()
    assert not (tmp_path / "new").exists()
    found = stored(tmp_path / "there")
    assert found == [-1, *range(len(found) - 1)]
    assert 1 < len(found) < 400_000
    shell("import", tmp_path / "new", tmp_path / "one.jsonl")
    assert stored(tmp_path / "new") == [-1]
    assert not (tmp_path / ".new.importing").exists()


def test_compact_and_index(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "bucket"
    for first in range(0, 500, 100):
        shell(
            "import",
            path,
            lines_to(tmp_path / "a.jsonl", [record_of(n) for n in range(first, first + 100)]),
        )
    (done,) = shell.json("compact", path)
    assert (done["before"]["fragments"], done["after"]["fragments"]) == (5, 1)
    assert done["after"]["versions"] == 1
    assert done["after"]["disk_bytes"] < done["before"]["disk_bytes"]
    assert "-> 1 fragment" in shell("compact", path)
    assert not (path / "wal").exists()

    assert shell("index", path, "create", "n") == ""
    shell(
        "index", path, "create", "text", "--type", "inverted", "-o", "stem=true", "--name", "words"
    )
    shell("index", path, "create", "n", status=2)
    shell("index", path, "create", "n", "--replace", "--type", "zonemap", "-o", "rows_per_zone=64")
    listed = {index["name"]: index for index in shell.json("index", path, "list")}
    assert listed.keys() == {"n_idx", "words"}
    assert listed["n_idx"]["rows_indexed"] == 500
    assert listed["n_idx"]["type"].lower() == "zonemap"
    assert "words: " in shell("index", path, "list")
    assert "ScalarIndexQuery" in shell("query", path, "--explain", "n = 3")
    shell("index", path, "drop", "words")
    assert [index["name"] for index in shell.json("index", path, "list")] == ["n_idx"]
    shell("index", path, "drop", "words", status=2)
    assert "n_idx" in shell.errors


def record_of(n: int) -> dict[str, Any]:
    return {"n": n, "text": f"words and numbers like {n}"}
