"""Train a small agent from a trajectory store, through SIGKILLs, and learn each step once.

    .venv/bin/python -m demo.agent DIRECTORY [--versions N]

A process balances a pole with a linear policy: it plays episodes into a trajectory store, takes
their steps as a leased batch, learns from it, publishes the next version of the policy in a
parameter store together with what it learned from, and acknowledges the batch. It is killed with
SIGKILL while it plays, while it learns, and between the publication and the acknowledgement, and
goes on each time. The part fails if one step is learned from twice or never, or if the last
policy is not bit for bit that of a process that nobody killed.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from demo.processes import Child, DemoError, say
from persisting.params import ParameterStore
from persisting.trajectory import Column, TrajectoryStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection

    from numpy.typing import NDArray

    from persisting.trajectory import Batch

NAME = "agent"
VERSIONS = 16  # of the policy
EPISODES = 6  # that a version of the policy plays
LONGEST = 200  # steps of an episode
GAMMA = 0.99
RATE = 0.1  # of learning
COLUMNS = {
    "obs": Column.array("float64", (4,)),
    "action": Column.array("int64"),
    "reward": Column.array("float64"),
}

# The reports of the trainer at which it is killed, each at another share of all versions.
KILLS = (("plays", 0.25), ("learns", 0.5), ("published", 0.75))


class Pole:
    """A pole on a cart that is pushed to the left or to the right [1]_.

    References
    ----------
    .. [1] Barto, Sutton, Anderson: Neuronlike Adaptive Elements That Can Solve Difficult Learning
       Control Problems, 1983.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.state = [float(x) for x in rng.uniform(-0.05, 0.05, size=4)]

    def push(self, action: int) -> bool:
        """Push for 20 ms; return whether the pole fell or the cart left its track."""
        _, speed, angle, turning = self.state
        force = 10.0 if action else -10.0
        sine, cosine = math.sin(angle), math.cos(angle)
        pushed = (force + 0.05 * turning * turning * sine) / 1.1
        turn = (9.8 * sine - cosine * pushed) / (0.5 * (4 / 3 - 0.1 * cosine * cosine / 1.1))
        moved = pushed - 0.05 * turn * cosine / 1.1
        rates = (speed, moved, turning, turn)
        self.state = [now + 0.02 * rate for now, rate in zip(self.state, rates, strict=True)]
        return abs(self.state[0]) > 2.4 or abs(self.state[2]) > math.pi / 15


def play(store: TrajectoryStore, version: int, weights: NDArray[Any], parent: Connection) -> int:
    """Play the episodes of a version of the policy, the same each time; return their steps.

    Those that a killed process has played are there: said again, they are passed over.
    """
    total = 0
    for number in range(EPISODES):
        rng = np.random.default_rng((version, number))
        pole, fell, steps = Pole(rng), False, 0
        identity = f"version {version}, episode {number}"
        with store.writer(env="pole", group=str(version), episode_id=identity, start=0) as writer:
            while not fell and steps < LONGEST:
                before = np.array(pole.state)
                action = int(rng.random() < likelihood(before, weights))
                fell = pole.push(action)
                writer.append({"obs": before, "action": action, "reward": 1.0}, version=version)
                steps += 1
            parent.send(("plays", version))
            last = {"obs": np.array(pole.state)}
            writer.end_episode(last, terminated=fell, truncated=not fell)
        total += steps
    return total


def likelihood(obs: NDArray[Any], weights: NDArray[Any]) -> Any:
    """Return how likely the policy pushes to the right, for one observation or many."""
    return 1 / (1 + np.exp(-(obs @ weights)))


def learned(batch: Batch, weights: NDArray[Any]) -> NDArray[Any]:
    """Return the policy after one step of REINFORCE with what steps brought in the end."""
    gains, gain = np.empty(batch.draws), 0.0
    for i in range(batch.draws - 1, -1, -1):
        if i + 1 == batch.draws or batch.episodes[i] != batch.episodes[i + 1]:
            gain = 0.0
        gain = float(batch["reward"][i]) + GAMMA * gain
        gains[i] = gain
    gains = (gains - gains.mean()) / (gains.std() + 1e-8)
    surprise = batch["action"] - likelihood(batch["obs"], weights)
    direction = batch["obs"].T @ (surprise * gains)
    changed: NDArray[Any] = weights + RATE * direction / np.linalg.norm(direction) * 10
    return changed


