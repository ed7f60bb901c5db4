"""What must hold when the dust has settled, through the API and in the ledger itself. Every check answers findings."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator

from tests.bench.stack import WAYPOST, Place, Stack, StackError

ENDS = ("completed", "failed", "dead_letter", "canceled", "expired")
PLACES = ("ready", "due", "hold", "lease", "permit", "cancel_request")
_SAMPLE = 300  # results that are read one by one


def wait_for_quiet(stack: Stack, place: Place, timeout_seconds: float) -> dict[str, int]:
    """Until nothing is left waiting or running; what is left (nothing, or what did not end in time)."""
    end = time.monotonic() + timeout_seconds
    left: dict[str, int] = {"unknown": 1}
    while left and time.monotonic() < end:
        time.sleep(0.3)
        try:
            left = remaining(stack, place)
        except StackError:
            continue  # a server is still on its way back
    return left


def remaining(stack: Stack, place: Place) -> dict[str, int]:
    """Rows of the environment in the tables that only hold what is not finished."""
    parts = " union all ".join(
        f"select '{name}' as place, count(*) as n from control.{name} where environment_id = $1"  # noqa: S608 - our own names
        for name in PLACES
    )
    return {row["place"]: row["n"] for row in stack.query(parts, place.id) if row["n"]}


def lost(stack: Stack, place: Place, acknowledged: dict[str, str]) -> list[str]:
    """Acknowledged jobs without an end."""
    rows = stack.query("select job_id::text as id from control.job_end where environment_id = $1", place.id)
    ended = {row["id"] for row in rows}
    return [f"lost: {key} ({job}) has no end" for key, job in acknowledged.items() if job not in ended]


def doubled(stack: Stack, place: Place, sent: set[str]) -> list[str]:
    """Keys that made more than one job, jobs that nobody submitted, jobs with two ends."""
    rows = stack.query(
        "select labels->>'key' as key, count(*) as n from control.job where environment_id = $1 group by 1", place.id
    )
    found = [f"doubled: {row['key']} made {row['n']} jobs" for row in rows if row["n"] > 1]
    found += [f"doubled: nobody submitted {row['key']}" for row in rows if row["key"] not in sent]
    ends = stack.query(
        "select job_id, count(*) as n from control.job_end where environment_id = $1 group by 1 having count(*) > 1",
        place.id,
    )
    return found + [f"doubled: {row['job_id']} has {row['n']} ends" for row in ends]


def stale(stack: Stack, place: Place, executions: list[tuple[str, int, int]]) -> list[str]:
    """Results of lapsed attempts: a completed job's recorded attempt ran, once, and is the last of its attempts."""
    ran = Counter((job, attempt) for job, attempt, _ in executions)
    found = [f"attempt {attempt} of {job} ran {times} times" for (job, attempt), times in ran.items() if times > 1]
    ends = stack.query(
        "select job_id::text as id, attempt_id, number from control.job_end where environment_id = $1 and state = 1",
        place.id,
    )
    found += [
        f"stale: {row['id']} completed by attempt {row['attempt_id']}, which no handler ran"
        for row in ends
        if (row["id"], row["attempt_id"]) not in ran
    ]
    later = stack.query(
        """
        select e.job_id::text as id, e.number, a.number as other
        from control.job_end e join control.attempt a using (environment_id, job_id)
        where e.environment_id = $1 and (a.number > e.number or a.attempt_id = e.attempt_id)
        """,
        place.id,
    )
    return found + [f"stale: {row['id']} ended at number {row['number']}, but has {row['other']}" for row in later]


def answers(stack: Stack, place: Place, acknowledged: dict[str, str]) -> tuple[list[str], Counter[str]]:
    """Through the API: each acknowledged job is listed once, at an end; a sample's result is of its last attempt."""
    listed = Counter[str]()
    states: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for job in jobs(stack, place):
        listed[job["id"]] += 1
        states[job["id"]] = job["state"]
        numbers[job["id"]] = job["attempt"] or 0
    found = []
    for key, job in acknowledged.items():
        if listed[job] != 1:
            found.append(f"{key} ({job}) is listed {listed[job]} times")
        elif states[job] not in ENDS:
            found.append(f"lost: {key} ({job}) is {states[job]}")
    completed = [job for job, state in states.items() if state == "completed"]
    completed.sort(key=lambda job: -numbers[job])  # those that were tried again are the interesting ones
    for job in completed[:_SAMPLE]:
        found += _result_of_last_attempt(stack, place, job)
    return found, Counter(states.values())


