"""The tenancy tree, keys, credentials and pauses as PostgreSQL keeps them, through the gateway's own role."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from storage.postgres.access import api_key, node_credential
from storage.postgres.database import Database
from storage.postgres.function import pause
from storage.postgres.tenancy import environment as environments
from storage.postgres.tenancy import organization as organizations
from storage.postgres.tenancy import project as projects
from storage.postgres.tenancy.kek import register_kek
from storage.postgres.tenancy.unit import PostgresTenancy
from storage.secrets import EnvironmentKeys
from tests.own_postgres import OwnPostgres
from waypost import clock, ids
from waypost.access.key import check_key, make_node_secret, same_secret
from waypost.access.model import Grant, NodeCredential, Role
from waypost.errors import WaypostError
from waypost.secret import DataKey, KeyEncryptionKey, SealError
from waypost.tenancy import operation
from waypost.tenancy.model import PROVISION_STEPS, Environment, Organization, Posture, Project, Status, StepState

KEK = KeyEncryptionKey(DataKey.generate())  # registered by the fixture `database`


@pytest.fixture(scope="session")
async def database(ledger_server: OwnPostgres) -> AsyncIterator[Database]:
    opened = await Database.open(ledger_server.url("waypost_gateway"), name="test")
    async with opened.unit() as connection:
        await register_kek(connection, KEK.id)
    yield opened
    await opened.close()


async def make_tree(database: Database) -> tuple[Organization, Project, Environment]:
    """One of each; the environment's job is not due, so that nobody provisions with the platform's own key."""
    async with database.unit() as connection:
        unit = PostgresTenancy(connection)
        slug = f"o{ids.new_id().hex[-12:]}"
        organization = await operation.create_organization(unit, actor="system", name="Test", slug=slug)
        project = await operation.create_project(unit, organization.id, actor="system", name="Main")
        environment, job_id = await operation.create_environment(unit, KEK, project, actor="system", name="Dev")
        await connection.execute(
            "update control.platform_job set run_at = now() + interval '1 day' where id = $1", job_id
        )
    return organization, project, environment


@pytest.fixture(scope="session")
async def tree(database: Database) -> tuple[Organization, Project, Environment]:
    return await make_tree(database)


Tree = tuple[Organization, Project, Environment]


async def test_an_environment_is_found_by_id_and_by_slug(database: Database, tree: Tree) -> None:
    """Each part of its path either way; a part that belongs elsewhere finds nothing."""
    organization, project, environment = tree
    other_organization, other_project, _ = await make_tree(database)
    async with database.unit() as connection:
        for o in (organization.id, organization.slug):
            for p in (project.id, project.slug):
                for e in (environment.id, environment.slug):
                    found = await environments.resolve_environment(connection, o, p, e)
                    assert found is not None
                    assert found.environment == environment
                    assert (found.organization_slug, found.project_slug) == (organization.slug, project.slug)
        resolve = environments.resolve_environment
        assert await resolve(connection, other_organization.id, project.id, environment.id) is None
        assert await resolve(connection, organization.id, other_project.id, environment.id) is None
        assert await resolve(connection, organization.slug, project.slug, "nothing") is None


async def test_a_new_environment_has_its_steps_key_job_and_audit(database: Database, tree: Tree) -> None:
    """All of it came with one commit."""
    _, _, environment = tree
    assert (environment.status, environment.posture) == (Status.PROVISIONING, Posture.DEV)
    async with database.unit() as connection:
        steps = await environments.read_steps(connection, environment.id)
        jobs = await connection.fetchval("select count(*) from control.platform_job where subject = $1", environment.id)
        actions = await connection.fetch("select action from control.audit where environment_id = $1", environment.id)
    assert [(step.name, step.state) for step in steps] == [(name, StepState.PENDING) for name in PROVISION_STEPS]
    assert jobs == 1
    assert [row["action"] for row in actions] == ["environment.create"]
    assert isinstance(await EnvironmentKeys(database, KEK).data_key(environment.id), DataKey)


async def test_another_key_encryption_key_opens_nothing(database: Database, tree: Tree) -> None:
    """A start with the wrong key file is noticed at the first use."""
    with pytest.raises(SealError):
        await EnvironmentKeys(database, KeyEncryptionKey(DataKey.generate())).data_key(tree[2].id)


async def test_a_secret_is_kept_once(database: Database, tree: Tree) -> None:
    """Two that put at once: one wins, both read the same afterwards."""
    keys = EnvironmentKeys(database, KEK)
    name = f"x-{ids.new_id().hex[-6:]}"
    won = await asyncio.gather(*(keys.put_secret(tree[2].id, name, bytes([n])) for n in range(4)))
    assert sum(won) == 1
    assert await keys.get_secret(tree[2].id, name) == bytes([won.index(True)])
    assert await keys.get_secret(tree[2].id, "none") is None
    with pytest.raises(WaypostError):
        await keys.data_key(ids.new_id())


async def test_a_slug_is_taken_once_also_at_the_same_moment(database: Database, tree: Tree) -> None:
    """Environments' slugs are unique in the organization, over its projects; nothing of the losers is kept."""
    organization, _, _ = tree
    async with database.unit() as connection:
        sides = [
            await operation.create_project(PostgresTenancy(connection), organization.id, actor="system", name=f"P{n}")
            for n in range(2)
        ]

    async def create(project: Project) -> str:
        try:
            async with database.unit() as connection:
                made, job = await operation.create_environment(
                    PostgresTenancy(connection), KEK, project, actor="system", name="Same", slug="same"
                )
                await connection.execute("update control.platform_job set run_at = 'infinity' where id = $1", job)
        except WaypostError as error:
            return error.code
        return made.slug

    assert sorted(await asyncio.gather(*(create(project) for project in sides))) == ["same", "slug_taken"]
    async with database.unit() as connection:
        count = "select count(*) from control.environment where organization_id = $1 and slug = 'same'"
        assert await connection.fetchval(count, organization.id) == 1


