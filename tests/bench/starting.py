"""Scenarios of starting: how long `waypost up` takes until a job is accepted, and what the idle stack holds."""

import time

from tests.bench.context import FUNCTION, Bench
from tests.bench.floor import Floor
from tests.bench.meter import Meter, pss_bytes, tree
from tests.bench.report import Row, milliseconds
from tests.bench.stack import Stack

TARGET_WARM_SECONDS = 5.0
TARGET_MEMORY_MIB = 700


def up(stack: Stack, row_sink: list[Row]) -> Stack:
    """The stack just started cold is stopped and started again; answers the one that runs now."""
    cold = stack.up_seconds
    row_sink.append(Row("up", "`waypost up`, empty folder, to ready", f"{cold:.1f} s", {"seconds": cold}))
    place = stack.default_place()
    stack.down()
    began = time.monotonic()
    again = Stack.start(stack.data_dir)
    again.call("POST", f"{place.path}/jobs", {"function": FUNCTION, "payload": {"at": 0}}, key=place.key)
    warm = time.monotonic() - began
    row_sink.append(
        Row(
            "up",
            "`waypost up`, warm, to a job accepted",
            f"{warm:.1f} s",
            {"seconds": warm},
            target=f"≤ {TARGET_WARM_SECONDS:.0f} s",
            met=warm <= TARGET_WARM_SECONDS,
        )
    )
    return again


def memory(bench: Bench) -> None:
    """Proportional memory of every process of the idle stack, and what it takes of the CPU when nothing happens."""
    time.sleep(bench.seconds(10, 3))
    pids = bench.stack.pids()
    roots = set(pids.values())
    each = {name: pss_bytes(tree(pid, roots)) / 2**20 for name, pid in pids.items()}
    with Meter(bench.stack.groups()) as meter:
        time.sleep(bench.seconds(10, 3))
    total = sum(each.values())
    shown = " · ".join(f"{name} {size:.0f}" for name, size in sorted(each.items(), key=lambda item: -item[1]))
    bench.rows.append(
        Row(
            "up",
            "idle memory of the whole stack (PSS)",
            f"{total:.0f} MiB",
            {"total_mib": total, **{f"{name}_mib": size for name, size in each.items()}},
            target=f"≤ {TARGET_MEMORY_MIB} MiB",
            met=total <= TARGET_MEMORY_MIB,
            cpu=meter.share,
            note=shown,
        )
    )


def floor_row(floor: Floor) -> Row:
    return Row(
        "floor",
        "this machine: a trivial POST · fdatasync of 8 KiB",
        f"{milliseconds(p50=floor.post_p50_ms, p99=floor.post_p99_ms)} · "
        f"{milliseconds(p50=floor.fdatasync_p50_ms, p99=floor.fdatasync_p99_ms)}",
        {
            "post_p50_ms": floor.post_p50_ms,
            "post_p99_ms": floor.post_p99_ms,
            "fdatasync_p50_ms": floor.fdatasync_p50_ms,
            "fdatasync_p99_ms": floor.fdatasync_p99_ms,
        },
        note="nothing below can be faster",
    )
