"""Every endpoint that changes something leaves exactly one audit entry, or says here why not.

An endpoint that is new is on one of the two lists, or this fails.
"""

import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from gateway.endpoint import Endpoint
from gateway.surface import ENDPOINTS
from tests.gateway.person_ground import sign_in
from tests.gateway.sign_in_ground import make_someone
from tests.gateway.test_resource import insert_node
from waypost.access.model import Role
from waypost.ids import new_id

NOT_AUDITED = {
    "post_environment_jobs": "the hot path: the job's row says who submitted it and when",
    "post_environment_jobs_bulk": "the hot path: the jobs' rows say who submitted them",
    "post_environment_jobs_job_replay": "the new job's row says who and of which job",
    "post_environment_functions_function_invoke": "straight through to a node: keeps nothing, by contract",
    "post_environment_triggers_trigger_test": "the new job's row says who fired it, its firing that it was a test",
    "post_environment_retention_preview": "changes nothing: says what a sweep would take",
    "post_environment_triggers_preview": "changes nothing: says whether settings are good and when they would fire",
    "post_hooks_trigger": "the hot path: the job's row says which trigger, a firing's what became of each request",
    "post_environment_usage_events": "the events are rows that stay, and say where they came from and when",
    "post_environment_artifacts_artifact_parts": "answers addresses for an upload whose beginning is recorded",
    "post_api_oauth_token": "changes nothing but the credential's last use; its creation and refusals are recorded",
}
# Where more than one thing is made, an entry each.
SEVERAL = {
    "post_v1_orgs": {"organization.create", "api_key.create"},
    "post_v1_invitations_accept": {"person.create", "member.add", "invitation.accept"},
    "post_environment_keys_key_rotate": {"api_key.create", "api_key.rotate"},
    "post_v1_orgs_org_api_keys_key_rotate": {"api_key.create", "api_key.rotate"},
}


@dataclass
class Ground:
    """What requests need: `send` of the administrator, a fresh organization that may be changed, an environment."""

    platform: Any
    admin: httpx.AsyncClient
    org: str
    project: str
    environment: Any

    async def made(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self.admin.post(path, json=body)
        assert answer.status_code in (201, 202), answer.text
        return dict(answer.json())

    async def person(self) -> str:
        """The id of a person who belongs nowhere."""
        return str((await make_someone(self.platform, None)).id)

    async def member(self) -> str:
        signed = await sign_in(self.platform, (UUID(self.org), None, Role.VIEWER))
        return f"/v1/orgs/{self.org}/members/{signed.member_ids[0]}"

    async def key(self, base: str) -> str:
        made = await self.made(base, name="k", role="viewer")
        return f"{base}/{made['id']}"


Recipe = Callable[[Ground], Awaitable[dict[str, Any]]]
RECIPES: dict[str, Recipe] = {}


def recipe(name: str) -> Callable[[Recipe], Recipe]:
    """How to make one successful request of an endpoint: `path`, and optionally `json`, `headers`."""

    def keep(make: Recipe) -> Recipe:
        RECIPES[name] = make
        return make

    return keep


def slug() -> str:
    return f"c{secrets.token_hex(6)}"


@recipe("post_v1_orgs")
async def _(_: Ground) -> dict[str, Any]:
    return {"path": "/v1/orgs", "json": {"name": "Harbour", "slug": slug()}}


@recipe("patch_v1_orgs_org")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"/v1/orgs/{g.org}", "json": {"name": f"Renamed {slug()}"}}


@recipe("post_v1_orgs_org_invitations")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"/v1/orgs/{g.org}/invitations", "json": {"email": f"{slug()}@example.com", "role": "viewer"}}


@recipe("delete_v1_orgs_org_invitations_invitation")
async def _(g: Ground) -> dict[str, Any]:
    made = await g.made(f"/v1/orgs/{g.org}/invitations", email=f"{slug()}@example.com", role="viewer")
    return {"path": f"/v1/orgs/{g.org}/invitations/{made['id']}"}


@recipe("post_v1_invitations_accept")
async def _(g: Ground) -> dict[str, Any]:
    made = await g.made(f"/v1/orgs/{g.org}/invitations", email=f"{slug()}@example.com", role="viewer")
    body = {"token": made["token"], "name": "Grace Hopper", "password": "correct horse battery staple"}
    return {"path": "/v1/invitations/accept", "json": body, "headers": {"Authorization": ""}}


