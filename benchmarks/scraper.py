"""Ask for the metrics 100 times a second, at little cost, until the process is killed.

python benchmarks/scraper.py HOST PORT prints a dot for each answer. It asks as Prometheus does: for
OpenMetrics, compressed, on one connection. It asks for nothing that it missed while it was stopped.

With "alone" after the port it asks only once, and then gives itself that answer over and over,
through a socket as well: what a scraper costs where nothing is scraped.
"""

import os
import socket
import sys
import time

PERIOD = 0.01  # seconds
FIELD = b"Content-Length: "


def receive(connection: socket.socket, answer: memoryview) -> int:
    """Receive an answer and return its size."""
    got = connection.recv_into(answer)
    start = bytes(answer[: min(got, 1024)])
    assert start.startswith(b"HTTP/1.1 200 "), start
    at = start.index(FIELD) + len(FIELD)
    end = start.index(b"\r\n\r\n") + 4 + int(start[at : start.index(b"\r\n", at)])
    while got < end:
        got += connection.recv_into(answer[got:])
    return got


def main() -> None:
    """Run the command line."""
    host, port, *alone = sys.argv[1:]
    request = (
        f"GET /metrics HTTP/1.1\r\nHost: {host}:{port}\r\nAccept-Encoding: gzip\r\n"
        "Accept: application/openmetrics-text;version=1.0.0\r\n\r\n"
    ).encode()
    view = memoryview(bytearray(1 << 20))
    connection = socket.create_connection((host, int(port)))
    own, other = socket.socketpair()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(view))
    due = time.monotonic()
    answer = b""
    while True:
        if answer:
            own.sendall(answer)
        else:
            connection.sendall(request)
        got = receive(other if answer else connection, view)
        if alone:
            answer = bytes(view[:got])
        os.write(1, b".")
        now = time.monotonic()
        due = max(due + PERIOD, now)
        time.sleep(due - now)


if __name__ == "__main__":
    main()
