"""A process that was forked from one that had loaded the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import command, python, run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_forked_child_is_refused_at_once_and_its_parent_goes_on(tmp_path: Path) -> None:
    done = run(command("fork", tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "survived\n"
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


SPAWN = """
import multiprocessing, sys
from persisting._engine.bucket import Bucket

def work(path):
    bucket = Bucket(path, {})
    bucket.close()

if __name__ == "__main__":
    bucket = Bucket(sys.argv[1] + "/a", {})
    for method in ("spawn", "forkserver"):
        child = multiprocessing.get_context(method).Process(target=work, args=(sys.argv[1] + "/b",))
        child.start()
        child.join(60)
        assert child.exitcode == 0, (method, child.exitcode)
    bucket.close()
    print("ok")
"""


def test_children_that_are_spawned_work(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(SPAWN)
    as_program = "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    assert python(as_program, script, tmp_path) == "ok\n"
