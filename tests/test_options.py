"""The options of the backends: what is valid, and what is said of what is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from persisting import LanceBackend, PersistingBackend, PersistingError
from persisting._errors import InvalidArgumentError
from persisting.queue._options import PersistingOptions, names
from tests.public import option_names
from tests.support import ROOT

if TYPE_CHECKING:
    from pathlib import Path

COMMON: dict[str, tuple[list[Any], list[Any]]] = {
    "flush_threshold": ([1, 10**9], [0, -1, 1.5, "1", None, True]),
    "flush_bytes": ([1024, 2**40], [0, 1023, -1, 0.5, "1 MB", None]),
    "flush_interval": ([0, 0.01, 5, 86400], [-0.1, 86401, "5", None, float("nan"), float("inf")]),
    "compaction_threshold": ([0, 2, 1000], [1, -1, 2.5, "32", None]),
    "compression": (
        ["auto", "none", "lz4", "zstd", "zstd:1", "zstd:22", None],
        ["gzip", "snappy", "", 1, ["zstd"], "zstd:23", "lz4:1", "zstd:"],
    ),
    "column_compression": ([{}, {"a.b": "zstd:9", "": "none"}], [[], "zstd", {"a": 1}, {"a": "x"}]),
    "cache_bytes": ([0, 2**30], [-1, 0.5, "1", None]),
    "retention_rows": ([None, 1, 2**62], [0, -1, 1.5, "1"]),
    "retention_bytes": ([None, 1, 2**62], [0, -1, 1.5, "1"]),
    "retention_age": ([None, 0.001, 5, 86400], [0, -1, "5", float("nan"), float("inf")]),
    "enable_metrics": ([True, False], [0, 1, "yes", None]),
}
LOGGED: dict[str, tuple[list[Any], list[Any]]] = {
    "enable_wal": ([True, False], [0, 1, "no", None]),
    "wal_sync_interval": ([0, 0.001, 1, 86400], [-1, 86401, "1", None, float("nan")]),
    "max_wal_size": ([2**20, 2**40], [0, 2**20 - 1, -1, 1e6 + 0.5, "1", None]),
    "wal_compression": (["none", "lz4", "zstd"], ["", "auto", "zstd:3", "LZ4", 0, None]),
    "wal_recovery": (["strict", "salvage"], ["", "Strict", 0, None]),
}
OF: dict[type[LanceBackend], dict[str, tuple[list[Any], list[Any]]]] = {
    LanceBackend: COMMON,
    PersistingBackend: COMMON | LOGGED,
}


def cases(which: int) -> list[Any]:
    return [
        pytest.param(cls, name, value, id=f"{cls.__name__}-{name}-{value}")
        for cls, options in OF.items()
        for name, values in options.items()
        for value in values[which]
    ]


@pytest.mark.parametrize(("cls", "name", "value"), cases(0))
async def test_a_valid_value_is_taken(
    cls: type[LanceBackend], name: str, value: Any, bucket: Path
) -> None:
    async with cls(0, bucket, **{name: value}) as backend:
        await backend.put({"n": 1})
        assert await backend.get(1, 0) == [{"n": 1}]


@pytest.mark.parametrize(("cls", "name", "value"), cases(1))
def test_a_wrong_value_is_refused_by_name_and_nothing_is_created(
    cls: type[LanceBackend], name: str, value: Any, bucket: Path
) -> None:
    with pytest.raises(InvalidArgumentError, match=name) as raised:
        cls(0, bucket, **{name: value})
    assert isinstance(raised.value, ValueError)
    assert "want" in str(raised.value)
    assert not bucket.exists()


@pytest.mark.parametrize("cls", OF, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("name", ["flush_treshold", "fs", "logger", "", "%s%d"])
def test_an_unknown_option_is_refused_with_the_valid_ones(
    cls: type[LanceBackend], name: str, bucket: Path
) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        cls(0, bucket, **{name: 1})  # type: ignore[arg-type]
    said = str(raised.value)
    assert repr(name) in said
    assert set(OF[cls]) <= set(re.findall(r"\w+", said))
    assert not bucket.exists()


@pytest.mark.parametrize("cls", OF, ids=lambda cls: cls.__name__)
async def test_names_of_persisting_0_3_0(cls: type[LanceBackend], bucket: Path) -> None:
    async with cls(0, bucket, auto_flush_interval_sec=0, compression=None) as backend:
        await backend.put({"n": 1})
    with pytest.raises(InvalidArgumentError, match="flush_interval: want"):
        cls(0, bucket, auto_flush_interval_sec=-1)
    with pytest.raises(InvalidArgumentError) as raised:
        cls(0, bucket, auto_flush_interval_sec=1, flush_interval=1)
    assert "auto_flush_interval_sec and flush_interval are one option" in str(raised.value)


@pytest.mark.parametrize("name", LOGGED)
def test_a_backend_without_a_log_has_no_options_of_one(name: str, bucket: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        LanceBackend(0, bucket, **{name: LOGGED[name][0][0]})
    assert not bucket.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bucket_id", "0"),
        ("bucket_id", None),
        ("bucket_id", True),
        ("batch_size", 0),
        ("batch_size", -5),
        ("batch_size", 1.0),
        ("batch_size", "100"),
        ("batch_size", True),
    ],
)
def test_arguments_of_the_constructor_are_checked(name: str, value: Any, bucket: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=name):
        LanceBackend(**{"bucket_id": 0, "storage_path": bucket, name: value})
    assert not bucket.exists()


def test_all_faults_are_named_at_once(bucket: Path) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        PersistingBackend(0, bucket, flush_bytes=1, compression="gzip", wal_sync_interval=-1)
    for name in ("flush_bytes", "compression", "wal_sync_interval"):
        assert name in str(raised.value)


def test_a_value_that_json_cannot_hold_is_refused_by_name(bucket: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="flush_bytes"):
        PersistingBackend(0, bucket, flush_bytes=object())  # type: ignore[arg-type]
    assert not bucket.exists()


@pytest.mark.parametrize("cls", OF, ids=lambda cls: cls.__name__)
def test_options_are_those_that_the_docstring_and_the_readme_list(cls: type[LanceBackend]) -> None:
    readme = (ROOT / "README.md").read_text()
    documented = "".join(c.__doc__ or "" for c in cls.__mro__)
    for name in OF[cls]:
        assert re.search(rf"^    {name}$", documented, re.MULTILINE), name
        assert f"`{name}`" in readme, name
    assert set(OF[cls]) == names(cls._OPTIONS)


def test_the_options_are_those_of_the_engine() -> None:
    assert names(PersistingOptions) == set(option_names())


def test_a_path_that_is_a_file_is_a_storage_error(bucket: Path) -> None:
    bucket.write_text("in the way")
    with pytest.raises(PersistingError, match=str(bucket)):
        LanceBackend(0, bucket)
    assert bucket.read_text() == "in the way"


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
async def test_a_path_may_be_odd(kind: Any, bucket: Path) -> None:
    odd = bucket / "a b" / "ü%s"
    async with LanceBackend(0, kind(odd)) as backend:
        await backend.put({"n": 1})
        assert (await backend.stats())["storage_path"] == str(odd)
    assert (odd / "data.lance").is_dir()
