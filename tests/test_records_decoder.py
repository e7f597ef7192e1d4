"""The decoder over time, and what it needs."""

from __future__ import annotations

import copy
import gc
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from persisting._errors import SchemaError
from persisting._records import RecordDecoder, RecordEncoder, strip, visible
from tests.records import JSON_METADATA, once, put


def test_strip_and_visible() -> None:
    batch = once({"a": 1, "b": None})
    assert visible(batch.schema) == pa.schema([("a", pa.int64())])
    assert visible(visible(batch.schema)) == visible(batch.schema)
    for data in batch, pa.Table.from_batches([batch]):
        assert strip(data).schema == visible(batch.schema)
        assert strip(strip(data)) == strip(data)


def test_decoder_meets_schema_after_schema() -> None:
    encoder = RecordEncoder()
    records: list[dict[str, Any]] = [{"a": 1}, {"b": {}}, {"a": None}, {"a": 2, "b": [1]}]
    batches = [put(encoder, record) for record in records]
    decoder = RecordDecoder()
    assert decoder.decode(batches) == records
    assert decoder.decode(iter(batches[::-1])) == records[::-1]


def test_decoder_tells_metadata_apart() -> None:
    array = once({"a": np.array([1])})
    plain = array.replace_schema_metadata(None).cast(pa.schema([("a", pa.list_(pa.int64()))]))
    assert plain.schema == array.schema
    got = RecordDecoder().decode([array, plain, array])
    assert [type(record["a"]) for record in got] == [np.ndarray, list, np.ndarray]


def test_decoded_values_are_not_shared() -> None:
    batch = once({"j": {"a": []}, "l": [1], "e": []})
    decoder = RecordDecoder()
    (one,), (two,) = decoder.decode([batch]), decoder.decode([batch])
    expected = copy.deepcopy(one)
    two["j"]["a"].append(1)
    two["l"].append(1)
    two["e"].append(1)
    assert one == expected


def test_the_garbage_collector_is_left_as_it_was() -> None:
    batch = pa.RecordBatch.from_pydict({"n": [*range(1000)]})
    broken = pa.RecordBatch.from_arrays(
        [pa.array(["{"] * 1000)],
        schema=pa.schema([pa.field("j", pa.string(), metadata=JSON_METADATA)]),
    )
    decoder = RecordDecoder()
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            decoder.decode([batch])
            assert gc.isenabled() is enabled
            with pytest.raises(SchemaError, match="char"):
                decoder.decode([broken])
            assert gc.isenabled() is enabled
        finally:
            gc.enable()


def test_numpy_and_pandas_are_not_imported() -> None:
    code = """
import sys
class Blocker:
    def find_spec(self, name, *rest):
        if name.split('.')[0] in ('numpy', 'pandas'):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocker())
from persisting._records import RecordEncoder, decode, normalise
import pyarrow as pa, datetime as dt, decimal
field = pa.field("n", pa.list_(pa.int8()), metadata={"persisting:kind": "ndarray"})
e = RecordEncoder(pa.schema([field]))
record = {"a": 1, "b": [1.5], "c": {"x": [None]}, "d": None, "e": dt.datetime.now(), "f": b"x",
          "g": True, "h": decimal.Decimal(1), "i": [[]], "j": ["x"]}
e.add([record, {}])
batch = e.finish()
assert decode([batch]) == [record, {}]
try:
    e.add([{"n": [1]}])
except TypeError:
    pass
else:
    raise AssertionError
assert decode(normalise(pa.table({"a": [1, None]}))) == [{"a": 1}, {"a": None}]
assert not {"numpy", "pandas"} & {name.split('.')[0] for name in sys.modules}
"""
    path = [entry for entry in sys.path if entry]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
