"""The node runtime against a fake relay over real grpc: frames, failures, reconnects, cancellation, drain."""

import asyncio
import dataclasses
import threading
import time
from decimal import Decimal
from typing import Any
from uuid import UUID

import grpc
import msgspec
import pytest
from waypost_contracts.cloudevents_pb2 import CloudEvent
from waypost_sdk import DeclarationError, NodeRefusedError, NonRetryable


class Request(msgspec.Struct):
    text: str
    price: Decimal | None = None


@dataclasses.dataclass
class Answer:
    words: int
    price: Decimal | None = None


async def test_a_node_joins_with_everything_the_contract_asks_for(make_node, serving, fake_relay, fake_http):
    """The join carries id, tags, functions with schemas, maxInFlight, sdk, version, name and frames: 1."""
    node = make_node(tags=["gpu", "mem_gb=24"], name="box-1")

    @node.function("text.count", max_in_flight=8)
    async def count(job: Any, payload: Request) -> Answer:
        return Answer(1)

    async with serving(node):
        join = (stream := await fake_relay.joined()).join
        assert stream.token == "Bearer token-1"
        assert UUID(join["id"])
        assert (join["tags"], join["maxInFlight"], join["frames"], join["name"]) == (
            ["gpu", "mem_gb=24"],
            8,
            1,
            "box-1",
        )
        assert (join["sdk"], join["version"]) == ("waypost-python", "0.1.0")
        (function,) = join["functions"]
        assert (function["name"], function["max_in_flight"]) == ("text.count", 8)
        assert "text" in function["input_schema"]["$defs"]["Request"]["properties"]
        assert "words" in function["output_schema"]["$defs"]["Answer"]["properties"]
    method, path, headers, body = fake_http.requests[0]
    assert (method, path, body) == ("POST", "/api/oauth/token", b"grant_type=client_credentials")
    assert headers["authorization"].startswith("Basic ")


async def test_typed_payloads_and_results_keep_numbers_exact(make_node, serving, fake_relay):
    """A struct comes in, a dataclass goes out, and 12.50 stays 12.50."""
    node = make_node()

    @node.function("text.count")
    async def count(job: Any, payload: Request) -> Answer:
        return Answer(len(payload.text.split()), payload.price)

    async with serving(node):
        stream = await fake_relay.joined()
        job_id = await stream.assign("text.count", b'{"text": "to be or", "price": 12.50}')
        answer = await stream.answer()
        assert answer.result == b'{"words":3,"price":12.50}'
        assert (answer.attempt_id, answer.job_id) == (1, job_id)


async def test_plain_json_goes_through_a_handler_without_losing_a_digit(make_node, serving, fake_relay):
    """Untyped payloads: 40-digit integers, 1E400 and 12.50 come back as they were."""
    node = make_node()

    @node.function("echo")
    async def echo(job, payload):
        return payload

    async with serving(node):
        stream = await fake_relay.joined()
        text = b'{"big":%s,"far":1E+400,"price":12.50,"none":null}' % (b"1234567890" * 4)
        await stream.assign("echo", text)
        assert (await stream.answer()).result == text


async def test_failures_carry_the_retry_decision(make_node, serving, fake_relay):
    """NonRetryable is final with its own code; other exceptions may be retried; a bad payload or result never helps."""
    node = make_node()

    @node.function("refuse")
    async def refuse(job, payload):
        raise NonRetryable("no_such_customer", "nobody", {"id": 7})

    @node.function("crash")
    def crash(job, payload):
        raise ValueError("boom")

    @node.function("typed")
    async def typed(job, payload: Request) -> None: ...

    @node.function("strange")
    async def strange(job, payload):
        return object()

    @node.function("nan")
    async def nan(job, payload):
        return Decimal("NaN")

    async with serving(node):
        stream = await fake_relay.joined()
        seen = {}
        for number, name in enumerate(("refuse", "crash", "typed", "strange", "nan", "nowhere"), 1):
            await stream.assign(name, b'{"text": 5}', attempt=number)
            seen[name] = (await stream.answer()).failure
        codes = {name: (failure.code, failure.retryable) for name, failure in seen.items()}
        assert codes == {
            "refuse": ("no_such_customer", False),
            "crash": ("function_failed", True),
            "typed": ("invalid_payload", False),
            "strange": ("result_not_json", False),
            "nan": ("result_not_json", False),
            "nowhere": ("function_not_served", True),
        }
        assert seen["refuse"].details == b'{"id":7}'
        assert seen["crash"].message == "ValueError: boom"
        details = msgspec.json.decode(seen["crash"].details)
        assert details["type"] == "ValueError"
        assert "in crash" in details["traceback"]
        assert "text" in seen["typed"].message


