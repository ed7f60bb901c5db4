"""Compute nodes and the credentials with which they join (native contract §4)."""

import msgspec

from gateway.audit import record, tenancy
from gateway.endpoint import PAGE, Call, E, Endpoint, Parameter, endpoint, nothing, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import check_match, etag, tagged
from gateway.v1.view import CredentialView, NodeView, credential_view, node_view, page_view
from jobs.wake import CredentialChanged, DrainNode, RevokeCredential
from storage.postgres.access.node_credential import (
    delete_credential,
    insert_credential,
    list_credentials,
    read_credential,
)
from storage.postgres.database import Connection
from storage.postgres.node.node import drain_node, list_nodes, read_node
from waypost import clock, errors
from waypost.access.key import make_node_secret
from waypost.access.model import NodeCredential, Permission
from waypost.ids import new_id
from waypost.limit.model import NODE_CREDENTIALS
from waypost.node.model import NodeRecord, NodeState
from waypost.route.decision import parse_allowance
from waypost.route.selector import SelectorError
from waypost.tenancy.decision import checked_name
from waypost.tenancy.quota import require_quota


class NewCredential(msgspec.Struct, forbid_unknown_fields=True):
    """`allowed_tags` and `functions` left out: any."""

    name: str
    allowed_tags: list[str] | None = None
    functions: list[str] | None = None


class CredentialPage(msgspec.Struct):
    items: list[CredentialView]
    next_cursor: str | None


class NodePage(msgspec.Struct):
    items: list[NodeView]
    next_cursor: str | None


# --- credentials ------------------------------------------------------------------------------------------------------


def _patterns(values: list[str] | None, path: str) -> tuple[str, ...] | None:
    if values is None:
        return None
    try:
        return parse_allowance(values)
    except SelectorError as error:
        raise errors.invalid("invalid_pattern", f"{error}.".replace("..", "."), path) from None


def _view(call: Call, credential: NodeCredential) -> CredentialView:
    return credential_view(credential, call.services.public_url, call.services.relay_address)


@endpoint(
    "POST",
    E + "/node-credentials",
    summary="Create a node credential; its secret is shown once",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=NewCredential,
    answer=CredentialView,
    status=201,
    idempotent=True,
    example={"name": "gpu rack 1", "allowed_tags": ["gpu", "region=*"], "functions": ["image.*"]},
)
async def create_credential(call: Call) -> Answer:
    new, environment = await call.read(NewCredential), call.environment
    name = checked_name(new.name)
    tags, functions = _patterns(new.allowed_tags, "/allowed_tags"), _patterns(new.functions, "/functions")

    async def work(connection: Connection) -> Answer:
        unit, default = tenancy(connection, call), call.services.default_limits
        await require_quota(unit, NODE_CREDENTIALS, environment.organization_id, environment.id, default=default)
        client_id, secret, secret_hash = make_node_secret()
        credential = NodeCredential(
            new_id(), environment.id, client_id, name, tags, functions, call.principal.actor, clock.now()
        )
        await insert_credential(connection, credential, secret_hash)
        await record(connection, call, "node_credential.create", f"node_credential:{credential.id}", {"name": name})
        view = credential_view(credential, call.services.public_url, call.services.relay_address, secret)
        return ok(view, 201, [(b"etag", etag(client_id))])

    return await once(call, environment.id, "node_credentials.create", work)


@endpoint(
    "GET",
    E + "/node-credentials",
    summary="Node credentials, newest first",
    permission=Permission.VIEW_ENVIRONMENT,
    query=PAGE,
    answer=CredentialPage,
)
async def read_credentials(call: Call) -> Answer:
    page = page_of(call.query, "node_credentials", call.environment.id)
    async with call.services.database.unit() as connection:
        found = await list_credentials(connection, call.environment.id, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda credential: credential.id)
    return ok(page_view([_view(call, credential) for credential in shown], cursor))