@recipe("post_v1_sessions")
async def _(g: Ground) -> dict[str, Any]:
    someone = await make_someone(g.platform)
    return {"path": "/v1/sessions", "json": someone.login | {"token": True}, "headers": {"Authorization": ""}}


@recipe("delete_v1_sessions_current")
async def _(g: Ground) -> dict[str, Any]:
    signed = await sign_in(g.platform, (UUID(g.org), None, Role.VIEWER))
    return {"path": "/v1/sessions/current", "headers": signed.headers}


@recipe("delete_v1_sessions")
async def _(g: Ground) -> dict[str, Any]:
    signed = await sign_in(g.platform, (UUID(g.org), None, Role.VIEWER))
    return {"path": "/v1/sessions", "headers": signed.headers}


@recipe("patch_v1_people_me")
async def _(g: Ground) -> dict[str, Any]:
    signed = await sign_in(g.platform, (UUID(g.org), None, Role.VIEWER))
    return {"path": "/v1/people/me", "json": {"name": "Ada Lovelace"}, "headers": signed.headers}


@recipe("post_v1_orgs_org_projects")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"/v1/orgs/{g.org}/projects", "json": {"name": "Images", "slug": slug()}}


@recipe("patch_v1_orgs_org_projects_project")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"/v1/orgs/{g.org}/projects/{g.project}", "json": {"description": slug()}}


@recipe("delete_v1_orgs_org_projects_project")
async def _(g: Ground) -> dict[str, Any]:
    made = await g.made(f"/v1/orgs/{g.org}/projects", name="Gone", slug=slug())
    return {"path": f"/v1/orgs/{g.org}/projects/{made['id']}"}


@recipe("patch_environment")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": g.environment.path, "json": {"name": slug()}}


@recipe("post_v1_orgs_org_projects_project_environments")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": "/v1/orgs/default/projects/default/environments", "json": {"name": slug(), "posture": "dev"}}


@recipe("post_environment_keys")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/keys", "json": {"name": "ci"}}


@recipe("delete_environment_keys_key")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": await g.key(f"{g.environment.path}/keys")}


@recipe("post_environment_keys_key_rotate")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{await g.key(f'{g.environment.path}/keys')}/rotate", "json": {}}


@recipe("post_v1_orgs_org_api_keys")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"/v1/orgs/{g.org}/api-keys", "json": {"name": "terraform", "role": "viewer"}}


@recipe("delete_v1_orgs_org_api_keys_key")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": await g.key(f"/v1/orgs/{g.org}/api-keys")}


@recipe("post_v1_orgs_org_api_keys_key_rotate")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{await g.key(f'/v1/orgs/{g.org}/api-keys')}/rotate", "json": {}}


@recipe("post_v1_orgs_org_members")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"/v1/orgs/{g.org}/members", "json": {"person_id": await g.person(), "role": "viewer"}}


@recipe("patch_v1_orgs_org_members_member")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": await g.member(), "json": {"role": "operator"}}


@recipe("delete_v1_orgs_org_members_member")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": await g.member()}


@recipe("post_environment_jobs_job_cancel")
async def _(g: Ground) -> dict[str, Any]:
    made = await g.made(f"{g.environment.path}/jobs", function="nobody.serves")
    return {"path": f"{g.environment.path}/jobs/{made['id']}/cancel"}


@recipe("post_environment_jobs_replay")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/jobs/replay", "json": {"state": "canceled"}}


@recipe("post_environment_jobs_replays_replay_cancel")
async def _(g: Ground) -> dict[str, Any]:
    """One that no worker was told of, so that it is not over before it is canceled."""
    replay_id, owner = new_id(), await asyncpg.connect(g.platform.database_url("waypost_owner"))
    await owner.execute(
        "insert into control.bulk_replay (environment_id, id, job_ids, matched, selection, created_by)"
        " values ($1, $2, '', 0, '{}', 'x')",
        *(UUID(g.environment.id), replay_id),
    )
    await owner.close()
    return {"path": f"{g.environment.path}/jobs/replays/{replay_id}/cancel"}


@recipe("post_environment_functions_function_pause")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/functions/some.thing/pause", "json": {"note": "why"}}


@recipe("post_environment_functions_function_resume")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/functions/some.thing/resume", "json": {}}


@recipe("post_environment_node_credentials")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/node-credentials", "json": {"name": "rack 1"}}


