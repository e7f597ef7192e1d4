"""Time zones keep their names on the way through the engine."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from persisting import LanceBackend, PersistingBackend

if TYPE_CHECKING:
    from pathlib import Path

NOON = datetime(2026, 5, 4, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize("backend_class", [LanceBackend, PersistingBackend])
@pytest.mark.parametrize("zone", ["UTC", "+05:30", "-03:00", "Asia/Kolkata", None])
async def test_a_zone_comes_back(
    tmp_path: Path, backend_class: type[LanceBackend], zone: str | None
) -> None:
    stamp = pa.timestamp("us", zone)
    schema = pa.schema(
        [("at", stamp), ("in_list", pa.list_(stamp)), ("in_struct", pa.struct([("at", stamp)]))]
    )
    noon = NOON if zone else NOON.replace(tzinfo=None)
    given = pa.Table.from_pylist(
        [{"at": noon, "in_list": [noon, noon], "in_struct": {"at": noon}}], schema=schema
    )
    async with backend_class(0, tmp_path / "bucket") as backend:
        await backend.put_arrow(given)
        assert (await backend.get_arrow()).equals(given)
    async with backend_class(0, tmp_path / "bucket") as backend:
        assert (await backend.get_arrow()).equals(given)


async def test_offsets_of_datetimes_come_back(tmp_path: Path) -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    async with PersistingBackend(0, tmp_path / "bucket") as backend:
        await backend.put({"at": there})
        await backend.flush()
        ((got),) = await backend.get(1, 0)
        assert got["at"] == there
        assert got["at"].utcoffset() == there.utcoffset()
