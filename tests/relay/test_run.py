"""Jobs through a relay and a node: routing, answers, retries, cancel, time-outs."""

import asyncio
import json
import time
from uuid import UUID

import msgspec
from waypost_contracts.waypost_frame_pb2 import Failure, LogLine, Progress, Started

from jobs import wake
from relay.watcher import WATCH_SECONDS
from tests.relay.fake_node import FakeNode
from tests.relay.ground import Environment, RelayProcess, until
from waypost.job.model import Backoff, End, Outcome, Policy, RetryPolicy

ECHO = lambda assignment: assignment.payload or b"null"  # noqa: E731
ECHO_UNLESS_HELD = lambda assignment: None if assignment.function == "held" else ECHO(assignment)  # noqa: E731
TOLD_SECONDS = WATCH_SECONDS - 0.5  # sooner after its last look than this a relay looks only when it is told to


async def connect(relay: RelayProcess, environment: Environment, answer: object = None, **join: object) -> FakeNode:
    token = environment.token(await environment.credential())
    return await FakeNode(relay.address, token, answer).join(**join)  # type: ignore[arg-type]


async def test_a_job_runs_on_a_node_and_its_exact_result_is_kept(relay: RelayProcess, environment: Environment) -> None:
    """Payload and result are carried exactly; the end says completed, by this node, in the first attempt."""
    node = await connect(
        relay, environment, lambda a: b'{"n":12.50,"big":1' + b"0" * 40 + b"}", functions=["text.count"]
    )
    [job] = await environment.submit("text.count", {"text": "a b"})
    end = await environment.end(job)
    assert (end["state"], end["outcome"], end["number"]) == (End.COMPLETED, Outcome.COMPLETED, 1)
    assert end["result"] == b'{"n":12.50,"big":1' + b"0" * 40 + b"}"
    assert end["node"] == UUID(node.member_id)
    assert (await node.settled.get()).accepted
    await node.close()


async def test_selectors_decide_which_node_runs_a_job(relay: RelayProcess, environment: Environment) -> None:
    """Only a node whose tags satisfy all selectors gets it; a job that nobody satisfies waits."""
    small = await connect(relay, environment, lambda a: b'"small"', functions=["f"], tags=["gpu", "mem_gb=8"])
    large = await connect(relay, environment, lambda a: b'"large"', functions=["f"], tags=["gpu", "mem_gb=24"])
    jobs = [(await environment.submit("f", selectors=["gpu", "mem_gb>=16"]))[0] for _ in range(5)]
    assert {(await environment.end(job))["result"] for job in jobs} == {b'"large"'}
    [waiting] = await environment.submit("f", selectors=["mem_gb>=64"])
    huge = await connect(relay, environment, lambda a: b'"huge"', functions=["f"], tags=["mem_gb=64"])
    assert (await environment.end(waiting))["result"] == b'"huge"'
    for node in (small, large, huge):
        await node.close()


async def test_the_node_with_the_most_free_slots_gets_the_next_job(
    relay: RelayProcess, environment: Environment
) -> None:
    """Three nodes, one with more room: work goes there until they are level, and never beyond anybody's slots."""
    wide = await connect(relay, environment, functions=["f"], max_in_flight=4)
    narrow = [await connect(relay, environment, functions=["f"], max_in_flight=2) for _ in range(2)]
    await environment.submit("f", count=2)
    first = [await asyncio.wait_for(wide.assigned.get(), 10) for _ in range(2)]
    await environment.submit("f", count=10)
    taken = [await asyncio.wait_for(wide.assigned.get(), 10) for _ in range(2)]
    for node in narrow:
        taken += [await asyncio.wait_for(node.assigned.get(), 10) for _ in range(2)]
    assert len(first) + len(taken) == 8

    async def leased() -> bool:
        count = "select count(*) from control.lease where environment_id = $1"
        return bool(await environment.ground.admin.fetchval(count, environment.id) == 8)

    await until(leased)
    await environment.submit("f")
    assert all(node.assigned.empty() for node in (wide, *narrow))
    for node in (wide, *narrow):
        await node.close()