def train(path: str, versions: int, parent: Connection) -> None:
    """Train from where the newest version is to that many versions."""
    with (
        TrajectoryStore(Path(path) / "trajectories", columns=COLUMNS) as steps,
        ParameterStore(Path(path) / "policies") as policies,
    ):
        version, weights, state = newest(policies)
        if state:
            settle(steps, state["batch"])
        while version < versions:
            count = play(steps, version, weights, parent)
            sampler = steps.sampler(order="sequential", seed=0)
            if state:
                sampler.load_state_dict(state["sampler"])
            batch = sampler.sample(count)
            lease = leased(steps, batch.offsets)
            parent.send(("learns", version))
            weights = learned(batch, weights)
            # The policy, what it has learned from and where to go on are published as one.
            state = {"batch": lease, "sampler": sampler.state_dict()}
            tensors = {"weights": weights, "offsets": batch.offsets}
            version = policies.save(NAME, tensors, metadata=state, expect=version).version
            parent.send(("published", version))
            steps.ack(lease)


def newest(policies: ParameterStore) -> tuple[int, NDArray[Any], Mapping[str, Any] | None]:
    """Return the newest version of the policy, and what was published with it; at first none."""
    if NAME not in policies.names():
        return 0, np.zeros(4), None
    with policies.open(NAME) as policy:
        return policy.version, policy.load(keys=["weights"])["weights"], policy.metadata


def settle(steps: TrajectoryStore, last: int) -> None:
    """Acknowledge what the newest policy has learned from, which the killed process could not."""
    for lease in steps.pending_batches():
        if lease.batch <= last:
            steps.ack(lease.batch)


def leased(steps: TrajectoryStore, offsets: NDArray[Any]) -> int:
    """Return the number of a batch: of the one that a killed process took, or of a new one."""
    for lease in steps.pending_batches():
        if not np.array_equal(lease.offsets, offsets):
            raise DemoError(f"batch {lease.batch} was given out with other steps")
        return lease.batch
    return steps.lease(offsets)


def run_trainer(path: Path, versions: int, kill_at: tuple[str, int] | None) -> bool:
    """Run a trainer to its end, or kill it at a report; return whether it was killed."""
    child, killed = Child(train, str(path), versions), False
    for kind, version in child.reports():
        if not killed and kill_at is not None and kind == kill_at[0] and version >= kill_at[1]:
            child.kill()
            killed = True
    child.check(expected=-9 if killed else 0)
    return killed


class Outcome(NamedTuple):
    """What a training came to."""

    weights: bytes  # of the last policy
    steps: int
    first: float  # mean length of the episodes that the first policy played
    last: float  # and of those that the one before the last did


def audit(path: Path, versions: int) -> Outcome:
    """Hold what the policies have learned from against the steps; return what that came to."""
    with (
        TrajectoryStore(path / "trajectories") as steps,
        ParameterStore(path / "policies", read_only=True) as policies,
    ):
        every = [policies.load(NAME, version) for version in range(1, versions + 1)]
        used = np.concatenate([policy["offsets"] for policy in every])
        rows = steps.query(columns=["reward"])
        lengths = {
            version: [row["steps"] for row in steps.episodes(f"group_id = '{version}'").to_pylist()]
            for version in (0, versions - 1)
        }
        if waiting := steps.pending_batches():
            raise DemoError(f"{len(waiting)} batches have no acknowledgement")
        missing = np.setdiff1d(rows["offset"].to_numpy(), used)
        again = len(used) - len(np.unique(used))
        if len(missing) or again or len(used) != rows.num_rows:
            raise DemoError(f"{len(missing)} steps were never learned from, {again} twice")
        first, last = (statistics.fmean(each) for each in lengths.values())
        return Outcome(every[-1]["weights"].tobytes(), len(used), first, last)


def demonstrate(path: Path, versions: int) -> None:
    """Run this part of the demonstration in `path`."""
    started = time.monotonic()
    killed = path / "killed"
    for kind, share in KILLS:
        if not run_trainer(killed, versions, (kind, int(share * versions))):
            raise DemoError(f"the trainer ended before it was killed where it {kind}")
    run_trainer(killed, versions, None)
    say(f"   killed {len(KILLS)} times: while it played, while it learned, and when a policy")
    say("   was published and its batch not acknowledged yet")
    outcome = audit(killed, versions)
    say(f"   {versions} policies learned from {outcome.steps:,} steps: each once, none lost")
    say(f"   an episode lasted {outcome.first:.0f} steps at first, {outcome.last:.0f} at the end")
    run_trainer(path / "undisturbed", versions, None)
    if outcome != audit(path / "undisturbed", versions):
        raise DemoError("the policy is another one than that of a trainer that nobody killed")
    say("   the last policy is that of a trainer that nobody killed, bit for bit")
    say(f"   ({time.monotonic() - started:.1f} s)")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("path", type=Path, help="a directory that is not there yet")
    parser.add_argument(
        "--versions", type=int, default=VERSIONS, help="of the policy (%(default)s)"
    )
    arguments = parser.parse_args()
    try:
        demonstrate(arguments.path, arguments.versions)
    except DemoError as error:
        say(f"DEMO FAILED: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
