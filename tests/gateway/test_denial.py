"""Denials in the audit: recorded, collapsed, bounded, in the background."""

import asyncio
import base64
import secrets
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from gateway.denial import MAX_KNOWN, MAX_UNKNOWN, Denials, action_of
from gateway.surface import ENDPOINTS
from tests.gateway.conftest import MakeGateway, MakeKey, OwnGateway, bearer
from waypost.access.key import ENVIRONMENT_PREFIX
from waypost.access.key import make_key as make_text
from waypost.audit.model import Denial
from waypost.errors import unavailable
from waypost.task import stop

NEVER_OVER = 1e12  # seconds: 3,600 would turn when the machine has been up for a whole hour

ORG = "/v1/orgs/default"


@pytest.fixture(scope="module")
async def own_gateway(make_gateway: MakeGateway) -> AsyncIterator[OwnGateway]:
    """One whose denials only the tests write: what its own task has taken and not committed yet nobody could read."""
    async with make_gateway() as own:
        await stop(own.services.denials._task)
        yield own


@pytest.fixture
async def owner(platform: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    yield connection
    await connection.close()


async def denied(own: OwnGateway, **query: str) -> list[dict[str, Any]]:
    """What the organization's log has, once everything that was refused is written."""
    await own.services.denials.flush()
    answer = await own.client.get(f"{ORG}/audit", params={"outcome": "denied", "limit": 200, **query})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_a_forbidden_request_is_recorded(
    own_gateway: OwnGateway, shared_environment: Any, make_key: MakeKey
) -> None:
    """403: who, what it would have been, which permission was missing, on which path, in which environment."""
    made = await make_key(shared_environment.path, "viewer")
    headers = bearer(made["key"]) | {"X-Request-Id": f"test-{secrets.token_hex(8)}"}
    assert (await own_gateway.client.get(f"{shared_environment.path}/keys", headers=headers)).status_code == 403
    found = await denied(own_gateway, actor=f"key:{made['id']}")
    assert [(entry["action"], entry["count"]) for entry in found] == [("api_key.list", 1)]
    assert found[0]["actor_type"] == "environment_key"
    assert found[0]["request_id"] == headers["X-Request-Id"]
    assert found[0]["source_ip"] == "127.0.0.1"
    assert found[0]["resource_scope"]["environment_id"] == shared_environment.id
    assert found[0]["details"] == {
        "code": "forbidden",
        "method": "GET",
        "path": f"{shared_environment.path}/keys",
        "permission": "ManageEnvironment",
    }


async def test_a_forbidden_submission_is_recorded(
    client: httpx.AsyncClient, shared_environment: Any, make_key: MakeKey, own_gateway: OwnGateway
) -> None:
    """The hot path, which goes past Litestar, too; written by the gateway itself within seconds."""
    made = await make_key(shared_environment.path, "viewer")
    answer = await client.post(f"{shared_environment.path}/jobs", json={"function": "a.b"}, headers=bearer(made["key"]))
    assert answer.status_code == 403
    async with asyncio.timeout(30):
        while not (  # noqa: ASYNC110 - the other process's flush is what is waited for
            found := await denied(own_gateway, actor=f"key:{made['id']}")
        ):
            await asyncio.sleep(0.05)
    assert [entry["action"] for entry in found] == ["job.create"]


async def test_a_revoked_key_is_recorded_in_its_owners_log(
    own_gateway: OwnGateway, shared_environment: Any, make_key: MakeKey
) -> None:
    """401: its public id is recognised; the key is the target, not the actor: nobody proved to hold it."""
    made = await make_key(shared_environment.path)
    await own_gateway.client.delete(f"{shared_environment.path}/keys/{made['id']}")
    answer = await own_gateway.client.get(shared_environment.path, headers=bearer(made["key"]))
    assert answer.status_code == 401
    found = await denied(own_gateway, target=f"api_key:{made['id']}")
    assert [(entry["actor"], entry["actor_type"]) for entry in found] == [(f"key:{made['public_id']}", "unknown_key")]
    assert found[0]["details"]["code"] == "invalid_credential"
    assert found[0]["resource_scope"]["environment_id"] == shared_environment.id
    assert made["key"] not in str(found)


async def test_a_key_that_nobody_has_is_recorded_for_the_operator(own_gateway: OwnGateway, owner: Any) -> None:
    """Well-formed and unknown: in nobody's log, but in the table. What has not the form of a key is not recorded."""
    public_id, text, _ = make_text(ENVIRONMENT_PREFIX)
    for credential in (text, text[:-1] + ("0" if text[-1] != "0" else "1"), "rubbish"):
        assert (await own_gateway.client.get(ORG, headers=bearer(credential))).status_code == 401
    await own_gateway.services.denials.flush()
    rows = await owner.fetch(
        "select organization_id, outcome, count from control.audit where actor = $1", f"key:{public_id}"
    )
    assert [tuple(row) for row in rows] == [(None, "denied", 1)]


async def test_a_wrong_node_secret_is_recorded(
    own_gateway: OwnGateway, shared_environment: Any, make_node_credential: Any
) -> None:
    """The token endpoint's 401: the client id names the credential; the secret is nowhere."""
    credential = await make_node_credential(shared_environment.path)
    basic = base64.b64encode(f"{credential.client_id}:guess".encode()).decode()
    answer = await own_gateway.client.post(
        "/api/oauth/token", headers={"Authorization": f"Basic {basic}"}, data={"grant_type": "client_credentials"}
    )
    assert answer.status_code == 401
    found = await denied(own_gateway, target=f"node_credential:{credential.id}")
    assert [(entry["action"], entry["actor_type"]) for entry in found] == [("oauth.token", "unknown_node_credential")]
    assert found[0]["resource_scope"]["environment_id"] == shared_environment.id


async def test_another_tenants_things_are_recorded_as_denied(
    own_gateway: OwnGateway, shared_environment: Any, foreign_key: str, make_key: MakeKey, make_environment: Any
) -> None:
    """404: in the log of who asked, not of whose it is; and what nobody has is no denial."""
    headers = bearer(foreign_key)
    mine = (await own_gateway.client.get("/v1/orgs", headers=headers)).json()["items"][0]["id"]
    theirs = {shared_environment.path, f"{shared_environment.path}/keys"}
    nobodys = f"/v1/orgs/{mine}/projects/nothing"
    for path in (*theirs, nobodys):
        assert (await own_gateway.client.get(path, headers=headers)).status_code == 404
    await own_gateway.services.denials.flush()
    query = {"outcome": "denied"}
    listed = (await own_gateway.client.get(f"/v1/orgs/{mine}/audit", params=query, headers=headers)).json()["items"]
    # Other tests ask with this key, too, and for other things.
    found = [entry for entry in listed if entry["details"]["path"] in {*theirs, nobodys}]
    assert {entry["details"]["path"] for entry in found} == theirs
    assert {entry["details"]["code"] for entry in found} == {"not_found"}
    assert {entry["resource_scope"]["environment_id"] for entry in found} == {None}
    actor = found[0]["actor"]
    assert await denied(own_gateway, actor=actor) == []
    sibling = await make_key((await make_environment()).path, "project_admin")
    assert (await own_gateway.client.get(shared_environment.path, headers=bearer(sibling["key"]))).status_code == 404
    assert [entry["action"] for entry in await denied(own_gateway, actor=f"key:{sibling['id']}")] == [
        "environment.read"
    ]


async def test_equal_denials_of_a_minute_are_one_entry_and_a_rest(
    make_gateway: MakeGateway, shared_environment: Any, make_key: MakeKey, owner: Any
) -> None:
    """The first is written at once, what follows in the same minute with a count at its end; other actions apart."""
    made = await make_key(shared_environment.path, "viewer")
    async with make_gateway() as own:
        denials = own.services.denials
        await stop(denials._task)  # only this test writes
        denials._window_seconds = NEVER_OVER
        for _ in range(3):
            await own.client.get(f"{shared_environment.path}/keys", headers=bearer(made["key"]))
        await denials.flush()
        for _ in range(7):
            await own.client.get(f"{shared_environment.path}/keys", headers=bearer(made["key"]))
        await own.client.post(f"{shared_environment.path}/keys", headers=bearer(made["key"]), json={"name": "x"})
        await denials.flush()
        assert await counted(owner, made["id"]) == {"api_key.list": [3], "api_key.create": [1]}
        denials._window_seconds = 0.001  # the minute is over
        await denials.flush()
        assert await counted(owner, made["id"]) == {"api_key.list": [3, 7], "api_key.create": [1]}


async def counted(owner: Any, key_id: str) -> dict[str, list[int]]:
    rows = await owner.fetch("select action, count from control.audit where actor = $1 order by id", f"key:{key_id}")
    found: dict[str, list[int]] = {}
    for row in rows:
        found.setdefault(row["action"], []).append(row["count"])
    return found


class Written:
    """Stands in for the database, and for Postgres being away."""

    def __init__(self) -> None:
        self.entries: list[Denial] = []
        self.away = False

    def unit(self) -> "Written":
        if self.away:
            raise unavailable("PostgreSQL")
        return self

    async def __aenter__(self) -> "Written":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def execute(self, _: str, *columns: Any) -> None:
        self.entries += [
            Denial(actor=actor, action=action, count=count, actor_kind="", target="")
            for actor, action, count in zip(columns[4], columns[6], columns[8], strict=True)
        ]


def stranger(number: int) -> Denial:
    return Denial(actor=f"key:{number}", actor_kind="unknown_key", action="job.create", target="path:/")


async def test_a_flood_is_bounded_in_memory_and_rows_and_every_denial_is_counted() -> None:
    """A hundred thousand made-up keys and as many of one caller: at most so many entries a minute, no count lost."""
    database = Written()
    denials = Denials(database, window_seconds=NEVER_OVER)  # type: ignore[arg-type]  # what is used of it
    for number in range(100_000):
        denials.note(stranger(number), known=False)
        denials.note(stranger(-1), known=True)
        if number % 1_000 == 0:
            await denials.flush()
    assert len(denials._open) + len(denials._seen) <= 2 * (MAX_KNOWN + MAX_UNKNOWN + 2)
    assert sum(map(sys.getsizeof, (denials._open, denials._seen, denials._written))) < 500_000
    await denials.close()
    assert len(database.entries) <= 2 * (MAX_UNKNOWN + 2)
    assert sum(entry.count for entry in database.entries) == 200_000
    assert sum(entry.count for entry in database.entries if entry.actor == "many") == 100_000 - MAX_UNKNOWN


async def test_strangers_leave_room_for_callers_who_are_known() -> None:
    """What somebody makes up does not hide what a key or a person was refused."""
    database = Written()
    denials = Denials(database, window_seconds=NEVER_OVER)  # type: ignore[arg-type]  # what is used of it
    for number in range(10_000):
        denials.note(stranger(number), known=False)
    denials.note(Denial(actor="person:1", actor_kind="person", action="a.b", target="path:/"), known=True)
    await denials.close()
    assert "person:1" in {entry.actor for entry in database.entries}


async def test_denials_wait_for_a_database_that_is_away() -> None:
    """Counted on meanwhile, and written once."""
    database = Written()
    denials = Denials(database, window_seconds=NEVER_OVER)  # type: ignore[arg-type]  # what is used of it
    database.away = True
    for _ in range(5):
        denials.note(stranger(1), known=False)
        await denials.flush()
    assert database.entries == []
    database.away = False
    await denials.flush()
    assert [(entry.actor, entry.count) for entry in database.entries] == [("key:1", 5)]


def test_every_endpoint_has_an_action_of_noun_and_verb() -> None:
    """Derived from method and path, so that filters find denials by noun."""
    actions = {declared.name: action_of(declared.method, declared.path) for declared in ENDPOINTS}
    assert all(action.count(".") == 1 for action in actions.values()), actions
    assert action_of("POST", "/v1/orgs/{org}/projects/{project}/environments/{environment}/keys") == "api_key.create"
    assert (
        action_of("POST", "/v1/orgs/{org}/projects/{project}/environments/{environment}/keys/{key}/rotate")
        == "api_key.rotate"
    )
    assert action_of("DELETE", "/v1/orgs/{org}/projects/{project}") == "project.delete"
    assert action_of("GET", "/v1/orgs/{org}/audit") == "audit.list"
    assert action_of("POST", "/v1/orgs/{org}/projects/{project}/environments/{environment}/jobs/bulk") == "job.bulk"
