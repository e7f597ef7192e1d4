"""Random filters, and what SQL says of a record under each: a second opinion in plain Python."""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

Row = dict[str, Any]

SCHEMA = pa.schema(
    {
        "i": pa.int64(),
        "big": pa.int64(),
        "tiny": pa.int8(),
        "nat": pa.uint64(),
        "f": pa.float64(),
        "f32": pa.float32(),
        "d": pa.decimal128(12, 2),
        "s": pa.string(),
        "text": pa.string(),
        "b": pa.bool_(),
        "t": pa.timestamp("us"),
        "utc": pa.timestamp("us", "UTC"),
        "day": pa.date32(),
        "clock": pa.time64("us"),
        "took": pa.duration("us"),
        "tags": pa.list_(pa.string()),
    }
)

LATE = pa.field("late", pa.int64())
"""A column that only later rows have."""

KINDS: dict[str, tuple[str, ...]] = {
    "btree": ("i", "big", "tiny", "nat", "f", "f32", "d", "s", "b", "t", "utc", "day", "clock"),
    "bitmap": ("i", "big", "tiny", "nat", "s", "b", "day", "t", "f", "clock"),
    "zonemap": ("i", "big", "tiny", "nat", "f", "f32", "s", "t", "day", "b", "d"),
    "bloom_filter": ("i", "big", "tiny", "nat", "s", "t", "day", "f"),
    "ngram": ("s", "text"),
    "label_list": ("tags",),
    "inverted": ("text",),
}
"""Which columns can have which index."""

DAY = dt.date(2026, 11, 20)
WORDS = ("cart", "Cart", "pole", "falls", "over", "agent", "über", "it's", "100%", "a_b", "")


def rows(draw: random.Random, n: int, *, late: bool) -> pa.Table:
    """Return random records, nulls, NaN, signed zeros and extremes among them."""
    midnight = dt.datetime.combine(DAY, dt.time())

    def moment() -> dt.datetime:
        return midnight + dt.timedelta(hours=draw.randint(0, 95), microseconds=draw.randint(0, 2))

    def text() -> str:
        return " ".join(draw.choice(WORDS) for _ in range(draw.randint(0, 4)))

    makers: dict[str, Callable[[], Any]] = {
        "i": lambda: draw.randint(-9, 9),
        "big": lambda: draw.choice([2**63 - 1, -(2**63), 2**53 + 1, 2**53, 0, -1, 7]),
        "tiny": lambda: draw.choice([-128, -1, 0, 1, 5, 127]),
        "nat": lambda: draw.choice([0, 1, 2**63, 2**64 - 1, 2**53 + 1, 5]),
        "f": lambda: draw.choice(
            [math.nan, math.inf, -math.inf, -0.0, 0.0, 0.1, 0.5, -0.5, 1.0, 3.0, -7.25, 2.0**53]
        ),
        "f32": lambda: draw.choice([math.nan, 0.0, -0.0, 0.1, 0.5, 1.0, -2.5, math.inf]),
        "d": lambda: Decimal(draw.randint(-300, 300)) / 100,
        "s": lambda: draw.choice(["", "a", "b", "ab", "abc", "A", "aXb", "it's", "a_b", "ä", "%"]),
        "text": text,
        "b": lambda: draw.random() < 0.5,
        "t": moment,
        "utc": lambda: moment().replace(tzinfo=dt.timezone.utc),
        "day": lambda: DAY + dt.timedelta(days=draw.randint(0, 4)),
        "clock": lambda: dt.time(draw.randint(0, 23), 0, 0, draw.randint(0, 1)),
        "took": lambda: dt.timedelta(
            seconds=draw.randint(-3, 100), microseconds=draw.randint(0, 1)
        ),
        "tags": lambda: [draw.choice("abcde") for _ in range(draw.randint(0, 3))],
        "late": lambda: draw.randint(0, 5),
    }
    schema = SCHEMA.append(LATE) if late else SCHEMA
    share = draw.choice([0.0, 0.1, 0.5])
    columns = {}
    for field in schema:
        make = makers[field.name]
        if field.name == "i" and draw.random() < 0.3:  # as a zone map likes it
            values: list[Any] = sorted(make() for _ in range(n))
        else:
            values = [make() for _ in range(n)]
        values = [None if draw.random() < share else value for value in values]
        columns[field.name] = pa.array(values, field.type)
    return pa.table(columns, schema)


@dataclass(frozen=True)
class Term:
    """An SQL expression and what it is for a row; None is null."""

    sql: str
    of: Callable[[Row], Any]
    is_column: bool = False

    def __str__(self) -> str:
        return self.sql


def column(name: str) -> Term:
    """Return a column."""
    return Term(name, lambda row: row.get(name), is_column=True)