async def test_an_unsettled_answer_is_sent_again_after_a_reconnect(make_node, serving, fake_relay):
    """Until `Settled`, every new stream gets the answer; after it, none does."""
    node = make_node()

    @node.function("echo")
    async def echo(job, payload):
        return payload

    async with serving(node):
        first = await fake_relay.joined()
        await first.assign("echo", b"1", attempt=11)
        await first.answer()
        await first.assign("echo", b"2", attempt=12)
        await first.answer()
        await first.settle(11)
        await first.assign("echo", b"3", attempt=13)  # its answer shows that the node has read the settlement
        await first.answer()
        first.cut.set()
        second = await fake_relay.joined()
        assert {(await second.answer()).attempt_id for _ in range(2)} == {12, 13}
        await second.settle(12, accepted=False)
        await second.settle(13)
        await second.assign("echo", b"4", attempt=14)
        assert (await second.answer()).attempt_id == 14
        await second.settle(14)
        await second.assign("echo", b"5", attempt=15)
        await second.answer()
        second.cut.set()
        third = await fake_relay.joined()
        assert (await third.answer()).attempt_id == 15
        assert third.finished.empty()


async def test_a_job_running_while_the_stream_is_lost_answers_on_the_next(make_node, serving, fake_relay):
    """The handler is not disturbed by a reconnect, also when the relay was away for a while."""
    node = make_node()
    release = asyncio.Event()

    @node.function("slow")
    async def slow(job, payload):
        await release.wait()
        return "done"

    async with serving(node):
        stream = await fake_relay.joined()
        await stream.assign("slow", attempt=5)
        await stream.until(lambda: stream.started == [5])
        await fake_relay.stop()
        release.set()
        await fake_relay.start()
        answer = await (await fake_relay.joined()).answer()
        assert (answer.attempt_id, answer.result) == (5, b'"done"')


async def test_a_blocking_plain_handler_does_not_delay_acknowledgements(make_node, serving, fake_relay):
    """Plain functions run in threads: probes are answered with the probe's id while all of them block."""
    node = make_node()
    release = threading.Event()

    @node.function("block", max_in_flight=2)
    def block(job, payload):
        job.progress(0.25, "blocking")
        job.log("still here", level="warning", round=1)
        release.wait(60)
        return threading.current_thread().name

    async with serving(node):
        stream = await fake_relay.joined()
        try:
            await stream.assign("block", attempt=1)
            await stream.assign("block", attempt=2)
            await stream.until(lambda: len(stream.log) == 2)
            for probe in ("probe-1", "probe-2"):
                await stream.text("CalculationMemberKeepAliveEvent", {"id": probe, "memberId": "m", "success": True})
                ack = await asyncio.wait_for(stream.event("EventAckResponse"), 10)
                assert (ack["sourceEventId"], ack["success"]) == (probe, True)
        finally:
            release.set()
        assert b"waypost-function" in (await stream.answer()).result
        assert (stream.progress[0].fraction, stream.progress[0].message) == (0.25, "blocking")
        assert (stream.log[0].level, stream.log[0].message) == ("warning", "still here round=1")


async def test_a_node_never_runs_more_than_its_limits(make_node, serving, fake_relay):
    """Also when it is sent more than it asked for: the rest waits, and everything is answered."""
    node = make_node(max_in_flight=3)
    running, most = 0, 0

    @node.function("work", max_in_flight=2)
    async def work(job, payload):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with serving(node):
        stream = await fake_relay.joined()
        for number in range(1, 11):
            await stream.assign("work", attempt=number)
        answered = {(await stream.answer()).attempt_id for _ in range(10)}
        assert answered == set(range(1, 11))
        assert most == 2


