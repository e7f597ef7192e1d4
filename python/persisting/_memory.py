"""The memory that the buckets of a process share."""

from __future__ import annotations

from persisting._arguments import MOST, integer
from persisting._engine import functions


def set_memory_budget(size: int) -> None:
    """Bound the memory that all open buckets of this process share.

    It holds the rows that are not in Lance yet and, with what those leave, recent rows and pages
    of tables. Over the bound, buckets give up what they cache, and one that has more than its
    share of unflushed rows is flushed and lets puts wait until then.

    Parameters
    ----------
    size
        Bytes, at least 16 MiB. The default is 1 GiB.

    Raises
    ------
    InvalidArgumentError
        The size is no int, or too small.

    Notes
    -----
    Lance's own caches, at most 128 MiB, and the batches that readers hold come on top.
    """
    functions.library_set_memory_budget(integer("memory budget", size, -MOST, MOST))
