"""The cache that all checkouts of a user share: its place, locks, content keys and files."""

from __future__ import annotations

import contextlib
import fcntl
import filecmp
import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _build.process import ROOT, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def cache_directory() -> Path:
    """Return the directory shared by all checkouts of this user."""
    if chosen := os.environ.get("PERSISTING_CACHE"):
        return Path(chosen).expanduser().resolve()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "persisting"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "persisting"
    return Path.home() / ".cache" / "persisting"


CACHE = cache_directory()


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock that every build on this cache respects; the kernel frees it with the process."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another build of the {name}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(files: Iterable[Path], *words: str) -> str:
    """Return a hash of the files' names below ROOT, their contents and the words."""
    total = hashlib.sha256()
    for file in sorted(files):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        total.update(f"{file.relative_to(ROOT)} {content}\n".encode())
    for word in words:
        total.update(f"{word}\n".encode())
    return total.hexdigest()[:24]


def place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy on another file system.

    A process that has the old library loaded keeps it.
    """
    if target.exists() and (target.samefile(source) or filecmp.cmp(source, target, shallow=False)):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    try:
        os.link(source, fresh)
    except OSError:
        shutil.copy2(source, fresh)
    fresh.replace(target)
