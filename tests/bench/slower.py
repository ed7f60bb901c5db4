"""The main job with a millisecond more for every durable commit, as a disk elsewhere or a standby would take.

`commit_delay` makes PostgreSQL sleep before each flush of its log: exactly what waits is delayed, and nothing else.
"""

import contextlib
from collections.abc import Iterator

import psycopg

from tests.bench.context import Bench
from tests.bench.report import Row, milliseconds
from tests.bench.running import at_rate, idle_lateness, idle_row
from tests.bench.stack import Stack

INJECTED_MS = 1
RATE = 2_500


def commits(bench: Bench) -> None:
    """Idle start, and the start at a rate."""
    note = f"commit_delay {INJECTED_MS} ms"
    with _delayed(bench.stack):
        late, cpu = idle_lateness(bench, rounds=200 if bench.quick else 1000)
        what = f"submission → handler start, idle node, every commit {INJECTED_MS} ms slower"
        bench.rows.append(idle_row("slow-commits", what, late, cpu, note))
        row = at_rate(bench, RATE, seconds=bench.seconds(20, 4))
    bench.rows.append(
        Row(
            "slow-commits",
            f"sustained {RATE:,}/s, every commit {INJECTED_MS} ms slower",
            milliseconds(p50=row["p50"], p99=row["p99"], p99_9=row["p99_9"]),
            row["figures"],
            cpu=row["cpu"],
            note=f"{note}; {row['achieved']:,.0f}/s ended",
        )
    )


@contextlib.contextmanager
def _delayed(stack: Stack) -> Iterator[None]:
    with psycopg.connect(stack.database_url("postgres"), autocommit=True) as connection:
        connection.execute(f"alter system set commit_delay = {INJECTED_MS * 1000}")
        connection.execute("alter system set commit_siblings = 0")  # also for one that commits alone
        connection.execute("select pg_reload_conf()")
        try:
            yield
        finally:
            connection.execute("alter system reset commit_delay")
            connection.execute("alter system reset commit_siblings")
            connection.execute("select pg_reload_conf()")
