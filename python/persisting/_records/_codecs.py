"""How the values of one column become one Arrow array.

A codec knows one column type. `Codec.fit` checks and copies the values of one put into a payload of
flat buffers, which later changes of the values cannot reach; `Codec.merge` joins the payloads of
several puts; `Codec.lay` turns the result into the buffers of an Arrow array. Where a value is
missing, `fit` is given `Codec.filler` and `lay` a mask. The loops over values are those of C code
wherever there is one that does the work.
"""

from __future__ import annotations

import struct
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache
from itertools import accumulate, chain
from operator import methodcaller
from types import NoneType
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import pyarrow as pa

from . import _arrays, _json, _nested
from ._assemble import Buffers, join_masks, pack_bits

Payload: TypeAlias = tuple[Any, ...]
"""What `Codec.fit` made of values. Its first item is the weight, the largest number that a 32-bit
offset of the array has to hold: bytes of text, items of lists; 0 where there are no offsets."""

EPOCH = datetime(1970, 1, 1)
EPOCH_UTC = EPOCH.replace(tzinfo=timezone.utc)
EPOCH_ORDINAL = EPOCH.toordinal()
MICROSECOND = timedelta(microseconds=1)

EXACT_FLOAT = 2**53
"""Every int up to this magnitude is a float of the same value."""

_pack_two = struct.Struct("2i").pack
_to_utf8 = methodcaller("encode")


def pack_offsets(lengths: list[int]) -> bytes:
    """Turn lengths into int32 offsets."""
    if len(lengths) == 1:
        return _pack_two(0, lengths[0])
    return struct.pack(f"{len(lengths) + 1}i", 0, *accumulate(lengths))


def all_are(kind: type, values: list[Any]) -> bool:
    """Tell whether each value is of this class and of no subclass."""
    if len(values) == 1:
        return type(values[0]) is kind
    return [*map(type, values)].count(kind) == len(values)