def quoted(text: str) -> str:
    """Return a string of SQL."""
    return "'" + text.replace("'", "''") + "'"


def constant(sql: str, value: Any) -> Term:
    """Return a literal."""
    return Term(sql, lambda _: value)


# ---- order ----


def key(value: Any) -> Any:
    """Return what orders numbers as SQL does: exactly, and NaN above all."""
    if isinstance(value, np.floating):
        value = float(value)
    if isinstance(value, float):
        if math.isnan(value):
            return (2, 0)
        if math.isinf(value):
            return (1, 0) if value > 0 else (-1, 0)
        return (0, Fraction(value))
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return (0, Fraction(value))
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time())
    return value.encode() if isinstance(value, str) else value


SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def compared(a: Any, sign: str, b: Any) -> bool | None:
    """Compare two values as SQL does."""
    return None if a is None or b is None else SIGNS[sign](key(a), key(b))


def negated(value: bool | None) -> bool | None:
    """Return NOT of three values."""
    return None if value is None else not value


def conjunction(a: bool | None, b: bool | None) -> bool | None:
    """Return AND of three values."""
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def disjunction(a: bool | None, b: bool | None) -> bool | None:
    """Return OR of three values."""
    return negated(conjunction(negated(a), negated(b)))


# ---- terms ----

NUMBERS = ("i", "big", "tiny", "nat", "f", "f32", "d", "late")


