"""Scenarios of submission: how many jobs a second are made durable, alone and in bulk."""

from tests.bench.context import PARKED, Bench
from tests.bench.report import Row, milliseconds

TARGET_SINGLE = 12_000
TARGET_BULK = 80_000


def single(bench: Bench) -> None:
    """Closed loop, each request one job with a key of its own; no node serves the function."""
    for connections in (1, 16, 64, 256):
        outcome, cpu = bench.load(
            bench.plan(bench.seconds(6, 2), connections=connections, function=f"{PARKED}{connections}")
        )
        judged = connections in (64, 256)
        bench.rows.append(
            Row(
                "submit",
                f"durable submissions, {connections} at once",
                f"{outcome.per_second:,.0f}/s · {milliseconds(**_plain(outcome.latency_ms))}",
                {"per_second": outcome.per_second, **outcome.latency_ms},
                target=f"≥ {TARGET_SINGLE:,}/s" if judged else "",
                met=outcome.per_second >= TARGET_SINGLE if judged else None,
                cpu=cpu,
                note=outcome.generator,
            )
        )


def bulk(bench: Bench) -> None:
    """Requests of 1,000 jobs, each with an idempotency key of its own."""
    outcome, cpu = bench.load(bench.plan(bench.seconds(6, 2), connections=4, bulk=1000, function=f"{PARKED}_bulk"))
    rate = outcome.per_second * 1000
    bench.rows.append(
        Row(
            "bulk",
            "durable submissions in bulk, 1,000 a request, 4 at once",
            f"{rate:,.0f}/s",
            {"per_second": rate, **outcome.latency_ms},
            target=f"≥ {TARGET_BULK:,}/s",
            met=rate >= TARGET_BULK,
            cpu=cpu,
            note=f"{outcome.generator}; {milliseconds(**_plain(outcome.latency_ms))} a request",
        )
    )


def _plain(latency: dict[str, float]) -> dict[str, float]:
    return {name.replace(".", "_"): value for name, value in latency.items() if name != "p99.9"}
