"""The native library refuses what is not there, and its header says what its sources say."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from _build import native_calls, native_header
from _build.native_header import last_word
from _build.process import BuildError
from persisting._engine import boundary, library

if TYPE_CHECKING:
    from pathlib import Path

NATIVE = native_header.read(native_header.native_sources())
LIBRARY = ctypes.CDLL(str(library.LIBRARY.with_name("libpersisting_native.so")))

INVALID = 1
UNTOUCHED = b"\xaa" * 128

SCALARS: dict[str, type[ctypes._SimpleCData[int]]] = {
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
}

# What is nothing to them.
TAKE_NULL = {"pn_owned_release", "pn_table_close", "pn_snapshot_close", "pn_reader_close"}


def ctype_of(declared: str) -> Any:
    """Return what ctypes calls a type of the header."""
    if declared.endswith("*"):
        return ctypes.c_void_p
    return SCALARS.get(declared) or STRUCTS[declared]


STRUCTS: dict[str, type[ctypes.Structure]] = {}
for _, struct, members in NATIVE.structs:
    fields = [(name, ctype_of(ctype)) for _, ctype, name in members]
    STRUCTS[struct] = type(struct, (ctypes.Structure,), {"_fields_": fields})

# The type and the name of each parameter.
FUNCTIONS: dict[str, list[tuple[str, str]]] = {
    name: [(p[: -len(own)].strip(), own) for p in inside.split(", ") for own in [last_word(p)]]
    for _, name, inside in NATIVE.functions
}


class Given:
    """Arguments of a call in which all that may be missing is, and the rest is consumed."""

    def __init__(self, name: str) -> None:
        self.out = ctypes.create_string_buffer(UNTOUCHED, len(UNTOUCHED))
        self.error = STRUCTS["struct pn_owned"]()
        self.consumed: list[Any] = []
        self.arguments = {own: self.value(ctype, own) for ctype, own in FUNCTIONS[name]}

    def value(self, ctype: str, name: str) -> Any:
        """Return one argument."""
        if name in ("out", "error"):
            return ctypes.byref(getattr(self, name))
        if ctype == "struct ArrowSchema *":
            return ctypes.byref(self.schema())
        if ctype == "struct ArrowArray *":
            return ctypes.byref(self.array())
        if ctype == "struct pn_arrays":
            both = (boundary.ArrowArray * 2)()
            for place in both:
                self.array(place)
            self.consumed.append(both)
            return STRUCTS[ctype](ctypes.addressof(both), 2)
        if ctype in ("struct pn_text", "struct pn_ids", "struct pn_numbers"):
            return STRUCTS[ctype](None, -1)
        return ctype_of(ctype)() if not ctype.endswith("*") else None

    def schema(self) -> Any:
        made = boundary.ArrowSchema()
        pa.schema([("a", pa.int64())])._export_to_c(ctypes.addressof(made))
        self.consumed.append(made)
        return made

    def array(self, place: Any = None) -> Any:
        made = boundary.ArrowArray() if place is None else place
        pa.array([{"a": 1}])._export_to_c(ctypes.addressof(made))
        self.consumed.append(made)
        return made

    def call(self, name: str) -> tuple[int, str]:
        """Call the function; return the status and the message."""
        status = getattr(LIBRARY, name)(*self.arguments.values())
        text = ctypes.string_at(self.error.data, self.error.n) if self.error.data else b""
        assert LIBRARY.pn_owned_release(self.error, None) == 0
        for given in self.consumed:
            places = given if isinstance(given, ctypes.Array) else [given]
            assert [place.release for place in places] == [None] * len(places), name
        return status, text.decode()


def alive() -> list[int]:
    """Return the counts of what the library keeps alive."""
    live = STRUCTS["struct pn_live"]()
    assert LIBRARY.pn_live_objects(ctypes.byref(live), None) == 0
    return [getattr(live, name) for name, *_ in live._fields_]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_missing_is_refused_and_what_was_handed_over_released(name: str) -> None:
    before = alive()
    given = Given(name)
    status, message = given.call(name)
    if name == "pn_live_objects":
        assert status == 0
    elif name in TAKE_NULL:
        assert (status, message) == (0, "")
    else:
        assert status == INVALID
        assert re.search("is NULL|missing", message), message
        assert given.out.raw == UNTOUCHED
    assert alive() == before


GIVES = [n for n, own in FUNCTIONS.items() if "out" in [name for _, name in own]]


@pytest.mark.parametrize("name", GIVES)
def test_a_result_needs_a_place(name: str) -> None:
    before = alive()
    given = Given(name)
    given.arguments["out"] = None
    assert given.call(name) == (INVALID, "an out-parameter is NULL")
    given = Given(name)
    given.arguments |= {"out": None, "error": None}
    assert given.call(name) == (INVALID, "")
    assert alive() == before


@pytest.mark.parametrize(("n", "message"), [(1, "an array is NULL"), (-2, "a count is negative")])
def test_a_text_that_is_none_is_refused(n: int, message: str) -> None:
    given = Given("pn_snapshot_open")
    given.arguments["dir"] = STRUCTS["struct pn_text"](None, n)
    assert given.call("pn_snapshot_open") == (INVALID, message)


def test_a_text_is_utf8() -> None:
    given = Given("pn_snapshot_open")
    bytes_ = ctypes.create_string_buffer(b"\xff")
    given.arguments["dir"] = STRUCTS["struct pn_text"](ctypes.addressof(bytes_), 1)
    assert given.call("pn_snapshot_open") == (INVALID, "a text is not UTF-8")


@pytest.mark.parametrize(
    ("name", "standard", "language"), [("cc", "c11", "c"), ("c++", "c++17", "c++")]
)
def test_the_header_compiles_alone(tmp_path: Path, name: str, standard: str, language: str) -> None:
    source = tmp_path / "source"
    source.write_text('#include "persisting_native.h"\n#include "persisting_native.h"\n')
    found = shutil.which(name)
    assert found is not None, f"there is no compiler {name}"
    command = [found, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    include = f"-I{native_header.HEADER_FILE.parent}"
    command += [include, "-x", language, "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_header_is_that_of_the_sources() -> None:
    assert native_header.HEADER_FILE.read_text() == native_header.native_header()


NOT_UNDERSTOOD = {
    "a type": ("fn pn_x(a: &Table, b: usize) {", "the type usize is not known"),
    "a result": ("fn pn_x(a: &Table) -> Vec<u8> {", "the type Vec<u8> is not known"),
    "a handle": ("fn pn_x(a: &Index) {", "the type &Index is not known"),
    "a function without documentation": ("\n    fn pn_x(a: &Table) {", "not understood"),
    "a struct": ("#[repr(C)]\nstruct X(i64);", "not understood"),
}


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_a_declaration_that_is_not_understood_ends_the_build(name: str) -> None:
    declared, message = NOT_UNDERSTOOD[name]
    sources = native_header.native_sources()
    sources["ffi/tables.rs"] += f"\n    /// What it does.\n    {declared}\n"
    with pytest.raises(BuildError, match=re.escape(message)):
        native_header.read(sources)


def test_the_calls_are_those_of_the_sources() -> None:
    assert native_calls.CALLS_FILE.read_text() == native_calls.native_calls()


@pytest.mark.parametrize("header", ["", "int f(int);\nint g(void (*call)(int));"])
def test_a_header_of_lancedb_go_that_is_not_understood_ends_the_build(header: str) -> None:
    with pytest.raises(BuildError, match="not understood"):
        native_calls.lancedb_functions(header)


def test_a_stand_in_gives_and_takes_what_its_function_does() -> None:
    header = "/* void no(void); */\nvoid f(struct A *a,\n  char ***names);\nint g(void);"
    f, g = native_calls.lancedb_functions(header)
    assert f.stand_in().endswith("\nvoid f(struct A *a, char ***names) { to_f(a, names); }")
    assert g.stand_in().endswith("\nint g(void) { return to_g(); }")


def test_declarations_become_those_of_c() -> None:
    found = {name: inside for _, name, inside in NATIVE.functions}
    assert found["pn_table_delete"] == (
        "const pn_table *table, struct pn_text filter, pn_snapshot **out, struct pn_owned *error"
    )
    assert found["pn_table_close"] == "pn_table *table, struct pn_owned *error"
    assert found["pn_table_attach"].startswith("const void *lancedb_table, struct pn_table_opt")
    assert found["pn_live_objects"] == "struct pn_live *out, struct pn_owned *error"
