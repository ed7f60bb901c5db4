"""Joining, being refused, keep-alives and the end of a stream (compute-node contract §3)."""

import asyncio
import json
import time
from contextlib import suppress
from typing import Any
from uuid import UUID

import grpc
import grpc.aio
import pytest
from waypost_contracts import cloudevents_pb2

from jobs import wake
from relay.watcher import WATCH_SECONDS
from tests.relay.fake_node import METHOD, FakeNode, text_event
from tests.relay.ground import Environment, RelayProcess, until


async def refused(relay: RelayProcess, token: str | None, first: bytes) -> tuple[str, str]:
    """What the relay answers."""
    node = FakeNode(relay.address, token)
    with suppress(EOFError):
        await node.send(first)
    status = await node.status()
    await node.close()
    return status


JOIN = text_event("CalculationMemberJoinEvent", {"tags": ["gpu"]})


async def test_a_node_with_a_good_token_is_greeted_with_its_tenant(
    relay: RelayProcess, environment: Environment
) -> None:
    """Greet first, with memberId, joinedLegalEntityId and success."""
    node = await FakeNode(relay.address, environment.token(await environment.credential())).join(
        ["text.count"], ["gpu"]
    )
    assert node.greeting["joinedLegalEntityId"] == str(environment.id)
    assert node.greeting["success"] is True
    assert node.member_id
    await node.close()


async def test_a_node_without_functions_joins_is_acknowledged_and_gets_no_job(
    relay: RelayProcess, environment: Environment
) -> None:
    """An existing client: no id in the join, an owner, binary data; its keep-alive is acknowledged, never echoed."""
    node = FakeNode(relay.address, environment.token(await environment.credential()))
    event = cloudevents_pb2.CloudEvent(id="1", spec_version="1.0", type="CalculationMemberJoinEvent")
    event.binary_data = json.dumps({"owner": "PLAY", "tags": ["cloud manager"], "joinedLegalEntityId": ""}).encode()
    await node.send(event.SerializeToString())
    greet = await node.read()
    assert (greet.type, greet.WhichOneof("data")) == ("CalculationMemberGreetEvent", "text_data")
    member = json.loads(greet.text_data)["memberId"]
    await environment.submit("text.count")
    await node.send(text_event("CalculationMemberKeepAliveEvent", {"id": "mine", "memberId": member, "success": True}))
    while (answer := await node.read()).type == "CalculationMemberKeepAliveEvent":  # a probe may come first
        assert json.loads(answer.text_data)["id"] != "mine"
    assert answer.type == "EventAckResponse"
    assert json.loads(answer.text_data)["sourceEventId"] == "mine"
    await node.close()


async def test_a_probe_has_an_id_of_its_own_and_its_acknowledgement_gives_the_round_trip(
    start_relay: Any, environment: Environment
) -> None:
    """Unique probe ids; the node's row shows the time between probe and acknowledgement."""
    relay = await start_relay(WAYPOST_PROBE_SECONDS="1")
    node = await FakeNode(relay.address, environment.token(await environment.credential())).join(["f"])
    probes = [json.loads((await node.events.get()).text_data) for _ in range(3)]
    assert len({probe["id"] for probe in probes}) == 3
    assert {probe["memberId"] for probe in probes} == {node.member_id}

    async def round_trip() -> Any:
        return await environment.ground.admin.fetchval(
            "select round_trip_ms from control.node where id = $1 and round_trip_ms > 0", UUID(node.member_id)
        )

    assert 0 < await until(round_trip) < 5_000
    await node.close()


async def test_a_silent_node_is_cut_and_one_that_only_answers_is_not(
    start_relay: Any, environment: Environment
) -> None:
    """Three silent probes end the stream with DEADLINE_EXCEEDED; any inbound event is a sign of life."""
    relay = await start_relay(WAYPOST_PROBE_SECONDS="1")
    token = environment.token(await environment.credential())
    silent, talking = FakeNode(relay.address, token), FakeNode(relay.address, token)
    for node in (silent, talking):
        await node.send(JOIN)
        await node.read()

    async def talk() -> None:
        while True:
            await talking.frame()
            await asyncio.sleep(0.1)

    chatter = asyncio.create_task(talk())
    with suppress(EOFError):  # it reads, and says nothing
        while True:
            await silent.read()
    assert await silent.status() == ("DEADLINE_EXCEEDED", "keep-alive timeout")
    assert not talking.call.done()
    chatter.cancel()
    await silent.close()
    await talking.close()


