"""Counted limits: exact when fifty come at once, and the refusal names limit and value."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from infra.local.admin.connection import run
from infra.local.admin.limit import _apply
from tests.gateway.conftest import bearer

AT_ONCE, QUOTA = 50, 10


@pytest.fixture
async def organization(client: httpx.AsyncClient, platform: Any) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    """(slug, client) of an organization of the test's own, as its administrator."""
    slug = f"q{secrets.token_hex(6)}"
    made = (await client.post("/v1/orgs", json={"name": "Quota", "slug": slug})).json()
    async with httpx.AsyncClient(
        base_url=platform.api_url, headers=bearer(made["admin_key"]), timeout=60
    ) as administrator:
        yield slug, administrator


async def limited(platform: Any, slug: str, **limits: int | None) -> dict[str, Any]:
    """What `waypost admin limits` does."""
    return await asyncio.to_thread(run, platform.data_dir, lambda opened: _apply(opened, slug, limits))


async def crowd(ask: Callable[[int], Awaitable[httpx.Response]], status: int, limit: str, quota: int) -> None:
    """Fifty at once; exactly what there is room for is made."""
    answers = await asyncio.gather(*(ask(n) for n in range(AT_ONCE)))
    made = [answer for answer in answers if answer.status_code == status]
    refused = [answer for answer in answers if answer.status_code == 409]
    assert len(made) == quota, {answer.status_code: answer.text for answer in answers}
    assert len(refused) == AT_ONCE - quota
    for answer in refused:
        problem = answer.json()
        assert (problem["code"], problem["limit"], problem["value"]) == ("quota_exceeded", limit, problem["used"])
        assert limit in problem["detail"]


async def test_projects(organization: tuple[str, httpx.AsyncClient], platform: Any) -> None:
    """Ten of fifty; a deleted one makes room."""
    slug, administrator = organization
    await limited(platform, slug, projects=QUOTA)
    path = f"/v1/orgs/{slug}/projects"
    await crowd(lambda n: administrator.post(path, json={"name": "P", "slug": f"p{n}"}), 201, "projects", QUOTA)
    one = (await administrator.get(path)).json()["items"][0]["id"]
    await administrator.delete(f"{path}/{one}")
    async with asyncio.timeout(20):
        while (await administrator.get(f"{path}/{one}")).status_code != 404:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)
    assert (await administrator.post(path, json={"name": "P", "slug": "again"})).status_code == 201


async def test_environments_of_all_projects(organization: tuple[str, httpx.AsyncClient], platform: Any) -> None:
    """Two of fifty, over two projects; then everything goes."""
    slug, administrator = organization
    await limited(platform, slug, environments=2)
    path = f"/v1/orgs/{slug}/projects"
    for name in ("a", "b"):
        assert (await administrator.post(path, json={"name": name, "slug": name})).status_code == 201
    await crowd(
        lambda n: administrator.post(f"{path}/{'ab'[n % 2]}/environments", json={"name": "E", "slug": f"e{n}"}),
        202, "environments", 2,
    )  # fmt: skip
    assert [(await administrator.delete(f"{path}/{name}")).status_code for name in ("a", "b")] == [202, 202]


async def test_keys_of_the_organization(organization: tuple[str, httpx.AsyncClient], platform: Any) -> None:
    """The first key counts; rotating one needs no room; a revoked one makes some."""
    slug, administrator = organization
    await limited(platform, slug, organization_keys=QUOTA)
    path = f"/v1/orgs/{slug}/api-keys"
    body = {"name": "k", "role": "viewer"}
    await crowd(lambda _: administrator.post(path, json=body), 201, "organization_keys", QUOTA - 1)
    one, other = [key["id"] for key in (await administrator.get(path)).json()["items"]][:2]
    assert (await administrator.post(f"{path}/{one}/rotate", json={})).status_code == 201
    assert (await administrator.post(path, json=body)).status_code == 409
    assert (await administrator.delete(f"{path}/{other}")).status_code == 204
    assert (await administrator.post(path, json=body)).status_code == 201


