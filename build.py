#!/usr/bin/env python3
"""Build, demonstrate, test, measure, lint and package Persisting.

    python3 build.py build           the libraries and an editable install in .venv
    python3 build.py demo            the demonstration, on real rollouts
    python3 build.py test            Go, Rust and Python tests
    python3 build.py bench           the benchmarks
    python3 build.py lint            every linter and format check
    python3 build.py wheel           sdist and wheel in dist/

Each command does what it needs first and nothing twice: the Rust library, which
takes 25 to 45 minutes from nothing, is kept in a cache outside the checkout under
a hash of all that it is made from, so that other checkouts find it too. Logs of
the long steps are in .build/logs.

`pip install .` runs the same code, through the backend in _build/backend.py.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from _build.boundary import boundary
from _build.cache import CACHE, locked
from _build.engines import ENGINES, engines, engines_environment
from _build.libraries import (
    NATIVE,
    cargo_environment,
    go_environment,
    libraries,
    link_lancedb_go,
    rows_compiler,
)
from _build.process import ROOT, BuildError, Checks, environment, logged, say, shown
from _build.tools import (
    PACKAGING,
    VENV,
    check_tools,
    golangci_lint,
    make_venv,
    python_environment,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def run_environment() -> dict[str, str]:
    """Return the environment of programs that may keep their own files in the cache."""
    return environment(PERSISTING_CACHE=str(CACHE))


def build(arguments: argparse.Namespace) -> int:
    """Build the libraries and install the package editable into .venv."""
    libraries()
    python = python_environment()
    say(f"ready: {python.relative_to(ROOT)}")
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Run the demonstration."""
    libraries()
    python = python_environment("demo")
    command = [python, "-m", "demo.rollouts", *arguments.rest]
    return subprocess.run(command, cwd=ROOT, env=run_environment()).returncode


def bench(arguments: argparse.Namespace) -> int:
    """Run the benchmarks."""
    libraries()
    python = python_environment("bench")
    command = [python, "-m", "benchmarks", *arguments.rest]
    return subprocess.run(command, cwd=ROOT, env=run_environment()).returncode


def packages(lines: list[str]) -> str:
    """Summarize the output of `go test`."""
    passed = sum(line.startswith("ok ") for line in lines)
    failed = sum(line.startswith("FAIL\t") for line in lines)
    return f"{passed} packages passed" + (f", {failed} failed" if failed else "")


def rust_results(lines: list[str]) -> str:
    """Summarize the output of `cargo test`."""
    return "; ".join(line[13:] for line in lines if line.startswith("test result: "))


def python_results(lines: list[str]) -> str:
    """Summarize the output of pytest."""
    return lines[-1].strip("= ") if lines else ""


def test(arguments: argparse.Namespace) -> int:
    """Run the tests: Go (with the race detector), Rust, Python, and if asked for the engines."""
    every = {"go", "rust", "python", "engines"} if arguments.all else {"go", "rust", "python"}
    chosen = {arguments.only} if arguments.only else every
    arguments.slow |= arguments.all
    if arguments.rest:
        chosen = {"python"}
    checks = Checks()
    closing: list[str] = []
    ready = checks.step("build", libraries)
    if "go" in chosen and ready:
        env = go_environment()
        checks.run("go vet", ["go", "vet", "./..."], env=env)
        length = ["-timeout=3h"] if arguments.slow else ["-short", "-timeout=40m"]
        env |= {"PERSISTING_SLOW": "1"} if arguments.slow else {}
        command = ["go", "test", "-race", *length, "./..."]
        checks.run("go test", command, env=env, note=packages)
    has_rust_tests = any("#[test]" in file.read_text() for file in NATIVE.glob("src/**/*.rs"))
    if "rust" in chosen and ready and has_rust_tests:
        with locked("native library"):
            link_lancedb_go()
            command = ["cargo", "test", "--release", "--locked", "-q"]
            env = cargo_environment()
            checks.run("cargo test", command, cwd=NATIVE, env=env, note=rust_results)
    if "python" in chosen and ready and checks.step("venv", lambda: python_environment("test")):
        command = [str(python_environment("test")), "-m", "pytest", *arguments.rest]
        command += ["-m", "not external"] if arguments.slow else []
        lines = checks.run("pytest", command, env=run_environment(), note=python_results)
        closing = lines[-1:]
    if "engines" in chosen and ready and checks.step("venv", python_environment):
        test_engines(checks)
    status = checks.finish()
    print(*closing)
    return status


