"""ParameterStore: a version costs what changed, and comes to those who have the one before so."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from persisting._errors import ClosedError, ConflictError, InvalidArgumentError, NotFoundError
from persisting.params import ParameterStore, Pulled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Model = dict[str, np.ndarray]


@pytest.fixture(params=[False, True], ids=["from the disk", "kept"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ParameterStore]:
    with ParameterStore(tmp_path / "store", keep=request.param) as opened:
        yield opened


class Training:
    """A model of bf16 whose steps move about 0.8 % of the values by a unit of the last place."""

    def __init__(self, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        shapes = {"embed": (900, 700), "up": (512, 1024), "norm": (700,)}
        self.model: Model = {
            name: self.rng.normal(0, 0.02, shape).astype(ml_dtypes.bfloat16)
            for name, shape in shapes.items()
        }

    def step(self) -> Model:
        """Return the model after one more step."""
        after: Model = {}
        for name, value in self.model.items():
            bits = value.view(np.uint16).copy()
            moved = self.rng.random(bits.shape) < 0.008
            bits[moved] += self.rng.choice(np.array([1, 0xFFFF], np.uint16), int(moved.sum()))
            after[name] = bits.view(ml_dtypes.bfloat16)
        self.model = after
        return after


def equal(found: dict[str, Any], saved: Model) -> None:
    assert [*found] == [*saved]
    for name, value in saved.items():
        assert found[name].tobytes() == value.tobytes(), name


def copy(model: Model) -> Model:
    return {name: value.copy() for name, value in model.items()}


def test_a_step_costs_what_changed(store: ParameterStore) -> None:
    training = Training()
    versions = [training.model]
    first = store.save("m", training.model)
    total = first.stored
    for _ in range(20):
        versions.append(training.step())
        info = store.save("m", training.model)
        assert info.base == info.version - 1
        if info.version % 8 != 1:  # those have a layer over the first version as well
            assert info.stored < 0.0125 * first.nbytes
        total += info.stored
    assert total < 1.4 * first.nbytes
    for version, saved in enumerate(versions, 1):
        equal(store.load("m", version), saved)
    rows = store.load("m", 13, keys=["embed"], slices={"embed": (321, 654)})
    assert rows["embed"].tobytes() == versions[12]["embed"][321:654].tobytes()
    assert store.verify() == []


def test_without_a_base_all_is_stored(store: ParameterStore) -> None:
    training = Training()
    first = store.save("m", training.model)
    whole = store.save("m", training.step(), base=None)
    assert whole.base == 0
    assert whole.stored > 0.98 * first.nbytes
    other = store.save("m", training.step(), base=1)
    assert (other.base, other.stored < 0.03 * first.nbytes) == (1, True)
    with pytest.raises(NotFoundError, match="version 9"):
        store.save("m", training.model, base=9)
    with pytest.raises(InvalidArgumentError, match="version"):
        store.save("m", training.model, base=0)


def test_versions_that_others_are_told_from_can_be_deleted(store: ParameterStore) -> None:
    training = Training()
    store.save("m", training.model)
    for version in range(2, 13):
        store.save("m", training.step())
        store.delete("m", version - 1)
        store.gc()
        equal(store.load("m"), training.model)
    assert store.verify() == []


def test_prune(store: ParameterStore) -> None:
    training = Training()
    for version in range(1, 8):
        store.save("m", training.step(), tags=["good"] if version == 3 else [])
    assert store.prune("m", 2) == [1, 2, 4, 5]
    assert [info.version for info in store.versions("m")] == [3, 6, 7]
    assert store.prune("m", 3) == []
    store.gc()
    assert store.verify() == []
    equal(store.load("m"), training.model)
    with pytest.raises(InvalidArgumentError, match="newest"):
        store.prune("m", 0)


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1.0, -1.0, 1e-40, -1e-40]


def test_prune_keeps_every_so_many(store: ParameterStore) -> None:
    training = Training()
    for _ in range(20):
        store.save("m", training.step())
    store.set_tag("m", "best", 7)
    assert store.prune("m", 3, every=5) == [1, 2, 3, 4, 6, 8, 9, 11, 12, 13, 14, 16, 17]
    assert store.prune("m", 3, every=5) == []
    store.gc()
    assert [info.version for info in store.versions("m")] == [5, 7, 10, 15, 18, 19, 20]
    assert store.verify() == []
    for every in (0, -1):
        with pytest.raises(InvalidArgumentError, match="every"):
            store.prune("m", 3, every=every)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, "f2", "f4", "f8"], ids=str)
def test_every_bit_of_odd_numbers_comes_back(store: ParameterStore, dtype: Any) -> None:
    kind = np.dtype(dtype)
    bits = np.dtype(f"u{kind.itemsize}")
    rng = np.random.default_rng(3)
    with np.errstate(over="ignore"):
        odd = np.array(SPECIAL).astype(kind)
    payloads = odd[4:6].view(bits) | np.array(3, bits)  # NaNs that carry something
    odd = np.concatenate([odd, payloads.view(kind)])
    model = {"t": rng.normal(size=100_000).astype(kind)}
    store.save("m", model)
    for _ in range(3):
        before = copy(model)
        at = rng.choice(100_000, 2000, replace=False)
        model = copy(model)
        model["t"][at] = odd[rng.integers(0, len(odd), 2000)]
        assert store.save("m", model).stored < 0.3 * model["t"].nbytes
        assert store.load("m")["t"].tobytes() == model["t"].tobytes()
        (patch,) = store.patches("m", store.latest("m") - 1)
        assert (patch.name, patch.shape, patch.indices.dtype) == ("t", (100_000,), np.int32)
        flat = before["t"].view(bits)
        flat[patch.indices] = patch.values.view(bits)
        assert flat.tobytes() == model["t"].tobytes()
        assert set(patch.indices) <= set(at)


def test_other_dtypes_are_told_byte_by_byte(store: ParameterStore) -> None:
    rng = np.random.default_rng(4)
    for number, dtype in enumerate([ml_dtypes.float8_e4m3fn, "i4", "u1", "c8", "M8[ns]"]):
        kind = np.dtype(dtype)
        value = np.frombuffer(rng.bytes(60_000 * kind.itemsize), kind)
        store.save(f"m{number}", {"t": value})
        changed = value.copy()
        changed.view(np.uint8)[::500] ^= 0x81
        assert store.save(f"m{number}", {"t": changed}).stored < 0.4 * value.nbytes
        assert store.load(f"m{number}")["t"].tobytes() == changed.tobytes()


def test_random_values_cost_no_more_than_they_are(store: ParameterStore) -> None:
    rng = np.random.default_rng(5)
    for _ in range(3):
        value = np.frombuffer(rng.bytes(8_000_000), np.float32)
        info = store.save("m", {"t": value})
        assert info.stored < 1.01 * info.nbytes
        assert store.load("m")["t"].tobytes() == value.tobytes()


def test_pull(store: ParameterStore) -> None:
    training = Training()
    store.save("m", training.model | {"gone": np.zeros(9)})
    served = copy(training.model)
    for version in range(2, 12):
        store.save("m", training.step())
        pulled = store.pull("m", served, version - 1)
        assert pulled.version == version
        assert (pulled.told, pulled.loaded) == (2, 1)  # the norms are too small to be told
        assert pulled.read < 0.02 * sum(value.nbytes for value in served.values())
        equal(served, training.model)
    assert store.pull("m", served, 11) == Pulled(11, same=3, told=0, loaded=0, read=0)
    store.pull("m", served, 2)  # what is there already is left alone
    equal(served, training.model)
    store.pull("m", served, "latest", 3)
    store.pull("m", served, 3, 10, verify=False)
    store.pull("m", served, 10)
    equal(served, training.model)
    served["up"].view(np.uint16)[7, 7] ^= 1
    with pytest.raises(ConflictError, match=r'tensor "up": .*block 0'):
        store.pull("m", served, 3)


@pytest.mark.parametrize(
    ("tensors", "error", "says"),
    [
        ({"x": np.zeros(2)}, NotFoundError, "no 'x'"),
        ({"t": np.zeros(2)}, InvalidArgumentError, r"F64 \[2\].*F64 \[4\]"),
        ({"t": np.zeros(8)[::2]}, InvalidArgumentError, "contiguous"),
    ],
)
def test_what_cannot_be_pulled(
    store: ParameterStore, tensors: Any, error: type[Exception], says: str
) -> None:
    store.save("m", {"t": np.zeros(4)})
    store.save("m", {"t": np.ones(4)})
    with pytest.raises(error, match=says):
        store.pull("m", tensors, 1)


def test_patches(store: ParameterStore) -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    labels = np.array([b"a", b"bcd", b"e"])
    store.save("m", {"t": table, "same": table + 1, "s": labels, "shape": table, "gone": table})
    after = table.copy()
    after[1, 2] = -0.0
    after[2, 3] = 7
    others = np.array([b"a", b"bcd", b"f"])
    store.save("m", {"t": after, "same": table + 1, "s": others, "shape": table.T, "new": table})
    found = {patch.name: patch for patch in store.patches("m", 1)}
    assert [*found] == ["t", "s", "shape", "new"]
    assert found["t"].indices.tolist() == [6, 11]
    assert found["t"].values.tobytes() == np.array([-0.0, 7], np.float32).tobytes()
    assert (found["s"].indices.tolist(), found["s"].values.tolist()) == ([2], [b"f"])
    assert found["shape"].indices is None
    assert found["shape"].values.tolist() == table.T.reshape(-1).tolist()
    assert found["new"].indices is None
    assert [*store.patches("m", 2)] == []
    with pytest.raises(InvalidArgumentError, match="jax"):
        [*store.patches("m", 1, framework="jax")]  # type: ignore[arg-type]


def test_a_save_in_the_background_has_what_was_there(store: ParameterStore) -> None:
    rng = np.random.default_rng(6)
    table = rng.random(300_000)
    model = {"a": table, "b": table, "turned": table.reshape(3, -1).T, "none": table[:0]}
    saved = []
    futures = []
    for step in range(4):
        futures.append(store.save("m", model, metadata={"step": step}, tags=["t"], wait=False))
        saved.append({name: value.copy() for name, value in model.items()})
        table += rng.random(table.size)  # at once
    for version, future in enumerate(futures, 1):
        info = future.result()
        assert (info.version, info.metadata, info.tags) == (version, {"step": version - 1}, ("t",))
        equal(store.load("m", version), saved[version - 1])
    found = store.load("m")
    assert found["a"] is found["b"]
    store.save("m", model, wait=False)
    store.close()
    with pytest.raises(ClosedError):
        store.save("m", model, wait=False)
    with ParameterStore(store.path) as again:
        assert again.latest("m") == 5


def test_a_save_in_the_background_says_why_it_failed(store: ParameterStore) -> None:
    model = {"t": np.zeros(200_000)}
    assert isinstance(store.save("m", model, expect=3, wait=False).exception(), ConflictError)
    assert store.names() == []
    with pytest.raises(InvalidArgumentError, match="no tensor"):
        store.save("m", {"t": "text"}, wait=False)
    first = store.save("m", {"t": np.zeros(4_000_000)}, wait=False)
    rest = [store.save("m", {"t": np.zeros(4_000_000) + n}, wait=False) for n in range(1, 9)]
    cancelled = sum(future.cancel() for future in rest)
    assert first.result().version == 1
    done = [future.result().version for future in rest if not future.cancelled()]
    assert done == [*range(2, 10 - cancelled)]
    assert store.latest("m") == 9 - cancelled


def test_a_save_says_how_far_it_is(store: ParameterStore) -> None:
    training = Training()
    nbytes = sum(value.nbytes for value in training.model.values())
    seen: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        seen.append((done, total))

    store.save("m", training.step(), progress=note)
    first, seen = seen, []
    store.save("m", training.step(), progress=note, wait=False).result()
    for reports in (first, seen):
        assert reports == sorted(reports)
        assert reports[-1] == (nbytes, nbytes)
    equal(store.load("m"), training.model)


def test_a_save_that_nobody_wants_any_more_leaves_nothing(store: ParameterStore) -> None:
    class Enough(Exception):
        """That it is."""

    def enough(_done: int, _total: int) -> None:
        raise Enough

    training = Training()
    store.save("m", training.step())
    rng = np.random.default_rng(4)
    large = {f"t{i}": np.frombuffer(rng.bytes(64 << 20), np.uint8) for i in range(8)}
    with pytest.raises(Enough):
        store.save("m", large, progress=enough)
    assert store.latest("m") == 1
    assert [*store.gc().values()] == [0] * 5
    store.save("m", training.step())
    equal(store.load("m"), training.model)


def test_a_line_says_how_far_a_save_is(
    store: ParameterStore, capsys: pytest.CaptureFixture[str]
) -> None:
    store.save("org/model", {"t": np.zeros(2_000_000, np.uint8)}, progress=True)
    said = capsys.readouterr().err
    assert said.endswith("\rorg/model: 100 % of 2 MB\n")


def test_objects_go_with_a_save_in_the_background(store: ParameterStore) -> None:
    future = store.save("m", {"t": np.zeros(3)}, objects={"note": b"text"}, wait=False)
    with store.open("m", future.result().version) as opened:
        assert opened.read_object("note") == b"text"
        assert [*opened.tensors] == ["t"]


def test_watch(store: ParameterStore) -> None:
    assert [*store.watch("m", timeout=0.05)] == []
    follower = f"""
from persisting.params import ParameterStore
with ParameterStore({store.path!r}, read_only=True) as store:
    for version in store.watch("m", 0):
        print(version, flush=True)
        if version == 3:
            break
"""
    argv = [sys.executable, "-c", follower]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for version in (1, 2, 3):
            store.save("m", {"t": np.full(9, version)})
            assert process.stdout.readline() == f"{version}\n"
    assert process.returncode == 0
    watch = store.watch("m", timeout=30)
    threading.Timer(0.05, store.save, ["m", {"t": np.zeros(9)}]).start()
    assert next(watch) == 4
    assert [*store.watch("m", 1, timeout=0.05)] == [4]
    with pytest.raises(InvalidArgumentError, match="after: want an int"):
        next(store.watch("m", -1))
    threading.Timer(0.05, store.close).start()
    with pytest.raises(ClosedError):
        next(watch)