async def test_cancel_raises_the_flag_and_then_interrupts(make_node, serving, fake_relay):
    """A handler that watches `job.canceled` may still answer; one that does not is interrupted and says `canceled`."""
    node = make_node()

    @node.function("polite")
    async def polite(job, payload):
        while not job.canceled:  # noqa: ASYNC110 -- what such a handler does
            await asyncio.sleep(0.01)
        return "wound up"

    @node.function("deaf")
    async def deaf(job, payload):
        await asyncio.sleep(60)

    @node.function("threaded")
    def threaded(job, payload):
        while not job.canceled:
            time.sleep(0.01)
        raise NonRetryable("stopped")

    async with serving(node):
        stream = await fake_relay.joined()
        await stream.assign("polite", attempt=1)
        await stream.assign("deaf", attempt=2)
        await stream.assign("threaded", attempt=3)
        for number in (1, 2, 3):
            await stream.cancel(number)
        answers = {answer.attempt_id: answer for answer in [await stream.answer() for _ in range(3)]}
        assert answers[1].result == b'"wound up"'
        assert (answers[2].failure.code, answers[2].failure.retryable) == ("canceled", False)
        assert answers[3].failure.code == "stopped"


async def test_a_handler_is_stopped_when_its_time_is_up(make_node, serving, fake_relay):
    """An async handler over its deadline is interrupted: the slot is free again."""
    node = make_node()

    @node.function("slow", max_in_flight=1)
    async def slow(job, payload):
        assert 0 < job.remaining_seconds <= 3
        await asyncio.sleep(60)

    async with serving(node):
        stream = await fake_relay.joined()
        await stream.assign("slow", attempt=1, deadline_ms=3_000)
        failure = (await stream.answer()).failure
        assert (failure.code, failure.retryable) == ("timed_out", True)


async def test_stop_drains_running_jobs_and_leaves_after_their_settlement(make_node, serving, fake_relay):
    """The relay is asked for no new work; the answer is sent and settled, our side closed, and `serve` returns."""
    node = make_node()
    release = asyncio.Event()

    @node.function("slow")
    async def slow(job, payload):
        await release.wait()
        return 1

    async with serving(node) as task:
        stream = await fake_relay.joined()
        await stream.assign("slow", attempt=1)
        await stream.until(lambda: stream.started == [1])
        node.stop()
        drain = await stream.event("CalculationMemberDrainEvent")
        assert drain["memberId"] == "m"
        release.set()
        await stream.answer()
        assert not task.done()
        await stream.settle(1)
        await asyncio.wait_for(task, 20)
        assert stream.closed.is_set()


async def test_a_drain_by_the_relay_ends_the_node(make_node, serving, fake_relay):
    """`drain` in a frame means: finish what is there, then leave."""
    node = make_node()

    @node.function("echo")
    async def echo(job, payload):
        return payload

    async with serving(node) as task:
        stream = await fake_relay.joined()
        await stream.drain()
        await asyncio.wait_for(task, 20)


async def test_a_refused_node_stops_with_the_relays_words(make_node, serving, fake_relay):
    """PERMISSION_DENIED before the greeting is final: no endless reconnects."""
    fake_relay.refuse = (grpc.StatusCode.PERMISSION_DENIED, "tag gpu is not allowed")
    node = make_node(tags=["gpu"])

    @node.function("echo")
    async def echo(job, payload):
        return payload

    with pytest.raises(NodeRefusedError, match="tag gpu is not allowed"):
        await asyncio.wait_for(node.serve(), 10)


async def test_an_unknown_credential_stops_the_node(make_node, fake_http):
    """401 of the token endpoint is final, and names the credential but not its secret."""
    fake_http.answer = lambda *_: (401, {}, b'{"error": "invalid_client"}')
    node = make_node()

    @node.function("echo")
    async def echo(job, payload):
        return payload

    with pytest.raises(NodeRefusedError, match="invalid_client") as caught:
        await asyncio.wait_for(node.serve(), 10)
    assert "secret" not in str(caught.value)


