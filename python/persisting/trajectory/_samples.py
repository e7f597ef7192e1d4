"""Samples as trainers of language models dump them, JSON lines of text.

A sample is an episode of one step of `SAMPLE_COLUMNS`: what a model was given, what it answered,
and what that was worth. Tokens are not in such files, so that they show what was trained on, and
nobody can train on them again. verl and AReaL give the members other names; all that has no column
is in `more`, so a file comes back as it was, and what one wrote is written for the other as well.

References
----------
`_write_generations` of verl 0.9.1's trainers (``trainer.rollout_data_dir`` and
``validation_data_dir``), and `_dump_trajectory` of areal 1.0.4's workflow executor
(``dump_to_file``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError
from persisting.trajectory import _documents
from persisting.trajectory._columns import Column
from persisting.trajectory._documents import MORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO

    from persisting.trajectory._documents import Document
    from persisting.trajectory._store import Episode, TrajectoryStore

_PROMPT, _COMPLETION, _REWARD = "prompt", "completion", "reward"
_NEWEST = 2**31 - 1

SAMPLE_COLUMNS = {
    _PROMPT: Column.text(),
    _COMPLETION: Column.text(),
    _REWARD: Column.array("float64"),
    MORE: Column.text(),
}


@dataclass(frozen=True)
class _Names:
    """What a trainer calls the parts of a sample.

    Attributes
    ----------
    prompt, completion, reward, version : str
        The members that have columns.
    group : str
        The member that samples of one prompt share.
    """

    prompt: str
    completion: str
    reward: str
    version: str
    group: str


_VERL = _Names("input", "output", "score", "step", "uid")
_AREAL = _Names(_PROMPT, _COMPLETION, _REWARD, "tail_version", "task_id")


def export_verl(store: TrajectoryStore, file: IO[bytes], where: str | None = None) -> int:
    """Write the samples as verl dumps its rollouts.

    Parameters
    ----------
    store : TrajectoryStore
        With `SAMPLE_COLUMNS`. Each step of an episode that has ended is a line.
    file : binary file
        Where to.
    where : str, optional
        A filter of `TrajectoryStore.episodes`.

    Returns
    -------
    int
        How many episodes.

    Raises
    ------
    InvalidArgumentError
        The steps are no samples, or the filter is none.
    """
    return _export(store, file, where, _VERL)


def import_verl(store: TrajectoryStore, file: Iterable[bytes]) -> int:
    """Store what verl has dumped of its rollouts, or of a validation.

    Parameters
    ----------
    store : TrajectoryStore
        A new one, opened with ``columns=SAMPLE_COLUMNS``, or one that has such steps.
    file : iterable of bytes
        The lines of a file ``{step}.jsonl``. An episode has the hash of its line as its id, so a
        file that is imported again is passed over; its version is the step of the training, and
        its group the prompt, where ``uid`` tells it.

    Returns
    -------
    int
        How many samples the file has.

    Raises
    ------
    InvalidArgumentError
        A line is no sample; those before it are stored.
    SchemaError
        The store has other columns.
    """
    return _import(store, file, _VERL)


def export_areal(store: TrajectoryStore, file: IO[bytes], where: str | None = None) -> int:
    """Write the samples as AReaL dumps its rollouts; see `export_verl`."""
    return _export(store, file, where, _AREAL)


def import_areal(store: TrajectoryStore, file: Iterable[bytes]) -> int:
    """Store what AReaL has dumped of its rollouts; see `import_verl`.

    The version is the newest one of the policy that wrote a part of the completion, and the group
    the task, whose samples are of one prompt.
    """
    return _import(store, file, _AREAL)


def _export(store: TrajectoryStore, file: IO[bytes], where: str | None, names: _Names) -> int:
    count = 0
    for episode in _documents.ended(store, where):
        for sample in _samples(episode, names):
            _documents.write(file, sample)
        count += 1
    return count


def _samples(episode: Episode, names: _Names) -> list[dict[str, Any]]:
    if missing := SAMPLE_COLUMNS.keys() - episode.steps.keys():
        raise InvalidArgumentError(
            f"the steps of {episode.episode_id!r} are no samples: they lack {sorted(missing)}"
        )
    rows = zip(*(episode.steps[name] for name in SAMPLE_COLUMNS), episode.version, strict=True)
    found = []
    for prompt, completion, reward, more, version in rows:
        sample = {names.prompt: prompt, names.completion: completion, names.reward: float(reward)}
        if version >= 0:
            sample[names.version] = int(version)
        found.append(sample | _documents.unpack(more))
    return found


def _import(store: TrajectoryStore, file: Iterable[bytes], names: _Names) -> int:
    _documents.require(store, SAMPLE_COLUMNS, "SAMPLE_COLUMNS")
    count = 0
    for document in _documents.read(file):
        group = _group(document, names)
        columns, version = _columns(document, names)
        writer = store.writer(episode_id=document.id, group=group, start=0)
        writer.extend(columns, version=version)
        writer.end_episode(terminated=True)
        count += 1
    return count


def _columns(document: Document, names: _Names) -> tuple[dict[str, list[Any]], int]:
    """Return a sample as columns of one step, and its version."""
    members = document.members
    for name in (names.prompt, names.completion):
        if not isinstance(members.get(name), str):
            raise document.wrong(f'want a text "{name}", got {members.get(name)!r:.60}')
    if names.reward not in members:
        raise document.wrong(f'want a "{names.reward}", there are {[*members]!r:.200}')
    reward = _take_if(members, names.reward, _is_number)
    version = _take_if(members, names.version, _is_version)
    prompt = _documents.take_text(members, names.prompt)
    completion = _documents.take_text(members, names.completion)
    return {
        _PROMPT: [prompt],
        _COMPLETION: [completion],
        _REWARD: [math.nan if reward is None else float(reward)],
        MORE: [_documents.pack(members)],
    }, -1 if version is None else version


def _take_if(members: dict[str, Any], name: str, fits: Callable[[Any], bool]) -> Any:
    """Take a member out of an object if it is what a column holds; else it stays."""
    found = members.get(name)
    if not fits(found):
        return None
    del members[name]
    return found


def _is_number(value: Any) -> bool:
    """Tell whether a column of float64 holds a value as it is."""
    if isinstance(value, bool):
        return False
    return isinstance(value, float) or (isinstance(value, int) and abs(value) <= 2**53)


def _is_version(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _NEWEST


def _group(document: Document, names: _Names) -> str:
    """Return what a sample shares with others of its prompt: of verl's keys the first part."""
    found = document.members.get(names.group)
    if isinstance(found, str):
        return found.rsplit("_", 2)[0] if _documents.is_unicode(found) else ""
    return str(found) if isinstance(found, int) else ""
