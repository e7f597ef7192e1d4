"""Queries and indexes: answers against plain Python, against pylance, and misuse."""

from __future__ import annotations

import asyncio
import operator
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from persisting import LanceBackend, PersistingBackend, SchemaError
from persisting._errors import ClosedError, InvalidArgumentError, NotFoundError
from persisting._loop import threads as loop_threads
from persisting.queue import _queries
from tests.support import QUIET, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support import Opener

# ---- filters against a model ----

KEYS = ("n", "s", "a.b", "f`x", "_rowid", "É s")
NAMES = {"n": "n", "s": "s", "a.b": "`a.b`", "f`x": "`f``x`", "_rowid": "_rowid", "É s": "`É s`"}

numbers = st.integers(-3, 3)
letters = st.sampled_from(["", "a", "b", "it's", "`", "_offset"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": numbers,
    "s": letters,
    "a.b": numbers,
    "f`x": numbers.map(lambda n: n / 2),
    "_rowid": numbers,
    "É s": letters,
}
records = st.fixed_dictionaries({"id": st.just(0)}, optional=VALUES)

COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Filter:
    """An SQL filter, and what it says of a record: True, False or None."""

    def __init__(self, sql: str, says: Callable[[dict[str, Any]], bool | None]) -> None:
        self.sql, self.says = sql, says

    def __repr__(self) -> str:
        return self.sql


def literal(value: Any) -> str:
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def compared(key: str, sign: str, value: Any) -> Filter:
    def says(record: dict[str, Any]) -> bool | None:
        have = record.get(key)
        return None if have is None else COMPARE[sign](have, value)

    return Filter(f"{NAMES[key]} {sign} {literal(value)}", says)


def among(key: str, values: list[Any]) -> Filter:
    def says(record: dict[str, Any]) -> bool | None:
        have = record.get(key)
        return None if have is None else have in values

    return Filter(f"{NAMES[key]} IN ({', '.join(map(literal, values))})", says)


def is_null(key: str) -> Filter:
    return Filter(f"{NAMES[key]} IS NULL", lambda record: record.get(key) is None)


def offsets(sign: str, value: int) -> Filter:
    return Filter(f"_offset {sign} {value}", lambda record: COMPARE[sign](record["id"], value))


def both(a: Filter, b: Filter) -> Filter:
    def says(record: dict[str, Any]) -> bool | None:
        left, right = a.says(record), b.says(record)
        return False if left is False or right is False else left and right

    return Filter(f"({a.sql}) AND ({b.sql})", says)


def either(a: Filter, b: Filter) -> Filter:
    def says(record: dict[str, Any]) -> bool | None:
        left, right = a.says(record), b.says(record)
        return True if left or right else (None if left is None or right is None else False)

    return Filter(f"({a.sql}) OR ({b.sql})", says)


def neither(a: Filter) -> Filter:
    def says(record: dict[str, Any]) -> bool | None:
        said = a.says(record)
        return None if said is None else not said

    return Filter(f"NOT ({a.sql})", says)


columns = st.sampled_from(KEYS)
simple = (
    columns.flatmap(
        lambda key: st.builds(compared, st.just(key), st.sampled_from(sorted(COMPARE)), VALUES[key])
    )
    | columns.flatmap(
        lambda key: st.builds(among, st.just(key), st.lists(VALUES[key], min_size=1, max_size=3))
    )
    | columns.map(is_null)
    | st.builds(offsets, st.sampled_from(sorted(COMPARE)), st.integers(0, 12))
)
filters = st.recursive(
    simple,
    lambda inner: st.builds(both, inner, inner) | st.builds(either, inner, inner)
    | inner.map(neither),
    max_leaves=4,
)  # fmt: skip
upkeep = ["flush", "compact", "reopen", "index n", "index s", "bitmap a.b", "drop n"]
steps = st.one_of(
    st.lists(records, min_size=1, max_size=4),
    st.sampled_from([*upkeep, "cast double", "cast int64", "compute"]),
    filters,
    st.tuples(st.just("delete"), filters),
)

# All columns are there from the start, or a filter would be refused that names one.
FIRST = {"n": 0, "s": "", "a.b": 0, "f`x": 0.0, "_rowid": 0, "É s": ""}


async def check(backend: LanceBackend, model: list[dict[str, Any]], wanted: Filter) -> None:
    passed = [record for record in model if wanted.says(record) is True]
    ids = [record["id"] for record in passed]
    table = await backend.query(wanted.sql, with_offset=True)
    assert table["_offset"].to_pylist() == ids
    for key in KEYS:
        assert table[key].to_pylist() == [record.get(key) for record in passed], key
    assert await backend.count(wanted.sql) == len(ids)
    page = await backend.query(wanted.sql, columns=["n"], with_offset=True, limit=3, offset=1)
    assert page["_offset"].to_pylist() == ids[1:4]
    ordered = await backend.query(
        wanted.sql, columns=[], with_offset=True, order_by=["s", ("n", "desc")], limit=5, offset=1
    )
    none_last = sorted(
        passed,
        key=lambda r: (
            (r.get("s") is None, r.get("s") or ""),
            (r.get("n") is None, -(r.get("n") or 0)),
            r["id"],
        ),
    )
    assert ordered["_offset"].to_pylist() == [record["id"] for record in none_last[1:6]]


async def cast(backend: LanceBackend, kind: str) -> None:
    indexes = [i["name"] for i in await backend.list_indexes()]
    if "n_idx" in indexes and str(backend.schema.field("n").type) != kind:
        with pytest.raises(SchemaError, match=r'"n": has the index "n_idx".*drop_index'):
            await backend.cast_column("n", kind)
        await backend.drop_index("n_idx")
    await backend.cast_column("n", kind)
    assert backend.schema.field("n").type == kind


async def compute(backend: LanceBackend, model: list[dict[str, Any]]) -> None:
    await backend.add_column("x.y", expression="`a.b` * 2 + `f``x`")
    found = (await backend.query("`x.y` IS NOT NULL", columns=["x.y"]))["x.y"].to_pylist()
    both = [r for r in model if r.get("a.b") is not None and r.get("f`x") is not None]
    assert found == [r["a.b"] * 2 + r["f`x"] for r in both]
    await backend.drop_column("x.y")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([LanceBackend, PersistingBackend]), st.lists(steps, max_size=12))
