"""What the buckets and stores of this process did and hold, for Prometheus.

Everything here is about all open buckets of the process whose `enable_metrics` is on, and all
open stores; docs/metrics.md lists the metrics. The engine counts by itself: nothing has to be
started for that.

>>> from persisting import metrics
>>> metrics.collect()["persisting_open_buckets"]["type"]
'gauge'
"""

from __future__ import annotations

import base64
import logging
import urllib.parse
import urllib.request
import weakref
from typing import TYPE_CHECKING, Any

from persisting._engine import functions
from persisting._engine.metrics import Server
from persisting._errors import InvalidArgumentError
from persisting._observe import logs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

__all__ = [
    "DEFAULT_PORT",
    "Collector",
    "Server",
    "collect",
    "exposition",
    "push",
    "push_at_exit",
    "register",
    "start_http_server",
]

DEFAULT_PORT = 9641

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_servers: set[Server] = set()  # those that nobody may hold but that serve until they are closed


def start_http_server(
    port: int = DEFAULT_PORT,
    addr: str = "127.0.0.1",
    *,
    allow_remote: bool = False,
    cert_file: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    username: str | None = None,
    password: str | None = None,
) -> Server:
    """Serve the metrics at `/metrics` and a status page at `/`, until the process ends.

    Parameters
    ----------
    port
        TCP port; 0 takes a free one, which `url` of the result names.
    addr
        IP address to listen on, or "localhost".
    allow_remote
        Must be True for an `addr` that other machines can reach.
    cert_file, key_file
        Paths of a certificate chain and its key in PEM, for TLS.
    username, password
        What clients must give as basic authentication.

    Returns
    -------
    Server
        With `url`, and `close` to end it before; it need not be kept.

    Raises
    ------
    InvalidArgumentError
        A value is out of range, the certificate cannot be read, or the address is taken.
        It is a ValueError.

    Notes
    -----
    The engine serves by itself, without the GIL and without making a bucket wait. It
    speaks the Prometheus text format, OpenMetrics and protobuf with native histograms,
    compressed, as the scraper asks; it is read-only, and refuses large requests and slow
    clients. A server on the loopback interface answers only to names of this machine. Without
    TLS a password is sent as it is. docs/metrics.md has the limits.
    """
    given = {
        "port": port,
        "addr": addr,
        "allow_remote": allow_remote,
        "cert_file": cert_file and str(cert_file),
        "key_file": key_file and str(key_file),
        "username": username,
        "password": password,
    }
    logs.start()
    server = Server({name: value for name, value in given.items() if value is not None})
    _servers.difference_update({old for old in _servers if old.closed})
    _servers.add(server)
    return server


def exposition() -> str:
    """Return the metrics in the Prometheus text format, version 0.0.4."""
    return functions.metrics_text()


def collect() -> dict[str, dict[str, Any]]:
    """Return the metrics as data.

    Returns
    -------
    dict
        By name: `type` ("counter", "gauge" or "histogram"), `help` and `samples`. Each of
        these has `labels` and a `value`; or, of a histogram, `count`, `sum` and `buckets`,
        a list of `{"le", "count"}`, cumulative, without the last one, which is `count`.
    """
    return {family.pop("name"): family for family in functions.metrics_json()}


class Collector:
    """The metrics as a collector of `prometheus_client`; see `register`."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as families of `prometheus_client`."""
        from prometheus_client import core, utils

        bound: Callable[[float], str] = utils.floatToGoString
        for name, family in collect().items():
            samples = family["samples"]
            labels = sorted(samples[0]["labels"])
            if family["type"] == "histogram":
                histogram = core.HistogramMetricFamily(name, family["help"], labels=labels)
                for sample in samples:
                    buckets = [(bound(b["le"]), b["count"]) for b in sample["buckets"]]
                    buckets.append(("+Inf", sample["count"]))
                    values = [sample["labels"][label] for label in labels]
                    histogram.add_metric(values, buckets, sample["sum"])
                yield histogram
                continue
            kinds = {"counter": core.CounterMetricFamily, "gauge": core.GaugeMetricFamily}
            plain = kinds[family["type"]](name, family["help"], labels=labels)
            for sample in samples:
                plain.add_metric([sample["labels"][label] for label in labels], sample["value"])
            yield plain


def register(registry: CollectorRegistry | None = None) -> Collector:
    """Make the metrics part of a registry of `prometheus_client`.

    Parameters
    ----------
    registry
        None is the default one, `prometheus_client.REGISTRY`.

    Returns
    -------
    Collector
        What the registry holds; `registry.unregister` takes it out again.

    Notes
    -----
    Histograms come with their classic buckets: `prometheus_client` knows no native ones.
    """
    import prometheus_client

    collector = Collector()
    (registry or prometheus_client.REGISTRY).register(collector)
    return collector


def push(
    url: str,
    job: str,
    *,
    grouping: Mapping[str, str] | None = None,
    username: str | None = None,
    password: str | None = None,
    timeout: float = 10,
) -> None:
    """Push the metrics to a Prometheus Pushgateway, in place of those of the same group.

    Parameters
    ----------
    url
        Of the gateway, such as "http://gateway:9091".
    job
        Value of the label job.
    grouping
        More labels of the group.
    username, password
        For basic authentication.
    timeout
        Seconds.

    Raises
    ------
    InvalidArgumentError
        The URL is not one of HTTP, or the job is empty.
    OSError
        The gateway cannot be reached or refuses.

    References
    ----------
    https://github.com/prometheus/pushgateway#api
    """
    request = _request(url, job, grouping or {}, username, password)
    request.data = exposition().encode()
    with urllib.request.urlopen(request, timeout=timeout):
        pass


def push_at_exit(url: str, job: str, **options: Any) -> None:
    """Push the metrics once, when the interpreter ends; for jobs too short to be scraped.

    Takes the arguments of `push`. From now on the last counts of buckets stay in the
    metrics when they are closed. A push that fails is logged.
    """
    _request(url, job, options.get("grouping") or {}, None, None)
    functions.metrics_retain(1)
    # Of finalizers the oldest runs last: after those that close buckets opened later.
    weakref.finalize(push_at_exit, _push_and_log, url, job, options)


def _push_and_log(url: str, job: str, options: dict[str, Any]) -> None:
    try:
        push(url, job, **options)
    except (OSError, InvalidArgumentError) as error:
        logging.getLogger(__name__).warning("the metrics were not pushed to %s: %s", url, error)


def _request(
    url: str, job: str, grouping: Mapping[str, str], username: str | None, password: str | None
) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidArgumentError(f"url: want one of a Pushgateway over HTTP, got {url!r}")
    if not job:
        raise InvalidArgumentError("job: want a name, got ''")
    group = "/".join(_segment(*label) for label in {"job": job, **grouping}.items())
    request = urllib.request.Request(f"{url.rstrip('/')}/metrics/{group}", method="PUT")
    request.add_header("Content-Type", _CONTENT_TYPE)
    if username is not None:
        credentials = base64.b64encode(f"{username}:{password or ''}".encode()).decode()
        request.add_header("Authorization", f"Basic {credentials}")
    return request


def _segment(name: str, value: str) -> str:
    """Return a label of a group as the path of its URL says it."""
    if value and "/" not in value:
        return f"{name}/{urllib.parse.quote(value, safe='')}"
    encoded = base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")
    return f"{name}@base64/{encoded or '='}"
