"""Every route with every role, without a credential, with another tenant's, and with a revoked one.

Routes come from the surface, so a new one is tried without anything being written here. What is expected is worked out
from the contract's own table below, never from the code under test.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest

from gateway import matrix
from gateway.edge import Edge
from gateway.endpoint import Call, Endpoint, application
from gateway.exchange import Answer
from gateway.surface import ENDPOINTS
from tests.gateway.conftest import OwnGateway, bearer
from tests.gateway.person_ground import sign_in
from waypost.access.model import Role
from waypost.ids import new_id

ADMITTED = 299  # what the probe answers in place of the endpoint's own work

# Governance contract §3: org_admin, project_admin, operator, viewer. And where each permission is asked for.
TABLE = {
    "ViewOrg": "yyyy",
    "ManageOrgMemberships": "ynnn",
    "ViewProject": "yyyy",
    "ManageProject": "yynn",
    "OperateProject": "yyyn",
    "ViewEnvironment": "yyyy",
    "ManageEnvironment": "yynn",
    "OperateEnvironment": "yyyn",
}
COLUMN = {Role.ORG_ADMIN: 0, Role.PROJECT_ADMIN: 1, Role.OPERATOR: 2, Role.VIEWER: 3}
ORGANIZATION, PROJECT, ENVIRONMENT = range(3)
ENVIRONMENT_ROLES = (Role.PROJECT_ADMIN, Role.OPERATOR, Role.VIEWER)


@dataclass(frozen=True)
class Credential:
    """Headers, and what each endpoint must answer to them: ADMITTED, 401, 403 or 404."""

    name: str
    headers: dict[str, str]
    expected: Callable[[Endpoint], int]


def depth(declared: Endpoint) -> int:
    """How deep a path goes: in an organization, a project, or an environment."""
    return ENVIRONMENT if "environment" in declared.parameters else PROJECT if "project" in declared.parameters else 0


def asked_at(permission: str) -> int:
    return PROJECT if "Project" in permission else ENVIRONMENT if "Environment" in permission else ORGANIZATION


def by_role(role: Role) -> Callable[[Endpoint], int]:
    """A role in the whole organization."""

    def expected(declared: Endpoint) -> int:
        if declared.permission is None:
            return ADMITTED
        permission = declared.permission.value
        reaches = role is Role.ORG_ADMIN or depth(declared) >= asked_at(permission)
        return ADMITTED if reaches and TABLE[permission][COLUMN[role]] == "y" else 403

    return expected


def confined_to(role: Role) -> Callable[[Endpoint], int]:
    """A key of the environment that is addressed."""

    def expected(declared: Endpoint) -> int:
        if declared.permission is None:
            return ADMITTED
        inside = depth(declared) == ENVIRONMENT and asked_at(declared.permission.value) == ENVIRONMENT
        return by_role(role)(declared) if inside else 403

    return expected


def only_on(role: Role | None) -> Callable[[Endpoint], int]:
    """A role on one project, of which the addressed one is it; None: it is another project of the organization."""

    def expected(declared: Endpoint) -> int:
        if declared.permission is None or (depth(declared) == 0 and declared.permission == "ViewOrg"):
            return ADMITTED
        return 403 if role is None or depth(declared) == ORGANIZATION else by_role(role)(declared)

    return expected


def elsewhere(admitted_without_place: bool) -> Callable[[Endpoint], int]:
    """Somebody who has no role in the addressed organization."""

    def expected(declared: Endpoint) -> int:
        if declared.permission is None:
            return ADMITTED
        return 404 if "org" in declared.parameters else ADMITTED if admitted_without_place else 403

    return expected


def sibling(declared: Endpoint) -> int:
    """The key of another environment of the same project."""
    if declared.permission is None:
        return ADMITTED
    return 404 if depth(declared) == ENVIRONMENT else 403


def nobody(declared: Endpoint) -> int:
    """No credential, or none that counts."""
    return ADMITTED if declared.public else 401


@dataclass(frozen=True)
class Ground:
    """An organization with two projects and two environments of the first."""

    id: UUID
    slug: str
    project: UUID
    other_project: UUID
    headers: dict[str, str]

    @property
    def environment(self) -> str:
        return f"/v1/orgs/{self.slug}/projects/images/environments"


@pytest.fixture(scope="module")
async def ground(own_gateway: OwnGateway) -> Ground:
    """An organization of this module's own."""
    slug = f"m{secrets.token_hex(6)}"
    made = (await own_gateway.client.post("/v1/orgs", json={"name": "Matrix", "slug": slug})).json()
    headers = bearer(made["admin_key"])
    projects = []
    for name in ("images", "other"):
        answer = await own_gateway.client.post(f"/v1/orgs/{slug}/projects", json={"name": name}, headers=headers)
        projects.append(UUID(answer.json()["id"]))
    found = Ground(UUID(made["id"]), slug, projects[0], projects[1], headers)
    for name in ("one", "two"):
        answer = await own_gateway.client.post(
            found.environment, json={"name": name, "posture": "dev"}, headers=headers
        )
        assert answer.status_code == 202, answer.text
    return found