class Maker:
    """Makes random filters."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def filter(self, depth: int = 2) -> Term:
        """Return a filter."""
        draw = self.draw
        if depth and draw.random() < 0.55:
            kind = draw.choice(["AND", "OR", "AND", "OR", "NOT", "IS", "CASE"])
            a = self.filter(depth - 1)
            if kind == "NOT":
                return Term(f"NOT ({a})", lambda row: negated(a.of(row)))
            if kind == "IS":
                return self.tested(a)
            b = self.filter(depth - 1)
            if kind == "CASE":
                c = self.filter(0)
                return Term(
                    f"(CASE WHEN {c} THEN {a} ELSE {b} END)",
                    lambda row: a.of(row) if c.of(row) else b.of(row),
                )
            join = conjunction if kind == "AND" else disjunction
            return Term(f"({a}) {kind} ({b})", lambda row: join(a.of(row), b.of(row)))
        simple = [
            self.numbers,
            self.numbers,
            self.among,
            self.between,
            self.strings,
            self.times,
            self.null,
            self.flag,
            self.lists,
            self.calculated,
            self.offset,
            self.columns,
        ]
        return draw.choice(simple)()

    def tested(self, a: Term) -> Term:
        """Return one of the tests that are never null."""
        word, want = self.draw.choice([("TRUE", True), ("FALSE", False), ("UNKNOWN", None)])
        if self.draw.random() < 0.5:
            return Term(f"({a}) IS {word}", lambda row: a.of(row) is want)
        return Term(f"({a}) IS NOT {word}", lambda row: a.of(row) is not want)

    def sign(self) -> str:
        """Return a comparison."""
        return self.draw.choice(list(SIGNS))

    def number(self, of: str) -> Term:
        """Return a literal that a column of numbers may be compared with."""
        draw = self.draw
        sql = draw.choice(
            [
                "0",
                "1",
                "-1",
                "5",
                "0.5",
                "-0.5",
                "1.0",
                "3",
                "127",
                "128",
                "1000",
                "0.1",
                "-7.25",
                "1e3",
                "1e300",
                "-1e300",
                "9007199254740993",
                "9223372036854775807",
                "-0.0",
                "9223372036854775808",
                "18446744073709551615",
                "0.105",
                "1.25",
                "-129",
                "300.0",
                "CAST('NaN' AS double)",
                "(1 + 1)",
                "(2 - 2.5)",
            ]
        )
        value: Any = {
            "CAST('NaN' AS double)": math.nan,
            "(1 + 1)": 2,
            "(2 - 2.5)": -0.5,
        }.get(sql)
        if value is None:
            value = int(sql) if re.fullmatch(r"-?\d+", sql) else float(sql)
        if of == "d" and isinstance(value, float) and math.isfinite(value):
            value = Decimal(repr(value))
        elif of == "f32" and not sql.startswith("CAST"):
            with np.errstate(over="ignore"):
                narrow = float(np.float32(value))
            value = narrow if math.isfinite(narrow) else value
        elif of == "f":
            value = float(value)
        return constant(sql, value)

    def numbers(self) -> Term:
        """Return a comparison of a column of numbers with a literal."""
        name = self.draw.choice(NUMBERS)
        a, sign, b = column(name), self.sign(), self.number(name)
        if self.draw.random() < 0.2:
            return Term(f"{b} {sign} {a}", lambda row: compared(b.of(row), sign, a.of(row)))
        return Term(f"{a} {sign} {b}", lambda row: compared(a.of(row), sign, b.of(row)))

    def offset(self) -> Term:
        """Return a comparison of the offset."""
        sign, value = self.sign(), self.draw.choice([0, 3, 17.5, -1, 1000])
        return Term(f"_offset {sign} {value}", lambda row: compared(row["_offset"], sign, value))

    def among(self) -> Term:
        """Return a list."""
        draw = self.draw
        if draw.random() < 0.3:
            name, values = (
                "s",
                [constant(quoted(s), s) for s in draw.sample(["a", "", "ä", "zz"], 2)],
            )
        else:
            name = draw.choice(NUMBERS)
            values = [self.number(name) for _ in range(draw.randint(1, 5))]
        if draw.random() < 0.2:
            values.append(constant("NULL", None))
        a = column(name)

        def says(row: Row) -> bool | None:
            said: bool | None = False
            for value in values:
                said = disjunction(said, compared(a.of(row), "=", value.of(row)))
            return said

        listed = ", ".join(map(str, values))
        if draw.random() < 0.4:
            return Term(f"{a} NOT IN ({listed})", lambda row: negated(says(row)))
        return Term(f"{a} IN ({listed})", says)

    def between(self) -> Term:
        """Return a range."""
        name = self.draw.choice(NUMBERS)
        a, low, high = column(name), self.number(name), self.number(name)

        def says(row: Row) -> bool | None:
            return conjunction(
                compared(a.of(row), ">=", low.of(row)), compared(a.of(row), "<=", high.of(row))
            )

        if self.draw.random() < 0.4:
            return Term(f"{a} NOT BETWEEN {low} AND {high}", lambda row: negated(says(row)))
        return Term(f"{a} BETWEEN {low} AND {high}", says)

    def strings(self) -> Term:
        """Return a test of a string."""
        draw = self.draw
        name = draw.choice(["s", "text"])
        a = column(name)
        part = draw.choice(
            ["a", "ab", "b", "", "cart", "Cart", "art po", "über", "it's", "_", "xyz"]
        )

        def on(sql: str, test: Callable[[str], Any]) -> Term:
            return Term(sql, lambda row: None if a.of(row) is None else test(a.of(row)))

        def like(pattern: str, flags: int) -> Callable[[str], bool]:
            regex = "".join(
                ".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern
            )
            return lambda text: re.fullmatch(regex, text, flags | re.DOTALL) is not None

        kind = draw.choice(
            [
                "LIKE",
                "ILIKE",
                "compare",
                "starts_with",
                "ends_with",
                "contains",
                "regexp_like",
                "length",
                "lower",
            ]
        )
        if kind in ("LIKE", "ILIKE"):
            pattern = draw.choice([part, f"{part}%", f"%{part}", f"%{part}%", f"_{part}%", "%a_b%"])
            test = like(pattern, re.IGNORECASE if kind == "ILIKE" else 0)
            if draw.random() < 0.4:
                return on(f"{a} NOT {kind} {quoted(pattern)}", lambda text: not test(text))
            return on(f"{a} {kind} {quoted(pattern)}", test)
        if kind == "compare":
            sign = self.sign()
            return on(f"{a} {sign} {quoted(part)}", lambda text: compared(text, sign, part))
        if kind == "length":
            return on(f"character_length({a}) = {len(part)}", lambda text: len(text) == len(part))
        if kind == "lower":
            return on(
                f"lower({a}) = {quoted(part.lower())}", lambda text: text.lower() == part.lower()
            )
        if kind == "regexp_like":
            pattern = draw.choice(["^a", "b$", "a.b", "art", "^$", "[ab]+"])
            return on(f"regexp_like({a}, '{pattern}')", lambda text: bool(re.search(pattern, text)))
        tests: dict[str, Callable[[str], bool]] = {
            "starts_with": lambda text: text.startswith(part),
            "ends_with": lambda text: text.endswith(part),
            "contains": lambda text: part in text,
        }
        return on(f"{kind}({a}, {quoted(part)})", tests[kind])

    def times(self) -> Term:
        """Return a comparison of a date, a time or a length of time."""
        draw = self.draw
        name = draw.choice(["t", "utc", "day", "clock", "took"])
        sign = self.sign()
        day = DAY + dt.timedelta(days=draw.randint(0, 4))
        moment = dt.datetime.combine(day, dt.time(draw.choice([0, 0, 12])))
        fraction = draw.choice(["", ".000001", ".0000005"])
        exact = Fraction(fraction or "0") * 10**6
        if name == "clock":
            hour = draw.randint(0, 23)
            text = f"{hour:02d}:00:00{fraction}"
            value: Any = hour * 3600 * 10**6 + exact
            written = draw.choice([f"time(9) '{text}'", quoted(text)])
        elif name == "took":
            seconds = draw.choice([-1, 0, 3, 60])
            value = Fraction(seconds * 10**6)
            written = draw.choice([f"interval '{seconds} seconds'", f"'{seconds} seconds'"])
        elif draw.random() < 0.3:
            value = micros(dt.datetime.combine(day, dt.time()))
            written = draw.choice([f"date '{day}'", f"'{day}'"])
        else:
            value = micros(moment) + exact
            text = f"{moment}{fraction}"
            written = draw.choice([f"timestamp(9) '{text}'", quoted(text)])
        a = column(name)

        def says(row: Row) -> bool | None:
            have = a.of(row)
            return None if have is None else SIGNS[sign](micros(have), value)

        return Term(f"{name} {sign} {written}", says)

    def null(self) -> Term:
        """Return a test for null."""
        a = column(self.draw.choice([*SCHEMA.names, LATE.name]))
        if self.draw.random() < 0.5:
            return Term(f"{a} IS NULL", lambda row: a.of(row) is None)
        return Term(f"{a} IS NOT NULL", lambda row: a.of(row) is not None)

    def flag(self) -> Term:
        """Return a use of a bool."""
        b = column("b")
        kind = self.draw.choice(["b", "is", "= true", "!= true"])
        if kind == "b":
            return Term("b", b.of)
        if kind == "is":
            return self.tested(b)
        sign = kind.split()[0]
        return Term(f"b {sign} true", lambda row: compared(b.of(row), sign, True))

    def lists(self) -> Term:
        """Return a test of a list."""
        draw = self.draw
        wanted = draw.sample("abcdez", draw.randint(1, 3))
        listed = "[" + ", ".join(map(quoted, wanted)) + "]"
        tags = column("tags")

        def on(sql: str, test: Callable[[list[str]], bool]) -> Term:
            return Term(sql, lambda row: None if tags.of(row) is None else test(tags.of(row)))

        kind = draw.choice(["array_has", "array_has_any", "array_has_all"])
        if kind == "array_has":
            return on(f"array_has(tags, {quoted(wanted[0])})", lambda have: wanted[0] in have)
        if kind == "array_has_any":
            return on(f"array_has_any(tags, {listed})", lambda have: bool({*wanted} & {*have}))
        return on(f"array_has_all(tags, {listed})", lambda have: {*wanted} <= {*have})

    def calculated(self) -> Term:
        """Return a comparison of a calculation, or of a cast."""
        draw = self.draw
        sign, n = self.sign(), draw.choice([1, 2, 3])
        value = draw.choice([0, 1, 2.5, -3])
        made: list[tuple[str, Callable[[int], Any]]] = [
            (f"i + {n}", lambda i: i + n),
            (f"i * {n} - 1", lambda i: i * n - 1),
            ("-i", lambda i: -i),
            (f"i / {n}", lambda i: int(Fraction(i, n))),
            (f"i % {n}", lambda i: int(math.fmod(i, n))),
            (f"i + {n}.5", lambda i: i + n + 0.5),
            ("i / 2.0", lambda i: i / 2),
            ("CAST(i AS double)", float),
            ("abs(i)", abs),
            ("CASE WHEN i > 0 THEN i ELSE 0 END", lambda i: max(i, 0)),
            ("coalesce(i, 1)", lambda i: i),
        ]
        sql, of = draw.choice(made)

        def says(row: Row) -> bool | None:
            i = row.get("i")
            if i is None and sql.startswith(("coalesce", "CASE")):
                i = 1 if sql.startswith("coalesce") else 0
            return None if i is None else compared(of(i), sign, value)

        return Term(f"{sql} {sign} {value}", says)

    def columns(self) -> Term:
        """Return a comparison of two columns."""
        a, b = self.draw.choice(
            [
                ("i", "f"),
                ("i", "tiny"),
                ("i", "d"),
                ("nat", "big"),
                ("f32", "f"),
                ("late", "i"),
                ("d", "f"),
                ("s", "text"),
                ("t", "day"),
                ("tiny", "nat"),
            ]
        )
        sign = self.sign()
        left, right = column(a), column(b)

        def says(row: Row) -> bool | None:
            x, y = left.of(row), right.of(row)
            if "f" in (a, b) and x is not None and y is not None:
                x, y = float(x), float(y)
            return compared(x, sign, y)

        return Term(f"{a} {sign} {b}", says)


def micros(value: Any) -> Fraction:
    """Return a time as microseconds."""
    if isinstance(value, dt.timedelta):
        return Fraction(value // dt.timedelta(microseconds=1))
    if isinstance(value, dt.time):
        return micros(dt.datetime.combine(dt.date.min, value) - dt.datetime.min)
    if not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    return micros(value.replace(tzinfo=None) - dt.datetime(1970, 1, 1))