async def test_a_function_has_its_own_limit(relay: RelayProcess, environment: Environment) -> None:
    """max_in_flight of a function holds beside the node's; the other function is not held up."""
    functions = [{"name": "slow", "max_in_flight": 1}, {"name": "fast", "max_in_flight": 8}]
    node = await connect(relay, environment, functions=functions, max_in_flight=8)
    await environment.submit("slow", count=3)
    await environment.submit("fast", count=3)
    names = sorted([(await asyncio.wait_for(node.assigned.get(), 10)).function for _ in range(4)])
    assert names == ["fast", "fast", "fast", "slow"]
    assert node.assigned.empty()
    await node.close()


async def test_a_thousand_jobs_never_exceed_the_slots_and_all_end_once(
    relay: RelayProcess, environment: Environment
) -> None:
    """Flow control under load."""
    nodes = [await connect(relay, environment, ECHO, functions=["f"], max_in_flight=16) for _ in range(3)]
    jobs = [job for _ in range(10) for job in await environment.submit("f", {"n": 1}, count=100)]

    async def ended() -> bool:
        count = "select count(*) from control.job_end where environment_id = $1"
        return bool(await environment.ground.admin.fetchval(count, environment.id) == len(jobs))

    await until(ended)
    assert sum(node.done for node in nodes) == len(jobs)
    assert max(node.most_in_flight for node in nodes) <= 16
    for node in nodes:
        await node.close()


async def test_a_failure_is_retried_by_its_policy_and_then_dead(relay: RelayProcess, environment: Environment) -> None:
    """Retryable failures use up the attempts; each is recorded with its error."""
    policy = Policy(retry=RetryPolicy(max_attempts=2, backoff=Backoff.NONE))
    failure = Failure(code="flaky", message="not now", retryable=True, details=b'{"a": 1.50}')
    node = await connect(relay, environment, lambda a: failure, functions=["f"])
    [job] = await environment.submit("f", policy=policy)
    end = await environment.end(job)
    assert (end["state"], end["outcome"], end["number"]) == (End.DEAD_LETTER, Outcome.FAILED, 2)
    assert end["error"] == {"code": "flaky", "message": "not now", "retryable": True, "details": {"a": 1.5}}
    assert [(a["number"], a["outcome"]) for a in await environment.attempts(job)] == [(1, Outcome.FAILED)]
    await node.close()


async def test_a_failure_marked_not_retryable_ends_the_job(relay: RelayProcess, environment: Environment) -> None:
    """As `failed`, in the first attempt."""
    node = await connect(relay, environment, lambda a: Failure(code="bad", message="never"), functions=["f"])
    [job] = await environment.submit("f")
    end = await environment.end(job)
    assert (end["state"], end["number"], end["error"]["code"]) == (End.FAILED, 1, "bad")
    await node.close()


async def test_an_answer_that_breaks_a_rule_fails_the_job_for_good(
    relay: RelayProcess, environment: Environment
) -> None:
    """No JSON, not UTF-8, over 1 MiB: each has a code of its own."""
    answers = {"a": b"{nope", "b": b'"\xff"', "c": b'"' + b"x" * (1 << 20) + b'"'}
    node = await connect(relay, environment, lambda a: answers[json.loads(a.payload)], functions=["f"])
    codes = {}
    for name in answers:
        [job] = await environment.submit("f", name)
        codes[name] = (await environment.end(job))["error"]["code"]
    assert codes == {"a": "result_not_json", "b": "result_not_json", "c": "result_too_large"}
    await node.close()


async def test_a_cancel_reaches_the_node_and_its_word_ends_the_job(
    relay: RelayProcess, environment: Environment
) -> None:
    """The node is told with its grace; when it gives up, the job is canceled, not retried."""
    node = await connect(relay, environment, functions=["f"])
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    await environment.ground.ledger.cancel(environment.id, job, "test")
    environment.publish(wake.CancelJob(job))
    told = await asyncio.wait_for(node.canceled.get(), 10)
    assert (told.attempt_id, told.grace_ms) == (assignment.attempt_id, 10_000)
    await node.finish(assignment, Failure(code="stopped", message="as asked", retryable=True))
    end = await environment.end(job)
    assert (end["state"], end["outcome"]) == (End.CANCELED, Outcome.CANCELED)
    await node.close()


