"""Metrics of this process: names begin with `waypost_`, times are seconds, labels are few and bounded.

Never a label per job, node or environment: their number has no bound.
"""

from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram, generate_latest

# From a start on an idle node (2 ms) to a slow attempt (minutes).
LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300)


def counter(name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
    """A count that only grows; exported as `waypost_<name>_total`."""
    return Counter(f"waypost_{name}", meaning, labels)


def gauge(name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
    """A value that goes up and down; exported as `waypost_<name>`."""
    return Gauge(f"waypost_{name}", meaning, labels)


def latency(name: str, meaning: str, labels: Sequence[str] = ()) -> Histogram:
    """A distribution of seconds; exported as `waypost_<name>_seconds`."""
    return Histogram(f"waypost_{name}_seconds", meaning, labels, buckets=LATENCY_BUCKETS)


def exposition() -> bytes:
    """All metrics of the process in Prometheus' text format."""
    return generate_latest()
