"""The scenario `life`: many environments created, used and deleted in one run; how long, what is left, what memory."""

import asyncio
import statistics
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from infra.local.folder import DataFolder
from storage.objects.admin import ObjectAdmin
from tests.bench.context import Bench
from tests.bench.meter import private_bytes, tree
from tests.bench.report import Row, milliseconds
from tests.bench.stack import Stack, StackError

TARGET_READY_MS = 1_500
TARGET_DELETED_MS = 3_000
TARGET_MEMORY = 0.10
JOBS = 20  # of each environment; one in five with a payload that lies in its bucket
AT_ONCE = 2
# Environments before the memory is first read. Caches and heaps have their size then: read after every hundred up to
# five hundred, the object store had 113 MiB after twenty and then 159, 168, 168, 155, 151; PostgreSQL 86, then 108,
# 108, 110, 99, 102; gateway 61, then 62-63; relay and worker did not move.
WARM = 100
SECONDS = 60
LOOKS = 7  # at the memory, a second apart

# Everything that has the name of an environment, in one look.
_LEFT = """
select (select count(*) from pg_roles where rolname like 'env\\_%') as roles,
    (select count(*) from pg_namespace where nspname like 'env\\_%') as schemas,
    (select count(*) from control.environment where deleted_at is null) as environments,
    (select count(*) from control.job) + (select count(*) from control.job_end) + (select count(*) from control.ready)
        + (select count(*) from control.route) + (select count(*) from control.route_count)
        + (select count(*) from control.route_minute) + (select count(*) from control.environment_secret)
        + (select count(*) from control.signing_key) + (select count(*) from control.environment_step)
        + (select count(*) from control.idempotency where scope like 'jobs%') as rows
"""


def life(bench: Bench) -> None:
    """Environments in turns of a few at once, each ready, used and deleted."""
    count, first = int(bench.seconds(300, 100)), int(bench.seconds(WARM, 20))
    _many(bench.stack, first)
    time.sleep(3)
    before, memory = _left(bench.stack), _memory(bench.stack)
    began = time.monotonic()
    ready, deleted = _many(bench.stack, count)
    took = time.monotonic() - began
    time.sleep(3)
    left = {name: number - before[name] for name, number in _left(bench.stack).items()}
    grown: dict[str, float] = {
        name: size / memory[name] - 1 for name, size in _memory(bench.stack).items() if name in memory
    }
    _duration(bench, f"environment ready ({count}, {AT_ONCE} at once)", ready, TARGET_READY_MS)
    _duration(bench, f"environment deleted, after {JOBS} jobs", deleted, TARGET_DELETED_MS)
    remains = {name: number for name, number in left.items() if number}
    bench.rows.append(
        Row(
            "life",
            f"left of {count} environments created, used and deleted",
            ", ".join(f"{number} {name}" for name, number in remains.items()) or "nothing",
            {"seconds": took, **left},
            target="nothing",
            met=not remains,
            note=f"{took:.0f} s in all; roles, schemas, buckets, S3 users, rows",
        )
    )
    bench.rows.append(
        Row(
            "life",
            "memory of each process after them (private)",
            " · ".join(f"{name} {share:+.0%}" for name, share in sorted(grown.items())),
            {
                **{f"{name}_before_mib": size / 2**20 for name, size in memory.items()},
                **{f"{name}_grown": share for name, share in grown.items()},
            },
            target=f"± {TARGET_MEMORY:.0%}",
            met=all(abs(share) <= TARGET_MEMORY for share in grown.values()),
            note=f"read after the first {first}; " + " · ".join(f"{n} {s / 2**20:.0f} MiB" for n, s in memory.items()),
        )
    )


def _duration(bench: Bench, what: str, taken: list[float], target_ms: int) -> None:
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    p50, p99 = cuts[49] * 1_000, cuts[98] * 1_000
    figures: dict[str, float | int | str | None] = {"p50_ms": p50, "p99_ms": p99, "most_ms": max(taken) * 1_000}
    shown = milliseconds(p50=p50, p99=p99)
    bench.rows.append(Row("life", what, shown, figures, target=f"≤ {target_ms:,} ms", met=p99 <= target_ms))


def _many(stack: Stack, count: int) -> tuple[list[float], list[float]]:
    """Seconds until ready, and until gone, of each."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        both = list(pool.map(lambda _: _one(stack), range(count)))
    return [ready for ready, _ in both], [deleted for _, deleted in both]


def _one(stack: Stack) -> tuple[float, float]:
    slug = f"l{uuid.uuid4().hex[:12]}"
    path = f"{stack.project_path}/environments/{slug}"
    ready = _timed(
        lambda: stack.call("POST", f"{stack.project_path}/environments", {"name": slug, "slug": slug}),
        lambda: stack.call("GET", path)["status"] == "ready",
    )
    for number in range(JOBS):
        payload = {"at": "x" * (70_000 if number % 5 == 0 else 100)}
        stack.call("POST", f"{path}/jobs", {"function": f"life.f{number % 3}", "payload": payload})
    stack.call("POST", f"{path}/keys", {"name": "k", "role": "operator"})
    stack.call("POST", f"{path}/node-credentials", {"name": "n"})
    deleted = _timed(
        lambda: stack.call("DELETE", path),
        lambda: stack.http.get(path).status_code == 404,
    )
    return ready, deleted


def _timed(act: Callable[[], object], done: Callable[[], bool]) -> float:
    began = time.monotonic()
    act()
    while not done():
        if time.monotonic() - began > SECONDS:
            raise StackError(f"not done within {SECONDS} s")
        time.sleep(0.02)
    return time.monotonic() - began


def _left(stack: Stack) -> dict[str, int]:
    found = dict(stack.query(_LEFT)[0])
    passwords = DataFolder(stack.data_dir).passwords()
    address = next(entry["address"] for entry in stack.about["processes"] if entry["name"] == "objects")
    admin = ObjectAdmin(f"http://{address}", passwords["s3_access_key"], passwords["s3_secret_key"])
    found["buckets"] = len(asyncio.run(admin.environments_with_buckets()))
    found["S3 users"] = len(asyncio.run(admin.environments_with_users()))
    return found


def _memory(stack: Stack) -> dict[str, int]:
    """Private bytes of each process and its children, the median of a few looks: PostgreSQL's workers come and go."""
    pids = stack.pids()
    roots = set(pids.values())
    looks: list[dict[str, int]] = []
    for _ in range(LOOKS):
        looks.append({name: private_bytes(tree(pid, roots)) for name, pid in pids.items()})
        time.sleep(1)
    return {name: int(statistics.median(look[name] for look in looks)) for name in pids}
