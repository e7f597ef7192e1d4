"""What the commands that serve a store share: where they listen, and until when."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from persisting import metrics
from persisting._cli._streams import utf8
from persisting._errors import InvalidArgumentError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from persisting.kv import KVStore
    from persisting.trajectory import TrajectoryStore


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--socket", type=utf8, help="path of a unix socket to make, mode 0600")
    parser.add_argument(
        "--listen",
        type=utf8,
        metavar="HOST:PORT",
        help="address of TCP, of the loopback interface; every process of the machine may connect",
    )
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        help="let --listen be any address: whoever connects may read and write everything",
    )
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="serve metrics and the status page there"
    )


def run(arguments: argparse.Namespace, opened: Callable[[], KVStore | TrajectoryStore]) -> int:
    """Open a store and serve it until Ctrl-C or SIGTERM; return the status."""
    if arguments.socket is None and arguments.listen is None:
        raise InvalidArgumentError("say --socket PATH, or --listen HOST:PORT, or both")
    ends = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        with opened() as store:
            server = store.serve(
                arguments.socket, listen=arguments.listen, allow_remote=arguments.allow_remote
            )
            print(f"{arguments.path}: serving at {', '.join(server.addresses)}", flush=True)
            if arguments.metrics_port is None:
                signal.sigwait(ends)
            else:
                with metrics.start_http_server(arguments.metrics_port) as page:
                    print(f"metrics at {page.url}", flush=True)
                    signal.sigwait(ends)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return 0
