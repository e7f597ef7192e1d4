"""Event loops that end while something waits, cancelled calls, exceptions from outside."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from persisting import LanceBackend, PersistingBackend
from persisting._errors import PersistingError, SchemaError, StorageError
from tests.support import python, within
from tests.test_tasks import MODES, turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support import Opener

# ---- loops that end ----

LIVES = """
import asyncio, gc, logging, sys, threading, time
import pyarrow as pa
import persisting

logging.disable(logging.CRITICAL)  # asyncio tells of tasks that their loop has left
cls, path, interval, work, end = sys.argv[1:]
options = {"wal_sync_interval": float(interval)} if cls == "PersistingBackend" else {}
backend = getattr(persisting, cls)(0, path, flush_interval=0, **options)
LONG = "x" * 50_000
PUTS = {
    "put": lambda n: backend.put({"n": n, "s": LONG}),
    "batch": lambda n: backend.put_batch([{"n": n, "s": LONG}]),
    "arrow": lambda n: backend.put_arrow(pa.table({"n": [n], "s": [LONG]})),
    "reader": lambda n: backend.put_arrow(pa.table({"n": [n], "s": [LONG]}).to_reader()),
    "mixed": lambda n: PUTS[("put", "batch", "arrow")[n % 3]](n),
    "keys": lambda n: backend.put({"n": n, f"k{n % 5}": n}),
}

async def wait_for_more():
    async for _ in backend.get_stream(10, 10**6, wait=True):
        pass

async def begin(life):
    tasks = [asyncio.ensure_future(PUTS[work](50 * life + i)) for i in range(50)]
    tasks.append(asyncio.ensure_future(wait_for_more()))
    if life % 2:
        tasks.append(asyncio.ensure_future(backend.add_column(f"new{life}", pa.int64())))
        tasks.append(asyncio.ensure_future(backend.flush()))
    for _ in range(life):
        await asyncio.sleep(0)
    KEPT.append(tasks)

async def go_on(life):
    for i in range(3):
        await asyncio.wait_for(backend.put({"n": 10_000 + life, "i": i}), 60)
    if life % 2:
        await asyncio.wait_for(backend.put({"n": 10_000 + life, f"new{life}": 1}), 60)
    await asyncio.gather(*[asyncio.wait_for(PUTS[work](20_000 + i), 60) for i in range(10)])
    rows = await backend.get(10**6, 0)
    assert backend.total_count() == len(rows), (backend.total_count(), len(rows))
    new = [r for r in rows if 50 * life <= r["n"] < 50 * life + 50]
    numbers = [r["n"] for r in new]
    assert sorted(numbers) == sorted({*numbers}), numbers
    assert len([r for r in rows if r["n"] == 10_000 + life]) == 3 + life % 2

KEPT = []

def live(life):
    if end == "run":
        asyncio.run(begin(life))
        asyncio.run(go_on(life))
    elif end == "left":  # with all that waits
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin(life))
        loop.close()
        asyncio.run(go_on(life))
    elif end == "paused":  # and it may go on
        loop = asyncio.new_event_loop()
        loop.run_until_complete(begin(life))
        asyncio.run(go_on(life))
        puts = KEPT[-1][:50]
        loop.run_until_complete(asyncio.wait_for(asyncio.gather(*puts), 60))
        for task in KEPT[-1]:
            task.cancel()
        loop.run_until_complete(asyncio.wait(KEPT[-1]))
        loop.close()

for life in range(8):
    if life % 3:
        live(life)
    else:
        thread = threading.Thread(target=live, args=(life,))
        thread.start()
        thread.join()
asyncio.run(backend.aclose())
with getattr(persisting, cls)(0, path)._bucket as bucket:
    assert bucket.acknowledged() == backend.total_count()
