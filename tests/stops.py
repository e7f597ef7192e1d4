"""Count the stops of a put, in the tree that `build.py build` has built: `python -m tests.stops`.

A message is put by the Go half of the C function, twice and then twelve times, and Go counts what
runs (`capi/stops_test.go`). A stop is a function of `capi` or `engine/bucket` that each put enters
and that can turn it back, as it returns an error or a status. A turn back is a piece of a stop that
returns, and that no put came to.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from _build.libraries import go_environment
from tests.support import ROOT

MODULE = "github.com/persisting/persisting/"
PACKAGES = ("capi", "engine/bucket")
FEW, MANY = 2, 12

_FUNCTION = re.compile(r"func (?:\(\w+ \*?(?P<of>\w+)\S*\) )?(?P<name>\w+)")
_TURNS_BACK = re.compile(r"\) (\(.*(error|persisting_status)\)|error|C\.persisting_status) \{$")


class Block(NamedTuple):
    """A piece of Go that runs as a whole: its file, and its first and last line."""

    file: str
    first: int
    last: int


class Stop(NamedTuple):
    """A function that a put enters."""

    file: str
    line: int
    name: str
    turns_back: int


def runs(binary: Path, puts: int) -> dict[Block, int]:
    """Return how often each block runs when so many messages are put."""
    profile = binary.with_suffix(f".{puts}")
    command = [str(binary), "-test.run=^TestPuts$", f"-test.coverprofile={profile}"]
    environment = {**go_environment(), "PUTS": str(puts)}
    subprocess.run(command, cwd=ROOT / "capi", env=environment, check=True, capture_output=True)
    found = re.findall(
        rf"^{MODULE}(.+):(\d+)\.\d+,(\d+)\.\d+ \d+ (\d+)$", profile.read_text(), re.MULTILINE
    )
    return {Block(file, int(a), int(b)): int(n) for file, a, b, n in found}


def functions(file: str) -> dict[int, tuple[str, str]]:
    """Return the names and first lines of the functions of a file, by line."""
    found = {}
    for number, line in enumerate((ROOT / file).read_text().splitlines(), 1):
        if named := _FUNCTION.match(line):
            of = f"{named['of']}." if named["of"] else ""
            found[number] = of + named["name"], line
    return found


def stops(few: dict[Block, int], many: dict[Block, int]) -> list[Stop]:
    """Return the stops, by file and line."""
    found = []
    for file in sorted({block.file for block in many}):
        starts = functions(file)
        text = (ROOT / file).read_text().splitlines()
        for line, (name, declared) in starts.items():
            end = min((other for other in starts if other > line), default=len(text) + 1)
            own = sorted(
                block for block in many if block.file == file and line <= block.first < end
            )
            more = [many[block] - few.get(block, 0) for block in own]
            if not own or more[0] < MANY - FEW or not _TURNS_BACK.search(declared):
                continue
            back = sum(
                count == 0 and "return" in "\n".join(text[block.first - 1 : block.last])
                for block, count in zip(own, more, strict=True)
            )
            found.append(Stop(file, line, name, back))
    return found


def main() -> None:
    """Print the stops of a put."""
    with tempfile.TemporaryDirectory() as temporary:
        binary = Path(temporary, "puts")
        packages = ",".join(MODULE + package for package in PACKAGES)
        command = ["go", "test", "-c", "-covermode=count", f"-coverpkg={packages}"]
        subprocess.run(
            [*command, "-o", str(binary), "./capi"], cwd=ROOT, env=go_environment(), check=True
        )
        found = stops(runs(binary, FEW), runs(binary, MANY))
    for stop in found:
        print(f"{stop.file}:{stop.line} {stop.name}, turns back {stop.turns_back} times")
    print(f"{len(found)} stops, {sum(stop.turns_back for stop in found)} turns back")


if __name__ == "__main__":
    main()
