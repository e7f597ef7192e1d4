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


def live(directory: Path, chance: random.Random) -> tuple[int, int]:
    """Run a writer, kill it after a moment; return the versions it saved and deleted last."""
    saved = deleted = 0
    writer = Doomed(command("params_writer", directory), chance.uniform(0, 0.4))
    for line in writer.lines():
        if not line.endswith("\n"):
            continue
        word, version = line.split()
        if word == "open":
            writer.doom()
        elif word == "saved":
            saved = int(version)
        else:
            deleted = int(version)
    return saved, deleted


def check(directory: Path, saved: int, deleted: int) -> None:
    """Load every version that is listed."""
    with ParameterStore(directory) as store:
        if not store.names():
            assert not saved
            return
        latest = store.latest("m")
        assert latest >= saved
        assert store.tags("m") == {"newest": latest}
        for info in store.versions("m"):
            assert info.version > deleted
            found = store.load("m", info.version)
            for name, value in content(info.version).items():
                assert np.array_equal(found[name], value), (info, name)


@pytest.mark.parametrize("rounds", [8, pytest.param(300, marks=pytest.mark.slow)])
def test_killed_again_and_again(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(rounds)
    saved = deleted = 0
    for _ in range(rounds):
        now = live(tmp_path / "store", chance)
        saved, deleted = max(saved, now[0]), max(deleted, now[1])
        check(tmp_path / "store", saved, deleted)
    assert saved > 2
    with ParameterStore(tmp_path / "store") as store:
        store.gc()
        assert store.verify() == []
        names = [path.name for path in (tmp_path / "store").rglob("*")]
        assert not [name for name in names if name.endswith(".tmp") and ".cat" not in name]
