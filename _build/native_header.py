"""The header of the native library, written out from its one source, `native/src/ffi/`.

The functions there are declared inside `export!` by what they take and give in Rust, which
cbindgen cannot read: it sees only functions that are spelled out as `extern "C"`, and expands
macros with a nightly compiler alone. What a type is in C is said by the `type C` of its
`impl Argument` or `impl Answer`, which are read as well; git ignores the file that is made.

A declaration that this does not understand is an error of the build, never left out.
"""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

from _build.process import ROOT, BuildError

SOURCE = ROOT / "native" / "src"
ARROW_FILE = ROOT / "capi" / "persisting.h"
HEADER_FILE = ROOT / "native" / "persisting_native.h"

# In the order in which the header has what they declare.
FILES = (
    "ffi/mod.rs",
    "error.rs",
    "leaks.rs",
    "ffi/values.rs",
    "ffi/tables.rs",
    "ffi/columns.rs",
    "ffi/queries.rs",
)

C_NAMES = {
    "c_char": "char",
    "c_void": "void",
    "f64": "double",
    "i32": "int32_t",
    "i64": "int64_t",
    "u64": "uint64_t",
    "FFI_ArrowArray": "struct ArrowArray",
    "FFI_ArrowSchema": "struct ArrowSchema",
}

DOC = r"((?: *///[^\n]*\n)+)"


class Native(NamedTuple):
    """What the sources declare, in their order; documentation comes first in each."""

    about: str
    statuses: list[tuple[str, str, str]]
    handles: list[tuple[str, str]]
    structs: list[tuple[str, str, list[tuple[str, str, str]]]]
    functions: list[tuple[str, str, str]]


