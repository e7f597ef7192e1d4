"""stdin, stdout and stderr, however the program was started."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from typing import TextIO

# The name of each descriptor, how it is used, and how it is not.
_STANDARD = (
    ("stdin", "r", os.O_WRONLY),
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_RDONLY),
)
_RAISE = ("strict", "surrogateescape")  # what makes text of other encodings an error


def prepare() -> None:
    """Have all three there, and text that stdout cannot hold escaped.

    A descriptor that was closed gets /dev/null, opened so that whoever uses it is told that
    it is closed: otherwise a file of a bucket would get its number, and what is printed.
    """
    for number, (name, mode, unusable) in enumerate(_STANDARD):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, unusable)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and out.errors in _RAISE:
        out.reconfigure(errors="backslashreplace")


def holds_all_text(stream: TextIO) -> bool:
    """Tell whether a stream has an encoding for every character."""
    try:
        return codecs.lookup(stream.encoding).name.startswith("utf")
    except (LookupError, TypeError):
        return True  # it has none, and keeps text as it is


def lost(stream: TextIO) -> OSError | None:
    """Write out what a stream holds; return why that cannot be done, and give it up."""
    try:
        stream.flush()
    except OSError as error:
        # Once more at the end of the interpreter it would change the status to 120.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        return error
    return None


def tell(text: str) -> None:
    """Print a line on stderr. Where that cannot be, there is nobody to tell."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr)
    lost(sys.stderr)


def say(text: str) -> None:
    """Print a line on stderr that says who speaks."""
    tell(f"persisting: {text}")


def utf8(argument: str) -> str:
    """Read an argument that is text, of which Python thinks as of a file's name.

    In the C locale of old, what is not ASCII would be no characters otherwise.

    Raises
    ------
    ValueError
        It is not UTF-8.
    """
    return os.fsencode(argument).decode()
