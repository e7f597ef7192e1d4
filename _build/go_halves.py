"""The Go halves of the functions of `capi/persisting.h`.

What a function does is `bucketRenew` for `persisting_bucket_renew`: a Go function, or a variable
that is a method, of the types of Go. Its half, which is made here, takes the arguments from C,
finds what the handle stands for, and writes the results:

    the first handle                  what it stands for; a panic of the call is blamed on it
    another handle                    what it stands for
    const char*                       string; with PERSISTING_JSON []byte
    PERSISTING_TAKES(A | B) flags     a bool for each flag
    PERSISTING_OF(n) array, n         a slice, nil for NULL
    keys, key_sizes, count            a slice of slices of bytes, where C has them
    other arrays, structs, char*      pointers, as C has them
    ArrowArray* and ArrowSchema*      arrow.Record
    ArrowSchema*                      *arrow.Schema
    numbers                           numbers
    persisting_x* out_x               what the new handle stands for
    char** out_json, out_list         what becomes JSON
    char** out_text                   string
    ArrowSchema* out_schema           *arrow.Schema
    other structs out_x               pointers, which are arguments
    int64_t* out_x                    any number

The results come in the order of the parameters, then an error.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from _build.persisting_header import HEADER, Function, Header, Parameter, fault

if TYPE_CHECKING:
    from collections.abc import Iterable

GO_FILE = HEADER.with_name("halves.go")
KINDS_FILE = HEADER.with_name("kinds.go")

GENERATED = "// Code generated from persisting.h by _build/go_halves.py. DO NOT EDIT."

NUMBERS = {
    "int32_t": "int32",
    "int64_t": "int64",
    "uint32_t": "uint32",
    "uint64_t": "uint64",
}

# The elements of arrays, which Go sees where they are.
ELEMENTS = {
    "double": "float64",
    "int8_t": "int8",
    "int32_t": "int32",
    "int64_t": "int64",
    "uint8_t": "byte",
    "void": "byte",
}

RECORD = ("struct ArrowArray*", "struct ArrowSchema*")


def camel(words: Iterable[str]) -> str:
    """Return `outRows` for `out` and `rows`."""
    first, *rest = words
    return first + "".join(word.title() for word in rest)


def go_name(function: Function) -> str:
    """Return the name of what a function does."""
    return camel(function.words)


def half_name(function: Function) -> str:
    """Return the name of the Go half of a function."""
    return camel(function.name.split("_")) + "Go"


def kind_name(noun: str) -> str:
    """Return the name of the kind of a handle."""
    return camel(("kind", *noun.split("_"))).replace("Kv", "KV")


def open_type(noun: str) -> str:
    """Return the name of the type that a handle stands for."""
    return camel(("open", *noun.split("_"))).replace("Kv", "KV")


def local(parameter: Parameter) -> str:
    """Return the name of a parameter."""
    return camel(parameter.said.split("_"))


def c_type(parameter: Parameter) -> str:
    """Return the type of a parameter as cgo calls it."""
    *const, base = parameter.ctype.rstrip("*").split()
    stars = parameter.ctype.count("*")
    if base == "void":
        return "*" * (stars - 1) + "unsafe.Pointer"
    return "*" * stars + f"C.{'struct_' if 'struct' in const else ''}{base}"


class Half:
    """The Go half of one function, line by line."""

    def __init__(self, header: Header, function: Function) -> None:
        self.header = header
        self.function = function
        self.before: list[str] = []
        self.arguments: list[str] = []
        self.after: list[str] = []
        self.results: list[str] = []
        self.opened: list[tuple[str, Parameter]] = []
        parameters = function.parameters
        counts = {p.many for p in parameters}
        pairs = {(a.name, b.name) for a, b in pairwise(parameters) if (a[0], b[0]) == RECORD}
        arrays = {name for pair in pairs for name in pair[:1]}
        schemas = {name for pair in pairs for name in pair[1:]}
        for p in parameters:
            if p.name in counts or p.name in schemas or p.name == "key_sizes":
                continue
            if p.is_out:
                self._result(p)
            elif p.name in arrays:
                self._imported("importBatch", f"{local(p)}, schema", "Record")
                self.before.append(f"defer {self.arguments[-1]}.Release()")
            else:
                self._argument(p)

    def _unfit(self, p: Parameter) -> Exception:
        return fault(
            f"{self.function.name}: {p.declared} is nothing that a Go half can take or give"
        )

    def _imported(self, by: str, what: str, name: str) -> None:
        made = f"imported{name}"
        self.before += [f"{made}, err := {by}({what})", "if err != nil {", "\treturn err", "}"]
        self.arguments.append(made)

    def _argument(self, p: Parameter) -> None:
        name = local(p)
        if noun := self.header.handle(p):
            self.opened.append((noun, p))
            self.arguments.append(f"the{len(self.opened)}")
        elif p.takes:
            self.arguments += [f"{name}&C.PERSISTING_{flag} != 0" for flag in p.takes]
        elif p.name == "keys":
            self._imported("keysAt", "keys, keySizes, count", "Keys")
        elif p.many:
            element = ELEMENTS[p.ctype.removeprefix("const ").removesuffix("*")]
            count = camel(p.many.split("_"))
            self.arguments.append(f"lent[{element}](unsafe.Pointer({name}), {count})")
        elif p.ctype == "const char*":
            text = f"C.GoString({name})"
            self.arguments.append(f"[]byte({text})" if p.is_json else text)
        elif p.ctype == "struct ArrowSchema*":
            self._imported("importColumns", name, "Columns")
        elif p.ctype in NUMBERS:
            self.arguments.append(f"{NUMBERS[p.ctype]}({name})")
        elif p.is_pointer:
            self.arguments.append(name)
        else:
            raise self._unfit(p)

    def _result(self, p: Parameter) -> None:
        value, out = f"result{len(self.results) + 1}", local(p)
        base = p.ctype.removesuffix("*")
        if base.startswith("struct ") and base != "struct ArrowSchema":
            self.arguments.append(out)
            return
        self.results.append(value)
        if noun := self.header.handle(p._replace(ctype=base)):
            self.after.append(f"*{out} = C.{base}(handles.add({kind_name(noun)}, {value}))")
        elif p.name in ("out_json", "out_list"):
            self.after.append(f"return toJSON({value}, {out})")
        elif base == "char*":
            self.after.append(f"*{out} = C.CString({value})")
        elif base == "struct ArrowSchema":
            self.after.append(f"exportSchema({value}, {out})")
        elif base in NUMBERS:
            self.after.append(f"*{out} = C.{base}({value})")
        else:
            raise self._unfit(p)

    def _body(self) -> list[str]:
        call = f"{go_name(self.function)}({', '.join(self.arguments)})"
        if not self.results:
            return [*self.before, f"return {call}"]
        whole = self.after[-1].startswith("return ")
        ends = self.after if whole else [*self.after, "return nil"]
        called = f"{', '.join(self.results)}, err := {call}"
        return [*self.before, called, "if err != nil {", "\treturn err", "}", *ends]

    def _closes(self) -> bool:
        return self.function.words[-1] == "close" and len(self.function.parameters) == 1

    def lines(self) -> list[str]:
        """Return the function."""
        declared = [f"{local(p)} {c_type(p)}" for p in self.function.parameters]
        declared.append("e *C.struct_persisting_error")
        body = self._body()
        by = "shut" if self._closes() else "with"
        for number, (noun, p) in enumerate(self.opened, 1):  # the first is the innermost
            head = f"return {by}({kind_name(noun)}, uint64({local(p)})"
            typed = f"the{number} {open_type(noun)}"
            body = [f"{head}, func({typed}) error {{", *(f"\t{line}" for line in body), "})"]
        return [
            f"//export {half_name(self.function)}",
            f"func {half_name(self.function)}({', '.join(declared)}) C.persisting_status {{",
            "\treturn guard(e, func() error {",
            *(f"\t\t{line}" for line in body),
            "\t})",
            "}",
        ]


def go_text(header: Header) -> str:
    """Return the Go file of all halves."""
    halves = ["\n".join(Half(header, f).lines()) for f in header.functions.values()]
    imports = 'import "unsafe"\n\n// #include "shim.h"\nimport "C"'
    return "\n\n".join([GENERATED, "package main", imports, *halves]) + "\n"


def kinds_text(header: Header) -> str:
    """Return the Go file of the kinds of handles."""
    nouns = [*enumerate(header.handles, 1)]
    width = max(len(kind_name(noun)) for noun in header.handles)
    names = ", ".join(f'"{name}"' for name in ("nothing", *header.handles))
    lines = [
        GENERATED,
        "",
        "package main",
        "",
        "// kind is the noun that a handle stands for: its top byte.",
        "type kind uint64",
        "",
        "const (",
        *(f"\t{kind_name(noun):<{width}} kind = {number}" for number, noun in nouns),
        ")",
        "",
        "func (k kind) String() string {",
        f"\treturn [...]string{{{names}}}[k]",
        "}",
    ]
    return "\n".join(lines) + "\n"
