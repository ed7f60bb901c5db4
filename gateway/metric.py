"""What the gateway counts: requests by endpoint and status, and how long they took. Streams count when they end."""

from functools import lru_cache
from typing import Any

from gateway.exchange import Exchange
from waypost.telemetry import metric

_REQUESTS = metric.counter("http_requests", "Requests answered.", ("endpoint", "status"))
_SECONDS = metric.latency("http_request", "From the request's head to the end of its answer.", ("endpoint",))
STREAMS = metric.gauge("http_event_streams", "Event streams that are open.")


@lru_cache(maxsize=4096)  # labels() costs 1.5 µs; names and statuses are few
def _requests(name: str, status: int) -> Any:
    return _REQUESTS.labels(name, str(status))


@lru_cache(maxsize=1024)
def _seconds(name: str) -> Any:
    return _SECONDS.labels(name)


def count(exchange: Exchange, seconds: float) -> None:
    """One request is over; a status of 0 means that the client left before there was one."""
    _requests(exchange.name, exchange.status).inc()
    _seconds(exchange.name).observe(seconds)
