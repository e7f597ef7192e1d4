"""The columns of messages."""

from __future__ import annotations

import ctypes
from ctypes import byref
from typing import TYPE_CHECKING

from persisting._engine.handles import Handle
from persisting._engine.library import call, capsule_pointer, library

if TYPE_CHECKING:
    import pyarrow as pa


class Columns(Handle):
    """The columns of messages. Nothing is lost when it is not closed, and nobody warned.

    Parameters
    ----------
    schema
        The columns, of types that Lance can hold.
    """

    def __init__(self, schema: pa.Schema) -> None:
        functions = library()
        number = ctypes.c_uint64()
        capsule = schema.__arrow_c_schema__()
        pointer = capsule_pointer(capsule, b"arrow_schema")
        call(functions.persisting_columns_import, pointer, byref(number))
        super().__init__(number.value, functions.persisting_columns_close, "")
