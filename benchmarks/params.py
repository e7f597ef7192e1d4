"""Models saved and loaded, for the table in docs/params.md.

python3 -m benchmarks.params [--directory DIR] [--mib 1024] [--tensors 56] [--rounds 4]

Beside each figure are those of the same bytes, on the same file system, in the same run, by
O_DIRECT or pread with four threads, and by safetensors where it is installed. Sides take turns; the
best of all rounds counts, and of the processor time the median. Loads go into memory that is
there; it lies as torch makes it.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from persisting.params import ParameterStore

if TYPE_CHECKING:
    from collections.abc import Callable

    Figures = dict[str, tuple[list[float], list[float]]]

THREADS = 4
CHUNK = 4 << 20


def aligned(size: int, phase: int) -> np.ndarray:
    """Return memory that begins at `phase` behind a multiple of 4096."""
    room = np.empty(size + 4096, np.uint8)
    skip = (phase - room.ctypes.data) % 4096
    return room[skip : skip + size]


def model(mib: int, count: int) -> dict[str, np.ndarray]:
    """Return tensors of random bytes, of four sizes as the layers of a transformer have."""
    sizes = [(1 + i % 4) for i in range(count)]
    unit = (mib << 20) // sum(sizes) // 64 * 64
    rng = np.random.default_rng(1)
    made = {}
    for i, size in enumerate(sizes):
        memory = aligned(size * unit, 64)
        memory[:] = np.frombuffer(rng.bytes(size * unit), np.uint8)
        made[f"layers.{i}.weight"] = memory.view(np.uint16).reshape(64 // 2, -1)
    return made


class Raw:
    """One file, by four threads."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size // CHUNK * CHUNK
        self.memory = mmap.mmap(-1, self.size)
        self.memory.write(os.urandom(1 << 20) * (self.size >> 20))
        self.pool = ThreadPoolExecutor(THREADS)

    def _each(self, flags: int, move: Callable[..., int]) -> None:
        fd = os.open(self.path, flags, 0o644)
        view = memoryview(self.memory)
        if flags & os.O_CREAT:
            os.posix_fallocate(fd, 0, self.size)

        def one(at: int) -> None:
            assert move(fd, [view[at : at + CHUNK]], at) == CHUNK

        for _ in self.pool.map(one, range(0, self.size, CHUNK)):
            pass
        if flags & os.O_CREAT:
            os.fsync(fd)
        os.close(fd)

    def write(self) -> None:
        self.path.unlink(missing_ok=True)
        self._each(os.O_RDWR | os.O_CREAT | os.O_DIRECT, os.pwritev)

    def read(self, *, direct: bool) -> None:
        self._each(os.O_RDONLY | (os.O_DIRECT if direct else 0), os.preadv)


def forget(directory: Path) -> None:
    """Have the next reads go to the disk."""
    for path in directory.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


