"""The examples of the README run as they stand there, each by itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "README.md").read_text()
EXAMPLES: list[str] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

# What each prints at its end, by what it imports.
PRINTED = {
    "import PersistingBackend\n\n\nasync": "score: double",
    "import KVInterface, Queue": "'step': 1",
    "import KVStore": "b'some bytes' 1\n",
    "import ParameterStore": "(4, 4)\n",
    "import TrajectoryStore": "(1, 4)\n",
}


def example(marker: str) -> str:
    """Return the example that has a text."""
    (found,) = (text for text in EXAMPLES if marker in text)
    return found


def test_each_example_is_run() -> None:
    shown = {example(marker) for marker in PRINTED}
    (rest,) = set(EXAMPLES) - shown
    assert "register_backend" in rest  # that of Pulsing, whose threads end with the process


@pytest.mark.parametrize("marker", PRINTED)
def test_examples_of_the_readme_run(
    marker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example(marker), "README.md", "exec"), {"__name__": "example"})
    assert PRINTED[marker] in capsys.readouterr().out
