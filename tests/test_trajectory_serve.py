"""A store of trajectories that one process serves to others, which are killed as well."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from persisting._cli import main
from persisting._errors import (
    ClosedError,
    ConflictError,
    DuplicateError,
    InvalidArgumentError,
    NotFoundError,
    SchemaError,
    WaitTimeoutError,
)
from persisting.trajectory import (
    Column,
    Groups,
    NStep,
    RateLimit,
    Slices,
    Steps,
    TrajectoryStore,
)
from persisting.trajectory._served import Served
from tests.programs.trajectory_rollout import SAMPLES, steps
from tests.support import ROOT, Doomed, command, eventually, python, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Owner:
    """A process that serves a store."""

    def __init__(self, path: Path) -> None:
        self.path, self.socket = path / "store", path / "sock"
        self.address = f"unix:{self.socket}"
        self.start()

    def start(self) -> None:
        arguments = ["traj", "serve", self.path, "--socket", self.socket]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "persisting", *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.address in self.process.stdout.readline()

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        with self.process:
            return self.process.wait(60)

    def restart(self) -> None:
        assert self.end(signal.SIGKILL) == -signal.SIGKILL
        self.start()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Owner]:
    made = Owner(tmp_path)
    yield made
    if made.process.returncode is None:
        assert made.end(signal.SIGTERM) == 0
        assert not made.socket.exists()


@pytest.fixture(params=["unix", "tcp"])
def both(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[list[TrajectoryStore]]:
    """Open a store, and connect to it."""
    with TrajectoryStore(tmp_path / "store") as owner:
        server = owner.serve(tmp_path / "sock", listen="127.0.0.1:0")
        (address,) = [a for a in server.addresses if a.startswith(request.param)]
        with TrajectoryStore.connect(address) as store:
            yield [owner, store]


def fill(store: TrajectoryStore, episodes: int = 5) -> None:
    """Write episodes of all kinds of columns."""
    for number in range(episodes):
        with store.writer(episode_id=str(number), group=str(number // 2), env="maze") as writer:
            for at in range(8 + number):
                writer.append(
                    {
                        "obs": np.full((2, 3), 100 * number + at, np.float32),
                        "reward": float(at),
                        "flag": bool(at % 2),
                        "tokens": [at] * (1 + at % 3),
                        "text": "x" * at,
                        "raw": b"\0" * at,
                    },
                    version=number,
                )
            final = {"obs": np.full((2, 3), -1, np.float32)}
            writer.end_episode(final, truncated=True, metadata={"number": number})


def test_a_connection_is_a_store(both: list[TrajectoryStore]) -> None:
    owner, store = both
    assert store.columns == {}
    assert store.query().num_rows == store.episodes().num_rows == 0
    fill(store)
    assert store.columns == owner.columns
    for where in (None, "reward > 3", "version = 2 AND flag"):
        assert store.query(where).equals(owner.query(where))
    assert store.query(columns=["reward"], limit=3).num_rows == 3
    assert store.episodes("truncated").equals(owner.episodes("truncated"))
    for number in range(5):
        own, other = owner.episode(str(number)), store.episode(str(number))
        assert (own.steps["obs"] == other.steps["obs"]).all()
        assert own.steps["text"] == other.steps["text"]
        assert other.metadata == {"number": number}
        assert other.final_observation is not None
        assert len(other) == 8 + number
    taken = store.take([3, 1], ["tokens", "raw"])
    assert [list(row) for row in taken["tokens"]] == [[3], [1, 1]]
    assert taken["raw"] == [b"\0" * 3, b"\0"]
    store.flush()
    counted = store.stats()
    assert counted["steps"] == 50
    assert counted["path"] == owner.path
    with store.writer(episode_id="more") as writer:
        writer.extend({name: [value] * 3 for name, value in _cells().items()}, version=[7, 8, 9])
        assert writer.next_step == 3
    assert store.episode("more").version.tolist() == [7, 8, 9]
    assert store.close_lost(0) == 1
    assert owner.episode("more").state == "lost"
    assert store.remove(["0", "more"]) == 2
    assert store.stats()["removed"] == owner.stats()["removed"] == 2
    with pytest.raises(NotFoundError, match="nobody"):
        store.remove(["1", "nobody"])


def _cells() -> dict[str, Any]:
    return {
        "obs": np.zeros((2, 3), np.float32),
        "reward": 0.5,
        "flag": True,
        "tokens": [1, 2],
        "text": "t",
        "raw": b"r",
    }


def test_the_same_is_drawn(both: list[TrajectoryStore]) -> None:
    owner, store = both
    fill(store)
    store.update_priorities([0, 5], [3.0, 0.5])
    assert store.priorities([0, 5, 6]).tolist() == owner.priorities([0, 5, 6]).tolist()
    units = (Steps(), Slices(3, stride=2, pad=True), NStep(3), Groups(2, length=12))
    for unit in units:
        orders = ("uniform", "episodes", "prioritized", "sequential", "shuffle")
        for order in orders if unit != units[3] else orders[:1]:
            following = ("obs",) if unit == Steps() else ()
            drawn = [
                s.sampler(unit, order=order, seed=3, next=following)  # type: ignore[arg-type]
                for s in both
            ]
            for _ in range(2):
                own, other = (sampler.sample(6) for sampler in drawn)
                assert own.draws == other.draws
                assert [*own] == [*other]
                assert all((own[name] == other[name]).all() for name in own)
                for name in own._known:
                    assert (own._known[name] == other._known[name]).all(), name
            assert drawn[0].state_dict() == drawn[1].state_dict()
            assert other.draws == 6
            assert drawn[1].sample(6, other) is other
    newer = store.sampler(columns=["reward"]).sample(64, min_version=3)
    assert newer.versions.min() == 3


def test_values_are_stored_by_content(tmp_path: Path) -> None:
    columns = {"prompt": Column.text(by_content=True), "by": Column.segments()}
    prompts = ["one", "two" * 1000, "one", "three"]
    with TrajectoryStore(tmp_path / "store") as owner:
        address = owner.serve(tmp_path / "sock").addresses[0]
        with TrajectoryStore.connect(address, columns=columns) as store:
            writer = store.writer(episode_id="one")
            for at, prompt in enumerate(prompts[:2]):
                writer.append({"x": at, "prompt": prompt, "by": [(3, 1), (4 + at, 2)]})
            writer.extend({"x": [2, 3], "prompt": prompts[2:], "by": [[(5, 1)], [(6, 1)]]})
            for each in (owner, store):
                assert each.episode("one").steps["prompt"] == prompts
                assert each.take([3, 0], ["prompt"])["prompt"] == ["three", "one"]
            assert store.episode("one").version.tolist() == [3, 3, 5, 6]
            assert store.columns == owner.columns
        with pytest.raises(NotFoundError, match="no value of that name"):
            Served(address).kept(np.zeros((1, 32), np.uint8))


def test_the_same_bounds_hold(both: list[TrajectoryStore]) -> None:
    _, store = both
    fill(store, 2)
    drawn = [
        s.sampler(
            Slices(3, pad="edge", burn_in=2),
            order="fifo",
            columns=["obs", "tokens"],
            next=("obs",),
            where="reward > 2",
            times=1,
            seed=2,
        )
        for s in both
    ]
    for _ in range(2):
        own, other = (sampler.sample(4) for sampler in drawn)
        assert (own.offsets == other.offsets).all()
        assert (own["next_obs"] == other["next_obs"]).all()
        assert (own["tokens"].values == other["tokens"].values).all()
    assert drawn[0].state_dict() == drawn[1].state_dict()
    own, other = (s.sampler(order="sequential", next=("tokens",)).sample(5) for s in both)
    for batch in (own, other):
        assert batch.next_offsets is not None
        assert batch.next_offsets.tolist() == [1, 2, 3, 4, 5]
    assert (own["next_tokens"].values == other["next_tokens"].values).all()
    fill_more = {name: [value] * 3 for name, value in _cells().items()}
    before = store.sampler(where="reward = 0.5", order="sequential")
    store.writer(episode_id="more").extend(fill_more)
    assert before.sample(4).draws == 0
    before.refresh()
    assert before.sample(4).draws == 3
    limited = store.sampler(limit=RateLimit(21, samples_per_insert=1, error_buffer=1))
    with pytest.raises(WaitTimeoutError, match="steps"):
        limited.sample(1, timeout=0.02)
    limited.wait_for_room(2, timeout=0)
    writer = store.writer(episode_id="last", buffer_bytes=0)
    thread = threading.Timer(0.05, lambda: [writer.append(_cells()) for _ in range(3)])
    thread.start()
    assert limited.sample(1).draws == 1
    thread.join()


def test_batches_are_leased(both: list[TrajectoryStore]) -> None:
    owner, store = both
    fill(store, 1)
    batch = store.lease([1, 2], task="train")
    store.tag("before")
    store.ack(batch)
    assert store.pending_batches() == []
    assert store.tags() == owner.tags() == ["before"]
    store.restore("before")
    (lease,) = store.pending_batches("train")
    assert (lease.batch, lease.offsets.tolist()) == (batch, [1, 2])
    assert owner.pending_batches()[0].batch == batch
    store.untag("before")
    store.ack(batch)


def test_errors_are_those_of_the_store(both: list[TrajectoryStore]) -> None:
    _, store = both
    early = TrajectoryStore.connect(store.path)  # it knows of no columns yet
    writer = early.writer(episode_id="new")
    fill(store, 1)
    with pytest.raises(SchemaError, match="no such column"):
        writer.extend({"other": [1]})
    early.close()
    with pytest.raises(DuplicateError, match="column") as raised:
        store.writer(episode_id="0", group="0", env="maze", start=2).extend(
            {name: [value] for name, value in _cells().items()}
        )
    assert raised.value.step == 2
    with pytest.raises(ConflictError, match="has ended"):
        store.writer(episode_id="0", attempt=1)
    with pytest.raises(NotFoundError, match="no episode"):
        store.episode("nobody")
    with pytest.raises(NotFoundError, match="offset 1000"):
        store.lease([1000])
    with pytest.raises(NotFoundError, match="no tag"):
        store.restore("none")
    with pytest.raises(InvalidArgumentError, match="nothing"):
        store.query("nothing > 0")
    with pytest.raises(InvalidArgumentError, match="part"):
        store.sampler(part=(1, 2))
    with pytest.raises(InvalidArgumentError, match="cannot be served"):
        store.serve(listen="127.0.0.1:0")
    assert store.stats()["steps"] == 8


def test_nobody_serves(tmp_path: Path) -> None:
    with pytest.raises(ClosedError, match="no connection to the owner"):
        TrajectoryStore.connect(f"unix:{tmp_path / 'nobody'}")
    for wrong in (str(tmp_path), "tcp:host", "tcp:host:port", "unix:"):
        with pytest.raises(InvalidArgumentError, match="unix:PATH"):
            TrajectoryStore.connect(wrong)
    with pytest.raises(InvalidArgumentError, match="want a Column"):
        TrajectoryStore.connect("unix:x", columns={"a": 1})  # type: ignore[dict-item]
    with TrajectoryStore(tmp_path / "store") as owner:
        with pytest.raises(InvalidArgumentError, match="loopback"):
            owner.serve(listen="0.0.0.0:0")
        server = owner.serve(tmp_path / "sock")
        assert (tmp_path / "sock").stat().st_mode & 0o777 == 0o600
        columns = {"tokens": Column.ragged("int32")}
        store = TrajectoryStore.connect(server.addresses[0], columns=columns)
        store.close()
        store.close()
        with pytest.raises(ClosedError, match="is closed"):
            store.tags()
    assert server.closed


def test_the_order_of_samples_has_shares(both: list[TrajectoryStore]) -> None:
    _, store = both
    fill(store)
    for order in ("sequential", "shuffle"):
        seen: list[int] = []
        for part in range(3):
            sampler = store.sampler(order=order, seed=5, part=(part, 3))
            for batch in sampler.batches(4):
                seen += batch.offsets.tolist()
        assert sorted(seen) == sorted(store.query()["offset"].to_pylist())


def test_what_a_killed_writer_appended_is_there(served: Owner) -> None:
    written = python(
        "import os, sys, signal\n"
        "from persisting.trajectory import TrajectoryStore\n"
        "store = TrajectoryStore.connect(sys.argv[1])\n"
        "writer = store.writer(episode_id='cut off')\n"
        "for i in range(100):\n"
        "    writer.append({'x': i, 'tokens': [i] * 3})\n"
        "if os.fork() == 0:\n"  # a process that was forked can write as well
        "    own = TrajectoryStore.connect(sys.argv[1]).writer(episode_id='forked')\n"
        "    own.append({'x': 1, 'tokens': [1]})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.wait()\n"
        "print(writer.next_step, flush=True)\n"
        "os._exit(0)\n",
        served.address,
    )
    with TrajectoryStore.connect(served.address) as store:
        assert eventually(lambda: store.stats()["steps"] == int(written) + 1)
        assert store.episode("cut off").steps["x"].tolist() == [*range(100)]
        assert store.writer(episode_id="forked").next_step == 1


def test_an_owner_that_is_killed(served: Owner) -> None:
    with TrajectoryStore.connect(served.address) as store:
        writer = store.writer(episode_id="one")
        for at in range(40):
            writer.append({"x": at})
        writer.flush()
        order = store.sampler(order="shuffle", seed=1)
        seen = order.sample(15).offsets.tolist()
        writer.append({"x": 40})
        assert served.end(signal.SIGKILL) == -signal.SIGKILL
        for _ in range(2):
            for call in (store.tags, writer.flush, lambda: order.sample(5)):
                with pytest.raises(ClosedError, match="no connection to the owner"):
                    call()
        served.start()
        seen += order.sample(100).offsets.tolist()  # it goes on where it was
        assert sorted(seen) == [*range(40)]
        assert store.stats()["steps"] == 41  # what was in the sheet the owner found there
        assert writer.append({"x": 41}) == 41
        served.restart()
        writer.end_episode({"x": 42}, truncated=True)
        assert store.episode("one").steps["x"].tolist() == [*range(42)]
        with pytest.raises(DuplicateError):
            store.writer(episode_id="one", start=0).extend({"x": [7]})
    with TrajectoryStore.connect(served.address) as store:
        kept = store.writer(episode_id="kept")
        kept.append({"x": 1})
        assert served.end(signal.SIGTERM) == 0
        with pytest.raises(ClosedError):
            kept.flush()
        served.start()
        kept.append({"x": 2})
    with TrajectoryStore.connect(served.address) as store:
        assert store.episode("kept").steps["x"].tolist() == [1, 2]


def rollouts(served: Owner, workers: int, prompts: int) -> list[subprocess.Popen[bytes]]:
    return [
        subprocess.Popen(
            command("trajectory_rollout", served.address, worker, workers, prompts), cwd=ROOT
        )
        for worker in range(workers)
    ]


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with process:
            assert process.wait(120) == 0


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_writers_go_on_when_the_owner_is_killed(served: Owner, kills: int) -> None:
    prompts, chance = 10 * kills, random.Random(kills)
    writers = rollouts(served, 3, prompts)
    with TrajectoryStore.connect(served.address) as store:
        assert eventually(lambda: store.stats()["ended"] > 2, within=60)
    for _ in range(kills):
        threading.Event().wait(chance.uniform(0.05, 0.3))
        served.restart()
    finish(writers)
    with TrajectoryStore.connect(served.address) as store:
        assert store.stats()["ended"] == prompts * SAMPLES
        for prompt in range(prompts):
            for sample in range(SAMPLES):
                episode = store.episode(f"{prompt}/{sample}")
                expected = [step["tokens"] for step in steps(prompt, sample)]
                assert [list(row) for row in episode.steps["tokens"]] == expected
                assert episode.metadata == {"reward": sample / SAMPLES}


@pytest.mark.parametrize(
    ("workers", "kills"), [(3, 3), pytest.param(8, 20, marks=pytest.mark.slow)]
)
def test_a_loop_of_groups_learns_each_sample_once(
    served: Owner, tmp_path: Path, workers: int, kills: int
) -> None:
    prompts, checkpoint, chance = 12 * kills, tmp_path / "checkpoint", random.Random(kills)
    writers = rollouts(served, workers, prompts)
    argv = command("trajectory_grpo", served.address, checkpoint, prompts)
    for _ in range(kills):
        trainer, due = Doomed(argv, chance.uniform(0, 0.02)), chance.randrange(1, 8)
        for _ in trainer.lines():
            due -= 1
            if due == 0:
                trainer.doom()
    finish(writers)
    last = run(argv, timeout=120)
    assert last.returncode == 0, last.stderr
    learned = json.loads(checkpoint.read_text())
    assert sorted(learned) == [[p, s] for p in range(prompts) for s in range(SAMPLES)]
    with TrajectoryStore.connect(served.address) as store:
        assert store.pending_batches() == []


def test_the_commands(served: Owner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with TrajectoryStore.connect(served.address) as store:
        fill(store, 1)
    assert main(["traj", "ls", served.address]) == 0
    assert "8 steps, truncated" in capsys.readouterr().out
    assert main(["traj", "show", served.address, "0", "-n", "2"]) == 0
    assert "final observation" in capsys.readouterr().out
    assert main(["traj", "rm", served.address, "0", "--yes"]) == 0
    assert "1 episode removed" in capsys.readouterr().err
    assert main(["traj", "serve", str(tmp_path / "store")]) == 2
    assert "--socket" in capsys.readouterr().err
    assert main(["traj", "serve", str(tmp_path / "store"), "--socket", str(tmp_path / "s")]) == 2
    assert f"process {served.process.pid}" in capsys.readouterr().err
    assert os.getpid() != served.process.pid
