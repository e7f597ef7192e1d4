"""The rollouts of TRL's `AsyncGRPOTrainer` in a store of trajectories, which a crash does not take.

A rollout worker of one's own has a `RolloutBuffer` as its ``rollout_buffer``, and the trainer gets
`Acknowledgements` as a callback::

    store = TrajectoryStore("/nvme/rollouts", columns=ROLLOUT_COLUMNS)
    worker.rollout_buffer = buffer = RolloutBuffer(store)
    trainer = AsyncGRPOTrainer(..., rollout_worker=worker, callbacks=[Acknowledgements(buffer)])

A sample that was put survives the end of the process, and is given out until a step of the
optimizer has followed that it was part of.

The worker that TRL starts by itself puts its samples into a queue of another process, and is not
served by this.

References
----------
`RolloutSample`, `RolloutQueueDataset` and `RolloutWorkerProtocol` of trl 1.16.0's
``experimental.async_grpo``.
"""

from __future__ import annotations

import json
import math
import queue
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.experimental.async_grpo.async_rollout_worker import RolloutSample

from persisting._arguments import integer
from persisting._errors import SchemaError
from persisting.integrations._arrivals import Arrivals
from persisting.trajectory import Column

if TYPE_CHECKING:
    from collections.abc import Iterable

    from persisting.trajectory import TrajectoryStore

_MOST = 2**31 - 1
# The batches of samples that were given out, and of where the next ones begin.
_TASK, _PLACE = "trl", "trl, place"

_JSON = ("prompt", "completion", "metrics")
_NUMBERS = {
    "advantage": "float64",
    "model_version": "int64",
    "group_id": "int64",
    "enqueued_at": "float64",
}
_ARRAYS = {"input_ids": "int64", "completion_mask": "int64", "old_log_probs": "float32"}

ROLLOUT_COLUMNS = {
    **{name: Column.text() for name in _JSON},
    **{name: Column.ragged(dtype) for name, dtype in _ARRAYS.items()},
    **{name: Column.array(dtype) for name, dtype in _NUMBERS.items()},
}


