"""Audit entries of people: of signing in, and of what they change about themselves.

A person belongs to no organization, so an entry goes into the audit of each one where the person has a role. Refuses to
keep an address that is nobody's: people type passwords there. Each refused proof is an entry of its own: the throttle
bounds how many there are, and each has cost a hash.
"""

import hashlib
from collections.abc import Iterable
from uuid import UUID

from gateway.exchange import Exchange
from storage.postgres.access.membership import grants_of
from storage.postgres.audit.entry import insert_audit
from storage.postgres.database import Connection
from storage.postgres.person.person import Login
from waypost.access.model import PrincipalKind
from waypost.audit.model import AuditEntry, Origin, Outcome
from waypost.ids import NIL, new_id
from waypost.person.decision import folded_email


def stranger(exchange: Exchange) -> Origin:
    """The origin of a request whose sender is not known yet."""
    return Origin(f"address:{exchange.address}", "address", exchange.request_id, exchange.address or None)


def signed_in(exchange: Exchange, person_id: UUID) -> Origin:
    """The origin of a person's request."""
    return Origin(f"person:{person_id}", PrincipalKind.PERSON.value, exchange.request_id, exchange.address or None)


async def record_for(
    connection: Connection,
    organizations: Iterable[UUID],
    by: Origin,
    action: str,
    target: str,
    *,
    outcome: str = "done",
    details: dict[str, str] | None = None,
) -> None:
    """An entry in the audit of each organization that the person has a role in; where there is none, in nobody's."""
    for organization_id in sorted(set(organizations)) or (None,):
        entry = AuditEntry(
            id=new_id(),
            organization_id=organization_id,
            actor=by.actor,
            actor_kind=by.actor_kind,
            action=action,
            target=target,
            outcome=outcome,
            request_id=by.request_id,
            source_address=by.source_address,
            details=details,
        )
        await insert_audit(connection, entry)


async def organizations_of(connection: Connection, person_id: UUID) -> set[UUID]:
    """Where the person has any role."""
    return {grant.organization_id for grant in await grants_of(connection, person_id)}


async def record_refusal(
    connection: Connection, exchange: Exchange, action: str, email: str, login: Login | None
) -> None:
    """A proof by password that failed. An address that is nobody's takes the same statements, hence as long."""
    organizations = await organizations_of(connection, NIL if login is None else login.person.id)
    if login is None:
        target = "person:unknown"
        details = {"email_sha256": hashlib.sha256(folded_email(email).encode()).hexdigest()[:16]}
    else:
        target = f"person:{login.person.id}"
        details = {"reason": "wrong_password" if login.person.disabled_at is None else "disabled"}
    outcome = Outcome.DENIED.value
    await record_for(connection, organizations, stranger(exchange), action, target, outcome=outcome, details=details)
