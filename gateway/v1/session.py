"""Signing in and out (governance contract §4): a browser by cookie, the command by token."""

from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from gateway.endpoint import PAGE, Call, Endpoint, endpoint, nothing, ok
from gateway.exchange import Answer, Exchange
from gateway.login import refused_login
from gateway.page import page_of, paged
from gateway.person_audit import organizations_of, record_for, signed_in
from gateway.session import cookie_token, set_cookie
from gateway.v1.person_view import (
    NO_STORE,
    SessionView,
    SignedInView,
    person_view,
    require_person,
    session_view,
)
from gateway.v1.view import page_view
from jobs.wake import PersonChanged
from storage.postgres.person.person import read_person
from storage.postgres.person.session import end_session, end_sessions, insert_session, list_sessions
from waypost import ids
from waypost.access.key import SESSION_PREFIX, make_key
from waypost.errors import Category, WaypostError
from waypost.person.decision import csrf_token
from waypost.person.model import Person, Session

OWN = "one's own sessions"
MAX_USER_AGENT_CHARACTERS = 200


class NewSession(msgspec.Struct, forbid_unknown_fields=True):
    """`token`: answer with an access token for `Authorization: Bearer` instead of setting a cookie."""

    email: str
    password: str
    token: bool = False

    def __repr__(self) -> str:
        return "NewSession(…)"


class SessionPage(msgspec.Struct):
    items: list[SessionView]
    next_cursor: str | None


@endpoint(
    "POST",
    "/v1/sessions",
    summary="Sign in",
    public="the e-mail address and the password are the credential",
    body=NewSession,
    answer=SignedInView,
    status=201,
    also={401: "The e-mail address or the password is wrong.", 429: "Too many attempts did not succeed."},
    example={"email": "ada@example.com", "password": "correct horse battery staple"},
)
async def create_session(call: Call) -> Answer:
    """A cookie `waypost_session` is set, or with `token` an access token answered. A session ends after 12 hours, or an
    hour after its last use. With the cookie every change must carry `csrf_token` as `X-CSRF-Token`."""
    new, exchange = await call.read(NewSession), call.exchange
    if not new.token:
        _refuse_cross_site(exchange)
    login = await call.services.logins.prove(new.email, new.password, exchange)
    session, token = await _begin(call, login.person, bearer=new.token)
    if new.token:
        return ok(_view(session, login.person, access_token=token), 201, [NO_STORE])
    seconds = round((session.expires_at - session.created_at).total_seconds())
    cookie = set_cookie(token, seconds, secure=_is_secure(call))
    return ok(_view(session, login.person, csrf=csrf_token(token)), 201, [NO_STORE, cookie])


async def _begin(call: Call, person: Person, *, bearer: bool) -> tuple[Session, str]:
    public_id, token, token_hash = make_key(SESSION_PREFIX)
    exchange = call.exchange
    agent = (exchange.header(b"user-agent") or "")[:MAX_USER_AGENT_CHARACTERS]
    async with call.services.database.unit() as connection:
        session = await insert_session(
            connection,
            ids.new_id(),
            person.id,
            public_id,
            token_hash,
            bearer=bearer,
            source_address=exchange.address or None,
            user_agent=agent or None,
        )
        if session is None:  # disabled between the proof and now
            raise refused_login()
        organizations = await organizations_of(connection, person.id)
        details = {"kind": "bearer" if bearer else "cookie"}
        by = signed_in(exchange, person.id)
        await record_for(connection, organizations, by, "session.create", f"session:{session.id}", details=details)
    return session, token


def _view(
    session: Session, person: Person, csrf: str | UnsetType = UNSET, access_token: str | UnsetType = UNSET
) -> SignedInView:
    return SignedInView(session.id, session.expires_at, person_view(person), csrf, access_token)


def _is_secure(call: Call) -> bool:
    return call.services.public_url.startswith("https://")


def _refuse_cross_site(exchange: Exchange) -> None:
    """Another site's page must not sign its visitor in as somebody else. Every browser of today sends this header."""
    if exchange.header(b"sec-fetch-site") == "cross-site":
        raise WaypostError("cross_site_request", "A page of another site cannot sign in here.", Category.FORBIDDEN)


@endpoint(
    "GET", "/v1/sessions", summary="One's own sessions, newest first", personal=OWN, query=PAGE, answer=SessionPage
)
async def read_sessions(call: Call) -> Answer:
    person_id = require_person(call)
    page = page_of(call.query, "sessions", person_id)
    async with call.services.database.unit() as connection:
        found = await list_sessions(connection, person_id, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda session: session.id)
    return ok(page_view([session_view(session, call.principal.public_id) for session in shown], cursor))


@endpoint("GET", "/v1/sessions/current", summary="The session that asks", personal=OWN, answer=SignedInView)
async def read_current(call: Call) -> Answer:
    """With a cookie, its CSRF token too: for a page that was loaded anew."""
    person_id = require_person(call)
    async with call.services.database.unit() as connection:
        person = await read_person(connection, person_id)
    principal = call.principal
    if person is None or principal.session_id is None or principal.expires_at is None:
        raise refused_login()
    token = _cookie_of(call)
    csrf = UNSET if token is None else csrf_token(token)
    return ok(SignedInView(principal.session_id, principal.expires_at, person_view(person), csrf), headers=[NO_STORE])


@endpoint("DELETE", "/v1/sessions/current", summary="Sign out", personal=OWN, status=204)
async def delete_current(call: Call) -> Answer:
    person_id = require_person(call)
    async with call.services.database.unit() as connection:
        ended = await end_session(connection, call.principal.public_id)
        if ended is not None:
            organizations, by = await organizations_of(connection, person_id), signed_in(call.exchange, person_id)
            await record_for(connection, organizations, by, "session.end", f"session:{ended}")
    return _signed_out(call, person_id)


@endpoint("DELETE", "/v1/sessions", summary="Sign out everywhere", personal=OWN, status=204)
async def delete_sessions(call: Call) -> Answer:
    person_id = require_person(call)
    async with call.services.database.unit() as connection:
        count = await end_sessions(connection, person_id)
        organizations, by = await organizations_of(connection, person_id), signed_in(call.exchange, person_id)
        details = {"sessions": str(count)}
        await record_for(connection, organizations, by, "session.end", f"person:{person_id}", details=details)
    return _signed_out(call, person_id)


def _signed_out(call: Call, person_id: UUID) -> Answer:
    call.services.tell_access(PersonChanged(person_id))
    answer = nothing()
    if _cookie_of(call) is not None:
        answer.headers = [set_cookie("", 0, secure=_is_secure(call))]
    return answer


def _cookie_of(call: Call) -> str | None:
    """The session's token when it came in a cookie."""
    return None if call.exchange.header(b"authorization") is not None else cookie_token(call.exchange)


ENDPOINTS: list[Endpoint] = [create_session, read_sessions, read_current, delete_current, delete_sessions]
