"""What the parts of the demonstration share: processes that can be killed, and what is said."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

PATIENCE_SECONDS = 60.0


class DemoError(Exception):
    """The demonstration failed; the message says how."""


class Child:
    """A process of its own, with the reports it sends."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        # Not a fork: the Go runtime in the library does not survive one.
        context = multiprocessing.get_context("spawn")
        self.receiving, sending = context.Pipe(duplex=False)
        self.process = context.Process(target=target, args=(*arguments, sending), daemon=True)
        self.process.start()
        sending.close()

    def reports(self) -> Iterator[tuple[str, Any]]:
        """Yield reports until the process has ended, also those sent just before a kill."""
        while True:
            if not self.receiving.poll(PATIENCE_SECONDS):
                self.process.kill()
                raise DemoError(f"the process reported nothing for {PATIENCE_SECONDS:.0f} s")
            try:
                yield self.receiving.recv()
            except EOFError:
                self.process.join()
                return

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()

    def check(self, expected: int) -> None:
        """Raise DemoError when the process ended in another way."""
        if self.process.exitcode != expected:
            raise DemoError(f"the process ended with {self.process.exitcode}, not {expected}")


def say(text: str = "") -> None:
    """Print one line now."""
    print(text, flush=True)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in columns; the first is left-aligned, the others right-aligned."""
    lines = [list(header), *([format_cell(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        cells[0] = line[0].ljust(widths[0])
        say("   " + "  ".join(cells).rstrip())


def format_cell(cell: object) -> str:
    """Return a table cell's text."""
    if isinstance(cell, float):
        return f"{cell:,.1f}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
