"""Values that came in as Arrow data and that Python has no object for: told, and gone past."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from persisting import LanceBackend, PersistingBackend
from persisting._cli import main
from persisting._errors import SchemaError
from persisting._records import RecordDecoder
from persisting._records._beyond import stand_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import Opener


def days(number: int) -> pa.Array:
    return pa.array([number], pa.int32()).view(pa.date32())


def times(number: int, kind: pa.DataType) -> pa.Array:
    wide = pa.int64() if kind.bit_width == 64 else pa.int32()
    return pa.array([number], wide).view(kind)


# Name -> the values, and what the command line makes of them.
BEYOND: dict[str, tuple[pa.Array, Any]] = {
    "infinity of DuckDB": (days(2**31 - 1), "+5881580-07-11"),
    "-infinity of DuckDB": (days(-(2**31) + 1), "-5877641-06-24"),
    "year 10000": (days(2932897), "+10000-01-01"),
    "year 0": (days(-719163), "0000-12-31"),
    "a year before": (days(-719529), "-0001-12-31"),
    "date64": (times(2**60, pa.date64()), "+36536598-01-28"),
    "seconds": (times(2**40, pa.timestamp("s")), "+36812-02-20T00:36:16"),
    "milliseconds": (times(2**50, pa.timestamp("ms")), "+37648-05-06T22:07:22.624"),
    "microseconds": (times(2**62, pa.timestamp("us")), "+148108-07-06T14:00:27.387904"),
    "UTC": (times(2**62, pa.timestamp("us", "UTC")), "+148108-07-06T14:00:27.387904+00:00"),
    "31 Dec 9999 UTC in India": (
        times(253402300799_000000, pa.timestamp("us", "Asia/Kolkata")),
        "9999-12-31T23:59:59+00:00",
    ),
    "year 1 west of Greenwich": (
        times(-62135596800_000000, pa.timestamp("us", "-05:00")),
        "0001-01-01T00:00:00+00:00",
    ),
    "time of 25 hours": (times(90_000, pa.time32("s")), "25:00:00"),
    "time below zero": (times(-1, pa.time64("us")), "-00:00:00.000001"),
    "time with nanoseconds": (times(1001, pa.time64("ns")), "00:00:00.000001001"),
    "duration": (times(2**62, pa.duration("s")), 2**62),
    "duration in ms": (times(9 * 10**18, pa.duration("ms")), 9 * 10**15),
}


def in_a_list(array: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), array)


def in_a_struct(array: pa.Array) -> pa.Array:
    return pa.StructArray.from_arrays([array], ["x"])


NESTED: dict[str, tuple[pa.Array, Any]] = {}
for name in ("year 10000", "microseconds", "31 Dec 9999 UTC in India", "duration"):
    array, text = BEYOND[name]
    NESTED[f"{name} in a list"] = in_a_list(array), [text]
    NESTED[f"{name} in a struct"] = in_a_struct(array), {"x": text}
    NESTED[f"{name} in a list of structs"] = in_a_list(in_a_struct(array)), [{"x": text}]


def told(error: SchemaError, name: str, offset: int) -> None:
    text = str(error)
    assert f"column {name!r}, offset {offset}:" in text
    assert "get_arrow" in text
    assert (error.column, error.offset) == (name, offset)


@pytest.mark.parametrize("place", ["memory", "table"])
@pytest.mark.parametrize("case", [*BEYOND, *NESTED])
async def test_a_value_beyond_python_is_told_and_gone_past(
    opening: Opener, bucket: Path, case: str, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    array, text = {**BEYOND, **NESTED}[case]
    backend = opening(PersistingBackend, bucket, cache_bytes=0, batch_size=2)
    await backend.put_batch([{"i": 0}, {"i": 1}, {"i": 2}])
    await backend.put_arrow(pa.table({"t": array}))
    await backend.put_batch([{"i": 4}, {"i": 5}])
    if place == "table":
        await backend.flush()
        await backend.aclose()
        backend = opening(PersistingBackend, bucket, cache_bytes=0, batch_size=2)

    gets: dict[str, Callable[[], Any]] = {
        "get": lambda: backend.get(9, 0),
        "get of one": lambda: backend.get(1, 3),
        "indices": lambda: backend.get_by_indices([5, 3, 0]),
    }
    for get in gets.values():
        with pytest.raises(SchemaError) as caught:
            await get()
        told(caught.value, "t", 3)
    found: list[int] = []

    async def follow(first: int) -> None:
        async for records in backend.get_stream(9, first):
            found.extend(r["i"] for r in records)

    with pytest.raises(SchemaError) as caught:
        await follow(0)
    told(caught.value, "t", 3)
    assert found == [0, 1, 2]
    await follow(4)
    assert found == [0, 1, 2, 4, 5]
    assert await backend.get(3, 0) == [{"i": 0}, {"i": 1}, {"i": 2}]
    assert await backend.get(9, 4) == [{"i": 4}, {"i": 5}]
    assert (await backend.get_arrow())["t"][3] == array[0]
    await backend.snapshot("now")
    with await backend.at(tag="now") as view:
        with pytest.raises(SchemaError) as caught:
            await view.get(5, 1)
        told(caught.value, "t", 3)
    await backend.aclose()

    capsys.readouterr()
    for command in (["head"], ["tail"], ["query", "--filter", "true"]):
        assert await asyncio.to_thread(main, [command[0], str(bucket), *command[1:], "--json"]) == 0
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [row["_offset"] for row in rows] == [*range(6)]
        assert rows[3]["t"] == text
        assert await asyncio.to_thread(main, [command[0], str(bucket), *command[1:]]) == 0
        line = capsys.readouterr().out.splitlines()[4]
        shown = text if isinstance(text, str) else json.dumps(text)
        assert shown in line.split("\t")
    file = bucket.with_name("rows.jsonl")
    assert await asyncio.to_thread(main, ["export", str(bucket), str(file)]) == 0
    assert json.loads(file.read_text().splitlines()[3])["t"] == text


async def test_of_many_rows_the_first_is_told(opening: Opener, bucket: Path) -> None:
    backend = opening(LanceBackend, bucket)
    numbers = [*range(3000)]
    for wrong in (1234, 2345, 2999):
        numbers[wrong] = 2**31 - 1
    kept = pa.array(numbers, pa.int32()).view(pa.date32())
    await backend.put_arrow(pa.table({"i": [*range(3000)], "d": kept}))
    with pytest.raises(SchemaError) as caught:
        await backend.get(3000, 0)
    told(caught.value, "d", 1234)
    with pytest.raises(SchemaError) as caught:
        await backend.get(3000, 1235)
    told(caught.value, "d", 2345)
    seen: list[int] = []
    offset, faults = 0, []
    while True:
        try:
            async for records in backend.get_stream(9999, offset):
                seen += [r["i"] for r in records]
        except SchemaError as error:
            faults.append(error.offset)
            offset = 1 + (error.offset or 0)
        else:
            break
    assert faults == [1234, 2345, 2999]
    assert seen == [n for n in range(3000) if n not in faults]


def test_stand_ins_are_what_python_gives_where_it_can() -> None:
    values = pa.array([-(2**31), -719162, 0, 1, 2932896], pa.int32()).view(pa.date32())
    assert [stand_in(value) for value in values][1:] == values[1:].to_pylist()
    batch = pa.record_batch({"d": values, "n": [*range(5)]})
    records = RecordDecoder(stand_ins=True).decode([batch])
    assert [r["n"] for r in records] == [*range(5)]
    assert records[0]["d"] == "-5877641-06-23"
    assert [r["d"] for r in records[1:]] == values[1:].to_pylist()