def test_filters_answer_as_the_model_does(cls: type[LanceBackend], script: list[Any]) -> None:
    async def play(path: Path) -> None:
        backend = cls(0, path, **QUIET)
        model = [{**FIRST, "id": 0}]
        await backend.put(model[0])
        for step in script:
            if isinstance(step, list):
                first = backend.total_count()
                batch = [{**record, "id": first + i} for i, record in enumerate(step)]
                await backend.put_batch(batch)
                model += batch
            elif isinstance(step, Filter):
                await check(backend, model, step)
            elif isinstance(step, tuple):
                left = [record for record in model if step[1].says(record) is not True]
                assert await backend.delete(step[1].sql) == len(model) - len(left)
                model = left
            elif step.startswith("cast"):
                await cast(backend, step.removeprefix("cast "))
            elif step == "compute":
                await compute(backend, model)
            elif step == "reopen":
                await backend.aclose()
                backend = cls(0, path, **QUIET)
            elif step == "drop n":
                if any(i["name"] == "n_idx" for i in await backend.list_indexes()):
                    await backend.drop_index("n_idx")
            elif " " in step:
                kind, column = step.split()
                await backend.create_index(column, {"index": "btree"}.get(kind, kind), replace=True)
            else:
                await getattr(backend, step)()
        for key in KEYS:
            await check(backend, model, neither(is_null(key)))
        await backend.aclose()

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(play(Path(directory) / "bucket"))


# ---- what a query sees ----


async def test_an_answer_is_the_same_before_and_after_a_flush(backend: LanceBackend) -> None:
    assert (await backend.query("n = 1")).num_rows == 0
    assert await backend.count() == 0
    await backend.put_batch([{"n": i % 3, "j": {"k": i, "s": "x"}} for i in range(10)])
    before = await backend.query("n = 1 AND json_get_int(j, 'k') > 1")
    assert before.to_pylist() == [{"n": 1, "j": f'{{"k":{k},"s":"x"}}'} for k in (4, 7)]
    await backend.flush()
    assert (await backend.query("n = 1 AND json_get_int(j, 'k') > 1")).equals(before)
    assert before.schema == (await backend.get_arrow()).schema


