"""What the tests of records share."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from persisting._records import RecordEncoder

JSON_METADATA = {b"ARROW:extension:name": b"arrow.json", b"ARROW:extension:metadata": b""}
NDARRAY_METADATA = {b"persisting:kind": b"ndarray"}
PYARROW = int(pa.__version__.split(".")[0])
UTC = dt.timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")


def put(encoder: RecordEncoder, *records: dict[Any, Any]) -> pa.RecordBatch:
    """Put records as one put that the engine accepts."""
    assert encoder.add([*records])
    batch = encoder.finish()
    batch.validate(full=True)
    encoder.committed(batch.schema)
    return batch


def once(*records: dict[Any, Any]) -> pa.RecordBatch:
    return put(RecordEncoder(), *records)


def same(one: object, two: object) -> bool:
    """Compare values, their classes, and those of all they contain."""
    if type(one) is not type(two):
        return False
    if isinstance(one, np.ndarray):
        assert isinstance(two, np.ndarray)
        alike = one.dtype == two.dtype and one.shape == two.shape
        if one.dtype.kind in "OT":
            return alike and all(map(same, one.flat, two.flat))
        return alike and one.tobytes() == two.tobytes()
    if isinstance(one, np.generic):
        assert isinstance(two, np.generic)
        return one.dtype == two.dtype and one.tobytes() == two.tobytes()
    if isinstance(one, dict):
        assert isinstance(two, dict)
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (list, tuple)):
        assert isinstance(two, (list, tuple))
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, float):
        assert isinstance(two, float)
        return (one, math.copysign(1, one)) == (two, math.copysign(1, two)) or (
            math.isnan(one) and math.isnan(two)
        )
    if isinstance(one, complex):
        assert isinstance(two, complex)
        return same(one.real, two.real) and same(one.imag, two.imag)
    if isinstance(one, Decimal):
        assert isinstance(two, Decimal)
        return str(one) == str(two) if one.is_nan() else one == two
    return one == two


TYPES: dict[str, tuple[list[Any], pa.DataType]] = {
    "bool": ([True, False], pa.bool_()),
    "int": ([0, -(2**63), 2**63 - 1], pa.int64()),
    "uint": ([0, 2**63, 2**64 - 1], pa.uint64()),
    "float": ([0.0, -0.0, 1e308, 5e-324, math.inf, -math.inf, math.nan], pa.float64()),
    "str": (["", "a", "ä", "\u20ac", "\U0001f600", "\0", "x" * 5000], pa.string()),
    "bytes": ([b"", b"\0\xff", b"x" * 5000], pa.binary()),
    "naive datetime": (
        [dt.datetime.min, dt.datetime.max, dt.datetime(2024, 2, 29, 1, 2, 3, 456789)],
        pa.timestamp("us"),
    ),
    "utc datetime": (
        [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)],
        pa.timestamp("us", "UTC"),
    ),
    "zone": (
        [
            dt.datetime(2024, 7, 1, 12, tzinfo=BERLIN),
            dt.datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
            dt.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=BERLIN),
        ],
        pa.timestamp("us", "Europe/Berlin"),
    ),
    "fixed offset": (
        [dt.datetime(2024, 7, 1, tzinfo=dt.timezone(dt.timedelta(hours=-5, minutes=-30)))],
        pa.timestamp("us", "-05:30"),
    ),
    "date": ([dt.date.min, dt.date.max, dt.date(1969, 12, 31)], pa.date32()),
    "time": ([dt.time.min, dt.time.max, dt.time(1, 2, 3, 4)], pa.time64("us")),
    "timedelta": (
        [dt.timedelta(), dt.timedelta(microseconds=-1), dt.timedelta(microseconds=2**63 - 1)],
        pa.duration("us"),
    ),
    "decimal": (
        [
            Decimal("0"),
            Decimal("-1.5"),
            Decimal("1E-18"),
            Decimal("99999999999999999999.999999999999999999"),
            Decimal("1E+19"),
        ],
        pa.decimal128(38, 18),
    ),
    "ints": ([[1, 2], [], [None, -(2**63)], [2**63 - 1]], pa.list_(pa.int64())),
    "uints": ([[1, 2**64 - 1]], pa.list_(pa.uint64())),
    "floats": ([[0.5, None], [], [math.inf, -0.0]], pa.list_(pa.float64())),
    "strs": ([["", "ä"], [None], ["x"]], pa.list_(pa.string())),
    "bytes list": ([[b"", b"x", None]], pa.list_(pa.binary())),
    "bools": ([[True, None, False]] * 9, pa.list_(pa.bool_())),
    "datetimes": ([[dt.datetime(2024, 1, 1), None]], pa.list_(pa.timestamp("us"))),
    "zoned list": ([[dt.datetime(2024, 1, 1, tzinfo=UTC)]], pa.list_(pa.timestamp("us", "UTC"))),
    "dates": ([[dt.date(2024, 1, 1), None]], pa.list_(pa.date32())),
    "times": ([[dt.time(1), None]], pa.list_(pa.time64("us"))),
    "timedeltas": ([[dt.timedelta(1), None]], pa.list_(pa.duration("us"))),
    "decimals": ([[Decimal("1.5"), None]], pa.list_(pa.decimal128(38, 18))),
    "nested list": (
        [[[1], [], None, [None]], [], [[2, 3]]],
        pa.list_(pa.list_(pa.int64())),
    ),
    "three deep": ([[None, [None]], [[["a"]], [[]]]], pa.list_(pa.list_(pa.list_(pa.string())))),
}


def addresses(batch: pa.RecordBatch) -> dict[str, list[int | None]]:
    return {
        name: [buffer and buffer.address for buffer in column.buffers()]
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    }
