"""Files with an episode in each line, a JSON object: what all formats of that kind share."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from persisting._errors import InvalidArgumentError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import IO

    from persisting.trajectory._columns import Column
    from persisting.trajectory._store import Episode, TrajectoryStore

MORE = "more"  # the column with what no other one holds, as JSON


def ended(store: TrajectoryStore, where: str | None) -> Iterator[Episode]:
    """Yield the episodes that have ended and that a filter of `TrajectoryStore.episodes` takes."""
    for row in store.episodes(where).to_pylist():
        if row["state"] == "ended":
            yield store.episode(row["episode_id"])


def require(store: TrajectoryStore, columns: Mapping[str, Column], name: str) -> None:
    """Raise a SchemaError unless a store has these columns, or is to have them."""
    found = store.columns or store._columns.declared
    if found != columns:
        raise SchemaError(
            f"want a store with the columns of {name}, as TrajectoryStore(path, columns={name})"
            f" makes it; this one has {[*found] or 'none'}"
        )


class Document:
    """A line.

    Attributes
    ----------
    members : dict
        The object.
    id : str
        What names it: its hash, and which one it is of several that are the same.
    """

    def __init__(self, number: int, members: dict[str, Any], name: str) -> None:
        self._number = number
        self.members = members
        self.id = name

    def wrong(self, what: str) -> InvalidArgumentError:
        """Return the error for a document that is not of the format."""
        return InvalidArgumentError(f"line {self._number}: {what}")

    def take_list(self, name: str, key: str) -> list[dict[str, Any]]:
        """Take the objects out of a member, each of which has a text of a name.

        Raises
        ------
        InvalidArgumentError
            It has none.
        """
        found = self.members.pop(name, None)
        if not isinstance(found, list) or not found:
            raise self.wrong(f'want "{name}", a list of objects')
        for one in found:
            if not isinstance(one, dict) or not isinstance(one.get(key), str):
                raise self.wrong(f'"{name}": want objects with a text "{key}", got {one!r:.60}')
        return found


def read(lines: Iterable[bytes]) -> Iterator[Document]:
    """Yield the documents of a file.

    Raises
    ------
    InvalidArgumentError
        A line is no JSON object; the message has its number.
    """
    seen: Counter[str] = Counter()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            members = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidArgumentError(f"line {number}: {error}") from None
        if not isinstance(members, dict):
            raise InvalidArgumentError(f"line {number}: want an object, got {line.strip()!r:.60}")
        digest = hashlib.sha256(line.strip()).hexdigest()[:32]
        again = f"-{seen[digest]}" if seen[digest] else ""
        seen[digest] += 1
        yield Document(number, members, digest + again)


def write(file: IO[bytes], members: Mapping[str, Any]) -> None:
    """Write a document."""
    file.write(json.dumps(members, ensure_ascii=False).encode(errors="backslashreplace") + b"\n")


def take_text(members: dict[str, Any], name: str) -> str:
    """Take a text out of an object; where it is something else it stays, and "" stands for it."""
    text = members.setdefault(name, None)
    if not isinstance(text, str) or not is_unicode(text):
        return ""
    del members[name]
    return text


def is_unicode(text: str) -> bool:
    """Tell whether a text can be a cell: JSON has halves of characters as well."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def pack(members: Mapping[str, Any]) -> str:
    """Return what is left of an object, as a cell."""
    return json.dumps(members) if members else ""


def unpack(cell: str) -> dict[str, Any]:
    """Return what `pack` was given."""
    found: dict[str, Any] = json.loads(cell) if cell else {}
    return found