def jobs(stack: Stack, place: Place) -> Iterator[dict]:  # type: ignore[type-arg]
    """Every job of the environment, page by page."""
    cursor = ""
    while True:
        page = stack.call("GET", f"{place.path}/jobs?limit=200{cursor}", key=place.key)
        yield from page["items"]
        if not page["next_cursor"]:
            return
        cursor = f"&cursor={page['next_cursor']}"


def _result_of_last_attempt(stack: Stack, place: Place, job: str) -> list[str]:
    result = stack.call("GET", f"{place.path}/jobs/{job}", key=place.key)["result"]
    attempts = stack.call("GET", f"{place.path}/jobs/{job}/attempts", key=place.key)["items"]
    done = [attempt for attempt in attempts if attempt["outcome"] == "completed"]
    if len(done) != 1:
        return [f"{job} has {len(done)} completed attempts: {json.dumps(attempts)[:300]}"]
    if str(done[0]["id"]) != result["attempt"]:
        return [f"stale: {job} has the result of attempt {result['attempt']}, recorded is {done[0]['id']}"]
    return []


def counts(stack: Stack, place: Place) -> list[str]:
    """The counts kept by the way agree with the ledger: nothing waits, nothing runs, ends of each kind are as many."""
    rows = stack.query(
        """
        with kept as (
            select route, sum(waiting) as waiting, sum(retrying) as retrying, sum(running) as running,
                array[sum(completed), sum(failed), sum(dead_letter), sum(canceled), sum(expired)] as ends
            from (
                select route, waiting, retrying, running, completed, failed, dead_letter, canceled, expired
                from control.route_count where environment_id = $1
                union all
                select route, waiting, retrying, running, completed, failed, dead_letter, canceled, expired
                from control.route_delta where environment_id = $1
            ) both_kinds
            group by route
        ), ended as (
            select route, array[
                count(*) filter (where state = 1), count(*) filter (where state = 2),
                count(*) filter (where state = 3), count(*) filter (where state = 4), count(*) filter (where state = 5)
            ]::numeric[] as ends
            from control.job_end where environment_id = $1 group by route
        )
        select coalesce(kept.route, ended.route) as route, coalesce(waiting, 0) as waiting,
            coalesce(retrying, 0) as retrying, coalesce(running, 0) as running, kept.ends as kept, ended.ends as ended
        from kept full join ended using (route)
        """,
        place.id,
    )
    return [
        f"route {row['route']} counts {dict(row)}"
        for row in rows
        if row["waiting"] or row["retrying"] or row["running"] or row["kept"] != row["ended"]
    ]


def attempts(stack: Stack, place: Place) -> dict[str, int]:
    """How many tries there were, and how many were lost with their node or relay."""
    row = stack.query(
        """
        select (select count(*) from control.attempt where environment_id = $1)
             + (select count(*) from control.job_end where environment_id = $1 and attempt_id is not null) as tries,
               (select count(*) from control.attempt where environment_id = $1 and outcome = 4)
             + (select count(*) from control.job_end where environment_id = $1 and outcome = 4) as lost
        """,
        place.id,
    )[0]
    return {"attempts": row["tries"], "lost attempts": row["lost"]}


def usage(stack: Stack, place: Place) -> list[str]:
    """What is metered is what happened: the sums are those of ledger and events (`waypost admin usage verify`), and
    those of this environment are its ends and attempts."""
    command = [WAYPOST, "admin", "usage", "verify", "--json", "--data-dir", str(stack.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - our own
    found = [] if done.returncode == 0 else [f"usage: {done.returncode} {done.stderr or done.stdout}"]
    sums = {
        row["meter"]: int(row["quantity"])
        for row in stack.query(
            "select meter, sum(quantity) as quantity from control.usage_hour where environment_id = $1"
            " and (meter = 'job.attempts' or meter like 'job.ended.%%') group by 1",
            place.id,
        )
    }
    tries = attempts(stack, place)["attempts"]
    ends = stack.query("select count(*) as n from control.job_end where environment_id = $1", place.id)[0]["n"]
    if sums.pop("job.attempts", 0) != tries:
        found.append(f"usage: attempts are not {tries}")
    if sum(sums.values()) != ends:
        found.append(f"usage: ends {sums} are not {ends}")
    return found
