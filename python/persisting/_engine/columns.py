"""The columns of messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from persisting._engine import functions
from persisting._engine.handles import Handle

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
        super().__init__(functions.columns_import(schema), functions.columns_close, "")
