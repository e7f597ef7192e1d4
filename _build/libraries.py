"""The shared libraries: the Rust one from the cache, the Go one beside it, Python's of records."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sysconfig
import tempfile
from pathlib import Path

from _build.boundary import boundary
from _build.cache import CACHE, digest, locked, place
from _build.native_calls import LANCEDB_GO, lancedb_go
from _build.process import ROOT, BuildError, environment, logged, output, say
from _build.tools import GRPCIO_TOOLS, check_tools, protoc

NATIVE = ROOT / "native"
LIB = ROOT / "python" / "persisting" / "_lib"
RECORDS = ROOT / "python" / "persisting" / "_records"

GO_LIBRARY = "libpersisting.so"
NATIVE_LIBRARY = "libpersisting_native.so"

NATIVE_LIBRARIES_KEPT = 4


def cargo_environment(**changes: str) -> dict[str, str]:
    """Return the environment in which every cargo command shares one set of built crates."""
    target = str(CACHE / "cargo-target")
    return environment(CARGO_TARGET_DIR=target, PROTOC=str(protoc()), **changes)


def native_key() -> str:
    """Return a hash of all that the Rust library is made from."""
    patterns = ("Cargo.*", "src/**/*.rs", "lancedb-go/Cargo.toml", "arrow-array-compat/**/*.*")
    sources = [file for pattern in patterns for file in NATIVE.glob(pattern)]
    sums = (ROOT / "go.sum").read_text().splitlines()
    flags = ("RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS")
    return digest(
        sources,
        *(line for line in sums if line.startswith(f"{LANCEDB_GO} ")),
        output(["rustc", "-vV"]),
        GRPCIO_TOOLS,
        *(f"{name}={os.environ.get(name, '')}" for name in flags),
    )


def link_lancedb_go() -> None:
    """Point native/lancedb-go/src at the Rust sources inside the Go module."""
    sources = lancedb_go() / "rust" / "src"
    link = NATIVE / "lancedb-go" / "src"
    if not link.is_symlink() or link.readlink() != sources:
        link.unlink(missing_ok=True)
        link.symlink_to(sources)


def without_machine_paths(library: bytes) -> bytes:
    """Return the library with the builder's directories in its panic messages blanked.

    The replacement has the same length. `--remap-path-prefix` would do this as well, but
    every crate would be built again for each directory it names.
    """
    cargo_home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    for directory, name in ((CACHE, b"/build"), (cargo_home, b"/cargo")):
        path = bytes(directory)
        library = library.replace(path, name.ljust(len(path), b"/")[: len(path)])
    return library


def native_library() -> Path:
    """Return the Rust library for these sources from the cache, built if it is not there."""
    key = native_key()
    directory = CACHE / "native" / key
    library = directory / NATIVE_LIBRARY
    with contextlib.nullcontext() if library.exists() else locked("native library"):
        if not library.exists():
            say("native library: building; 25 to 45 minutes from nothing, else a few")
            link_lancedb_go()
            env = cargo_environment()
            logged("native", ["cargo", "build", "--release", "--locked"], cwd=NATIVE, env=env)
            if native_key() != key:
                raise BuildError("the sources in native/ changed while they were built: try again")
            directory.mkdir(parents=True, exist_ok=True)
            fresh = directory / f".{NATIVE_LIBRARY}"
            built = CACHE / "cargo-target" / "release" / NATIVE_LIBRARY
            fresh.write_bytes(without_machine_paths(built.read_bytes()))
            fresh.chmod(0o555)
            fresh.replace(library)
            say("native library: built")
    os.utime(directory)
    by_last_use = sorted(directory.parent.iterdir(), key=lambda d: d.stat().st_mtime, reverse=True)
    for unused in by_last_use[NATIVE_LIBRARIES_KEPT:]:
        shutil.rmtree(unused, ignore_errors=True)
    return library


def version() -> str:
    """Return the project's version, which pyproject.toml alone defines."""
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError("pyproject.toml has no version")
    return found[1]


def go_library() -> None:
    """Build the Go library beside the Rust one; Go's own cache decides what is out of date."""
    exports = ROOT / "capi" / "exports.map"
    linker = [f'"-Wl,--version-script={exports}"', "-Wl,-rpath,$ORIGIN"]
    flags = ["-s", "-w", f"-X=main.release={version()}", f"-extldflags '{' '.join(linker)}'"]
    with tempfile.TemporaryDirectory() as temporary:
        built = Path(temporary) / GO_LIBRARY
        command = ["go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false"]
        command += ["-ldflags", " ".join(flags), "-o", str(built), "./capi"]
        logged("go", command, env=go_environment())
        place(built, LIB / GO_LIBRARY)


def rows_compiler(*more: str) -> list[str]:
    """Return the command that compiles the Python module of C, for any Python 3.10 or newer."""
    sources = map(str, sorted(RECORDS.glob("*.c")))
    paths = (f"-I{sysconfig.get_path('include')}", f"-I{ROOT / 'capi'}")
    return ["cc", "-std=c11", "-O2", "-fPIC", *paths, *more, *sources]


def rows_module() -> None:
    """Build the Python module of C beside its sources."""
    with tempfile.TemporaryDirectory() as temporary:
        built = Path(temporary) / "_rows.abi3.so"
        logged("rows", [*rows_compiler("-shared", "-s"), "-o", str(built)])
        place(built, RECORDS / built.name)


def go_environment() -> dict[str, str]:
    """Return the environment in which Go code links against, and runs with, the Rust library."""
    search = os.pathsep.join(filter(None, [str(LIB), os.environ.get("LD_LIBRARY_PATH")]))
    return environment(CGO_ENABLED="1", LD_LIBRARY_PATH=search)


def libraries() -> None:
    """Bring the shared libraries of the package up to date."""
    check_tools("go", "rust")
    boundary()
    rows_module()
    place(native_library(), LIB / NATIVE_LIBRARY)
    say("native library: ready")
    go_library()
    say("Go library: ready")
