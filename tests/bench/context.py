"""What every scenario needs: the platform, an environment, a generator, nodes, and how long to take."""

import contextlib
import itertools
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.bench import socketload, wrk
from tests.bench.fleet import NodeProcess, Noted, wait_until
from tests.bench.meter import Meter
from tests.bench.plan import Outcome, Plan
from tests.bench.report import Row
from tests.bench.stack import Place, Stack

FUNCTION = "bench.echo"
PARKED = "bench.parked"  # no node serves it
_numbers = itertools.count(1)


@dataclass
class Bench:
    """One run. `quick` shortens everything; figures of a quick run are for trying, not for publishing."""

    stack: Stack
    folder: Path
    quick: bool
    place: Place
    rows: list[Row] = field(default_factory=list)

    def seconds(self, full: float, quick: float) -> float:
        return quick if self.quick else full

    def as_administrator(self, places: Iterable[Place]) -> tuple[Place, ...]:
        """The same places under the one key that submits to all of them."""
        key = str(self.stack.about["admin_key"])
        return tuple(replace(place, key=key) for place in places)

    def plan(
        self,
        seconds: float,
        *,
        connections: int,
        rate: float | None = None,
        bulk: int = 0,
        item_keys: bool = False,
        function: str = FUNCTION,
        places: tuple[Place, ...] = (),
        specs: tuple[str, ...] = (),
    ) -> Plan:
        """Submissions to the bench's environment; other places must share one key."""
        targets = places or (self.place,)
        ending = "/jobs/bulk" if bulk else "/jobs"
        return Plan(
            host=self.stack.host,
            port=self.stack.port,
            token=targets[0].key,
            paths=tuple(place.path + ending for place in targets),
            specs=specs or (f'{{"function":"{function}"',),
            connections=connections,
            seconds=seconds,
            prefix=uuid.uuid4().hex[:12],
            rate=rate,
            bulk=bulk,
            item_keys=item_keys,
        )

    def load(self, plan: Plan) -> tuple[Outcome, dict[str, float]]:
        """Carry the plan out; with the CPU share of everything, the generator's included. Refusals are an error."""
        with Meter(self.stack.groups()) as meter:
            outcome = wrk.run(plan) if wrk.available() else socketload.run(plan)
        if outcome.refused or outcome.failures or not outcome.requests:
            raise RuntimeError(f"{outcome.refused} refused, {outcome.failures} failed of {outcome.requests}")
        return outcome, meter.share | {"load": outcome.cpu_share}

    @contextlib.contextmanager
    def nodes(self, processes: int, slots: int) -> Iterator["Nodes"]:
        """SDK nodes that serve FUNCTION in the bench's environment."""
        before = self.stack.active_nodes(self.place)
        variables = self.stack.node_environment(self.stack.credential(self.place))
        nodes = Nodes(
            [
                NodeProcess.sdk(self.folder, f"node-{next(_numbers)}", variables, FUNCTION, slots)
                for _ in range(processes)
            ]
        )
        try:
            wait_until(
                lambda: self.stack.active_nodes(self.place) >= before + processes,
                f"{processes} nodes joining ({nodes.processes[0].said()})",
            )
            yield nodes
        finally:
            nodes.stop()

    def ended(self, place: Place | None = None) -> int:
        """Jobs of the environment that have an end, from the ledger itself."""
        rows = self.stack.query(
            "select count(*) as n from control.job_end where environment_id = $1", (place or self.place).id
        )
        return int(rows[0]["n"])

    def waiting(self, function: str = FUNCTION) -> int:
        """Jobs of that function which have no end yet: in the queue or on a node."""
        rows = self.stack.query(
            """
            select (select count(*) from control.ready where route = any (r.ids))
                 + (select count(*) from control.lease where route = any (r.ids)) as n
            from (select array_agg(id) as ids from control.route where function = $1) r
            """,
            function,
        )
        return int(rows[0]["n"])

    def wait_drained(self, timeout_seconds: float = 120) -> None:
        wait_until(lambda: self.waiting() == 0, "the queue running empty", timeout_seconds, pause_seconds=0.1)

    def ends_between(self, began: float, until: float) -> dict[str, float]:
        """Ends in that span (seconds since 1970): how many, the last one's moment, and submission → end in ms."""
        row = self.stack.query(
            """
            select count(*) as n,
                extract(epoch from max(finished_at))::float8 as last,
                percentile_disc(array[0.5, 0.99]) within group (
                    order by extract(epoch from finished_at - uuid_extract_timestamp(job_id))::float8 * 1000
                ) as ms
            from control.job_end
            where state = 1 and finished_at >= to_timestamp($1) and finished_at < to_timestamp($2)
            """,
            began,
            until,
        )[0]
        both = row["ms"] or [float("nan"), float("nan")]
        return {"ends": row["n"], "last": row["last"] or began, "p50": both[0], "p99": both[1]}


class Nodes:
    """Running node processes and, once stopped, their notes."""

    def __init__(self, processes: list[NodeProcess]) -> None:
        self.processes = processes
        self.notes: list[Noted] = []

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def stop(self) -> None:
        while self.processes:
            self.notes.append(self.processes.pop().stop())

    def late_ms(self, *, after_ns: int = 0, before_ns: int = 1 << 62) -> list[float]:
        return [late for noted in self.notes for late in noted.late_ms(after_ns=after_ns, before_ns=before_ns)]


def now_ns() -> int:
    return time.time_ns()
