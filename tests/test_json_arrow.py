"""JSON that is handed over as Arrow is held to what can be stored exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from persisting import PersistingBackend, SchemaError

if TYPE_CHECKING:
    from pathlib import Path

JSON = {b"ARROW:extension:name": b"arrow.json", b"ARROW:extension:metadata": b""}


def documents(*texts: str) -> pa.RecordBatch:
    schema = pa.schema([pa.field("id", pa.int64()), pa.field("doc", pa.string(), metadata=JSON)])
    columns = [pa.array(range(len(texts)), pa.int64()), pa.array(texts, pa.string())]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


@pytest.mark.parametrize(
    "text", ["{", "", "NaN", '{"a": 1e400}', "123456789012345678901", '{"a": 1, "a": 2}']
)
async def test_json_that_cannot_be_held_is_refused_and_nothing_is_stored(
    tmp_path: Path, text: str
) -> None:
    async with PersistingBackend(0, tmp_path / "bucket") as backend:
        await backend.put_arrow(documents('{"sound": [1, 2.5, null]}'))
        with pytest.raises(SchemaError, match="doc"):
            await backend.put_arrow(documents("{}", text))
        await backend.flush()
        assert await backend.get(9, 0) == [{"id": 0, "doc": {"sound": [1, 2.5, None]}}]
