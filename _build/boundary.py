"""The C boundary, written out from its one source, `capi/persisting.h`.

The header is read, and files are made that git ignores:

    capi/shim_functions.c
        every function: the check for a fork, the checks of its arguments, the call of its Go half
    capi/halves.go, capi/kinds.go
        the Go halves, the kinds of handles; see `_build/go_halves.py`
    python/persisting/_engine/boundary.py, functions.py
        what C declares, and its functions as Python calls them; see `_build/python_calls.py`

The header of the native library, whose source is Rust, is made by `_build/native_header.py`, and
the way of its calls by `_build/native_calls.py`.
"""

from __future__ import annotations

from _build.go_halves import GO_FILE, KINDS_FILE, go_text, half_name, kinds_text
from _build.native_calls import CALLS_FILE, native_calls
from _build.native_header import HEADER_FILE as NATIVE_HEADER
from _build.native_header import native_header
from _build.persisting_header import ERROR, HEADER, Function, Header, Parameter, read
from _build.python_calls import DECLARATIONS_FILE, FUNCTIONS_FILE, declarations_text, functions_text

C_FILE = HEADER.with_name("shim_functions.c")

NOTE = "Made from persisting.h by _build/boundary.py."

# How the Arrow structs that a function takes over are released.
RELEASES = {
    "struct ArrowArray*": "shim_release_array",
    "struct ArrowSchema*": "shim_release_schema",
}


def refusals(p: Parameter) -> list[tuple[str, str]]:
    """Return when an argument is refused, and what is said then, as printf takes it."""
    found = []
    if p.many:
        found += [
            (
                f"{p.many} < 0",
                f'"{p.many} is %lld, want at least 0", (long long){p.many}',
            ),
            (f"{p.many} > 0 && {p.name} == NULL", f'"{p.said} is NULL"'),
        ]
    elif p.is_pointer:
        found.append((f"{p.name} == NULL", f'"{p.said} is NULL"'))
    if p.nullable:
        found = [refusal for refusal in found if "NULL" not in refusal[0]]
    if p.is_path:
        found.append((f"*{p.name} == 0", f'"{p.said} is empty"'))
    if p.takes:
        unknown = f"{p.name} & ~({' | '.join(f'PERSISTING_{flag}' for flag in p.takes)})"
        found.append((unknown, f'"unknown flags %#x", {unknown}'))
    return found


def c_function(function: Function) -> str:
    """Return the C of a function."""
    consumed = [p for p in function.parameters if p.ctype in RELEASES and not p.is_out]
    releases = [f"  {RELEASES[p.ctype]}({p.name});" for p in consumed]
    checks = [refusal for p in function.parameters for refusal in refusals(p)]
    arguments = [
        f"({p.ctype.removeprefix('const ')}){p.name}" if p.ctype.startswith("const ") else p.name
        for p in (*function.parameters, ERROR)
    ]
    return "\n".join(
        [
            f"persisting_status {function.name}(",
            "    " + ",\n    ".join(p.declared for p in (*function.parameters, ERROR)) + ") {",
            "  persisting_status status;",
            "  if (shim_forked) status = shim_fail_forked(error);",
            *(f"  else if ({when}) status = shim_refuse(error, {says});" for when, says in checks),
            f"  else status = {half_name(function)}({', '.join(arguments)});",
            *releases,
            "  return status;",
            "}",
        ]
    )


def c_text(header: Header) -> str:
    """Return the C file of all functions."""
    includes = '#include "shim.h"\n\n#include "_cgo_export.h"'
    functions = map(c_function, header.functions.values())
    return "\n\n".join([f"/* {NOTE} */", includes, *functions]) + "\n"


def boundary() -> None:
    """Bring all files up to date; one that is right already keeps its time."""
    header = read(HEADER.read_text())
    for file, text in (
        (C_FILE, c_text(header)),
        (GO_FILE, go_text(header)),
        (KINDS_FILE, kinds_text(header)),
        (DECLARATIONS_FILE, declarations_text(header)),
        (FUNCTIONS_FILE, functions_text(header)),
        (NATIVE_HEADER, native_header()),
        (CALLS_FILE, native_calls()),
    ):
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
