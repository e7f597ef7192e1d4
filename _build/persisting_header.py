"""`capi/persisting.h` as the build reads it: the one source of the C boundary.

Words of the header say more of a parameter than its type, and C sees nothing of them:

    PERSISTING_NULLABLE       it may be NULL
    PERSISTING_OF(count)      an array of as many elements as the parameter `count` says
    PERSISTING_TAKES(A | B)   bits that may be set
    PERSISTING_JSON           the text of a JSON value
    PERSISTING_PATH           a path of the file system, which is not empty

A declaration that this does not understand is an error of the build, never left out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from _build.process import ROOT, BuildError

HEADER = ROOT / "capi" / "persisting.h"


class Parameter(NamedTuple):
    """A parameter of a function, or a member of a struct."""

    ctype: str
    name: str
    nullable: bool = False
    is_json: bool = False
    is_path: bool = False
    takes: tuple[str, ...] = ()
    many: str = ""

    @property
    def is_pointer(self) -> bool:
        """Whether it is an address."""
        return self.ctype.endswith("*")

    @property
    def is_out(self) -> bool:
        """Whether one result is written there."""
        return self.is_pointer and self.name.startswith("out_") and not self.many

    @property
    def said(self) -> str:
        """Its name for people; one that C++ has a use for ends with an underscore."""
        return self.name.removesuffix("_")

    @property
    def declared(self) -> str:
        """The parameter as C declares it."""
        return f"{self.ctype} {self.name}"


class Function(NamedTuple):
    """A function: what it does, and its parameters without the last, the error."""

    name: str
    contract: str
    parameters: tuple[Parameter, ...]

    @property
    def words(self) -> list[str]:
        """The words of its name."""
        return self.name.removeprefix("persisting_").split("_")


class Header(NamedTuple):
    """What `persisting.h` declares, in its order."""

    abi_version: int
    statuses: dict[str, int]
    flags: dict[str, int]
    handles: tuple[str, ...]
    structs: dict[str, tuple[Parameter, ...]]
    functions: dict[str, Function]

    def handle(self, parameter: Parameter) -> str:
        """Return what a handle is of, or an empty text for what is none, or where one goes."""
        noun = parameter.ctype.removeprefix("persisting_")
        return noun if noun in self.handles else ""


WORD = re.compile(r"\bPERSISTING_(NULLABLE|OF|TAKES|JSON|PATH)\b(?:\((.*?)\))?")

ERROR = Parameter("struct persisting_error*", "error", nullable=True)


def fault(what: str) -> BuildError:
    """Return the error of what is not understood."""
    return BuildError(f"{HEADER.name}: {what}")


def without_comments(text: str) -> str:
    """Return C without its comments."""
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


def parameter(text: str) -> Parameter:
    """Read `const char* name`; of a pointer to a function, that it is a pointer."""
    if called := re.fullmatch(r"\s*void \(\*(\w+)\)\(.*\)\s*", text):
        return Parameter("void*", called[1])
    said = dict(WORD.findall(text))
    plain = WORD.sub("", text)
    *words, name = plain.replace("*", " * ").split()
    return Parameter(
        ctype=" ".join(words).replace(" *", "*"),
        name=name,
        nullable="NULLABLE" in said,
        is_json="JSON" in said,
        is_path="PATH" in said,
        takes=(*said["TAKES"].split(" | "),) if "TAKES" in said else (),
        many=said.get("OF", ""),
    )


def number(text: str) -> int:
    """Read the value of a constant: `1`, `8u` or `(UINT64_C(1) << 62)`."""
    if shifted := re.fullmatch(r"\(UINT64_C\((\d+)\) << (\d+)\)", text):
        return int(shifted[1]) << int(shifted[2])
    if plain := re.fullmatch(r"(\d+)u?", text):
        return int(plain[1])
    raise fault(f"the constant {text} is not understood")


def contract(comment: str) -> str:
    """Return the text of a comment."""
    lines = (line.strip().removeprefix("*").strip() for line in comment.strip("/*").splitlines())
    return "\n".join(lines).strip()


def functions_of(text: str) -> dict[str, Function]:
    """Read the functions, and the comment right before each."""
    found = {}
    declared = r"(?:(/\*(?:(?!\*/).)*\*/)\n)?^persisting_status (\w+)\(([^;]*)\);"
    for comment, name, inside in re.findall(declared, text, re.MULTILINE | re.DOTALL):
        *own, error = (parameter(p) for p in inside.split(","))
        if error[:2] != ERROR[:2]:
            raise fault(f"the last parameter of {name} is no {ERROR.declared}")
        found[name] = Function(name, contract(comment), tuple(own))
    return found


def read(text: str) -> Header:
    """Read the header."""
    code = without_comments(text)
    constants = {
        name: number(value)
        for name, value in re.findall(r"^#define PERSISTING_(\w+) +(.+?) *$", code, re.MULTILINE)
    }
    (enum,) = re.findall(r"\benum \{(.*?)\}", code, re.DOTALL)
    functions = functions_of(text)
    structs = {
        name: tuple(parameter(member) for member in inside.split(";") if member.strip())
        for name, inside in re.findall(r"^struct (\w+) \{(.*?)^\};", code, re.M | re.S)
    }
    members = sum(len(inside) for inside in structs.values())
    if code.count(";") != len(functions) + len(structs) + members + code.count("typedef") + 1:
        raise fault("something that is declared there was not understood")
    header = Header(
        abi_version=constants.pop("ABI_VERSION"),
        statuses={n: int(v) for n, v in re.findall(r"PERSISTING_(\w+) = (\d+)", enum)},
        flags=constants,
        handles=(*re.findall(r"^typedef uint64_t persisting_(\w+);", code, re.MULTILINE),),
        structs=structs,
        functions=functions,
    )
    for function in functions.values():
        check(header, function)
    return header


def check(header: Header, function: Function) -> None:
    """Hold what is said of parameters against what there is."""
    names = {p.name for p in function.parameters}
    for p in function.parameters:
        if "PERSISTING" in p.ctype:
            raise fault(f"{function.name}: {p.declared} has a word that is not known")
        if p.many and p.many not in names:
            raise fault(f"{function.name}: {p.name} is an array of {p.many}, which is not there")
        if unknown := [flag for flag in p.takes if flag not in header.flags]:
            raise fault(f"{function.name}: {p.name} takes {unknown[0]}, which is no flag")
