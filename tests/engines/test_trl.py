"""TRL's rollouts in a store of trajectories, taken by the data set that its trainer trains over."""

from __future__ import annotations

import dataclasses
import queue
import subprocess
import sys
import threading
from collections import defaultdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from accelerate import PartialState
from trl.experimental.async_grpo.async_grpo_trainer import FixedCountBatcher, RolloutQueueDataset
from trl.experimental.async_grpo.async_rollout_worker import RolloutSample

from persisting._errors import NotFoundError, SchemaError
from persisting.integrations.trl import ROLLOUT_COLUMNS, Acknowledgements, RolloutBuffer
from persisting.trajectory import TrajectoryStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def opened(path: Path) -> TrajectoryStore:
    return TrajectoryStore(path, columns=ROLLOUT_COLUMNS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrajectoryStore]:
    with opened(tmp_path / "store") as found:
        yield found


def sample(number: int) -> RolloutSample:
    count = 3 + number % 4
    return RolloutSample(
        prompt=[{"role": "user", "content": f"question {number}"}],
        completion=[{"role": "assistant", "content": "é" * number}],
        input_ids=np.arange(count) + number,
        completion_mask=np.array([0] + [1] * (count - 1)),
        old_log_probs=np.linspace(-1, 0, count, dtype=np.float32),
        advantage=number / 7,
        model_version=number // 2,
        group_id=number // 4,
        metrics={"reward": float(number)},
        enqueued_at=None if number % 2 else 1.5,
    )


def number(found: RolloutSample) -> int:
    """Return the number of a sample, which is held against what was put."""
    at = int(found.metrics["reward"])
    for field in dataclasses.fields(found):
        value, got = getattr(sample(at), field.name), getattr(found, field.name)
        if isinstance(value, np.ndarray):
            assert got.dtype == value.dtype
            assert np.array_equal(got, value)
        else:
            assert got == value
            assert type(got) is type(value)
    return at


def drawn(buffer: RolloutBuffer) -> list[int]:
    """Take all that waits."""
    found = []
    while buffer.qsize():
        found.append(number(buffer.get_nowait()))
    return found


def test_samples_come_back(tmp_path: Path) -> None:
    with opened(tmp_path / "store") as store:
        buffer = RolloutBuffer(store, maxsize=4)
        assert buffer.empty()
        with pytest.raises(queue.Empty):
            buffer.get(timeout=0.01)
        for at in range(4):
            buffer.put_nowait(sample(at))
        assert buffer.full()
        with pytest.raises(queue.Full):
            buffer.put_nowait(sample(4))
        assert [number(buffer.get()), number(buffer.get())] == [0, 1]
        assert (buffer.qsize(), buffer.full()) == (2, False)
        assert store.episodes("group_id = '0'").num_rows == 4
        assert store.query()["version"].to_pylist() == [0, 0, 1, 1]
        buffer.acknowledge(buffer.given()[:1])
    with opened(tmp_path / "store") as store:  # what was not acknowledged is given out again, first
        buffer = RolloutBuffer(store)
        buffer.put_nowait(sample(4))
        assert drawn(buffer) == [1, 2, 3, 4]
        buffer.acknowledge(buffer.given())
        assert buffer.given() == []
        buffer.acknowledge([0])
    with opened(tmp_path / "store") as store:
        buffer = RolloutBuffer(store)
        assert drawn(buffer) == []
        buffer.put_nowait(sample(5))
        assert drawn(buffer) == [5]


def test_a_get_waits(store: TrajectoryStore) -> None:
    buffer = RolloutBuffer(store)
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(number(buffer.get(timeout=30))))
    waiting.start()
    buffer.put_nowait(sample(3))
    waiting.join()
    assert found == [3]


def rows(buffer: RolloutBuffer, metrics: dict[str, list[float]]) -> Iterator[Any]:
    """Return the micro-batches that the trainer trains over."""
    dataset = RolloutQueueDataset(
        rollout_queue=buffer,
        model_version_fn=lambda: 9,
        check_health_fn=lambda after: None,
        stale_after_s=60.0,
        metrics=metrics,
        max_staleness=8,
        poll_interval_s=0.1,
    )
    return iter(FixedCountBatcher(dataset, num_processes=1, microbatch_size=4))


def trained(batch: Any) -> list[int]:
    return sorted(int(one["metrics"]["reward"]) for row in batch for one in row.samples)


def test_a_trainer_that_is_killed_and_goes_on(tmp_path: Path) -> None:
    """Steps of a trainer, with a batch in advance, a checkpoint, and a process that begins anew."""
    PartialState()  # which the log of the data set needs
    args: Any = SimpleNamespace(output_dir=str(tmp_path / "out"))
    metrics: dict[str, list[float]] = defaultdict(list)
    with opened(tmp_path / "store") as store:
        buffer = RolloutBuffer(store)
        for at in range(32):
            buffer.put_nowait(sample(at))
        callback, batches = Acknowledgements(buffer), rows(buffer, metrics)
        callback.on_train_begin(args, SimpleNamespace(global_step=0), None)
        ahead = trained(next(batches))
        assert metrics["sample/dropped_stale_total"] == [1.0] * 2  # of versions 0, two samples
        seen = []
        for step in range(1, 5):
            seen.append(ahead)
            ahead = trained(next(batches))
            callback.on_step_end(args, SimpleNamespace(global_step=step), None)
            if step in (1, 2):
                (tmp_path / "out" / f"checkpoint-{step}").mkdir(parents=True)
                callback.on_save(args, SimpleNamespace(global_step=step), None)
            if step == 1:
                (tmp_path / "out" / "checkpoint-1").rmdir()
        assert store.tags() == ["checkpoint-2"]
        assert seen == [[*range(first, first + 4)] for first in (2, 6, 10, 14)]
    with opened(tmp_path / "store") as store:
        buffer = RolloutBuffer(store)
        Acknowledgements(buffer).on_train_begin(args, SimpleNamespace(global_step=2), None)
        assert drawn(buffer) == [*range(10, 32)]  # what steps 1 and 2 were not given
        with pytest.raises(NotFoundError):
            Acknowledgements(buffer).on_train_begin(args, SimpleNamespace(global_step=7), None)


CHILD = """
import os, signal, sys
from pathlib import Path
from persisting.integrations.trl import RolloutBuffer
from tests.engines.test_trl import opened, sample

buffer = RolloutBuffer(opened(Path(sys.argv[1])))
for at in range(10):
    buffer.put_nowait(sample(at))
for at in range(6):
    buffer.get()
buffer.acknowledge(buffer.given()[:3])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    ended = subprocess.run([sys.executable, "-c", CHILD, str(path)], check=False)
    assert ended.returncode == -9
    with opened(path) as store:
        assert drawn(RolloutBuffer(store)) == [*range(3, 10)]


def test_what_is_refused(tmp_path: Path, store: TrajectoryStore) -> None:
    other = TrajectoryStore(tmp_path / "other")
    with other, pytest.raises(SchemaError, match="want a store with the columns of ROLLOUT"):
        RolloutBuffer(other)
    buffer = RolloutBuffer(store)
    wrong = sample(1)
    wrong.metrics = {"reward": object()}
    with pytest.raises(SchemaError, match="metrics: JSON cannot hold it"):
        buffer.put_nowait(wrong)
    assert buffer.empty()
