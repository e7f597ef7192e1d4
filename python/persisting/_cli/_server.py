"""What the commands about running programs share: asking their HTTP server."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ssl
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING

from persisting._cli._streams import utf8
from persisting._errors import InvalidArgumentError
from persisting.metrics import DEFAULT_PORT

if TYPE_CHECKING:
    import argparse

_SECONDS = 10  # to wait for an answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare where the server is."""
    parser.add_argument(
        "--url",
        type=utf8,
        default=f"http://127.0.0.1:{DEFAULT_PORT}",
        help="of the server that the program has started, with user:password@ if it wants them; "
        "default %(default)s",
    )
    parser.add_argument("--ca-file", metavar="FILE", help="certificates to trust, in PEM")


def ask(arguments: argparse.Namespace, path: str) -> bytes:
    """Return what the server answers.

    Raises
    ------
    InvalidArgumentError
        The URL is not one of HTTP.
    OSError
        There is no answer, or a refusal.
    """
    parts = _split(arguments.url)
    host = parts.netloc.rpartition("@")[2]
    request = urllib.request.Request(f"{parts.scheme}://{host}{parts.path.rstrip('/')}/{path}")
    if parts.username is not None:
        given = ":".join(map(urllib.parse.unquote, (parts.username, parts.password or "")))
        request.add_header("Authorization", f"Basic {base64.b64encode(given.encode()).decode()}")
    context = ssl.create_default_context(cafile=arguments.ca_file)
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS, context=context) as answer:
            body: bytes = answer.read()
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(
            f"no answer from {parts.scheme}://{host}: {reason} "
            "(the program must have called persisting.metrics.start_http_server)"
        ) from error
    return body


def _split(url: str) -> urllib.parse.SplitResult:
    """Take a URL apart."""
    with contextlib.suppress(ValueError):  # of the address or of the port
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts
    raise InvalidArgumentError(f"--url: want http://host:port, got {url!r}")
