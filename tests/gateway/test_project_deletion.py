"""Deleting a project: everything in it goes, its slug comes free, and nothing new gets in meanwhile."""

import asyncio
import secrets
from typing import Any

import asyncpg
import httpx
import pytest


async def gone(client: httpx.AsyncClient, path: str, seconds: float = 30) -> None:
    """Return when the path answers 404."""
    async with asyncio.timeout(seconds):
        while (await client.get(path)).status_code != 404:  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.05)


@pytest.fixture
async def project(client: httpx.AsyncClient) -> tuple[str, str]:
    """(path, slug) of a fresh project of the first organization."""
    slug = f"d{secrets.token_hex(6)}"
    made = await client.post("/v1/orgs/default/projects", json={"name": "Doomed", "slug": slug})
    assert made.status_code == 201, made.text
    return f"/v1/orgs/default/projects/{made.json()['id']}", slug


async def left_of(platform: Any, environment_id: str) -> list[str]:
    """What PostgreSQL still has of an environment: role, schema, rows."""
    name = f"env_{environment_id.replace('-', '')}"
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    found = await owner.fetch(
        "select 'role' as what from pg_roles where rolname = $1 union all select 'schema' from pg_namespace"
        " where nspname = $1 union all select 'secret' from control.environment_secret where environment_id = $2"
        " union all select 'signing key' from control.signing_key where environment_id = $2",
        name, environment_id,
    )  # fmt: skip
    await owner.close()
    return [row["what"] for row in found]


async def test_an_empty_project_goes_and_its_slug_can_be_used_again(
    client: httpx.AsyncClient, project: tuple[str, str], platform: Any
) -> None:
    """202, then 404; the audit says who asked and when it was gone; a new project has the slug and another id."""
    path, slug = project
    asked = await client.delete(path, headers={"X-Request-Id": slug})
    assert (asked.status_code, asked.json()["status"]) == (202, "deleting")
    await gone(client, path)
    assert path.rpartition("/")[2] not in (await client.get("/v1/orgs/default/projects?limit=200")).text
    heir = await client.post("/v1/orgs/default/projects", json={"name": "Heir", "slug": slug})
    assert heir.status_code == 201
    assert not path.endswith(heir.json()["id"])
    owner = await asyncpg.connect(platform.database_url("waypost_owner"))
    rows = await owner.fetch("select action, target from control.audit where request_id = $1 order by at, id", slug)
    await owner.close()
    assert [row["action"] for row in rows] == ["project.delete", "project.deleted"]
    assert {row["target"] for row in rows} == {f"project:{path.rpartition('/')[2]}"}


async def test_a_project_deleted_while_its_environment_is_being_provisioned_leaves_nothing(
    client: httpx.AsyncClient, project: tuple[str, str], platform: Any
) -> None:
    """No role, schema or key, whichever of the two jobs runs first."""
    path, _ = project
    made = [await client.post(f"{path}/environments", json={"name": f"e{n}", "slug": f"{project[1]}{n}"}) for n in "ab"]
    assert [one.status_code for one in made] == [202, 202]
    assert (await client.delete(path)).status_code == 202
    await gone(client, path)
    for one in made:
        assert await left_of(platform, one.json()["id"]) == []
        assert (await client.get(f"{path}/environments/{one.json()['id']}")).status_code == 404


async def test_a_project_that_is_being_deleted_takes_nothing(
    client: httpx.AsyncClient, project: tuple[str, str]
) -> None:
    """409 `project_deleting` for a new environment and for a change; deleting it again is no fault."""
    path, slug = project
    await client.post(f"{path}/environments", json={"name": "e", "slug": slug})
    assert (await client.delete(path)).status_code == 202
    again = await client.delete(path)
    assert again.status_code in (202, 404)
    refused = await client.post(f"{path}/environments", json={"name": "f", "slug": f"{slug}f"})
    changed = await client.patch(path, json={"name": "Saved"})
    for answer in (refused, changed):  # 404 when a fast machine has ended it
        assert (answer.status_code, answer.json()["code"]) in ((409, "project_deleting"), (404, "not_found"))
    await gone(client, path)


async def test_environments_made_while_their_project_goes_go_with_it_or_are_refused(
    client: httpx.AsyncClient, project: tuple[str, str], platform: Any
) -> None:
    """Ten at the moment of the deletion: nothing is left of those that came first, the others hear why not."""
    path, slug = project
    making = [client.post(f"{path}/environments", json={"name": "e", "slug": f"{slug}{n}"}) for n in range(5)]
    answers = await asyncio.gather(*making[:3], client.delete(path), *making[3:])
    assert answers[3].status_code == 202
    others = [*answers[:3], *answers[4:]]
    assert {answer.status_code for answer in others} <= {202, 409, 404}
    await gone(client, path)
    for answer in others:
        if answer.status_code == 202:
            assert await left_of(platform, answer.json()["id"]) == []
