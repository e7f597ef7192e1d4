"""Every public name: of the Python package, of the C header, of the options and of the metrics.

`python -m tests.public > tests/public.txt` writes the list anew; its diff is what a release
gives its users, or takes from them.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import persisting
import persisting.kv
import persisting.metrics
import persisting.params
import persisting.queue
import persisting.trajectory
from persisting import _errors
from persisting._engine.bucket import Bucket
from tests import header
from tests.support import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

LIST = ROOT / "tests" / "public.txt"


def members(name: str, cls: type) -> Iterator[str]:
    """Yield the public members of a class, those of its bases among them."""
    for member, value in inspect.getmembers(cls):
        inherited = any(vars(base).get(member) is value for base in (object, BaseException))
        if inherited or (member.startswith("_") and member != "__init__"):
            continue
        if inspect.isfunction(value):
            yield f"{name}.{member}{inspect.signature(value)}"
        elif isinstance(value, property):
            yield f"{name}.{member}"


def module_names(module: ModuleType) -> Iterator[str]:
    """Yield the public names of a module, with the signatures of what can be called."""
    for name in module.__all__:
        full, value = f"{module.__name__}.{name}", getattr(module, name)
        if inspect.isclass(value):
            yield f"{full}({', '.join(base.__name__ for base in value.__bases__)})"
            yield from members(full, value)
        elif inspect.isfunction(value):
            yield f"{full}{inspect.signature(value)}"
        else:
            yield full


def option_names() -> list[str]:
    """Return the names of the engine's options, which it tells when it refuses one."""
    try:
        Bucket("/", {"": 0})
    except _errors.InvalidArgumentError as error:
        return str(error).partition("valid are ")[2].split(", ")
    raise AssertionError("an option without a name was taken")


def metrics() -> list[str]:
    """Return the metrics with their types, as the reference page has them."""
    page = (ROOT / "docs" / "metrics.md").read_text()
    return [
        " ".join(found) for found in re.findall(r"^\| `(persisting_\w+)` \| (\w+) \|", page, re.M)
    ]


def lines() -> Iterator[str]:
    """Yield the lines of the list."""
    for module in (
        persisting,
        persisting.queue,
        persisting.kv,
        persisting.params,
        persisting.trajectory,
        persisting.metrics,
        _errors,
    ):
        yield from module_names(module)
    for name, function in header.functions().items():
        yield f"{name}({', '.join(p.declared for p in function.parameters)})"
    declared = header.header()
    for kind, values in (("status", declared.statuses), ("flag", declared.flags)):
        yield from (f"{kind} {name} = {value}" for name, value in values.items())
    yield from (f"handle {noun}" for noun in declared.handles)
    yield from (f"option {name}" for name in option_names())
    yield from (f"metric {name}" for name in metrics())


if __name__ == "__main__":
    print("\n".join(lines()))
