"""The part of the demonstration that trains an agent and kills it; all of it is `build.py demo`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from demo.agent import COLUMNS, NAME, audit
from demo.processes import DemoError
from persisting.params import ParameterStore
from persisting.trajectory import TrajectoryStore
from tests.support import run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_trainer_that_is_killed_learns_each_step_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo.agent", tmp_path / "agent", "--versions", "8"]
    done = run([*map(str, command)], timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed 3 times" in done.stdout
    assert re.search(r"8 policies learned from [\d,]+ steps: each once", done.stdout)
    assert "that of a trainer that nobody killed, bit for bit" in done.stdout


def published(path: Path, offsets: list[list[int]], pending: bool) -> None:
    """Store steps 0, 1, 3, 4 and 5, and policies that have learned from some of them."""
    with (
        TrajectoryStore(path / "trajectories", columns=COLUMNS) as steps,
        ParameterStore(path / "policies") as policies,
    ):
        for version in range(len(offsets)):
            with steps.writer(group=str(version), episode_id=str(version)) as writer:
                for _ in range(5 // len(offsets) + version):
                    writer.append({"obs": np.zeros(4), "action": 0, "reward": 1.0})
                writer.end_episode({"obs": np.zeros(4)}, terminated=True)
        for each in offsets:
            policies.save(NAME, {"weights": np.zeros(4), "offsets": np.array(each, np.int64)})
        if pending:
            steps.lease([0])


@pytest.mark.parametrize(
    ("offsets", "pending", "says"),
    [
        ([[0, 1], [3, 4]], False, "1 steps were never learned from, 0 twice"),
        ([[0, 1, 3], [3, 4, 5]], False, "0 steps were never learned from, 1 twice"),
        ([[0, 1], [3, 4, 5]], True, "1 batches have no acknowledgement"),
    ],
)
def test_the_audit_finds_what_is_wrong(
    tmp_path: Path, offsets: list[list[int]], pending: bool, says: str
) -> None:
    published(tmp_path, offsets, pending)
    with pytest.raises(DemoError, match=says):
        audit(tmp_path, len(offsets))


def test_the_audit_takes_what_is_right(tmp_path: Path) -> None:
    published(tmp_path, [[0, 1], [3, 4, 5]], pending=False)
    assert audit(tmp_path, 2) == (bytes(32), 5, 2, 3)