@pytest.fixture(scope="module")
async def credentials(platform: Any, own_gateway: OwnGateway, ground: Ground, foreign_key: str) -> list[Credential]:
    """One of every kind and role, and those that count for nothing."""

    async def key(path: str, role: Role) -> dict[str, Any]:
        answer = await own_gateway.client.post(path, json={"name": role, "role": role}, headers=ground.headers)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    whole, one, two = (
        f"/v1/orgs/{ground.slug}/api-keys",
        f"{ground.environment}/one/keys",
        f"{ground.environment}/two/keys",
    )
    found = [
        Credential(f"key of the organization, {r}", bearer((await key(whole, r))["key"]), by_role(r)) for r in Role
    ]
    for role in ENVIRONMENT_ROLES:
        text = (await key(one, role))["key"]
        found.append(Credential(f"key of the environment, {role}", bearer(text), confined_to(role)))
    found.append(Credential("key of a sibling", bearer((await key(two, Role.PROJECT_ADMIN))["key"]), sibling))
    return (
        found
        + await _people(platform, ground)
        + await _of_others(platform, foreign_key)
        + await _revoked(
            platform,
            own_gateway,
            ground,
            [(whole, await key(whole, Role.ORG_ADMIN)), (one, await key(one, Role.OPERATOR))],
        )
    )


async def _people(platform: Any, ground: Ground) -> list[Credential]:
    found = []
    for role in Role:
        person = await sign_in(platform, (ground.id, None, role))
        found.append(Credential(f"person, {role} of the organization", person.headers, by_role(role)))
    for role in ENVIRONMENT_ROLES:
        person = await sign_in(platform, (ground.id, ground.project, role))
        found.append(Credential(f"person, {role} on the project only", person.headers, only_on(role)))
        other = await sign_in(platform, (ground.id, ground.other_project, role))
        found.append(Credential(f"person, {role} on another project only", other.headers, only_on(None)))
        for whole in ENVIRONMENT_ROLES:
            both = await sign_in(platform, (ground.id, None, whole), (ground.id, ground.project, role))
            found.append(Credential(f"person, {whole}, but {role} on the project", both.headers, only_on(role)))
    admin = await sign_in(platform, (ground.id, None, Role.ORG_ADMIN), (ground.id, ground.project, Role.VIEWER))
    found.append(Credential("person, org_admin, and viewer on the project", admin.headers, by_role(Role.ORG_ADMIN)))
    return found


async def _of_others(platform: Any, foreign_key: str) -> list[Credential]:
    stranger = await sign_in(platform)
    return [
        Credential("administrator's key of another tenant", bearer(foreign_key), elsewhere(True)),
        Credential("person without any role", stranger.headers, elsewhere(False)),
    ]


async def _revoked(
    platform: Any, own_gateway: OwnGateway, ground: Ground, keys: list[tuple[str, dict[str, Any]]]
) -> list[Credential]:
    """Keys and a session, used once and then taken away: they may still be cached."""
    found = [
        Credential("none", {}, nobody),
        Credential("no bearer", {"Authorization": "Basic eDp5"}, nobody),
        Credential("mistyped", bearer(keys[0][1]["key"][:-1] + "_"), nobody),
        Credential("unknown session", bearer("wps_" + "0" * 61), nobody),
    ]
    for path, key in keys:
        assert (await own_gateway.client.get("/v1/whoami", headers=bearer(key["key"]))).status_code == 200
        gone = await own_gateway.client.delete(f"{path}/{key['id']}", headers=ground.headers)
        assert gone.status_code == 204, gone.text
        found.append(Credential(f"revoked key {path}", bearer(key["key"]), nobody))
    person = await sign_in(platform, (ground.id, None, Role.ORG_ADMIN))
    assert (await own_gateway.client.get("/v1/whoami", headers=person.headers)).status_code == 200
    assert (await own_gateway.client.delete("/v1/sessions/current", headers=person.headers)).status_code == 204
    return [*found, Credential("session that was ended", person.headers, nobody)]


@pytest.fixture(scope="module")
async def probe(own_gateway: OwnGateway) -> AsyncIterator[httpx.AsyncClient]:
    """The whole surface in this process, its endpoints' work replaced by ADMITTED: nothing is changed or streamed."""

    async def admitted(_: Call) -> Answer:
        return Answer(ADMITTED)

    surface = [msgspec.structs.replace(declared, run=admitted) for declared in ENDPOINTS]
    edge = Edge(own_gateway.services, application(own_gateway.services, surface))
    transport = httpx.ASGITransport(app=edge)  # type: ignore[arg-type]  # httpx' types of ASGI are narrower than ASGI
    async with httpx.AsyncClient(transport=transport, base_url="http://probe") as session:
        yield session


