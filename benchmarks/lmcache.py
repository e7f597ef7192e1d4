"""LMCache's own `bench l2` with its disk tiers and the plugs, for the table in docs/kv.md.

python3 -m benchmarks.lmcache [--directory DIR] [--mib 384] [--rounds 3]

Each tier has a fresh directory, every key is verified, and a run of which one key was not stored or
loaded ends with an error. The tiers take turns; the best round of all counts. Without a GPU, and
with the engines that `build.py test --only engines` installs.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from _build.engines import engines, engines_environment

TIERS = ("fs", "fs_native", "plugin", "native_plugin")
PLUGS = {"plugin": "Adapter", "native_plugin": "Connector"}
OPERATIONS = ("Store", "Lookup", "Load")


def configured(tier: str, path: Path, capacity: int) -> dict[str, Any]:
    """Return the configuration of a tier as a user of LMCache writes it."""
    if tier not in PLUGS:
        workers = {"num_workers": 16} if tier == "fs_native" else {}
        return {"type": tier, "base_path": str(path), **workers}
    return {
        "type": tier,
        "module_path": "persisting.integrations.lmcache",
        "class_name": PLUGS[tier],
        "adapter_params": {"path": str(path), "capacity": capacity},
    }


def measured(
    config: dict[str, Any], kib: int, in_flight: int, keys: int, rounds: int
) -> list[float]:
    """Return the best bytes (lookups: keys) a second of each operation."""
    command = [
        *(str(engines() / "venv" / "bin" / "python"), "-m", "lmcache.cli.main", "bench", "l2"),
        *("--l2-adapter", json.dumps(config), "--num-keys", str(keys)),
        *("--in-flight", str(in_flight), "--data-size-kb", str(kib), "--rounds", str(rounds)),
        *("--no-skip-verify", "--lookup-max-hit-rate", "0.5", "--l1-align-bytes", "4096"),
    ]
    told = subprocess.run(
        command, env=engines_environment(), capture_output=True, text=True, check=True
    ).stdout
    best = []
    for name in OPERATIONS:
        laps = re.findall(rf"\[{name}\] Round \d+: ([\d.]+) ms, \w+=(\d+)/(\d+)", told)
        count = in_flight * keys
        want = count // 2 if name == "Lookup" else count
        if len(laps) < rounds or any(int(done) != want for _, done, _ in laps):
            raise RuntimeError(f"{name}: not all of {want} keys:\n{told}")
        amount = count if name == "Lookup" else count * kib * 1024
        best.append(max(amount / (float(ms) / 1e3) for ms, *_ in laps))
    if "data verified OK" not in told:
        raise RuntimeError(f"not verified:\n{told}")
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.lmcache")
    parser.add_argument("--directory", type=Path, default=Path.cwd())
    parser.add_argument("--mib", type=int, default=384, help="moved in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--kib", type=int, nargs="+", default=[256, 1536, 6144])
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tiers", nargs="+", choices=TIERS, default=list(TIERS))
    given = parser.parse_args()
    print("| blocks, in flight | tier | store GB/s | load GB/s | lookups/s |")
    print("|---|---|---:|---:|---:|")
    for kib in given.kib:
        for in_flight in given.in_flight:
            keys = max(1, (given.mib << 10) // kib // in_flight)
            best = {tier: [0.0] * len(OPERATIONS) for tier in given.tiers}
            for turn in range(given.turns):
                for tier in given.tiers if turn % 2 else reversed(given.tiers):
                    with tempfile.TemporaryDirectory(dir=given.directory) as path:
                        config = configured(
                            tier, Path(path) / "tier", 4 * (given.mib << 20) + (2 << 30)
                        )
                        now = measured(config, kib, in_flight, keys, given.rounds)
                    best[tier] = [max(pair) for pair in zip(best[tier], now, strict=True)]
            for tier, (store, lookup, load) in best.items():
                print(
                    f"| {kib / 1024:g} MiB, {in_flight} | {tier} "
                    f"| {store / 1e9:.2f} | {load / 1e9:.2f} | {lookup:,.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
