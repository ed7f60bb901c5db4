"""Carries a plan out with `wrk`: a compiled generator, so that the load takes little of the cores it measures.

wrk is a closed loop by nature. A rate is made with its `delay` hook: all connections share one schedule, and a request
that found no free connection in time carries the moment at which it was *due*, so that nothing is omitted.
"""

import json
import math
import resource
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.bench.plan import Outcome, Plan

_SCRIPT = Path(__file__).with_name("submit.lua")


def available() -> bool:
    return shutil.which("wrk") is not None


def run(plan: Plan, *, threads: int = 1) -> Outcome:
    """Run to the end of the plan's seconds; raises when wrk itself fails."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "plan.lua"
        script.write_text(_settings(plan, threads) + _SCRIPT.read_text())
        command = [
            "wrk",
            f"-t{min(threads, plan.connections)}",
            f"-c{plan.connections}",
            f"-d{math.ceil(plan.seconds)}s",
            "--timeout=30s",
            "-s",
            str(script),
            f"http://{plan.host}:{plan.port}{plan.paths[0]}",
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise RuntimeError(f"wrk failed ({done.returncode}): {done.stderr.strip() or done.stdout.strip()}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return outcome_of(json.loads(done.stderr.splitlines()[-1]), cpu)


def outcome_of(report: dict[str, float], cpu_seconds: float) -> Outcome:
    """What a script of ours reported at its end."""
    return Outcome(
        requests=int(report["requests"]) - int(report["status"]),
        seconds=report["microseconds"] / 1e6,
        cpu_seconds=cpu_seconds,
        refused=int(report["status"]),
        failures=int(report["connect"] + report["read"] + report["write"] + report["timeout"]),
        generator="wrk",
        latency_ms={name: report[name] / 1000 for name in ("p50", "p99", "p99.9")},
    )


def _settings(plan: Plan, threads: int) -> str:
    """The plan as Lua: quoted as JSON, whose strings are Lua strings as long as they are plain ASCII."""
    rate = plan.rate / threads if plan.rate else 0
    return (
        f"local paths = {{{', '.join(json.dumps(path) for path in plan.paths)}}}\n"
        f"local specs = {{{', '.join(json.dumps(spec) for spec in plan.specs)}}}\n"
        f"local token = {json.dumps(plan.token)}\n"
        f"local prefix = {json.dumps(plan.prefix)}\n"
        f"local rate = {rate}\n"
        f"local bulk = {plan.bulk}\n"
        f"local item_keys = {str(plan.item_keys).lower()}\n"
    )