@pytest.mark.parametrize("token", [None, "", "nonsense", "a.b.c"])
async def test_a_stream_without_a_good_token_is_unauthenticated(
    relay: RelayProcess, environment: Environment, token: str | None
) -> None:
    """Whatever is wrong, the words are the same."""
    assert await refused(relay, token, JOIN) == ("UNAUTHENTICATED", "authentication failed")


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        (["Bearer GOOD"], None),
        (["Bearer GOOD", "Bearer x"], None),
        (["Bearer x", "Bearer GOOD"], "UNAUTHENTICATED"),
        (["bearer GOOD"], "UNAUTHENTICATED"),
        (["Basic GOOD"], "UNAUTHENTICATED"),
        (["GOOD"], "UNAUTHENTICATED"),
    ],
)
async def test_the_scheme_is_exactly_bearer_and_the_first_value_counts(
    relay: RelayProcess, environment: Environment, metadata: list[str], code: str | None
) -> None:
    """As the contract's §3.1 has it."""
    token = environment.token(await environment.credential())
    node = FakeNode(relay.address, None)
    node.call.cancel()
    values = tuple(("authorization", value.replace("GOOD", token)) for value in metadata)
    node.call = node.channel.stream_stream(METHOD)(metadata=values)
    with suppress(EOFError):  # refused before it could write
        await node.send(JOIN)
    if code is None:
        assert (await node.read()).type == "CalculationMemberGreetEvent"
    else:
        assert (await node.status())[0] == code
    await node.close()


async def test_a_stream_that_never_joins_is_ended(relay: RelayProcess, environment: Environment) -> None:
    """Within ten seconds: a client that opens streams and says nothing holds nothing."""
    node = FakeNode(relay.address, environment.token(await environment.credential()))
    began = time.monotonic()
    assert await asyncio.wait_for(node.status(), 15) == ("DEADLINE_EXCEEDED", "no join within 10 s")
    assert time.monotonic() - began > 9
    await node.close()


async def test_a_token_of_another_environment_is_unauthenticated(relay: RelayProcess, environment: Environment) -> None:
    """Signed by another environment's key, or with another environment's credential: neither gets in."""
    other = Environment(environment.ground)
    await other.create()
    mine, theirs = await environment.credential(), await other.credential()
    for token in (
        environment.token(mine, rsa=other.rsa),
        environment.token(theirs),
        environment.token(mine, kid="unknown"),
        environment.token(mine, exp=1),
    ):
        assert await refused(relay, token, JOIN) == ("UNAUTHENTICATED", "authentication failed")


async def test_a_token_without_the_role_may_not_stream(relay: RelayProcess, environment: Environment) -> None:
    """ROLE_M2M exactly."""
    token = environment.token(await environment.credential(), scopes=["ROLE_USER"])
    assert await refused(relay, token, JOIN) == ("PERMISSION_DENIED", "ROLE_M2M required for streaming")


async def test_the_first_message_must_be_a_join(relay: RelayProcess, environment: Environment) -> None:
    """Anything else ends the stream with INVALID_ARGUMENT and says what came."""
    token = environment.token(await environment.credential())
    ack = text_event("EventAckResponse", {"sourceEventId": "x"})
    assert await refused(relay, token, ack) == (
        "INVALID_ARGUMENT", "first message must be CalculationMemberJoinEvent, got EventAckResponse"
    )  # fmt: skip
    assert (await refused(relay, token, b"\xff\xff garbage"))[1] == "failed to parse first message: not a CloudEvent"
    empty = cloudevents_pb2.CloudEvent(id="1", type="CalculationMemberJoinEvent").SerializeToString()
    assert (await refused(relay, token, empty))[1].startswith("failed to parse first message: ")
    code, message = await refused(relay, token, text_event("CalculationMemberJoinEvent", {"tags": "gpu"}))
    assert code == "INVALID_ARGUMENT"
    assert message.startswith("invalid join event payload: ")


async def test_a_join_for_another_tenant_is_refused(relay: RelayProcess, environment: Environment) -> None:
    """joinedLegalEntityId, when there is one, is the token's."""
    token = environment.token(await environment.credential())
    event = text_event("CalculationMemberJoinEvent", {"joinedLegalEntityId": "somebody"})
    assert await refused(relay, token, event) == ("PERMISSION_DENIED", "tenant mismatch")


async def test_a_join_outside_its_credential_is_refused_by_name(relay: RelayProcess, environment: Environment) -> None:
    """The first tag or function that the credential does not allow is named."""
    token = environment.token(await environment.credential(["gpu", "region=*"], ["image.*"]))
    body = {"tags": ["gpu", "region=eu", "ssd", "fast"], "functions": [{"name": "image.crop"}], "frames": 1}
    code, message = await refused(relay, token, text_event("CalculationMemberJoinEvent", body))
    assert (code, message) == ("PERMISSION_DENIED", "the credential does not allow the tag ssd")
    body = {"tags": ["gpu"], "functions": [{"name": "image.crop"}, {"name": "text.count"}], "frames": 1}
    code, message = await refused(relay, token, text_event("CalculationMemberJoinEvent", body))
    assert (code, message) == ("PERMISSION_DENIED", "the credential does not allow the function text.count")
    node = await FakeNode(relay.address, token).join(["image.crop"], ["gpu", "region=eu"])
    await node.close()


