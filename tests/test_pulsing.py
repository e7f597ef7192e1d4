"""Real Pulsing queues with our backends, of each published version whose queue differs."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulsing
import pytest
from pulsing.exceptions import PulsingError
from pulsing.streaming import register_backend

from _build.cache import CACHE, locked
from persisting import LanceBackend, PersistingBackend
from persisting.sampler import GRPOGroupNSampler
from tests.programs import pulsing_queue
from tests.support import command, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OLD = "0.1.0"
NAMES = ["persisting", "lance"]

# Pulsing never closes a backend: the collector does, with a warning.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True)
def backends() -> None:
    register_backend("persisting", PersistingBackend)
    register_backend("lance", LanceBackend)


@pytest.fixture
async def system() -> AsyncIterator[Any]:
    started = await pulsing.actor_system()
    yield started
    await started.shutdown()
    gc.collect()


def old_pulsing() -> Path:
    """Return a directory with Pulsing 0.1.0, from PyPI if need be."""
    directory = CACHE / f"pulsing-{OLD}-{sys.version_info.major}.{sys.version_info.minor}"
    with locked("old pulsing"):
        if not directory.exists():
            fresh = Path(tempfile.mkdtemp(dir=CACHE))
            pip = [sys.executable, "-m", "pip", "install", "-q", "--target", str(fresh)]
            subprocess.run([*pip, f"pulsing=={OLD}"], check=True, timeout=300)
            fresh.rename(directory)
    return directory


# ---- whole programs ----


def test_rounds_of_processes_under_the_installed_pulsing(tmp_path: Path) -> None:
    for turn in range(2):
        done = run(command("pulsing_queue", "pulsing.streaming", tmp_path, turn), timeout=120)
        assert done.returncode == 0, done.stderr
        assert f"round {turn} done" in done.stdout


def test_rounds_of_processes_under_an_old_pulsing(tmp_path: Path) -> None:
    env = {"PYTHONPATH": str(old_pulsing())}
    version = [sys.executable, "-c", "import pulsing; print(pulsing.__version__)"]
    assert run(version, env=env).stdout.strip() == OLD
    for turn in range(2):
        argv = command("pulsing_queue", "pulsing.queue", tmp_path, turn)
        done = run(argv, timeout=120, env=env)
        assert done.returncode == 0, done.stderr
        assert f"round {turn} done" in done.stdout


# ---- in this process ----


@pytest.mark.parametrize("name", NAMES)
async def test_a_queue_answers_as_one_in_memory_does(
    system: Any, tmp_path: Path, name: str
) -> None:
    await pulsing_queue.scenario(system, tmp_path, name, 0)


@pytest.mark.parametrize("name", NAMES)
async def test_a_put_wakes_a_reader(system: Any, tmp_path: Path, name: str) -> None:
    await pulsing_queue.wait_for_records(system, tmp_path, name)


@pytest.mark.parametrize("name", NAMES)
async def test_the_statistics_of_a_queue(system: Any, tmp_path: Path, name: str) -> None:
    await pulsing_queue.look_at_stats(system, tmp_path, name)


@pytest.mark.parametrize("name", NAMES)
async def test_a_wrong_option_makes_the_put_fail(
    system: Any, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Pulsing does not tell the caller what the constructor of a backend raised; the log does."""
    writer = await system.queue.write(
        "wrong",
        storage_path=str(tmp_path / "queue"),
        backend=name,
        backend_options={"flush_treshold": 1},
    )
    with pytest.raises(PulsingError):
        await writer.put({"id": "a"})
    assert not list(tmp_path.rglob("bucket.json"))
    (told,) = failures(caplog)
    assert str(tmp_path / "queue" / "bucket_") in told
    assert "unknown option 'flush_treshold'" in told


