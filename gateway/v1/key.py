"""Environment keys: `wpe_…`, confined to one environment; their text is answered once (native contract §2)."""

from datetime import datetime, timedelta
from typing import Literal

import msgspec

from gateway.audit import record, tenancy
from gateway.endpoint import PAGE, Call, E, Endpoint, endpoint, nothing, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import check_match, etag
from gateway.v1.view import KeyView, key_view, page_view
from jobs.wake import KeyChanged
from storage.postgres.access.api_key import list_keys, read_key, replace_key, revoke_key
from storage.postgres.database import Connection
from waypost import clock, errors
from waypost.access.model import ApiKey, Permission, Role
from waypost.tenancy import operation

DEFAULT_OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=30)


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    role: Literal["project_admin", "operator", "viewer"] = "operator"
    expires_at: datetime | None = None


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old key still works; default 24 h."""

    overlap_seconds: float | None = None


class KeyPage(msgspec.Struct):
    items: list[KeyView]
    next_cursor: str | None


def _tag(key: ApiKey) -> bytes:
    return etag(key.public_id, "replaced" if key.replaced_by else "current")


@endpoint(
    "POST",
    E + "/keys",
    summary="Create an environment key; its text is shown once",
    permission=Permission.MANAGE_ENVIRONMENT,
    body=NewKey,
    answer=KeyView,
    status=201,
    idempotent=True,
    example={"name": "ci", "role": "operator"},
)
async def create_key(call: Call) -> Answer:
    new, environment = await call.read(NewKey), call.environment
    if new.expires_at is not None and new.expires_at.tzinfo is None:
        raise errors.invalid("invalid_expiry", "The expiry needs an offset, such as Z.", "/expires_at")

    async def work(connection: Connection) -> Answer:
        key, text = await operation.create_api_key(
            tenancy(connection, call),
            actor=call.principal.actor,
            organization_id=environment.organization_id,
            environment_id=environment.id,
            name=new.name,
            role=Role(new.role),
            expires_at=new.expires_at,
            request_id=call.exchange.request_id,
        )
        return ok(key_view(key, text), 201, [(b"etag", _tag(key))])

    return await once(call, environment.id, "keys.create", work)


@endpoint(
    "GET",
    E + "/keys",
    summary="The environment's keys, newest first",
    permission=Permission.MANAGE_ENVIRONMENT,
    query=PAGE,
    answer=KeyPage,
)
async def read_keys(call: Call) -> Answer:
    environment = call.environment
    page = page_of(call.query, "keys", environment.id)
    async with call.services.database.unit() as connection:
        found = await list_keys(
            connection, environment.organization_id, environment.id, before=page.after, limit=page.limit + 1
        )
    shown, cursor = paged(page, found, lambda key: key.id)
    return ok(page_view([key_view(key) for key in shown], cursor))


async def _own_key(connection: Connection, call: Call) -> ApiKey:
    key = await read_key(connection, call.environment.organization_id, call.identifier("key", "key"))
    if key is None or key.environment_id != call.environment.id or key.revoked_at is not None:
        raise errors.not_found("key")
    check_match(call.exchange, _tag(key))
    return key


@endpoint(
    "DELETE",
    E + "/keys/{key}",
    summary="Revoke an environment key",
    permission=Permission.MANAGE_ENVIRONMENT,
    status=204,
    matched=True,
)
async def delete_key(call: Call) -> Answer:
    environment = call.environment
    async with call.services.database.unit() as connection:
        key = await _own_key(connection, call)
        if await revoke_key(connection, environment.organization_id, environment.id, key.id) is None:
            raise errors.not_found("key")
        await record(connection, call, "api_key.revoke", f"api_key:{key.id}", {"name": key.name})
    call.services.tell_access(KeyChanged(key.public_id))
    return nothing()


@endpoint(
    "POST",
    E + "/keys/{key}/rotate",
    summary="Make a new key in place of one, which still works for a while",
    permission=Permission.MANAGE_ENVIRONMENT,
    body=Rotation,
    answer=KeyView,
    status=201,
    idempotent=True,
    matched=True,
    example={"overlap_seconds": 3600},
)
async def rotate_key(call: Call) -> Answer:
    rotation, environment = await call.read(Rotation), call.environment
    overlap = DEFAULT_OVERLAP.total_seconds() if rotation.overlap_seconds is None else rotation.overlap_seconds
    if not 0 <= overlap <= MAX_OVERLAP.total_seconds():
        raise errors.invalid("out_of_range", "overlap_seconds is from 0 to 2592000 (30 days).", "/overlap_seconds")
    replaced: list[ApiKey] = []

    async def work(connection: Connection) -> Answer:
        old = await _own_key(connection, call)
        if old.replaced_by is not None:
            raise errors.conflict("already_rotated", "This key was rotated already; rotate the key that replaced it.")
        expires_at = old.expires_at
        if expires_at is not None and expires_at <= clock.now():
            raise errors.not_found("key")
        key, text = await operation.create_api_key(
            tenancy(connection, call),
            actor=call.principal.actor,
            organization_id=environment.organization_id,
            environment_id=environment.id,
            name=old.name,
            role=old.role,
            expires_at=expires_at,
            request_id=call.exchange.request_id,
        )
        await replace_key(connection, environment.organization_id, old.id, key.id, overlap)
        await record(connection, call, "api_key.rotate", f"api_key:{old.id}", {"replaced_by": str(key.id)})
        replaced.append(old)
        return ok(key_view(key, text), 201, [(b"etag", _tag(key))])

    answer = await once(call, environment.id, "keys.rotate", work)
    for old in replaced:
        call.services.tell_access(KeyChanged(old.public_id))
    return answer


ENDPOINTS: list[Endpoint] = [create_key, read_keys, delete_key, rotate_key]