print("whole")
KEPT.clear()
gc.collect()
"""


@pytest.mark.parametrize("end", ["run", "left", "paused"])
@pytest.mark.parametrize("work", ["put", "mixed", "keys", "reader"])
@pytest.mark.parametrize(
    ("cls", "interval"), [("LanceBackend", 1), ("PersistingBackend", 0), ("PersistingBackend", 1)]
)
def test_the_next_loop_goes_on(
    tmp_path: Path, cls: str, interval: float, work: str, end: str
) -> None:
    arguments = (cls, tmp_path / "bucket", interval, work, end)
    assert python(LIVES, *arguments, timeout=300).strip() == "whole"


async def test_a_loop_without_descriptors_is_woken_nevertheless(
    opening: Opener, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored is acknowledged, also where there is no descriptor for that."""
    backend = opening(PersistingBackend, bucket, wal_sync_interval=0)
    calls = 0

    def none_left(*_: object) -> int:
        nonlocal calls
        calls += 1
        raise OSError(24, "too many open files")

    with monkeypatch.context() as without:
        without.setattr("os.eventfd", none_left)
        async with within(30):
            await asyncio.gather(*(backend.put({"n": n}) for n in range(20)))
    assert calls
    async with within(30):
        await asyncio.gather(*(backend.put({"n": n}) for n in range(20, 40)))
    assert [r["n"] for r in await backend.get(99, 0)] == [*range(40)]


# ---- changes that nobody waits for any more ----


