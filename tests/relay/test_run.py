"""Jobs through a relay and a node: routing, answers, retries, cancel, time-outs."""

import asyncio
import json
import time
from uuid import UUID

import msgspec
from fake_node import FakeNode
from ground import Environment, RelayProcess, until
from waypost_contracts.waypost_frame_pb2 import Failure, LogLine, Progress, Started

from jobs import wake
from waypost.job.model import Backoff, End, Outcome, Policy, RetryPolicy

ECHO = lambda assignment: assignment.payload or b"null"  # noqa: E731


async def connect(relay: RelayProcess, environment: Environment, answer: object = None, **join: object) -> FakeNode:
    token = environment.token(await environment.credential())
    return await FakeNode(relay.address, token, answer).join(**join)  # type: ignore[arg-type]


async def test_a_job_runs_on_a_node_and_its_exact_result_is_kept(relay: RelayProcess, environment: Environment) -> None:
    """Payload and result are carried exactly; the end says completed, by this node, in the first attempt."""
    node = await connect(relay, environment, lambda a: b'{"n":12.50,"big":1' + b"0" * 40 + b"}", functions=["text.count"])
    [job] = await environment.submit("text.count", {"text": "a b"})
    end = await environment.end(job)
    assert (end["state"], end["outcome"], end["number"]) == (End.COMPLETED, Outcome.COMPLETED, 1)
    assert end["result"] == b'{"n":12.50,"big":1' + b"0" * 40 + b"}"
    assert end["node"] == UUID(node.member_id)
    assert (await node.settled.get()).accepted
    await node.close()