async def test_a_node_outlives_a_platform_that_is_away(make_node, serving, fake_relay, fake_http):
    """503 at the token endpoint and a dead relay are tried again until both are back."""
    token = fake_http.answer
    refusals = 2
    await fake_relay.stop()

    def answer(*request):
        nonlocal refusals
        refusals -= 1
        return (503, {}, b"{}") if refusals >= 0 else token(*request)

    fake_http.answer = answer
    node = make_node()

    @node.function("echo")
    async def echo(job, payload):
        return payload

    async with serving(node):
        await fake_http.until(lambda: refusals < 0)
        await fake_relay.start()
        stream = await fake_relay.joined()
        await stream.assign("echo", b"1")
        assert (await stream.answer()).result == b"1"


async def test_a_token_that_the_relay_does_not_take_is_fetched_again(make_node, serving, fake_relay, fake_http):
    """UNAUTHENTICATED drops the token; the next try has a new one."""
    fake_relay.refuse = (grpc.StatusCode.UNAUTHENTICATED, "authentication failed")
    node = make_node()

    @node.function("echo")
    async def echo(job, payload):
        return payload

    async with serving(node):
        await fake_http.until(lambda: len(fake_http.requests) > 1)
        fake_relay.refuse = None
        await fake_relay.joined()


async def test_a_relay_that_gives_no_sign_before_the_join_is_joined_too(make_node, serving, fake_relay):
    """As one of an older version does."""
    fake_relay.silent = True
    node = make_node()

    @node.function("echo")
    async def echo(job, payload):
        return payload

    async with serving(node):
        await fake_relay.joined()


async def test_frames_and_events_that_cannot_be_read_are_skipped(make_node, serving, fake_relay):
    """Garbage in a frame, an unknown event, a probe without an id: the stream goes on."""
    node = make_node()

    @node.function("echo")
    async def echo(job, payload):
        return payload

    async with serving(node):
        stream = await fake_relay.joined()
        await stream.context.write(CloudEvent(type="JobFrame", binary_data=b"\xff\xff\xff"))
        await stream.text("SomethingNew", {"a": 1})
        await stream.context.write(CloudEvent(type="CalculationMemberKeepAliveEvent", text_data="not json"))
        await stream.assign("echo", b"1")
        assert (await stream.answer()).result == b"1"


async def test_a_node_can_be_served_again_after_it_was_cut_off(make_node, serving, fake_relay):
    """Cancelling `serve` abandons what runs; the slots are free for the next time."""
    node = make_node()

    @node.function("once", max_in_flight=1)
    async def once(job, payload):
        if payload:
            await asyncio.sleep(60)
        return "free"

    async with serving(node):
        stream = await fake_relay.joined()
        await stream.assign("once", b"1")
        await stream.until(lambda: stream.started == [1])
    async with serving(node):
        stream = await fake_relay.joined()
        await stream.assign("once", b"0", attempt=2)
        assert (await stream.answer()).result == b'"free"'


def test_declarations_that_cannot_work_are_refused_at_once(make_node):
    """Names, signatures, limits and types are checked where they are written."""
    node = make_node()
    for name in ("Bad Name", "a..b", "x" * 101, ""):
        with pytest.raises(DeclarationError):
            node.function(name)(lambda job, payload: None)
    for handler in (lambda: None, lambda job, payload, more: None, lambda job, *, key: None):
        with pytest.raises(DeclarationError, match=r"\(job, payload\)"):
            node.function("f")(handler)
    for limit in (0, -1, True, 1.5, 10_001):
        with pytest.raises(DeclarationError, match="max_in_flight"):
            node.function("f", max_in_flight=limit)(lambda job: None)
    node.function("f")(lambda job: None)
    with pytest.raises(DeclarationError, match="twice"):
        node.function("f")(lambda job: None)
    with pytest.raises(DeclarationError, match="list of texts"):
        make_node(tags="gpu")


async def test_the_same_assignment_twice_runs_once(make_node, serving, fake_relay):
    """An attempt id that is running, or answered and not settled, is not started again."""
    node = make_node()
    calls = 0

    @node.function("count")
    async def count(job, payload):
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.05)
        return calls

    async with serving(node):
        stream = await fake_relay.joined()
        await stream.assign("count", attempt=1)
        await stream.assign("count", attempt=1)
        assert (await stream.answer()).result == b"1"
        await stream.assign("count", attempt=1)
        await stream.assign("count", attempt=2)
        assert (await stream.answer()).attempt_id == 2
        assert calls == 2