async def test_a_canceled_job_is_ended_after_its_grace_whatever_the_node_does(
    relay: RelayProcess, environment: Environment
) -> None:
    """Also when the message was lost: the relay looks for requests itself. The late answer is refused."""
    node = await connect(relay, environment, functions=["f"], max_in_flight=1)
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    began = time.monotonic()
    await environment.ground.ledger.cancel(environment.id, job, "test")
    end = await environment.end(job, 40)
    assert end["state"] == End.CANCELED
    assert 9.5 < time.monotonic() - began < 30
    [other] = await environment.submit("f")
    await node.finish(assignment, b"1")
    refused = await asyncio.wait_for(node.settled.get(), 10)
    assert (refused.accepted, refused.reason) == (False, "attempt_not_current")
    assert (
        await asyncio.wait_for(node.assigned.get(), 10)
    ).job_id == other.bytes  # its slot was kept until it answered
    await node.close()


async def test_an_answer_before_the_grace_is_over_stands(relay: RelayProcess, environment: Environment) -> None:
    """A cancel does not take a result away."""
    node = await connect(relay, environment, functions=["f"])
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    await environment.ground.ledger.cancel(environment.id, job, "test")
    environment.publish(wake.CancelJob(job))
    await node.canceled.get()
    await node.finish(assignment, b"7")
    end = await environment.end(job)
    assert (end["state"], end["result"]) == (End.COMPLETED, b"7")
    await node.close()


async def test_an_attempt_that_takes_too_long_times_out_and_is_tried_again(
    relay: RelayProcess, environment: Environment
) -> None:
    """timeout_seconds counts one attempt; the node is told to stop and its late answer is refused."""
    policy = Policy(timeout_seconds=3, retry=RetryPolicy(max_attempts=2, backoff=Backoff.NONE))
    node = await connect(relay, environment, functions=["f"])
    [job] = await environment.submit("f", policy=policy)
    first = await node.assigned.get()
    assert 0 < first.deadline_ms <= 3_000
    assert (await asyncio.wait_for(node.canceled.get(), 10)).attempt_id == first.attempt_id
    second = await asyncio.wait_for(node.assigned.get(), 10)
    assert (second.number, second.job_id) == (2, first.job_id)
    await node.finish(first, b"1")
    assert not (await node.settled.get()).accepted
    await node.finish(second, b"2")
    assert (await environment.end(job))["result"] == b"2"
    assert [a["outcome"] for a in await environment.attempts(job)] == [Outcome.TIMED_OUT]
    await node.close()


async def test_progress_and_logs_reach_listeners_and_logs_are_kept_sealed(
    relay: RelayProcess, environment: Environment
) -> None:
    """Progress is published and kept as a key, log lines are published and stored in order."""
    heard: asyncio.Queue[object] = asyncio.Queue()
    subscription = await environment.ground.valkey.subscribe(
        [wake.jobs_channel(environment.id)], lambda channel, payload: heard.put_nowait(wake.decode_job(payload))
    )
    node = await connect(relay, environment, functions=["f"])
    [job] = await environment.submit("f")
    a = (await node.assigned.get()).attempt_id
    lines = [LogLine(attempt_id=a, at_ms=5, level="info", message=f"line {n}") for n in range(3)]
    await node.frame(
        started=[Started(attempt_id=a)], progress=[Progress(attempt_id=a, fraction=0.5, message="half")], log=lines
    )
    kinds = {type(await asyncio.wait_for(heard.get(), 10)).__name__ for _ in range(5)}
    assert kinds == {"States", "LogLine", "Progress"}

    async def kept() -> object:
        return await environment.ground.valkey.execute("GET", f"wp:progress:{job}")

    assert msgspec.json.decode(await until(kept)) == [0.5, "half"]

    async def stored() -> object:
        return await environment.ground.admin.fetchrow("select * from control.job_log where job_id = $1", job)

    row = await until(stored)
    opened = json.loads(environment.data_key.open(f"job:{job}:log:1:{row['sequence']}", row["lines"]))
    assert opened == [{"at": 5, "level": "info", "message": f"line {n}"} for n in range(3)]
    subscription.close()
    await node.close()


