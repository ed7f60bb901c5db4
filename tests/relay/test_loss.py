"""What gets lost, stuck or said wrongly: messages, streams, relays, and nodes that misbehave."""

import asyncio
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from waypost_contracts.cloudevents_pb2 import CloudEvent
from waypost_contracts.waypost_frame_pb2 import Failure, Finished, NodeFrame, Started

from tests.relay.fake_node import FakeNode, frame_event
from tests.relay.ground import Environment, RelayProcess, free_port, make_certificate, until
from waypost.job.model import End, Outcome

ECHO = lambda assignment: assignment.payload or b"null"  # noqa: E731
LIMIT = 104_857_600


async def connect(relay: RelayProcess, environment: Environment, answer: Any = None, **join: Any) -> FakeNode:
    token = environment.token(await environment.credential())
    return await FakeNode(relay.address, token, answer).join(**{"functions": ["f"], **join})


# --- messages


async def test_wake_ups_alone_are_enough(start_relay: Any, environment: Environment) -> None:
    """With the slow poll switched off, a new route, a known one and a retry at once are all found by messages."""
    relay = await start_relay(WAYPOST_SLOW_POLL_SECONDS="3600")
    node = await connect(relay, environment, ECHO)
    for _ in range(3):
        [job] = await environment.submit("f")
        assert (await environment.end(job))["state"] == End.COMPLETED
    await node.close()


async def test_the_slow_poll_alone_is_enough(start_relay: Any, environment: Environment) -> None:
    """Without Valkey, so without any message, jobs run all the same: also those of a route made after the join."""
    relay = await start_relay(WAYPOST_SLOW_POLL_SECONDS="0.3", WAYPOST_VALKEY_URL=f"valkey://127.0.0.1:{free_port()}")
    node = await connect(relay, environment, ECHO)
    for selectors in ((), ("!gpu",), ()):
        [job] = await environment.submit("f", selectors=selectors, wake_up=False)
        assert (await environment.end(job))["state"] == End.COMPLETED
    await node.close()


async def test_work_that_waits_is_found_when_its_first_node_joins(start_relay: Any, environment: Environment) -> None:
    """No message and no slow poll: joining itself looks."""
    relay = await start_relay(WAYPOST_SLOW_POLL_SECONDS="3600")
    [job] = await environment.submit("f")
    node = await connect(relay, environment, ECHO)
    assert (await environment.end(job))["state"] == End.COMPLETED
    await node.close()


# --- streams and relays


async def test_a_lost_node_loses_its_attempt_after_the_grace_and_another_gets_it(
    start_relay: Any, environment: Environment
) -> None:
    """The attempt is recorded as lost, the next one starts at once."""
    relay = await start_relay(WAYPOST_NODE_GRACE_SECONDS="1")
    node = await connect(relay, environment)
    [job] = await environment.submit("f")
    await node.assigned.get()
    began = time.monotonic()
    await node.close()
    other = await connect(relay, environment, ECHO)
    end = await environment.end(job)
    assert (end["number"], end["node"]) == (2, UUID(other.member_id))
    assert time.monotonic() - began > 0.9
    assert [a["outcome"] for a in await environment.attempts(job)] == [Outcome.LOST]
    await other.close()


async def test_the_answer_of_a_lost_attempt_is_refused_and_noted_at_it(
    start_relay: Any, environment: Environment
) -> None:
    """At the attempt that it is of, whatever came after; said twice, the first instant stands."""
    relay = await start_relay(WAYPOST_NODE_GRACE_SECONDS="0.2")
    node = await connect(relay, environment)
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    await node.close()
    other = await connect(relay, environment, ECHO)
    await environment.end(job)
    late = await connect(relay, environment, functions=["g"])
    noted = []
    for answer in (Failure(code="x", message="stopped", retryable=False), b"1"):
        await late.finish(assignment, answer)
        assert not (await late.settled.get()).accepted
        noted.append(await until(lambda: _late_answer(environment, job)))
        await asyncio.sleep(1.2)  # the second one is told with the next flush: nothing changes, there is no signal
    assert noted[0] == noted[1] == await _late_answer(environment, job)
    for one in (other, late):
        await one.close()


async def _late_answer(environment: Environment, job: UUID) -> Any:
    return await environment.ground.admin.fetchval(
        "select answer_refused_at from control.attempt where job_id = $1 and number = 1", job
    )


async def test_an_answer_that_comes_on_a_new_stream_within_the_grace_is_accepted(
    relay: RelayProcess, environment: Environment
) -> None:
    """A node that reconnects hands over what it finished meanwhile."""
    node = await connect(relay, environment)
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    await node.close()
    again = await connect(relay, environment)
    await again.finish(assignment, b"3")
    assert (await again.settled.get()).accepted
    end = await environment.end(job)
    assert (end["number"], end["result"]) == (1, b"3")
    await again.close()


