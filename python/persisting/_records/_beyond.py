"""Values that Python has no object for, as text: times before the year 1 or after 9999, and more.

Arrow's times are integers. A date of DuckDB's ``'infinity'``, a timestamp of the year 10,000 and a
time of day with nanoseconds are among them, and nothing that Python's ``datetime`` can hold.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ._foreign import storage_of

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DAY = 86_400


def stand_in(scalar: pa.Scalar) -> Any:
    """Return a value as ``to_pylist`` does, with something else for what Python cannot hold.

    Parameters
    ----------
    scalar : pa.Scalar
        The value; nested ones are looked into.

    Returns
    -------
    object
        For dates, timestamps and times of day their text in ISO 8601: years beyond four digits
        have a sign, an instant is given in UTC, and an hour may be any number. For durations
        the seconds, as a number.
    """
    kind = storage_of(scalar.type)
    types = pa.types
    if not scalar.is_valid:
        return None
    if isinstance(scalar.type, pa.BaseExtensionType):
        return stand_in(scalar.value)
    if types.is_struct(kind):
        return {name: stand_in(value) for name, value in scalar.items()}
    if types.is_map(kind):
        return [tuple(stand_in(part) for part in pair.values()) for pair in scalar.values]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [stand_in(value) for value in scalar.values]
    try:
        if not (types.is_time(kind) and not is_time_of_day(scalar.value, kind)):
            return scalar.as_py()
    except (ValueError, OverflowError):
        if not types.is_temporal(kind):
            raise
    return _text(scalar.value, kind)


def is_time_of_day(number: int, kind: pa.DataType) -> bool:
    """Tell whether Python's ``time`` holds a time of day, which pyarrow takes modulo a day."""
    rest = number % 1000 if kind.unit == "ns" else 0
    return 0 <= number < _DAY * _PER_SECOND[kind.unit] and not rest


def _text(number: int, kind: pa.DataType) -> Any:
    types = pa.types
    if types.is_date32(kind):
        return _date(number)
    if types.is_date64(kind):
        return _date(number // (_DAY * 1000))
    seconds, fraction = divmod(number, _PER_SECOND[kind.unit])
    digits = _DIGITS[kind.unit]
    if types.is_time(kind):
        return _clock(seconds, fraction, digits)
    if types.is_timestamp(kind):
        days, seconds = divmod(seconds, _DAY)
        zone = "" if kind.tz is None else "+00:00"
        return f"{_date(days)}T{_clock(seconds, fraction, digits)}{zone}"
    return seconds if not fraction else number / _PER_SECOND[kind.unit]


def _date(days: int) -> str:
    """Write the days since 1970-01-01 as a date of the proleptic Gregorian calendar."""
    # Years begin in March here, so that the odd day is the last one of a cycle of 400.
    cycle, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    year += 400 * cycle + (month >= 10)
    month += 3 if month < 10 else -9
    written = f"{year:04}" if 0 <= year <= 9999 else f"{year:+05}"
    return f"{written}-{month:02}-{day + 1:02}"


def _clock(seconds: int, fraction: int, digits: int) -> str:
    sign = "-" if seconds < 0 else ""
    if sign and fraction:
        seconds, fraction = seconds + 1, 10**digits - fraction
    hours, rest = divmod(abs(seconds), 3600)
    text = f"{sign}{hours:02}:{rest // 60:02}:{rest % 60:02}"
    return f"{text}.{fraction:0{digits}}" if digits and fraction else text
