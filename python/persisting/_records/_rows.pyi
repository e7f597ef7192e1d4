"""Records from rows of Arrow arrays and back, in C: what most records are made of.

Sources: `rows.c`, `rows_read.c`, `rows_write.c`, `rows_cells.c`. Nothing here waits or lets go of
the GIL.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NewType

Reader = NewType("Reader", object)
Writer = NewType("Writer", object)
Cells = NewType("Cells", object)

def reader(schema: object, /) -> tuple[Reader, list[int]]:
    """Plan how rows become records.

    Parameters
    ----------
    schema : PyCapsule
        The columns, an ``arrow_schema`` of a struct.

    Returns
    -------
    tuple
        The reader, and the indices of the columns that it does not read itself: of types other
        than null, bool, ints, float, double, text, bytes, and lists and structs of these; or that
        have, below the column itself, metadata, dictionaries or fields of one name.
    """

def read(
    reader: Reader, rows: object, columns: list[list[Any] | None] | None, /
) -> list[dict[str, Any]]:
    """Make one dict for each row.

    Parameters
    ----------
    reader
        The reader of their schema.
    rows : PyCapsule or int
        An ``arrow_array``; or the address of a ``struct ArrowArray``, which is released.
    columns
        For each column a list with the value of each row (any object where the column is null), or
        None for one that is read here; None when all are.

    Returns
    -------
    list of dict
        The records, without the keys whose columns are null. Short texts that are equal may be
        one object.

    Raises
    ------
    UnicodeDecodeError
        If a text is not UTF-8.
    """

def writer(
    names: tuple[str, ...],
    formats: tuple[str, ...],
    order: tuple[int, ...],
    dump: Callable[[list[Any]], list[str] | None],
    pieces: tuple[bytes, bytes, bytes, bytes, bytes],
    /,
) -> Writer:
    """Plan how records of certain keys become a message.

    Parameters
    ----------
    names
        The keys in their order.
    formats
        What the values are, in Arrow's letters: ``b`` bool, ``l`` int64, ``L`` uint64, ``g``
        double, ``u`` text, ``z`` bytes; ``j`` is JSON text; ``+`` in front is a list.
    order
        The columns of the batch, as indices of `names`.
    dump
        Makes JSON texts of values, or None when one has none.
    pieces
        The constant parts of the metadata, around the length of the body, the number of rows, the
        nodes and the places of the buffers.
    """

def write(writer: Writer, records: Sequence[dict[str, Any]] | dict[str, Any], /) -> bytes | None:
    """Make the message of records, or of one record.

    Returns
    -------
    bytes or None
        The message in the Arrow IPC format, with its body aligned to 8 bytes; None unless there
        are records, and each has the keys in their order, and values that are just of their
        column's type. Ints up to 2**53 are doubles as well.
    """

def cells(
    array: type,
    columns: tuple[tuple[str, int, int, int, type, object, tuple[int, ...]], ...],
    rows: int,
    /,
) -> Cells:
    """Plan how values of one size each go into rows of cells.

    Parameters
    ----------
    array
        The type of arrays, which is numpy's.
    columns
        For each column its key; the address of its cells, which lie side by side and outlive the
        plan; the size of a value in bytes; what numbers of Python it holds, as ``ord("q")`` int,
        ``ord("d")`` float, ``ord("?")`` bool, 0 none; the type of scalars that have just these
        bytes; and the dtype, which is compared as an object, and the shape of arrays that do.
    rows
        How many rows there are.
    """

def put(cells: Cells, values: Mapping[str, Any], row: int, /) -> list[int] | None:
    """Copy values into a row.

    Returns
    -------
    list of int or None
        The indices of the columns whose values are of another type, and were not copied; None for
        none.

    Raises
    ------
    KeyError
        There is no value of a key; those of keys before it were copied.
    IndexError
        There is no such row.
    """