async def test_a_node_that_reconnects_and_says_started_keeps_its_attempt(
    start_relay: Any, environment: Environment
) -> None:
    """Work that still runs goes on, on the new stream, and takes a slot there."""
    relay = await start_relay(WAYPOST_NODE_GRACE_SECONDS="4")
    node = await connect(relay, environment, max_in_flight=1)
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    await node.close()
    again = await connect(relay, environment, max_in_flight=1)
    await again.frame(started=[Started(attempt_id=assignment.attempt_id)])
    await asyncio.sleep(4.6)  # past the grace: there is no signal for "was not settled as lost"
    await again.finish(assignment, b"4")
    assert (await again.settled.get()).accepted
    assert (await environment.end(job))["number"] == 1
    await again.close()


async def test_relays_share_a_port_and_a_killed_one_loses_no_job(start_relay: Any, environment: Environment) -> None:
    """Nodes of both take work; after kill -9 the sweeper takes the dead one's leases and the other runs them."""
    port = free_port()
    relays = [await start_relay(f"relay-{n}", port) for n in (1, 2)]
    token = environment.token(await environment.credential())
    nodes = []
    for _ in range(40):  # the kernel spreads connections; two on the same relay is luck, forty is none
        nodes.append(await FakeNode(relays[0].address, token).join(["f"], max_in_flight=1))
        if len(await _sessions(environment, len(nodes))) == 2:
            break
    jobs = await environment.submit("f", count=len(nodes))

    async def all_assigned() -> bool:
        return all(node.assigned.qsize() == 1 for node in nodes)

    await until(all_assigned)
    relays[0].kill()
    for node in nodes:
        node.answer = ECHO
        if not node.assigned.empty() and not await _gone(node):
            await node.finish(node.assigned.get_nowait(), b"1")
    await environment.ground.admin.execute("update control.session set lease_until = now() where process = 'relay-1'")
    await environment.ground.ledger_as_worker().sweep_lost()
    helper = await connect(relays[1], environment, ECHO)
    ends = [await environment.end(job) for job in jobs]
    assert {end["state"] for end in ends} == {End.COMPLETED}
    assert {end["number"] for end in ends} == {1, 2}
    for node in (*nodes, helper):
        await node.close()


async def _sessions(environment: Environment, count: int) -> list[Any]:
    async def rows() -> Any:
        query = "select id, session from control.node where environment_id = $1"
        found = await environment.ground.admin.fetch(query, environment.id)
        return len(found) == count and found

    return list({row["session"] for row in await until(rows)})


async def _gone(node: FakeNode) -> bool:
    """Whether the node's relay was the killed one: its stream ends by itself, the other's does not."""
    done, _ = await asyncio.wait({node._reader}, timeout=1.0)  # type: ignore[type-var]
    return bool(done)


async def test_a_relay_that_was_stopped_past_its_lease_has_its_answers_refused(
    start_relay: Any, environment: Environment
) -> None:
    """SIGSTOP, the lease runs out and is swept, SIGCONT: the result of the lapsed attempt is refused, the next
    counts.
    """
    relay = await start_relay("relay-stopped")
    node = await connect(relay, environment)
    [job] = await environment.submit("f")
    first = await node.assigned.get()
    relay.process.send_signal(signal.SIGSTOP)
    await environment.ground.admin.execute(
        "update control.session set lease_until = now() where process = 'relay-stopped'"
    )
    await environment.ground.ledger_as_worker().sweep_lost()
    relay.process.send_signal(signal.SIGCONT)
    await node.finish(first, b'"stale"')
    assert not (await asyncio.wait_for(node.settled.get(), 20)).accepted
    second = await asyncio.wait_for(node.assigned.get(), 20)
    assert second.number == 2
    await node.finish(second, b'"fresh"')
    assert (await environment.end(job))["result"] == b'"fresh"'
    await node.close()


async def test_a_relay_that_stops_waits_for_work_and_gives_up_the_rest(
    start_relay: Any, environment: Environment
) -> None:
    """An answer within the limit counts; what is left is tried again elsewhere at once."""
    relay = await start_relay(WAYPOST_DRAIN_SECONDS="5")
    node = await connect(relay, environment)
    jobs = await environment.submit("f", count=2)
    quick, slow = await node.assigned.get(), await node.assigned.get()
    relay.process.terminate()
    await asyncio.sleep(0.3)
    await node.finish(quick, b"1")
    assert await relay.stop() == 0
    assert (await environment.end(UUID(bytes=quick.job_id)))["state"] == End.COMPLETED
    other = await start_relay("relay-2", WAYPOST_SLOW_POLL_SECONDS="3600")  # its join finds the job, or nothing does
    helper = await connect(other, environment, ECHO)
    assert (await environment.end(UUID(bytes=slow.job_id)))["number"] == 2
    assert len(jobs) == 2
    await helper.close()
    await node.close()