class Clock:
    """Takes the times of things that are done again and again."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.figures: Figures = {}

    def measure(self, name: str, do: Callable[[], object]) -> None:
        """Do something and note how long it took, and how much processor time."""
        wall, cpu = time.perf_counter(), time.process_time()
        do()
        walls, cpus = self.figures.setdefault(name, ([], []))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)

    def lines(self) -> list[str]:
        """Return a table."""
        found = ["| | GB/s | median | CPU s/GB |", "|---|---:|---:|---:|"]
        for name, (walls, cpus) in self.figures.items():
            rates = [self.size / wall / 1e9 for wall in (min(walls), statistics.median(walls))]
            cpu = statistics.median(cpus) / self.size * 1e9
            found.append(f"| {name} | {rates[0]:.2f} | {rates[1]:.2f} | {cpu:.2f} |")
        return found


def run(directory: Path, mib: int, count: int, rounds: int) -> None:
    """Measure and print."""
    tensors = model(mib, count)
    size = sum(value.nbytes for value in tensors.values())
    raw, clock = Raw(directory / "raw", size), Clock(size)
    out = {
        name: aligned(v.nbytes, 64).view(v.dtype).reshape(v.shape) for name, v in tensors.items()
    }
    for value in out.values():
        value.fill(0)
    peer = safetensors_sides(directory / "peer.safetensors", tensors, out)
    root = directory / "store"
    for number in range(rounds):
        with ParameterStore(root) as store:
            name = f"m{number}"
            for value in tensors.values():  # so that nothing of it is there
                value.view(np.uint8).reshape(-1)[: 1 << 20 : 4096] += 1
            clock.measure("save, raw O_DIRECT", raw.write)
            clock.measure("save", lambda: store.save(name, tensors))  # noqa: B023
            clock.measure("save again, nothing changed", lambda: store.save(name, tensors))  # noqa: B023
            for side, do in peer.items():
                if side.startswith("save"):
                    clock.measure(side, do)
            forget(directory)
            clock.measure("cold, raw O_DIRECT", lambda: raw.read(direct=True))
            clock.measure("cold", lambda: store.load(name, out=out))  # noqa: B023
            for side, do in peer.items():
                if side.startswith("cold"):
                    forget(directory)
                    clock.measure(side, do)
            for check in (True, False):
                warm(root, raw.path)
                clock.measure("hot, raw pread", lambda: raw.read(direct=False))
                clock.measure(
                    f"hot{'' if check else ', not verified'}",
                    lambda: store.load(name, out=out, verify=check),  # noqa: B023
                )
            for side, do in peer.items():
                if side.startswith("hot"):
                    do()
                    clock.measure(side, do)
            assert all(np.array_equal(out[key], value) for key, value in tensors.items())
            store.drop(name)
            store.gc()
    print(f"{size / 1e9:.2f} GB in {count} tensors, best of {rounds}:\n")
    print("\n".join(clock.lines()))


def warm(*roots: Path) -> None:
    """Read files into the page cache."""
    for root in roots:
        for path in root.rglob("*") if root.is_dir() else [root]:
            if path.is_file():
                with path.open("rb", buffering=0) as file:
                    buffer = bytearray(CHUNK)
                    while file.readinto(buffer):
                        pass


def safetensors_sides(
    path: Path, tensors: dict[str, np.ndarray], out: dict[str, Any]
) -> dict[str, Callable[[], object]]:
    """Return what safetensors does, none where it is not installed."""
    with contextlib.suppress(ImportError):
        import safetensors
        import safetensors.numpy

        def save() -> None:
            safetensors.numpy.save_file(tensors, path)
            for place, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY)):
                fd = os.open(place, flags)
                os.fsync(fd)
                os.close(fd)

        def load() -> None:
            with safetensors.safe_open(path, "np") as file:
                for key, value in out.items():
                    value[...] = file.get_tensor(key)

        return {
            "save, safetensors and fsync": save,
            "cold, safetensors safe_open and copy": load,
            "hot, safetensors safe_open and copy": load,
        }
    return {}


def partial(directory: Path, rounds: int) -> None:
    """Measure what is read of one tensor from the disk, and print."""
    wide = 3584  # 27.5 MB of 2 bytes in rows of 3,840
    rng = np.random.default_rng(3)
    shapes = {f"t.{i}": (wide, 3840) for i in range(4)}
    tensors = {k: np.frombuffer(rng.bytes(2 * wide * 3840), np.uint16) for k in shapes}
    root = directory / "partial"
    with ParameterStore(root) as store:
        store.save("m", {key: value.reshape(shapes[key]) for key, value in tensors.items()})
    quarter = slice(wide // 4, wide // 2)
    parts: dict[str, dict[str, Any]] = {
        "a tensor of 27.5 MB": {},
        "a quarter of its rows": {"slices": {"t.2": quarter}},
        "a quarter of its columns": {"slices": {"t.2": (slice(0, wide), slice(960, 1920))}},
    }
    found = []
    for name, arguments in parts.items():
        times = []
        for _ in range(rounds):
            forget(directory)
            begun = time.perf_counter()
            with ParameterStore(root, read_only=True) as store:
                store.load("m", keys=["t.2"], **arguments)
            times.append(time.perf_counter() - begun)
        found.append(f"{name} {1000 * min(times):.1f} ms")
    print(f"\nFrom the disk, with the opening of the store: {', '.join(found)}")


def growth(do: Callable[[], object]) -> int:
    """Return by how many bytes the memory of the process grew at most while something was done."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is there now
    before = _status("VmRSS")
    do()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])


def memory(directory: Path, mib: int, count: int) -> None:
    """Measure how much memory a save and a load take, and print."""
    tensors = model(mib, count)
    size = sum(value.nbytes for value in tensors.values())
    kept: list[Any] = []
    with ParameterStore(directory / "memory", keep=True) as store:
        saved = growth(lambda: store.save("m", tensors))
        loaded = growth(lambda: kept.append(store.load("m")))
    print(
        f"\nMemory beside {size >> 20} MiB of tensors: a save that keeps a copy {saved >> 20} MiB, "
        f"a load into new memory {loaded >> 20} MiB"
    )


def many(directory: Path, count: int) -> None:
    """Measure many small tensors, and print."""
    rng = np.random.default_rng(2)
    tensors = {f"t.{i}": rng.integers(0, 255, 1024, np.uint8) for i in range(count)}
    steps: dict[str, Callable[[], object]] = {}
    with ParameterStore(directory / "many") as store:
        steps["save"] = lambda: store.save("m", tensors)
        steps["open"] = lambda: store.open("m").close()
        steps["load all"] = lambda: store.load("m")
        steps["load one"] = lambda: store.load("m", keys=["t.7"])
        found = []
        for name, do in steps.items():
            begun = time.perf_counter()
            do()
            found.append(f"{name} {1000 * (time.perf_counter() - begun):.0f} ms")
    print(f"\n{count:,} tensors of 1 KiB: {', '.join(found)}")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python3 -m benchmarks.params")
    parser.add_argument("--directory", type=Path, help="where; default a temporary directory")
    parser.add_argument("--mib", type=int, default=1024, help="size of the model")
    parser.add_argument("--tensors", type=int, default=56)
    parser.add_argument("--many", type=int, default=50_000, help="number of small tensors")
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as made:
        run(Path(made), arguments.mib, arguments.tensors, arguments.rounds)
        partial(Path(made), arguments.rounds)
        memory(Path(made), arguments.mib, arguments.tensors)
        many(Path(made), arguments.many)


if __name__ == "__main__":
    main()
