"""The C boundary, written out from its one source, `capi/persisting.h`.

The header is read, and two files are made that git ignores:

    capi/shim_functions.c
        every function: the check for a fork, the call of its Go half
    python/persisting/_engine/boundary.py
        status codes, flags, kinds of handles, structs, prototypes

The header of the native library, whose source is Rust, is made by `_build/native_header.py`.

A declaration that this does not understand is an error of the build, never left out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from _build.native_header import HEADER_FILE as NATIVE_HEADER
from _build.native_header import native_header
from _build.process import ROOT, BuildError

HEADER = ROOT / "capi" / "persisting.h"
C_FILE = ROOT / "capi" / "shim_functions.c"
PYTHON_FILE = ROOT / "python" / "persisting" / "_engine" / "boundary.py"

NOTE = "Made from capi/persisting.h by _build/boundary.py."

# What stands for a C type in ctypes. A handle is a uint64_t; all other pointers, which take
# addresses, arrays and byref(), are void pointers.
CTYPES = {
    "int32_t": "c_int32",
    "int64_t": "c_int64",
    "uint32_t": "c_uint32",
    "uint64_t": "c_uint64",
    "persisting_status": "c_int32",
    "const char*": "c_char_p",
}

# How the Arrow structs that a function takes over are released where it is refused.
RELEASES = {
    "struct ArrowArray*": "shim_release_array",
    "struct ArrowSchema*": "shim_release_schema",
}


class Parameter(NamedTuple):
    """A parameter of a function, or a member of a struct: its C type and its name."""

    ctype: str
    name: str

    @property
    def is_pointer(self) -> bool:
        """Whether it is an address."""
        return self.ctype.endswith("*")

    @property
    def is_out(self) -> bool:
        """Whether a result is written there."""
        return self.is_pointer and self.name.startswith("out_")

    @property
    def declared(self) -> str:
        """The parameter as C declares it."""
        return f"{self.ctype} {self.name}"


class Function(NamedTuple):
    """A function; its last parameter, the error, is left out."""

    name: str
    parameters: tuple[Parameter, ...]

    @property
    def go(self) -> str:
        """The name of its Go half."""
        first, *rest = self.name.split("_")
        return first + "".join(word.title() for word in rest) + "Go"


class Header(NamedTuple):
    """What `persisting.h` declares, in its order."""

    abi_version: int
    statuses: dict[str, int]
    flags: dict[str, int]
    handles: tuple[str, ...]
    structs: dict[str, tuple[Parameter, ...]]
    functions: dict[str, Function]


ERROR = Parameter("struct persisting_error*", "error")


def without_comments(text: str) -> str:
    """Return C without its comments."""
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def parameter(text: str) -> Parameter:
    """Read `const char* name`; of a pointer to a function, that it is a pointer."""
    if called := re.fullmatch(r"\s*void \(\*(\w+)\)\(.*\)\s*", text):
        return Parameter("void*", called[1])
    *words, name = text.replace("*", " * ").split()
    return Parameter(" ".join(words).replace(" *", "*"), name)


def number(text: str) -> int:
    """Read the value of a constant: `1`, `8u` or `(UINT64_C(1) << 62)`."""
    if shifted := re.fullmatch(r"\(UINT64_C\((\d+)\) << (\d+)\)", text):
        return int(shifted[1]) << int(shifted[2])
    if plain := re.fullmatch(r"(\d+)u?", text):
        return int(plain[1])
    raise BuildError(f"{HEADER.name}: the constant {text} is not understood")


def read(text: str) -> Header:
    """Read the header."""
    code = without_comments(text)
    constants = {
        name: number(value)
        for name, value in re.findall(r"^#define PERSISTING_(\w+) +(.+?) *$", code, re.MULTILINE)
    }
    (enum,) = re.findall(r"\benum \{(.*?)\}", code, re.DOTALL)
    functions = {}
    for name, inside in re.findall(r"^persisting_status (\w+)\((.*?)\);", code, re.M | re.S):
        *own, error = (parameter(p) for p in inside.split(","))
        if error != ERROR:
            raise BuildError(f"{HEADER.name}: the last parameter of {name} is no {ERROR.declared}")
        functions[name] = Function(name, tuple(own))
    structs = {
        name: tuple(parameter(member) for member in inside.split(";") if member.strip())
        for name, inside in re.findall(r"^struct (\w+) \{(.*?)^\};", code, re.M | re.S)
    }
    members = sum(len(inside) for inside in structs.values())
    if code.count(";") != len(functions) + len(structs) + members + code.count("typedef") + 1:
        raise BuildError(f"{HEADER.name}: something that is declared there was not understood")
    return Header(
        abi_version=constants.pop("ABI_VERSION"),
        statuses={n: int(v) for n, v in re.findall(r"PERSISTING_(\w+) = (\d+)", enum)},
        flags=constants,
        handles=(*re.findall(r"^typedef uint64_t persisting_(\w+);", code, re.MULTILINE),),
        structs=structs,
        functions=functions,
    )


def c_function(function: Function) -> str:
    """Return the C of a function."""
    consumed = [p for p in function.parameters if p.ctype in RELEASES and not p.is_out]
    refusal = [f"    {RELEASES[p.ctype]}({p.name});" for p in consumed]
    arguments = [
        f"({p.ctype.removeprefix('const ')}){p.name}" if p.ctype.startswith("const ") else p.name
        for p in (*function.parameters, ERROR)
    ]
    return "\n".join(
        [
            f"persisting_status {function.name}(",
            "    " + ",\n    ".join(p.declared for p in (*function.parameters, ERROR)) + ") {",
            "  if (shim_forked) {",
            *refusal,
            "    return shim_fail_forked(error);",
            "  }",
            f"  return {function.go}({', '.join(arguments)});",
            "}",
        ]
    )


def c_text(header: Header) -> str:
    """Return the C file of all functions."""
    includes = '#include "shim.h"\n\n#include "_cgo_export.h"'
    functions = map(c_function, header.functions.values())
    return "\n\n".join([f"/* {NOTE} */", includes, *functions]) + "\n"


def python_type(header: Header, ctype: str) -> str:
    """Return what ctypes calls a C type."""
    if ctype.removeprefix("persisting_") in header.handles:
        return "c_uint64"
    if ctype in CTYPES:
        return CTYPES[ctype]
    if ctype.endswith("*"):
        return "c_void_p"
    raise BuildError(f"{HEADER.name}: the type {ctype} is not known to {__name__}")


def python_struct(header: Header, name: str, members: tuple[Parameter, ...]) -> str:
    """Return the class of a struct; its strings can be read as bytes."""
    own = name.removeprefix("persisting_")
    fields = [(m.name, "const char*" if m.ctype == "char*" else m.ctype) for m in members]
    return "\n".join(
        [
            f"class {own if own == name else own.title()}(Structure):",
            f'    """`struct {name}`."""\n',
            "    _fields_ = (",
            *(f'        ("{field}", {python_type(header, ctype)}),' for field, ctype in fields),
            "    )",
        ]
    )


def python_text(header: Header) -> str:
    """Return the Python module."""
    prototypes = []
    for name, function in header.functions.items():
        types = "".join(f"{python_type(header, p.ctype)}, " for p in function.parameters)
        prototypes.append(f'    "{name}": ({types}),')
    blocks = [
        f'"""What C declares. {NOTE}"""',
        "# fmt: off\n# ruff: noqa: E501",
        "from __future__ import annotations",
        "\n".join(
            [
                "from ctypes import (",
                *(
                    f"    {name},"
                    for name in sorted({*CTYPES.values(), "c_void_p", "c_uint64", "Structure"})
                ),
                ")",
                "from enum import IntEnum",
                "from typing import Any",
            ]
        ),
        f"ABI_VERSION = {header.abi_version}",
        "\n".join(f"{name} = {value}" for name, value in header.flags.items()),
        f"HANDLES = {header.handles!r}",
        "\n".join(
            [
                "class Status(IntEnum):",
                '    """Status codes of the C boundary, as in `capi/persisting.h`."""\n',
                *(f"    {name} = {code}" for name, code in header.statuses.items()),
            ]
        ),
        *(python_struct(header, name, members) for name, members in header.structs.items()),
        "# The arguments of each function but the last, which is the error.\n"
        + "\n".join(["PROTOTYPES: dict[str, tuple[Any, ...]] = {", *prototypes, "}"]),
    ]
    return "\n\n".join(blocks) + "\n"


def boundary() -> None:
    """Bring all files up to date; one that is right already keeps its time."""
    header = read(HEADER.read_text())
    for file, text in (
        (C_FILE, c_text(header)),
        (PYTHON_FILE, python_text(header)),
        (NATIVE_HEADER, native_header()),
    ):
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
