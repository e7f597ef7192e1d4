"""Offsets, limits and other numbers: as in the slices of a list, or refused by name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pulsing.streaming.backend import MemoryBackend

from persisting import LanceBackend
from persisting._cli import main
from persisting._errors import InvalidArgumentError, NotFoundError, PersistingError
from tests.support import QUIET

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from persisting.queue._versions import BucketView

TOTAL = 25
ROWS = [{"n": n} for n in range(TOTAL)]
HUGE = [2**31, 2**32 + 3, 2**63 - 1, 2**63, 2**64 + 1, 10**30]
POSITIONS = st.one_of(
    st.integers(-TOTAL - 3, TOTAL + 3), st.sampled_from([*HUGE, *(-n for n in HUGE)])
)


class Stored:
    """A bucket, a version of it and a list, with the same rows."""

    def __init__(self, path: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.backend = LanceBackend(0, path, batch_size=4, **QUIET)
        self.model = MemoryBackend(0)
        self.model.buffer = ROWS
        self.view: BucketView = self.run(self._fill())

    async def _fill(self) -> BucketView:
        await self.backend.put_batch(ROWS[:10])
        await self.backend.flush()
        await self.backend.put_batch(ROWS[10:])
        await self.backend.snapshot("now")
        return await self.backend.at(tag="now")

    def run(self, call: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(call)

    def close(self) -> None:
        self.view.close()
        self.backend.close()
        self.loop.close()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    found = Stored(tmp_path_factory.mktemp("positions") / "bucket")
    yield found
    found.close()


@given(limit=POSITIONS, offset=POSITIONS)
@settings(deadline=None, max_examples=300)
def test_reads_are_slices(stored: Stored, limit: int, offset: int) -> None:
    want = stored.run(stored.model.get(limit, offset))
    assert want == ROWS[offset : offset + limit]
    assert stored.run(stored.backend.get(limit, offset)) == want
    assert stored.run(stored.view.get(limit, offset)) == want
    assert stored.run(stored.backend.get_arrow(limit, offset)).to_pylist() == want
    assert stored.run(stored.view.get_arrow(limit, offset)).to_pylist() == want
    for cast in (np.int64, np.int8, np.uint64):
        try:
            numbers = cast(limit), cast(offset)
        except OverflowError:
            continue
        assert stored.run(stored.backend.get(*numbers)) == want
        assert stored.run(stored.backend.get_arrow(*numbers)).to_pylist() == want


@given(offset=POSITIONS)
@settings(deadline=None, max_examples=100)
def test_without_a_limit_all_that_follow_are_read(stored: Stored, offset: int) -> None:
    assert stored.run(stored.backend.get_arrow(None, offset)).to_pylist() == ROWS[offset:]
    assert stored.run(stored.view.get_arrow(offset=offset)).to_pylist() == ROWS[offset:]


@given(limit=POSITIONS, offset=POSITIONS)
@settings(deadline=None, max_examples=300)
def test_a_stream_goes_on_from_its_offset(stored: Stored, limit: int, offset: int) -> None:
    async def read() -> list[list[dict[str, Any]]]:
        return [records async for records in stored.backend.get_stream(limit, offset)]

    lists = stored.run(read())
    assert [r for records in lists for r in records] == ROWS[offset:][: max(limit, 0)]
    assert all(len(records) == 4 for records in lists[:-1])
    assert all(lists)


@given(indices=st.lists(POSITIONS, max_size=5))
@settings(deadline=None, max_examples=200)
def test_indices_are_offsets(stored: Stored, indices: list[int]) -> None:
    if all(0 <= index < TOTAL for index in indices):
        want = [ROWS[index] for index in indices]
        assert stored.run(stored.backend.get_by_indices(indices)) == want
        numbers: Any = np.array(indices, int)
        assert stored.run(stored.backend.get_by_indices(numbers)) == want
    else:
        with pytest.raises(NotFoundError):
            stored.run(stored.backend.get_by_indices(indices))


NUMBERS: dict[str, tuple[str, Callable[[Stored, Any], Awaitable[Any]]]] = {
    "get limit": ("limit", lambda s, x: s.backend.get(x, 0)),
    "get offset": ("offset", lambda s, x: s.backend.get(1, x)),
    "stream limit": ("limit", lambda s, x: anext(s.backend.get_stream(x, 0))),
    "stream offset": ("offset", lambda s, x: anext(s.backend.get_stream(1, x))),
    "arrow limit": ("limit", lambda s, x: s.backend.get_arrow(x, 0)),
    "arrow offset": ("offset", lambda s, x: s.backend.get_arrow(1, x)),
    "view limit": ("limit", lambda s, x: s.view.get(x, 0)),
    "view offset": ("offset", lambda s, x: s.view.get(1, x)),
    "view arrow": ("offset", lambda s, x: s.view.get_arrow(1, x)),
    "indices": ("indices", lambda s, x: s.backend.get_by_indices([0, x])),
    "query limit": ("limit", lambda s, x: s.backend.query(limit=x)),
    "query offset": ("offset", lambda s, x: s.backend.query(offset=x)),
    "k": ("k", lambda s, x: s.backend.search([1.0], "n", x)),
    "nprobes": ("nprobes", lambda s, x: s.backend.search([1.0], "n", nprobes=x)),
    "truncate": ("offset", lambda s, x: s.backend.truncate_before(x)),
    "commit": ("offset", lambda s, x: s.backend.commit("me", x)),
    "first": ("offset", lambda s, x: called(s.backend.first_offset, x)),
    "at": ("version", lambda s, x: s.backend.at(x)),
    "tag": ("version", lambda s, x: s.backend.tag("t", x)),
    "restore": ("version", lambda s, x: s.backend.restore(x)),
}
NONE_IS_ALL = {"arrow limit", "query limit", "nprobes"}
NONE_IS_NONE = {"at", "restore"}


async def called(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


@pytest.mark.parametrize("wrong", [1.0, "1", b"1", True, None, [1], np.float64(1), np.bool_(True)])
@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_no_int_is_refused_by_name(stored: Stored, number: str, wrong: Any) -> None:
    name, call = NUMBERS[number]
    if wrong is None and number in NONE_IS_ALL | NONE_IS_NONE:
        return
    if number == "indices" and isinstance(wrong, list):
        return
    with pytest.raises(InvalidArgumentError, match=name):
        stored.run(call(stored, wrong))


@pytest.mark.parametrize("huge", [2**63, 2**64 + 1, -(2**63) - 1, -(2**64), 2**64])
@pytest.mark.parametrize("number", NUMBERS)
def test_no_number_is_cut_to_64_bits(stored: Stored, number: str, huge: int) -> None:
    name, call = NUMBERS[number]
    if number.split()[0] in ("get", "stream", "arrow", "view"):
        return  # they are slices
    with pytest.raises(PersistingError, match=f"{name}|{huge}"):
        stored.run(call(stored, huge))
    assert stored.run(stored.backend.count()) == TOTAL


@pytest.mark.parametrize("wrong", [1.0, "1", True, None, -1, 0])
def test_options_are_ints(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="batch_size"):
        LanceBackend(0, tmp_path, batch_size=wrong)
    if wrong != 0:
        with pytest.raises(InvalidArgumentError, match="bucket_id"):
            LanceBackend(wrong, tmp_path)


@pytest.mark.parametrize("command", [["head", "-n"], ["tail", "-n"], ["query", "--limit"]])
def test_the_command_line_takes_any_count_of_63_bits(
    stored: Stored, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = stored.backend.storage_path
    for count in (0, 1, TOTAL - 1, TOTAL, TOTAL + 1, 2**31, 2**63 - 1):
        assert main([command[0], path, command[1], str(count), "--json"]) == 0
        assert len(capsys.readouterr().out.splitlines()) == min(count, TOTAL)
    for wrong in ("-1", "1.5", "x", str(2**63), str(10**30)):
        with pytest.raises(SystemExit):
            main([command[0], path, f"{command[1]}={wrong}"])
        assert "usage" in capsys.readouterr().err