def show(value: object) -> str:
    """Print a value within about 40 characters."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


class Codec:
    """The codec of one column type. Instances do not change, and are equal when they do the same.

    Parameters
    ----------
    storage : pa.DataType
        Storage type of the column.
    metadata : dict of bytes to bytes, optional
        Metadata of the column's field.

    Attributes
    ----------
    name : str
        The type as error messages call it.
    filler : object
        What `fit` takes for a value that is missing.
    format : str
        What it is for `_rows.writer`; empty where that cannot write such values.
    """

    filler: Any = _json.NOTHING
    format = ""

    def __init__(self, storage: pa.DataType, metadata: dict[bytes, bytes] | None = None) -> None:
        self.type = storage
        self.metadata = metadata
        self.name = str(storage)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Codec)
            and type(other) is type(self)
            and other.metadata == self.metadata
            and bool(other.type.equals(self.type))
        )

    def field(self, name: str) -> pa.Field:
        """Make the field of a column."""
        return pa.field(name, self.type, metadata=self.metadata)

    def fit(self, values: list[Any]) -> Payload | None:
        """Copy values, none of which is None; return None when one does not fit exactly."""
        raise NotImplementedError

    def merge(self, payloads: list[Payload]) -> Payload:
        """Join payloads in their order."""
        raise NotImplementedError

    def lay(self, payload: Payload, out: Buffers) -> None:
        """Lay down the array, which `Buffers.begin` began."""
        raise NotImplementedError

    def lift(self, payload: Payload, to: Codec) -> Payload | None:
        """Convert a payload for another codec; return None when that would change a value."""
        return payload if to == self else None

    def why(self, value: object) -> str:
        """Say why a value that `fit` refuses does not fit."""
        return f"{type(value).__name__} does not fit {self.name}"


class Fixed(Codec):
    """Values of one width that `struct` packs.

    Parameters
    ----------
    storage : pa.DataType
        Storage type of the column.
    code : str
        Format character of `struct`.
    """

    def __init__(self, storage: pa.DataType, code: str) -> None:
        super().__init__(storage)
        self.code = code

    def numbers(self, values: list[Any]) -> list[Any] | None:
        """Return what is packed for the values, or None when one does not fit."""
        raise NotImplementedError

    def fit(self, values: list[Any]) -> Payload | None:
        """Pack the values; `struct` checks the range."""
        numbers = self.numbers(values)
        if numbers is None:
            return None
        try:
            return 0, struct.pack(f"{len(numbers)}{self.code}", *numbers)
        except struct.error:
            return None

    def merge(self, payloads: list[Payload]) -> Payload:
        """Join the bytes."""
        return 0, b"".join([data for _, data in payloads])

    def lay(self, payload: Payload, out: Buffers) -> None:
        """Use the bytes as they are."""
        out.buffers.append(payload[1])


class Int(Fixed):
    """Ints as int64 or uint64."""

    filler = 0

    def __init__(self, storage: pa.DataType, code: str) -> None:
        super().__init__(storage, code)
        self.format = "l" if code == "q" else "L"

    def fit(self, values: list[Any]) -> Payload | None:
        """Take ints; a bool is none."""
        if not all_are(int, values):
            return None
        try:
            return 0, struct.pack(f"{len(values)}{self.code}", *values)
        except struct.error:
            return None

    def lift(self, payload: Payload, to: Codec) -> Payload | None:
        """Convert to double or to the other kind of int."""
        if to == self:
            return payload
        if not isinstance(to, (Int, Float)):
            return None
        data = payload[1]
        return to.fit([*struct.unpack(f"{len(data) // 8}{self.code}", data)])

    def why(self, value: object) -> str:
        """Name the int that is out of range."""
        if type(value) is int:
            return f"the int {show(value)} does not fit {self.name}"
        return super().why(value)


class Float(Fixed):
    """Floats as double, and ints that a float holds exactly."""

    filler = 0.0
    format = "g"

    def fit(self, values: list[Any]) -> Payload | None:
        """Take floats and ints; a bool is neither."""
        if not all_are(float, values):
            kinds = [*map(type, values)]
            if kinds.count(float) + kinds.count(int) < len(values) or not all(
                map(is_exact, values)
            ):
                return None
        return 0, struct.pack(f"{len(values)}d", *values)

    def why(self, value: object) -> str:
        """Name the int that a float cannot hold."""
        if type(value) is int:
            return f"the int {show(value)} is not exact as a double"
        return super().why(value)


def is_exact(value: float) -> bool:
    """Tell whether a value is a float, or an int of 64 bits that is the same as a float."""
    if type(value) is float or -EXACT_FLOAT <= value <= EXACT_FLOAT:
        return True
    return -(2**63) <= value < 2**64 and int(float(value)) == value


class Bool(Fixed):
    """Bools, one byte each until the array is built."""

    filler = False
    format = "b"

    def fit(self, values: list[Any]) -> Payload | None:
        """Take bools; an int is none."""
        return (0, bytes(values)) if all_are(bool, values) else None

    def lay(self, payload: Payload, out: Buffers) -> None:
        """Pack the bits."""
        out.buffers.append(pack_bits(payload[1]))


class Timestamp(Fixed):
    """Naive datetimes as timestamp[us], aware ones as timestamp[us, tz].

    An aware datetime is an instant. It comes back as the same instant in the zone of its column, so
    it is equal to what was put in the sense of Python, with the exceptions that PEP 495 makes: a
    wall time that a change of the clocks skipped comes back as the wall time it stands for, and one
    that a change repeats is never equal to a datetime of another zone.

    Parameters
    ----------
    zone : str or None
        The zone in Arrow's spelling; None for naive datetimes.
    """

    def __init__(self, zone: str | None) -> None:
        super().__init__(pa.timestamp("us", zone), "q")
        self.zone = None if zone is None else tzinfo_of(zone)
        self.filler = EPOCH if zone is None else EPOCH_UTC

    def numbers(self, values: list[Any]) -> list[Any] | None:
        """Count microseconds since the epoch."""
        if not all_are(datetime, values):
            return None
        epoch = self.filler
        try:
            numbers = [(value - epoch) // MICROSECOND for value in values]
            if self.zone is not None and numbers:
                for number in (min(numbers), max(numbers)):
                    (EPOCH_UTC + number * MICROSECOND).astimezone(self.zone)
        except (TypeError, OverflowError):
            return None
        return numbers

    def why(self, value: object) -> str:
        """Tell naive and aware datetimes apart."""
        if type(value) is not datetime:
            return super().why(value)
        aware = value.utcoffset() is not None
        if aware is (self.zone is None):
            return f"{'an aware' if aware else 'a naive'} datetime does not fit {self.name}"
        return f"the datetime {value} is out of range in {self.name}"


def zone_of(value: datetime) -> str | None:
    """Choose the zone of a new column by its first value.

    Returns
    -------
    str or None
        None for a naive datetime; the key of a `ZoneInfo`; ``+HH:MM`` for a fixed offset of whole
        minutes; ``UTC`` for every other tzinfo, because no name would bring it back.
    """
    offset = value.utcoffset()
    if offset is None:
        return None
    zone = value.tzinfo
    if isinstance(zone, ZoneInfo) and zone.key:
        return zone.key
    minutes, rest = divmod(abs(offset), timedelta(minutes=1))
    if type(zone) is not timezone or rest or not minutes:
        return "UTC"
    return f"{'-' if offset < timedelta() else '+'}{minutes // 60:02}:{minutes % 60:02}"


@lru_cache(maxsize=256)
def tzinfo_of(zone: str) -> tzinfo:
    """Make the tzinfo that the zone of a column names; UTC when the name is not known here."""
    if zone == "UTC":
        return timezone.utc
    if zone[:1] in ("+", "-") and len(zone) == 6:
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
        return timezone(-offset if zone[0] == "-" else offset)
    try:
        return ZoneInfo(zone)
    except (OSError, ValueError, LookupError):
        return timezone.utc


class Date(Fixed):
    """Dates as date32, days since 1970-01-01."""

    filler = date(1970, 1, 1)

    def numbers(self, values: list[Any]) -> list[Any] | None:
        """Count days; a datetime is no date."""
        if not all_are(date, values):
            return None
        return [value.toordinal() - EPOCH_ORDINAL for value in values]


class Time(Fixed):
    """Times of day without a zone as time64[us]."""

    filler = time()

    def numbers(self, values: list[Any]) -> list[Any] | None:
        """Count microseconds since midnight."""
        if not all_are(time, values) or any(value.tzinfo is not None for value in values):
            return None
        return [
            ((v.hour * 60 + v.minute) * 60 + v.second) * 1_000_000 + v.microsecond for v in values
        ]

    def why(self, value: object) -> str:
        """Name the zone, for which the type has no place."""
        if type(value) is time:
            return "a time with a zone cannot be held; put a datetime, or the zone as another key"
        return super().why(value)


class Duration(Fixed):
    """Timedeltas as duration[us]."""

    filler = timedelta()

    def numbers(self, values: list[Any]) -> list[Any] | None:
        """Count microseconds."""
        if not all_are(timedelta, values):
            return None
        return [value // MICROSECOND for value in values]

    def why(self, value: object) -> str:
        """Name the timedelta that is out of range."""
        if type(value) is timedelta:
            return f"the timedelta of {value.days} days is beyond 64 bits of microseconds"
        return super().why(value)


class Dec(Fixed):
    """Decimals as decimal128(38, 18)."""

    filler = Decimal()
    scale = 18

    def fit(self, values: list[Any]) -> Payload | None:
        """Scale the values to integers of 128 bits."""
        if not all_are(Decimal, values):
            return None
        parts = []
        for value in values:
            if not value.is_finite() or (value and not -self.scale <= value.adjusted() < 20):
                return None
            numerator, denominator = value.as_integer_ratio() if value else (0, 1)
            factor, rest = divmod(10**self.scale, denominator)
            if rest:
                return None
            parts.append((numerator * factor).to_bytes(16, "little", signed=True))
        return 0, b"".join(parts)

    def why(self, value: object) -> str:
        """Name the Decimal that has too many digits, or is no number."""
        if type(value) is Decimal:
            return f"the Decimal {show(value)} is not exact as {self.name}"
        return super().why(value)


class Binary(Codec):
    """Bytes; the base of what has any length."""

    filler: Any = b""
    format = "z"

    def fit(self, values: list[Any]) -> Payload | None:
        """Keep the bytes, which cannot change."""
        if not all_are(bytes, values):
            return None
        lengths = [*map(len, values)]
        return sum(lengths), lengths, [*values]

    def merge(self, payloads: list[Payload]) -> Payload:
        """Join lengths and bytes."""
        weight = sum([part[0] for part in payloads])
        lengths = [*chain.from_iterable([part[1] for part in payloads])]
        return weight, lengths, [*chain.from_iterable([part[2] for part in payloads])]

    def lay(self, payload: Payload, out: Buffers) -> None:
        """Make the offsets; use the bytes as they are."""
        out.buffers += (pack_offsets(payload[1]), payload[2])


class Text(Binary):
    """Text as utf8."""

    filler = ""
    format = "u"

    def fit(self, values: list[Any]) -> Payload | None:
        """Encode the text; a lone surrogate does not fit."""
        return utf8(values) if all_are(str, values) else None

    def why(self, value: object) -> str:
        """Name the surrogate."""
        if type(value) is str:
            return "the str has a lone surrogate, which is not Unicode text"
        return super().why(value)


def utf8(values: list[str]) -> Payload | None:
    """Encode text as the payload of a `Binary`; return None when there is a lone surrogate."""
    text = "".join(values)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return None
    same = len(data) == len(text)
    return len(data), [*map(len, values if same else map(_to_utf8, values))], [data]


class Json(Binary):
    """Dicts, irregular lists and the like as JSON text, of the extension type ``arrow.json``."""

    filler = _json.NOTHING
    format = "j"

    def __init__(self) -> None:
        super().__init__(pa.string(), _json.METADATA)
        self.name = "JSON"

    def fit(self, values: list[Any]) -> Payload | None:
        """Write what `_nested.parse` gives back equal."""
        texts = _nested.dump(values)
        return None if texts is None else utf8(texts)

    def why(self, value: object) -> str:
        """Name the place of what cannot be held."""
        if _nested.is_nested(value):
            return _nested.fault(value) or "the value does not come back equal from JSON"
        return super().why(value)


class List(Codec):
    """Lists of one element type.

    Parameters
    ----------
    child : Codec
        Codec of the elements.
    """

    def __init__(self, child: Codec) -> None:
        super().__init__(pa.list_(child.type))
        self.filler = []
        self.child = child
        if child.format not in ("", "j"):
            self.format = f"+{child.format}"

    def fit(self, values: list[Any]) -> Payload | None:
        """Copy the elements of all lists as one column; an array is the list of its elements."""
        if not all_are(list, values):
            values = _arrays.listed(values)
            if not all_are(list, values):
                return None
        flat = [*chain.from_iterable(values)]
        mask = None
        payload = self.child.fit(flat)
        if payload is None:
            if NoneType not in set(map(type, flat)):
                return None
            mask = bytes([item is not None for item in flat])
            filler = self.child.filler
            payload = self.child.fit([filler if item is None else item for item in flat])
            if payload is None:
                return None
        return max(len(flat), payload[0]), [*map(len, values)], mask, payload

    def merge(self, payloads: list[Payload]) -> Payload:
        """Join lengths, masks and elements."""
        counts = [sum(part[1]) for part in payloads]
        mask = join_masks([part[2] for part in payloads], counts)
        child = self.child.merge([part[3] for part in payloads])
        lengths = [*chain.from_iterable([part[1] for part in payloads])]
        return max(sum(counts), child[0]), lengths, mask, child

    def lay(self, payload: Payload, out: Buffers) -> None:
        """Make the offsets and lay down the elements."""
        _, lengths, mask, child = payload
        out.buffers.append(pack_offsets(lengths))
        out.begin(sum(lengths), mask)
        self.child.lay(child, out)

    def lift(self, payload: Payload, to: Codec) -> Payload | None:
        """Convert the elements."""
        if not isinstance(to, List):
            return None
        weight, lengths, mask, child = payload
        lifted = self.child.lift(child, to.child)
        return None if lifted is None else (weight, lengths, mask, lifted)

    def why(self, value: object) -> str:
        """Name the first element that does not fit."""
        for i, item in enumerate(value if isinstance(value, list) else ()):
            if item is not None and self.child.fit([item]) is None:
                return f"item {i}: {self.child.why(item)}"
        return super().why(value)


INT64 = Int(pa.int64(), "q")
UINT64 = Int(pa.uint64(), "Q")
FLOAT = Float(pa.float64(), "d")
BOOL = Bool(pa.bool_(), "?")
TEXT = Text(pa.string())
BINARY = Binary(pa.binary())
JSON = Json()
NAIVE = Timestamp(None)
DATE = Date(pa.date32(), "i")
TIME = Time(pa.time64("us"), "q")
DURATION = Duration(pa.duration("us"), "q")
DECIMAL = Dec(pa.decimal128(38, Dec.scale), "s")
