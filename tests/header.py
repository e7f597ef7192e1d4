"""`capi/persisting.h` as the build reads it, so that tests follow it and not a copy of it."""

from __future__ import annotations

import functools

from _build.persisting_header import HEADER, Function, Header, Parameter, read

__all__ = ["Function", "Parameter", "functions", "handle_of", "header"]


@functools.cache
def header() -> Header:
    """Return what the header declares."""
    return read(HEADER.read_text())


def functions() -> dict[str, Function]:
    """Return the functions by name."""
    return header().functions


def handle_of(function: Function) -> Parameter | None:
    """Return the first handle that a function takes."""
    handles = {f"persisting_{noun}" for noun in header().handles}
    return next((p for p in function.parameters if p.ctype in handles), None)
