"""Which column type values need, and which built-in values those of other classes are equal to."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from types import NoneType
from typing import TYPE_CHECKING, Any

from . import _arrays, _json, _ndarray, _nested
from ._codecs import (
    BINARY,
    BOOL,
    DATE,
    DECIMAL,
    DURATION,
    FLOAT,
    INT64,
    JSON,
    NAIVE,
    TEXT,
    TIME,
    UINT64,
    Codec,
    Float,
    Int,
    List,
    Timestamp,
    zone_of,
)
from ._foreign import Numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

MAX_NESTING = 16
"""Lists within lists up to this depth are typed columns; deeper ones are JSON."""

_SCALARS: dict[type, Codec] = {
    float: FLOAT,
    bool: BOOL,
    str: TEXT,
    bytes: BINARY,
    date: DATE,
    time: TIME,
    timedelta: DURATION,
    Decimal: DECIMAL,
}
_EXACT = {*_SCALARS, int, datetime, dict, complex, NoneType}


class Refused(Exception):
    """Raised when a value cannot be held; the text says why.

    Parameters
    ----------
    message : str
        Why.
    wanted : pa.DataType, optional
        Type of a column that would hold it, where that of the column that there is does not.
    """

    def __init__(self, message: str, wanted: pa.DataType | None = None) -> None:
        super().__init__(message)
        self.wanted = wanted


def _datetime(value: datetime) -> datetime:
    parts = (value.year, value.month, value.day, value.hour, value.minute, value.second)
    return datetime(*parts, value.microsecond, value.tzinfo, fold=value.fold)


_BASES: list[tuple[type, Callable[[Any], object]]] = [
    (int, int.__int__),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, bytes),
    (bytearray, bytes),
    (datetime, _datetime),
    (date, lambda value: date(value.year, value.month, value.day)),
    (
        time,
        lambda v: time(v.hour, v.minute, v.second, v.microsecond, v.tzinfo, fold=v.fold),
    ),
    (timedelta, lambda value: timedelta(value.days, value.seconds, value.microseconds)),
    (Decimal, Decimal),
    (complex, complex),
]


def plain(value: object, depth: int = 0) -> Any:
    """Turn a value of a subclass into the built-in value that is equal to it.

    Parameters
    ----------
    value : object
        A value of a record, or an item of a list.
    depth : int, default 0
        How many lists are around it.

    Returns
    -------
    object
        The value itself, or one of a built-in class that is equal to it. Dicts, tuples, arrays and
        tensors are returned as they are, and so are numpy scalars that no built-in value is equal
        to.

    Raises
    ------
    Refused
        If no built-in value of a supported class is equal to it.
    """
    if type(value) in _EXACT or isinstance(value, (dict, tuple)):
        return value
    if _arrays.is_ndarray(value) or _arrays.is_tensor(value):
        return value
    if isinstance(value, list):
        if depth == _json.MAX_DEPTH:
            msg = f"nested data is deeper than {_json.MAX_DEPTH}, or contains itself"
            raise Refused(msg)
        return [plain(item, depth + 1) for item in value]
    try:
        for base, convert in _BASES:
            if isinstance(value, base):
                same = convert(value)
                if same == value or (same != same and value != value):
                    return same
                break
        else:
            item = _json.numpy_item(value)
            if type(item) in _EXACT and item is not None:
                return item
    except (TypeError, ValueError, OverflowError):
        pass
    if _nested.is_nested(value):
        return value
    raise Refused(_advice(value))


_ADVICE: dict[type, str] = {
    set: "put a list",
    frozenset: "put a list",
    range: "put a list",
    memoryview: "put bytes",
}


def _advice(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    advice = next((text for base, text in _ADVICE.items() if isinstance(value, base)), None)
    if advice is None:
        if isinstance(value, (datetime, timedelta)):
            advice = "it has more than microseconds, or is no time at all"
        elif hasattr(value, "numpy") or hasattr(value, "__array__"):
            advice = "put a numpy array of a plain dtype"
        elif hasattr(value, "__dataclass_fields__"):
            advice = "put dataclasses.asdict() of it"
        else:
            advice = "put built-in values or numpy arrays"
    return f"a value of class {name} cannot be held; {advice}"


def is_hollow(value: object, depth: int = 0) -> bool:
    """Tell whether a value is a list in which nothing has a type: ``[]``, ``[None]``, ``[[]]``."""
    return (
        type(value) is list
        and depth < MAX_NESTING
        and all(item is None or is_hollow(item, depth + 1) for item in value)
    )


def infer(values: list[Any], depth: int = 0) -> Codec | None:
    """Choose the codec of a new column.

    Parameters
    ----------
    values : list
        Values that `plain` returned, none of them None.
    depth : int, default 0
        How many lists are around the values.

    Returns
    -------
    Codec or None
        None when all values are hollow lists. A hollow list beside values of other classes is
        passed over.

    Raises
    ------
    Refused
        If no column holds all the values.
    """
    codec: Codec | None = None
    kinds = [*dict.fromkeys(map(type, values))]
    for kind in kinds:
        group = values if len(kinds) == 1 else [v for v in values if type(v) is kind]
        found = _infer_kind(kind, group, depth)
        if codec is None or found is None:
            codec = codec or found
            continue
        joined = join(codec, found)
        if joined is None:
            if all(issubclass(kind, (dict, list, tuple)) for kind in kinds):
                return JSON
            msg = f"values of one put are {codec.name} and {found.name}"
            raise Refused(msg)
        codec = joined
    return codec


def _infer_kind(kind: type, values: list[Any], depth: int) -> Codec | None:
    """Choose the codec for values of one class."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    if kind is int:
        return _infer_int(min(values), max(values))
    if kind is list:
        return _infer_list(values, depth)
    if kind is datetime:
        zone = zone_of(values[0])
        return NAIVE if zone is None else Timestamp(zone)
    if not (_arrays.is_ndarray(values[0]) or _arrays.is_tensor(values[0])):
        return JSON
    codec = _ndarray.codec_for(values[0])
    if codec is None and _nested.is_nested(values[0]):
        return JSON
    if codec is None:
        msg = (
            f"{_ndarray.describe(values[0])} cannot be held; use a plain dtype in native byte order"
        )
        raise Refused(msg)
    return codec


