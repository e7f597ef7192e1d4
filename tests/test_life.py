"""From open to close: locks, closing, what is forgotten, the end of the process."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import persisting
from persisting import ClosedError, LanceBackend, PersistingBackend
from persisting._errors import LockedError
from tests.support import ROOT, run, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support import Opener


# ---- one opener ----


async def test_a_second_opener_is_told_who_holds_the_bucket(
    backend: LanceBackend, bucket: Path
) -> None:
    for cls in (LanceBackend, PersistingBackend):
        with pytest.raises(LockedError, match=rf"process {os.getpid()}\b") as raised:
            cls(1, bucket)
        assert str(bucket) in str(raised.value)
        assert raised.value.pid == os.getpid()
        assert isinstance(raised.value, persisting.StorageError)
    await backend.put({"n": 1})
    assert await backend.get(1, 0) == [{"n": 1}]


async def test_a_link_to_the_bucket_is_the_bucket(backend: LanceBackend, bucket: Path) -> None:
    link = bucket.with_name("link")
    link.symlink_to(bucket)
    with pytest.raises(LockedError):
        type(backend)(1, link)


HOLD = """
import sys
from persisting import PersistingBackend
backend = PersistingBackend(0, sys.argv[1])
print("open", flush=True)
sys.stdin.read()
backend.close()
"""


async def test_another_process_is_named_and_its_end_frees_the_bucket(bucket: Path) -> None:
    for end in ("close", "kill"):
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, bucket], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"open\n"
            with pytest.raises(LockedError, match=rf"process {holder.pid}\b") as refused:
                PersistingBackend(0, bucket)
            assert refused.value.pid == holder.pid
            if end == "kill":
                holder.kill()
            holder.communicate(timeout=60)
        async with PersistingBackend(0, bucket) as backend:
            await backend.put({"end": end})
    async with PersistingBackend(0, bucket) as backend:
        assert await backend.get(9, 0) == [{"end": "close"}, {"end": "kill"}]


async def test_buckets_side_by_side_do_not_mix(
    opening: Opener, backend_class: type[LanceBackend], tmp_path: Path
) -> None:
    backends = [opening(backend_class, tmp_path / f"bucket_{i}", i) for i in range(5)]
    await asyncio.gather(*(b.put({"n": b.bucket_id}) for b in backends for _ in range(10)))
    await asyncio.gather(*(b.flush() for b in backends))
    for b in backends:
        assert await b.get(99, 0) == [{"n": b.bucket_id}] * 10


# ---- close ----


async def test_a_close_flushes_and_a_second_does_nothing(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path
) -> None:
    for i, close in enumerate(("close", "aclose", "context")):
        backend = backend_class(0, bucket)
        await backend.put({"n": i})
        if close == "close":
            backend.close()
        elif close == "aclose":
            await backend.aclose()
        else:
            async with backend as same:
                assert same is backend
        for _ in range(2):
            backend.close()
            await backend.aclose()
    backend = opening(backend_class, bucket)
    assert await backend.get(9, 0) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert (await backend.stats())["persisted_count"] == 3


USES: dict[str, Callable[[LanceBackend], Awaitable[Any]]] = {
    "put": lambda b: b.put({"n": 1}),
    "put of what is wrong": lambda b: b.put({"n": object()}),
    "put_batch": lambda b: b.put_batch([{"n": 1}]),
    "put_batch of nothing": lambda b: b.put_batch([]),
    "put_arrow": lambda b: b.put_arrow(None),
    "get": lambda b: b.get(1, 0),
    "get of nothing": lambda b: b.get(0, 0),
    "get_stream": lambda b: anext(b.get_stream(1, 0)),
    "get_stream beyond the end": lambda b: anext(b.get_stream(1, 99)),
    "get_stream that waits": lambda b: anext(b.get_stream(1, 99, True)),
    "get_by_indices": lambda b: b.get_by_indices([0]),
    "get_arrow": lambda b: b.get_arrow(),
    "flush": lambda b: b.flush(),
    "compact": lambda b: b.compact(),
    "stats": lambda b: b.stats(),
}


@pytest.mark.parametrize("use", USES)
async def test_a_closed_backend_is_of_no_use(backend: LanceBackend, use: str) -> None:
    await backend.put({"n": 0})
    await backend.aclose()
    with pytest.raises(ClosedError, match=re.escape(backend.storage_path)):
        await USES[use](backend)
    with pytest.raises(ClosedError):
        backend.get_metrics()
    assert backend.total_count() == 1


@pytest.mark.parametrize("close", ["close", "aclose"])
async def test_a_close_ends_every_wait(backend: LanceBackend, close: str) -> None:
    async def wait() -> list[Any]:
        return [r async for r in backend.get_stream(1, 0, True)]

    readers = [asyncio.create_task(wait()) for _ in range(5)]
    while len(backend._readers) < 5:
        await asyncio.sleep(0)
    if close == "aclose":
        await backend.aclose()
    else:
        backend.close()
    async with within(20):
        found = await asyncio.gather(*readers, return_exceptions=True)
    assert [type(f) for f in found] == [ClosedError] * 5


@pytest.mark.parametrize("close", ["close", "aclose"])
async def test_puts_that_meet_a_close_end_and_tell_the_truth(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path, close: str
) -> None:
    backend = opening(backend_class, bucket)
    puts = [asyncio.create_task(backend.put({"n": i})) for i in range(100)]
    await asyncio.sleep(0)
    if close == "aclose":
        await backend.aclose()
    else:
        backend.close()
    async with within(20):
        found = await asyncio.gather(*puts, return_exceptions=True)
    stored = {i for i, end in enumerate(found) if end is None}
    assert all(end is None or isinstance(end, ClosedError) for end in found)
    again = opening(backend_class, bucket)
    numbers = [r["n"] for r in await again.get(999, 0)]
    assert stored <= set(numbers)
    assert numbers == sorted(set(numbers))


async def test_closing_from_many_tasks_at_once(backend: LanceBackend) -> None:
    await backend.put({"n": 1})
    await asyncio.gather(*(backend.aclose() for _ in range(5)))
    backend.close()


# ---- forgotten ----


async def test_a_backend_that_is_forgotten_is_closed_with_a_warning(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path
) -> None:
    backend = backend_class(0, bucket)
    await backend.put({"n": 1})
    await asyncio.sleep(0)  # the loop has a call for it in the turn of the put
    gone = weakref.ref(backend)
    del backend
    with pytest.warns(ResourceWarning, match=re.escape(str(bucket))):
        gc.collect()
    assert gone() is None
    assert await opening(backend_class, bucket).get(9, 0) == [{"n": 1}]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_bucket_that_was_forgotten_in_a_cycle_can_be_opened_again(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path
) -> None:
    holder: list[Any] = [backend_class(0, bucket)]
    await holder[0].put({"n": 1})
    await asyncio.sleep(0)
    holder.append(holder)
    gc.disable()
    try:
        del holder
        assert await opening(backend_class, bucket).get(9, 0) == [{"n": 1}]
    finally:
        gc.enable()


FORGET = """
import asyncio, sys
import persisting

