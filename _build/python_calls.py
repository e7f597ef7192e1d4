"""The functions of `capi/persisting.h` as Python calls them.

`functions.bucket_renew` calls `persisting_bucket_renew`, raises what it reports, and returns what
it writes, in the order of the parameters:

    handles                           int
    numbers                           int, or what is one; checked, as ctypes cuts off what is more
    const char*                       str; with PERSISTING_JSON what json can write
    PERSISTING_PATH                   str or os.PathLike
    PERSISTING_TAKES(A | B) flags     a keyword for each flag, False by default
    ArrowArray* and ArrowSchema*      pyarrow.RecordBatch
    ArrowSchema*                      pyarrow.Schema
    keys, key_sizes, count            `Keys` of the module `kv`
    other pointers                    what ctypes takes for an address
    char** out_json, out_list         dict, list
    char** out_text                   str
    PERSISTING_OF(n) array out_x, n   its numbers
    struct x* out_x                   the members of x, which are numbers
    ArrowSchema* out_schema           pyarrow.Schema

A function that gives out an ArrowArray is not made: its callers have the memory that it writes to.
"""

from __future__ import annotations

from itertools import pairwise

from _build.persisting_header import HEADER, Function, Header, Parameter, fault
from _build.process import ROOT

ENGINE = ROOT / "python" / "persisting" / "_engine"
DECLARATIONS_FILE = ENGINE / "boundary.py"
FUNCTIONS_FILE = ENGINE / "functions.py"

NOTE = f"Made from {HEADER.name} by _build/python_calls.py."

# What stands for a C type in ctypes. A handle is a uint64_t; all other pointers, which take
# addresses, arrays and byref(), are void pointers.
CTYPES = {
    "int8_t": "c_int8",
    "int32_t": "c_int32",
    "int64_t": "c_int64",
    "uint32_t": "c_uint32",
    "uint64_t": "c_uint64",
    "persisting_status": "c_int32",
    "const char*": "c_char_p",
}


def python_type(header: Header, ctype: str) -> str:
    """Return what ctypes calls a C type."""
    if ctype.removeprefix("persisting_") in header.handles:
        return "c_uint64"
    if ctype in CTYPES:
        return CTYPES[ctype]
    if ctype.endswith("*"):
        return "c_void_p"
    if ctype.removeprefix("struct ") in header.structs:
        return struct_name(ctype.removeprefix("struct "))
    raise fault(f"the type {ctype} is not known to {__name__}")


def struct_name(name: str) -> str:
    """Return `Usage` for `persisting_usage`."""
    own = name.removeprefix("persisting_")
    return own if own == name else own.title()


def python_struct(header: Header, name: str, members: tuple[Parameter, ...]) -> str:
    """Return the class of a struct; its strings can be read as bytes."""
    fields = [(m.name, "const char*" if m.ctype == "char*" else m.ctype) for m in members]
    return "\n".join(
        [
            f"class {struct_name(name)}(Structure):",
            f'    """`struct {name}`."""\n',
            "    _fields_ = (",
            *(f'        ("{field}", {python_type(header, ctype)}),' for field, ctype in fields),
            "    )",
        ]
    )


def imported(module: str, names: list[str]) -> str:
    """Return an import."""
    return "\n".join([f"from {module} import (", *(f"    {name}," for name in names), ")"])