class RolloutBuffer:
    """A queue of scored samples in a store, of which nobody else writes.

    Each sample is an episode of one step of `ROLLOUT_COLUMNS`, with its group, and the version of
    the model as that of the policy. After an opening, those that were given out and not
    acknowledged are given out again, first.

    Parameters
    ----------
    store : TrajectoryStore
        A new one, opened with ``columns=ROLLOUT_COLUMNS``, or one of samples.
    maxsize : int
        Most samples that wait; 0 for any number.

    Raises
    ------
    SchemaError
        The store has steps of something else.

    Notes
    -----
    All methods may be called from any thread.
    """

    def __init__(self, store: TrajectoryStore, maxsize: int = 0) -> None:
        columns = store.columns or store._columns.declared
        if columns != ROLLOUT_COLUMNS:
            raise SchemaError(
                "want a store with the columns of ROLLOUT_COLUMNS, as"
                f" TrajectoryStore(path, columns=ROLLOUT_COLUMNS) makes it, not {[*columns]}"
            )
        self._store = store
        self.maxsize = integer("maxsize", maxsize, 0, _MOST)
        self._changed = threading.Condition()  # guards what follows
        self._begin()

    def _begin(self) -> None:
        """Find what waits: what was given out and not acknowledged, and then what never was."""
        store = self._store
        given = store.pending_batches(_TASK)
        places = store.pending_batches(_PLACE)
        # The batches of what was given out before, and since, by the offsets of the samples.
        self._before = {int(lease.offsets[0]): lease.batch for lease in given}
        self._given: dict[int, int] = {}
        self._places = [lease.batch for lease in places]
        self._last = max((int(lease.offsets[0]) for lease in (*given, *places)), default=-1)
        self._arrivals = Arrivals(store, self._last + 1)
        self._waiting = deque([*self._before, *self._arrivals.more().tolist()])

    # ---- putting ----

    def put_nowait(self, sample: RolloutSample) -> None:
        """Store a sample, which is acknowledged when it returns.

        Raises
        ------
        queue.Full
            `maxsize` samples wait.
        SchemaError
            The sample does not fit the columns.
        """
        with self._changed:
            if self.maxsize and len(self._waiting) >= self.maxsize:
                raise queue.Full
            writer = self._store.writer(group=str(sample.group_id), start=0)
            writer.extend(_columns(sample), version=sample.model_version)
            writer.end_episode(terminated=True)
            self._waiting.extend(self._arrivals.more().tolist())
            self._changed.notify()

    # ---- getting ----

    def get(self, block: bool = True, timeout: float | None = None) -> RolloutSample:
        """Give out the sample that has waited longest.

        Parameters
        ----------
        block : bool
            Whether to wait for one.
        timeout : float, optional
            Most seconds to wait.

        Raises
        ------
        queue.Empty
            None came.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, timeout if block else 0):
                raise queue.Empty
            offset = self._waiting.popleft()
            batch = self._before.pop(offset, None)
            if batch is None:
                batch = self._store.lease([offset], task=_TASK)
            self._given[offset] = batch
            self._last = max(self._last, offset)
        return _sample(self._store.take([offset]))

    def get_nowait(self) -> RolloutSample:
        """Give out a sample if there is one; see `get`."""
        return self.get(block=False)

    def qsize(self) -> int:
        """Return how many samples wait."""
        return len(self._waiting)

    def empty(self) -> bool:
        """Tell whether none waits."""
        return not self._waiting

    def full(self) -> bool:
        """Tell whether as many wait as there may be."""
        return 0 < self.maxsize <= len(self._waiting)

    # ---- acknowledging ----

    def given(self) -> list[int]:
        """Return what names the samples that were given out and not acknowledged."""
        with self._changed:
            return [*self._given]

    def acknowledge(self, samples: Iterable[int]) -> None:
        """Note that samples were trained on, or are not wanted: none of them is given out again.

        Parameters
        ----------
        samples : iterable of int
            Of those that `given` returned.
        """
        with self._changed:
            wanted = [offset for offset in samples if offset in self._given]
            if not wanted:
                return
            # The newest sample of all is known before others are forgotten: what comes behind it
            # is what was never given out.
            places, self._places = self._places, [self._store.lease([self._last], task=_PLACE)]
            for batch in places:
                self._store.ack(batch)
            for offset in wanted:
                self._store.ack(self._given.pop(offset))

    def tag(self, name: str, directory: Path) -> None:
        """Name what is acknowledged now, and forget the names that a directory has not any more."""
        with self._changed:
            self._store.tag(name)
            for other in self._store.tags():
                if other != name and not (directory / other).exists():
                    self._store.untag(other)

    def restore(self, name: str) -> None:
        """Have the samples wait again that were acknowledged since a tag, and those not yet.

        Raises
        ------
        NotFoundError
            There is no such tag.
        """
        with self._changed:
            self._store.restore(name)
            self._begin()


class Acknowledgements(TrainerCallback):
    """Acknowledges samples once they were trained on, and goes back with the checkpoints.

    Parameters
    ----------
    buffer : RolloutBuffer
        What the trainer draws from.

    Notes
    -----
    The trainer takes a micro-batch in advance. So a step acknowledges what was given out before the
    step before it ended, and after a crash the samples of the last step may be trained on again; of
    none it is forgotten that it was not. Each checkpoint has a tag in the store, and training that
    goes on from it has the samples that came behind it again. Tags of checkpoints that are gone are
    taken away.
    """

    def __init__(self, buffer: RolloutBuffer) -> None:
        self._buffer = buffer
        self._trained: list[int] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Have the samples again that were trained on after the checkpoint."""
        if state.global_step:
            self._buffer.restore(_tag(state.global_step))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Acknowledge what the step before this one had been given."""
        self._buffer.acknowledge(self._trained)
        self._trained = self._buffer.given()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Give the checkpoint its tag."""
        self._buffer.tag(_tag(state.global_step), Path(args.output_dir))


def _tag(step: int) -> str:
    """Return the tag of a checkpoint, which is the name of its directory."""
    return f"{PREFIX_CHECKPOINT_DIR}-{step}"


def _columns(sample: RolloutSample) -> dict[str, list[Any]]:
    """Return a sample as columns of one step."""
    found = {name: [getattr(sample, name)] for name in ROLLOUT_COLUMNS}
    for name in _JSON:
        try:
            found[name] = [json.dumps(found[name][0])]
        except (TypeError, ValueError) as error:
            raise SchemaError(f"{name}: JSON cannot hold it: {error}") from None
    if sample.enqueued_at is None:
        found["enqueued_at"] = [math.nan]
    return found


def _sample(columns: dict[str, Any]) -> RolloutSample:
    """Return what `_columns` was given."""
    found = {name: values[0] for name, values in columns.items()}
    found |= {name: json.loads(found[name]) for name in _JSON}
    found |= {name: found[name].item() for name in _NUMBERS}
    if math.isnan(found["enqueued_at"]):
        found["enqueued_at"] = None
    return RolloutSample(**found)