async def test_batches_are_a_snapshot(backend: LanceBackend) -> None:
    await backend.put_batch([{"n": i} for i in range(30_000)])
    seen: list[int] = []
    async for batch in backend.query_batches("n >= 10", with_offset=True):
        if not seen:
            await backend.put_batch([{"n": 10**6, "more": "x"}])
            await backend.flush()
            await backend.compact()
        assert batch.schema.names == ["n", "_offset"]
        seen += batch["_offset"].to_pylist()
    assert seen == list(range(10, 30_000))
    assert await backend.count("more = 'x'") == 1


async def test_a_query_that_is_left_lets_go_of_its_version(backend: LanceBackend) -> None:
    await backend.put_batch([{"n": i} for i in range(30_000)])
    batches = backend.query_batches()
    await anext(batches)
    await batches.aclose()
    await backend.aclose()
    with pytest.raises(ClosedError):
        await backend.query()


async def test_fields_of_structs_have_their_own_names(backend: LanceBackend) -> None:
    values = [{"x.y": i, "z": {"q`": str(i)}} for i in range(5)]
    await backend.put_arrow(pa.table({"s t": values}))
    found = await backend.query("`s t`.`x.y` >= 3 AND `s t`.z.`q``` != '4'")
    assert found.to_pylist() == [{"s t": values[3]}]


async def test_columns_come_in_the_order_asked_for(backend: LanceBackend) -> None:
    await backend.put_batch([{"a": 1, "b": 2, "none": None}, {"c": 3}])
    assert (await backend.query()).schema.names == ["a", "b", "c"]
    found = await backend.query(columns=["c", "a"], with_offset=True)
    assert found.to_pydict() == {"c": [None, 3], "a": [1, None], "_offset": [0, 1]}


@pytest.mark.parametrize("order", [None, "n", [("n", "desc")]])
@pytest.mark.parametrize("index", [None, "btree"])
async def test_limits_and_offsets_have_no_bad_end(
    backend: LanceBackend, order: Any, index: str | None
) -> None:
    largest = 2**63 - 1
    await backend.put_batch([{"n": i} for i in range(10)])
    if index:
        await backend.create_index("n", index)
    want = [n for n in range(10) if n > 2]
    if order and order != "n":
        want.reverse()
    for limit in (None, 0, 1, 7, largest):
        for offset in (0, 1, 7, largest):
            found = await backend.query("n > 2", limit=limit, offset=offset, order_by=order)
            if limit:
                numpy = await backend.query(
                    "n > 2", limit=np.uint64(limit), offset=np.int64(offset), order_by=order
                )
                assert numpy.equals(found)
            assert found.schema.names == ["n"]
            assert found["n"].to_pylist() == want[offset:][:limit]


async def test_a_column_may_be_called_offset(backend: LanceBackend) -> None:
    await backend.put_batch([{"_offset": 7}, {"_offset": 8}])
    assert (await backend.query("_offset = 8")).to_pylist() == [{"_offset": 8}]
    with pytest.raises(InvalidArgumentError, match="a column of the bucket has that name"):
        await backend.query(with_offset=True)


# ---- indexes ----

SCALAR = {
    "btree": ("n", "n = 7", "BTree"),
    "bitmap": ("kind", "kind = 'k1'", "Bitmap"),
    "label_list": ("tags", "array_has_any(tags, ['t3'])", "LabelList"),
    "ngram": ("text", "contains(text, 'ord17 ')", "NGram"),
    "zonemap": ("n", "n > 990", "ZoneMap"),
    "bloom_filter": ("n", "n = 7", "BloomFilter"),
}


def varied(n: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "n": i,
            "kind": f"k{i % 3}",
            "tags": [f"t{i % 5}", f"t{i % 7}"],
            "text": f"word{i % 40} of {i}",
        }
        for i in range(first, first + n)
    ]


@pytest.mark.parametrize("kind", SCALAR)
async def test_an_index_is_used_and_changes_no_answer(backend: LanceBackend, kind: str) -> None:
    column, where, name = SCALAR[kind]
    await backend.put_batch(varied(1000))
    plain = await backend.query(where)
    assert 0 < plain.num_rows < 1000
    await backend.create_index(column, kind)
    assert "ScalarIndexQuery" in await backend.explain(where)
    assert "ScalarIndexQuery" not in await backend.explain(where, use_index=False)
    assert (await backend.query(where)).equals(plain)
    await backend.put_batch(varied(1000))
    assert (await backend.query(where)).to_pylist() == plain.to_pylist() * 2
    (index,) = await backend.list_indexes()
    assert (index["name"], index["column"], index["type"]) == (f"{column}_idx", column, name)
    assert (index["rows_indexed"], index["rows_unindexed"]) == (1000, 1000)
    assert index["bytes"] > 0
    assert index["progress"] is None
    assert (await backend.index_stats(f"{column}_idx"))["num_unindexed_rows"] == 1000
    await backend.compact()
    (index,) = await backend.list_indexes()
    assert (index["rows_indexed"], index["rows_unindexed"]) == (2000, 0)
    assert (await backend.query(where)).to_pylist() == plain.to_pylist() * 2
    await backend.drop_index(f"{column}_idx")
    assert await backend.list_indexes() == []
    assert (await backend.query(where)).to_pylist() == plain.to_pylist() * 2


