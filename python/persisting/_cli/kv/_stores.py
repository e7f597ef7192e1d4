"""What the commands about stores share: finding and opening them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from persisting._engine.kv import Store
from persisting._errors import InvalidArgumentError, NotFoundError
from persisting.kv._addresses import is_address

if TYPE_CHECKING:
    import argparse

IDENTITY = "store"  # the file that says which store it is
SEGMENTS = "*.seg"


def add_path(
    parser: argparse.ArgumentParser, *, several: bool = False, address: bool = True
) -> None:
    """Declare the path of a store, or of several, or the address in place of it."""
    text = "a store"
    if address:
        text += ", or the address of a process that serves one, such as unix:/run/kv.sock"
    if several:
        text += ", or a directory of stores, one for each rank"
    parser.add_argument("path", type=Path, metavar="PATH", help=text)


def find(path: Path) -> list[Path]:
    """Return the stores at `path`: itself, or those that it holds, or the address that it is.

    Raises
    ------
    NotFoundError
        There is none.
    """
    if is_address(path) or _is_store(path):
        return [path]
    found = sorted(filter(_is_store, path.iterdir())) if path.is_dir() else []
    if not found:
        raise NotFoundError(
            f"{path} is no store of blocks and holds none: "
            f"it has neither a file {IDENTITY} nor segments ({SEGMENTS})"
        )
    return found


def _is_store(path: Path) -> bool:
    return (path / IDENTITY).is_file() or any(path.glob(SEGMENTS))


def one(path: Path) -> Path:
    """Return the store at `path`.

    Raises
    ------
    NotFoundError
        There is none.
    InvalidArgumentError
        There are several.
    """
    found = find(path)
    if len(found) > 1:
        names = ", ".join(store.name for store in found)
        raise InvalidArgumentError(f"{path} holds several stores, name one of {names}")
    return found[0]


def looking(path: Path) -> Store:
    """Open a store to look at it, whoever has it open, or ask the process that serves it."""
    return _connected(path) if is_address(path) else Store(path, {"read_only": True})


def opened(path: Path) -> Store:
    """Open a store for a command that changes it, with the capacity that it had last.

    With an address, the process that serves it does what is asked for.

    Raises
    ------
    LockedError
        It is open elsewhere; the message says where.
    StorageError
        Nobody serves at the address.
    """
    return _connected(path) if is_address(path) else Store(path, {})


def _connected(address: Path) -> Store:
    return Store(address, {"required": True}, connect=True)