@pytest.fixture(scope="module")
async def anonymous(own_gateway: OwnGateway) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP without a credential of its own."""
    async with httpx.AsyncClient(base_url=own_gateway.url, timeout=30) as session:
        yield session


def address(declared: Endpoint, ground: Ground) -> str:
    """A path of the endpoint in the ground, its own things made up."""
    named = {"org": ground.slug, "project": "images", "environment": "one", "function": "a.b"}
    return declared.path.format_map({name: named.get(name, str(new_id())) for name in declared.parameters})


async def ask(client: httpx.AsyncClient, declared: Endpoint, path: str, headers: dict[str, str]) -> httpx.Response:
    """One request with the body that the endpoint's declaration gives as its example."""
    content = json.dumps(declared.example).encode() if declared.body is not None else None
    return await client.request(declared.method, path, headers=headers, content=content)


def check(declared: Endpoint, credential: Credential, answer: httpx.Response) -> None:
    """The status, and for a refusal its code and the permission that it names."""
    expected, told = (
        credential.expected(declared),
        f"{declared.method} {declared.path}, {credential.name}: {answer.text}",
    )
    assert answer.status_code == expected, told
    if expected == 403 and declared.permission is not None:
        problem = answer.json()
        assert (problem["code"], problem["permission"]) == ("forbidden", declared.permission.value), told
    elif expected == 404:
        assert answer.json()["code"] == "not_found", told


@pytest.mark.parametrize("declared", ENDPOINTS, ids=lambda declared: declared.name)
async def test_every_route_admits_exactly_whom_the_contract_says(
    probe: httpx.AsyncClient, ground: Ground, credentials: list[Credential], declared: Endpoint
) -> None:
    """Every role of keys and people: admitted, or 403 naming the permission; another tenant's 404; nobody's 401."""
    path = address(declared, ground)
    answers = await asyncio.gather(*(ask(probe, declared, path, one.headers) for one in credentials))
    for credential, answer in zip(credentials, answers, strict=True):
        check(declared, credential, answer)


@pytest.mark.parametrize("declared", ENDPOINTS, ids=lambda declared: declared.name)
async def test_every_route_refuses_before_it_does_anything(
    anonymous: httpx.AsyncClient, ground: Ground, credentials: list[Credential], declared: Endpoint
) -> None:
    """The real endpoints, over HTTP and with the short way for submissions, refuse exactly the same."""
    path = address(declared, ground)
    refused = [one for one in credentials if one.expected(declared) != ADMITTED]
    answers = await asyncio.gather(*(ask(anonymous, declared, path, one.headers) for one in refused))
    for credential, answer in zip(refused, answers, strict=True):
        check(declared, credential, answer)


async def test_no_combination_is_left_out(credentials: list[Credential]) -> None:
    """Every permission of the contract guards a route, and every answer is expected of something."""
    guarded = {declared.permission.value for declared in ENDPOINTS if declared.permission}
    assert guarded <= set(TABLE)
    assert {"ViewOrg", "ManageOrgMemberships", "OperateEnvironment", "ManageEnvironment"} <= guarded
    expected = {one.expected(declared) for one in credentials for declared in ENDPOINTS}
    assert expected == {ADMITTED, 401, 403, 404}


READABLE = [d for d in ENDPOINTS if d.method == "GET" and not d.public and d.kind == "application/json"]


@pytest.mark.parametrize("declared", READABLE, ids=lambda declared: declared.name)
async def test_who_is_admitted_to_read_is_served(
    platform: Any, anonymous: httpx.AsyncClient, ground: Ground, declared: Endpoint
) -> None:
    """No endpoint refuses by itself a person whom the matrix admits."""
    viewer = await sign_in(platform, (ground.id, None, Role.VIEWER))
    admin = await sign_in(platform, (ground.id, None, Role.ORG_ADMIN))
    admitted = admin if by_role(Role.VIEWER)(declared) == 403 else viewer
    answer = await ask(anonymous, declared, address(declared, ground), admitted.headers)
    assert answer.status_code not in (401, 403), answer.text
    assert answer.status_code < 500, answer.text


def test_the_page_shows_the_matrix_as_it_is(tmp_path: Path) -> None:
    """docs/access.md is made from the declarations: `python -P -m gateway.matrix` after a route changed."""
    assert matrix.main(["--check"]) == 0
    stale = tmp_path / "access.md"
    stale.write_text(matrix.PAGE.read_text().replace("ManageOrgMemberships", "ViewOrg"))
    assert matrix.main(["--check", str(stale)]) == 1
    assert matrix.main([str(stale)]) == matrix.main(["--check", str(stale)]) == 0
    assert stale.read_text() == matrix.PAGE.read_text()


def test_the_pages_table_of_roles_is_the_contracts() -> None:
    """Cell by cell."""
    rows = {line.split(" | ")[0].strip("| "): line for line in matrix.roles_table().splitlines()[2:]}
    for permission, cells in TABLE.items():
        shown = [cell.strip() for cell in rows[permission].strip("|").split("|")[1:]]
        assert shown == ["yes" if cell == "y" else "" for cell in cells]
