"""`python -P -m tests.bench`: starts a platform of its own, measures, prints a table, writes JSON.

Takes about a quarter of an hour (`--quick`: three minutes, for trying). Exit code 1 when a scenario could not be
measured; a missed target is shown, not an error.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from tests.bench import (
    access,
    again,
    auditing,
    crowding,
    delivering,
    floor,
    hinting,
    living,
    metering,
    report,
    running,
    slower,
    starting,
    storing,
    submitting,
    triggering,
)
from tests.bench.context import Bench
from tests.bench.peers import compare
from tests.bench.report import Row
from tests.bench.stack import Stack

SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "memory": starting.memory,
    "access": access.cost,
    "idle": running.idle,
    "submit": submitting.single,
    "bulk": submitting.bulk,
    "many": submitting.many,
    "audit": auditing.cost,
    "usage": metering.cost,
    "webhooks": triggering.webhooks,
    "schedules": triggering.schedules,
    "deliveries": delivering.deliveries,
    "artifacts": storing.artifacts,
    "platform": hinting.platform_jobs,
    "replays": again.replays,
    "logs": again.logs,
    "saturation": running.saturation,
    "sustained": running.sustained,
    "slow-commits": slower.commits,
    "nodes": crowding.idle_nodes,
    "environments": crowding.environments,
    "life": living.life,
    "snapshot": crowding.snapshot,
    "million": crowding.million,
}


def main() -> int:
    options = _options()
    console = Console(stderr=True)
    rows: list[Row] = []
    failed: list[str] = []
    wanted = options.only or [*SCENARIOS, "up"]
    folder = Path(tempfile.mkdtemp(prefix="waypost-bench-nodes-"))
    try:
        if set(wanted) & {*SCENARIOS, "up"}:
            _measure_platform(wanted, options.quick, folder, rows, failed, console)
        if options.peers:
            compare.run(folder, rows, quick=options.quick, only=options.only, console=console)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _publish(rows, options, Console(width=None if sys.stdout.isatty() else 170))
    for name in failed:
        console.print(f"[red]{name} could not be measured[/red]")
    return 1 if failed else 0


def _measure_platform(
    wanted: list[str], quick: bool, folder: Path, rows: list[Row], failed: list[str], console: Console
) -> None:
    console.print("starting a platform …")
    os.environ.setdefault("WAYPOST_DELIVERY_ALLOW", "127.0.0.1/32")  # the receiver of `deliveries`
    stack = Stack.start()
    try:
        rows.append(starting.floor_row(floor.measure(stack.data_dir)))
        if "up" in wanted:
            stack = starting.up(stack, rows)
        bench = Bench(stack, folder, quick, stack.default_place(), rows)
        for name, scenario in SCENARIOS.items():
            if name in wanted:
                _carry_out(name, scenario, bench, failed, console)
    finally:
        stack.close()


def _carry_out(name: str, scenario: Callable[[Bench], None], bench: Bench, failed: list[str], console: Console) -> None:
    """One scenario; what goes wrong in it is told and does not take the others' results along."""
    began, before = time.monotonic(), len(bench.rows)
    console.print(f"{name} …")
    try:
        scenario(bench)
    except Exception:  # noqa: BLE001 - whatever it is, the other scenarios are still worth having
        failed.append(name)
        console.print(traceback.format_exc(limit=6))
    for row in bench.rows[before:]:
        console.print(f"  {row.what}: {row.shown}  ({time.monotonic() - began:.0f} s)")


def _publish(rows: list[Row], options: argparse.Namespace, console: Console) -> None:
    now = datetime.now(UTC)
    path = options.out or Path("bench-results") / f"{now:%Y%m%dT%H%M%SZ}.json"
    report.write_json(path, rows, taken_at=now.isoformat(), quick=options.quick)
    if options.markdown:
        console.print(report.markdown(rows), soft_wrap=True, markup=False, highlight=False)
    else:
        report.show(
            rows, console, title="Waypost, everything on this machine" + (" (quick run)" if options.quick else "")
        )
    Console(stderr=True).print(f"written to {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -P -m tests.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[*SCENARIOS, "up", *compare.NAMES], default=None)
    parser.add_argument("--peers", action="store_true", help="measure other platforms too")
    parser.add_argument("--quick", action="store_true", help="three minutes, for trying")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--out", type=Path, help="the JSON file (default: bench-results/<time>.json)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