def held(
    backend: LanceBackend, method: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[threading.Event, threading.Event]:
    """Have a method of the bucket wait; return what it sets first, and what it waits for."""
    begun, go_on = threading.Event(), threading.Event()
    whole = getattr(backend._bucket, method)

    def wait_and_do(*arguments: Any, **options: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return whole(*arguments, **options)

    monkeypatch.setattr(backend._bucket, method, wait_and_do)
    return begun, go_on


CHANGES: dict[str, tuple[str, Callable[[LanceBackend], Awaitable[Any]], dict[str, Any]]] = {
    "add": ("add_columns", lambda b: b.add_column("c", pa.int32()), {"a": 5, "s": "x", "c": 7}),
    "default": ("fill_column", lambda b: b.add_column("c", default=1.5), {"a": 5, "c": 7}),
    "expression": (
        "compute_column",
        lambda b: b.add_column("c", expression="a + 1"),
        {"a": 5, "c": 7},
    ),
    "drop": ("drop_column", lambda b: b.drop_column("s"), {"a": 5, "s": 7}),
    "rename": ("rename_column", lambda b: b.rename_column("s", "u"), {"a": 5, "u": "y", "s": 7}),
    "cast": ("cast_column", lambda b: b.cast_column("a", "int32"), {"a": 5, "s": "x"}),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_that_was_given_up_is_followed(
    backend: LanceBackend, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, call, record = CHANGES[change]
    await backend.put_batch([{"a": i, "s": "text"} for i in range(100)])
    before = backend.schema
    begun, go_on = held(backend, method, monkeypatch)
    changing = asyncio.ensure_future(call(backend))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    puts = [asyncio.ensure_future(backend.put(dict(record))) for _ in range(3)]
    await turns()
    assert not any(put.done() for put in puts), "the change is not at its end"
    assert backend.total_count() == 103
    go_on.set()
    async with within(30):
        await asyncio.gather(*puts)
        await backend.put(record)
    assert backend.schema != before
    assert [r.items() >= record.items() for r in await backend.get(9, 100)] == [True] * 4


async def test_a_change_that_is_given_up_before_its_turn_does_not_happen(
    backend: LanceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.put({"a": 1})
    begun, go_on = held(backend, "add_columns", monkeypatch)
    first = asyncio.ensure_future(backend.add_column("b", "int64"))
    second = asyncio.ensure_future(backend.add_column("c", "int64"))
    put = asyncio.ensure_future(backend.put({"a": 2}))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    second.cancel()
    put.cancel()
    await turns()
    go_on.set()
    await first
    await backend.put({"a": 3})
    assert backend.schema.names == ["a", "b"]
    assert await backend.get(9, 0) == [{"a": 1}, {"a": 3}]
    assert backend.total_count() == 2


async def test_a_refused_change_lets_puts_go_on(backend: LanceBackend) -> None:
    await backend.put({"a": 1})
    found = await asyncio.gather(
        backend.put({"a": 2}),
        backend.drop_column("nothing"),
        backend.put({"a": 3}),
        return_exceptions=True,
    )
    assert found[0] is found[2] is None
    assert isinstance(found[1], SchemaError)
    assert await backend.get(9, 0) == [{"a": 1}, {"a": 2}, {"a": 3}]


METHODS: dict[str, Callable[[LanceBackend], Awaitable[Any]]] = {
    "put": lambda b: b.put({"n": -1, "s": "x"}),
    "put_batch": lambda b: b.put_batch([{"n": -1, "s": "x"}] * 3),
    "put of a new key": lambda b: b.put({"n": -1, "new": 1.5}),
    "put of a wider type": lambda b: b.put({"n": -1.5}),
    "put_arrow": lambda b: b.put_arrow(pa.table({"n": [-1, -1], "s": ["x", "x"]})),
    "put_arrow of a reader": lambda b: b.put_arrow(pa.table({"n": [-1]}).to_reader()),
    "flush": lambda b: b.flush(),
    "compact": lambda b: b.compact(),
    "delete": lambda b: b.delete("n = 3"),
    "truncate_before": lambda b: b.truncate_before(2),
    "restore": lambda b: b.restore(tag="first"),
    "tag": lambda b: b.tag("again", 1),
    "snapshot": lambda b: b.snapshot("now"),
    "at": lambda b: b.at(tag="first"),
    "create_index": lambda b: b.create_index("n", "btree", replace=True),
    "query": lambda b: b.query("n > 1"),
    "query_batches": lambda b: anext(b.query_batches("n > 1")),
    "get": lambda b: b.get(10, 5),
    "get_stream": lambda b: anext(b.get_stream(10, 5)),
    "commit": lambda b: b.commit("me", 3),
    "add_column": lambda b: b.add_column("c", default=1),
    "drop_column": lambda b: b.drop_column("s"),
    "rename_column": lambda b: b.rename_column("s", "t"),
    "cast_column": lambda b: b.cast_column("n", "double"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("error")
async def test_a_cancelled_call_leaves_a_backend_that_works(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path, method: str
) -> None:
    chance = random.Random(method)
    for life in range(4):
        path = bucket.with_name(f"bucket_{life}")
        backend = opening(backend_class, path, cache_bytes=0)
        await backend.put_batch([{"n": n, "s": f"{n}"} for n in range(20)])
        await backend.snapshot("first")
        await backend.put_batch([{"n": n, "s": f"{n}"} for n in range(20, 30)])
        others = [asyncio.ensure_future(backend.put({"n": 100 + n})) for n in range(5)]
        call = asyncio.ensure_future(METHODS[method](backend))
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.004]))
        call.cancel()
        await asyncio.wait({call})
        if method == "at" and not call.cancelled():
            call.result().close()
        async with within(60):
            await asyncio.gather(*others)
            for n in range(12):
                await backend.put({"n": 200 + n})
            rows = (await backend.get_arrow(with_offsets=True)).to_pylist()
        numbers = [row["n"] for row in rows]
        assert [n for n in numbers if n >= 200] == [*range(200, 212)]
        if method != "restore":
            assert [n for n in numbers if 100 <= n < 200] == [*range(100, 105)]
        assert numbers.count(-1) in (0, {"put_batch": 3, "put_arrow": 2}.get(method, 1))
        assert backend.total_count() == rows[-1]["_offset"] + 1
        await backend.aclose()
        async with backend_class(0, path) as again:
            after = (await again.get_arrow(with_offsets=True)).to_pylist()
        # What was begun goes on to its end, which may have come after the look at the rows.
        left = {"delete": lambda row: row["n"] != 3, "truncate_before": lambda row: row["n"] >= 2}
        assert after in (rows, [*filter(left.get(method), rows)])


async def test_a_close_that_is_given_up_goes_on(
    backend: LanceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.put({"n": 1})
    reader = asyncio.ensure_future(anext(backend.get_stream(1, 9, wait=True)))
    begun, go_on = held(backend, "close", monkeypatch)
    closing = asyncio.ensure_future(backend.aclose())
    while not begun.is_set():
        await asyncio.sleep(0.001)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    again = asyncio.ensure_future(backend.aclose())
    await turns()
    assert not again.done(), "it is not closed yet"
    go_on.set()
    async with within(30):
        await again
        with pytest.raises(PersistingError, match="closed"):
            await reader
    async with type(backend)(0, backend.storage_path) as opened:
        assert await opened.get(9, 0) == [{"n": 1}]


# ---- exceptions that are none of ours ----


class Broken:
    """A value that raises when it is looked at."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def _raise(self, *_: object) -> Any:
        raise self.error

    __eq__ = __index__ = __array__ = __deepcopy__ = __float__ = __str__ = _raise
    __hash__ = None  # type: ignore[assignment]


class BrokenInt(int):
    error: BaseException

    def __eq__(self, other: object) -> bool:
        raise self.error

    __hash__ = int.__hash__


class OutOfNowhere(BaseException):
    """An exception that none of ours is."""


FAULTS = [
    MemoryError("none left"),
    RecursionError("too deep"),
    StopIteration("it"),
    RuntimeError("broken"),
    OutOfNowhere("it"),
]


@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
async def test_a_broken_value_harms_nobody_else(
    backend: LanceBackend, error: BaseException
) -> None:
    broken = BrokenInt(3)
    broken.error = error
    bad: list[Any] = [Broken(error), broken, [broken], {"k": broken}, [Broken(error)]]
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    await backend.put({"n": 0, "v": 0})
    for value in [*bad, deep]:
        puts = [asyncio.ensure_future(backend.put({"n": n})) for n in range(3)]
        wrong = asyncio.ensure_future(backend.put({"n": 9, "v": value}))
        puts += [asyncio.ensure_future(backend.put({"n": n})) for n in range(3, 6)]
        async with within(30):
            ends = await asyncio.gather(wrong, *puts, return_exceptions=True)
        assert isinstance(ends[0], BaseException), value
        assert ends[1:] == [None] * 6
    while deep:  # a list so deep is not taken apart well by itself
        deep = deep.pop()
    assert [r["n"] for r in await backend.get(99, 1)] == [*range(6)] * 6
    assert backend.total_count() == 37


@pytest.mark.parametrize("stored", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("way", ["put", "puts", "batch", "arrow", "wide"])
@pytest.mark.parametrize("error", FAULTS, ids=lambda error: type(error).__name__)
async def test_engine_and_python_agree_after_an_exception_out_of_nowhere(
    opening: Opener,
    backend_class: type[LanceBackend],
    bucket: Path,
    error: BaseException,
    way: str,
    stored: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when Ctrl-C comes when the engine has the rows, and Python does not know it yet."""
    options = {"wal_sync_interval": 0} if backend_class is PersistingBackend else {}
    backend = opening(backend_class, bucket, **options)
    for n in range(20):  # the ring is in use, but with a log that is synced
        await backend.put({"n": n})
    failing = {"append", "append_message"}
    wholes = {name: getattr(backend._bucket, name) for name in failing}

    def fail(name: str, *arguments: Any, **more: Any) -> Any:
        if failing:
            failing.clear()
            if stored:
                wholes[name](*arguments, **more)
            raise error
        return wholes[name](*arguments, **more)

    for name in wholes:
        monkeypatch.setattr(
            backend._bucket, name, lambda *a, name=name, **more: fail(name, *a, **more)
        )
    ways: dict[str, Callable[[], list[Awaitable[Any]]]] = {
        "put": lambda: [backend.put({"n": 100, "new": 1})],
        "puts": lambda: [backend.put({"n": 100 + i, "new": 1}) for i in range(5)],
        "batch": lambda: [backend.put_batch([{"n": 100, "new": 1.5}] * 2)],
        "arrow": lambda: [backend.put_arrow(pa.table({"n": [100], "more": [1]}))],
        "wide": lambda: [backend.put({"n": 100, "s": "x" * 200_000}) for _ in range(3)],
    }
    tasks = [asyncio.ensure_future(put) for put in ways[way]()]
    try:
        async with within(30):
            await asyncio.wait(tasks)
    except OutOfNowhere:
        await asyncio.wait(tasks)
    ends = [task.exception() for task in tasks]
    assert any(end is not None for end in ends)
    async with within(30):
        await asyncio.gather(*(backend.put({"n": 200 + n}) for n in range(20)))
        for n in range(220, 260):
            await backend.put({"n": n})
        await backend.put({"n": 260, "new": 1, "more": 2})
    numbers = [r["n"] for r in await backend.get(999, 0)]
    assert numbers[:20] == [*range(20)]
    assert numbers[-61:] == [*range(200, 261)]
    assert backend.total_count() == len(numbers)
    for end, n in zip(ends, range(100, 105), strict=False):
        assert end is not None or n in numbers or way in ("wide", "batch")
    await backend.aclose()
    again = opening(backend_class, bucket)
    assert [r["n"] for r in await again.get(999, 0)] == numbers


INTERRUPTED = """
import asyncio, logging, random, signal, sys
import pyarrow as pa
import persisting

cls, path, interval, seed = sys.argv[1:]
options = {"wal_sync_interval": float(interval)} if cls == "PersistingBackend" else {}
backend = getattr(persisting, cls)(0, path, flush_interval=0.05, **options)
chance = random.Random(seed)
stored, counted, hits = set(), 0, 0

async def put_some(first):
    async def one(n):
        way = n % 4
        if way == 0:
            await backend.put_arrow(pa.table({"n": [n]}))
        elif way == 1:
            await backend.put_batch([{"n": n}])
        else:
            await backend.put({"n": n})
        stored.add(n)
    for n in range(first, first + 40):
        await backend.put({"n": n})
        stored.add(n)
    await asyncio.gather(*(one(n) for n in range(first + 40, first + 80)))

logging.disable(logging.CRITICAL)  # asyncio tells of tasks that their loop has left
signal.signal(signal.SIGALRM, signal.default_int_handler)
kept = []
for life in range(100):
    loop = asyncio.new_event_loop()
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-4, 6e-3))
        task = loop.create_task(put_some(1000 * life))
        kept.append(task)
        loop.run_until_complete(task)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        hits += 1
    loop.close()  # with all that waits, of which asyncio may have lost what woke it
    asyncio.run(asyncio.wait_for(backend.put({"n": -1}), 60))
asyncio.run(backend.aclose())
again = getattr(persisting, cls)(0, path)
numbers = [r["n"] for r in asyncio.run(again.get(10**6, 0))]
again.close()
assert stored <= {*numbers}, sorted(stored - {*numbers})
real = [n for n in numbers if n >= 0]
assert len(real) == len({*real})
assert hits > 20, hits
exec("pass")  # after an interrupt in the midst of an exec, of a module's, CPython ends as if by one
print("whole")
"""


@pytest.mark.parametrize(
    ("cls", "interval"), [("LanceBackend", 1), ("PersistingBackend", 0), ("PersistingBackend", 1)]
)
def test_interrupts_at_any_moment_lose_nothing(tmp_path: Path, cls: str, interval: float) -> None:
    printed = python(INTERRUPTED, cls, tmp_path / "bucket", interval, 1, timeout=300)
    assert printed.strip().endswith("whole")


# ---- as if one came after the other ----


async def test_puts_that_wait_are_as_if_one_came_after_the_other(backend: LanceBackend) -> None:
    await backend.put_batch([{"n": i} for i in range(10)])
    floats = pa.table({"n": [1.5]})
    await asyncio.gather(
        backend.put_arrow(floats), backend.put({"n": 7}), backend.put_arrow(floats)
    )
    assert [r["n"] for r in await backend.get(9, 10)] == [1.5, 7.0, 1.5]


STEPS: list[Callable[[LanceBackend], Awaitable[Any]]] = [
    lambda b: b.put({"n": 1}),
    lambda b: b.put({"n": 2.5}),
    lambda b: b.put({"n": "text"}),
    lambda b: b.put({"n": 3, "s": "x"}),
    lambda b: b.put({"s": None}),
    lambda b: b.put({"l": [1, 2], "n": 4}),
    lambda b: b.put({"l": [1.5]}),
    lambda b: b.put({"x": 7}),
    lambda b: b.put({"x": "seven"}),
    lambda b: b.put_batch([{"n": 5}, {"n": 6.5, "s": "y"}]),
    lambda b: b.put_arrow(pa.table({"n": [1, 2]})),
    lambda b: b.put_arrow(pa.table({"n": [1.5]})),
    lambda b: b.put_arrow(pa.table({"s": pa.array(["z"], pa.large_string())})),
    lambda b: b.put_arrow(pa.table({"s": ["z"]})),
    lambda b: b.put_arrow(pa.table({"x": pa.array([1], pa.int8())})),
    lambda b: b.put_arrow(pa.table({"x": ["one"]})),
    lambda b: b.put_arrow(pa.table({"l": pa.array([[1]], pa.large_list(pa.int64()))})),
    lambda b: b.put_arrow(pa.table({"d": pa.array(["a", None]).dictionary_encode()})),
    lambda b: b.add_column("x", "double"),
    lambda b: b.rename_column("s", "t"),
    lambda b: b.drop_column("l"),
    lambda b: b.cast_column("n", "double"),
]


@pytest.mark.parametrize("seed", range(25))
async def test_any_calls_at_once_end_as_one_after_the_other(
    opening: Opener, backend_class: type[LanceBackend], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    steps = [chance.choice(STEPS) for _ in range(12)]

    async def told(call: Awaitable[Any]) -> str:
        try:
            await call
        except PersistingError as error:
            return type(error).__name__
        return "stored"

    options = {"wal_sync_interval": 0} if backend_class is PersistingBackend else {}
    one = opening(backend_class, tmp_path / "one", **options)
    two = opening(backend_class, tmp_path / "two", **options)
    expected = [await told(step(one)) for step in steps]
    async with within(60):
        found = await asyncio.gather(*(told(step(two)) for step in steps))
    assert found == expected
    assert two.schema == one.schema
    assert await two.get(999, 0) == await one.get(999, 0)
    assert two.total_count() == one.total_count()


# ---- where records come to be ----


@pytest.mark.parametrize(("cls", "options"), MODES)
async def test_the_count_tells_where_the_next_record_comes_to_be(
    opening: Opener, cls: type[LanceBackend], options: dict[str, Any], bucket: Path
) -> None:
    """Pulsing asks for it before each put, while others are on their way."""
    backend = opening(cls, bucket, **options)
    places: dict[int, int] = {}

    async def put(first: int) -> None:
        for n in range(first, first + 20):
            places[n] = backend.total_count()
            if n % 5 == 4:
                await backend.put_arrow(pa.table({"n": [n]}))
            else:
                await backend.put({"n": n})

    await asyncio.gather(*(put(20 * task) for task in range(20)))
    found = [r["n"] for r in await backend.get(999, 0)]
    assert {n: offset for offset, n in enumerate(found)} == places
    assert backend.total_count() == 400


async def test_the_count_goes_back_when_a_put_fails(
    backend: LanceBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await backend.put({"n": 1})
    begun, go_on = held(backend, "add_columns", monkeypatch)
    change = asyncio.ensure_future(backend.add_column("c", "int64"))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    good = asyncio.ensure_future(backend.put({"n": 2, "c": 1}))
    bad = asyncio.ensure_future(backend.put_batch([{"n": 3, "c": "text"}] * 5))
    await turns()
    assert backend.total_count() == 7
    assert await backend.get(9, 0) == [{"n": 1}]
    go_on.set()
    with pytest.raises(SchemaError):
        await bad
    await good
    await change
    assert backend.total_count() == 2
    committing = asyncio.ensure_future(backend.put({"n": 4}))
    await asyncio.sleep(0)
    await backend.commit("me", backend.total_count())
    await committing
    assert await backend.committed("me") == 3


# ---- data that is made when it is asked for ----


async def test_a_reader_is_asked_on_a_thread(backend: LanceBackend) -> None:
    schema = pa.schema([("n", pa.int64())])
    go_on, asked_by = threading.Event(), set()

    def batches() -> Any:
        for n in range(3):
            asked_by.add(threading.get_ident())
            assert go_on.wait(30)
            yield pa.record_batch({"n": [n]}, schema)

    put = asyncio.ensure_future(
        backend.put_arrow(pa.RecordBatchReader.from_batches(schema, batches()))
    )
    await asyncio.sleep(0.05)
    await backend.put({"n": 9})
    assert not put.done()
    go_on.set()
    await put
    assert asked_by == asked_by - {threading.get_ident()}
    assert [r["n"] for r in await backend.get(9, 0)] == [9, 0, 1, 2]


async def test_a_reader_that_nobody_waits_for_is_asked_no_more(backend: LanceBackend) -> None:
    schema = pa.schema([("n", pa.int64())])
    asked = 0
    first = threading.Event()

    def batches() -> Any:
        nonlocal asked
        while asked < 10_000:
            asked += 1
            first.set()
            threading.Event().wait(0.002)
            yield pa.record_batch({"n": [asked]}, schema)

    put = asyncio.ensure_future(
        backend.put_arrow(pa.RecordBatchReader.from_batches(schema, batches()))
    )
    while not first.is_set():
        await asyncio.sleep(0.001)
    put.cancel()
    await asyncio.wait({put})
    await asyncio.sleep(0.1)
    before = asked
    await asyncio.sleep(0.1)
    assert asked == before < 10_000
    assert backend.total_count() == 0


async def test_an_error_of_a_reader_reaches_the_caller(backend: LanceBackend) -> None:
    schema = pa.schema([("n", pa.int64())])

    def batches() -> Any:
        yield pa.record_batch({"n": [1]}, schema)
        raise ValueError("it broke")

    with pytest.raises(ValueError, match="it broke"):
        await backend.put_arrow(pa.RecordBatchReader.from_batches(schema, batches()))
    with pytest.raises(SchemaError, match="not a list"):
        await backend.put_arrow([1])
    await backend.put({"n": 2})
    assert await backend.get(9, 0) == [{"n": 2}]


# ---- forgotten ----


@pytest.mark.parametrize("way", ["refused", "broken"])
def test_a_close_of_what_was_forgotten_that_fails_is_logged(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder, way: str
) -> None:
    """And the next is closed, and the end of the interpreter does not wait for ever."""
    from persisting._engine import handles

    class Forgotten(handles.Handle):
        pass

    def fail(number: int) -> None:
        raise StorageError("the disk") if way == "refused" else AttributeError("none of ours")

    for name in "xy":
        Forgotten(7, fail, f"the bucket {name}", close_takes_long=True)
        handles.finish_closing()
        assert f"the bucket {name}, which was forgotten" in caplog.text
    assert [str(w.message) for w in recwarn] == [f"the bucket {n} was not closed" for n in "xy"]