async def test_lists_are_newest_first_and_go_on_where_they_stopped(database: Database) -> None:
    """Also when something is inserted between two pages."""
    organization, _, _ = await make_tree(database)
    async with database.unit() as connection:
        unit = PostgresTenancy(connection)
        made = [await operation.create_project(unit, organization.id, actor="x", name=f"N{n}") for n in range(4)]
        first = await projects.list_projects(connection, organization.id, before=None, limit=2)
        await operation.create_project(unit, organization.id, actor="x", name="Late")
        second = await projects.list_projects(connection, organization.id, before=first[-1].id, limit=2)
        own = await organizations.list_organizations(connection, only=[organization.id], before=None, limit=50)
    assert [p.slug for p in first + second] == [p.slug for p in reversed(made)]
    assert [o.id for o in own] == [organization.id]


async def test_a_key_is_found_until_it_is_revoked_or_expires(database: Database, tree: Tree) -> None:
    """Live: found with its hash. Revoked, expired, replaced: not found."""
    organization, _, environment = tree
    async with database.unit() as connection:
        unit = PostgresTenancy(connection)
        key, text = await operation.create_api_key(
            unit,
            actor="x",
            organization_id=organization.id,
            environment_id=environment.id,
            name="k",
            role=Role.OPERATOR,
        )
        assert check_key(text) == key.public_id
        kept = await api_key.find_key(connection, key.public_id)
        assert kept is not None
        assert same_secret(text, kept.secret_hash)
        assert kept.key == key
        assert kept.key.principal.grants == (Grant(organization.id, key.role, environment_id=environment.id),)
        await api_key.touch_keys(connection, [key.id])
        listed = await api_key.list_keys(connection, organization.id, environment.id, before=None, limit=9)
        assert [k.last_used_at is not None for k in listed] == [True]
        assert await api_key.list_keys(connection, organization.id, None, before=None, limit=9) == []
        assert await api_key.replace_key(connection, organization.id, key.id, ids.new_id(), overlap_seconds=3600)
        assert not await api_key.replace_key(connection, organization.id, key.id, ids.new_id(), overlap_seconds=-1)
        assert await api_key.find_key(connection, key.public_id) is not None
        other, _ = await operation.create_api_key(
            unit, actor="x", organization_id=organization.id, environment_id=None, name="o", role=Role.VIEWER
        )
        assert await api_key.replace_key(connection, organization.id, other.id, ids.new_id(), overlap_seconds=-1)
        assert await api_key.find_key(connection, other.public_id) is None
        assert await api_key.revoke_key(connection, ids.new_id(), environment.id, key.id) is None
        assert await api_key.revoke_key(connection, organization.id, environment.id, key.id) == key.public_id
        assert await api_key.revoke_key(connection, organization.id, environment.id, key.id) is None


