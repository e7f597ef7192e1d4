"""Make the library panic and see what it answers afterwards.

No sound call panics, so the panic comes from an argument that contradicts itself: more
offsets than an address space holds.

usage: panic DIRECTORY
"""

from __future__ import annotations

import sys
from pathlib import Path

from persisting._errors import Status
from tests import header
from tests.abi import Exported, World

TOO_MANY = 2**62


def main(directory: Path) -> None:
    w = World(directory)
    found = w.call("persisting_bucket_take", count=TOO_MANY)
    assert found.status == Status.INTERNAL, found
    assert "panic" in found.message
    assert "capi.go" in found.message or "bucket.go" in found.message, "the message has no stack"
    assert found.untouched
    for name in header.functions():
        batch = Exported() if name == "persisting_bucket_append" else None
        found = w.call(name, batch=batch)
        assert found.status == Status.INTERNAL, (name, found)
        assert "panic" in found.message
        assert found.untouched
        assert batch is None or batch.consumed
        assert w.call(name, error=None).status == Status.INTERNAL
    print("survived")


main(Path(sys.argv[1]))