# --- nodes that misbehave


async def test_answers_for_jobs_it_does_not_have_and_answers_twice_are_harmless(
    relay: RelayProcess, environment: Environment
) -> None:
    """Refused by name; the first answer of an attempt is the one that counts, also against another node's."""
    node, thief = await connect(relay, environment), await connect(relay, environment, max_in_flight=1)
    await node.frame(finished=[Finished(attempt_id=12345, result=b"1")])
    refused = await node.settled.get()
    assert (refused.attempt_id, refused.accepted, refused.reason) == (12345, False, "attempt_not_current")
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    answer = Finished(attempt_id=assignment.attempt_id, job_id=assignment.job_id, result=b"1")
    other = Finished(attempt_id=assignment.attempt_id, job_id=assignment.job_id, result=b"2")
    await node.frame(finished=[answer, other, answer])
    assert (await environment.end(job))["result"] == b"1"
    assert (await node.settled.get()).accepted
    await node.finish(assignment, b"3")
    assert not (await node.settled.get()).accepted
    stranger = Environment(environment.ground)
    await stranger.create()
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    outside = await connect(relay, stranger)
    await outside.finish(assignment, b"9")
    assert not (await outside.settled.get()).accepted
    await node.finish(assignment, b"5")
    assert (await environment.end(job))["result"] == b"5"
    for each in (node, thief, outside):
        await each.close()


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\xff\xff\xff\xff garbage", id="no event"),
        pytest.param(
            CloudEvent(id="1", type="JobFrame", binary_data=b"\xff\xff garbage").SerializeToString(), id="no frame"
        ),
    ],
)
async def test_garbage_ends_the_stream_and_nothing_else(
    relay: RelayProcess, environment: Environment, garbage: bytes
) -> None:
    """INVALID_ARGUMENT for who sent it; a neighbour works on."""
    node, neighbour = await connect(relay, environment, max_in_flight=1), await connect(relay, environment, ECHO)
    await node.send(garbage)
    assert (await node.status())[0] == "INVALID_ARGUMENT"
    [job] = await environment.submit("f")
    assert (await environment.end(job))["node"] == UUID(neighbour.member_id)
    await node.close()
    await neighbour.close()


async def test_a_frame_of_a_hundred_mebibytes_is_read_and_one_above_ends_the_stream(
    relay: RelayProcess, environment: Environment
) -> None:
    """Up to 104,857,600 bytes a message is taken (its result is too large for the ledger); above, gRPC refuses it."""
    node = await connect(relay, environment)
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    whole = bytearray(b'"' + b"x" * (LIMIT - 200) + b'"')
    await node.finish(assignment, bytes(whole))
    assert (await environment.end(job))["error"]["code"] == "result_too_large"
    with suppress(EOFError):  # it may see the end before its write is through
        await node.send(frame_event(NodeFrame(finished=[Finished(attempt_id=1, result=bytes(LIMIT + 1))])))
    assert (await node.status())[0] in ("RESOURCE_EXHAUSTED", "INTERNAL")
    await node.close()
    neighbour = await connect(relay, environment, ECHO)
    [job] = await environment.submit("f")
    assert (await environment.end(job))["node"] == UUID(neighbour.member_id)
    await neighbour.close()


async def test_a_node_that_never_reads_is_evicted_and_delays_nobody(start_relay: Any, environment: Environment) -> None:
    """Its stream fills up, its write stalls past the limit, its attempts go to a node that reads; that one never
    waits.
    """
    relay = await start_relay(WAYPOST_WRITE_STALL_SECONDS="5", WAYPOST_NODE_GRACE_SECONDS="0.2")
    deaf = FakeNode(relay.address, environment.token(await environment.credential()))
    deaf.deaf.set()
    await deaf.join(["f"], max_in_flight=1_000)
    large = "x" * 60_000
    stuck = await environment.submit("f", large, count=400)
    reading = await connect(relay, environment, ECHO, functions=["f", "g"])
    began, slowest = time.monotonic(), 0.0
    while time.monotonic() - began < 8:
        submitted = time.monotonic()
        [job] = await environment.submit("g", 1)
        await environment.end(job)
        slowest = max(slowest, time.monotonic() - submitted)
    assert slowest < 4  # who waited for the stalled write would have waited five seconds
    ends = [await environment.end(job) for job in stuck]
    assert {end["node"] for end in ends} == {UUID(reading.member_id)}

    async def reason() -> Any:
        query = "select disconnect_reason from control.node where id = $1"
        return await environment.ground.admin.fetchval(query, UUID(deaf.member_id))

    assert "does not read" in await until(reason)
    await reading.close()
    deaf.call.cancel()
    await deaf.channel.close()


