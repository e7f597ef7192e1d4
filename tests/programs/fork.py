"""Fork with an open bucket; the child calls every function, the parent goes on.

usage: fork DIRECTORY
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path

from persisting._engine.bucket import Bucket
from persisting._errors import ForkedError, Status
from tests import header
from tests.abi import Exported, World, rows


def in_child(w: World, bucket: Bucket) -> None:
    """See every call refused at once."""
    for name in header.functions():
        batch = Exported() if name == "persisting_bucket_append" else None
        found = w.call(name, batch=batch)
        assert found.status == Status.FORKED, (name, found)
        assert "spawn" in found.message
        assert found.untouched
        assert batch is None or batch.released
        assert w.call(name, error=None).status == Status.FORKED
    for call in (bucket.flush, bucket.acknowledged, bucket.schema, lambda: bucket.append(rows())):
        try:
            call()
        except ForkedError:
            continue
        raise AssertionError("a forked child used the binding")


def main(directory: Path) -> None:
    w = World(directory)
    w.open_trajectories()
    w.open_sheet()
    bucket = Bucket(directory / "python", {"wal_sync_interval": 0})
    bucket.append(rows(), wait_ns=-1)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a call that hangs ends the child with a signal
        try:
            in_child(w, bucket)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.exit(7)  # an orderly end, which runs the finalizers of the open handles
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7, os.waitstatus_to_exitcode(status)
    bucket.append(rows(), wait_ns=-1)
    bucket.flush()
    assert bucket.acknowledged() == 6
    bucket.close()
    assert w.append(rows()) == Status.OK
    w.close()
    print("survived")


main(Path(sys.argv[1]))
