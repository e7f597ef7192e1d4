"""The command line with stdouts, files and values of every kind: a line, never a traceback."""

from __future__ import annotations

import array
import asyncio
import fcntl
import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting import open_readonly
from persisting._cli import COMMANDS, main
from persisting._records import MAX_DEPTH
from persisting.kv import KVStore
from persisting.params import ParameterStore
from persisting.trajectory import TrajectoryStore
from tests.support import ROOT, command, eventually, run
from tests.test_cli_rows import Shell, records

if TYPE_CHECKING:
    from pathlib import Path

PERSISTING = [sys.executable, "-m", "persisting"]
TEXTS = ["é€ \U0001f600 \\xe9", "plain"]
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def shell(capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(capfdbinary)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a bucket of text beyond Latin-1, and the lines that it was made from."""
    path = tmp_path_factory.mktemp("streams")
    rows = path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"t": text}) + "\n" for text in TEXTS))
    assert main(["import", str(path / "bucket"), str(rows)]) == 0
    with KVStore(path / "kv", capacity="64 MiB", namespace="n€") as store:
        assert store.set("é€", b"x")
    with ParameterStore(path / "params") as parameters:
        for value in range(2):
            parameters.save("m€", {"é€": np.full(3, value)})
    with TrajectoryStore(path / "trajectories") as trajectories:
        writer = trajectories.writer(episode_id="é€", group="é€")
        writer.append({"role": "é€", "content": "é€"})
        writer.end_episode(terminated=True, metadata={"é€": 1})
    return path


@pytest.fixture(scope="module")
def results(directory: Path) -> dict[str, Any]:
    """What came of all commands with all kinds of stdout."""
    done = run(command("streams", directory), timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_command_is_tried(results: dict[str, Any]) -> None:
    tried = {name.removeprefix("! ").split()[0].rstrip(",") for name in results["utf-8"]}
    assert {*COMMANDS, "help", "version"} <= tried
    assert all(result["status"] == 0 for result in results["utf-8"].values()), results["utf-8"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_text_that_the_encoding_has_not_is_escaped(results: dict[str, Any], encoding: str) -> None:
    for name, result in results[encoding].items():
        assert result["status"] == 0, name
        assert ("import" in name) or result["errors"] == results["utf-8"][name]["errors"], name
        whole = results["utf-8"][name]["out"].encode("latin-1")
        got = result["out"].encode("latin-1")
        if "stdout" in name:  # the format of the file says how text is written
            assert got == whole
        elif name in ("query, JSON", "head, JSON", "tail, JSON"):
            lines = [json.loads(line) for line in got.decode(encoding).splitlines()]
            assert lines == [{"_offset": i, "t": text} for i, text in enumerate(TEXTS)], name
        elif name in ("query", "head", "tail"):
            rows = got.decode(encoding).splitlines()[1:]
            shown = [f"{i}\t{text}" for i, text in enumerate(t.replace("\\", r"\\") for t in TEXTS)]
            assert rows == [
                row.encode(encoding, "backslashreplace").decode(encoding) for row in shown
            ]
        else:
            assert bool(got.decode(encoding)) != name.startswith("!"), name


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("closed", "persisting: stdout: Bad file descriptor\n"),
        ("full", "persisting: stdout: No space left on device\n"),
        ("left", ""),
    ],
)
def test_output_that_goes_nowhere(results: dict[str, Any], kind: str, said: str) -> None:
    for name, result in results[kind].items():
        prints = not name.startswith("!")
        assert result["status"] == (2 if prints else 0), (name, result)
        if prints:
            assert result["errors"] == said, name
        else:
            assert "stdout" not in result["errors"], name


# ---- whole processes ----


def shown(
    argv: str, directory: Path, status: int = 0, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a line of shell in which $P is the program, and $D the directory."""
    done = subprocess.run(
        [
            "bash",
            "-c",
            argv.replace("$P", f'"{sys.executable}" $O -m persisting').replace(
                "$D", str(directory)
            ),
        ],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize("optimised", ["-O", "-OO"])
def test_help_without_doc_strings(directory: Path, optimised: str) -> None:
    done = shown(
        "$P --help && $P verify --help && $P head $D/bucket",
        directory,
        environment={"O": optimised},
    )
    text = done.stdout.decode()
    assert all(name in text for name in COMMANDS)
    assert "--quick" in text
    assert TEXTS[1] in text
    assert ("Status: 0 sound" in text) == (optimised == "-O")


def test_the_c_locale(directory: Path) -> None:
    done = shown(
        "$P query $D/bucket \"t LIKE 'é%'\" && $P query $D/bucket \"t LIKE 'é%'\" --json",
        directory,
        environment=C_LOCALE,
    )
    lines = done.stdout.decode("ascii").splitlines()
    assert lines[1].startswith("0\t\\xe9\\u20ac")
    assert json.loads(lines[2]) == {"_offset": 0, "t": TEXTS[0]}
    done = shown("$P head $D/bucket", directory, environment={"PYTHONIOENCODING": "ascii"})
    assert done.stdout.startswith(b"_offset\tt\n0\t\\xe9\\u20ac")
    done = shown("$P query $D/bucket $'t = \\'\\xff\\''", directory, 2, C_LOCALE)
    assert b"invalid utf8 value" in done.stderr
    named = directory / "ü€"
    shown("$P import $D/ü€ $D/rows.jsonl && $P head $D/ü€", directory, 0, C_LOCALE)
    assert [record["t"] for record in records(named)] == TEXTS


def test_without_descriptors(directory: Path) -> None:
    assert shown("$P head $D/nothing 2>&-", directory, 2).stdout == b""
    assert shown("$P head 2>/dev/full", directory, 2).stdout == b""
    assert shown("$P head $D/bucket <&- 2>&-", directory).stdout.count(b"\n") == 1 + len(TEXTS)
    done = shown("$P import $D/none - --format jsonl <&-", directory, 2)
    assert b"Bad file descriptor" in done.stderr
    assert not (directory / "none").exists()
    # A file of the bucket must not get the number of a closed descriptor.
    shown("$P import $D/sound $D/rows.jsonl <&- >&- 2>&-", directory)
    assert [record["t"] for record in records(directory / "sound")] == TEXTS
    assert main(["verify", str(directory / "sound")]) == 0


def test_a_reader_that_leaves(directory: Path) -> None:
    many = directory / "many.jsonl"
    many.write_text("".join(f'{{"n": {n}, "text": "{"x" * 100}"}}\n' for n in range(8_000)))
    shown("$P import $D/many $D/many.jsonl", directory)
    for argv in ("query $D/many", "export $D/many - --format arrow", "tail $D/many -n 8000"):
        done = shown(f"set -o pipefail; $P {argv} | head -c 10", directory, 2)
        assert (len(done.stdout), done.stderr) == (10, b"")


def interrupted(path: Path) -> str:
    """Import 2,500 rows of a pipe that stays open, interrupt it, and return what it says."""
    with subprocess.Popen(
        [*PERSISTING, "import", path, "-", "--format", "jsonl"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        pipe = process.stdin.fileno()
        os.write(pipe, b"".join(b'{"t": "%d"}\n' % n for n in range(2500)))
        assert eventually(lambda: unread(pipe) == 0, within=30)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        errors = process.stderr.read().decode()
    assert errors.endswith("persisting: interrupted\n")
    assert "Traceback" not in errors
    return errors


def unread(pipe: int) -> int:
    """Return how many bytes a pipe holds."""
    (count,) = array.array("i", fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)))
    return count


def test_ctrl_c_ends_an_import(directory: Path) -> None:
    assert "no bucket was made" in interrupted(directory / "fresh")
    assert not (directory / "fresh").exists()
    assert not (directory / ".fresh.importing").exists()
    assert main(["import", str(directory / "there"), str(directory / "rows.jsonl")]) == 0
    found = re.search(r"--skip (\d+) goes on", interrupted(directory / "there"))
    assert found is not None
    assert [record["t"] for record in records(directory / "there")] == [
        *TEXTS,
        *map(str, range(int(found[1]))),
    ]


# ---- files that are imported ----


def nested(depth: int) -> str:
    return '{"d": ' + "[" * depth + "]" * depth + "}"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (nested(100_000), f"line 1: nested data is deeper than {MAX_DEPTH}"),
        ('{"d": ' + '{"a":' * 100_000, f"line 1: nested data is deeper than {MAX_DEPTH}"),
        (f"{nested(1)}\n\n{nested(2_000)}", f"line 3: nested data is deeper than {MAX_DEPTH}"),
        (nested(500), f"deeper than {MAX_DEPTH}"),
        ("[" * 100_000, "line 1: nested data is deeper"),
        ('{"n": ' + "9" * 5_000 + "}", "line 1: Exceeds the limit"),
        ('{"n": ' + "9" * 30 + "}", "'n'"),
        ('{"t": "\\ud800"}', "'t'"),
        ('{"\\ud800": 1}', "surrogate"),
        ('{"t": {"a": "\\udfff"}}', "'t'"),
        (b'{"t": "\xff"}', "line 1: 'utf-8' codec can't decode"),
        (b'{"t": "\xed\xa0\x80"}', "'t'"),
        ('{"t": 1}\n{"t": 2}'.encode("utf-16"), "line 1: "),
        (b'{"t": 1}\n\x00\x00\n', "line 2: "),
        ('{"t": 1} {"t": 2}', "line 1: Extra data"),
        ("null", "line 1: want an object, got NoneType"),
        ("{'t': 1}", "line 1: Expecting property name"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_lines_that_are_refused(
    tmp_path: Path, shell: Shell, content: str | bytes, says: str
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(content if isinstance(content, bytes) else content.encode())
    shell("import", tmp_path / "new", rows, status=2)
    assert shell.errors.startswith("persisting: ")
    assert shell.errors.count("\n") == 1
    assert says in shell.errors
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_nan_in_nested_lines_is_stored(tmp_path: Path, shell: Shell) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"n": {"a": NaN}}')
    shell("import", tmp_path / "new", rows)
    with open_readonly(tmp_path / "new") as bucket:
        (record,) = asyncio.run(bucket.get(1, 0))
    assert np.isnan(record["n"]["a"])


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (b"", []),
        (b"\n \r\n\n", []),
        (b'\xef\xbb\xbf{"n": 1}\n', [{"n": 1}]),
        (b'{"n": 1}\r\n\r\n{"n": 2}\r\n', [{"n": 1}, {"n": 2}]),
        (b'{"n": 1}\n{"n": 2}', [{"n": 1}, {"n": 2}]),
        (b'{"n": 1, "n": 2}', [{"n": 2}]),
        (b'{"n": Infinity}', [{"n": float("inf")}]),
        (b'{"n": 1e999}', [{"n": float("inf")}]),
        (b'{"n": 18446744073709551615}', [{"n": 2**64 - 1}]),
        (b'{"": 1, "a.b": 2}', [{"": 1, "a.b": 2}]),
        (nested(MAX_DEPTH).encode(), [json.loads(nested(MAX_DEPTH))]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_lines_that_are_taken(
    tmp_path: Path, shell: Shell, content: bytes, rows: list[dict[str, Any]]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    assert shell.json("import", tmp_path / "new", file)[0]["rows"] == len(rows)
    assert records(tmp_path / "new") == rows


def test_a_limit_beyond_all_numbers_is_refused(
    directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["query", f"{directory}/bucket", "--limit", str(10**30)])
    assert ended.value.code == 2
    assert "--limit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("import", "{}/new", "{}"), "give --format"),
        (("import", "{}/new", "{}", "--format", "jsonl"), "Is a directory"),
        (("import", "{}/new", "{}", "--format", "parquet"), "Is a directory"),
        (("import", "{}/new", "{}", "--format", "lance"), "no Lance table"),
        (("import", "{}/new", "{}/none.lance"), "no Lance table"),
        (("import", "{}/new", "{}/none.jsonl"), "No such file"),
        (("import", "{}/new", "-", "--format", "lance"), "lance needs a file"),
        (("import", "{}/rows.jsonl", "{}/rows.jsonl"), "rows.jsonl"),
        (("export", "{}/bucket", "{}", "--format", "jsonl", "--force"), "irectory"),
        (("export", "{}/bucket", "{}/none/rows.jsonl"), "No such file"),
        (("query", "{}/rows.jsonl"), "is no bucket"),
        (
            ("index", "{}/bucket", "create", "t", "--replace", "-o", "a=" + "[" * 10_000),
            "field `a`",
        ),
        (("index", "{}/bucket", "create", "t", "--replace", "-o", "a=NaN"), "a"),
        (("verify", "{}/" + "n" * 300), "File name too long"),
        (("metrics", "--url", "http://[::1"), "--url: want http://host:port"),
        (("metrics", "--url", "http://host:port"), "--url: want http://host:port"),
        (("metrics", "--url", "http://127.0.0.1:99999"), "--url: want http://host:port"),
        (("metrics", "--url", "http://127.0.0.1:1/a b"), "no answer"),
        (("metrics", "--url", "http://127.0.0.1:1/é"), "no answer"),
        (("metrics", "--ca-file", "{}/none.pem"), "No such file"),
        (("top", "--once", "--url", "http://[::1"), "--url: want http://host:port"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_what_cannot_be_done(
    directory: Path, shell: Shell, arguments: tuple[str, ...], says: str
) -> None:
    shell(*(part.format(directory) for part in arguments), status=2)
    assert shell.errors.startswith("persisting: ")
    assert says in shell.errors
    assert "Traceback" not in shell.errors
    assert not (directory / "new").exists()


ANSWERS = [
    b"",
    b"SSH-2.0\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[]",
    b"HTTP/1.1 200 OK\r\n\r\n\xff",
    b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: repr(answer)[:30])
def test_servers_that_are_others(shell: Shell, answer: bytes) -> None:
    class Answer(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        shell("top", "--once", "--url", url, status=2)
        assert shell.errors.startswith("persisting: ")
        assert "answer" in shell.errors
        server.shutdown()


def test_an_internal_error_is_not_taken_for_damage(
    directory: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("persisting._engine.directory.verify", fail)
    shell("verify", directory / "bucket", status=2)
    assert "internal error" in shell.errors
    assert "ZeroDivisionError: by zero" in shell.errors