def test_engines(checks: Checks) -> None:
    """Run the tests of the plugs with the engines, those of vLLM with both of its versions."""
    if not checks.step("engines", engines):
        return
    python = engines() / "venv" / "bin" / "python"
    command = [str(python), "-m", "pytest", f"-c={ENGINES / 'pytest.ini'}"]
    env = engines_environment()
    checks.run("engines", [*command, str(ENGINES)], env=env, note=python_results)
    env = engines_environment(engines() / "vllm")
    command.append(str(ENGINES / "test_vllm.py"))
    checks.run("newest vLLM", command, env=env, note=python_results)


def lint(arguments: argparse.Namespace) -> int:
    """Run every linter and format check, cheap ones first."""
    check_tools("go", "rust", "clippy")
    boundary()
    checks = Checks()
    if checks.step("venv", lambda: python_environment("lint", "test", "demo")):
        python = VENV / "bin" / "python"
        checks.run("ruff check", [python, "-m", "ruff", "check"])
        checks.run("ruff format", [python, "-m", "ruff", "format", "--check"])
        typed = ["python", "build.py", "_build", "tests", "benchmarks", "demo"]
        present = [name for name in typed if (ROOT / name).exists()]
        checks.run("mypy", [python, "-m", "mypy", *present])
    strict = ("-fsyntax-only", "-Wall", "-Wextra", "-Wconversion", "-Werror")
    checks.run("cc", rows_compiler(*strict))
    if checks.step("lancedb-go", link_lancedb_go):
        checks.run("cargo fmt", ["cargo", "fmt", "--check"], cwd=NATIVE)
    if checks.step("golangci-lint", golangci_lint):
        checks.run("golangci-lint", [golangci_lint(), "run", "./..."], env=go_environment())
    with locked("native library"):
        # Clippy in place of rustc for our crates only. `cargo clippy` would check all 450
        # dependencies anew, which takes 10 minutes; this finds them built.
        command = ["cargo", "rustc", "--release", "--locked", "--crate-type=rlib"]
        env = cargo_environment(RUSTC_WORKSPACE_WRAPPER="clippy-driver")
        checks.run("clippy", [*command, "--", "-D", "warnings"], cwd=NATIVE, env=env)
    return checks.finish()


def wheel(arguments: argparse.Namespace) -> int:
    """Make the sdist, and from it the wheel, in dist/."""
    check_tools("go", "rust")
    packaging = CACHE / "packaging"
    with locked("packaging"):
        stamp = packaging / "persisting.txt"
        wanted = "\n".join([*PACKAGING, sys.version])
        if not stamp.exists() or stamp.read_text() != wanted:
            say("packaging tools: installing from PyPI")
            make_venv(packaging, *PACKAGING)
            stamp.write_text(wanted)
    dist = ROOT / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    say("wheel: building the sdist, and the wheel from it")
    binaries = packaging / "bin"
    env = environment(PERSISTING_CACHE=str(CACHE))
    env["PATH"] = f"{binaries}{os.pathsep}{env['PATH']}"
    logged("wheel", [str(binaries / "pyproject-build"), f"--outdir={dist}"], env=env)
    (built,) = dist.glob("*.whl")
    if arguments.repair:
        repair = [str(binaries / "auditwheel"), "repair", f"--wheel-dir={dist}", str(built)]
        logged("auditwheel", repair, env=env)
        built.unlink()
    for file in sorted(dist.iterdir()):
        say(f"wheel: {file.relative_to(ROOT)}, {file.stat().st_size / 1e6:.1f} MB")
        if file.suffix == ".whl":
            shown([binaries / "auditwheel", "show", file], env=env)
    return 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    def add(action: Callable[[argparse.Namespace], int], rest: str = "") -> argparse.ArgumentParser:
        summary = (action.__doc__ or "").strip()
        command = commands.add_parser(
            action.__name__, help=summary, description=summary, epilog=rest
        )
        command.set_defaults(action=action)
        return command

    add(build)
    add(demo, "All other arguments are passed on to the demonstration.")
    tests = add(test, "Arguments after -- are passed on to pytest, which then runs alone.")
    tests.add_argument("--slow", action="store_true", help="the slow tests as well")
    tests.add_argument("--all", action="store_true", help="those, and vLLM, SGLang and LMCache")
    languages = ["go", "rust", "python", "engines"]
    tests.add_argument("--only", choices=languages, help="one language's tests, or the engines'")
    add(bench, "All other arguments are passed on to the benchmarks.")
    add(lint)
    wheels = add(wheel)
    wheels.add_argument("--repair", action="store_true", help="make a manylinux wheel (auditwheel)")
    own = list(itertools.takewhile(lambda word: word != "--", sys.argv[1:]))
    arguments, unknown = parser.parse_known_args(own)
    if unknown and arguments.action not in (demo, bench):
        parser.error(f"unknown arguments: {' '.join(unknown)}")
    arguments.rest = [*unknown, *sys.argv[len(own) + 2 :]]
    try:
        return int(arguments.action(arguments))
    except BuildError as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