async def main():
    global backend
    cls = getattr(persisting, sys.argv[1])
    backend = cls(0, sys.argv[2])
    await backend.put_batch([{"n": i} for i in range(50)])
    await asyncio.gather(*(backend.put({"n": 50 + i}) for i in range(50)))
    if sys.argv[3] == "raise":
        raise SystemExit("an error")

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["return", "raise"])
async def test_a_process_that_ends_without_close_loses_nothing(
    opening: Opener, backend_class: type[LanceBackend], bucket: Path, end: str
) -> None:
    arguments = [backend_class.__name__, str(bucket), end]
    done = run([sys.executable, "-W", "error", "-c", FORGET, *arguments])
    assert done.returncode == (end == "raise")
    assert done.stderr.strip() == ("an error" if end == "raise" else "")
    backend = opening(backend_class, bucket)
    assert [r["n"] for r in await backend.get(999, 0)] == [*range(100)]


ABRUPT = FORGET + "import os; os._exit(3)"


async def test_a_process_that_ends_abruptly_loses_nothing_of_a_log(
    opening: Opener, bucket: Path
) -> None:
    done = run([sys.executable, "-c", ABRUPT, "PersistingBackend", str(bucket), "return"])
    assert done.returncode == 3
    backend = opening(PersistingBackend, bucket)
    assert [r["n"] for r in await backend.get(999, 0)] == [*range(100)]
    assert backend.get_metrics()["replayed_records"] == 100


# ---- one bucket, several kinds of backend ----


async def test_a_bucket_may_change_its_backend(opening: Opener, bucket: Path) -> None:
    kinds: list[tuple[type[LanceBackend], dict[str, Any]]] = [
        (PersistingBackend, {}),
        (LanceBackend, {}),
        (PersistingBackend, {"enable_wal": False}),
        (PersistingBackend, {"wal_sync_interval": 0}),
        (LanceBackend, {"compression": "zstd"}),
        (PersistingBackend, {}),
    ]
    for i, (cls, options) in enumerate(kinds):
        async with cls(0, bucket, **options) as backend:
            assert await backend.get(99, 0) == [{"n": n} for n in range(i)]
            await backend.put({"n": i})
            assert (await backend.stats())["wal_enabled"] == (
                cls is PersistingBackend and options.get("enable_wal", True)
            )


async def test_the_log_of_a_killed_process_is_read_by_a_backend_without_one(bucket: Path) -> None:
    done = run([sys.executable, "-c", ABRUPT, "PersistingBackend", str(bucket), "return"])
    assert done.returncode == 3
    async with LanceBackend(0, bucket) as backend:
        assert [r["n"] for r in await backend.get(999, 0)] == [*range(100)]


# ---- what lies on disk ----


async def test_the_directories_have_their_names(backend: LanceBackend, bucket: Path) -> None:
    await backend.put({"n": 1})
    assert (bucket / "wal").is_dir() == isinstance(backend, PersistingBackend)
    await backend.flush()
    assert (bucket / "data.lance" / "_versions").is_dir()


# The names of persisting 0.3.0 that programs of it import, besides the two backends.
OF_0_3_0 = {
    "BaseSampler",
    "BatchMeta",
    "GRPOGroupNSampler",
    "KVInterface",
    "Queue",
    "QueueReader",
    "QueueWriter",
    "RankAwareSampler",
    "SequentialSampler",
    "get_sampled_batch",
}


def test_the_root_offers_ten_names_of_its_own_at_most() -> None:
    assert {*persisting.__all__} > OF_0_3_0
    assert len({*persisting.__all__} - OF_0_3_0) <= 10
    assert all(hasattr(persisting, name) for name in persisting.__all__)
    assert (ROOT / "python" / "persisting" / "py.typed").exists()
