"""Random filters against plain Python: no index, flush, compaction or removal changes an answer."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from persisting import LanceBackend
from tests import filters

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from tests.filters import Row, Term
    from tests.support import Opener

FILTERS = 70
SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else range(8)


async def check(backend: LanceBackend, model: list[Row], wanted: Term, about: str) -> None:
    want = [row["_offset"] for row in model if wanted.of(row) is True]
    for use_index in (True, False):
        found = await backend.query(wanted.sql, columns=[], with_offset=True, use_index=use_index)
        have = found["_offset"].to_pylist()
        if have != want:
            plan = await backend.explain(wanted.sql, use_index=use_index)
            more, fewer = sorted({*have} - {*want}), sorted({*want} - {*have})
            row = next(row for row in model if row["_offset"] in (*more, *fewer))
            raise AssertionError(
                f"{about}: {wanted.sql}\n{plan}\nnot wanted {more[:9]} missing {fewer[:9]}: {row}"
            )
    assert await backend.count(wanted.sql) == len(want), f"{about}: {wanted.sql}"


async def put(backend: LanceBackend, model: list[Row], table: pa.Table) -> None:
    first = backend.total_count()
    await backend.put_arrow(table)
    model += [{**row, "_offset": first + i} for i, row in enumerate(table.to_pylist())]


async def play(backend: LanceBackend, seed: int) -> None:
    draw = random.Random(seed)
    maker = filters.Maker(draw)
    model: list[Row] = []
    await put(backend, model, filters.rows(draw, draw.choice([5, 200]), late=False))
    await backend.flush()
    await put(backend, model, filters.rows(draw, 100, late=False))
    indexes: dict[str, str] = {}
    for column in draw.sample(filters.SCHEMA.names, len(filters.SCHEMA.names)):
        kinds = [kind for kind, columns in filters.KINDS.items() if column in columns]
        if kinds and draw.random() < 0.85:
            indexes[column] = draw.choice(kinds)
            await backend.create_index(column, indexes[column])
    if draw.random() < 0.5:
        await backend.create_index("i", draw.choice(["zonemap", "bitmap", "btree"]), name="second")
    about = f"SEED={seed} {indexes}"
    await put(backend, model, filters.rows(draw, 40, late=True))
    for i in range(FILTERS):
        wanted = maker.filter()
        if i % 20 == 10:
            kept = [row for row in model if wanted.of(row) is not True]
            if 3 * len(kept) > 2 * len(model):
                removed = await backend.delete(wanted.sql)
                assert removed == len(model) - len(kept), f"{about}: delete {wanted.sql}"
                model = kept
        if i == FILTERS // 2:
            await put(backend, model, filters.rows(draw, 30, late=True))
            await backend.compact()
            await put(backend, model, filters.rows(draw, 10, late=True))
        await check(backend, model, wanted, about)


@pytest.mark.parametrize("seed", SEEDS)
async def test_answers_are_those_of_sql(opening: Opener, bucket: Path, seed: int) -> None:
    await play(opening(LanceBackend, bucket), seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
async def test_answers_are_those_of_sql_at_length(opening: Opener, bucket: Path, seed: int) -> None:
    await play(opening(LanceBackend, bucket), seed)


def test_the_second_opinion_knows_three_values() -> None:
    three: list[Any] = [True, False, None]
    assert [filters.negated(a) for a in three] == [False, True, None]
    assert [[filters.conjunction(a, b) for b in three] for a in three] == [
        [True, False, None],
        [False, False, False],
        [None, False, None],
    ]
    assert filters.compared(float("nan"), ">", 1e300) is True
    assert filters.compared(-0.0, "=", 0) is True
