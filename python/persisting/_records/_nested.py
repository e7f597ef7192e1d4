"""Nested data as JSON text, and in it what JSON has no form for.

What JSON holds exactly is JSON and nothing else. Any other value within it is an object of which
the key ``_persisting_`` names the kind:

    {"_persisting_": "tuple", "items": [1, 2]}
    {"_persisting_": "float", "value": "nan"}
    {"_persisting_": "ndarray", "dtype": "<U3", "shape": [2], "base64": "..."}

A dict that has that key itself is written as pairs, of kind ``dict``.
"""

from __future__ import annotations

import importlib
import json
from base64 import b64decode, b64encode
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from . import _arrays, _json

if TYPE_CHECKING:
    from collections.abc import Callable

KIND = "_persisting_"
"""The key that tells what JSON has no form for."""

_MARK = f'"{KIND}"'
_PLAIN_KINDS = "biufcmMSU"
"""Kinds of numpy dtypes whose bytes say all."""


class _Fault(Exception):
    """Raised for what cannot be held; the text says where and why."""


def dump(values: list[Any]) -> list[str] | None:
    """Write dicts, lists and what else a column of JSON has.

    Parameters
    ----------
    values : list
        Values for which `is_nested` is true, and `_json.NOTHING`, which is written as null.

    Returns
    -------
    list of str or None
        One text per value, or None when a value is of another class or cannot be held.
    """
    texts = _json.dump(values)
    if texts is not None and not any(_MARK in text for text in texts):
        return texts
    texts = []
    for value in values:
        plain = _json.dump([value])
        if plain is not None and _MARK not in plain[0]:
            texts += plain
            continue
        if not is_nested(value):
            return None
        try:
            texts.append(_compact.encode(_tag(value, "", 0)))
        except _Fault:
            return None
    return texts


_compact = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def parse(texts: list[str]) -> list[Any]:
    """Read what `dump` wrote, or other JSON texts."""
    values = _json.parse(texts)
    if not any(KIND in text for text in texts):
        return values
    return [_untag(v) if KIND in text else v for v, text in zip(values, texts, strict=True)]


def is_nested(value: object) -> bool:
    """Tell whether a value has no type of its own, but can be one of a column of JSON."""
    if isinstance(value, (dict, list, tuple)) or type(value) is complex:
        return True
    if _arrays.is_ndarray(value):
        return _whole(value) and not _arrays.is_typed(value)
    if not _arrays.is_scalar(value):
        return False
    try:
        _json.numpy_item(value)
    except (TypeError, ValueError, OverflowError):
        return _whole(value)
    return False


def fault(value: object) -> str | None:
    """Find what cannot be held.

    Returns
    -------
    str or None
        Path and reason of the first fault, or None when there is none.
    """
    try:
        _tag(value, "", 0)
    except _Fault as found:
        return str(found)
    return None


def _tag(value: Any, path: str, depth: int) -> Any:
    """Turn a value into what JSON holds."""
    place = f"at {path}: " if path else ""
    if isinstance(value, float):
        value = float(value)
        return value if value - value == 0 else _tagged("float", value=str(value))
    if value is None or isinstance(value, (bool, str, int)):
        reason = _json.fault(value, path)
        if reason is not None:
            raise _Fault(reason)
        return value
    if isinstance(value, (dict, list, tuple)):
        if depth == _json.MAX_DEPTH:
            msg = f"nested data is deeper than {_json.MAX_DEPTH}, or contains itself"
            raise _Fault(msg)
        return _tag_items(value, path, place, depth + 1)
    for kind, make in _WRITERS.items():
        if type(value) is kind:
            return make(value)
    if _arrays.is_ndarray(value) or _arrays.is_tensor(value):
        return _tag_array(value, path, place, depth + 1)
    if _arrays.is_scalar(value):
        return _tag_scalar(value, path, place, depth)
    msg = f"{place}{type(value).__name__} cannot be held in nested data"
    raise _Fault(msg)


def _tag_items(value: Any, path: str, place: str, depth: int) -> Any:
    """Turn a dict, list or tuple into what JSON holds."""
    if not isinstance(value, dict):
        items = [_tag(item, f"{path}[{i}]", depth) for i, item in enumerate(value)]
        return items if isinstance(value, list) else _tagged("tuple", items=items)
    for key in value:
        if not isinstance(key, str):
            msg = f"{place}the dict has a key of type {type(key).__name__}, not str"
            raise _Fault(msg)
        if not _json.is_unicode(key):
            msg = f"{place}a key has a lone surrogate"
            raise _Fault(msg)
    pairs = [(key, _tag(item, f"{path}[{key!r}]", depth)) for key, item in value.items()]
    return _tagged("dict", items=pairs) if KIND in value else dict(pairs)