async def test_a_claim_of_the_token_narrows_what_the_credential_allows(
    relay: RelayProcess, environment: Environment
) -> None:
    """`waypost_tags` of the token counts too."""
    token = environment.token(await environment.credential(["gpu", "ssd"]), waypost_tags=["gpu"])
    code, message = await refused(relay, token, text_event("CalculationMemberJoinEvent", {"tags": ["ssd"]}))
    assert (code, message) == ("PERMISSION_DENIED", "the credential does not allow the tag ssd")


@pytest.mark.parametrize("told", [True, False])
async def test_deleting_a_credential_cuts_its_streams_within_five_seconds(
    relay: RelayProcess, environment: Environment, told: bool
) -> None:
    """By the message at once, without it by the relay's own look; a new join is refused."""
    credential = await environment.credential()
    node = await FakeNode(relay.address, environment.token(credential)).join(["f"])
    await environment.ground.admin.execute(
        "update control.node_credential set deleted_at = now() where id = $1", credential
    )
    if told:
        environment.publish(wake.RevokeCredential(credential))
    began = time.monotonic()
    assert await node.status() == ("UNAUTHENTICATED", "authentication failed")
    assert WATCH_SECONDS <= 5
    assert time.monotonic() - began < (4 if told else 12)  # a look takes its time, too
    await node.close()
    assert (await refused(relay, environment.token(credential), JOIN))[0] == "UNAUTHENTICATED"


async def test_deleting_an_environment_cuts_its_streams(relay: RelayProcess, environment: Environment) -> None:
    """And nobody joins it any more."""
    token = environment.token(await environment.credential())
    node = await FakeNode(relay.address, token).join(["f"])
    await environment.ground.admin.execute(
        "update control.environment set status = 'deleting' where id = $1", environment.id
    )
    environment.publish(wake.EnvironmentClosed())
    assert (await node.status())[0] == "UNAUTHENTICATED"
    await node.close()
    assert (await refused(relay, token, JOIN))[0] == "UNAUTHENTICATED"


async def test_entity_operations_are_not_available_and_need_a_token(
    relay: RelayProcess, environment: Environment
) -> None:
    """Authentication comes first on every RPC, then UNIMPLEMENTED."""
    token = environment.token(await environment.credential())
    async with grpc.aio.insecure_channel(relay.address) as channel:
        for name in ("entityManage", "entitySearch", "entityModelManage"):
            call = channel.unary_unary(f"/org.cyoda.cloud.api.grpc.CloudEventsService/{name}")
            assert await call(b"").code() == grpc.StatusCode.UNAUTHENTICATED
            assert (
                await call(b"", metadata=(("authorization", f"Bearer {token}"),)).code()
                == grpc.StatusCode.UNIMPLEMENTED
            )


async def test_a_node_that_closes_its_side_is_answered_ok_and_its_row_says_so(
    relay: RelayProcess, environment: Environment
) -> None:
    """A clean half-close ends OK; control.node keeps when and why."""
    node = await FakeNode(relay.address, environment.token(await environment.credential())).join(
        ["f"], ["gpu", "n=2"], name="n1"
    )

    async def row() -> Any:
        return await environment.ground.admin.fetchrow("select * from control.node where id = $1", UUID(node.member_id))

    joined = await until(row)
    assert (joined["name"], json.loads(joined["tags"])) == ("n1", {"gpu": "", "n": "2"})
    assert json.loads(joined["functions"]) == [{"name": "f", "max_in_flight": 64}]
    await node.call.done_writing()
    assert (await node.status())[0] == "OK"

    async def gone() -> Any:
        return (await row())["disconnect_reason"]

    assert await until(gone) == "the node left"
    await node.close()


async def test_a_relay_that_stops_ends_its_streams_unavailable(start_relay: Any, environment: Environment) -> None:
    """So that existing clients come back elsewhere after a pause."""
    relay = await start_relay()
    node = await FakeNode(relay.address, environment.token(await environment.credential())).join(["f"])
    assert await relay.stop() == 0
    assert (await node.status())[0] == "UNAVAILABLE"
    await node.close()


async def test_a_drained_node_is_told_and_then_ended(relay: RelayProcess, environment: Environment) -> None:
    """It gets no new work, finishes what it has, is told to leave, and is ended if it stays."""
    node = await FakeNode(relay.address, environment.token(await environment.credential())).join(["f"])
    [job] = await environment.submit("f")
    assignment = await node.assigned.get()
    environment.publish(wake.DrainNode(UUID(node.member_id)))
    await node.drained.wait()
    [second] = await environment.submit("f")
    await node.finish(assignment, b"1")
    assert (await environment.end(job))["state"] == 1
    assert (await node.status())[0] == "UNAVAILABLE"
    assert node.assigned.empty()
    assert await environment.ground.admin.fetchval("select count(*) from control.ready where job_id = $1", second) == 1
    await node.close()
