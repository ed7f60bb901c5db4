"""What the gateway counts: requests by endpoint and status, and how long they took. Streams count when they end.

Kept in plain lists and read when somebody scrapes: prometheus-client's own counter and histogram cost 5 µs a request,
these 0.7.
"""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.exchange import Exchange
from waypost.telemetry import metric
from waypost.telemetry.metric import LATENCY_BUCKETS

STREAMS = metric.gauge("http_event_streams", "Event streams that are open.")


class Requests(Collector):
    """Counts and durations by endpoint."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int], int] = {}
        self._seconds: dict[str, list[float]] = {}  # requests per bucket, one above the last, and the sum

    def add(self, name: str, status: int, seconds: float) -> None:
        key = (name, status)
        self._counts[key] = self._counts.get(key, 0) + 1
        kept = self._seconds.get(name)
        if kept is None:
            kept = self._seconds[name] = [0.0] * (len(LATENCY_BUCKETS) + 2)
        kept[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        kept[-1] += seconds

    def collect(self) -> Iterator[Metric]:
        """In Prometheus' terms; a status of 0 means that the client left before there was one."""
        requests = CounterMetricFamily("waypost_http_requests", "Requests answered.", labels=["endpoint", "status"])
        for (name, status), count in list(self._counts.items()):
            requests.add_metric([name, str(status)], count)
        yield requests
        text = "From the request's head to the end of its answer."
        seconds = HistogramMetricFamily("waypost_http_request_seconds", text, labels=["endpoint"])
        for name, kept in list(self._seconds.items()):
            seconds.add_metric([name], _cumulated(kept[:-1]), kept[-1])
        yield seconds


def _cumulated(counts: list[float]) -> list[tuple[str, float]]:
    buckets, total = [], 0.0
    for bound, count in zip([*map(str, map(float, LATENCY_BUCKETS)), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


_REQUESTS = Requests()
REGISTRY.register(_REQUESTS)


def count(exchange: Exchange, seconds: float) -> None:
    """One request is over."""
    _REQUESTS.add(exchange.name, exchange.status, seconds)
