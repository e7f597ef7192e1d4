"""The examples of docs/params.md run, those that need no engine of others here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "params.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PLAIN = [text for text in EXAMPLES if "import torch" not in text]


def test_examples_are_found() -> None:
    assert len(PLAIN) == 2
    assert len(EXAMPLES) > len(PLAIN)


@pytest.mark.parametrize("example", PLAIN, ids=range(len(PLAIN)))
def test_examples_run(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/params.md", "exec"), {"__name__": "example"})
    assert (tmp_path / "params" / "parameters").exists()
