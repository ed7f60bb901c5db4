"""One fault run: a platform, load, faults by seed, the checks, and a report."""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.fleet import wait_until
from tests.bench.stack import Place, Stack
from tests.fault import check
from tests.fault.chaos import Chaos, plan
from tests.fault.client import Client
from tests.fault.fleet import Fleet
from tests.fault.proxy import Proxy

CLIENTS = 4
NODES = 3
PER_SECOND = 60.0  # of each client
QUIET_SECONDS = 90.0
ENOUGH = 500  # fewer acknowledged jobs would show little; the clients go on for them, so many seconds at most
ENOUGH_SECONDS = 60.0


@dataclass
class Report:
    """What happened and what was found. `lost` and `doubled` are 0 in a good run, and `findings` empty."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    repeats: int = 0
    tries: int = 0
    states: Counter[str] = field(default_factory=Counter)
    attempts: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def ended(self) -> int:
        return sum(count for state, count in self.states.items() if state in check.ENDS)

    @property
    def lost(self) -> int:
        return sum(finding.startswith("lost:") for finding in self.findings)

    @property
    def doubled(self) -> int:
        return sum(finding.startswith(("doubled:", "stale:")) for finding in self.findings)

    @property
    def others(self) -> int:
        return len(self.findings) - self.lost - self.doubled

    def lines(self) -> list[str]:
        faults = ", ".join(f"{kind} × {count}" for kind, count in sorted(self.faults.items()))
        states = ", ".join(f"{state} {count}" for state, count in self.states.most_common())
        return [
            f"seed {self.seed}",
            f"faults {sum(self.faults.values())}: {faults}",
            f"acknowledged {self.acknowledged} (HTTP tries {self.tries}, deliberate repeats {self.repeats})",
            f"ended {self.ended}: {states}",
            ", ".join(f"{name} {count}" for name, count in self.attempts.items()),
            f"lost = {self.lost}, doubled = {self.doubled}, other findings = {self.others}",
            *(f"  {finding}" for finding in self.findings[:20]),
        ]


def run(seed: int, seconds: float, say: Callable[[str], None]) -> Report:
    """Start a platform of its own, do the seed's worst for `seconds`, heal everything, check, stop."""
    say(f"seed {seed}: starting a platform with 2 gateways, 2 relays, 2 workers")
    with (
        tempfile.TemporaryDirectory(prefix="waypost-fault-") as folder,
        Stack.start(gateways=2, relays=2, workers=2) as stack,
    ):
        place = stack.default_place()
        proxy = Proxy(stack.relay_address)
        variables = stack.node_environment(stack.credential(place), relay=proxy.address)
        fleet = Fleet(Path(folder), variables, seed, NODES)
        try:
            return _run(seed, seconds, say, stack, place, proxy, fleet)
        finally:
            fleet.stop()
            proxy.close()


def _run(
    seed: int,
    seconds: float,
    say: Callable[[str], None],
    stack: Stack,
    place: Place,
    proxy: Proxy,
    fleet: Fleet,
) -> Report:
    report = Report(seed)
    wait_until(lambda: stack.active_nodes(place) >= NODES, "the nodes joining", timeout_seconds=90)
    clients = [Client(stack.host, stack.port, place, seed, index, PER_SECOND) for index in range(CLIENTS)]
    for client in clients:
        client.start()
    chaos = Chaos(stack, fleet, proxy, say)
    chaos.run(plan(seed, seconds))
    report.faults = chaos.done
    until = time.monotonic() + ENOUGH_SECONDS
    while sum(len(client.told.acknowledged) for client in clients) <= ENOUGH and time.monotonic() < until:
        time.sleep(0.1)
    for client in clients:
        client.stop()
    for client in clients:
        client.join(120)
    say("healed; waiting until nothing is left")
    report.findings += fleet.revive()
    began = time.monotonic()
    left = check.wait_for_quiet(stack, place, QUIET_SECONDS)
    say(f"quiet after {time.monotonic() - began:.1f} s")
    if left:
        report.findings.append(f"left after {QUIET_SECONDS:.0f} s: {left}")
    _check(report, stack, place, clients, fleet)
    return report


def _check(report: Report, stack: Stack, place: Place, clients: list[Client], fleet: Fleet) -> None:
    acknowledged = {key: job for client in clients for key, job in client.told.acknowledged.items()}
    sent = {key for client in clients for key in client.told.sent}
    report.acknowledged = len(acknowledged)
    report.repeats = sum(client.told.repeats for client in clients)
    report.tries = sum(client.told.tries for client in clients)
    report.findings += [finding for client in clients for finding in client.told.findings]
    report.findings += [f"{client.name} did not stop" for client in clients if client.is_alive()]
    report.findings += fleet.stop()
    report.findings += check.lost(stack, place, acknowledged)
    report.findings += check.doubled(stack, place, sent)
    report.findings += check.stale(stack, place, fleet.executions())
    found, report.states = check.answers(stack, place, acknowledged)
    report.findings += found
    report.findings += check.counts(stack, place)
    report.findings += check.usage(stack, place)
    report.attempts = check.attempts(stack, place)