async def test_an_index_tells_what_to_do_about_a_change_of_type(backend: LanceBackend) -> None:
    await backend.put_batch([{"first": 1, "n": i} for i in range(10)])
    await backend.create_index("n")
    advice = r'"n": has the index "n_idx".*drop_index\("n_idx"\)'
    with pytest.raises(SchemaError, match=advice):
        await backend.put({"n": 0.5})
    with pytest.raises(SchemaError, match=advice):
        await backend.drop_column("first")  # which n would have to be written anew for
    assert await backend.count("n >= 0") == 10
    await backend.drop_index("n_idx")
    await backend.put({"n": 0.5})
    await backend.drop_column("first")
    assert await backend.count("n < 1") == 2


@pytest.mark.parametrize("kind", ["btree", "zonemap"])
async def test_compactions_go_on_after_one_of_older_rows(backend: LanceBackend, kind: str) -> None:
    for first in (0, 10, 20):
        await backend.put_batch(varied(10, first))
        await backend.flush()
    await backend.create_index("n", kind)
    await backend.delete("n = 3")
    await backend.compact()  # gives the oldest fragment the highest id
    for first in (30, 40, 50):
        await backend.put_batch(varied(10, first))
        await backend.flush()
    for _ in range(2):
        await backend.compact()
        assert (await backend.query("n < 40 AND n > 1"))["n"].to_pylist() == [2, *range(4, 40)]
    assert (await backend.stats())["fragments"] <= 2


async def test_a_column_with_an_index_can_be_dropped(backend: LanceBackend) -> None:
    await backend.put_batch([{"n": i, "m": i} for i in range(10)])
    await backend.create_index("m")
    await backend.drop_column("m")
    assert await backend.list_indexes() == []
    assert await backend.count("n > 3") == 6


async def test_the_background_work_takes_new_rows_in(opening: Opener, bucket: Path) -> None:
    backend = opening(PersistingBackend, bucket, flush_threshold=1000)
    await backend.put_batch(varied(10))
    await backend.create_index("n")
    for i in range(6):
        await backend.put_batch(varied(1000, 1000 * i))

    async def rows() -> int:
        return (await backend.list_indexes())[0]["rows_indexed"]  # type: ignore[no-any-return]

    for _ in range(400):
        if await rows() >= 4096:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await backend.list_indexes())


async def test_puts_go_on_while_an_index_is_built(backend: LanceBackend) -> None:
    vectors = np.random.default_rng(0).normal(size=(6_000, 32)).astype("f4")
    await backend.put_arrow(pa.table({"v": fixed(vectors)}))
    await backend.flush()
    build = asyncio.create_task(backend.create_index("v", "ivf_hnsw_flat", partitions=2))
    puts, progress = 0, []
    while not build.done():
        async with within(5):
            await backend.put_arrow(pa.table({"v": fixed(vectors[:1])}))
        puts += 1
        await asyncio.sleep(0.01)
        progress += [i["progress"] for i in await backend.list_indexes()]
    await build
    assert puts > 1
    assert any(p is not None and p["name"] == "v_idx" and p["stage"] for p in progress)
    assert await backend.count() == 6_000 + puts
    (index,) = await backend.list_indexes()
    assert index["rows_indexed"] >= 6_000


