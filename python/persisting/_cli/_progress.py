"""A bar for work that takes long, in a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Bar:
    """Show a bar on stderr, where that is a terminal and rich is installed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._progress = None
        if sys.stderr.isatty():
            try:
                from rich.console import Console
                from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
            except ImportError:
                return
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._progress.add_task(text, total=None)

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress:
            self._progress.stop()

    def update(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """Show that so much of the total is done; a total of None is not known."""
        if self._progress:
            text = f"{self._text}: {text}" if text else self._text
            self._progress.update(self._task, completed=done, total=total, description=text)
