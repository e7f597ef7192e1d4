"""The header, the built library, the Python binding and the sources agree."""

from __future__ import annotations

import ctypes
import re
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from _build import boundary, go_halves, persisting_header, python_calls
from _build.native_calls import native_calls
from _build.process import BuildError
from persisting._engine import boundary as made
from persisting._engine import library
from persisting._errors import Status
from tests import header
from tests.support import ROOT, python

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CAPI = ROOT / "capi"
LIBRARIES = (library.LIBRARY, library.LIBRARY.with_name("libpersisting_native.so"))
STRICT = ["-Wall", "-Wextra", "-Werror", "-pedantic"]


def compiler(name: str) -> str:
    """Return a compiler; to have none is a failure."""
    found = shutil.which(name)
    assert found is not None, f"there is no compiler {name}"
    return found


def compile_with(*argv: str | Path) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def sections(elf: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield type, link, entry size and content of the sections of a 64-bit ELF file."""
    assert elf[:6] == b"\x7fELF\x02\x01", "want a 64-bit little-endian ELF file"
    (start,) = struct.unpack_from("<Q", elf, 0x28)
    size, count = struct.unpack_from("<HH", elf, 0x3A)
    for i in range(count):
        _, kind, _, _, offset, length, link, _, _, entry = struct.unpack_from(
            "<IIQQQQIIQQ", elf, start + i * size
        )
        yield kind, link, entry, elf[offset : offset + length] if kind != 8 else b""


def exported(library: Path) -> set[str]:
    """Return the names of the dynamic symbols that a library defines."""
    found = [*sections(library.read_bytes())]
    names = set()
    for kind, link, entry, symbols in found:
        if kind != 11:  # SHT_DYNSYM
            continue
        strings = found[link][3]
        for at in range(0, len(symbols), entry):
            name, info, _, section = struct.unpack_from("<IBBH", symbols, at)
            if section != 0 and info >> 4 in (1, 2):  # defined, global or weak
                names.add(strings[name : strings.index(b"\0", name)].decode())
    assert names
    return names


def test_the_library_exports_the_header_and_nothing_else() -> None:
    assert exported(library.LIBRARY) == set(header.functions())


def test_the_native_library_exports_its_functions_only() -> None:
    prefixes = ("pn_", "simple_lancedb_", "lancedb_")
    assert {name for name in exported(LIBRARIES[1]) if not name.startswith(prefixes)} == set()


def test_each_function_of_the_native_library_has_a_stand_in() -> None:
    assert set(re.findall(r'\{"(\w+)", &to_\1\}', native_calls())) == exported(LIBRARIES[1])


@pytest.mark.parametrize(
    ("name", "standard", "language"), [("cc", "c11", "c"), ("c++", "c++17", "c++")]
)
def test_the_header_compiles_alone(tmp_path: Path, name: str, standard: str, language: str) -> None:
    source = tmp_path / "source"
    source.write_text('#include "persisting.h"\n#include "persisting.h"\n')
    compile_with(
        compiler(name), f"-std={standard}", *STRICT, f"-I{CAPI}", "-x", language, "-c", source,
        "-o", tmp_path / "object",
    )  # fmt: skip


def test_a_compiler_that_fails_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "source.c"
    source.write_text('#include "persisting.h"\nint f(void) { return PERSISTING_NO_SUCH; }\n')
    with pytest.raises(AssertionError, match="PERSISTING_NO_SUCH"):
        compile_with(compiler("cc"), f"-I{CAPI}", "-c", source, "-o", tmp_path / "object")


PROGRAM = """
#include <stdio.h>
#include <string.h>
#include "persisting.h"
int main(int argc, char **argv) {
  struct persisting_error error;
  memset(&error, 0, sizeof error);
  persisting_bucket bucket = 0;
  if (argc != 2) return 1;
  if (persisting_bucket_open(argv[1], "{\\"no\\": 1}", &bucket, &error) == PERSISTING_OK) return 2;
  if (bucket != 0 || error.code != PERSISTING_INVALID_ARGUMENT) return 3;
  puts(error.message);
  error.release(&error);
  if (persisting_bucket_open(argv[1], NULL, &bucket, &error) != PERSISTING_OK) return 4;
  if (error.message != NULL || persisting_bucket_close(bucket, &error) != PERSISTING_OK) return 5;
  return 0;
}
"""


def test_a_c_program_links_and_runs(tmp_path: Path) -> None:
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(PROGRAM)
    directory = library.LIBRARY.parent
    compile_with(
        compiler("cc"), "-std=c11", *STRICT, f"-I{CAPI}", source, "-o", program,
        f"-L{directory}", f"-Wl,-rpath,{directory}", "-lpersisting",
    )  # fmt: skip
    done = subprocess.run(
        [program, tmp_path / "bucket"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "unknown option" in done.stdout


CONSTANTS = """
#include <stdio.h>
#include "persisting.h"
int main(void) {
%s
  return 0;
}
"""


def test_the_constants_of_python_are_those_that_c_sees(tmp_path: Path) -> None:
    flags = header.header().flags
    assert flags
    wanted = {f"PERSISTING_{status.name}": status.value for status in Status}
    wanted |= {f"PERSISTING_{name}": getattr(made, name) for name in (*flags, "ABI_VERSION")}
    source, program = tmp_path / "source.c", tmp_path / "program"
    lines = [f'  printf("{name} %lld\\n", (long long)({name}));' for name in wanted]
    source.write_text(CONSTANTS % "\n".join(lines))
    compile_with(compiler("cc"), "-std=c11", f"-I{CAPI}", source, "-o", program)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "".join(f"{name} {value}\n" for name, value in wanted.items())


def test_the_prototypes_of_python_are_those_that_c_sees(tmp_path: Path) -> None:
    """A C compiler finds every function with arguments of these sizes, and pointers there."""
    lines = ['#include "persisting.h"']
    for name, arguments in made.PROTOTYPES.items():
        parameters = header.functions()[name].parameters
        assert len(parameters) == len(arguments), name
        declared = ", ".join(p.declared for p in (*parameters, persisting_header.ERROR))
        lines.append(f"persisting_status {name}({declared});")
        for parameter, given in zip(parameters, arguments, strict=True):
            size, pointer = ctypes.sizeof(given), given in (ctypes.c_char_p, ctypes.c_void_p)
            assert pointer == parameter.is_pointer, (name, parameter)
            lines.append(f'_Static_assert(sizeof({parameter.ctype}) == {size}, "{name}");')
    assert set(made.PROTOTYPES) == set(header.functions())
    source = tmp_path / "source.c"
    source.write_text("\n".join(lines) + "\n")
    compile_with(
        compiler("cc"), "-std=c11", *STRICT, f"-I{CAPI}", "-c", source, "-o", tmp_path / "object"
    )


NOT_UNDERSTOOD = {
    "a function without an error": "persisting_status persisting_x(int64_t a);",
    "a function with another result": "int64_t persisting_x(struct persisting_error* error);",
    "an unknown type": "persisting_status persisting_x(size_t a, struct persisting_error* error);",
    "a variable": "extern int persisting_x;",
    "a constant": "#define PERSISTING_X something",
}


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_a_declaration_that_is_not_understood_ends_the_build(name: str) -> None:
    text = persisting_header.HEADER.read_text()
    assert python_calls.declarations_text(persisting_header.read(text))
    changed = text.replace(
        "\n#ifdef __cplusplus\n}", f"\n{NOT_UNDERSTOOD[name]}\n#ifdef __cplusplus\n}}"
    )
    assert changed != text
    with pytest.raises(BuildError, match=r"persisting\.h"):
        python_calls.declarations_text(persisting_header.read(changed))


@pytest.mark.parametrize(
    "wrong", ["PERSISTING_TAKES(RUN | WALK)", "PERSISTING_OF(amount)", "PERSISTING_HOLY"]
)
def test_a_word_that_is_not_understood_ends_the_build(wrong: str) -> None:
    text = persisting_header.HEADER.read_text()
    changed = text.replace("PERSISTING_TAKES(NO_WAIT | RUN)", wrong)
    assert changed != text
    with pytest.raises(BuildError, match="persisting_bucket_read"):
        persisting_header.read(changed)


WRONG = "persisting_bucket_get(persisting_bucket bucket, double"


def test_a_go_half_that_cannot_be_made_ends_the_build() -> None:
    text = persisting_header.HEADER.read_text()
    assert "func persistingBucketGetGo(" in go_halves.go_text(persisting_header.read(text))
    changed = text.replace("persisting_bucket_get(persisting_bucket bucket, int64_t", WRONG)
    assert changed != text
    with pytest.raises(BuildError, match=r"persisting_bucket_get: double offset is nothing"):
        go_halves.go_text(persisting_header.read(changed))


@pytest.mark.parametrize(
    ("name", "fields", "python_struct"),
    [
        ("persisting_error", 4, made.Error),
        ("persisting_usage", 2, made.Usage),
        ("ArrowSchema", 9, made.ArrowSchema),
        ("ArrowArray", 10, made.ArrowArray),
    ],
)
def test_the_structs_of_python_have_the_size_of_the_header(
    tmp_path: Path, name: str, fields: int, python_struct: Any
) -> None:
    source = tmp_path / "source.c"
    size = ctypes.sizeof(python_struct)
    assert size == 8 * fields
    source.write_text(
        '#include "persisting.h"\n'
        f'_Static_assert(sizeof(struct {name}) == {size}, "the size of {name}");\n'
    )
    compile_with(compiler("cc"), "-std=c11", f"-I{CAPI}", "-c", source, "-o", tmp_path / "object")


def go_functions(text: str) -> dict[str, str]:
    """Return the bodies of the top-level functions of a Go file by name."""
    head = r"^func (?:\([^)]*\) )?(\w+)(?:\[[^\]]*\])?\([^\n]*\{\n"
    return dict(re.findall(head + r"(.*?)^\}", text, re.DOTALL | re.MULTILINE))


def statements(body: str) -> list[str]:
    """Return the statements of the outermost block of a Go function."""
    return [line[1:] for line in body.splitlines() if re.match(r"\t[a-z]", line)]


def test_every_export_runs_inside_guard() -> None:
    bodies: dict[str, str] = {}
    exports: list[str] = []
    for file in CAPI.glob("*.go"):
        bodies |= go_functions(file.read_text())
        exports += re.findall(r"^//export (\w+)$", file.read_text(), re.MULTILINE)
    whole = ["return guard(e, func() error {"]
    guarded = {"guard"} | {name for name, body in bodies.items() if statements(body)[:1] == whole}
    assert "persistingRecordReleaseGo" in exports  # which only the shim calls
    assert len(exports) == len(header.functions()) + 1
    for name in exports:
        (only,) = statements(bodies[name])
        called = re.match(r"return (\w+)\(", only)
        assert called is not None, name
        assert called[1] in guarded, name


def test_every_function_refuses_a_forked_process_first() -> None:
    text = boundary.C_FILE.read_text()
    head = r"^persisting_status (persisting_\w+)\([^)]*\) \{\n"
    bodies = dict(re.findall(head + r"(.*?)^\}", text, re.DOTALL | re.MULTILINE))
    assert set(bodies) == set(header.functions())
    for body in bodies.values():
        declared, forked, *others, released = re.split(r"\n  (?=if|else|shim|return)", body.strip())
        assert declared == "persisting_status status;"
        assert forked == "if (shim_forked) status = shim_fail_forked(error);"
        assert released == "return status;"
        assert all(line.startswith(("else ", "shim_release_")) for line in others)


def test_every_go_package_has_one_package_doc_in_doc_go() -> None:
    packages: dict[Path, list[str]] = {}
    for file in ROOT.rglob("*.go"):
        if any(part.startswith(".") for part in file.relative_to(ROOT).parts):
            continue
        documented = packages.setdefault(file.parent, [])
        if not file.name.endswith("_test.go") and re.search(
            r"(^//[^\n]*\n|\*/\n)package ", file.read_text(), re.MULTILINE
        ):
            documented.append(file.name)
    assert packages
    assert {
        p.relative_to(ROOT): files for p, files in packages.items() if files != ["doc.go"]
    } == {}


BLOCK = """
static __thread char block[64] __attribute__((tls_model("initial-exec"), used));
char *touch(void) { block[0] = 1; return block; }
"""
FILL = """
import ctypes, sys
import numpy, pyarrow
blocks = []
try:
    for path in sys.argv[2:]:
        blocks.append(ctypes.CDLL(path))
        blocks[-1].touch()
except OSError as error:
    if "static TLS" not in str(error): raise
if sys.argv[1]:
    from persisting._engine import functions
    print(functions.version())
else:
    print(len(blocks))
"""


def test_the_libraries_need_next_to_no_static_thread_local_storage(tmp_path: Path) -> None:
    """They load after others, such as torch, have used up nearly all of it."""
    source, library = tmp_path / "block.c", tmp_path / "block.so"
    source.write_text(BLOCK)
    compile_with(compiler("cc"), "-shared", "-fPIC", source, "-o", library)
    copies = [tmp_path / f"block{i}.so" for i in range(200)]
    for copy in copies:
        shutil.copyfile(library, copy)
    room = int(python(FILL, "", *copies))
    assert 2 < room < len(copies)
    crowded = python(FILL, "persisting", *copies[: room - 2])
    assert crowded == python(FILL, "persisting")


@pytest.mark.parametrize("first", ["numpy", "pyarrow", "polars", "lance", "pulsing"])
def test_the_libraries_load_after_others(tmp_path: Path, first: str) -> None:
    script = """
import importlib, sys
importlib.import_module(sys.argv[1])
from persisting._engine.bucket import Bucket
bucket = Bucket(sys.argv[2], {})
bucket.close()
print("ok")
"""
    assert python(script, first, tmp_path / "bucket") == "ok\n"