@recipe("delete_environment_node_credentials_credential")
async def _(g: Ground) -> dict[str, Any]:
    made = await g.made(f"{g.environment.path}/node-credentials", name="rack 2")
    return {"path": f"{g.environment.path}/node-credentials/{made['id']}"}


async def made_trigger(g: Ground) -> str:
    hook = {"kind": "webhook", "name": "pushes", "job": {"function": "a.b"}, "verify": {"scheme": "github"}}
    return f"{g.environment.path}/triggers/{(await g.made(f'{g.environment.path}/triggers', **hook))['id']}"


@recipe("post_environment_triggers")
async def _(g: Ground) -> dict[str, Any]:
    hook = {"kind": "webhook", "name": "pushes", "job": {"function": "a.b"}, "verify": {"scheme": "github"}}
    return {"path": f"{g.environment.path}/triggers", "json": hook}


@recipe("patch_environment_triggers_trigger")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": await made_trigger(g), "json": {"name": "tags"}}


@recipe("delete_environment_triggers_trigger")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": await made_trigger(g)}


@recipe("post_environment_triggers_trigger_pause")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{await made_trigger(g)}/pause"}


@recipe("post_environment_triggers_trigger_resume")
async def _(g: Ground) -> dict[str, Any]:
    path = await made_trigger(g)
    assert (await g.admin.post(f"{path}/pause")).status_code == 200
    return {"path": f"{path}/resume"}


@recipe("post_environment_triggers_trigger_rotate_secret")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{await made_trigger(g)}/rotate-secret"}


async def made_subscription(g: Ground) -> str:
    """Nothing is sent: to documentation's addresses nothing may be delivered."""
    path = f"{g.environment.path}/subscriptions"
    made = await g.made(path, url="http://192.0.2.1/", events=["job.failed"])
    return f"{path}/{made['id']}"


@recipe("post_environment_subscriptions")
async def _(g: Ground) -> dict[str, Any]:
    body = {"url": "http://192.0.2.1/", "events": ["job.failed"]}
    return {"path": f"{g.environment.path}/subscriptions", "json": body}


@recipe("patch_environment_subscriptions_subscription")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": await made_subscription(g), "json": {"description": "changed"}}


@recipe("delete_environment_subscriptions_subscription")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": await made_subscription(g)}


@recipe("post_environment_subscriptions_subscription_rotate_secret")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{await made_subscription(g)}/rotate-secret", "json": {}}


@recipe("post_environment_subscriptions_subscription_test")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{await made_subscription(g)}/test"}


@recipe("post_environment_subscriptions_subscription_deliveries_delivery_redeliver")
async def _(g: Ground) -> dict[str, Any]:
    path = await made_subscription(g)
    delivery = await g.made(f"{path}/test")
    return {"path": f"{path}/deliveries/{delivery['id']}/redeliver"}


@recipe("post_environment_subscriptions_subscription_deliveries_replay")
async def _(g: Ground) -> dict[str, Any]:
    body = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    return {"path": f"{await made_subscription(g)}/deliveries/replay", "json": body}


async def announced(g: Ground) -> dict[str, Any]:
    """An upload of three bytes that nobody has sent yet."""
    data = secrets.token_bytes(3)
    body = {"size_bytes": 3, "sha256": hashlib.sha256(data).hexdigest(), "name": "a"}
    return await g.made(f"{g.environment.path}/artifacts", **body) | {"data": data}


@recipe("post_environment_artifacts")
async def _(g: Ground) -> dict[str, Any]:
    body = {"size_bytes": 3, "sha256": secrets.token_hex(32), "name": "a"}
    return {"path": f"{g.environment.path}/artifacts", "json": body}


@recipe("post_environment_artifacts_artifact_complete")
async def _(g: Ground) -> dict[str, Any]:
    made = await announced(g)
    async with httpx.AsyncClient(timeout=30) as bare:
        assert (await bare.put(made["upload"]["url"], content=made["data"])).status_code == 200
    return {"path": f"{g.environment.path}/artifacts/{made['id']}/complete", "json": {}}


@recipe("delete_environment_artifacts_artifact")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/artifacts/{(await announced(g))['id']}"}


@recipe("post_environment_nodes_node_drain")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/nodes/{await insert_node(g.platform, g.environment)}/drain"}


@recipe("delete_environment_nodes_node")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/nodes/{await insert_node(g.platform, g.environment)}"}


@recipe("post_environment_suspend")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/suspend"}


@recipe("post_environment_resume")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": f"{g.environment.path}/resume"}


