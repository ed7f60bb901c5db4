"""What goes wrong, when, decided by the seed; and the hands that do it.

Only processes of the run's own platform are touched, by pid. The same seed gives the same plan; what it hits depends on
the moment, as with every real failure.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.stack import Stack
from tests.fault.fleet import Fleet
from tests.fault.proxy import Proxy

# SIGSTOP lasts longer than the relay's lease of 15 s, so its jobs are given to others while it sleeps.
STOP_SECONDS = 17.0
# A victim is waited for: what was killed just before is on its way back.
VICTIM_SECONDS = 15.0


@dataclass(frozen=True)
class Step:
    """At this second of the run, that fault; `draw` (0 … 1) chooses among several victims."""

    at: float
    kind: str
    draw: float


# Shares of the faults after each has happened once.
WEIGHTS = {
    "kill gateway": 4,
    "kill relay": 5,
    "kill worker": 4,
    "kill node": 5,
    "cut the links": 4,
    "silence the links": 2,
    "refuse the links": 2,
    "kill valkey": 3,
    "stop a relay": 1,
    "restart postgres": 1,
    "kill postgres": 1,
}


def plan(seed: int, seconds: float) -> list[Step]:
    """Every kind once, in random order with the relay's stop early, then by weight; about one fault a second."""
    chance = random.Random(seed)
    kinds = list(WEIGHTS)
    chance.shuffle(kinds)
    kinds.remove("stop a relay")
    kinds.insert(0, "stop a relay")
    spacing = min(1.5, max(0.8, seconds / (len(kinds) + 2)))
    steps, at = [], 0.5
    while at < seconds:
        kind = kinds.pop(0) if kinds else chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        steps.append(Step(round(at, 2), kind, chance.random()))
        at += spacing * chance.uniform(0.6, 1.4)
    return steps


class Chaos:
    """Carries a plan out; `done` counts what was really done."""

    def __init__(self, stack: Stack, fleet: Fleet, proxy: Proxy, say: Callable[[str], None]) -> None:
        self.done: Counter[str] = Counter()
        self._stack, self._fleet, self._proxy, self._say = stack, fleet, proxy, say
        self._later: list[threading.Timer] = []
        self._stopped: set[int] = set()

    def run(self, steps: list[Step]) -> None:
        began = time.monotonic()
        for step in steps:
            time.sleep(max(0.0, began + step.at - time.monotonic()))
            told = self._do(step)
            if told:
                self.done[step.kind] += 1
                self._say(f"{time.monotonic() - began:6.2f} s  {step.kind}: {told}")
        for timer in self._later:  # everything is healed before the checks begin
            timer.join()

    def _do(self, step: Step) -> str:
        """Do it and say to whom; "" when there was no victim."""
        match step.kind.split():
            case ["kill", "node"]:
                return f"pid {self._fleet.kill_one(step.draw)}"
            case ["kill", kind]:
                return self._signal(kind, step.draw, signal.SIGKILL)
            case ["restart", kind]:
                return self._signal(kind, step.draw, signal.SIGINT)
            case ["stop", *_]:
                return self._stop_relay(step.draw)
            case ["cut", *_]:
                return f"{self._proxy.cut()} connections"
            case ["silence", *_]:
                seconds = 1 + step.draw * 4
                self._proxy.silence(True)
                self._after(seconds, lambda: self._proxy.silence(False))
                return f"{seconds:.1f} s"
            case ["refuse", *_]:
                seconds = 0.5 + step.draw * 2
                self._proxy.refuse(True)
                self._after(seconds, lambda: self._proxy.refuse(False))
                return f"{self._proxy.cut()} connections, {seconds:.1f} s"
            case _:
                raise ValueError(f"there is no fault {step.kind!r}")

    def _signal(self, kind: str, draw: float, number: signal.Signals) -> str:
        hit = self._hit(kind, draw, number)
        return "" if hit is None else f"{hit[0]} (pid {hit[1]})"

    def _hit(self, kind: str, draw: float, number: signal.Signals) -> tuple[str, int] | None:
        """Signal one of the kind that is not stopped; its name and pid, None when there was none for so long."""
        until = time.monotonic() + VICTIM_SECONDS
        while True:
            found = self._stack.pids().items()
            victims = sorted((name, pid) for name, pid in found if name.startswith(kind) and pid not in self._stopped)
            if victims:
                name, pid = victims[int(draw * len(victims))]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                    return name, pid
            if time.monotonic() > until:
                return None
            time.sleep(0.05)

    def _stop_relay(self, draw: float) -> str:
        hit = self._hit("relay", draw, signal.SIGSTOP)
        if hit is None:
            return ""
        name, pid = hit
        self._stopped.add(pid)
        self._after(STOP_SECONDS, lambda: self._wake(pid))
        return f"{name} (pid {pid}) for {STOP_SECONDS:.0f} s"

    def _wake(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        self._stopped.discard(pid)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.start()
        self._later.append(timer)
