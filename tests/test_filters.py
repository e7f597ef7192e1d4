"""Filters of each kind: types that meet, values that fail, words of SQL, searches for texts."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from persisting._errors import InvalidArgumentError, PersistingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from persisting import LanceBackend

UTC = dt.timezone.utc
BERLIN = "Europe/Berlin"

TYPED = pa.table(
    {
        "i": [0, 1, 2, None],
        "i8": pa.array([-128, 0, 127, None], pa.int8()),
        "u32": pa.array([0, 7, 2**32 - 1, None], pa.uint32()),
        "u64": pa.array([0, 2**63, 2**64 - 1, None], pa.uint64()),
        "f": [0.1, 0.5, 2.0, None],
        "f32": pa.array([0.1, 0.5, 2.0, None], pa.float32()),
        "price": pa.array([Decimal("0.10"), Decimal("1.50"), Decimal(2), None]),
        "took": [dt.timedelta(seconds=s) for s in (1, 90, 90_000)] + [None],
        "clock": [dt.time(3), dt.time(3, 0, 0, 1), dt.time(12), None],
        "day": [dt.date(2026, 11, d) for d in (22, 23, 24)] + [None],
        "t": [dt.datetime(2026, 11, 23, h) for h in (0, 10, 12)] + [None],
        "utc": [dt.datetime(2026, 11, 23, h, tzinfo=UTC) for h in (0, 10, 12)] + [None],
        "berlin": pa.array(
            [dt.datetime(2026, 11, 23, h, tzinfo=UTC) for h in (0, 10, 12)] + [None],
            pa.timestamp("us", BERLIN),
        ),
        "s": ["0.5", "x", "12", None],
    }
)

MEETING: list[tuple[str, list[int]]] = [
    ("i > 0.5", [1, 2]),
    ("0.5 < i", [1, 2]),
    ("i = 0.5", []),
    ("NOT (i = 0.5)", [0, 1, 2]),
    ("i != 0.5", [0, 1, 2]),
    ("i IN (0.0, 1.0, 0.5)", [0, 1]),
    ("i NOT IN (0.5)", [0, 1, 2]),
    ("i IN (0.5)", []),
    ("i IN (0, NULL)", [0]),
    ("i NOT IN (0, NULL)", []),
    ("i BETWEEN 0.5 AND 1.5", [1]),
    ("i NOT BETWEEN 0.5 AND 1e300", [0]),
    ("i < 1e300", [0, 1, 2]),
    ("i > 9223372036854775807.5", []),
    ("i IS DISTINCT FROM 0.5", [0, 1, 2, 3]),
    ("i IS NOT DISTINCT FROM 1.0", [1]),
    ("i + 0.5 > 1", [1, 2]),
    ("i = f * 2 - 0.2", [0]),
    ("i > price", []),
    ("i8 < 1000", [0, 1, 2]),
    ("i8 >= -128.5", [0, 1, 2]),
    ("i8 = 128", []),
    ("i8 > i", [2]),
    ("u32 > -1", [0, 1, 2]),
    ("u32 < 4294967296", [0, 1, 2]),
    ("u64 > -1", [0, 1, 2]),
    ("u64 >= 9223372036854775808", [1, 2]),
    ("u64 = 18446744073709551615", [2]),
    ("u64 IN (0, 9223372036854775808, -5)", [0, 1]),
    ("u64 > i", [1, 2]),
    ("f = 0.1", [0]),
    ("f > 0", [0, 1, 2]),
    ("f32 = 0.1", [0]),
    ("f32 < 1e300", [0, 1, 2]),
    ("f32 = 1e300", []),
    ("f = 2", [2]),
    ("price > 1.4", [1, 2]),
    ("price = 0.1", [0]),
    ("price = 0.1000000001", []),
    ("price IN (0.1, 2)", [0, 2]),
    ("price >= 2", [2]),
    ("price < i", []),
    ("_offset > 1.5", [2, 3]),
    ("_offset < 1e30", [0, 1, 2, 3]),
    ("_offset > -1", [0, 1, 2, 3]),
    ("_offset IN (0.0, 3)", [0, 3]),
    ("took > interval '3 seconds'", [1, 2]),
    ("took >= interval '1 day 1 hour'", [2]),
    ("took = '90 seconds'", [1]),
    ("took < interval '1 minute 30 seconds'", [0]),
    ("clock > time '03:00:00'", [1, 2]),
    ("clock > '03:00:00'", [1, 2]),
    ("clock >= time(9) '03:00:00.000000500'", [1, 2]),
    ("clock BETWEEN '03:00' AND '04:00'", [0, 1]),
    ("day = date '2026-11-23'", [1]),
    ("day >= '2026-11-23'", [1, 2]),
    ("day < timestamp '2026-11-23 00:00:01'", [0, 1]),
    ("day > timestamp '2026-11-23 00:00:01'", [2]),
    ("t >= timestamp '2026-11-23 10:00:00'", [1, 2]),
    ("t > '2026-11-23 10:00:00'", [2]),
    ("t > date '2026-11-23'", [1, 2]),
    ("t >= day", [0, 1]),
    ("t BETWEEN '2026-11-23' AND '2026-11-23T10:00:00'", [0, 1]),
    ("utc >= timestamp '2026-11-23 10:00:00'", [1, 2]),
    ("utc = '2026-11-23 11:00:00+01:00'", [1]),
    ("utc > timestamp with time zone '2026-11-23 11:00:00+01:00'", [2]),
    ("berlin = timestamp '2026-11-23 11:00:00'", [1]),
    ("berlin = '2026-11-23T10:00:00Z'", [1]),
    ("berlin = utc", [0, 1, 2]),
    ("t - t < interval '1 second'", [0, 1, 2]),
    ("CAST(s AS string) = '12'", [2]),
    ("TRY_CAST(s AS double) > 0.1", [0, 2]),
    ("CASE WHEN i = 1 THEN 0.5 ELSE 2 END < 1", [1]),
    ("(i > 0) IS UNKNOWN", [3]),
]

INDEXES = {"btree": ["i", "i8", "u32", "u64", "f", "f32", "price", "day", "t", "utc", "clock"],
           "bitmap": ["i", "i8", "u32", "u64", "day", "t"],
           "zonemap": ["i", "i8", "u64", "f", "day", "t"]}  # fmt: skip


@pytest.mark.parametrize("kind", [None, *INDEXES])
async def test_values_of_different_types_meet(backend: LanceBackend, kind: str | None) -> None:
    await backend.put_arrow(TYPED)
    for column in INDEXES.get(kind or "", []):
        await backend.create_index(column, kind or "")
    faults = []
    for where, want in MEETING:
        try:
            found = (await backend.query(where, columns=[], with_offset=True))["_offset"]
            if (have := found.to_pylist()) != want or await backend.count(where) != len(want):
                faults.append(f"{where}: {have}, want {want}")
        except PersistingError as e:
            faults.append(f"{where}: {e}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("where", ["i > 0.5", "i8 < 1000", "u64 > 9223372036854775807.5",
                                   "i = 1.0", "day > '2026-11-23'",
                                   "price > 1.4", "u64 IN (5, 7.0)"])  # fmt: skip
async def test_a_constant_of_another_type_does_not_cost_the_index(
    backend: LanceBackend, where: str
) -> None:
    await backend.put_arrow(TYPED)
    await backend.create_index(where.split()[0])
    if where != "i8 < 1000":
        assert "ScalarIndexQuery" in await backend.explain(where)
    assert await backend.count(where) == (await backend.query(where, use_index=False)).num_rows


REFUSED = [
    ("10 / i > 2", "Divide by zero"),
    ("i % (i - 1) = 0", "Divide by zero"),
    ("10 / 0 > 2", "Divide by zero"),
    ("CAST(s AS int) > 1", "Cannot cast string"),
    ("CAST(s AS timestamp) > t", "'x'|Error parsing"),
    ("regexp_match(s, '(') IS NOT NULL", "unclosed group"),
    ("regexp_like(s, '(')", "unclosed group"),
    ("s ~ '('", "unclosed group|[Rr]egular"),
    ("i = 'x'", "i is Int64 and 'x' a string: write the number without quotes"),
    ("'x' = i", "i is Int64 and 'x' a string"),
    ("i IN (1, 'x')", "i is Int64 and 'x' a string"),
    ("i BETWEEN 'a' AND 'b'", "i is Int64 and 'a' a string"),
    ("i + 1 = '2'", "and '2' a string"),
    ("s = 5", "s is a string and 5 a number: write the number in single quotes"),
    ("s IN ('x', 5)", "s is a string and 5 a number"),
    ("t > '2026'", r"t is Timestamp.* and '2026' is none: write timestamp '2026-11-23 10:00:00'"),
    ("day > 'soon'", "write date '2026-11-23'"),
    ("clock > 'noon'", "write time '10:00:00'"),
    ("took > 'long'", "write interval '90 seconds'"),
    ("took > interval '1 month'", "months and years have no fixed length"),
    ("s = \"x\"", "double quotes at Line: 1, Column: 5: write a string as 'x' and a name as `x`"),
    ('"s" = \'x\'', "double quotes at Line: 1, Column: 1"),
    ("i IN (SELECT 1)", "SELECT in an expression is not possible"),
    ("EXISTS (SELECT 1)", "SELECT in an expression is not possible"),
    ("i = $1", r"\$1 stands for a value"),
    ("i = ?", r"\? stands for a value"),
    ("sum(i) > 1", "Invalid function 'sum'"),
    ("row_number() OVER () > 1", "row_number|not possible|[Ww]indow"),
    ("i = N'x' OR X'zz' = s", "."),
    ("count(*) > 1", "count"),
    ("* > 1", "."),
]  # fmt: skip


@pytest.mark.parametrize(("where", "message"), REFUSED)
async def test_what_fails_is_told_as_a_fault_of_the_filter(
    backend: LanceBackend, where: str, message: str
) -> None:
    await backend.put_arrow(TYPED)
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: backend.count(where),
        lambda: backend.query(where),
        lambda: backend.query(where, order_by="i"),
        lambda: backend.delete(where),
        lambda: backend.add_column("more", expression=where),
        lambda: backend.search("x", "s", filter=where),
    ]
    for call in calls:
        with pytest.raises(InvalidArgumentError, match=message):
            await call()
    assert await backend.count("i >= 0") == 3
    assert "more" not in backend.schema.names


async def test_json_of_another_shape_is_null(backend: LanceBackend) -> None:
    shapes: list[Any] = [3, "three", None, [3], {"a": 3}, 3.5, True]
    await backend.put_batch([{"i": i, "info": {"x": x}} for i, x in enumerate(shapes)])
    await backend.put_batch([{"i": 7, "info": {}}, {"i": 8, "info": [{"x": 3}]}, {"i": 9}])
    for where, want in (
        ("json_get_int(info, 'x') = 3", [0]),
        ("json_get_int(info, 'x') > 2.5", [0]),
        ("json_get_float(info, 'x') > 3", [5]),
        ("json_get_string(info, 'x') = 'three'", [1]),
        ("json_get_bool(info, 'x')", [6]),
        ("json_get_string(info, 'x') IS NULL", [2, 3, 4, 7, 8, 9]),
    ):
        found = await backend.query(where, columns=["i"])
        assert found["i"].to_pylist() == want, where
    await backend.add_column("x", expression="json_get_int(info, 'x')")
    assert (await backend.query("x = 3"))["i"].to_pylist() == [0]
    assert await backend.delete("json_get_int(info, 'x') = 3") == 1


async def test_words_of_sql_as_names(backend: LanceBackend) -> None:
    words = ["current_date", "all", "select", "user", "date", "value", "end", "is", "key"]
    await backend.put_batch([dict.fromkeys(words, i) for i in range(4)])
    for word in words:
        assert await backend.count(f"`{word}` >= 2") == 2
        assert await backend.count(f"1 = `{word}`") == 1
    for where in ("user >= 2", "date >= 2", "value >= 2", "key >= 2", "end >= 2"):
        assert await backend.count(where) == 2
    for where, word in (
        ("current_date >= 2", "current_date"),
        ("1 = all", "all"),
        ("(select = 1)", "select"),
    ):
        calls = (backend.count, backend.query, backend.delete)
        for call in calls:
            with pytest.raises(InvalidArgumentError, match=f"write the column as `{word}`"):
                await call(where)
        with pytest.raises(InvalidArgumentError, match=f"write the column as `{word}`"):
            await backend.add_column("more", expression=where)
    assert await backend.count("current_date() > date '2020-01-01'") == 4
    assert await backend.count("`date` >= 0 AND date '2026-11-23' > date '2026-11-22'") == 4


# ---- texts ----

TEXTS = ["Cart pole", "cart pole falls over", "CART", "the carts", "Über den Wagen", "uber",
         "a_cart/pole", "", "x" * 50 + " cart", "pole; pole, pole"]  # fmt: skip
SEARCHES = ["cart", "Cart", "caRT", "carts", "pole cart", "über", "UBER", "the", "falls-over",
            "", "wagen", "x" * 50, "nothing"]  # fmt: skip


async def found(backend: LanceBackend, text: str, columns: Any = "t", **options: Any) -> Any:
    table = await backend.search(text, columns, 100, columns=["i"], **options)
    return dict(zip(table["i"].to_pylist(), table["_score"].to_pylist(), strict=True))


async def test_texts_are_found_alike_with_an_index_and_without(backend: LanceBackend) -> None:
    await backend.put_batch([{"i": i, "t": t, "a.b": t[::-1]} for i, t in enumerate(TEXTS)])
    await backend.put({"i": 99})
    asked: list[tuple[str, Any, dict[str, Any]]] = [(text, "t", {}) for text in SEARCHES]
    asked += [(text, ["t", "a.b"], {}) for text in SEARCHES]
    asked += [(text, "t", {"filter": "i > 1 AND i < 9"}) for text in SEARCHES]
    asked += [("trac", "a.b", {})]
    before = [await found(backend, text, of, **options) for text, of, options in asked]
    assert len(before[0]) == len(before[1]) == len(before[2]) > 4
    await backend.create_index("t", "inverted")
    half = [await found(backend, text, of, **options) for text, of, options in asked]
    await backend.create_index("a.b", "inverted")
    after = [await found(backend, text, of, **options) for text, of, options in asked]
    for (text, of, options), plain, one, both in zip(asked, before, half, after, strict=True):
        assert plain.keys() == one.keys() == both.keys(), (text, of, options)
        if not options:
            assert plain == pytest.approx(both, rel=1e-4), (text, of)
    await backend.put_batch([{"i": 100, "t": "CART again"}, {"i": 101, "t": "none"}])
    assert (await found(backend, "cart")).keys() == {*before[0], 100}
    await backend.drop_index("t_idx")
    assert (await found(backend, "cart")).keys() == {*before[0], 100}
