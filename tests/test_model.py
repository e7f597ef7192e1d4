"""A state machine drives a backend and Pulsing's MemoryBackend, which must not differ."""

from __future__ import annotations

import asyncio
import copy
import operator
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pulsing.streaming.backend import MemoryBackend

from persisting import LanceBackend, PersistingBackend, SchemaError
from persisting._errors import NotFoundError, RemovedError
from tests.columns import Columns, Refused, exact
from tests.support import QUIET

KEYS = ("n", "big", "text", "mixed", "a.b", "A", "a", "", "_rowid", "ü\n`x`")

small = st.integers(-100, 100)
floats = st.integers(-400, 400).map(lambda n: n / 4)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | small | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
hollow: st.SearchStrategy[Any] = st.sampled_from([None, [], [None], [[]], [[], None]])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": small | floats,
    "big": st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, 2**53 + 1]),
    "text": texts,
    "mixed": small | texts | st.booleans() | st.binary(max_size=3) | st.lists(small, max_size=2),
    "a.b": st.dictionaries(texts, json_values, max_size=3),
    "A": st.lists(json_values, max_size=3),
    "a": st.lists(small, max_size=3) | st.lists(floats, max_size=3),
    "": st.lists(st.lists(small | st.none(), max_size=2), max_size=2),
    "_rowid": floats,
    "ü\n`x`": st.booleans(),
}
records = st.fixed_dictionaries({}, optional={key: hollow | VALUES[key] for key in KEYS})
indices = st.integers(-40, 400)
vectors = st.lists(st.integers(-8, 8).map(float), min_size=2, max_size=2)
VECTOR = "fixed_size_list<float>[2]"
WORDS = ("cart", "pole", "falls")


