"""The peers: their Python environment and server, made in the cache once per set of versions."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

from _build.cache import CACHE, locked
from _build.process import environment, logged, say
from _build.tools import make_venv
from benchmarks.model import Environment

if TYPE_CHECKING:
    from pathlib import Path

PEERS = (
    "matplotlib==3.11.2",
    "nats-py==2.16.0",
    "numpy==2.4.6",
    "pulsing==0.1.2",
    "pyarrow==26.0.1",
    "pylance==14.0.2",
    "rocksdict==0.3.29",
)
# Without tensordict, and so torch, which its record path does not use.
PEER_ALONE = "persisting==0.3.0"
NATS = "github.com/nats-io/nats-server/v2@v2.15.2"

DIRECTORY = CACHE / "bench"
NATS_SERVER = DIRECTORY / NATS.replace("/", "-") / "nats-server"


def python(environment_of: Environment) -> Path | str:
    """Return the Python of an environment, made if need be."""
    return sys.executable if environment_of is Environment.OURS else peers()


def peers() -> Path:
    """Return the Python of the peers' environment."""
    key = hashlib.sha256("\n".join((*PEERS, PEER_ALONE, sys.version)).encode()).hexdigest()[:12]
    directory = DIRECTORY / f"peers-{key}"
    binary = directory / "bin" / "python"
    ready = directory / "ready"
    with locked("peers"):
        if not ready.exists():
            say("peers: installing from PyPI")
            make_venv(directory, *PEERS)
            pip = [str(binary), "-m", "pip", "install", "--no-deps", PEER_ALONE]
            logged("peers", pip, env=environment())
            ready.touch()
        if not NATS_SERVER.exists():
            say("nats-server: building")
            env = environment(GOBIN=str(NATS_SERVER.parent))
            logged("nats-server", ["go", "install", "-trimpath", NATS], env=env)
    return binary