async def test_members_and_those_invited(organization: tuple[str, httpx.AsyncClient], platform: Any) -> None:
    """Open invitations count: whoever was asked in can come in."""
    slug, administrator = organization
    await limited(platform, slug, members=QUOTA)
    path = f"/v1/orgs/{slug}/invitations"
    await crowd(
        lambda n: administrator.post(path, json={"email": f"a{n}@example.com", "role": "viewer"}), 201, "members", QUOTA
    )


async def test_keys_of_an_environment(client: httpx.AsyncClient, environment: Any) -> None:
    """Within what whoever manages the environment lowered it to."""
    await client.patch(environment.path, json={"limits": {"environment_keys": QUOTA}})
    await crowd(
        lambda n: client.post(f"{environment.path}/keys", json={"name": f"k{n}"}), 201, "environment_keys", QUOTA
    )


async def test_node_credentials(client: httpx.AsyncClient, environment: Any) -> None:
    """As keys; a limit of none refuses the first."""
    await client.patch(environment.path, json={"limits": {"node_credentials": QUOTA}})
    path = f"{environment.path}/node-credentials"
    await crowd(lambda n: client.post(path, json={"name": f"c{n}"}), 201, "node_credentials", QUOTA)
    await client.patch(environment.path, json={"limits": {"node_credentials": 0}})
    assert (await client.post(path, json={"name": "c"})).json()["value"] == 0


async def test_a_repeat_of_what_was_made_at_the_limit_is_no_new_one(
    organization: tuple[str, httpx.AsyncClient], platform: Any
) -> None:
    """The same Idempotency-Key gets the first answer again."""
    slug, administrator = organization
    await limited(platform, slug, projects=1)
    headers = {"Idempotency-Key": "once"}
    body = {"name": "P", "slug": "p"}
    first = await administrator.post(f"/v1/orgs/{slug}/projects", json=body, headers=headers)
    again = await administrator.post(f"/v1/orgs/{slug}/projects", json=body, headers=headers)
    assert (first.status_code, again.status_code, again.headers["idempotent-replayed"]) == (201, 201, "true")
    assert first.json() == again.json()


async def test_an_operator_sets_limits_and_everybody_sees_them(
    organization: tuple[str, httpx.AsyncClient], platform: Any
) -> None:
    """In GET of the organization and of its environments, with where each comes from; audited; taken back again."""
    slug, administrator = organization
    assert (await limited(platform, slug, nodes=7, projects=3))["limits"] == {"nodes": 7, "projects": 3}
    found = (await administrator.get(f"/v1/orgs/{slug}")).json()
    assert found["limits"]["nodes"] == 7
    assert (found["limits"]["projects"], found["limit_sources"]["projects"]) == (3, "organization")
    assert found["limit_sources"]["members"] == "default"
    await administrator.post(f"/v1/orgs/{slug}/projects", json={"name": "P", "slug": "p"})
    made = await administrator.post(f"/v1/orgs/{slug}/projects/p/environments", json={"name": "E", "slug": "e"})
    assert (made.json()["limits"]["nodes"], made.json()["limit_sources"]["nodes"]) == (7, "organization")
    over = await administrator.patch(f"/v1/orgs/{slug}/projects/p/environments/e", json={"limits": {"nodes": 8}})
    assert over.json()["errors"][0]["code"] == "limit_above_ceiling"
    assert (await limited(platform, slug, nodes=None))["limits"] == {"projects": 3}
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    rows = await owner.fetch(
        "select details, actor from control.audit where action = 'organization.limit' and organization_id = $1"
        " order by id",
        found["id"],
    )
    await owner.close()
    assert [json.loads(row["details"])["limits"] for row in rows] == ["nodes=7, projects=3", "projects=3"]
    assert {row["actor"] for row in rows} == {"system:admin"}
    await administrator.delete(f"/v1/orgs/{slug}/projects/p")


async def test_no_gateway_can_raise_a_limit(platform: Any) -> None:
    """Its login may not write the column."""
    gateway = await asyncpg.connect(platform.database_url("waypost_gateway"))
    try:
        for statement in (
            "update control.organization set limits = '{}'",
            "insert into control.organization (id, slug, name, limits) values (gen_random_uuid(), 'x', 'x', '{}')",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await gateway.execute(statement)
    finally:
        await gateway.close()
