"""Scenarios of submission: how many jobs a second are made durable, alone and in bulk."""

import statistics

from tests.bench.context import PARKED, Bench
from tests.bench.report import Row, milliseconds

TARGET_SINGLE = 12_000
TARGET_BULK = 80_000
MANY, TARGET_MANY = 300, 0.7


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


def many(bench: Bench) -> None:
    """The same load into one environment and spread over many, in turns."""
    count = 50 if bench.quick else MANY
    places = bench.as_administrator(bench.stack.new_environments(count))
    seconds = bench.seconds(5, 2)
    rates: tuple[list[float], list[float]] = ([], [])
    bench.load(bench.plan(2, connections=64, function=PARKED, places=places))  # routes, keys and counts are known then
    for _ in range(4):
        for rate, where in zip(rates, (places[:1], places), strict=True):
            outcome, cpu = bench.load(bench.plan(seconds, connections=64, function=PARKED, places=where))
            rate.append(outcome.per_second)
    one, spread = map(statistics.median, rates)
    bench.rows.append(
        Row(
            "many",
            f"durable submissions into {count} environments against one, 64 at once",
            f"× {spread / one:.2f} ({one:,.0f} → {spread:,.0f}/s)",
            {"environments": count, "ratio": spread / one, "one_per_second": one, "many_per_second": spread},
            target=f"≥ × {TARGET_MANY}",
            met=spread / one >= TARGET_MANY,
            cpu=cpu,
            note=f"{outcome.generator}; medians of four turns",
        )
    )


def bulk(bench: Bench) -> None:
    """Requests of 1,000 jobs under one idempotency key, and with a further key for each job."""
    for item_keys in (False, True):
        seconds = bench.seconds(6, 2)
        plan = bench.plan(seconds, connections=4, bulk=1000, item_keys=item_keys, function=f"{PARKED}_bulk")
        outcome, cpu = bench.load(plan)
        rate = outcome.per_second * 1000
        bench.rows.append(
            Row(
                "bulk",
                "durable submissions in bulk, 1,000 a request, 4 at once" + (", a key each" if item_keys else ""),
                f"{rate:,.0f}/s",
                {"per_second": rate, "item_keys": int(item_keys), **outcome.latency_ms},
                target="" if item_keys else f"≥ {TARGET_BULK:,}/s",
                met=None if item_keys else rate >= TARGET_BULK,
                cpu=cpu,
                note=f"{outcome.generator}; {milliseconds(**_plain(outcome.latency_ms))} a request",
            )
        )


def _plain(latency: dict[str, float]) -> dict[str, float]:
    return {name.replace(".", "_"): value for name, value in latency.items() if name != "p99.9"}
