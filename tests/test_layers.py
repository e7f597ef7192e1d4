"""Nothing imports upwards: the order of the layers, and no circle of modules."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULE = "github.com/persisting/persisting/"

# The Go packages, the lowest first: one imports only those that stand before it.
GO_LAYERS = [
    "vfs",
    "vfs/faultfs",
    "logs",
    "metrics",
    "metrics/reference",
    "metrics/exporter",
    "wal/segment",
    "wal",
    "engine",
    "engine/waker",
    "engine/procs",
    "engine/memory",
    "engine/atfork",
    "engine/statefile",
    "engine/journal",
    "engine/marks",
    "engine/blob",
    "engine/wire",
    "engine/kv/transfer",
    "engine/kv",
    "engine/kv/remote",
    "engine/delta",
    "engine/params/pack",
    "engine/params",
    "engine/lance",
    "engine/batch",
    "engine/options",
    "engine/tail",
    "engine/ring",
    "engine/ring/ringtest",
    "engine/table",
    "engine/layout",
    "engine/tasks",
    "engine/retention",
    "engine/inspect",
    "engine/bucket",
    "engine/content",
    "engine/sheet",
    "engine/leases",
    "engine/trajectory/mirror",
    "engine/trajectory/priorities",
    "engine/trajectory",
    "engine/trajectory/remote",
    "capi",
]

# The same of the Python package; a name stands for all modules below it.
PYTHON_LAYERS = [
    "persisting._engine.boundary",
    "persisting._errors",
    "persisting._arguments",
    "persisting._engine.library",
    "persisting._engine.functions",
    "persisting._engine.handles",
    "persisting._engine.cursor",
    "persisting._engine.columns",
    "persisting._engine.queries",
    "persisting._engine.versions",
    "persisting._engine",
    "persisting._memory",
    "persisting._records",
    "persisting._observe",
    "persisting._loop",
    "persisting.metrics",
    "persisting.sampler",
    "persisting.queue",
    "persisting.kv",
    "persisting.params",
    "persisting.trajectory",
    "persisting.integrations",
    "persisting._cli",
    "persisting.__main__",
    "persisting",
]


# The same of the files of native/src, where a directory stands for its files together.
RUST_LAYERS = [
    "error",
    "leaks",
    "runtime",
    "stack",
    "tokens",
    "depth",
    "json",
    "sql",
    "vectors",
    "grid",
    "compare",
    "cast",
    "filter",
    "projection",
    "layout",
    "row_ids",
    "fragments",
    "direct",
    "overlay",
    "readers",
    "snapshot",
    "progress",
    "table",
    "read",
    "take",
    "texts",
    "indexed",
    "query",
    "files",
    "held",
    "check",
    "mend",
    "cleanup",
    "compact",
    "columns",
    "evolve",
    "delete",
    "versions",
    "index",
    "ffi",
    "lib",
]


def go_imports() -> dict[str, set[str]]:
    """Return what each Go package imports of the project, tests aside."""
    found: dict[str, set[str]] = {}
    for file in ROOT.rglob("*.go"):
        relative = file.relative_to(ROOT)
        if relative.parts[0].startswith(".") or file.name.endswith("_test.go"):
            continue
        names = re.findall(rf'"{MODULE}([\w/]+)"', file.read_text())
        found.setdefault(relative.parent.as_posix(), set()).update(names)
    return found


def modules() -> dict[str, Path]:
    """Return the files of the Python package by the names of the modules."""
    source = ROOT / "python"
    found = {}
    for file in source.rglob("*.py*"):
        if file.suffix not in (".py", ".pyi"):  # the latter are modules of C
            continue
        *packages, last = file.relative_to(source).with_suffix("").parts
        found[".".join(packages if last == "__init__" else [*packages, last])] = file
    return found


def run_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a module that run: not what is for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        checked = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if not checked:
            yield node
            yield from run_nodes(node)


def python_imports(name: str, file: Path, known: set[str]) -> set[str]:
    """Return the modules of the package that a module imports, anywhere in it."""
    found = set()
    for node in run_nodes(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            base = ".".join(filter(None, [package if node.level else "", node.module]))
            assert node.level <= 1, f"{name} imports from a package above its own"
            wanted = [f"{base}.{alias.name}" for alias in node.names]
            found |= {full if full in known else base for full in wanted}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {other for other in found if other in known and other != name}


def rust_uses() -> dict[str, set[str]]:
    """Return what each file of native/src names of the others, by `use` or by its path."""
    source = ROOT / "native" / "src"
    found: dict[str, set[str]] = {}
    for file in source.rglob("*.rs"):
        name, text = file.relative_to(source).with_suffix("").parts[0], file.read_text()
        text = re.sub(r"//.*", "", text)
        names = set(re.findall(r"\bcrate::(\w+)", text))
        for inside in re.findall(r"\bcrate::\{(.*?)\};", text, re.DOTALL):
            names |= set(re.findall(r"(?:^|,)\s*(\w+)", re.sub(r"\{.*?\}", "", inside)))
        found.setdefault(name, set()).update(names - {name})
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the names along a circle of a graph; none if it has none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in sorted(graph.get(name, ())):
                if found := visit(other, [*path, name]):
                    return found
            done.add(name)
        return []

    for name in sorted(graph):
        if found := visit(name, []):
            return found
    return []


def layer(name: str) -> int:
    """Return the place of a Python module in the layers: that of its longest prefix."""
    prefixes = [p for p in PYTHON_LAYERS if f"{name}.".startswith(f"{p}.")]
    best = max(prefixes, key=len)
    assert best != "persisting" or name == "persisting", f"{name} has no place in the layers"
    return PYTHON_LAYERS.index(best)


def test_no_go_package_imports_upwards() -> None:
    imports = go_imports()
    assert set(imports) == set(GO_LAYERS)
    for name, wanted in imports.items():
        below = set(GO_LAYERS[: GO_LAYERS.index(name)])
        assert wanted <= below, f"{name} imports {sorted(wanted - below)}, which are not below it"


def test_no_python_module_imports_upwards() -> None:
    known = modules()
    for name, file in known.items():
        for other in python_imports(name, file, set(known)):
            assert layer(other) <= layer(name), f"{name} imports {other}, which is not below it"


def test_no_python_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    graph = {name: python_imports(name, file, set(known)) for name, file in known.items()}
    assert circle(graph) == []


def test_no_file_of_rust_uses_one_above_it() -> None:
    uses = rust_uses()
    assert set(uses) == set(RUST_LAYERS)
    for name, wanted in uses.items():
        below = set(RUST_LAYERS[: RUST_LAYERS.index(name)])
        assert wanted <= below, f"{name} uses {sorted(wanted - below)}, which are not below it"


def test_the_engine_is_called_in_one_place() -> None:
    for name, file in modules().items():
        knows = re.search(r"^\s*(import|from) ctypes\b", file.read_text(), re.MULTILINE)
        assert not knows or name.startswith("persisting._engine."), name


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
        ({"a": {"a"}}, ["a", "a"]),
    ],
)
def test_a_circle_is_found(graph: dict[str, set[str]], expected: list[str]) -> None:
    assert circle(graph) == expected