async def test_arrays_of_one_length_are_vectors_after_a_cast(backend: LanceBackend) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype("f4")
    await backend.put_batch([{"i": i, "v": v} for i, v in enumerate(vectors)])
    advice = r'cast_column\("v", pa.list_\(pa.float32\(\), '
    for call in (backend.search(vectors[7], "v"), backend.create_index("v", "ivf_flat")):
        with pytest.raises(InvalidArgumentError, match=advice):
            await call
    await backend.cast_column("v", pa.list_(pa.float32(), 8))
    await backend.create_index("v", "ivf_flat", partitions=2)
    await backend.put_batch([{"i": 300, "v": vectors[7] + 1}, {"i": 301}])
    for indexed in (True, False):
        table = await backend.search(vectors[7], "v", 1, nprobes=2, use_index=indexed)
        assert table["i"].to_pylist() == [7]
    assert (await backend.search(vectors[7] + 1, "v", 1))["i"].to_pylist() == [300]
    found = await backend.get(302, 0)
    for record, vector in zip(found, [*vectors, vectors[7] + 1], strict=False):
        assert record["v"].dtype == np.float32
        assert np.array_equal(record["v"], vector)
    assert found[301] == {"i": 301}
    for wrong in (np.zeros(9, "f4"), np.zeros(8), np.zeros((2, 4), "f4"), [0.0] * 8):
        with pytest.raises(SchemaError, match=r"ndarray\(float32, 8 elements\)"):
            await backend.put({"v": wrong})
    await backend.put({"v": vectors[0]})


async def test_arrays_of_several_lengths_are_no_vectors(backend: LanceBackend) -> None:
    await backend.put_batch([{"v": np.zeros(n, "f4")} for n in (3, 4)])
    with pytest.raises(SchemaError, match=r'"v": is list<.*cannot hold exactly'):
        await backend.cast_column("v", pa.list_(pa.float32(), 3))


async def test_indexes_survive_a_reopen(opening: Opener, bucket: Path) -> None:
    backend = opening(PersistingBackend, bucket)
    await backend.put_batch(varied(100))
    await backend.create_index("n", name="mine")
    await backend.aclose()
    backend = opening(PersistingBackend, bucket)
    assert [i["name"] for i in await backend.list_indexes()] == ["mine"]
    assert "@mine(BTree)" in await backend.explain("n = 3")
    await backend.create_index("n", "zonemap", name="mine", replace=True, rows_per_zone=64)
    assert [i["type"] for i in await backend.list_indexes()] == ["ZoneMap"]


# ---- against pylance ----


def fixed(vectors: np.ndarray[Any, Any]) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


WORDS = "agent step reward token value policy critic rollout episode state action plan"


def texts(n: int) -> list[str]:
    draw = np.random.default_rng(1)
    return [" ".join(draw.choice(WORDS.split(), size=draw.integers(2, 12))) for _ in range(n)]


async def test_a_search_for_text_finds_what_pylance_finds(
    backend: LanceBackend, tmp_path: Path
) -> None:
    data = pa.table({"id": range(3000), "text": texts(3000), "other": texts(3000)[::-1]})
    await backend.put_arrow(data)
    theirs = lance.write_dataset(data, tmp_path / "theirs.lance")
    rewarded = [i for i, text in enumerate(data["text"].to_pylist()) if "reward" in text]
    ours = await backend.search("reward", "text", 3000, columns=["id"])
    assert sorted(ours["id"].to_pylist()) == rewarded
    for column in ("text", "other"):
        await backend.create_index(column, "inverted", stem=True, with_position=True)
        theirs.create_scalar_index(column, "INVERTED", stem=True, with_position=True)
    for query in ("reward", "rewards policy", "critic rollout plan", "nothing"):
        for where in (None, "id % 3 = 0"):
            ours = await backend.search(query, "text", 3000, filter=where, columns=["id"])
            want = theirs.to_table(
                columns=["id", "_score"],
                full_text_query={"query": query, "columns": ["text"]},
                filter=where,
                prefilter=True,
                limit=3000,
            )
            scores = dict(zip(ours["id"].to_pylist(), ours["_score"].to_pylist(), strict=True))
            assert scores == dict(
                zip(want["id"].to_pylist(), want["_score"].to_pylist(), strict=True)
            )
            assert ours["_score"].to_pylist() == sorted(ours["_score"].to_pylist(), reverse=True)
    both = await backend.search("policy", ["text", "other"], 5)
    assert both.schema.names == ["id", "text", "other", "_score"]
    assert both.num_rows == 5


