"""People of a test who sign in with a password, each test's from source addresses of its own.

Failed sign-ins are counted by address too, so tests that share 127.0.0.1 would slow each other down; any address of
127.0.0.0/8 reaches the loopback.
"""

import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from waypost.access.model import Role
from waypost.ids import new_id
from waypost.person.password import hash_password

PASSWORD = "correct horse battery"
KEPT = hash_password(PASSWORD)  # hashed once for all tests; who signs in verifies it each time

_PERSON = """
insert into control.person (id, email, email_folded, name, password_hash) values ($1, $2, $2, 'Test Person', $3)
"""
_MEMBER = """
insert into control.membership (id, organization_id, person_id, role, created_by)
select $1, id, $2, $3, 'test' from control.organization where slug = $4
"""


@dataclass(frozen=True)
class Someone:
    id: Any
    email: str
    password: str = PASSWORD

    @property
    def login(self) -> dict[str, str]:
        return {"email": self.email, "password": self.password}


class Owner:
    """The database as its owner: to see what is kept, and to move times."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def execute(self, statement: str, *values: Any) -> Any:
        connection = await asyncpg.connect(self._url)
        try:
            return await connection.execute(statement, *values)
        finally:
            await connection.close()

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self._url)
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()


def owner_of(platform: Any) -> Owner:
    return Owner(platform.database_url("waypost_owner"))


async def make_someone(platform: Any, role: Role | None = Role.OPERATOR, organization: str = "default") -> Someone:
    """A person with a password and one role, made directly."""
    someone, owner = Someone(new_id(), f"p{secrets.token_hex(8)}@example.com"), owner_of(platform)
    await owner.execute(_PERSON, someone.id, someone.email, KEPT)
    if role is not None:
        await owner.execute(_MEMBER, new_id(), someone.id, role.value, organization)
    return someone


def fresh_address() -> str:
    """A loopback address that nobody else uses."""
    number = next(_ADDRESSES)
    return f"127.{number // 62_500 % 250 + 2}.{number // 250 % 250 + 2}.{number % 250 + 2}"


_ADDRESSES = itertools.count(250)


@asynccontextmanager
async def browser(url: str, address: str | None = None, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a cookie jar, from an address of its own."""
    transport = httpx.AsyncHTTPTransport(local_address=address or fresh_address())
    async with httpx.AsyncClient(base_url=url, transport=transport, timeout=30, **more) as client:
        yield client


async def sign_in(client: httpx.AsyncClient, someone: Someone, *, token: bool = False) -> dict[str, Any]:
    """The answer of POST /v1/sessions; the cookie stays in the client's jar."""
    answer = await client.post("/v1/sessions", json=someone.login | ({"token": True} if token else {}))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def csrf(signed_in: dict[str, Any]) -> dict[str, str]:
    return {"X-CSRF-Token": signed_in["csrf_token"]}


def bearer(signed_in: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {signed_in['access_token']}"}
