"""Oneself: what a person can see and change of their own."""

import msgspec
from msgspec import UNSET, UnsetType

from gateway.endpoint import Call, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.person_audit import organizations_of, record_for, signed_in
from gateway.precondition import check_match, etag, tagged
from gateway.v1.person_view import PersonView, person_view, require_person
from jobs.wake import PersonChanged
from storage.postgres.person.person import change_password, read_login, read_person, rename_person
from storage.postgres.person.session import end_sessions
from waypost import errors
from waypost.errors import Category, WaypostError
from waypost.person.decision import checked_password, checked_person_name
from waypost.person.model import Person

ME = "/v1/people/me"
OWN = "one's own name and password"


class PersonChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays. A new `password` needs `current_password`, and ends all other sessions."""

    name: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    current_password: str | UnsetType = UNSET

    def __repr__(self) -> str:
        return "PersonChange(…)"


@endpoint("GET", ME, summary="Oneself", personal=OWN, answer=PersonView)
async def read_me(call: Call) -> Answer:
    person_id = require_person(call)
    async with call.services.database.unit() as connection:
        person = await read_person(connection, person_id)
    if person is None:
        raise errors.not_found("person")
    return ok(person_view(person), headers=tagged(etag(person.row_version)))


@endpoint(
    "PATCH",
    ME,
    summary="Change one's name or password",
    personal=OWN,
    body=PersonChange,
    answer=PersonView,
    matched=True,
    example={"name": "Ada Lovelace"},
)
async def change_me(call: Call) -> Answer:
    """Changing the password ends all other sessions."""
    change, person_id = await call.read(PersonChange), require_person(call)
    name = None if change.name is UNSET else checked_person_name(change.name)
    hashes = await _new_password(call, change)
    async with call.services.database.unit() as connection:
        person = await read_person(connection, person_id)
        if person is None:
            raise errors.not_found("person")
        check_match(call.exchange, etag(person.row_version))
        organizations = await organizations_of(connection, person_id)
        by, target = signed_in(call.exchange, person_id), f"person:{person_id}"
        if hashes is not None:
            if not await change_password(connection, person_id, *hashes):
                raise errors.conflict("password_changed", "The password was changed at the same moment.")
            ended = await end_sessions(connection, person_id, keep=call.principal.public_id)
            details = {"sessions_ended": str(ended)}
            await record_for(connection, organizations, by, "person.change_password", target, details=details)
        if name is not None and name != person.name:
            await rename_person(connection, person_id, name)
            await record_for(connection, organizations, by, "person.rename", target)
        changed = await read_person(connection, person_id)
    call.services.tell_access(PersonChanged(person_id))
    shown: Person = changed or person
    return ok(person_view(shown), headers=tagged(etag(shown.row_version)))


async def _new_password(call: Call, change: PersonChange) -> tuple[str, str] | None:
    """(new hash, old hash) once the current password is proved; None when it stays."""
    if change.password is UNSET:
        return None
    if change.current_password is UNSET:
        raise errors.invalid("missing_field", "A new password needs the current one.", "/current_password")
    logins = call.services.logins
    async with call.services.database.unit() as connection:
        kept = await read_login(connection, call.principal.id)
    if kept is None or kept.password_hash is None:
        raise errors.conflict("no_password", "There is no password to change: you sign in some other way.")
    password = checked_password(change.password, kept.person.email_folded)
    try:
        login = await logins.prove(kept.person.email, change.current_password, call.exchange, "person.refuse")
    except WaypostError as error:
        if error.category is not Category.UNAUTHENTICATED:
            raise
        raise WaypostError("wrong_password", "The current password is wrong.", Category.FORBIDDEN) from None
    return await logins.passwords.hash(password), login.password_hash or kept.password_hash


ENDPOINTS: list[Endpoint] = [read_me, change_me]