@pytest.mark.parametrize("metric", ["l2", "cosine", "dot"])
async def test_a_search_without_an_index_is_exact(
    backend: LanceBackend, tmp_path: Path, metric: str
) -> None:
    draw = np.random.default_rng(2)
    vectors = draw.normal(size=(2000, 24)).astype("f4")
    data = pa.table({"id": range(2000), "v": fixed(vectors)})
    await backend.put_arrow(data)
    theirs = lance.write_dataset(data, tmp_path / "theirs.lance")
    for query in draw.normal(size=(5, 24)).astype("f4"):
        ours = await backend.search(
            query, "v", 10, metric=metric, filter="id >= 500", columns=["id"], with_offset=True
        )
        want = theirs.to_table(
            columns=["id", "_distance"],
            nearest={"column": "v", "q": query, "k": 10, "metric": metric},
            filter="id >= 500",
            prefilter=True,
        )
        assert ours["id"].to_pylist() == want["id"].to_pylist() == ours["_offset"].to_pylist()
        assert ours["_distance"].to_pylist() == want["_distance"].to_pylist()


VECTOR: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "ivf_flat": ({"partitions": 16}, {"num_partitions": 16}),
    "ivf_pq": (
        {"partitions": 16, "sub_vectors": 8},
        {"num_partitions": 16, "num_sub_vectors": 8},
    ),
    "ivf_hnsw_sq": ({"partitions": 4}, {"num_partitions": 4}),
}


@pytest.mark.parametrize("kind", VECTOR)
async def test_an_index_finds_as_much_as_that_of_pylance(
    backend: LanceBackend, tmp_path: Path, kind: str
) -> None:
    draw = np.random.default_rng(3)
    centres = draw.normal(size=(50, 16)) * 3
    vectors = (centres[draw.integers(0, 50, 10_000)] + draw.normal(size=(10_000, 16))).astype("f4")
    queries = (centres[draw.integers(0, 50, 100)] + draw.normal(size=(100, 16))).astype("f4")
    data = pa.table({"id": range(10_000), "v": fixed(vectors)})
    await backend.put_arrow(data)
    theirs = lance.write_dataset(data, tmp_path / "theirs.lance")
    options, their_options = VECTOR[kind]
    await backend.create_index("v", kind, metric="l2", **options)
    theirs.create_index("v", kind.upper(), metric="l2", **their_options)
    assert "ANN" in await backend.explain(search=(queries[0], "v"))
    found = their_found = 0
    for query in queries:
        exact = set(np.argsort(((vectors - query) ** 2).sum(1))[:10].tolist())
        ours = await backend.search(query, "v", 10, nprobes=4, refine=5, columns=["id"])
        want = theirs.to_table(
            columns=["id"],
            nearest={"column": "v", "q": query, "k": 10, "nprobes": 4, "refine_factor": 5},
        )
        found += len(exact & set(ours["id"].to_pylist()))
        their_found += len(exact & set(want["id"].to_pylist()))
    assert found / 1000 >= their_found / 1000 - 0.01
    assert found / 1000 > 0.8
    assert (await backend.search(queries[0], "v", 3, use_index=False)).num_rows == 3


async def test_vectors_that_an_index_lacks_are_found(backend: LanceBackend) -> None:
    vectors = np.random.default_rng(4).normal(size=(1000, 16)).astype("f4")
    await backend.put_arrow(pa.table({"v": fixed(vectors)}))
    await backend.create_index("v", "ivf_flat", partitions=4)
    far = vectors[:1] + 100
    await backend.put_arrow(pa.table({"v": fixed(far)}))
    nearest = await backend.search(far[0], "v", 1, with_offset=True)
    assert nearest["_offset"].to_pylist() == [1000]
    again = await backend.search(pa.array(far[0]), "v", 1, with_offset=True)
    assert again.equals(nearest)
    assert again.equals(await backend.search([float(x) for x in far[0]], "v", 1, with_offset=True))


# ---- misuse ----

