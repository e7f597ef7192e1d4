"""One record as a message, by code that is made for its keys and types.

Most puts are single records that look like the one before. What the general way decides for each of
them, value by value, is decided once here and written down as a function without loops: it checks
the types, encodes what has no fixed width, and packs the metadata and all fixed-width buffers of
the message by one `struct` call. The buffers of a message may lie in any order, so those of a fixed
width come first, at places that never change.
"""

from __future__ import annotations

import struct
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from . import _json
from ._assemble import layout
from ._codecs import BOOL, FLOAT, INT64, JSON, TEXT, UINT64, List

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from ._codecs import Codec

_NUMBERS = ((INT64, "int", "q"), (UINT64, "int", "Q"), (FLOAT, "float", "d"))
_PADDING = [bytes(-size % 8) for size in range(8)]
_REFUSED = (UnicodeEncodeError, OverflowError, struct.error)


class Single:
    """How a record of certain keys becomes a message.

    Parameters
    ----------
    codecs : list of Codec
        The codecs of the values, in the order of the record's keys.
    order : list of int
        The columns of the batch, as indices of `codecs`.
    schema : pa.Schema
        Its schema.

    Attributes
    ----------
    message : callable
        Makes the message of the values of a record, in the order of its keys; None when a value
        is not just of the type that its column has.
    """

    __slots__ = ("message", "schema")

    def __init__(self, codecs: list[Codec], order: list[int], schema: pa.Schema) -> None:
        self.schema = schema
        writer = _Writer()
        for i in order:
            writer.column(i, codecs[i])
        self.message: Callable[..., bytes | None] = writer.function(len(codecs))

    @staticmethod
    def takes(codec: Codec) -> bool:
        """Tell whether values of a codec can be part of such a record."""
        if isinstance(codec, List):
            return codec.child == TEXT or _number(codec.child) is not None
        return codec in (BOOL, TEXT, JSON) or _number(codec) is not None


def _number(codec: Codec) -> tuple[str, str] | None:
    """Return class and format character of numbers; None for the codec of something else."""
    return next(((kind, code) for known, kind, code in _NUMBERS if known == codec), None)


class _Writer:
    """Writes the function, column by column."""

    def __init__(self) -> None:
        self.tests: list[str] = []
        self.steps: list[str] = []
        self.nodes: list[str] = []
        self.places: list[tuple[str, str]] = []
        self.fixed: list[str] = []  # one expression for each 8 bytes
        self.formats: list[str] = []
        self.pieces: list[str] = []

    def column(self, i: int, codec: Codec) -> None:
        """Lay down the column of value `i`."""
        value = f"v{i}"
        self._begin("1")
        if codec == BOOL:
            self._test(value, "bool")
            self._fix("?7x", value, 1)
        elif number := _number(codec):
            kind, code = number
            self._test(value, kind)
            self._fix(code, value, 8)
        elif codec == TEXT:
            self._test(value, "str")
            self._text(i, value)
        elif codec == JSON:
            self.steps += (f"t{i} = dump([{value}])", f"if t{i} is None: return None")
            self._text(i, f"t{i}[0]")
        else:
            assert isinstance(codec, List)
            self._test(value, "list")
            self.steps.append(f"n{i} = len({value})")
            self._fix("4xi", f"n{i}", 8)
            self._begin(f"n{i}")
            kind, code = _number(codec.child) or ("str", "")
            self.steps.append(f"if [*map(type, {value})].count({kind}) != n{i}: return None")
            if code:
                self.steps.append(f"b{i} = array({code!r}, {value})")
                self._vary(f"b{i}", f"8 * n{i}")
            else:
                self.steps += (
                    f"e{i} = [*map(encode, {value})]",
                    f"o{i} = array('i', accumulate(map(len, e{i}), initial=0))",
                    f"b{i} = b''.join(e{i})",
                )
                self._vary(f"o{i}", f"4 * n{i} + 4")
                self._vary(f"b{i}", f"len(b{i})")

    def _begin(self, length: str) -> None:
        """Begin an array, without nulls and their bitmap."""
        self.nodes += (length, "0")
        self.places.append(("0", "0"))

    def _test(self, value: str, kind: str) -> None:
        self.tests.append(f"type({value}) is not {kind}")

    def _fix(self, code: str, value: str, size: int) -> None:
        self.places.append((str(8 * len(self.fixed)), str(size)))
        self.fixed.append(value)
        self.formats.append(code)

    def _text(self, i: int, text: str) -> None:
        self.steps.append(f"b{i} = {text}.encode()")
        self.steps.append(f"n{i} = len(b{i})")
        self._fix("4xi", f"n{i}", 8)
        self._vary(f"b{i}", f"n{i}")

    def _vary(self, piece: str, size: str) -> None:
        name = f"s{len(self.pieces)}"
        self.steps += (f"{name} = {size}", f"a{name} = at", f"at += ({name} + 7) & -8")
        self.places.append((f"a{name}", name))
        self.pieces += (piece, f"padding[{name} & 7]")

    def function(self, values: int) -> Callable[..., bytes | None]:
        """Return the function, which takes so many values."""
        places = [number for place in self.places for number in place]
        metadata, before, middle, after, count = layout(len(self.nodes), len(places))
        packed = struct.Struct(f"{metadata.format}{''.join(self.formats)}")
        numbers = ("at", "middle", "1", "after", *self.nodes, "count", *places, *self.fixed)
        lines = (
            f"if {' or '.join(self.tests) or False}: return None",
            f"at = {8 * len(self.fixed)}",
            *self.steps,
            f"return b''.join((pack(before, {', '.join(numbers)}), {', '.join(self.pieces)}))",
        )
        arguments = ", ".join(f"v{i}" for i in range(values))
        source = "\n  ".join((f"def message({arguments}):\n try:", *lines))
        names: dict[str, Any] = {
            **{"pack": packed.pack, "before": before, "middle": middle, "after": after},
            **{"count": count, "padding": _PADDING, "array": array, "dump": _json.dump},
            **{"encode": str.encode, "accumulate": accumulate, "refused": _REFUSED},
        }
        exec(f"{source}\n except refused: return None", names)
        message: Callable[..., bytes | None] = names["message"]
        return message