def snake(name: str) -> str:
    """Return `compact_options` for `CompactOptions`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def plain(doc: str, mark: str = "///") -> str:
    """Return the text of a comment."""
    lines = (line.strip().removeprefix(mark).removeprefix(" ") for line in doc.splitlines())
    return "\n".join(lines)


def without_last(text: str) -> str:
    """Return a sentence as a remark after a member has it."""
    return text.replace("\n", " ").removesuffix(".")


def fail(what: str) -> BuildError:
    """Return the error of what is not understood."""
    return BuildError(f"{HEADER_FILE.name}: {what}")


class Types:
    """What the types of Rust are in C."""

    def __init__(self, text: str, handles: list[str], structs: list[str]) -> None:
        self.handles = "|".join(handles)
        self.names = C_NAMES | {name: f"pn_{snake(name)}" for name in handles}
        self.names |= {name: f"struct pn_{snake(name)}" for name in structs}
        found = r"^impl(<T: Handle>)? (?:Argument|Answer) for (.+) \{\n\s+type C = (.+);"
        self.impls = {
            (bool(generic), kind): passed
            for generic, kind, passed in re.findall(found, text, re.MULTILINE)
        }

    def raw(self, kind: str) -> str:
        """Return what a type that C knows is called there."""
        if pointer := re.fullmatch(r"\*(const|mut) (.+)", kind):
            const = "const " if pointer[1] == "const" else ""
            return f"{const}{self.raw(pointer[2])} *".replace("* *", "**")
        name = re.sub(r"^Arc<(\w+)>$", r"\1", kind)
        if name not in self.names:
            raise fail(f"the type {kind} is not known")
        return self.names[name]

    def passed(self, kind: str) -> str:
        """Return what a value of a type is in C."""
        if passed := self.impls.get((False, kind)):
            return self.raw(passed)
        for (generic, pattern), passed in self.impls.items():
            handle = re.escape(pattern).replace("T", rf"((?:Arc<)?(?:{self.handles})>?)")
            if generic and (of := re.fullmatch(handle, kind)):
                return self.raw(passed.replace("T", of[1]))
        return self.raw(kind)


def read(sources: dict[str, str]) -> Native:
    """Read the sources."""
    text = "\n".join(sources.values())
    (statuses,) = re.findall(r"^pub enum Status \{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE)
    structs = re.findall(
        DOC + r"#\[repr\(C\)\]\n(?:pub )?struct (\w+) \{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE
    )
    handles = re.findall(DOC + r"impl Handle for (?:Arc<)?(\w+)>? \{\}", text)
    functions = re.findall(r"^" + DOC + r"    fn (pn_\w+)\(([^{]*)\{\n", text, re.MULTILINE)
    if len(structs) != text.count("#[repr(C)]") or len(functions) != len(
        re.findall(r"\bfn pn_", text)
    ):
        raise fail("something that is declared was not understood")
    types = Types(text, [name for _, name in handles], [name for _, name, _ in structs])
    member = re.compile(r"((?:    ///.*\n)*)    (?:pub )?(\w+): (.+),\n")
    return Native(
        about=plain("\n".join(re.findall(r"^//!.*", sources[FILES[0]], re.MULTILINE)), "//!"),
        statuses=[
            (plain(doc), snake(name).upper(), value)
            for doc, name, value in re.findall(r"((?:    ///.*\n)*)    (\w+) = (\d+),\n", statuses)
        ],
        handles=[(plain(doc), types.names[name]) for doc, name in handles],
        structs=[
            (
                plain(doc),
                types.names[name],
                [(plain(d), types.raw(kind), own) for d, own, kind in member.findall(inside)],
            )
            for doc, name, inside in structs
        ],
        functions=[(plain(doc), name, parameters(types, rest)) for doc, name, rest in functions],
    )


def declared(ctype: str, name: str) -> str:
    """Return the declaration of a parameter or a member."""
    return f"{ctype}{name}" if ctype.endswith("*") else f"{ctype} {name}"


def parameters(types: Types, rest: str) -> str:
    """Return the parameters in C of what follows the name of a function in Rust."""
    found = re.fullmatch(r"(.*)\) (?:-> (.+) )?", rest, re.DOTALL)
    if found is None:
        raise fail(f"the parameters {rest} are not understood")
    own = [p.split(":", 1) for p in found[1].split(",") if p.strip()]
    listed = [declared(types.passed(kind.strip()), name.strip()) for name, kind in own]
    if found[2]:
        out = types.passed(found[2])
        listed.append(f"{out}*out" if out.endswith("*") else f"{out} *out")
    return ", ".join([*listed, "struct pn_owned *error"])


def comment(text: str) -> str:
    """Return a comment of C."""
    first, *more = text.splitlines()
    return "\n".join([f"/* {first}", *(f" * {line}".rstrip() for line in more)]) + " */"


def folded(prototype: str) -> str:
    """Return a prototype in lines that end with whole parameters."""
    glued = prototype.replace(" ", "~").replace(",~", ", ")
    lines = textwrap.fill(glued, 90, subsequent_indent="    ", break_long_words=False)
    return lines.replace("~", " ")


def members(inside: list[tuple[str, str, str]]) -> list[str]:
    """Return the lines of the members of a struct."""
    lines = []
    for doc, ctype, name in inside:
        remark = f" /* {without_last(doc)} */" if doc else ""
        lines.append(f"  {declared(ctype, name)};{remark}")
    return lines


def arrow_structs() -> str:
    """Return the structs of Arrow, whole: Go would not know of what they point to else."""
    name = "ARROW_C_DATA_INTERFACE"
    (block,) = re.findall(
        rf"^#ifndef {name}$.*^#endif /\* {name} \*/$", ARROW_FILE.read_text(), re.M | re.S
    )
    return str(block)


def header_text(native: Native) -> str:
    """Return the header."""
    statuses = [("", "OK", "0"), *native.statuses]
    functions = [
        f"{comment(doc)}\n" + folded(f"int32_t {name}({inside});")
        for doc, name, inside in native.functions
    ]
    blocks = [
        comment(
            "SPDX-License-Identifier: Apache-2.0\n\n"
            f"{native.about}\n\nMade from native/src/ffi by _build/native_header.py."
        ),
        "#ifndef PERSISTING_NATIVE_H\n#define PERSISTING_NATIVE_H",
        "#include <stdint.h>",
        '#ifdef __cplusplus\nextern "C" {\n#endif',
        arrow_structs(),
        "\n".join(
            [
                "enum pn_status {",
                *(
                    f"  PN_{name} = {value},{f' /* {without_last(doc)} */' if doc else ''}"
                    for doc, name, value in statuses
                ),
                "};",
            ]
        ),
        *(f"{comment(doc)}\ntypedef struct {name} {name};" for doc, name in native.handles),
        *(
            "\n".join([comment(doc), f"{name} {{", *members(inside), "};"])
            for doc, name, inside in native.structs
        ),
        *functions,
        "#ifdef __cplusplus\n}\n#endif\n\n#endif",
    ]
    return "\n\n".join(blocks) + "\n"


def last_word(declared: str) -> str:
    """Return the name in a declaration."""
    word: str = re.findall(r"\w+", declared)[-1]
    return word


def native_sources() -> dict[str, str]:
    """Return the sources that the header is made of."""
    return {name: (SOURCE / name).read_text() for name in FILES}


def native_header() -> str:
    """Return the header of the sources as they are."""
    return header_text(read(native_sources()))


def native_functions() -> list[tuple[str, str]]:
    """Return the names and the parameters in C of the functions, all of which return int32_t."""
    return [(name, inside) for _, name, inside in read(native_sources()).functions]