@pytest.mark.parametrize(
    ("role", "environment", "expiry", "code"),
    [
        (Role.ORG_ADMIN, True, None, "invalid_role"),
        (Role.VIEWER, False, timedelta(seconds=-1), "invalid_expiry"),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(
    database: Database, tree: Tree, role: Role, environment: bool, expiry: timedelta | None, code: str
) -> None:
    """422, and nothing kept."""
    with pytest.raises(WaypostError) as caught:
        async with database.unit() as connection:
            await operation.create_api_key(
                PostgresTenancy(connection),
                actor="x",
                organization_id=tree[0].id,
                environment_id=tree[2].id if environment else None,
                name="k",
                role=role,
                expires_at=None if expiry is None else clock.now() + expiry,
            )
    assert caught.value.code == code


async def test_a_node_credential_lives_until_it_is_deleted(database: Database, tree: Tree) -> None:
    """Found by client id with what it allows; another environment cannot delete it."""
    environment = tree[2]
    client_id, secret, digest = make_node_secret()
    made = NodeCredential(ids.new_id(), environment.id, client_id, "n", ("gpu", "region=*"), None, "x", clock.now())
    async with database.unit() as connection:
        await node_credential.insert_credential(connection, made, digest)
        kept = await node_credential.find_credential(connection, client_id)
        assert kept is not None
        assert kept.credential == made
        assert same_secret(secret, kept.secret_hash)
        assert [
            c.id for c in await node_credential.list_credentials(connection, environment.id, before=None, limit=9)
        ] == [made.id]
        assert not await node_credential.delete_credential(connection, ids.new_id(), made.id)
        assert await node_credential.delete_credential(connection, environment.id, made.id)
        assert await node_credential.find_credential(connection, client_id) is None
        assert await node_credential.read_credential(connection, environment.id, made.id) is None


async def test_a_pause_says_who_and_why_until_it_is_lifted(database: Database, tree: Tree) -> None:
    """Pausing again changes the note, not since when."""
    environment = tree[2]
    async with database.unit() as connection:
        first = await pause.pause(connection, environment.id, "a.b", "first", "key:1")
    async with database.unit() as connection:
        second = await pause.pause(connection, environment.id, "a.b", "second", "key:2")
        assert (second.note, second.paused_by, second.paused_at) == ("second", "key:2", first.paused_at)
        assert await pause.list_pauses(connection, environment.id) == [second]
        assert await pause.resume(connection, environment.id, "a.b")
        assert not await pause.resume(connection, environment.id, "a.b")


async def test_a_status_moves_only_from_where_it_is_said(database: Database) -> None:
    """A late `failed` does not undo a `ready`; each move counts in the row's version."""
    _, _, environment = await make_tree(database)
    async with database.unit() as connection:
        assert await environments.change_status(connection, environment.id, Status.READY, among=(Status.PROVISIONING,))
        moved = await environments.change_status(
            connection, environment.id, Status.FAILED, among=(Status.PROVISIONING,), reason="late"
        )
        assert not moved
        found = await environments.read_environment(connection, environment.id)
    assert found is not None
    assert (found.status, found.status_reason, found.row_version) == (Status.READY, None, 2)