def declarations_text(header: Header) -> str:
    """Return the Python module of what C declares."""
    prototypes = []
    for name, function in header.functions.items():
        types = "".join(f"{python_type(header, p.ctype)}, " for p in function.parameters)
        prototypes.append(f'    "{name}": ({types}),')
    blocks = [
        f'"""What C declares. {NOTE}"""',
        "from __future__ import annotations",
        imported("ctypes", sorted({*CTYPES.values(), "c_void_p", "c_uint64", "Structure"}))
        + "\nfrom enum import IntEnum\nfrom typing import Any",
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


# Between which a number is; ctypes would cut off what is more.
BOUNDS = {
    "int32_t": ("-(1 << 31)", "(1 << 31) - 1"),
    "int64_t": ("-(1 << 63)", "(1 << 63) - 1"),
    "uint32_t": ("0", "(1 << 32) - 1"),
    "uint64_t": ("0", "(1 << 64) - 1"),
}

# What C gets of the keys of a call, by the names of the parameters.
KEYS = {"keys": "blob", "key_sizes": "sizes", "count": "count"}


class Call:
    """A function as Python calls it, piece by piece."""

    def __init__(self, header: Header, function: Function) -> None:
        self.header = header
        self.function = function
        self.parameters: list[str] = []
        self.keywords: list[str] = []
        self.before: list[str] = []
        self.arguments: list[str] = []
        self.after: list[str] = []
        self.results: list[tuple[str, str]] = []
        records = [(a, b) for a, b in pairwise(function.parameters) if a.ctype.endswith("Array*")]
        skipped = {schema.name for _, schema in records}
        of_keys = KEYS if any(p.name == "key_sizes" for p in function.parameters) else {}
        for p in function.parameters:
            if p.is_out:
                self._result(p)
            elif p.name in of_keys:
                if p.name == "keys":
                    self.parameters.append("keys: Keys")
                    self.before.append(f"{', '.join(of_keys.values())} = keys.arguments")
                self.arguments.append(of_keys[p.name])
            elif p.many and p.name.startswith("out_"):
                self._numbers(p)
            elif p.ctype == "struct ArrowArray*":
                self.parameters.append("batch: pa.RecordBatch")
                self.before.append("schema, array = batch.__arrow_c_array__()")
                self.arguments.append('capsule_pointer(array, b"arrow_array")')
            elif p.name in skipped:
                self.arguments.append('capsule_pointer(schema, b"arrow_schema")')
            else:
                self._argument(p)

    def _argument(self, p: Parameter) -> None:
        kind, given = "Any", p.said
        if p.takes:
            flags = [f"({flag} if {flag.lower()} else 0)" for flag in p.takes]
            self.keywords += [f"{flag.lower()}: bool = False" for flag in p.takes]
            self.arguments.append(" | ".join(flags))
            return
        if p.is_path:
            kind, given = "str | os.PathLike[str]", f"os.fsencode({p.said})"
        elif p.is_json:
            kind, given = "Mapping[str, Any] | Sequence[Any]", f"as_json({p.said})"
        elif p.ctype == "const char*":
            kind, given = "str", f'text("{p.said}", {p.said})'
        elif p.ctype == "struct ArrowSchema*":
            kind, given = "pa.Schema", 'capsule_pointer(capsule, b"arrow_schema")'
            self.before.append(f"capsule = {p.said}.__arrow_c_schema__()")
        elif not p.is_pointer:
            kind = "int"
            if p.ctype in BOUNDS:
                least, most = BOUNDS[p.ctype]
                given = f'in_range("{p.said}", {p.said}, {least}, {most})'
        if p.nullable and given != p.said:
            kind, given = f"{kind} | None", f"None if {p.said} is None else {given}"
        self.parameters.append(f"{p.said}: {kind}")
        self.arguments.append(given)

    def _numbers(self, p: Parameter) -> None:
        element = python_type(self.header, p.ctype.removesuffix("*"))
        self.before.append(f"{p.name} = ({element} * {p.many})()")
        self.arguments.append(p.name)
        self.results.append(("Iterable[int]", p.name))

    def _result(self, p: Parameter) -> None:
        base = p.ctype.removesuffix("*")
        made = "c_char_p" if base == "char*" else python_type(self.header, base)
        if p.name in ("out_json", "out_list"):
            kind = "dict[str, Any]" if p.name == "out_json" else "list[Any]"
            self.after.append(f"found: {kind} = loads(taken({p.name}))")
            self.results.append((kind, "found"))
        elif base == "char*":
            self.results.append(("str", f"taken({p.name})"))
        elif base == "struct ArrowSchema":
            self.results.append(("pa.Schema", f"schema_in({p.name})"))
        elif base.startswith("struct "):
            members = self.header.structs[base.removeprefix("struct ")]
            self.results += [("int", f"{p.name}.{member.name}") for member in members]
        else:
            self.results.append(("int", f"{p.name}.value"))
        self.before.append(f"{p.name} = {made}()")
        self.arguments.append(f"byref({p.name})")

    def text(self) -> str:
        """Return the function."""
        keywords = ["*", *self.keywords] if self.keywords else []
        types = [kind for kind, _ in self.results]
        returned = f"tuple[{', '.join(types)}]" if len(types) > 1 else "".join(types) or "None"
        body = [
            *self.before,
            "error = Error()",
            f"if c.{self.function.name}({', '.join([*self.arguments, 'error'])}):",
            "    raise exception(error)",
            *self.after,
        ]
        if self.results:
            body.append(f"return {', '.join(value for _, value in self.results)}")
        contract = self.function.contract.replace("\n", "\n    ")
        return "\n".join(
            [
                f"def {'_'.join(self.function.words)}({', '.join([*self.parameters, *keywords])})"
                f" -> {returned}:",
                f'    """{contract}\n    """',
                *(f"    {line}" for line in body),
            ]
        )


def functions_text(header: Header) -> str:
    """Return the Python module of the functions."""
    made = [
        Call(header, function)
        for function in header.functions.values()
        if not any(p.is_out and p.ctype == "struct ArrowArray*" for p in function.parameters)
    ]
    structs = [struct_name(name) for name in header.structs if name.startswith("persisting_")]
    names = sorted({*header.flags, *structs, "ArrowSchema"} - {"OVER"})
    library = ["as_json", "c", "capsule_pointer", "exception", "schema_in", "taken"]
    types = sorted({*CTYPES.values(), "byref", "c_uint64"})
    blocks = [
        f'"""The functions that C declares. {NOTE}"""',
        "from __future__ import annotations",
        "import os\n"
        + imported("ctypes", types)
        + "\nfrom json import loads\nfrom typing import TYPE_CHECKING, Any",
        "from persisting._arguments import in_range, text\n"
        + imported("persisting._engine.boundary", names)
        + "\n"
        + imported("persisting._engine.library", library),
        "if TYPE_CHECKING:\n    from collections.abc import Iterable, Mapping, Sequence\n\n"
        "    import pyarrow as pa\n\n    from persisting._engine.kv import Keys",
        *(call.text() for call in made),
    ]
    return "\n\n\n".join(blocks) + "\n"
