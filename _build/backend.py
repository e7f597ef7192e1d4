"""The PEP 517 and PEP 660 backend: builds the libraries and leaves the rest to setuptools."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from typing import Any

from _build.libraries import libraries
from _build.process import ROOT
from _build.tools import SKIP_LIBRARIES


def setuptools_backend() -> Any:
    """Return setuptools' backend, made to tag wheels for this platform and any Python 3."""
    from setuptools import Distribution, build_meta
    from setuptools.command.bdist_wheel import bdist_wheel

    tag = re.sub(r"\W", "_", f"{sys.platform}_{platform.machine()}")
    Distribution.has_ext_modules = lambda self: True
    bdist_wheel.get_tag = lambda self: ("py3", "none", tag)
    return build_meta


def build_wheel(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    """Build the libraries and a wheel (PEP 517)."""
    libraries()
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # setuptools packs what is left there
    return str(setuptools_backend().build_wheel(directory, settings, metadata))


def build_editable(directory: str, settings: Any = None, metadata: str | None = None) -> str:
    """Build the libraries, unless build.py does that itself, and an editable wheel (PEP 660)."""
    if not os.environ.get(SKIP_LIBRARIES):
        libraries()
    return str(setuptools_backend().build_editable(directory, settings, metadata))


def build_sdist(directory: str, settings: Any = None) -> str:
    """Build a source distribution (PEP 517)."""
    return str(setuptools_backend().build_sdist(directory, settings))


def prepare_metadata_for_build_wheel(directory: str, settings: Any = None) -> str:
    """Write the metadata of the wheel without building anything (PEP 517)."""
    return str(setuptools_backend().prepare_metadata_for_build_wheel(directory, settings))


def prepare_metadata_for_build_editable(directory: str, settings: Any = None) -> str:
    """Write the metadata of the editable wheel without building anything (PEP 660)."""
    return str(setuptools_backend().prepare_metadata_for_build_editable(directory, settings))
