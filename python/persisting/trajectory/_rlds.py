"""Steps as RLDS has them, the form of TensorFlow's data sets of episodes.

References
----------
Ramos et al., RLDS: an Ecosystem to Generate, Share and Use Datasets in Reinforcement Learning
(2021), and https://github.com/google-research/rlds#dataset-format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persisting._errors import InvalidArgumentError
from persisting.trajectory._transitions import ACTION, OBSERVATION, REWARD, chosen, keep, named

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from persisting.trajectory._store import Episode, TrajectoryStore


def rlds_steps(
    episode: Episode,
    *,
    observation: str | Sequence[str] = OBSERVATION,
    action: str = ACTION,
    reward: str = REWARD,
) -> Iterator[dict[str, Any]]:
    """Yield the steps of an episode as RLDS has them.

    Parameters
    ----------
    episode : Episode
        What `TrajectoryStore.episode` returns, with a final observation.
    observation : str or sequence of str
        The column of the observation, or several, of which it is a dict then.
    action, reward : str
        Columns.

    Yields
    ------
    dict
        ``observation``, ``action``, ``reward``, ``discount`` (0 where the episode terminated, else
        1), ``is_first``, ``is_last``, ``is_terminal``. The last one is the final observation: its
        action and reward are zeros, which mean nothing.

    Raises
    ------
    InvalidArgumentError
        There is no such column, or no final observation.
    """
    columns, count = episode.steps, len(episode)
    if not count or episode.final_observation is None:
        raise InvalidArgumentError(f"{episode.episode_id!r} has no steps, or no final observation")
    last = chosen(episode.final_observation, observation)
    actions, rewards = chosen(columns, action), chosen(columns, reward)
    for at in range(count + 1):
        inside = at < count
        row = {name: column[at] for name, column in columns.items()} if inside else {}
        terminal = not inside and episode.terminated
        yield {
            "observation": chosen(row, observation) if inside else last,
            "action": actions[at] if inside else np.zeros_like(actions[-1]),
            "reward": rewards[at] if inside else np.zeros_like(rewards[-1]),
            "discount": np.float32(0 if terminal else 1),
            "is_first": at == 0,
            "is_last": not inside,
            "is_terminal": terminal,
        }


def import_rlds(
    store: TrajectoryStore,
    episodes: Iterable[Iterable[Mapping[str, Any]]],
    prefix: str,
    *,
    observation: str = OBSERVATION,
    action: str = ACTION,
    reward: str = REWARD,
) -> int:
    """Store episodes of RLDS, each as one that has ended.

    Parameters
    ----------
    store : TrajectoryStore
        Where to.
    episodes : iterable of iterable of dict
        The steps of each, as `rlds_steps` yields them; of a data set of TensorFlow
        ``(tfds.as_numpy(e["steps"]) for e in dataset)``. Of the last one only the observation is
        kept, as RLDS defines no more.
    prefix : str
        Of the ids of the episodes, which their numbers follow: ``"prefix/0"``. The same episodes
        again are passed over.
    observation, action, reward : str
        Names of the columns. An observation that is a dict becomes columns with the names of its
        members.

    Returns
    -------
    int
        How many episodes.

    Raises
    ------
    InvalidArgumentError
        An episode has no two steps, or its last one is not marked as such.
    SchemaError
        The steps do not fit the columns of the store.
    """
    count = 0
    for found in episodes:
        steps = [*found]
        name = f"{prefix}/{count}"
        if len(steps) < 2 or not steps[-1]["is_last"]:
            raise InvalidArgumentError(f"{name}: want two steps or more, and a last one")
        rows = [named(observation, step["observation"]) for step in steps]
        terminal = bool(steps[-1]["is_terminal"])
        keep(
            store.writer(episode_id=name, start=0),
            {column: [row[column] for row in rows] for column in rows[0]},
            {
                action: [step["action"] for step in steps[:-1]],
                reward: [step["reward"] for step in steps[:-1]],
            },
            terminated=terminal,
            truncated=not terminal,
        )
        count += 1
    return count
