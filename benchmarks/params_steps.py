"""Versions of a model in training, for the table in docs/params.md.

python3 -m benchmarks.params_steps [--directory DIR] [--mib 512] [--versions 64] [--rate 1e-6]

A step moves every weight, which is kept in f32, by the rate up or down, as Adam does along
gradients that are noise, and the model that is saved is these in bf16. What is measured: the save
of a step with the last one kept in memory and without, the pull of a step into tensors in memory,
with and without checks, and the load of versions, cold and hot, beside that of the first one, which
is stored as it is.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from benchmarks.params import aligned, forget, warm
from persisting.params import ParameterStore

if TYPE_CHECKING:
    from collections.abc import Callable

TENSOR = 9 << 20
"""Values of a tensor."""


class Training:
    """A model in training."""

    def __init__(self, mib: int, rate: float) -> None:
        self.rng = np.random.default_rng(1)
        self.rate = np.float32(rate)
        count = max(1, (mib << 20) // (2 * TENSOR))
        self.weights = [self.rng.standard_normal(TENSOR, np.float32) / 50 for _ in range(count)]
        self.model = {
            f"layers.{i}.weight": aligned(2 * TENSOR, 64).view(ml_dtypes.bfloat16)
            for i in range(count)
        }
        self._publish()

    def _publish(self) -> None:
        for weights, value in zip(self.weights, self.model.values(), strict=True):
            value[:] = weights.astype(ml_dtypes.bfloat16)

    def step(self) -> None:
        """Train once, in place."""
        for weights in self.weights:
            up = np.unpackbits(np.frombuffer(self.rng.bytes(TENSOR // 8), np.uint8))
            weights += self.rate * (2 * up.astype(np.float32) - 1)
        self._publish()


def took(do: Callable[[], object]) -> tuple[float, float]:
    """Do something; return seconds, and those of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    do()
    return time.perf_counter() - wall, time.process_time() - cpu


def line(name: str, times: list[tuple[float, float]], size: int) -> None:
    """Print the best and the median of some times, and what the processor took."""
    walls, cpus = zip(*times, strict=True)
    best, usual, cpu = min(walls), statistics.median(walls), statistics.median(cpus)
    rates = f"{size / best / 1e9:.2f} | {size / usual / 1e9:.2f}"
    print(f"| {name} | {1e3 * best / size * 1e9:.0f} | {rates} | {cpu / size * 1e9:.2f} |")


def run(directory: Path, mib: int, versions: int, rate: float) -> None:
    """Measure and print."""
    training = Training(mib, rate)
    tensors = training.model
    size = sum(value.nbytes for value in tensors.values())
    served = {
        name: aligned(v.nbytes, 64).view(v.dtype).reshape(v.shape) for name, v in tensors.items()
    }
    times: dict[str, list[tuple[float, float]]] = {}

    def measure(name: str, do: Callable[[], object]) -> None:
        times.setdefault(name, []).append(took(do))

    stored = []
    with (
        ParameterStore(directory / "kept", keep=True) as kept,
        ParameterStore(directory / "read") as read,
    ):
        stored.append(kept.save("m", tensors).stored)
        read.save("m", tensors)
        kept.load("m", out=served)
        for version in range(2, versions + 1):
            training.step()
            kind = "star" if version % 8 == 1 else "step"
            measure(f"save a {kind}, kept", lambda: stored.append(kept.save("m", tensors).stored))
            if version <= 10:
                measure(f"save a {kind}, read from the disk", lambda: read.save("m", tensors))
            check = version % 2 == 0
            name = f"pull a step{'' if check else ', not verified'}"
            measure(name, partial(kept.pull, "m", served, version - 1, verify=check))
        assert all(np.array_equal(served[k].view("u2"), v.view("u2")) for k, v in tensors.items())
        for version in [v for v in (1, 2, 8, 9, 16, versions) if v <= versions]:
            load = partial(kept.load, "m", version, out=served)
            for _ in range(3):
                forget(directory / "kept")
                measure(f"load version {version}, cold", load)
            warm(directory / "kept")
            for _ in range(3):
                measure(f"load version {version}, hot", load)
    steps = [100 * n / size for i, n in enumerate(stored[1:], 2) if i % 8 != 1]
    print(f"{size / 1e9:.2f} GB, a rate of {rate}, {versions} versions:")
    print(f"step {statistics.mean(steps):.2f} %, all {sum(stored) / size:.2f} models\n")
    print("| | ms/GB | GB/s | median | CPU s/GB |\n|---|---:|---:|---:|---:|")
    for name, found in times.items():
        line(name, found, size)


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python3 -m benchmarks.params_steps")
    parser.add_argument("--directory", type=Path, help="where; default a temporary directory")
    parser.add_argument("--mib", type=int, default=512, help="size of the model")
    parser.add_argument("--versions", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-6, help="by which a step moves a weight")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as made:
        run(Path(made), arguments.mib, arguments.versions, arguments.rate)


if __name__ == "__main__":
    main()
