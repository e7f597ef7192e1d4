"""Versions of a model in training, for the table in docs/params.md.

python3 -m benchmarks.params_steps [--directory DIR] [--mib 256] [--versions 64] [--rate 1e-6]

A step moves every weight, which is kept in f32, by the rate up or down, as Adam does along
gradients that are noise, and the model that is saved is these in bf16. Two tensors are trained; the
others are the same values in another order, which takes a tenth of the time and costs a store as
much. What is measured: the save of a step with the last one kept in memory and without, the pull of
a step into tensors in memory, with and without checks, and the load of versions, cold and hot,
beside that of the first one, which is stored as it is, and raw reads of as many bytes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np

from benchmarks.params import Clock, Raw, aligned, forget, warm
from persisting.params import ParameterStore

TENSOR = 9 << 20
"""Values of a tensor."""

TRAINED = 2
"""Tensors whose weights are there in f32."""

ROUNDS = 3


class Training:
    """A model in training."""

    def __init__(self, mib: int, rate: float) -> None:
        self.rng = np.random.default_rng(1)
        self.rate = np.float32(rate)
        count = max(TRAINED, (mib << 20) // (2 * TENSOR))
        self.weights = [self.rng.standard_normal(TENSOR, np.float32) / 50 for _ in range(TRAINED)]
        self.model = {
            f"layers.{i}.weight": aligned(2 * TENSOR, 64).view(ml_dtypes.bfloat16)
            for i in range(count)
        }
        self._publish()

    def _publish(self) -> None:
        trained = [weights.astype(ml_dtypes.bfloat16) for weights in self.weights]
        for i, value in enumerate(self.model.values()):
            first = i // TRAINED * 100_003  # where the values of this one begin
            value[: TENSOR - first] = trained[i % TRAINED][first:]
            value[TENSOR - first :] = trained[i % TRAINED][:first]

    def step(self) -> None:
        """Train once, in place."""
        for weights in self.weights:
            up = np.unpackbits(np.frombuffer(self.rng.bytes(TENSOR // 8), np.uint8))
            weights += self.rate * (2 * up.astype(np.float32) - 1)
        self._publish()


def run(directory: Path, mib: int, versions: int, rate: float) -> None:
    """Measure and print."""
    training = Training(mib, rate)
    tensors = training.model
    size = sum(value.nbytes for value in tensors.values())
    served = {
        name: aligned(v.nbytes, 64).view(v.dtype).reshape(v.shape) for name, v in tensors.items()
    }
    clock, raw = Clock(size), Raw(directory / "raw", size)
    raw.write()
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
            clock.measure(
                f"save a {kind}, kept", lambda: stored.append(kept.save("m", tensors).stored)
            )
            if version <= 10:
                clock.measure(f"save a {kind}, read from the disk", lambda: read.save("m", tensors))
            check = version % 2 == 0
            name = f"pull a step{'' if check else ', not verified'}"
            clock.measure(name, partial(kept.pull, "m", served, version - 1, verify=check))
        assert all(np.array_equal(served[k].view("u2"), v.view("u2")) for k, v in tensors.items())
        chosen = [v for v in (1, 2, 8, 9, 16, versions) if v <= versions]
        for _ in range(ROUNDS):
            forget(directory)
            clock.measure("raw O_DIRECT", lambda: raw.read(direct=True))
            for version in chosen:
                forget(directory)
                load = partial(kept.load, "m", version, out=served)
                clock.measure(f"load version {version}, cold", load)
        warm(directory)
        for _ in range(ROUNDS):
            clock.measure("raw pread, hot", lambda: raw.read(direct=False))
            for version in chosen:
                load = partial(kept.load, "m", version, out=served)
                clock.measure(f"load version {version}, hot", load)
    steps = [100 * n / size for i, n in enumerate(stored[1:], 2) if i % 8 != 1]
    print(f"{size / 1e9:.2f} GB, a rate of {rate}, {versions} versions:")
    print(f"step {statistics.mean(steps):.2f} %, all {sum(stored) / size:.2f} models\n")
    print("\n".join(clock.lines()))


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python3 -m benchmarks.params_steps")
    parser.add_argument("--directory", type=Path, help="where; default a temporary directory")
    parser.add_argument("--mib", type=int, default=256, help="size of the model")
    parser.add_argument("--versions", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-6, help="by which a step moves a weight")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as made:
        run(Path(made), arguments.mib, arguments.versions, arguments.rate)


if __name__ == "__main__":
    main()
