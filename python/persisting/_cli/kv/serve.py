"""Serve a store to other processes, until Ctrl-C or SIGTERM.

Programs take the address in the place of a path: KVStore.connect("unix:/run/kv.sock"),
and so do the plugs for vLLM, SGLang and LMCache. A store that is served has this
process as its owner; when it ends, its clients find nothing until it is back.

Status: 0, or 2 when it could not begin.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from persisting import metrics
from persisting._cli._streams import utf8
from persisting._cli.kv import _stores
from persisting._errors import InvalidArgumentError
from persisting.kv import KVStore
from persisting.kv._sizes import in_bytes

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    _stores.add_path(parser, address=False)
    parser.add_argument("--capacity", help='such as "500 GiB"; default: the last one of the store')
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


def run(arguments: argparse.Namespace) -> int:
    """Serve and return the status."""
    if arguments.socket is None and arguments.listen is None:
        raise InvalidArgumentError("say --socket PATH, or --listen HOST:PORT, or both")
    # 0 is the capacity that the store had last.
    capacity = in_bytes(arguments.capacity, "--capacity") if arguments.capacity else 0
    ends = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        with KVStore(arguments.path, capacity=capacity) as store:
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
