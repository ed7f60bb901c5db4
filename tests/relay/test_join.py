"""Joining, being refused, keep-alives and the end of a stream (compute-node contract §3)."""

import json
from typing import Any

import grpc.aio
import pytest
from fake_node import FakeNode, text_event
from ground import Environment, RelayProcess


async def refused(relay: RelayProcess, token: str | None, first: bytes) -> tuple[str, str]:
    node = FakeNode(relay.address, token)
    try:
        await node.send(first)
    except (grpc.aio.AioRpcError, grpc.aio.UsageError):
        pass
    status = await node.status()
    await node.close()
    return status


JOIN = text_event("CalculationMemberJoinEvent", {"tags": ["gpu"]})


async def test_a_node_with_a_good_token_is_greeted_with_its_tenant(relay: RelayProcess, environment: Environment) -> None:
    """Greet first, with memberId, joinedLegalEntityId and success."""
    node = await FakeNode(relay.address, environment.token(await environment.credential())).join(["text.count"], ["gpu"])
    assert node.greeting["joinedLegalEntityId"] == str(environment.id)
    assert node.greeting["success"] is True
    assert node.member_id
    await node.close()