def _tag_array(value: Any, path: str, place: str, depth: int) -> Any:
    shape = [*value.shape]
    if _arrays.is_tensor(value):
        try:
            data = _base64(_arrays.seen(value).tobytes())
        except (TypeError, RuntimeError) as error:
            msg = f"{place}{error} cannot be held; put a dense tensor"
            raise _Fault(msg) from None
        return _tagged("tensor", dtype=_arrays.dtype_of(value), shape=shape, base64=data)
    if value.dtype.kind == "O":
        items = [_tag(item, f"{path}[{i}]", depth) for i, item in enumerate(value.flat)]
        return _tagged("objects", shape=shape, items=items)
    if value.dtype.kind == "T":  # text of any length, as lists have
        return _tagged("texts", shape=shape, items=[*value.flat])
    if not _whole(value):
        msg = f"{place}an array of dtype {value.dtype} cannot be held; use a plain dtype"
        raise _Fault(msg)
    return _tagged("ndarray", dtype=value.dtype.str, shape=shape, base64=_base64(value.tobytes()))


def _whole(value: Any) -> bool:
    """Tell whether the bytes of a numpy value, or its items, say all on every machine."""
    dtype = value.dtype
    if dtype.kind in "OT":
        return _arrays.is_ndarray(value)
    widest = {"f": 8, "c": 16}.get(dtype.kind, dtype.itemsize)
    return dtype.kind in _PLAIN_KINDS and bool(dtype.itemsize <= widest)


def _tag_scalar(value: Any, path: str, place: str, depth: int) -> Any:
    """Turn a numpy scalar into the built-in value that it is equal to, or keep it."""
    try:
        return _tag(_json.numpy_item(value), path, depth)
    except (TypeError, ValueError):
        if not _whole(value):
            msg = f"{place}{type(value).__name__} cannot be held in nested data"
            raise _Fault(msg) from None
        return _tagged("scalar", dtype=value.dtype.str, base64=_base64(value.tobytes()))


def _tagged(kind: str, **content: Any) -> dict[str, Any]:
    return {KIND: kind, **content}


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _tag_datetime(value: datetime) -> dict[str, Any]:
    zone = getattr(value.tzinfo, "key", None)
    return _tagged("datetime", value=value.isoformat(), zone=zone, fold=value.fold)


def _tag_time(value: time) -> dict[str, Any]:
    return _tagged("time", value=value.isoformat(), fold=value.fold)


_WRITERS: dict[type, Callable[[Any], dict[str, Any]]] = {
    bytes: lambda value: _tagged("bytes", base64=_base64(value)),
    bytearray: lambda value: _tagged("bytes", base64=_base64(value)),
    complex: lambda value: _tagged("complex", value=[str(value.real), str(value.imag)]),
    datetime: _tag_datetime,
    date: lambda value: _tagged("date", value=value.isoformat()),
    time: _tag_time,
    timedelta: lambda v: _tagged("timedelta", value=[v.days, v.seconds, v.microseconds]),
    Decimal: lambda value: _tagged("decimal", value=str(value)),
}


def _untag(value: Any) -> Any:
    """Turn what JSON holds back into what it was made of."""
    if isinstance(value, list):
        return [_untag(item) for item in value]
    if not isinstance(value, dict):
        return value
    content = {key: item for key, item in value.items() if key != KIND}
    kind = value.get(KIND)
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is not None and tuple(sorted(content)) == reader[0]:
        return reader[1](**content)
    return {key: _untag(item) for key, item in value.items()}


def _array(dtype: str, shape: list[int], base64: str) -> Any:
    numpy = importlib.import_module("numpy")
    return numpy.ndarray(shape, dtype, bytearray(b64decode(base64))).copy()


def _objects(shape: list[int], items: list[Any]) -> Any:
    numpy = importlib.import_module("numpy")
    array = numpy.empty(len(items), object)
    for i, item in enumerate(items):
        array[i] = _untag(item)
    return array.reshape(shape)


def _texts(shape: list[int], items: list[str]) -> Any:
    numpy = importlib.import_module("numpy")
    return numpy.array(items, numpy.dtypes.StringDType()).reshape(shape)


def _tensor(dtype: str, shape: list[int], base64: str) -> Any:
    element, pairs = _arrays.elements_of(dtype)
    return _arrays.unseen("tensor", dtype, _array(element, [*shape, *[2] * pairs], base64))


def _datetime(value: str, zone: str | None, fold: int) -> datetime:
    told = datetime.fromisoformat(value).replace(fold=fold)
    if zone is None:
        return told
    try:
        return told.replace(tzinfo=ZoneInfo(zone))
    except (OSError, ValueError, LookupError):  # it is not known here: its offset is
        return told


_READERS: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "tuple": (("items",), lambda items: tuple(_untag(items))),
    "dict": (("items",), lambda items: {key: _untag(item) for key, item in items}),
    "float": (("value",), lambda value: float(value)),
    "bytes": (("base64",), lambda base64: b64decode(base64)),
    "complex": (("value",), lambda value: complex(*map(float, value))),
    "datetime": (("fold", "value", "zone"), _datetime),
    "date": (("value",), lambda value: date.fromisoformat(value)),
    "time": (("fold", "value"), lambda value, fold: time.fromisoformat(value).replace(fold=fold)),
    "timedelta": (("value",), lambda value: timedelta(*value)),
    "decimal": (("value",), lambda value: Decimal(value)),
    "ndarray": (("base64", "dtype", "shape"), _array),
    "objects": (("items", "shape"), _objects),
    "texts": (("items", "shape"), _texts),
    "scalar": (("base64", "dtype"), lambda base64, dtype: _array(dtype, [], base64)[()]),
    "tensor": (("base64", "dtype", "shape"), _tensor),
}
