"""API keys, of an environment (`wpe_…`, confined to it) and of an organization (`wp_…`); their text is answered once.

Both families are the same handlers below two paths (native contract §2): a key's owner is the place of the path.
"""

from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from gateway.audit import origin_of, record, tenancy
from gateway.endpoint import ORG, PAGE, Call, E, Endpoint, Run, endpoint, nothing, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.precondition import check_match, etag, tagged
from gateway.v1.view import KeyView, key_view, page_view
from jobs.wake import KeyChanged
from storage.postgres.access.api_key import list_keys, read_key, replace_key, revoke_key
from storage.postgres.access.unit import PostgresAccess
from storage.postgres.database import Connection
from waypost import clock, errors
from waypost.access.decision import check_grantable
from waypost.access.model import ApiKey, Permission, Role
from waypost.access.operation import keep_an_admin_beside
from waypost.limit.model import ENVIRONMENT_KEYS, ORGANIZATION_KEYS
from waypost.tenancy import operation
from waypost.tenancy.quota import require_quota

DEFAULT_OVERLAP = timedelta(hours=24)
MAX_OVERLAP = timedelta(days=30)


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    role: Literal["project_admin", "operator", "viewer"] = "operator"
    expires_at: datetime | None = None


class NewOrganizationKey(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    role: Literal["org_admin", "project_admin", "operator", "viewer"] = "operator"
    expires_at: datetime | None = None


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """How long the old key still works; default 24 h."""

    overlap_seconds: float | None = None


class KeyPage(msgspec.Struct):
    items: list[KeyView]
    next_cursor: str | None


def _tag(key: ApiKey) -> bytes:
    return etag(key.public_id, "replaced" if key.replaced_by else "current")


async def _make(
    connection: Connection, call: Call, name: str, role: Role, expires_at: datetime | None
) -> tuple[ApiKey, Answer]:
    """A key of the call's place, and the answer that shows its text. Raises 403 for a role above the caller's own."""
    scope = call.place.scope
    check_grantable(call.principal, role, scope)
    key, text = await operation.create_api_key(
        tenancy(connection, call),
        actor=call.principal.actor,
        organization_id=scope.organization_id,
        environment_id=scope.environment_id,
        name=name,
        role=role,
        expires_at=expires_at,
        request_id=call.exchange.request_id,
    )
    return key, ok(key_view(key, text), 201, [*tagged(_tag(key)), (b"cache-control", b"no-store")])


def _owner(call: Call) -> UUID:
    return call.place.scope.environment_id or call.place.scope.organization_id


def _creating(kind: type[NewKey] | type[NewOrganizationKey]) -> Run:
    async def create(call: Call) -> Answer:
        new = await call.read(kind)
        if new.expires_at is not None and new.expires_at.tzinfo is None:
            raise errors.invalid("invalid_expiry", "The expiry needs an offset, such as Z.", "/expires_at")

        async def work(connection: Connection) -> Answer:
            scope, default = call.place.scope, call.services.default_limits
            limit = ORGANIZATION_KEYS if scope.environment_id is None else ENVIRONMENT_KEYS
            unit = tenancy(connection, call)
            await require_quota(unit, limit, scope.organization_id, scope.environment_id, default=default)
            _, answer = await _make(connection, call, new.name, Role(new.role), new.expires_at)
            return answer

        return await once(call, _owner(call), "keys.create", work)

    return create


async def _list(call: Call) -> Answer:
    scope = call.place.scope
    page = page_of(call.query, "keys", _owner(call))
    async with call.services.database.unit() as connection:
        found = await list_keys(
            connection, scope.organization_id, scope.environment_id, before=page.after, limit=page.limit + 1
        )
    shown, cursor = paged(page, found, lambda key: key.id)
    return ok(page_view([key_view(key) for key in shown], cursor))


async def _own_key(connection: Connection, call: Call) -> ApiKey:
    """The key that the path names, of exactly this owner, not revoked; raises 404, 412."""
    scope = call.place.scope
    key = await read_key(connection, scope.organization_id, call.identifier("key", "key"))
    if key is None or key.environment_id != scope.environment_id or key.revoked_at is not None:
        raise errors.not_found("key")
    check_match(call.exchange, _tag(key))
    return key


async def _read(call: Call) -> Answer:
    async with call.services.database.unit() as connection:
        key = await _own_key(connection, call)
    return ok(key_view(key), headers=tagged(_tag(key)))


async def _delete(call: Call) -> Answer:
    scope = call.place.scope
    async with call.services.database.unit() as connection:
        key = await _own_key(connection, call)
        await keep_an_admin_beside(PostgresAccess(connection, origin_of(call)), key)
        if await revoke_key(connection, scope.organization_id, scope.environment_id, key.id) is None:
            raise errors.not_found("key")
        await record(connection, call, "api_key.revoke", f"api_key:{key.id}", {"name": key.name})
    call.services.tell_access(KeyChanged(key.public_id))
    return nothing()


async def _rotate(call: Call) -> Answer:
    """The new key has the old one's name, role and expiry. The old one works for `overlap_seconds` more, 24 hours
    unless given; with 0 it stops at once."""
    rotation = await call.read(Rotation)
    overlap = DEFAULT_OVERLAP.total_seconds() if rotation.overlap_seconds is None else rotation.overlap_seconds
    if not 0 <= overlap <= MAX_OVERLAP.total_seconds():
        raise errors.invalid("out_of_range", "overlap_seconds is from 0 to 2592000 (30 days).", "/overlap_seconds")
    replaced: list[ApiKey] = []

    async def work(connection: Connection) -> Answer:
        old = await _own_key(connection, call)
        if old.expires_at is not None and old.expires_at <= clock.now():
            raise errors.not_found("key")
        key, answer = await _make(connection, call, old.name, old.role, old.expires_at)
        if not await replace_key(connection, old.organization_id, old.id, key.id, overlap):
            raise errors.conflict("already_rotated", "This key was rotated already; rotate the key that replaced it.")
        await record(connection, call, "api_key.rotate", f"api_key:{old.id}", {"replaced_by": str(key.id)})
        replaced.append(old)
        return answer

    answer = await once(call, _owner(call), "keys.rotate", work)
    for old in replaced:
        call.services.tell_access(KeyChanged(old.public_id))
    return answer


def _family(path: str, whose: str, see: Permission, manage: Permission, body: Any, example: Any) -> list[Endpoint]:
    """The endpoints of one family of keys."""
    one = path + "/{key}"
    return [
        endpoint(
            "POST", path, summary=f"Create a key of the {whose}; its text is shown once", permission=manage, body=body,
            answer=KeyView, status=201, idempotent=True, example=example,
        )(_creating(body)),
        endpoint(
            "GET", path, summary=f"The {whose}'s keys, newest first", permission=see, query=PAGE, answer=KeyPage
        )(_list),
        endpoint("GET", one, summary=f"One key of the {whose}", permission=see, answer=KeyView)(_read),
        endpoint(
            "DELETE", one, summary=f"Revoke a key of the {whose}", permission=manage, status=204, matched=True
        )(_delete),
        endpoint(
            "POST", one + "/rotate", summary="Make a new key in place of one, which still works for a while",
            permission=manage, body=Rotation, answer=KeyView, status=201, idempotent=True, matched=True,
            example={"overlap_seconds": 3600},
        )(_rotate),
    ]  # fmt: skip


ENDPOINTS: list[Endpoint] = [
    *_family(
        E + "/keys", "environment", Permission.MANAGE_ENVIRONMENT, Permission.MANAGE_ENVIRONMENT, NewKey,
        {"name": "ci", "role": "operator"},
    ),
    *_family(
        ORG + "/api-keys", "organization", Permission.VIEW_ORG, Permission.MANAGE_ORG_MEMBERSHIPS, NewOrganizationKey,
        {"name": "terraform", "role": "project_admin"},
    ),
]  # fmt: skip
