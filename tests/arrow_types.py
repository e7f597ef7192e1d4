"""Arrays of every Arrow type: nested, sliced, with nulls that hide values, with odd names."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

types = pa.types

_UNITS = ("s", "ms", "us", "ns")
_ZONES = (None, "UTC", "+05:30", "Europe/Berlin")
_TEXTS = ("", "a", "ü", "\0", "line\n", "持久", "😀", "long " * 90)

INTEGERS = tuple(
    getattr(pa, f"{sign}int{width}")() for sign in ("", "u") for width in (8, 16, 32, 64)
)
FLOATS = (pa.float16(), pa.float32(), pa.float64())
DECIMALS = (
    *([pa.decimal32(7, 2), pa.decimal64(15, -2)] if hasattr(pa, "decimal32") else []),
    pa.decimal128(38, 10),
    pa.decimal128(5, -2),
    pa.decimal256(60, 3),
)
TIMES = (
    pa.date32(),
    pa.date64(),
    pa.time32("s"),
    pa.time32("ms"),
    pa.time64("us"),
    pa.time64("ns"),
    *(pa.timestamp(unit, zone) for unit in _UNITS for zone in _ZONES),
    *map(pa.duration, _UNITS),
)
BYTES = (
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.binary(5),
)
OTHERS = (pa.null(), pa.bool_(), pa.month_day_nano_interval())
LEAVES = (*INTEGERS, *FLOATS, *DECIMALS, *TIMES, *BYTES, *OTHERS)
EXTENSIONS = (
    *([pa.json_()] if hasattr(pa, "json_") else []),
    *([pa.uuid()] if hasattr(pa, "uuid") else []),
    *([pa.bool8(), pa.opaque(pa.binary(), "kind", "vendor")] if hasattr(pa, "bool8") else []),
    pa.fixed_shape_tensor(pa.float32(), (2, 3)),
)

_PLACES = {
    "s": 1,
    "ms": 10**3,
    "us": 10**6,
    "ns": 10**9,
}


def random_type(random: Random, depth: int) -> pa.DataType:
    """Return a type that nests at most so deep."""
    if depth == 0 or random.random() < 0.25:
        return random.choice(LEAVES if random.random() < 0.85 or depth == 0 else EXTENSIONS)
    return random.choice(_NESTED)(random, depth - 1)


def _hollow(kind: pa.DataType) -> bool:
    """Tell whether there is no value of a type but null."""
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _hollow(kind.value_type)
    return bool(types.is_null(kind))


def _field(random: Random, depth: int, name: str) -> pa.Field:
    kind = random_type(random, depth)
    nullable = _hollow(kind) or random.random() < 0.75
    metadata = {b"unit": b"m", b"": b"\xff"} if random.random() < 0.2 else None
    return pa.field(name, kind, nullable, metadata)


def _struct(random: Random, depth: int) -> pa.DataType:
    names = ["a", "a.b", "", "_rowid", "ü", "`"]
    random.shuffle(names)
    return pa.struct([_field(random, depth, name) for name in names[: random.choice((1, 1, 2, 3))]])


def _list(make: Callable[[pa.Field], pa.DataType]) -> Callable[[Random, int], pa.DataType]:
    return lambda random, depth: make(_field(random, depth, random.choice(("item", "element"))))


def _map(random: Random, depth: int) -> pa.DataType:
    key = random.choice((pa.string(), pa.int64(), pa.string_view(), pa.date32()))
    item = random_type(random, depth)
    nullable = _hollow(item) or random.random() < 0.7
    return pa.map_(key, pa.field("value", item, nullable), keys_sorted=random.random() < 0.05)


def _dictionary(random: Random, depth: int) -> pa.DataType:
    return pa.dictionary(random.choice(INTEGERS), random_type(random, depth))


def _run_ends(random: Random, depth: int) -> pa.DataType:
    ends = random.choice((pa.int16(), pa.int32(), pa.int64()))
    return pa.run_end_encoded(ends, random_type(random, depth))


def _vector(random: Random, depth: int) -> pa.DataType:
    kind = random.choice((*INTEGERS, *FLOATS, *TIMES, pa.bool_(), pa.decimal128(9, 2)))
    if random.random() < 0.3:
        kind = random_type(random, depth)
    nullable = _hollow(kind) or random.random() < 0.7
    field = pa.field(random.choice(("item", "x")), kind, nullable)
    return pa.list_(field, random.choice((1, 2, 3, 17)))


def _union(random: Random, depth: int) -> pa.DataType:
    fields = [pa.field(name, random_type(random, depth)) for name in "ab"]
    return random.choice((pa.sparse_union, pa.dense_union))(fields)


_NESTED: tuple[Callable[[Random, int], pa.DataType], ...] = (
    *[_struct, _list(pa.list_)] * 4,
    *[_list(pa.large_list), _list(pa.list_view), _list(pa.large_list_view), _map] * 2,
    *[_dictionary, _run_ends, _vector] * 2,
    _union,
)


def random_array(random: Random, kind: pa.DataType, n: int, nulls: float) -> pa.Array:
    """Return `n` values of a type, a part of which are null; they may be a slice of more."""
    before, after = (random.choice((0, 0, 1, 9)) for _ in range(2))
    return _whole(random, kind, before + n + after, nulls).slice(before, n)


def _whole(random: Random, kind: pa.DataType, n: int, nulls: float) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        storage = _json(random, n, nulls) if kind.extension_name == "arrow.json" else None
        if storage is None:
            storage = random_array(random, kind.storage_type, n, nulls)
        return pa.ExtensionArray.from_storage(kind, storage)
    if types.is_dictionary(kind):
        size = random.choice((0, 1, 5)) if nulls else random.choice((1, 5))
        values = random_array(random, kind.value_type, size, nulls)
        places = [random.randrange(len(values)) if len(values) else None for _ in range(n)]
        indices = _with_nulls(random, places, nulls)
        return pa.DictionaryArray.from_arrays(pa.array(indices, kind.index_type), values)
    if types.is_run_end_encoded(kind):
        ends = sorted({n, *(random.randint(1, n) for _ in range(n // 3))}) if n else []
        values = random_array(random, kind.value_type, len(ends), nulls)
        return pa.RunEndEncodedArray.from_arrays(pa.array(ends, kind.run_end_type), values)
    if types.is_union(kind):
        return _union_array(random, kind, n, nulls)
    if types.is_nested(kind):
        return _nested(random, kind, n, nulls)
    return pa.array(_with_nulls(random, [_value(random, kind) for _ in range(n)], nulls), kind)


def _with_nulls(random: Random, values: list[Any], nulls: float) -> list[Any]:
    return [None if random.random() < nulls else value for value in values]


def _json(random: Random, n: int, nulls: float) -> pa.Array:
    texts = ('{"a":[1,null]}', "[]", "1.5", '"x"', "true")
    return pa.array(_with_nulls(random, random.choices(texts, k=n), nulls), pa.string())


def _value(random: Random, kind: pa.DataType) -> Any:
    """Return a value of a leaf."""
    if types.is_null(kind):
        return None
    if types.is_boolean(kind):
        return random.random() < 0.5
    if types.is_integer(kind):
        low = 0 if types.is_unsigned_integer(kind) else -(2 ** (kind.bit_width - 1))
        high = low + 2**kind.bit_width - 1
        return random.choice((low, high, max(low, -1), 1, random.randint(low, high)))
    if types.is_floating(kind):
        number = random.choice((0.0, -0.0, 1.5, -2.25, float("inf"), 2.0**-14))
        return np.float16(number) if types.is_float16(kind) else number
    if types.is_decimal(kind):
        digits = random.randint(0, 10**kind.precision - 1)
        sign = int(random.random() < 0.5)
        return Decimal((sign, tuple(map(int, str(digits))), -kind.scale))
    if types.is_interval(kind):
        return pa.MonthDayNano([1, 2, 3])
    if types.is_temporal(kind):
        return _time(random, kind)
    text = random.choice(_TEXTS)
    if types.is_fixed_size_binary(kind):
        return random.randbytes(kind.byte_width)
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return text if is_text else random.choice((text.encode(), b"\xff\0"))


def _time(random: Random, kind: pa.DataType) -> Any:
    if types.is_date(kind):
        return dt.date(1970, 1, 1) + dt.timedelta(random.randint(-9999, 9999))
    second = _PLACES[kind.unit]
    if types.is_time(kind):
        return random.randrange(86400 * second)
    return random.randint(-(10**9), 10**9) * second + random.randrange(second)


def _nested(random: Random, kind: pa.DataType, n: int, nulls: float) -> pa.Array:
    """Return structs, lists and maps; nulls hide values."""
    mask = [random.random() < nulls for _ in range(n)]
    validity = None
    if any(mask):
        validity = pa.array([not hidden for hidden in mask], pa.bool_()).buffers()[1]

    def made(buffers: list[pa.Buffer | None], *children: pa.Array) -> pa.Array:
        return pa.Array.from_buffers(kind, n, [validity, *buffers], sum(mask), 0, list(children))

    def of(field: pa.Field, length: int) -> pa.Array:
        share = nulls if field.nullable else 0.0
        return random_array(random, field.type, length, share)

    if types.is_struct(kind):
        return made([], *(of(kind.field(i), n) for i in range(kind.num_fields)))
    if types.is_fixed_size_list(kind):
        return made([], of(kind.value_field, n * kind.list_size))
    sizes = [random.choice((0, 1, 2, 5)) for _ in range(n)]
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        width = pa.int32() if types.is_list_view(kind) else pa.int64()
        items = of(kind.value_field, max(sizes, default=0) + random.choice((0, 3, 9)))
        starts = [random.randint(0, len(items) - size) for size in sizes]
        places = [pa.array(numbers, width).buffers()[1] for numbers in (starts, sizes)]
        return made(places, items)
    ends = np.cumsum([random.choice((0, 0, 2)), *sizes])
    width = pa.int64() if types.is_large_list(kind) else pa.int32()
    offsets = [pa.array(ends, width).buffers()[1]]
    total = int(ends[-1]) + random.choice((0, 0, 2))
    if not types.is_map(kind):
        return made(offsets, of(kind.value_field, total))
    parts = [of(kind.key_field, total), of(kind.item_field, total)]
    entries = pa.struct([kind.key_field, kind.item_field])
    return made(offsets, pa.Array.from_buffers(entries, total, [None], 0, 0, parts))


def _union_array(random: Random, kind: pa.DataType, n: int, nulls: float) -> pa.Array:
    codes = pa.array([random.randrange(kind.num_fields) for _ in range(n)], pa.int8())
    fields = [kind.field(i) for i in range(kind.num_fields)]
    children = [random_array(random, field.type, n, 0.0) for field in fields]
    names = [field.name for field in fields]
    if kind.mode == "sparse":
        return pa.UnionArray.from_sparse(codes, children, names)
    return pa.UnionArray.from_dense(codes, pa.array(range(n), pa.int32()), children, names)