async def held_jobs(environment: Environment, node: FakeNode) -> list[UUID]:
    """Two jobs that the node has and never answers."""
    jobs = await environment.submit("held", count=2)
    for _ in jobs:
        await asyncio.wait_for(node.assigned.get(), 20)
    return jobs


async def looked(environment: Environment, node: FakeNode, held: UUID, message: object, seconds: float = 20) -> None:
    """Return once the relay, told by `message`, has looked at all that stands against it.

    The look finds the cancel of `held`, which nobody tells it of, and applies the rest before the node hears of that.
    """
    await environment.ground.ledger.cancel(environment.id, held, "test")
    environment.publish(message)
    await asyncio.wait_for(node.canceled.get(), seconds)


async def test_a_paused_function_is_not_claimed_until_it_is_resumed(
    relay: RelayProcess, environment: Environment
) -> None:
    """The pause is a row; the message only says to look."""
    node = await connect(relay, environment, ECHO_UNLESS_HELD, functions=["f", "g", "held"])
    admin, message = environment.ground.admin, wake.FunctionChanged("f")
    first, second = await held_jobs(environment, node)
    await looked(environment, node, first, message)
    pause = "insert into control.function_pause (environment_id, function, paused_by) values ($1, 'f', 'test')"
    await admin.execute(pause, environment.id)
    await looked(environment, node, second, message, TOLD_SECONDS)
    [paused] = await environment.submit("f")
    [other] = await environment.submit("g")
    await environment.end(other)
    assert await admin.fetchval("select count(*) from control.ready where job_id = $1", paused) == 1
    await admin.execute("delete from control.function_pause where environment_id = $1", environment.id)
    environment.publish(message)
    assert (await environment.end(paused))["state"] == End.COMPLETED
    await node.close()


async def test_a_suspended_environment_starts_nothing_and_goes_on_when_resumed(
    relay: RelayProcess, environment: Environment
) -> None:
    """Its nodes stay connected."""
    node = await connect(relay, environment, ECHO_UNLESS_HELD, functions=["f", "held"])
    admin, status = environment.ground.admin, "update control.environment set status = $2 where id = $1"
    first, second = await held_jobs(environment, node)
    await looked(environment, node, first, wake.EnvironmentClosed())
    await admin.execute(status, environment.id, "suspended")
    await looked(environment, node, second, wake.EnvironmentClosed(), TOLD_SECONDS)
    [job] = await environment.submit("f")
    await asyncio.sleep(0.3)  # there is no signal for "was not claimed"; else it would be by now
    assert await admin.fetchval("select count(*) from control.ready where job_id = $1", job) == 1
    await admin.execute(status, environment.id, "ready")
    assert (await environment.end(job))["state"] == End.COMPLETED  # found by the relay's own look
    await node.close()


async def test_jobs_of_one_concurrency_key_run_one_after_another(relay: RelayProcess, environment: Environment) -> None:
    """A settled job frees its permit, and the next of the line starts at once."""
    node = await connect(relay, environment, functions=["f"])
    keyed = {"concurrency_key": "k", "concurrency_limit": 1}
    jobs = await environment.submit("f", count=3, **keyed)
    await environment.ground.ledger.release_holds([(environment.id, "k")])
    for job in jobs:
        assignment = await asyncio.wait_for(node.assigned.get(), 10)
        assert assignment.job_id == job.bytes
        assert node.assigned.empty()
        await node.finish(assignment, b"1")
    await environment.end(jobs[-1])
    await node.close()
