"""Platform jobs a second: a hint, a claim, a function that finds nothing to do, an end; and Dramatiq alone beside it.

The peer is what carries the hints, with the same broker and as many threads: an actor that does nothing, no record of
it, and what Valkey loses is lost.
"""

import threading
import time
import uuid

import dramatiq

from functions.worker import THREADS
from infra.local.folder import DataFolder
from jobs.platform import make_broker
from tests.bench.context import Bench
from tests.bench.fleet import wait_until
from tests.bench.meter import Meter
from tests.bench.report import Row

# A sweep of an environment that is not there: one look at the database.
_QUEUE = """
insert into control.platform_job (id, kind, subject)
select uuidv7(), 'retention.sweep', gen_random_uuid() from generate_series(1, $1::integer) returning id
"""
_ENDED = """
select count(finished_at) as ended, extract(epoch from max(finished_at) - min(hinted_at))::float8 as seconds
from control.platform_job where id >= $1
"""


def platform_jobs(bench: Bench) -> None:
    """A thousand (as many as one sweep of the hints takes), queued at once."""
    count = 300 if bench.quick else 1_000
    with Meter(bench.stack.groups()) as meter:
        first = min(row["id"] for row in bench.stack.query(_QUEUE, count))
        wait_until(lambda: _ended(bench, first)["ended"] >= count, "platform jobs", 60, pause_seconds=0.1)
    rate = count / _ended(bench, first)["seconds"]
    with Meter({"valkey": bench.stack.groups()["valkey"]}) as beside:
        alone, alone_us = _dramatiq(_valkey_url(bench), count)
    spent = {name: used / count * 1e6 for name, used in meter.used.items()}
    bench.rows.append(
        Row(
            "platform",
            f"{count:,} platform jobs that find nothing to do",
            f"{rate:,.0f} jobs/s · Dramatiq alone {alone:,.0f}/s",
            {"per_second": rate, "dramatiq_per_second": alone, "dramatiq_cpu_us": alone_us,
             **{f"{name}_cpu_us": used for name, used in spent.items()}},
            cpu=meter.share,
            note=f"{spent['worker'] + spent['postgres']:.0f} µs of CPU each in worker and PostgreSQL; Dramatiq alone"
            f" {alone_us:.0f} and {beside.used['valkey'] / count * 1e6:.0f} in Valkey, and it keeps no record",
        )
    )  # fmt: skip


def _ended(bench: Bench, first: uuid.UUID) -> dict[str, float]:
    (row,) = bench.stack.query(_ENDED, first)
    return row


def _dramatiq(url: str, count: int) -> tuple[float, float]:
    """Messages a second of a worker of this process, and the CPU time of one in microseconds, sending it included."""
    broker, done, lock = make_broker(url), 0, threading.Lock()
    over = threading.Event()

    def nothing(_: str) -> None:
        nonlocal done
        with lock:
            done += 1
        if done >= count:
            over.set()

    spent = time.process_time()
    actor = dramatiq.actor(nothing, broker=broker, queue_name="bench", actor_name="bench")
    for number in range(count):
        actor.send(str(number))
    worker, began = dramatiq.Worker(broker, worker_threads=THREADS), time.monotonic()
    worker.start()
    if not over.wait(60):
        raise RuntimeError(f"Dramatiq alone ran {done} of {count}")
    seconds = time.monotonic() - began
    worker.stop()
    return count / seconds, (time.process_time() - spent) / count * 1e6


def _valkey_url(bench: Bench) -> str:
    folder = DataFolder(bench.stack.data_dir)
    processes = (folder.read_state() or {"processes": []})["processes"]
    address = next(one["address"] for one in processes if one["name"] == "valkey")
    return f"valkey://worker:{folder.passwords()['valkey_worker']}@{address}/0"