class Machine(RuleBasedStateMachine):
    """A backend, the model, and what is known of the columns and of the disk."""

    cls: ClassVar[type[LanceBackend]]
    options: ClassVar[dict[str, Any]]
    loses: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp())
        self.model = MemoryBackend(0)
        self.columns = Columns()
        self.safe = 0  # rows that a kill does not lose
        self.gone: set[int] = set()  # offsets whose records were removed
        self.tagged: tuple[list[dict[str, Any]], set[int], dict[str, str]] | None = None
        self.copies = 0

    @initialize(cache=st.sampled_from([0, 2**26]))
    def open_first(self, cache: int) -> None:
        self.chosen = {**QUIET, **self.options, "cache_bytes": cache}
        self.path = self.root / "0"
        self.open()

    def open(self) -> None:
        self.backend = self.cls(0, self.path, **self.chosen)

    def run(self, coroutine: Any) -> Any:
        async def in_time() -> Any:
            return await asyncio.wait_for(coroutine, 60)

        return self.loop.run_until_complete(in_time())

    def teardown(self) -> None:
        if hasattr(self, "backend"):
            self.run(self.backend.aclose())
        self.loop.close()
        shutil.rmtree(self.root)

    # ---- writing ----

    def accept(self, put: list[dict[str, Any]]) -> bool:
        """Give the model a put, unless the contract refuses it."""
        before = self.columns.kinds
        try:
            self.columns.take(put, [record for _, record in self.left()])
        except Refused:
            return False
        if any(before[key] != self.columns.kinds[key] for key in self.indexed() if key in before):
            self.columns.kinds = before
            return False
        self.run(self.model.put_batch(put))
        return True

    def store(self, coroutine: Any, put: list[dict[str, Any]]) -> None:
        if self.accept(put):
            self.run(coroutine)
        else:
            with pytest.raises(SchemaError):
                self.run(coroutine)

    @rule(record=records)
    def put(self, record: dict[str, Any]) -> None:
        self.store(self.backend.put(record), [record])

    @rule(put=st.lists(records, max_size=4))
    def put_batch(self, put: list[dict[str, Any]]) -> None:
        self.store(self.backend.put_batch(put), put)

    @rule(record=records, count=st.integers(50, 130))
    def put_many(self, record: dict[str, Any], count: int) -> None:
        self.store(self.backend.put_batch([record] * count), [record] * count)

    @rule(puts=st.lists(st.lists(records, min_size=1, max_size=2), min_size=2, max_size=6))
    def put_at_once(self, puts: list[list[dict[str, Any]]]) -> None:
        async def gather() -> list[Any]:
            return await asyncio.gather(
                *(
                    self.backend.put(put[0]) if len(put) == 1 else self.backend.put_batch(put)
                    for put in puts
                ),
                return_exceptions=True,
            )

        found = self.run(gather())
        accepted = [self.accept(put) for put in puts]
        assert [end is None for end in found] == accepted, found
        assert all(end is None or isinstance(end, SchemaError) for end in found)

    @rule(
        values=st.lists(small | st.none(), min_size=1, max_size=3),
        key=st.sampled_from(["n", "text"]),
    )
    def put_arrow(self, values: list[int | None], key: str) -> None:
        put = [{key: value} for value in values]
        kind = pa.int64()
        if self.columns.kinds.get(key) == "double":
            kind = pa.float64()
        elif key == "text":
            kind = pa.string()
            texts: list[Any] = [None if value is None else str(value) for value in values]
            put = [{key: text} for text in texts]
        table = pa.table({key: pa.array([record[key] for record in put], kind)})
        self.store(self.backend.put_arrow(table), put)
        if all(value is None for value in values):
            self.columns.kinds.setdefault(key, str(kind))

    @rule(values=st.lists(vectors | st.none(), min_size=1, max_size=3))
    def put_vectors(self, values: list[list[float] | None]) -> None:
        table = pa.table({"vector": pa.array(values, pa.list_(pa.float32(), 2))})
        self.run(self.backend.put_arrow(table))
        self.columns.kinds["vector"] = VECTOR
        self.run(self.model.put_batch([{"vector": value} for value in values]))

    @rule(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=4))
    def put_words(self, words: list[str]) -> None:
        self.store(self.backend.put({"text": ", ".join(words)}), [{"text": ", ".join(words)}])

    # ---- indexes and queries ----

    def indexed(self) -> list[str]:
        return [index["column"] for index in self.run(self.backend.list_indexes())]

    def comparable(self, key: str) -> bool:
        return self.columns.kinds.get(key) in ("int64", "double", "string")

    @precondition(lambda self: self.comparable("n") and self.model.buffer)
    @rule(kind=st.sampled_from(["btree", "bitmap", "zonemap"]))
    def create_index(self, kind: str) -> None:
        if "n" not in self.indexed():
            self.drop_indexes()  # one that followed its column to another name
        self.run(self.backend.create_index("n", kind, name="found", replace=True))
        assert "n" in self.indexed()
        self.safe = len(self.model.buffer)

    @precondition(lambda self: self.columns.kinds.get("text") == "string" and self.model.buffer)
    @rule()
    def create_text_index(self) -> None:
        if "text" not in self.indexed():
            self.drop_indexes()  # one that followed its column to another name
        self.run(self.backend.create_index("text", "inverted", name="words", replace=True))
        assert "text" in self.indexed()
        self.safe = len(self.model.buffer)

    @precondition(lambda self: hasattr(self, "backend") and self.indexed())
    @rule()
    def drop_indexes(self) -> None:
        for index in self.run(self.backend.list_indexes()):
            self.run(self.backend.drop_index(index["name"]))

    @precondition(lambda self: self.comparable("n"))
    @rule(
        compare=st.sampled_from(["=", "!=", "<", ">="]),
        value=small,
        limit=st.none() | st.integers(0, 5),
        offset=st.integers(0, 5),
        order=st.sampled_from([None, "n", ("n", "desc")]),
    )
    def query(self, compare: str, value: int, limit: int | None, offset: int, order: Any) -> None:
        says = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, ">=": operator.ge}[compare]
        passed = [
            (i, record["n"])
            for i, record in self.left()
            if type(record.get("n")) in (int, float) and says(record["n"], value)
        ]
        where = f"n {compare} {value}"
        assert self.run(self.backend.count(where)) == len(passed)
        if order is not None:
            passed.sort(key=lambda row: row[1] if order == "n" else -row[1])
        stop = None if limit is None else offset + limit
        options = {"limit": limit, "offset": offset, "order_by": order}
        table = self.run(self.backend.query(where, columns=["n"], with_offset=True, **options))
        assert [*zip(*table.to_pydict().values(), strict=True)] == [
            (n, i) for i, n in passed[offset:stop]
        ]
        self.safe = len(self.model.buffer)

    @precondition(lambda self: self.columns.kinds.get("text") == "string")
    @rule(word=st.sampled_from(WORDS))
    def search_text(self, word: str) -> None:
        have = {
            offset
            for offset, record in self.left()
            if isinstance(record.get("text"), str) and word in record["text"].split(", ")
        }
        found = self.run(self.backend.search(word, "text", 1000, columns=[], with_offset=True))
        assert sorted(found["_offset"].to_pylist()) == sorted(have)
        self.safe = len(self.model.buffer)

    @precondition(lambda self: self.columns.kinds.get("vector") == VECTOR)
    @rule(near=vectors, k=st.integers(1, 6))
    def search_vectors(self, near: list[float], k: int) -> None:
        away = {
            offset: sum((a - b) ** 2 for a, b in zip(record["vector"], near, strict=True))
            for offset, record in self.left()
            if record.get("vector") is not None
        }
        found = self.run(self.backend.search(near, "vector", k, columns=[], with_offset=True))
        offsets, distances = found["_offset"].to_pylist(), found["_distance"].to_pylist()
        assert [away[offset] for offset in offsets] == distances == sorted(away.values())[:k]
        assert len({*offsets}) == len(offsets)
        self.safe = len(self.model.buffer)

    # ---- changes ----

    def left(self) -> list[tuple[int, dict[str, Any]]]:
        """Return the records that were not removed, with their offsets."""
        records = enumerate(self.model.buffer)
        return [(offset, record) for offset, record in records if offset not in self.gone]

    @rule(key=st.sampled_from(["x", "y", "a.c"]), default=st.sampled_from([7, 0.5, "t", [1]]))
    def add_column(self, key: str, default: Any) -> None:
        kinds: dict[type, str] = {int: "int64", float: "double", str: "string", list: "list<int64>"}
        if key in self.columns.kinds:
            with pytest.raises(SchemaError):
                self.run(self.backend.add_column(key, default=default))
            return
        self.run(self.backend.add_column(key, default=default))
        self.columns.kinds[key] = kinds[type(default)]
        for _, record in self.left():
            record[key] = default
        self.safe = len(self.model.buffer)

    @precondition(lambda self: len(self.columns.kinds) > 1)
    @rule(data=st.data())
    def drop_column(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.columns.kinds)))
        if self.indexed():  # the column that stays may have to be written anew
            self.drop_indexes()
        self.run(self.backend.drop_column(key))
        del self.columns.kinds[key]
        for record in self.model.buffer:
            record.pop(key, None)
        self.safe = len(self.model.buffer)

    @precondition(lambda self: self.columns.kinds)
    @rule(data=st.data(), to=st.sampled_from(["x", "z", "ä b"]))
    def rename_column(self, data: st.DataObject, to: str) -> None:
        key = data.draw(st.sampled_from(sorted(self.columns.kinds)))
        if to in self.columns.kinds or any(to in record for record in self.model.buffer):
            return
        self.run(self.backend.rename_column(key, to))
        self.columns.kinds[to] = self.columns.kinds.pop(key)
        for record in self.model.buffer:
            if key in record:
                record[to] = record.pop(key)
        self.safe = len(self.model.buffer)

    def remove(self, offsets: set[int], coroutine: Any) -> None:
        assert self.run(coroutine) == len(offsets)
        self.gone |= offsets
        self.safe = len(self.model.buffer)

    @precondition(lambda self: self.columns.kinds.get("n") in ("int64", "double"))
    @rule(least=small)
    def delete(self, least: int) -> None:
        found = {
            i for i, r in self.left() if isinstance(r.get("n"), int | float) and r["n"] >= least
        }
        self.remove(found, self.backend.delete(f"n >= {least}"))

    @precondition(lambda self: self.model.buffer)
    @rule(data=st.data())
    def truncate_before(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, len(self.model.buffer)))
        found = {i for i, _ in self.left() if i < offset}
        self.remove(found, self.backend.truncate_before(offset))

    @precondition(lambda self: self.model.buffer)
    @rule(rows=st.integers(1, 200))
    def retain(self, rows: int) -> None:
        self.run(self.backend.aclose())
        self.backend = self.cls(0, self.path, **self.chosen, retention_rows=rows)
        self.run(self.backend.compact())
        self.gone |= {offset for offset, _ in self.left()[:-rows]}
        self.reopen()

    @precondition(lambda self: self.model.buffer and self.tagged is None)
    @rule()
    def snapshot(self) -> None:
        self.run(self.backend.snapshot("kept"))
        state = (self.model.buffer, self.gone, self.columns.kinds)
        self.tagged = copy.deepcopy(state)
        self.safe = len(self.model.buffer)

    @precondition(lambda self: self.tagged is not None)
    @rule(back=st.booleans())
    def go_back(self, back: bool) -> None:
        assert self.tagged is not None
        buffer, gone, kinds = self.tagged
        with self.run(self.backend.at(tag="kept")) as view:
            assert (view.total_count(), view.row_count()) == (len(buffer), len(buffer) - len(gone))
        if back:
            self.run(self.backend.restore(tag="kept"))
            later = self.model.buffer[len(buffer) :]
            self.gone = gone | {*range(len(buffer), len(buffer) + len(later))}
            self.model.buffer[:] = buffer + later
            self.columns.kinds = kinds
            self.safe = len(self.model.buffer)
        self.run(self.backend.untag("kept"))
        self.tagged = None

    @precondition(lambda self: self.model.buffer)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        offset = data.draw(st.integers(0, len(self.model.buffer)))
        self.run(self.backend.commit("one", offset))
        assert self.run(self.backend.committed("one")) == offset
        if self.loses:
            self.safe = max(self.safe, offset)

    # ---- reading ----

    def run_from(self, offset: int, limit: int) -> list[dict[str, Any]]:
        """Return what a get from an offset gives that is left: the records up to a removed one."""
        stop = next((i for i in range(offset, offset + limit) if i in self.gone), offset + limit)
        found: list[dict[str, Any]] = self.model.buffer[offset:stop]
        return found

    def same(self, found: list[dict[str, Any]], want: list[dict[str, Any]]) -> None:
        assert len(found) == len(want)
        for one, record in zip(found, want, strict=True):
            two = self.columns.seen(record)
            differing = {
                key: (one.get(key, "absent"), two.get(key, "absent"))
                for key in one.keys() | two.keys()
                if key not in one or key not in two or exact(one[key]) != exact(two[key])
            }
            assert not differing

    @rule(limit=indices, offset=indices)
    def get(self, limit: int, offset: int) -> None:
        start, stop, _ = slice(offset, offset + limit).indices(len(self.model.buffer))
        if start < stop and start in self.gone:
            with pytest.raises(RemovedError) as caught:
                self.run(self.backend.get(limit, offset))
            left = [i for i, _ in self.left() if i > start]
            assert caught.value.first == min(left, default=len(self.model.buffer))
            return
        want = self.run_from(start, max(stop - start, 0))
        self.same(self.run(self.backend.get(limit, offset)), want)

    @rule(limit=indices, offset=indices)
    def get_stream(self, limit: int, offset: int) -> None:
        async def read(backend: Any) -> list[list[dict[str, Any]]]:
            return [batch async for batch in backend.get_stream(limit, offset)]

        if self.gone:
            return
        found = self.run(read(self.backend))
        if offset < 0:  # from the end on, where the memory backend begins anew at 0
            want = self.model.buffer[offset:][: max(limit, 0)]
            self.same([record for batch in found for record in batch], want)
            return
        want = self.run(read(self.model))
        assert [len(batch) for batch in found] == [len(batch) for batch in want]
        for one, two in zip(found, want, strict=True):
            self.same(one, two)

    @rule(offsets=st.lists(st.integers(0, 300), max_size=6))
    def get_by_indices(self, offsets: list[int]) -> None:
        total = len(self.model.buffer)
        if all(offset < total and offset not in self.gone for offset in offsets):
            found = self.run(self.backend.get_by_indices(offsets))
            self.same(found, [self.model.buffer[offset] for offset in offsets])
        else:
            with pytest.raises(NotFoundError):
                self.run(self.backend.get_by_indices(offsets))

    @rule()
    def get_all(self) -> None:
        offset, total = self.backend.first_offset(), len(self.model.buffer)
        found: dict[int, dict[str, Any]] = {}
        while offset < total:
            records = self.run(self.backend.get(10**6, offset))
            found |= enumerate(records, offset)
            offset = self.backend.first_offset(offset + len(records))
        assert [*found] == [i for i, _ in self.left()]
        self.same([*found.values()], [record for _, record in self.left()])

    @rule(limit=st.none() | indices, offset=indices)
    def get_arrow(self, limit: int | None, offset: int) -> None:
        table = self.run(self.backend.get_arrow(limit, offset))
        table.validate(full=True)
        total = len(self.model.buffer)
        stop = total if limit is None else offset + limit
        start, stop, _ = slice(offset, stop).indices(total)
        assert table.num_rows == sum(i not in self.gone for i in range(start, stop))

    # ---- upkeep ----

    @rule()
    def flush(self) -> None:
        self.run(self.backend.flush())
        self.safe = len(self.model.buffer)

    @rule()
    def compact(self) -> None:
        self.run(self.backend.compact())

    @rule()
    def reopen(self) -> None:
        self.run(self.backend.aclose())
        self.safe = len(self.model.buffer)
        self.open()
        assert self.columns_of_backend() == self.columns.kinds

    @rule()
    def kill(self) -> None:
        """Go on with a copy of the directory, as a killed process would have left it."""
        self.copies += 1
        left, self.path = self.path, self.root / str(self.copies)
        shutil.copytree(left, self.path)
        self.run(self.backend.aclose())
        shutil.rmtree(left)
        self.open()
        if self.loses:
            kept = self.backend.total_count()
            assert self.safe <= kept <= len(self.model.buffer)
            del self.model.buffer[kept:]
            self.columns.kinds = self.columns_of_backend()
            self.safe = kept
        else:
            assert self.columns_of_backend() == self.columns.kinds
        self.get_all()

    def columns_of_backend(self) -> dict[str, str]:
        return Columns.of(self.run(self.backend.get_arrow(0)).schema).kinds

    @invariant()
    @precondition(lambda self: hasattr(self, "backend"))
    def counts_agree(self) -> None:
        total = len(self.model.buffer)
        assert self.backend.total_count() == self.model.total_count() == total
        stats = self.run(self.backend.stats())
        assert stats["total_count"] == total
        assert stats["row_count"] == total - len(self.gone)
        assert stats["buffer_size"] + stats["persisted_count"] == total
        assert stats["persisted_count"] >= self.safe


class LanceMachine(Machine):
    cls, options, loses = LanceBackend, {}, True


class SyncedMachine(Machine):
    cls, options = PersistingBackend, {"wal_sync_interval": 0}


class WrittenMachine(Machine):
    cls, options = PersistingBackend, {"wal_sync_interval": 1.0, "wal_compression": "zstd"}


NORMAL = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
LONG = settings(NORMAL, max_examples=1500, stateful_step_count=60)

MACHINES = [LanceMachine, SyncedMachine, WrittenMachine]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_a_backend_does_what_the_memory_backend_does(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=NORMAL)


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_a_backend_does_what_the_memory_backend_does_for_long(machine: type[Machine]) -> None:
    run_state_machine_as_test(machine, settings=LONG)
