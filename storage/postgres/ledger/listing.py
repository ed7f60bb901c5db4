"""The page of a job list as SQL: which clauses a filter makes. Values are parameters, never text."""

from typing import Any
from uuid import UUID

from waypost.ids import first_id_at
from waypost.job.model import End, JobState
from waypost.job.record import JobFilter

FIRST = 3  # $1 is the environment, $2 whether bodies are read
FEW = 50_000  # jobs that wait: up to here they are looked up where they wait

WAITING = """
select coalesce(sum(waiting), 0)::bigint from (
    select waiting from control.route_count where environment_id = $1::uuid
    union all
    select waiting from control.route_delta where environment_id = $1
) c
"""

_ENDS = {end.state: int(end) for end in End}
_ENDED = "exists (select from control.job_end e where e.environment_id = $1 and e.job_id = j.id"
_LABELLED = "exists (select from control.job_label l where l.environment_id = $1 and l.job_id = j.id"
_TRIED = "exists (select from control.attempt a where a.environment_id = $1 and a.job_id = j.id)"
_RUNS = "exists (select from control.lease l where l.environment_id = $1 and l.job_id = j.id)"
_QUEUED = f"(not {_ENDED}) and not {_RUNS} and not {_TRIED})"
_RETRYING = f"(not {_ENDED}) and not {_RUNS} and {_TRIED})"
_WAITS = """j.id in (
    select job_id from control.ready where environment_id = $1 and number {tries}
        and route in (select id from control.route where environment_id = $1)
    union all select job_id from control.due where environment_id = $1 and number {tries}
    union all select job_id from control.hold where environment_id = $1 and number {tries}
)"""


class _Clauses:
    """Clauses that must all hold, and the values that they name."""

    def __init__(self) -> None:
        self.texts = ["j.environment_id = $1"]
        self.values: list[Any] = []

    def value(self, value: Any, kind: str) -> str:
        self.values.append(value)
        return f"${FIRST + len(self.values) - 1}::{kind}"

    def add(self, text: str) -> None:
        self.texts.append(text)


def asks_for_waiting(wanted: JobFilter) -> bool:
    """Whether it matters to `page_of` how many wait."""
    return bool({JobState.QUEUED, JobState.RETRYING}.intersection(wanted.states))


def page_of(wanted: JobFilter, limit: int, before: UUID | None, *, few_wait: bool = False) -> tuple[str, list[Any]]:
    """A CTE `page(id)` of the newest jobs that `wanted` lets through, and its values from $3 on.

    Waiting jobs are found as those that neither run nor have ended: at once where most of them wait, but after seconds
    where a thousand wait among a million. `few_wait` (at most about FEW) looks where jobs wait instead: a million jobs,
    a thousand of them waiting, last page: 2,600 -> 1.4 ms; all of them waiting it would be 24 ms -> a second.
    """
    clauses = _Clauses()
    _times(clauses, wanted, before)
    if wanted.functions:
        functions = clauses.value(list(wanted.functions), "text[]")
        clauses.add(f"exists (select from control.route r where r.id = j.route and r.function = any ({functions}))")
    if wanted.trigger_ids:
        clauses.add(f"j.trigger_id = any ({clauses.value(list(wanted.trigger_ids), 'uuid[]')})")
    for key, values in wanted.labels.items():
        labels = clauses.value([f"{key}={value}" for value in values], "text[]")
        clauses.add(f"{_LABELLED} and l.label = any ({labels}))")
    if wanted.states:
        clauses.add(_states(clauses, frozenset(wanted.states), few_wait=few_wait))
    rows = clauses.value(limit, "int")
    where = " and ".join(clauses.texts)
    page = f"select j.id from control.job j where {where} order by j.id desc limit {rows}"  # noqa: S608 (values are parameters)
    return f"with page as materialized ({page})\n", clauses.values


def _times(clauses: _Clauses, wanted: JobFilter, before: UUID | None) -> None:
    if before is not None:
        clauses.add(f"j.id < {clauses.value(before, 'uuid')}")
    if wanted.created_after is not None:
        clauses.add(f"j.id >= {clauses.value(first_id_at(wanted.created_after), 'uuid')}")
    if wanted.created_before is not None:
        clauses.add(f"j.id < {clauses.value(first_id_at(wanted.created_before), 'uuid')}")


def _states(clauses: _Clauses, states: frozenset[JobState], *, few_wait: bool) -> str:
    """The states are alternatives; each is known by which table holds the job (decision 11)."""
    anywhere = []
    ends = [_ENDS[state] for state in states if state in _ENDS]
    if ends:
        anywhere.append(f"{_ENDED} and e.state = any ({clauses.value(ends, 'smallint[]')}))")
    if JobState.RUNNING in states:
        anywhere.append(_RUNS)
    if JobState.QUEUED in states:
        anywhere.append(_WAITS.format(tries="= 0") if few_wait else _QUEUED)
    if JobState.RETRYING in states:
        anywhere.append(_WAITS.format(tries="> 0") if few_wait else _RETRYING)
    return f"({' or '.join(anywhere)})"