@recipe("delete_environment")
async def _(g: Ground) -> dict[str, Any]:
    return {"path": g.environment.path}


# Of a request; without what a worker adds, when it is done, to a deletion that was asked for.
ROWS = """
select * from control.audit where request_id = $1
and action <> 'project.deleted' and details ->> 'stage' is distinct from 'completed' order by id
"""
CHANGING = [declared for declared in ENDPOINTS if declared.method != "GET"]
# One environment serves all: its end comes last.
LAST = ("post_environment_suspend", "post_environment_resume", "delete_environment")
WALKED = sorted(
    (declared for declared in CHANGING if declared.name in RECIPES),
    key=lambda declared: (declared.name in LAST, LAST.index(declared.name) if declared.name in LAST else 0),
)


@pytest.fixture(scope="module")
async def ground(platform: Any, client: httpx.AsyncClient, make_environment: Any) -> AsyncIterator[Ground]:
    made = (await client.post("/v1/orgs", json={"name": "Walked", "slug": slug()})).json()
    headers = {"Authorization": f"Bearer {made['admin_key']}"}
    async with httpx.AsyncClient(base_url=platform.api_url, headers=headers, timeout=30) as own:
        project = (await own.post(f"/v1/orgs/{made['id']}/projects", json={"name": "P", "slug": "p"})).json()
        yield Ground(platform, Both(client, own), made["id"], project["id"], await make_environment())  # type: ignore[arg-type]


class Both:
    """The administrator of whichever organization a path names."""

    def __init__(self, default: httpx.AsyncClient, own: httpx.AsyncClient) -> None:
        self._default, self._own = default, own

    async def post(self, path: str, **more: Any) -> httpx.Response:
        return await self.request("POST", path, **more)

    async def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        chosen = self._default if "/orgs/default" in path or path == "/v1/orgs" else self._own
        return await chosen.request(method, path, **more)


@pytest.fixture(scope="module")
async def owner(platform: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    yield connection
    await connection.close()


def test_every_changing_endpoint_is_walked_or_says_why_not() -> None:
    """A new endpoint needs a recipe here, or a reason."""
    names = {declared.name for declared in CHANGING}
    assert names == set(RECIPES) | set(NOT_AUDITED)
    assert not set(RECIPES) & set(NOT_AUDITED)
    assert all(NOT_AUDITED.values())


@pytest.mark.parametrize("declared", WALKED, ids=lambda declared: declared.name)
async def test_a_change_leaves_one_entry(ground: Ground, owner: Any, declared: Endpoint) -> None:
    """Exactly one, done, with who, of which kind, from where and by which request; a change that is repeated with its
    Idempotency-Key leaves no second one; nothing secret is in it."""
    made = await RECIPES[declared.name](ground)
    request_id = f"walk-{secrets.token_hex(8)}"
    headers = {"X-Request-Id": request_id} | made.get("headers", {})
    if declared.idempotent:
        headers["Idempotency-Key"] = request_id
    answer = await ground.admin.request(declared.method, made["path"], json=made.get("json"), headers=headers)
    assert answer.status_code < 300, answer.text
    rows = await owner.fetch(ROWS, request_id)
    expected = SEVERAL.get(declared.name)
    if expected is None:
        assert len(rows) == 1, [row["action"] for row in rows]
    else:
        assert {row["action"] for row in rows} == expected
        assert len(rows) == len(expected)
    for row in rows:
        assert row["outcome"] == "done"
        assert row["source_address"] == "127.0.0.1", dict(row)
        assert row["actor"].partition(":")[0] in ("key", "person", "address"), dict(row)
        assert row["actor_kind"] in ("organization_key", "person", "address"), dict(row)
        assert row["organization_id"] is not None
        assert row["action"].count(".") == 1
        assert row["target"].partition(":")[2]
        shown = repr(dict(row))
        assert not any(str(answer_secret) in shown for answer_secret in secrets_of(answer))
    if declared.idempotent:
        again = await ground.admin.request(declared.method, made["path"], json=made.get("json"), headers=headers)
        assert again.headers.get("idempotent-replayed") == "true"
        assert len(await owner.fetch(ROWS, request_id)) == len(rows)


def secrets_of(answer: httpx.Response) -> list[str]:
    document = answer.json() if answer.content else {}
    names = ("key", "admin_key", "client_secret", "secret", "token", "access_token", "csrf_token")
    return [document[name] for name in names if document.get(name)]