def _infer_int(low: int, high: int) -> Codec:
    if low >= -(2**63) and high < 2**63:
        return INT64
    if low >= 0 and high < 2**64:
        return UINT64
    if low < -(2**63) or high >= 2**64:
        msg = "an int beyond 64 bits cannot be held"
    else:
        msg = "negative ints and ints from 2**63 on have no common type"
    raise Refused(msg)


def _infer_list(values: list[list[Any]], depth: int) -> Codec | None:
    flat = [item for item in chain.from_iterable(values) if item is not None]
    if not flat:
        return None
    if depth == MAX_NESTING:
        return JSON
    try:
        child = infer(flat, depth + 1)
    except Refused:
        return JSON
    if child is None:
        return None
    if child is JSON or isinstance(child, _ndarray.NdArray) or child.fit(flat) is None:
        return JSON
    return List(child)


def join(one: Codec, two: Codec) -> Codec | None:
    """Return the codec for the values of two, or None when there is none.

    Whether each value is exact in it is for `Codec.fit` and `Codec.lift` to say.
    """
    if one == two:
        return one
    if isinstance(one, (Int, Float)) and isinstance(two, (Int, Float)):
        return FLOAT if FLOAT in (one, two) else UINT64
    if isinstance(one, Timestamp) and isinstance(two, Timestamp):
        return one
    if isinstance(one, List) and isinstance(two, List):
        child = join(one.child, two.child)
        return None if child is None else List(child)
    return JSON if one is JSON and isinstance(two, List) else None


def widen(codec: Codec | None, values: list[Any]) -> Codec | None:
    """Choose the codec with which a column takes further values.

    Parameters
    ----------
    codec : Codec or None
        The column's codec; None for a new column.
    values : list
        Values that `plain` returned, none of them None.

    Returns
    -------
    Codec or None
        `codec` itself, a wider one, or None when all values are hollow.

    Raises
    ------
    Refused
        If no codec that the column can have takes all the values.
    """
    if codec is not None and codec.fit(values) is not None:
        return codec
    found = infer(values)
    if found is None:
        if codec is None:
            return None
        msg = f"a list does not fit {codec.name}"
        raise Refused(msg)
    wider = found if codec is None else join(codec, found)
    if wider is None:
        assert codec is not None
        named = isinstance(found, (List, _ndarray.NdArray)) or found is JSON
        if isinstance(codec, Numbers) and named:
            wrong = next(value for value in values if codec.fit([value]) is None)
            raise Refused(codec.why(wrong))
        if type(codec) is type(found) and not isinstance(codec, List):
            msg = codec.why(values[0])
        else:
            msg = f"the column is {codec.name}, the value is {found.name}"
        raise Refused(msg, found.type if type(codec) is not type(found) else None)
    if wider.fit(values) is None:
        wrong = next((value for value in values if wider.fit([value]) is None), values[0])
        raise Refused(wider.why(wrong))
    return wider
