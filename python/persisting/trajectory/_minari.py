"""Data sets of Minari: episodes of gymnasium's environments.

References
----------
https://minari.farama.org, `create_dataset_from_buffers` and `MinariDataset` of minari 0.5.4.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from persisting._errors import InvalidArgumentError
from persisting.trajectory import _documents
from persisting.trajectory._transitions import ACTION, OBSERVATION, REWARD, chosen, keep, named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persisting.trajectory._columns import Column
    from persisting.trajectory._store import Episode, TrajectoryStore

SEED = "seed"  # member of the metadata

# Episodes that are held in memory at a time.
_AT_ONCE = 100


def export_minari(
    store: TrajectoryStore,
    dataset_id: str,
    where: str | None = None,
    *,
    observation: str | Sequence[str] = OBSERVATION,
    action: str = ACTION,
    reward: str = REWARD,
    **about: Any,
) -> Any:
    """Make a data set of Minari of the episodes that have ended.

    Parameters
    ----------
    store : TrajectoryStore
        Each episode has a final observation, and may have a ``seed`` in its metadata.
    dataset_id : str
        Its name for Minari, such as ``"maze/random-v0"``; it comes to be where Minari keeps its
        data sets.
    where : str, optional
        A filter of `TrajectoryStore.episodes`.
    observation : str or sequence of str
        The column of the observation, or several, of which it is a dict then.
    action, reward : str
        Columns. Others are left out.
    **about
        What else `minari.create_dataset_from_buffers` takes: ``env``, ``algorithm_name``,
        ``observation_space``, ``action_space`` and so on. Spaces that are not given are boxes of
        the columns' dtypes and shapes, and integers from 0, or from the least, to the greatest.

    Returns
    -------
    minari.MinariDataset
        The data set.

    Raises
    ------
    InvalidArgumentError
        There is no such column, a column is none of arrays, no episode has ended, or one has no
        final observation.
    """
    import minari
    from minari.data_collector import EpisodeBuffer

    if "env" not in about:
        columns = store.columns
        spaces = {"observation_space": observation, "action_space": action}
        for name, of in spaces.items():
            found = chosen(columns, of)
            about.setdefault(name, _space(store, of, found))

    def buffers(episodes: list[Episode]) -> list[EpisodeBuffer]:
        return [EpisodeBuffer(**_buffer(one, observation, action, reward)) for one in episodes]

    episodes = _documents.ended(store, where)
    first = [*itertools.islice(episodes, _AT_ONCE)]
    if not first:
        raise InvalidArgumentError("no episode has ended for which the filter is true")
    made = minari.create_dataset_from_buffers(dataset_id, buffers(first), **about)
    while more := [*itertools.islice(episodes, _AT_ONCE)]:
        made.update_dataset_from_buffer(buffers(more))
    return made


def _space(store: TrajectoryStore, name: str | Sequence[str], column: Any) -> Any:
    """Return the space of a column, or of a dict of several."""
    from gymnasium import spaces

    if isinstance(column, dict):
        return spaces.Dict({one: _space(store, one, part) for one, part in column.items()})
    return _of_column(store, str(name), column)


def _of_column(store: TrajectoryStore, name: str, column: Column) -> Any:
    from gymnasium import spaces

    if column.kind != "array" or column.dtype is None:
        raise InvalidArgumentError(f"column {name!r} is {column.kind}: give its space")
    dtype = column.dtype
    if dtype.kind == "f":
        return spaces.Box(-np.inf, np.inf, column.shape, dtype.type)
    if dtype.kind == "b":
        return spaces.MultiBinary(column.shape) if column.shape else spaces.Discrete(2)
    if column.shape:
        limits = np.iinfo(dtype)
        return spaces.Box(limits.min, limits.max, column.shape, dtype.type)
    values = store.query(columns=[name])[name].to_numpy()
    first = int(values.min(initial=0))
    return spaces.Discrete(int(values.max(initial=0)) - first + 1, start=first)


def _buffer(
    episode: Episode, observation: str | Sequence[str], action: str, reward: str
) -> dict[str, Any]:
    """Return what a buffer of Minari has."""
    final = episode.final_observation
    if final is None:
        raise InvalidArgumentError(f"{episode.episode_id!r} has no final observation")
    begun, end = chosen(episode.steps, observation), chosen(final, observation)
    last = np.arange(len(episode)) == len(episode) - 1
    return {
        "seed": episode.metadata.get(SEED),
        "observations": _followed(begun, end),
        "actions": chosen(episode.steps, action),
        "rewards": chosen(episode.steps, reward),
        "terminations": last & episode.terminated,
        "truncations": last & episode.truncated,
    }


def _followed(column: Any, end: Any) -> Any:
    """Return a column with one more value behind it, or the same of each of a dict."""
    if isinstance(column, dict):
        return {name: _followed(part, end[name]) for name, part in column.items()}
    return np.concatenate([column, np.asarray(end)[None]])


def import_minari(
    store: TrajectoryStore,
    dataset: Any,
    *,
    observation: str = OBSERVATION,
    action: str = ACTION,
    reward: str = REWARD,
) -> int:
    """Store the episodes of a data set of Minari, each as one that has ended.

    Parameters
    ----------
    store : TrajectoryStore
        Where to.
    dataset : minari.MinariDataset
        What `minari.load_dataset` returns. Its observations and actions are arrays, or
        observations dicts of arrays, which become columns with the names of their members.
    observation, action, reward : str
        Names of the columns.

    Returns
    -------
    int
        How many episodes. Their ids are that of the data set and their number,
        ``"maze/random-v0/0"``: the same data set again is passed over.

    Raises
    ------
    SchemaError
        The steps do not fit the columns of the store.
    """
    count = 0
    name, spec = dataset.spec.dataset_id, dataset.spec.env_spec
    for episode in dataset:
        keep(
            store.writer(env=spec.id if spec else "", episode_id=f"{name}/{episode.id}", start=0),
            named(observation, episode.observations),
            {action: episode.actions, reward: episode.rewards},
            terminated=bool(episode.terminations[-1]),
            truncated=bool(episode.truncations[-1]),
        )
        count += 1
    return count
