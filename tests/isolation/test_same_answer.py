"""What is not there and what is not yours cannot be told apart: the same answer to the byte, the same statements.

The request id, and the ids that were asked for where an answer repeats them, are the only differences. Not the clock
but the statements sent to PostgreSQL are compared: the same texts in the same order take the same time.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import msgspec
import pytest

from gateway.endpoint import Endpoint
from gateway.surface import ENDPOINTS
from storage.postgres import database
from tests.gateway.conftest import OwnGateway, bearer
from tests.isolation.conftest import Tenant

_OF_THE_MOMENT = ("x-request-id", "date", "ratelimit", "x-ratelimit", "content-length")
GUARDED = [endpoint for endpoint in ENDPOINTS if endpoint.permission and "{org}" in endpoint.path]
BESIDE = ("keys", "denials", "admission", "calls", "firings")  # tasks that write down later what requests left to them
IN_PLACE = ("org", "project", "environment")


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint.method} {endpoint.path}"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The text of every statement that this process sends, in order."""
    sent: list[str] = []
    session = database._Session
    for method in ("_execute", "execute"):
        monkeypatch.setattr(session, method, _noting(getattr(asyncpg.Connection, method), sent, method), raising=False)
    return sent


def _noting(method: Callable[..., Any], sent: list[str], name: str) -> Callable[..., Any]:
    async def noted(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
        task = asyncio.current_task()
        # `execute` with arguments goes through `_execute`.
        beside = task is not None and task.get_name() in BESIDE
        if (name == "_execute" or not arguments) and not beside and not query.startswith("RESET"):  # of the pool
            sent.append(" ".join(query.split()))
        return await method(self, query, *arguments, **options)

    return noted


class _Asked(msgspec.Struct):
    status: int
    headers: list[tuple[str, str]]
    body: str
    statements: list[str]


async def _ask(
    own: OwnGateway, statements: list[str], endpoint: Endpoint, parameters: dict[str, str], key: str
) -> _Asked:
    path = endpoint.path
    for name, value in parameters.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, path
    body = endpoint.example if endpoint.body is not None else None
    first = len(statements)
    answer = await own.client.request(endpoint.method, path, json=body, headers=bearer(key))
    text = answer.text.replace(answer.headers.get("x-request-id", "-"), "R")
    for value in sorted(parameters.values(), key=len, reverse=True):
        text = text.replace(value, "X") if len(value) > 4 else text
    headers = sorted(
        (name, value) for name, value in answer.headers.items() if not name.lower().startswith(_OF_THE_MOMENT)
    )
    return _Asked(answer.status_code, headers, text, statements[first:])


def _stranger(value: str) -> str:
    """Nobody's name or id, of the same kind and length."""
    return str(uuid4()) if len(value) == 36 else ("z" + secrets.token_hex(11))[: max(len(value), 8)]


class _Case(msgspec.Struct, frozen=True):
    """`key` asks for `parameters`, of which `theirs` belong to somebody else; `warm`: (path, key) used just before."""

    parameters: dict[str, str]
    theirs: frozenset[str]
    key: str
    warm: tuple[tuple[str, str], ...]


async def _compare(own: OwnGateway, statements: list[str], endpoint: Endpoint, case: _Case) -> None:
    """With somebody else's names and with nobody's; each twice: from empty caches, then from filled ones."""
    unknown = {name: _stranger(value) if name in case.theirs else value for name, value in case.parameters.items()}
    for tries_left in (2, 1, 0):  # a message about another environment may empty a cache between two requests
        outcomes = [
            await _twice(own, statements, endpoint, parameters, case) for parameters in (case.parameters, unknown)
        ]
        if outcomes[0] == outcomes[1] or not tries_left:
            break
    for theirs, nobodys in zip(*outcomes, strict=True):
        assert theirs == nobodys, (_name(endpoint), case.parameters)
    assert {asked.status for asked in outcomes[0]} == {404}, (_name(endpoint), outcomes[0])


async def _twice(
    own: OwnGateway, statements: list[str], endpoint: Endpoint, parameters: dict[str, str], case: _Case
) -> list[_Asked]:
    own.services.places.clear()
    own.services.keys.clear()
    for path, key in case.warm:
        assert (await own.client.get(path, headers=bearer(key))).status_code == 200
    return [await _ask(own, statements, endpoint, parameters, case.key) for _ in range(2)]


@pytest.mark.parametrize("endpoint", GUARDED, ids=_name)
async def test_anothers_place_is_like_no_place(
    own_gateway: OwnGateway, statements: list[str], tenants: tuple[Tenant, Tenant], endpoint: Endpoint
) -> None:
    """On every route, by ids and by slugs, also right after its owner was there."""
    mine, other = tenants
    ids = await _ids(other)
    slugs = {"org": other.organization, "project": "main", "environment": "e"}
    for place in (slugs, ids):
        parameters = {name: place.get(name) or str(uuid4()) for name in endpoint.parameters}
        warm = ((mine.path, mine.key), (_path_of(place), other.key))
        case = _Case(parameters, frozenset({"org"}), mine.key, warm)
        await _compare(own_gateway, statements, endpoint, case)


def _path_of(place: dict[str, str]) -> str:
    return f"/v1/orgs/{place['org']}/projects/{place['project']}/environments/{place['environment']}"


async def _ids(tenant: Tenant) -> dict[str, str]:
    found = (await tenant.client.get(tenant.path)).json()
    organization = (await tenant.client.get(f"/v1/orgs/{tenant.organization}")).json()["id"]
    project = (await tenant.client.get(f"/v1/orgs/{tenant.organization}/projects/main")).json()["id"]
    return {"org": organization, "project": project, "environment": found["id"]}


@pytest.fixture(scope="session")
async def belongings(tenants: tuple[Tenant, Tenant]) -> dict[str, str]:
    """Things of the second tenant, by the name of the parameter that would address them."""
    other = tenants[1]
    org = f"/v1/orgs/{other.organization}"
    job = (await other.client.post(f"{other.path}/jobs", json={"function": "secret.report"})).json()["id"]
    key = (await other.client.post(f"{other.path}/keys", json={"name": "k", "role": "viewer"})).json()["id"]
    credential = (await other.client.post(f"{other.path}/node-credentials", json={"name": "n"})).json()["id"]
    invited = await other.client.post(f"{org}/invitations", json={"email": "a@example.org", "role": "viewer"})
    return {
        "job": job,
        "key": key,
        "credential": credential,
        "node": str(uuid4()),
        "function": "secret.report",
        "replay": str(uuid4()),  # like deliveries, looked up by environment and id
        "delivery": str(uuid4()),
        "invitation": invited.json()["id"],
        "member": str(uuid4()),  # nobody accepted: members are people, and have no id that is another tenant's alone
        **await _ids(other),
    }


async def _made(tenant: Tenant, endpoint: Endpoint) -> str:
    """The id of such a thing of the tenant's, made by the route of its list with that route's own example."""
    collection = endpoint.path[: endpoint.path.rindex("{")].rstrip("/")
    create = next((e for e in ENDPOINTS if (e.method, e.path) == ("POST", collection)), None)
    assert create is not None, f"say in `belongings` what {endpoint.parameters[-1]} is"
    path = collection.format(org=tenant.organization, project="main", environment="e")
    answer = await tenant.client.post(path, json=create.example)
    assert answer.is_success, f"make one in `belongings`: {answer.text}"
    return str(answer.json()["id"])


ITEMS = [endpoint for endpoint in GUARDED if endpoint.parameters[-1] != "org"]


@pytest.mark.parametrize("endpoint", ITEMS, ids=_name)
async def test_anothers_thing_in_ones_own_place_is_like_none(
    own_gateway: OwnGateway,
    statements: list[str],
    tenants: tuple[Tenant, Tenant],
    belongings: dict[str, str],
    endpoint: Endpoint,
) -> None:
    """The last id of the path is another tenant's, all before it is one's own."""
    mine = {"org": tenants[0].organization, "project": "main", "environment": "e"}
    last = endpoint.parameters[-1]
    if last == "function":
        pytest.skip("a function is a name that anybody may use")
    if last not in belongings:
        belongings[last] = await _made(tenants[1], endpoint)
    parameters = {name: mine.get(name, "") for name in endpoint.parameters} | {last: belongings[last]}
    warm = ((tenants[0].path, tenants[0].key), (tenants[1].path, tenants[1].key))
    await _compare(own_gateway, statements, endpoint, _Case(parameters, frozenset({last}), tenants[0].key, warm))


async def test_a_key_of_one_environment_learns_nothing_of_its_neighbours(
    own_gateway: OwnGateway, statements: list[str], tenants: tuple[Tenant, Tenant]
) -> None:
    """Neither of another environment of its project nor of another project of its organization."""
    mine = tenants[0]
    project = f"/v1/orgs/{mine.organization}/projects"
    confined = (await mine.client.post(f"{mine.path}/keys", json={"name": "k", "role": "operator"})).json()["key"]
    beside = f"n{secrets.token_hex(4)}"
    made = await mine.client.post(
        f"{project}/main/environments", json={"name": beside, "slug": beside, "posture": "dev"}
    )
    assert made.status_code == 202
    other = await mine.client.post(project, json={"name": beside, "slug": beside})
    assert other.status_code == 201
    places = (
        ({"project": "main", "environment": beside}, "environment"),
        ({"project": "main", "environment": made.json()["id"]}, "environment"),
        ({"project": beside, "environment": "e"}, "project"),
    )
    within = [endpoint for endpoint in GUARDED if "environment" in endpoint.parameters]
    for endpoint, (place, theirs) in zip(within, itertools.cycle(places), strict=False):
        items = {name: str(uuid4()) for name in endpoint.parameters if name not in IN_PLACE}
        parameters = {"org": mine.organization, **place, **items}
        warm = ((mine.path, confined), (f"{project}/main/environments/{beside}", mine.key))
        await _compare(own_gateway, statements, endpoint, _Case(parameters, frozenset({theirs}), confined, warm))


async def test_the_comparison_would_notice(
    own_gateway: OwnGateway, statements: list[str], tenants: tuple[Tenant, Tenant]
) -> None:
    """One's own thing is answered otherwise than nobody's, and by statements that are counted."""
    endpoint = next(endpoint for endpoint in GUARDED if _name(endpoint).endswith("GET /v1/orgs/{org}/projects"))
    mine = await _ask(own_gateway, statements, endpoint, {"org": tenants[0].organization}, tenants[0].key)
    nobody = await _ask(own_gateway, statements, endpoint, {"org": "nobody"}, tenants[0].key)
    assert (mine.status, nobody.status) == (200, 404)
    assert mine.statements
    assert mine.statements != nobody.statements


async def test_a_wrong_credential_and_anothers_are_told_apart_by_nobody(
    own_gateway: OwnGateway, tenants: tuple[Tenant, Tenant]
) -> None:
    """A key that never was and one that was revoked get the same 401."""
    mine = tenants[0]
    made = (await mine.client.post(f"{mine.path}/keys", json={"name": "k", "role": "viewer"})).json()
    gone = await mine.client.delete(f"{mine.path}/keys/{made['id']}")
    assert gone.status_code in (200, 204)
    answers: list[httpx.Response] = [
        await own_gateway.client.get(mine.path, headers=bearer(text)) for text in (made["key"], "wpe_nothing", "x")
    ]
    assert {answer.status_code for answer in answers} == {401}
    bodies = {answer.text.replace(answer.headers["x-request-id"], "R") for answer in answers[1:]}
    assert len(bodies) == 1
