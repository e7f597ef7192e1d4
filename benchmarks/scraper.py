"""Ask for the metrics 100 times a second, at little cost, until the process is killed.

python benchmarks/scraper.py HOST PORT prints a dot for each answer. It asks as Prometheus does: for
OpenMetrics, compressed, on one connection. It asks for nothing that it missed while it was stopped.
"""

import os
import socket
import sys
import time

PERIOD = 0.01  # seconds
FIELD = b"Content-Length: "


def main() -> None:
    """Run the command line."""
    host, port = sys.argv[1:]
    request = (
        f"GET /metrics HTTP/1.1\r\nHost: {host}:{port}\r\nAccept-Encoding: gzip\r\n"
        "Accept: application/openmetrics-text;version=1.0.0\r\n\r\n"
    ).encode()
    answer = bytearray(1 << 20)
    view = memoryview(answer)
    with socket.create_connection((host, int(port))) as connection:
        due = time.monotonic()
        while True:
            connection.sendall(request)
            got = connection.recv_into(view)
            assert answer.startswith(b"HTTP/1.1 200 "), bytes(answer[:got])
            head = answer.index(b"\r\n\r\n", 0, got)
            at = answer.index(FIELD, 0, head) + len(FIELD)
            end = head + 4 + int(answer[at : answer.index(b"\r\n", at)])
            while got < end:
                got += connection.recv_into(view[got:])
            os.write(1, b".")
            now = time.monotonic()
            due = max(due + PERIOD, now)
            time.sleep(due - now)


if __name__ == "__main__":
    main()
