"""Reads `capi/persisting.h`, so that tests follow it and not a copy of it."""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from tests.support import ROOT

HEADER = ROOT / "capi" / "persisting.h"
HANDLES = ("bucket", "cursor", "columns", "server", "view")


class Parameter(NamedTuple):
    """A parameter of a function: its C type without const, and its name."""

    type: str
    name: str

    @property
    def is_pointer(self) -> bool:
        return self.type.endswith("*")

    @property
    def is_out(self) -> bool:
        return self.is_pointer and self.name.startswith("out_")

    @property
    def is_handle(self) -> bool:
        return self.type.removeprefix("persisting_") in HANDLES


class Function(NamedTuple):
    """A function of the header; the last parameter, the error, is left out."""

    name: str
    parameters: tuple[Parameter, ...]

    @property
    def handle(self) -> Parameter | None:
        return next((p for p in self.parameters if p.is_handle), None)

    @property
    def closes(self) -> bool:
        return self.name.endswith("_close")


@functools.cache
def text() -> str:
    """Return the header without comments."""
    return re.sub(r"/\*.*?\*/", " ", HEADER.read_text(), flags=re.DOTALL)


@functools.cache
def functions() -> dict[str, Function]:
    """Return the functions by name."""
    found = {}
    for name, parameters in re.findall(r"\b(persisting_\w+)\s*\(([^)]*)\)\s*;", text()):
        *own, error = (parse(p) for p in parameters.split(","))
        assert error == Parameter("struct persisting_error*", "error"), name
        found[name] = Function(name, tuple(own))
    assert len(found) == text().count(");") - text().count("(*release)"), "a function was not read"
    return found


def parse(parameter: str) -> Parameter:
    """Read one parameter."""
    words = re.sub(r"\bconst\b", " ", parameter).replace("*", " * ").split()
    return Parameter(" ".join(words[:-1]).replace(" *", "*"), words[-1])


@functools.cache
def statuses() -> dict[str, int]:
    """Return the status codes by name, without the prefix."""
    enum = re.search(r"\benum\s*\{(.*?)\}", text(), re.DOTALL)
    assert enum is not None
    return {name: int(code) for name, code in re.findall(r"PERSISTING_(\w+)\s*=\s*(\d+)", enum[1])}
