"""Episodes as N actions between N + 1 observations: what formats of arrays share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from persisting.trajectory._writer import Writer

OBSERVATION, ACTION, REWARD = "obs", "action", "reward"


def chosen(columns: Mapping[str, Any], name: str | Sequence[str]) -> Any:
    """Return a column, or a dict of those of several names.

    Raises
    ------
    InvalidArgumentError
        There is none of a name.
    """
    names = [name] if isinstance(name, str) else [*name]
    for one in names:
        if one not in columns:
            raise InvalidArgumentError(f"there is no column {one!r}; there are {[*columns]}")
    return columns[name] if isinstance(name, str) else {one: columns[one] for one in names}


def named(observation: str, value: Any) -> dict[str, Any]:
    """Return an observation, or several, by the names of columns: a dict has those of its own."""
    return dict(value) if isinstance(value, dict) else {observation: value}


def keep(
    writer: Writer,
    observations: Mapping[str, Any],
    others: Mapping[str, Any],
    *,
    terminated: bool,
    truncated: bool,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Store an episode; of each observation there is one more than of the others."""
    steps = {name: np.asarray(column)[:-1] for name, column in observations.items()}
    final = {name: np.asarray(column)[-1] for name, column in observations.items()}
    writer.extend({**steps, **{name: np.asarray(column) for name, column in others.items()}})
    writer.end_episode(final, terminated=terminated, truncated=truncated, metadata=metadata)
