"""Addresses of processes that serve a store, where a path could stand as well."""

from __future__ import annotations

import os


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether a path is the address of a process that serves a store."""
    return os.fspath(path).startswith(("unix:", "tcp:"))
