"""The functions of the native library as Go links them, which lead to the real ones.

To load the native library takes as long as all else that the first put of a process does, and
that needs nothing of it. So the Go library is not linked against it: there is a stand-in for each
of its functions, in a file of C that git ignores, and `engine/lance` loads it when the first of
them is due. What lancedb-go calls is declared by the header that comes with it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

from _build.native_header import HEADER_FILE, last_word, native_functions
from _build.process import ROOT, BuildError, output

CALLS_FILE = ROOT / "engine" / "lance" / "native_calls.c"
LANCEDB_GO = "github.com/lancedb/lancedb-go"

# A prototype none of whose parameters is a function.
DECLARED = re.compile(r"^(\w[\w ]*?[ *]+)(\w+)\(([^()]*)\);", re.MULTILINE)

TABLE = """\
static const struct {
  const char *name;
  void *to;
} stand_ins[] = {"""

FOUND = """\
/* Has the stand-ins lead to the functions of a library. Returns the name of one that it lacks, and
 * then none may be called. */
const char *native_calls(void *library) {
  for (size_t i = 0; i < sizeof stand_ins / sizeof *stand_ins; i++) {
    void *found = dlsym(library, stand_ins[i].name);
    if (found == NULL) return stand_ins[i].name;
    memcpy(stand_ins[i].to, &found, sizeof found);
  }
  return NULL;
}"""


class Function(NamedTuple):
    """A function of C."""

    returns: str
    name: str
    parameters: str

    @property
    def prototype(self) -> str:
        """What it is declared as."""
        return f"{self.returns}{self.name}({self.parameters})"

    def stand_in(self) -> str:
        """Return its stand-in."""
        listed = [] if self.parameters == "void" else self.parameters.split(",")
        call = f"to_{self.name}({', '.join(map(last_word, listed))});"
        answer = call if self.returns == "void " else f"return {call}"
        return f"static __typeof__({self.name}) *to_{self.name};\n{self.prototype} {{ {answer} }}"


def lancedb_go() -> Path:
    """Return the directory of the Go module of LanceDB."""
    return Path(json.loads(output(["go", "mod", "download", "-json", LANCEDB_GO]))["Dir"])


def lancedb_functions(header: str) -> list[Function]:
    """Return what the header of lancedb-go declares."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    found = [
        Function(returns, name, " ".join(inside.split()))
        for returns, name, inside in DECLARED.findall(text)
    ]
    if not found or len(found) != text.count(");"):
        raise BuildError("lancedb.h: something that is declared was not understood")
    return found


def calls_text(own: list[Function], lancedb: list[Function]) -> str:
    """Return the file of all stand-ins."""
    functions = [*own, *lancedb]
    structs = sorted({s for f in lancedb for s in re.findall(r"\bstruct \w+", f.prototype)})
    listed = [f'  {{"{f.name}", &to_{f.name}}},' for f in functions]
    blocks = [
        "/* Made by _build/native_calls.py. */",
        "#include <dlfcn.h>\n#include <stdbool.h>\n#include <stddef.h>\n#include <string.h>",
        f'#include "{HEADER_FILE.name}"',
        "\n".join([*(f"{s};" for s in structs), *(f"{f.prototype};" for f in lancedb)]),
        *(f.stand_in() for f in functions),
        "\n".join([TABLE, *listed, "};"]),
        FOUND,
    ]
    return "\n\n".join(blocks) + "\n"


def native_calls() -> str:
    """Return the file for the sources as they are."""
    own = [Function("int32_t ", name, inside) for name, inside in native_functions()]
    header = (lancedb_go() / "include" / "lancedb.h").read_text()
    return calls_text(own, lancedb_functions(header))
