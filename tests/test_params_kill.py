"""A writer of versions is killed at any moment: what it said is there, and all of it is whole."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest

from persisting.params import ParameterStore
from tests.programs.params_writer import content
from tests.support import Doomed, command

if TYPE_CHECKING:
    from pathlib import Path


Said = dict[str, int]


def live(directory: Path, chance: random.Random) -> Said:
    """Run a writer, kill it after a moment; return the last version of each thing that it did."""
    said: Said = {}
    writer = Doomed(command("params_writer", directory), chance.uniform(0, 0.4))
    for line in writer.lines():
        if not line.endswith("\n"):
            continue
        word, version = line.split()
        if word == "open":
            writer.doom()
        said[word] = int(version)
    return said


def check(directory: Path, said: Said) -> None:
    """Load every version that is listed."""
    with ParameterStore(directory) as store:
        if not store.names():
            assert "saved" not in said
            return
        latest, tags = store.latest("m"), store.tags("m")
        assert latest >= said.get("saved", 0)
        assert tags["newest"] == latest
        assert said.get("tagged", 0) <= tags.get("prod", 0) <= latest
        for info in store.versions("m"):
            assert info.version > said.get("deleted", 0)
            found = store.load("m", info.version)
            for name, value in content(info.version).items():
                assert np.array_equal(found[name], value), (info, name)


@pytest.mark.parametrize("rounds", [8, pytest.param(300, marks=pytest.mark.slow)])
def test_killed_again_and_again(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    said: Said = {}
    for _ in range(rounds):
        now = live(tmp_path / "store", chance)
        said |= {word: max(version, said.get(word, 0)) for word, version in now.items()}
        check(tmp_path / "store", said)
    assert said["saved"] > 2
    with ParameterStore(tmp_path / "store") as store:
        store.gc()
        assert store.verify() == []
        names = [path.name for path in (tmp_path / "store").rglob("*")]
        assert not [name for name in names if name.endswith(".tmp") and ".cat" not in name]
