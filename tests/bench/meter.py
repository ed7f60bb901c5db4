"""CPU time and memory of processes, from /proc: what each one took between two moments.

A process is taken with all its descendants; what a descendant used before it ended is counted through its parent.
"""

import os
import resource
import time
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Self

import psutil

_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int, others: Container[int] = ()) -> list[int]:
    """The process and its descendants that live now, but not `others` and theirs (a supervisor's children)."""
    found, unseen = [pid], [pid]
    while unseen:
        try:
            children = [child.pid for child in psutil.Process(unseen.pop()).children()]
        except psutil.NoSuchProcess:
            continue
        children = [child for child in children if child not in others]
        found += children
        unseen += children
    return found


def cpu_seconds(pids: list[int]) -> float:
    """User and system time so far, with that of children that were waited for."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / _TICKS


def pss_bytes(pids: list[int]) -> int:
    """Proportional set size: shared pages are counted once over all who share them."""
    return _rolled_up(pids, "Pss:")


def private_bytes(pids: list[int]) -> int:
    """What nobody else shares: unlike PSS it does not change when other processes with the same libraries come and
    go."""
    return _rolled_up(pids, "Private_")


def _rolled_up(pids: list[int], prefix: str) -> int:
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(prefix)) * 1024
    return total


def waited_for_seconds() -> float:
    """CPU time of this process' own children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Meter:
    """CPU shares (1.0 = one core) of groups of processes between entering and leaving."""

    def __init__(self, groups: Mapping[str, list[int]]) -> None:
        self._groups = dict(groups)
        self.share: dict[str, float] = {}
        self.seconds = 0.0
        self.used: dict[str, float] = {}  # CPU seconds

    def __enter__(self) -> Self:
        self._before = self._read()
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._began
        after = self._read()
        self.used = {name: max(0.0, after[name] - self._before[name]) for name in self._groups}
        self.share = {name: used / self.seconds for name, used in self.used.items()}

    def _read(self) -> dict[str, float]:
        roots = {pid for pids in self._groups.values() for pid in pids}
        return {
            name: cpu_seconds([member for pid in pids for member in tree(pid, roots)])
            for name, pids in self._groups.items()
        }
