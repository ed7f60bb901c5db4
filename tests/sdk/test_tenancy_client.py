"""Tenancy, people and access through `AsyncClient` and `Client`, against the whole platform."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from waypost_sdk import (
    AsyncClient,
    Client,
    ConfigurationError,
    ConflictError,
    CredentialsError,
    ForbiddenError,
    NotFoundError,
    WaitTimeoutError,
)
from waypost_sdk.tenancy import Environment, EnvironmentStep

PASSWORD = "correct horse battery staple"


def name(kind: str) -> str:
    """A slug that nobody else uses."""
    return f"{kind}{uuid4().hex[:10]}"


@pytest.fixture
async def sdk(platform) -> Any:
    async with AsyncClient(platform.api_url, platform.admin_key, platform.environment) as client:
        yield client


async def test_an_environments_whole_life(sdk):
    """Made, ready, suspended, resumed, deleted; `watch` tells every change and ends with the last."""
    slug = name("e")
    made = await sdk.environments.create("Life", slug=slug, posture="staging")
    seen = [state async for state in sdk.environments.watch(made.id, 60)]
    assert (seen[-1].status, seen[-1].settled, seen[-1].posture) == ("ready", True, "staging")
    assert {step.state for step in seen[-1].steps} == {"done"}
    await sdk.environments.suspend(slug)
    assert (await sdk.environments.wait_until_ready(slug, 60)).status == "suspended"
    await sdk.environments.resume(slug)
    assert (await sdk.environments.wait_until_ready(slug, 60)).status == "ready"
    changed = await sdk.environments.update(slug, name="Other", limits={"waiting_jobs": 7})
    assert (changed.name, changed.limits["waiting_jobs"]) == ("Other", 7)
    await sdk.environments.delete(made.id)
    await sdk.environments.wait_until_deleted(made.id, 60)
    await sdk.environments.wait_until_deleted(made.id, 60)  # gone already: the same
    with pytest.raises(NotFoundError):
        await sdk.environments.wait_until_ready(made.id)


async def test_waiting_for_an_environment_ends_at_the_time_given(fake_http):
    """What is asked for goes on: it was only looked at; the error names its state."""
    never = msgspec.json.encode({"id": "i", "slug": "slow", "name": "Slow", "status": "provisioning", "steps": []})
    fake_http.answer = lambda *_: (200, {"content-type": "application/json"}, never)
    async with AsyncClient(fake_http.url, "key", "o/p/e") as client:
        for seconds in (0, 0.5):
            with pytest.raises(WaitTimeoutError, match=f"slow is still provisioning after {seconds} s"):
                await client.environments.wait_until_ready("slow", seconds)
    asked = {(method, path) for method, path, *_ in fake_http.requests}
    assert asked == {("GET", "/v1/orgs/o/projects/p/environments/slow")}


@pytest.mark.parametrize(
    ("status", "states", "settled"),
    [
        ("provisioning", ["done", "pending"], False),
        ("ready", ["done", "done"], True),
        ("suspended", ["running", "pending"], False),
        ("suspended", ["done", "done"], True),
        ("deleting", ["done"], False),
        ("failed", ["failed", "pending"], True),
        ("ready", [], True),
    ],
)
def test_an_environment_is_settled_once_nothing_is_being_done_to_it(status, states, settled):
    """Suspending changes the status at once and does the rest then; a failed one has steps that never come."""
    steps = [EnvironmentStep(name="s", state=state) for state in states]
    assert Environment(id="i", slug="s", name="n", status=status, steps=steps).settled is settled


async def test_a_change_is_made_only_to_what_was_seen(sdk):
    """`etag` goes back as `if_match`; an old one is a conflict and changes nothing."""
    made = await sdk.projects.create("First", slug=name("p"))
    changed = await sdk.projects.update(made.slug, description="Second", if_match=made.etag)
    assert (changed.description, changed.etag == made.etag) == ("Second", False)
    for change in (
        sdk.projects.update(made.slug, description="Third", if_match=made.etag),
        sdk.projects.delete(made.slug, if_match=made.etag),
    ):
        with pytest.raises(ConflictError) as refused:
            await change
        assert refused.value.status == 412
    assert await sdk.projects.get(made.slug) == changed
    await sdk.projects.delete(made.slug, if_match=changed.etag)
    await sdk.projects.wait_until_deleted(made.slug, 60)
    again = await sdk.projects.create("Again", slug=made.slug)
    assert again.id != made.id


async def test_a_configured_place_may_be_shorter_than_an_environment(platform):
    """Of `org`, organizations and projects can be asked about; what is missing is named."""
    org, project, _ = platform.environment.split("/")
    async with AsyncClient(platform.api_url, platform.admin_key, org) as client:
        assert (await client.organizations.get()).slug == org
        assert project in [found.slug async for found in client.projects.list()]
        with pytest.raises(ConfigurationError, match="No project is configured"):
            await client.environments.get("dev")
        with pytest.raises(ConfigurationError, match="No project is configured"):
            await client.jobs.submit("echo")


async def test_people_come_by_invitation_and_go(sdk, platform):
    """Invited, accepted, signed in, given another role, signed out everywhere: the token is refused then."""
    email = f"{name('ada')}@example.com"
    invited = await sdk.invitations.create(email, "viewer", expires_in_seconds=3600)
    assert invited.expires_at - datetime.now(UTC) < timedelta(hours=1, minutes=1)
    assert invited.link.endswith(f"#token={invited.token}")
    async with AsyncClient(platform.api_url, anonymous=True) as stranger:
        accepted = await stranger.invitations.accept(invited.token, PASSWORD, name="Ada")
        with pytest.raises(NotFoundError):
            await stranger.invitations.accept(invited.token, PASSWORD)
        with pytest.raises(CredentialsError):
            await stranger.sessions.create(email, "not the password")
        session = await stranger.sessions.create(email, PASSWORD)
        assert session.person == accepted.person
        with pytest.raises(CredentialsError):
            await stranger.environments.get("dev", org="default", project="default")
    (member,) = [entry async for entry in sdk.members.list() if entry.person.email == email]
    async with AsyncClient(platform.api_url, session.access_token, platform.environment) as ada:
        me = await ada.whoami.get()
        assert (me.kind, me.email, me.home) == ("person", email, "default")
        assert [entry.current async for entry in ada.sessions.list()] == [True]
        with pytest.raises(ForbiddenError, match="ManageEnvironment"):
            await ada.keys.create("mine")
        assert (await sdk.members.update(member.id, "project_admin", if_match=member.etag)).role == "project_admin"
        assert (await ada.keys.create("mine")).key.startswith("wpe_")
        await ada.sessions.end_all()
        with pytest.raises(CredentialsError):
            await ada.whoami.get()
    await sdk.members.remove(member.id)
    with pytest.raises(NotFoundError):
        await sdk.members.get(member.id)


def test_whoami_explains_a_place(platform):
    """With a place each permission has a reason; without one the place of the only role is explained."""
    with Client(platform.api_url, platform.admin_key, platform.environment) as client:
        key = client.keys.create("reports", role="operator", expires_at=datetime.now(UTC) + timedelta(hours=1))
    with Client(platform.api_url, key.key) as confined:
        me = confined.whoami.get()
        assert (me.kind, me.name, me.home) == ("environment_key", "reports", platform.environment)
        assert me.who == 'environment key "reports"'
        assert me.expires_at == key.expires_at
        allowed = {entry.permission for entry in me.permissions if entry.allowed}
        assert allowed == {"ViewEnvironment", "OperateEnvironment"}
        assert all(entry.reason for entry in me.permissions)
        org, project, environment = platform.environment.split("/")
        assert confined.whoami.get(org=org, project=project, environment=environment) == me
        with pytest.raises(NotFoundError):
            confined.whoami.get(org="nobody")


@pytest.mark.parametrize("wide", [False, True])
def test_keys_of_an_environment_and_of_an_organization_are_alike(platform, wide):
    """Made, read, rotated, revoked; after a rotation without overlap the old one is refused at once."""
    with Client(platform.api_url, platform.admin_key, platform.environment) as client:
        keys: Any = client.api_keys if wide else client.keys
        made = keys.create("ci", role="viewer")
        assert keys.get(made.id).name == "ci"
        fresh = keys.rotate(made.id, overlap_seconds=0)
        for text, works in ((made.key, False), (fresh.key, True)):
            with Client(platform.api_url, text, platform.environment) as user:
                if works:
                    assert user.environments.get().status == "ready"
                else:
                    with pytest.raises(CredentialsError):
                        user.environments.get()
        assert fresh.id in [key.id for key in keys.list()]
        keys.delete(fresh.id)
        with pytest.raises(NotFoundError):
            keys.get(fresh.id)