BAD: dict[str, tuple[Callable[[LanceBackend], Awaitable[Any]], str]] = {
    "no end": (lambda b: b.query("n ="), "an expression, found: EOF at Line: 1, Column: 4"),
    "open": (lambda b: b.count("n = 1\n AND (n"), "Expected: ), found: EOF at Line: 2, Column: 8"),
    "place": (lambda b: b.query("n = 1\n AND )"), "found: ) at Line: 2, Column: 6"),
    "two": (lambda b: b.count("n = 1 n = 2"), "found: n at Line: 1, Column: 7"),
    "string": (lambda b: b.explain("s = 'x"), "Unterminated string literal at Line: 1, Column: 5"),
    "column": (lambda b: b.query("m = 1"), 'No field named m. The columns are ["n" "s" "v" "j"'),
    "escaped": (lambda b: b.query("`x.y` = 1"), '"a.b" "t"]'),
    "type": (lambda b: b.query("n + 1"), "is Int64, want true or false"),
    "literal": (lambda b: b.query("n = 'x'"), "filter: n is Int64 and 'x' a string"),
    "time": (lambda b: b.query("t > '2026'"), "write timestamp '2026-11-23 10:00:00'"),
    "field of JSON": (lambda b: b.query("j.a = 1"), "by json_get_int(column, 'key')"),
    "value of JSON": (lambda b: b.query("j = 1"), "by json_get_int(column, 'key')"),
    "function": (lambda b: b.query("nope(n) = 1"), "Invalid function 'nope'"),
    "zero": (lambda b: b.count("s = '\0'"), "zero byte"),
    "columns": (lambda b: b.query(columns=["m"]), 'no column "m"'),
    "columns twice": (lambda b: b.query(columns=["n", "n"]), "asked for twice"),
    "no columns": (lambda b: b.query(columns=[]), "an empty list of columns"),
    "columns str": (lambda b: b.query(columns="n"), "want a list of names"),
    "limit": (lambda b: b.query(limit=-1), "limit: want an int from 0 to"),
    "limit type": (lambda b: b.query(limit="3"), "got '3'"),  # type: ignore[arg-type]
    "limit bool": (lambda b: b.query(limit=True), "limit: want an int from 0 to"),
    "limit float": (lambda b: b.query(limit=2.0), "got 2.0"),  # type: ignore[arg-type]
    "limit huge": (lambda b: b.query(limit=2**63), "got 9223372036854775808"),
    "offset huge": (lambda b: b.query(offset=2**64), "offset: want an int from 0 to"),
    "k bool": (lambda b: b.search("a", "s", True), "k: want an int from 1 to"),
    "k huge": (lambda b: b.search("a", "s", 2**40), "k: want an int from 1 to 1048576"),
    "nprobes": (lambda b: b.search([1.0] * 4, "v", nprobes=-1), "nprobes: want an int"),
    "filter type": (lambda b: b.query(5), "want a string of SQL"),  # type: ignore[arg-type]
    "offset": (lambda b: b.query(offset=-1), "offset: want an int from 0 to"),
    "order": (lambda b: b.query(order_by="m"), 'no column "m"'),
    "order of JSON": (lambda b: b.query(order_by="j"), 'column "j" has no order'),
    "order of lists": (lambda b: b.query(order_by="v"), 'column "v" has no order'),
    "direction": (lambda b: b.query(order_by=[("n", "up")]), 'want "asc" or "desc"'),
    "k": (lambda b: b.search([1.0] * 4, "v", 0), "k: want an int from 1 to"),
    "dimensions": (lambda b: b.search([1.0], "v"), 'has 1 dimensions, column "v" has 4'),
    "nothing": (lambda b: b.search([], "v"), 'has 0 dimensions, column "v" has 4'),
    "no vector": (lambda b: b.search(3, "v"), "a vector of numbers"),
    "matrix": (lambda b: b.search(np.ones((2, 4)), "v"), "in one dimension"),
    "not a vector": (lambda b: b.search([1.0], "n"), "vectors are a fixed_size_list of floats"),
    "two columns": (lambda b: b.search([1.0] * 4, ["v", "n"]), "in one column"),
    "metric": (lambda b: b.search([1.0] * 4, "v", metric="far"), "'far' is not supported"),
    "no text": (lambda b: b.search("x", "n"), "got Int64"),
    "index type": (lambda b: b.create_index("n", "b-tree"), 'no index type "b-tree", there are'),
    "index column": (lambda b: b.create_index("m"), 'no column "m"'),
    "index option": (lambda b: b.create_index("n", unique=True), "unknown field `unique`"),
    "vector option": (
        lambda b: b.create_index("v", "ivf_pq", partition=3),
        "unknown field `partition`, expected one of `metric`, `partitions`",
    ),
    "text option": (lambda b: b.create_index("s", "inverted", language="Klingon"), "Klingon"),
    "tokenizer": (lambda b: b.create_index("s", "inverted", base_tokenizer="x"), "tokenizer"),
    "index of list": (lambda b: b.create_index("n", "label_list"), "List"),
    "index of text": (
        lambda b: b.create_index("s", "ivf_pq"),
        "vectors are a fixed_size_list of floats",
    ),
    "index value": (lambda b: b.create_index("v", "ivf_flat", partitions="x"), "invalid type"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_bad_request_says_what_is_wrong(backend: LanceBackend, case: str) -> None:
    data = pa.table(
        {
            "n": [1, 2],
            "s": ["a", "b"],
            "v": fixed(np.ones((2, 4), "f4")),
            "j": pa.array(['{"a":1}'] * 2, pa.json_()),
            "a.b": [1, 2],
            "t": pa.array([0, 1], pa.timestamp("us")),
        }
    )
    await backend.put_arrow(data)
    call, message = BAD[case]
    with pytest.raises(InvalidArgumentError) as raised:
        await call(backend)
    assert message.lower() in str(raised.value).lower()
    assert await backend.count("n > 0") == 2
    assert await backend.list_indexes() == []


async def test_what_an_index_finds_at_once_takes_no_thread(
    backend: LanceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[Any] = []

    async def on_thread(function: Any, *arguments: Any) -> Any:
        threads.append(arguments)
        return await loop_threads.on_thread(function, *arguments)

    monkeypatch.setattr(_queries, "on_thread", on_thread)
    monkeypatch.setattr(_queries._Pace, "_LONG", 60)
    await backend.put_batch([{"n": n, "text": f"row {n}"} for n in range(200)])
    await backend.create_index("n")
    async with within(30):
        quick = 0
        while quick < 3:
            before = len(threads)
            table = await backend.query("n = 7", columns=["text"], with_offset=True)
            assert table.to_pylist() == [{"text": "row 7", "_offset": 7}]
            quick = quick + 1 if len(threads) == before else 0
    await backend.put({"n": 7, "text": "again"})  # has to be flushed
    assert (await backend.query("n = 7")).num_rows == 2
    assert len(threads) > before


async def test_a_name_of_an_index_is_given_once(backend: LanceBackend) -> None:
    await backend.put_batch(varied(10))
    await backend.create_index("n")
    with pytest.raises(InvalidArgumentError, match='there is an index "n_idx", of type BTree'):
        await backend.create_index("n", "bitmap")
    await backend.create_index("n", "bitmap", name="other")
    for call in (backend.drop_index, backend.index_stats):
        with pytest.raises(NotFoundError, match=r'"no", there are \["n_idx" "other"\]'):
            await call("no")


async def test_an_empty_bucket_has_nothing_to_index(backend: LanceBackend) -> None:
    assert await backend.list_indexes() == []
    with pytest.raises(InvalidArgumentError, match="no rows to index"):
        await backend.create_index("n")
    with pytest.raises(NotFoundError):
        await backend.drop_index("n_idx")
    assert await backend.explain("n = 1") == "EmptyBucket\n"
    assert (await backend.search([1.0], "v")).num_rows == 0


async def test_a_version_answers_queries_as_the_bucket_did(backend: LanceBackend) -> None:
    records = [{"n": n, "text": f"word {n % 3}", "v": np.full(2, n, "f4")} for n in range(30)]
    await backend.put_batch(records)
    await backend.cast_column("v", pa.list_(pa.float32(), 2))
    await backend.create_index("n")
    version = await backend.snapshot("then")
    with await backend.at(version) as view:
        asked: list[Callable[[Any], Awaitable[Any]]] = [
            lambda of: of.query("n >= 3 AND n < 9", columns=["n", "text"], with_offset=True),
            lambda of: of.query(order_by=("n", "desc"), limit=4),
            lambda of: of.search("2", "text", 3),
            lambda of: of.search([7, 7], "v", 2, filter="n > 5"),
            lambda of: of.count("text = 'word 1'"),
            lambda of: of.explain("n = 3"),
        ]
        before = [await ask(backend) for ask in asked]
        await backend.delete("n < 8")
        await backend.put_batch(records)
        await backend.rename_column("text", "words")
        assert [await ask(view) for ask in asked] == before
        assert "n_idx" in before[-1]
        batches = [batch async for batch in view.query_batches("n < 5")]
        assert sum(batch.num_rows for batch in batches) == 5
        with pytest.raises(InvalidArgumentError, match=r"words.*columns are"):
            await view.query("words = 'word 1'")
    with pytest.raises(ClosedError):
        await view.count()
