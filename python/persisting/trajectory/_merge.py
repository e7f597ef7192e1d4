"""Episodes of one store into another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from persisting._errors import SchemaError
from persisting.trajectory._documents import ended

if TYPE_CHECKING:
    from persisting.trajectory._store import Episode, TrajectoryStore


def merge(store: TrajectoryStore, other: TrajectoryStore, where: str | None = None) -> int:
    """Store the episodes of another store that have ended.

    Each keeps its id, group, env, attempt, versions, end and metadata. What is there already is
    held against what comes, bit by bit, and not stored again: a merge that was cut off is done
    again, and stores that were filled apart are brought together one by one. Episodes that were
    removed here stay removed, and those of which there is a higher attempt here stay as they are.

    Parameters
    ----------
    store : TrajectoryStore
        Where to. One without steps takes the columns of the other.
    other : TrajectoryStore
        Where from; it may be open for reading only.
    where : str, optional
        A filter of `TrajectoryStore.episodes` over those of the other store.

    Returns
    -------
    int
        How many episodes of the other store are in this one.

    Raises
    ------
    DuplicateError
        An id is that of an episode with other steps. Those before it are stored.
    ConflictError
        An id is that of an episode that has ended otherwise, or in a lower attempt.
    SchemaError
        The stores have different columns.
    InvalidArgumentError
        The filter is none.
    """
    _take_columns(store, other)
    kept = _kept(store)
    count = 0
    for episode in ended(other, where):
        if episode.attempt >= kept.get(episode.episode_id, 0):
            _write(store, episode)
            count += 1
    return count


def _take_columns(store: TrajectoryStore, other: TrajectoryStore) -> None:
    """Have a store without steps take the columns of another.

    Raises
    ------
    SchemaError
        It has others.
    """
    theirs = other.columns
    mine = store.columns or store._columns.declared
    if not theirs:
        return
    differing = {name for name, column in mine.items() if theirs.get(name) != column}
    if differing or (store.columns and mine != theirs):
        name = min(differing or theirs.keys() - mine.keys())
        raise SchemaError(
            f"the stores have different columns: {name!r} is {mine.get(name)} here and"
            f" {theirs.get(name)} there"
        )
    if not store.columns:
        store._columns.declared = theirs


def _kept(store: TrajectoryStore) -> dict[str, int]:
    """Return the lowest attempt at each id that there is that can still be stored."""
    least: dict[str, int] = {}
    for row in store.episodes().to_pylist():
        gone = row["state"] == "removed"
        name, attempt = row["episode_id"], row["attempt"] + gone
        least[name] = max(least.get(name, 0), attempt)
    return least


def _write(store: TrajectoryStore, episode: Episode) -> None:
    """Store an episode as it is."""
    writer = store.writer(
        env=episode.env,
        group=episode.group,
        episode_id=episode.episode_id,
        attempt=episode.attempt,
        start=0,
    )
    if len(episode):
        writer.extend(episode.steps, version=episode.version)
    writer.end_episode(
        episode.final_observation,
        terminated=episode.terminated,
        truncated=episode.truncated,
        metadata=episode.metadata,
    )
