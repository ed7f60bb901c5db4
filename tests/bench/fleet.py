"""Starts and stops compute nodes in processes of their own, and reads what their handlers noted."""

import json
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.bench.floor import percentile


class Noted:
    """Moments at which jobs were due and how late their handlers started."""

    def __init__(self, pairs: "array[int]") -> None:
        self.due_ns = pairs[0::2]
        self.late_ns = pairs[1::2]

    def __len__(self) -> int:
        return len(self.due_ns)

    def late_ms(self, *, after_ns: int = 0, before_ns: int = 1 << 62) -> list[float]:
        """Lateness of the jobs that were due in that span, milliseconds."""
        return [late / 1e6 for due, late in zip(self.due_ns, self.late_ns, strict=True) if after_ns <= due < before_ns]


def quantiles(late_ms: list[float]) -> dict[str, float]:
    """p50, p99 and p99.9 in milliseconds."""
    return {name: percentile(late_ms, share) for name, share in (("p50", 50), ("p99", 99), ("p99_9", 99.9))}


class NodeProcess:
    """One process with one SDK node, or with many lean ones."""

    def __init__(self, arguments: Sequence[str], report: Path, environment: Mapping[str, str]) -> None:
        self.report = report
        self._log = report.with_suffix(".log").open("wb")
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", *arguments],
            env=os.environ | dict(environment),
            stdout=subprocess.PIPE,
            stderr=self._log,
        )

    @classmethod
    def sdk(
        cls,
        folder: Path,
        name: str,
        environment: Mapping[str, str],
        function: str,
        slots: int,
        tags: Sequence[str] = (),
    ) -> Self:
        report = folder / f"{name}.json"
        return cls(["tests.bench.node", str(report), function, str(slots), *tags], report, environment)

    @classmethod
    def lean(cls, folder: Path, name: str, relay: str, nodes: list[dict[str, Any]]) -> Self:
        """`nodes`: {"token", "tags", "functions", "max_in_flight", "count"}; returns when all are greeted."""
        plan, report = folder / f"{name}.plan", folder / f"{name}.json"
        plan.write_text(json.dumps({"relay": relay, "nodes": nodes}))
        process = cls(["tests.bench.lean", str(plan), str(report)], report, {})
        assert process.process.stdout is not None
        line = process.process.stdout.readline()
        wanted = sum(node["count"] for node in nodes)
        if line != b"joined %d\n" % wanted:
            process.process.kill()
            raise RuntimeError(f"{wanted} nodes should have joined: {line!r} {process.said()}")
        return process

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        """The end of its log."""
        return self.report.with_suffix(".log").read_text(errors="replace")[-600:]

    def stop(self, timeout_seconds: float = 20.0) -> Noted:
        """SIGTERM, wait, read its notes; raises when it did not leave in order."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"a node did not stop within {timeout_seconds} s: {self.said()}") from None
        finally:
            self._log.close()
        pairs = self.report.with_suffix(".bin")
        if not pairs.exists():
            raise RuntimeError(f"a node ended without its notes: {self.said()}")
        notes = array("q")
        notes.frombytes(pairs.read_bytes())
        return Noted(notes)


def wait_until(check: Any, what: str, timeout_seconds: float = 30.0, pause_seconds: float = 0.05) -> None:
    """Until `check()` is true; raises TimeoutError naming `what`."""
    end = time.monotonic() + timeout_seconds
    while not check():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout_seconds:.0f} s")
        time.sleep(pause_seconds)
