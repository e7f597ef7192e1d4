"""Whole engines of vLLM, one process after the other, over one store."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def engine(directory: Path) -> dict[str, Any]:
    """Run an engine and return what it printed."""
    argv = [sys.executable, "-m", "tests.engines.programs.vllm_cpu", "kv"]
    done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_second_engine_answers_alike_from_the_disk(tmp_path: Path) -> None:
    first = engine(tmp_path)
    assert first["cached"] == 0
    second = engine(tmp_path)
    assert second == {"tokens": first["tokens"], "cached": 1024}
    damage(tmp_path / "kv")
    third = engine(tmp_path)
    assert third["tokens"] == first["tokens"]
    assert third["cached"] < 1024


def damage(store: Path) -> None:
    """Change a byte of every page of the disk, those of about four of the eight blocks."""
    for file in store.glob("*.seg"):
        content = bytearray(file.read_bytes())
        assert any(content[1 << 20 : 2 << 20])
        for at in range(1 << 20, 2 << 20, 4096):
            content[at] ^= 0xFF
        file.write_bytes(content)
