"""Ask for the metrics 100 times a second, at little cost, until the process is killed.

python benchmarks/scraper.py HOST PORT prints a dot for each answer. It asks as Prometheus does: for
OpenMetrics, compressed, on one connection. It asks for nothing that it missed while it was stopped.
"""

import socket
import sys
import time

PERIOD = 0.01  # seconds


def main() -> None:
    """Run the command line."""
    host, port = sys.argv[1:]
    request = (
        f"GET /metrics HTTP/1.1\r\nHost: {host}:{port}\r\nAccept-Encoding: gzip\r\n"
        "Accept: application/openmetrics-text;version=1.0.0\r\n\r\n"
    ).encode()
    answer = memoryview(bytearray(1 << 20))
    with socket.create_connection((host, int(port))) as connection:
        due = time.monotonic()
        while True:
            connection.sendall(request)
            got = connection.recv_into(answer)
            head, _, _ = bytes(answer[:got]).partition(b"\r\n\r\n")
            status, *fields = head.split(b"\r\n")
            assert status == b"HTTP/1.1 200 OK", status
            (length,) = (field[16:] for field in fields if field.startswith(b"Content-Length: "))
            while got < len(head) + 4 + int(length):
                got += connection.recv_into(answer[got:])
            print(".", end="", flush=True)
            now = time.monotonic()
            due = max(due + PERIOD, now)
            time.sleep(due - now)


if __name__ == "__main__":
    main()
