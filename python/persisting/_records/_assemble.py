"""A record batch from plain buffers, as one message of the Arrow IPC format.

Making an array at a time costs a microsecond or two for each; little else would be spent on a batch
of one record. The engine takes such a message as it is, and pyarrow reads it without copying.

References
----------
Arrow columnar format, "Encapsulated message format" and "RecordBatch message"; the tables are those
of ``Message.fbs`` in the layout of FlatBuffers.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TypeAlias

from . import _nested, _rows

Mask: TypeAlias = "bytes | None"
"""A byte of 0 or 1 for each value, which says whether it is there; None when all are."""

ALIGNMENT = 16
"""Each buffer of a batch begins at a multiple of this many bytes, the width of the widest value."""

_ZERO_ONE = bytes.maketrans(b"\0\1", b"01")
_METADATA_V5 = 4
_RECORD_BATCH = 3
_PADDING = [bytes(-size % ALIGNMENT) for size in range(ALIGNMENT)]


def pack_bits(flags: bytes) -> bytes:
    """Pack flags, one byte of 0 or 1 each, into a bitmap with the least significant bit first."""
    if not flags:
        return b""
    number = int(flags[::-1].translate(_ZERO_ONE), 2)
    return number.to_bytes((len(flags) + 7) // 8, "little")


def join_masks(masks: list[Mask], counts: list[int]) -> Mask:
    """Join masks, of so many values each."""
    if not any(masks):
        return None
    return b"".join([mask or b"\1" * n for mask, n in zip(masks, counts, strict=True)])


class Buffers:
    """The arrays of a batch in their order, parents before their children.

    Attributes
    ----------
    nodes : list of int
        Length and number of nulls of each array.
    buffers : list of bytes, or of list of bytes
        The buffers of each array, whole or in pieces; an empty one where there is no bitmap.
    """

    __slots__ = ("buffers", "nodes")

    def __init__(self) -> None:
        self.nodes: list[int] = []
        self.buffers: list[bytes | list[bytes]] = []

    def begin(self, n: int, mask: Mask) -> None:
        """Begin the array of `n` values."""
        if mask is None:
            self.nodes += (n, 0)
            self.buffers.append(b"")
        else:
            self.nodes += (n, mask.count(0))
            self.buffers.append(pack_bits(mask))


def assemble(n: int, out: Buffers) -> bytes:
    """Make the message of a batch.

    Parameters
    ----------
    n : int
        Number of rows.
    out : Buffers
        The arrays of its columns; no dictionary, view or extension types.

    Returns
    -------
    bytes
        The encapsulated message, with one copy of the buffers.
    """
    places: list[int] = []
    body: list[bytes] = []
    at = 0
    for buffer in out.buffers:
        if isinstance(buffer, bytes):
            size = len(buffer)
            body.append(buffer)
        else:
            size = sum(map(len, buffer))
            body += buffer
        places += (at, size)
        at += size
        rest = size % ALIGNMENT
        if rest:
            body.append(_PADDING[rest])
            at += ALIGNMENT - rest
    metadata, before, middle, after, count = layout(len(out.nodes), len(places))
    header = metadata.pack(before, at, middle, n, after, *out.nodes, count, *places)
    return b"".join([header, *body])


@lru_cache(maxsize=1024)
def layout(nodes: int, places: int) -> tuple[struct.Struct, bytes, bytes, bytes, bytes]:
    """Lay out the metadata of a message, for so many numbers in its two vectors.

    Returns
    -------
    tuple
        The struct of the metadata, and the constant pieces between the numbers: the length of the
        body, that of the batch, the nodes and the places of the buffers.
    """
    vectors = 80 + 8 * nodes
    end = vectors + 8 + 8 * places
    padding = -(8 + end) % ALIGNMENT
    before = struct.pack(
        "<iiI6HiI",
        *(-1, end + padding),  # continuation marker, size of the metadata
        16,  # the root: table Message
        *(
            12,
            24,
            16,
            18,
            4,
            8,
        ),  # its vtable: sizes, then version, type, header, length of the body
        *(12, 52 - 20),  # table Message: back to its vtable, on to table RecordBatch
    )
    middle = struct.pack("<hB5x5H2xi", _METADATA_V5, _RECORD_BATCH, 10, 20, 4, 12, 16, 12)
    after = struct.pack("<II4xI", 76 - 64, vectors + 4 - 68, nodes // 2)
    count = struct.pack("<4xI", places // 2)
    sizes = f"{len(before)}sq{len(middle)}sq{len(after)}s{nodes}q{len(count)}s{places}q{padding}x"
    return struct.Struct(f"<{sizes}"), before, middle, after, count


def writer_of(
    names: tuple[str, ...], formats: tuple[str, ...], order: tuple[int, ...]
) -> _rows.Writer:
    """Plan how records of certain keys become a message; see `_rows.writer`."""
    arrays = "".join(formats)
    nodes = 2 * len(arrays)
    # A bitmap and values; text, bytes and lists have offsets, but lists no values of their own.
    places = 2 * sum([3 if kind in "uzj" else 2 for kind in arrays])
    metadata, before, middle, after, count = layout(nodes, places)
    fixed = len(before) + len(middle) + len(after) + len(count)
    padding = bytes(metadata.size - 8 * (2 + nodes + places) - fixed)
    pieces = before, middle, after, count, padding
    return _rows.writer(names, formats, order, _nested.dump, pieces)