def failures(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged of buckets that were not opened."""
    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    return [r.getMessage() for r in errors if r.name == "persisting.engine"]


async def tensor_bucket(system: Any, path: Path, name: str) -> Any:
    """Return the remote bucket of a partition, as Pulsing's callers reach it."""
    writer = await system.queue.write(
        f"tensors_{name}", storage_path=str(path), backend=name, num_buckets=2
    )
    return await writer.queue._ensure_bucket(writer.queue.get_bucket_id("p"))


async def test_tasks_consume_through_pulsing(tmp_path: Path) -> None:
    """Do what the actor's tensor methods can, with a restart of the system between."""
    for name in NAMES:
        system = await pulsing.actor_system()
        bucket = await tensor_bucket(system, tmp_path / name, name)
        await bucket.put_batch([{"id": i, "x": float(i), "_hidden": i} for i in range(10)])
        columns = {"id": [10, 11], "x": [10.0, 11.0], "_hidden": [10, 11]}
        assert await bucket.put_tensor(columns, partition_id="p") == {"status": "ok"}
        told = await bucket.get_meta(["id", "x"], 4, "train", partition_id="p")
        assert told["global_indexes"] == [0, 1, 2, 3]
        assert told["samples"][1] == {
            "partition_id": "p",
            "global_index": 1,
            "fields": {
                field: {
                    "name": field,
                    "dtype": None,
                    "shape": None,
                    "production_status": "ready",
                }
                for field in ("id", "x")
            },
        }
        assert await bucket.get_data(told, fields=["x"]) == [{"x": float(i)} for i in range(4)]
        samples = {"samples": told["samples"][2:]}
        assert (await bucket.get_data(samples))[0] == {"id": 2, "x": 2.0, "_hidden": 2}
        await bucket.mark_consumed("train", [5])
        group = await bucket.get_meta(["x"], 4, "train", GRPOGroupNSampler(2))
        assert group["global_indexes"] == [6, 7, 8, 9]
        assert (await bucket.get_meta(["nope"], 4, "train"))["samples"] == []
        both = await asyncio.gather(*[bucket.get_meta(["x"], 3, "eval") for _ in range(2)])
        assert sorted(both[0]["global_indexes"] + both[1]["global_indexes"]) == [*range(6)]
        await bucket.clear([0, 4])
        await bucket.flush()
        await system.shutdown()
        gc.collect()
        system = await pulsing.actor_system()
        bucket = await tensor_bucket(system, tmp_path / name, name)
        told = await bucket.get_meta(["id", "x"], 10, "train")
        assert told["global_indexes"] == [10, 11]
        assert await bucket.get_data(told, fields=["id"]) == [{"id": 10}, {"id": 11}]
        assert await bucket.get_data({"global_indexes": [0, 1]}, fields=["id"]) == [{"id": 1}]
        await bucket.reset_consumption("train")
        told = await bucket.get_meta(["id"], 5, "train")
        assert told["global_indexes"] == [1, 2, 3, 5, 6]
        await system.shutdown()
        gc.collect()


@pytest.mark.parametrize("name", NAMES)
async def test_two_topics_with_one_directory(
    system: Any, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"num_buckets": 1, "storage_path": str(tmp_path), "backend": name}
    first = await system.queue.write("first", **options)
    await first.put({"id": "a", "n": 1})
    assert failures(caplog) == []
    second = await system.queue.write("second", **options)
    with pytest.raises(PulsingError):
        await second.put({"id": "a", "n": 2})
    told = failures(caplog)
    assert told
    assert str(tmp_path / "bucket_0") in told[0]
    assert "is open" in told[0]
    await first.put({"id": "a", "n": 3})
    reader = await system.queue.read("first", **options)
    assert [record["n"] for record in await reader.get(limit=10)] == [1, 3]


@pytest.mark.parametrize("name", NAMES)
async def test_a_refused_record_reaches_the_caller(system: Any, tmp_path: Path, name: str) -> None:
    options: dict[str, Any] = {"num_buckets": 1, "storage_path": str(tmp_path), "backend": name}
    writer = await system.queue.write("refused", **options)
    await writer.put({"id": "a", "n": 1})
    with pytest.raises(Exception, match="'n'"):
        await writer.put({"id": "a", "n": "text"})
    await writer.put({"id": "a", "n": 2})
    reader = await system.queue.read("refused", **options)
    assert [r["n"] for r in await reader.get(limit=9)] == [1, 2]


@pytest.mark.parametrize("name", NAMES)
async def test_rows_are_fetched_by_their_offsets(system: Any, tmp_path: Path, name: str) -> None:
    """BucketStorage.get_data goes through get_by_indices."""
    options: dict[str, Any] = {"num_buckets": 1, "storage_path": str(tmp_path), "backend": name}
    writer = await system.queue.write("data", **options)
    await writer.put([{"id": "a", "n": i} for i in range(10)])
    bucket = await writer.queue._ensure_bucket(0)
    rows = await bucket.get_data({"global_indexes": [7, 0, 7]}, fields=["n"])
    assert rows == [{"n": 7}, {"n": 0}, {"n": 7}]


@pytest.mark.parametrize("interval", [0, 1.0])
async def test_meta_of_concurrent_puts_misses_no_row(
    system: Any, tmp_path: Path, interval: float
) -> None:
    """BucketStorage takes total_count() for the offset of the record that it puts next."""
    options: dict[str, Any] = {
        "num_buckets": 1,
        "storage_path": str(tmp_path),
        "backend": "persisting",
        "backend_options": {"wal_sync_interval": interval},
    }
    writer = await system.queue.write("meta", **options)

    async def produce(first: int) -> None:
        for n in range(first, first + 25):
            await writer.put({"id": "a", "n": n, f"own {n}": 1})

    await asyncio.gather(*(produce(25 * task) for task in range(12)))
    bucket = await writer.queue._ensure_bucket(0)
    meta = await bucket.get_meta(["n"], 10**6, "task")
    assert sorted(meta["global_indexes"]) == [*range(300)]
    for index in range(0, 300, 17):
        (row,) = await bucket.get_data({"global_indexes": [index]})
        meta = await bucket.get_meta([f"own {row['n']}"], 10**6, f"task {index}")
        assert meta["global_indexes"] == [index]


@pytest.mark.parametrize("name", NAMES)
async def test_a_second_system_goes_on_where_the_first_ended(tmp_path: Path, name: str) -> None:
    for turn in range(3):
        system = await pulsing.actor_system()
        try:
            await pulsing_queue.scenario(system, tmp_path, name, turn)
        finally:
            await system.shutdown()


async def test_producers_and_a_consumer_share_a_queue(system: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "num_buckets": 2,
        "storage_path": str(tmp_path),
        "backend": "persisting",
        "backend_options": {"wal_sync_interval": 0, "flush_interval": 0.05},
    }
    count, producers = 60, 4

    async def produce(producer: int) -> None:
        writer = await system.queue.write("shared", **options)
        for i in range(count):
            await writer.put({"id": f"{producer} {i}", "producer": producer, "n": i})

    async def consume() -> list[dict[str, Any]]:
        reader = await system.queue.read("shared", **options)
        found: list[dict[str, Any]] = []
        while len(found) < count * producers:
            found += await reader.get(limit=50)
            await asyncio.sleep(0)
        return found

    consumer = asyncio.create_task(consume())
    await asyncio.wait_for(asyncio.gather(*map(produce, range(producers))), 60)
    found = await asyncio.wait_for(consumer, 60)
    assert len({(r["producer"], r["n"]) for r in found}) == len(found) == count * producers
