"""Chats as OpenAI's interface and the data sets for fine-tuning have them.

A line of such a file is an object with "messages", and anything else beside them ("tools", say). A
message is a step of two columns, `role` and `content`; what else it has, such as tool calls, is the
column `more` as JSON, and so is a content that is no text.

References
----------
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError
from persisting.trajectory import _documents
from persisting.trajectory._documents import MORE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

    from persisting.trajectory._store import Episode, TrajectoryStore

ROLE, CONTENT = "role", "content"
_MESSAGES = "messages"


def export_openai(store: TrajectoryStore, file: IO[bytes], where: str | None = None) -> int:
    """Write the episodes that have ended as chats, an object with "messages" in each line.

    Parameters
    ----------
    store : TrajectoryStore
        Its steps have the columns ``role`` and ``content``, texts, and may have ``more``, further
        members of a message as JSON. The metadata of an episode goes beside its messages. Other
        columns are left out.
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
        The steps are no messages, or the filter is none.
    """
    count = 0
    for episode in _documents.ended(store, where):
        beside = {name: value for name, value in episode.metadata.items() if name != _MESSAGES}
        _documents.write(file, {_MESSAGES: messages(episode), **beside})
        count += 1
    return count


def messages(episode: Episode) -> list[dict[str, Any]]:
    """Return the steps of an episode as messages."""
    steps = episode.steps
    if not {ROLE, CONTENT} <= steps.keys():
        raise InvalidArgumentError(
            f"the steps of {episode.episode_id!r} are no messages: want columns {ROLE!r} and"
            f" {CONTENT!r}, there are {[*steps]}"
        )
    rest = steps.get(MORE) or [""] * len(episode)
    return [
        {ROLE: role, CONTENT: content, **_documents.unpack(more)}
        for role, content, more in zip(steps[ROLE], steps[CONTENT], rest, strict=True)
    ]


def import_openai(store: TrajectoryStore, file: Iterable[bytes]) -> int:
    """Store chats, each as an episode that has ended.

    Parameters
    ----------
    store : TrajectoryStore
        A new one, or one of chats.
    file : iterable of bytes
        The lines, such as of a file that was opened for reading bytes. An episode has the id of its
        line (``id``, if that is a text, else a hash), so a file that is imported again is passed
        over.

    Returns
    -------
    int
        How many episodes the file has.

    Raises
    ------
    InvalidArgumentError
        A line has no messages; those before it are stored.
    DuplicateError, ConflictError
        An id is that of another episode.
    SchemaError
        The store has steps with other columns.
    """
    count = 0
    for document in _documents.read(file):
        said = document.take_list(_MESSAGES, ROLE)
        name = document.members.get("id")
        columns: dict[str, list[str]] = {ROLE: [], CONTENT: [], MORE: []}
        for message in said:
            columns[ROLE].append(message.pop(ROLE))
            columns[CONTENT].append(_documents.take_text(message, CONTENT))
            columns[MORE].append(_documents.pack(message))
        writer = store.writer(episode_id=name if isinstance(name, str) else document.id, start=0)
        writer.extend(columns)
        writer.end_episode(terminated=True, metadata=document.members)
        count += 1
    return count