@endpoint(
    "DELETE",
    E + "/node-credentials/{credential}",
    summary="Delete a node credential; its streams are cut within 5 s",
    permission=Permission.OPERATE_ENVIRONMENT,
    status=204,
    matched=True,
)
async def remove_credential(call: Call) -> Answer:
    identifier, environment = call.identifier("credential", "node credential"), call.environment
    async with call.services.database.unit() as connection:
        credential = await read_credential(connection, environment.id, identifier)
        if credential is None:
            raise errors.not_found("node credential")
        check_match(call.exchange, etag(credential.client_id))
        if not await delete_credential(connection, environment.id, identifier):
            raise errors.not_found("node credential")
        await record(connection, call, "node_credential.delete", f"node_credential:{identifier}")
    call.services.tell_environment(environment.id, RevokeCredential(identifier))
    call.services.tell_access(CredentialChanged(identifier))
    return nothing()


# --- nodes ------------------------------------------------------------------------------------------------------------


def _tag(node: NodeRecord) -> bytes:
    return etag(node.id.hex, node.state.value)


@endpoint(
    "GET",
    E + "/nodes",
    summary="Connected nodes, newest first",
    permission=Permission.VIEW_ENVIRONMENT,
    query=(
        *PAGE,
        Parameter("state", "`active`, `draining` or `lost`; lost ones are shown only when asked for.", str, True),
    ),
    answer=NodePage,
)
async def read_nodes(call: Call) -> Answer:
    wanted = _states(call.query.get("state", []))
    page = page_of(call.query, "nodes", call.environment.id, sorted(wanted))
    found: list[NodeRecord] = []
    after = page.after
    async with call.services.database.unit() as connection:
        while len(found) <= page.limit:
            some = await list_nodes(
                connection, call.environment.id, before=after, limit=200, connected_only=NodeState.LOST not in wanted
            )
            found += [node for node in some if node.state in wanted]
            if len(some) < 200:
                break
            after = some[-1].id
    shown, cursor = paged(page, found[: page.limit + 1], lambda node: node.id)
    return ok(page_view([node_view(node) for node in shown], cursor))


def _states(values: list[str]) -> frozenset[NodeState]:
    try:
        return frozenset(map(NodeState, values)) or frozenset({NodeState.ACTIVE, NodeState.DRAINING})
    except ValueError:
        raise errors.invalid("invalid_parameter", "state is active, draining or lost.", "/state") from None


@endpoint("GET", E + "/nodes/{node}", summary="One node", permission=Permission.VIEW_ENVIRONMENT, answer=NodeView)
async def read_one_node(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        node = await read_node(connection, call.environment.id, call.identifier("node", "node"))
    if node is None:
        raise errors.not_found("node")
    return ok(node_view(node), headers=tagged(_tag(node)))


async def _drain(connection: Connection, call: Call, action: str) -> NodeRecord:
    """The node, draining; 404 for none, 409 for one that is not connected."""
    identifier = call.identifier("node", "node")
    node = await read_node(connection, call.environment.id, identifier)
    if node is None:
        raise errors.not_found("node")
    check_match(call.exchange, _tag(node))
    if not await drain_node(connection, call.environment.id, identifier):
        raise errors.conflict("node_not_connected", "The node is not connected any more.", state=node.state.value)
    await record(connection, call, action, f"node:{identifier}", {"name": node.name})
    return msgspec.structs.replace(node, draining=True)


@endpoint(
    "POST",
    E + "/nodes/{node}/drain",
    summary="Give a node no new work; it finishes what it has and is told to leave",
    permission=Permission.OPERATE_ENVIRONMENT,
    answer=NodeView,
    status=202,
    idempotent=True,
    matched=True,
)
async def drain(call: Call) -> Answer:
    async def work(connection: Connection) -> Answer:
        node = await _drain(connection, call, "node.drain")
        return ok(node_view(node), 202, tagged(_tag(node)))

    answer = await once(call, call.environment.id, "nodes.drain", work)
    call.services.tell_environment(call.environment.id, DrainNode(call.identifier("node", "node")))
    return answer


@endpoint(
    "DELETE",
    E + "/nodes/{node}",
    summary="Send a node away: the same as draining it",
    permission=Permission.OPERATE_ENVIRONMENT,
    status=204,
    matched=True,
)
async def remove_node(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        node = await _drain(connection, call, "node.remove")
    call.services.tell_environment(call.environment.id, DrainNode(node.id))
    return nothing()


ENDPOINTS: list[Endpoint] = [
    create_credential,
    read_credentials,
    remove_credential,
    read_nodes,
    read_one_node,
    drain,
    remove_node,
]
