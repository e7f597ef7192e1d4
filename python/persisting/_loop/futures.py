"""Those who wait, on whichever event loop they do."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def settle(
    futures: Iterable[asyncio.Future[Any]], cause: BaseException | None, result: Any = None
) -> None:
    """Tell those who wait, each on the event loop where it does, how it ended.

    One whose loop is closed waits no more.
    """
    here = running_loop()
    for future in futures:
        loop = future.get_loop()
        if loop is here:
            _resolve(future, cause, result)
            continue
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_resolve, future, cause, result)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs on this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _resolve(future: asyncio.Future[Any], cause: BaseException | None, result: Any) -> None:
    if future.done():
        return
    if cause is None:
        future.set_result(result)
    else:
        future.set_exception(cause)
