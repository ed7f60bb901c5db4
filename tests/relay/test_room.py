"""How many nodes of an environment may be connected: refused at the join, over all relays."""

import asyncio
from typing import Any, cast
from uuid import UUID

from tests.relay.fake_node import FakeNode
from tests.relay.ground import Environment, RelayProcess, until


async def limit(environment: Environment, nodes: int) -> None:
    await environment.ground.admin.execute(
        "update control.environment set limits = $2::jsonb where id = $1", environment.id, f'{{"nodes": {nodes}}}'
    )


async def join(relay: RelayProcess, environment: Environment, credential: UUID) -> FakeNode | tuple[str, str]:
    """The node, or the status and words that it was refused with."""
    node = FakeNode(relay.address, environment.token(credential))
    try:
        return await node.join(["f"])
    except EOFError:
        return await node.status()


async def joined(relay: RelayProcess, environment: Environment, credential: UUID) -> FakeNode:
    """The node, once there is room for it."""

    async def one() -> Any:
        found = await join(relay, environment, credential)
        return found if isinstance(found, FakeNode) else None

    return cast(FakeNode, await until(one))


async def test_one_node_too_many_is_refused_and_the_limit_is_named(start_relay: Any, environment: Environment) -> None:
    """RESOURCE_EXHAUSTED; one that leaves makes room."""
    relay, credential = await start_relay(), await environment.credential()
    await limit(environment, 2)
    first, second = [await joined(relay, environment, credential) for _ in range(2)]
    assert await join(relay, environment, credential) == (
        "RESOURCE_EXHAUSTED",
        "the limit nodes of this environment is 2 and 2 are connected",
    )
    await first.close()
    third = await joined(relay, environment, credential)
    await second.close()
    await third.close()


async def test_of_many_that_join_at_once_exactly_the_limit_get_in(start_relay: Any, environment: Environment) -> None:
    """Within one relay it is exact."""
    relay, credential = await start_relay(), await environment.credential()
    await limit(environment, 5)
    nodes = await asyncio.gather(*(join(relay, environment, credential) for _ in range(20)))
    inside = [node for node in nodes if isinstance(node, FakeNode)]
    assert len(inside) == 5
    assert {node[0] for node in nodes if not isinstance(node, FakeNode)} == {"RESOURCE_EXHAUSTED"}
    for node in inside:
        await node.close()


async def test_nodes_of_other_relays_count(start_relay: Any, environment: Environment) -> None:
    """As the database tells; those of a relay that died do not, once its session has lapsed."""
    one, other = await start_relay("relay-1"), await start_relay("relay-2")
    credential = await environment.credential()
    await limit(environment, 1)
    await joined(one, environment, credential)

    async def listed() -> Any:
        return await environment.ground.admin.fetchval(
            "select true from control.node where environment_id = $1 and disconnected_at is null", environment.id
        )

    await until(listed)
    refused = await join(other, environment, credential)
    assert isinstance(refused, tuple)
    assert refused[0] == "RESOURCE_EXHAUSTED"
    one.kill()
    await environment.ground.admin.execute(
        "update control.session set lease_until = now() where process = 'relay-1' and ended_at is null"
    )

    await (await joined(other, environment, credential)).close()