# --- servers


async def test_database_connections_cut_under_load_lose_no_job(start_relay: Any, environment: Environment) -> None:
    """A claim whose answer was lost is found in the ledger and tried again; every job ends exactly once."""
    relay = await start_relay("relay-cut", WAYPOST_SLOW_POLL_SECONDS="0.5")
    node = await connect(relay, environment, ECHO, max_in_flight=32)
    admin = environment.ground.admin
    jobs: list[UUID] = []
    cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'relay-cut'"
    for _ in range(8):
        jobs += await environment.submit("f", 1, count=100)
        await admin.fetchval(cut)
        await asyncio.sleep(0.05)

    async def all_ended() -> bool:
        query = "select count(*) from control.job_end where environment_id = $1"
        return bool(await admin.fetchval(query, environment.id) == len(jobs))

    await until(all_ended, 40)
    assert await admin.fetchval("select count(*) from control.lease where environment_id = $1", environment.id) == 0
    states = await admin.fetch("select distinct state from control.job_end where environment_id = $1", environment.id)
    assert [row["state"] for row in states] == [End.COMPLETED]
    await node.close()


async def test_a_claim_whose_answer_was_lost_is_tried_again(start_relay: Any, environment: Environment) -> None:
    """A lease of ours that no attempt stands for, after a claim failed: the job runs as its next attempt."""
    relay = await start_relay("relay-lost", WAYPOST_SLOW_POLL_SECONDS="0.5")
    node = await connect(relay, environment, ECHO)
    [job] = await environment.submit("f", wake_up=False, selectors=["never"])  # nobody here satisfies it
    admin = environment.ground.admin
    take = (
        "with gone as (delete from control.ready where job_id = $1 returning *)"
        " insert into control.lease"
        " (job_id, attempt_id, session, environment_id, route, rank, key, number, node, started_at)"
        " select job_id, 77, (select id from control.session where process = 'relay-lost'), environment_id, route,"
        " rank, key, number + 1, $2, now() - interval '1 minute' from gone"
    )
    await admin.execute(take, job, UUID(node.member_id))

    async def claim_failed() -> bool:
        return "claim.failed" in relay.log.read_text()

    await admin.execute("revoke delete on control.ready from waypost_relay")
    try:
        await environment.submit("f")
        await until(claim_failed)
    finally:
        await admin.execute("grant delete on control.ready to waypost_relay")

    async def recorded() -> Any:
        return [attempt["outcome"] for attempt in await environment.attempts(job)]

    assert await until(recorded) == [Outcome.LOST]
    await node.close()


async def test_a_restart_of_valkey_is_noticed_and_work_goes_on_being_pushed(
    start_relay: Any, environment: Environment
) -> None:
    """After the reconnect messages arrive again, and what came meanwhile was looked for at once."""
    ground = environment.ground
    relay = await start_relay(WAYPOST_SLOW_POLL_SECONDS="3600")
    node = await connect(relay, environment, ECHO)
    assert ground.valkey_process is not None
    ground.valkey_process.kill()
    ground.valkey_process.wait(10)
    [job] = await environment.submit("f")
    ground.start_valkey()
    assert (await environment.end(job))["state"] == End.COMPLETED

    async def connected() -> bool:
        return bool(ground.valkey.connected)

    await until(connected)
    [job] = await environment.submit("f")
    assert (await environment.end(job))["state"] == End.COMPLETED
    await node.close()


async def test_with_a_certificate_nodes_connect_by_tls_only(
    start_relay: Any, environment: Environment, tmp_path: Path
) -> None:
    """A node that trusts it is greeted; a plaintext one gets nowhere."""
    certificate, key = make_certificate(tmp_path)
    relay = await start_relay(WAYPOST_RELAY_TLS_CERT=str(certificate), WAYPOST_RELAY_TLS_KEY=str(key))
    token = environment.token(await environment.credential())
    port = relay.address.rsplit(":", 1)[1]
    trusting = FakeNode(f"localhost:{port}", token, certificate=certificate.read_bytes())
    await trusting.join(["f"])
    await trusting.close()
    plain = FakeNode(relay.address, token)
    with pytest.raises(EOFError):
        await plain.join(["f"])
    assert (await plain.status())[0] == "UNAVAILABLE"
    await plain.close()
