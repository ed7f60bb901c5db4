"""`project.delete`: looks, presses and buries; killed anywhere and run again it ends in the same place."""

from typing import Any
from uuid import UUID

import pytest

from functions.environment.phase import EnvironmentPorts
from functions.project.delete import delete
from jobs.platform import Later
from storage.postgres.platform.job import PlatformJob
from storage.postgres.tenancy.unit import PostgresTenancy
from tests.functions.conftest import Made
from waypost import ids
from waypost.tenancy.change import delete_project
from waypost.tenancy.model import DELETE_PROJECT


async def ask(ports: EnvironmentPorts, environment_id: UUID) -> PlatformJob:
    """Ask for the deletion of the environment's project; the platform's own worker leaves all of it alone."""
    async with ports.database.unit() as connection:
        row = await connection.fetchrow(
            "select organization_id, project_id from control.environment where id = $1", environment_id
        )
        unit = PostgresTenancy(connection)
        project = await unit.lock_project(row["organization_id"], row["project_id"])
        assert project is not None
        _, job_id = await delete_project(unit, project, actor="key:x", request_id="r")
        await connection.execute(
            "update control.platform_job set run_at = now() + interval '1 day' where id = $1 or environment_id = $2",
            job_id, environment_id,
        )  # fmt: skip
    return PlatformJob(job_id, DELETE_PROJECT, None, project.id, "running", 1, 5, None)


async def rows(ports: EnvironmentPorts, sql: str, *arguments: Any) -> list[Any]:
    async with ports.database.unit() as connection:
        return list(await connection.fetch(sql, *arguments))


async def test_a_project_waits_for_its_environments_and_is_buried_once(
    ports: EnvironmentPorts, unprovisioned: Made
) -> None:
    """`Later` while one is left; then a tombstone and one audit entry, however often it runs."""
    job = await ask(ports, unprovisioned.id)
    for _ in range(2):
        with pytest.raises(Later):
            await delete(job, ports.database, ports.valkey)
    await rows(
        ports,
        "update control.environment set status = 'deleted', deleted_at = now() where id = $1 returning id",
        unprovisioned.id,
    )
    for _ in range(2):
        await delete(job, ports.database, ports.valkey)
    (project,) = await rows(ports, "select * from control.project where id = $1", job.subject)
    assert (project["status"], project["deleted_at"] is not None) == ("deleted", True)
    entries = await rows(
        ports,
        "select actor, request_id, action from control.audit where target = $1 order by at",
        f"project:{job.subject}",
    )
    assert [entry["action"] for entry in entries] == ["project.create", "project.delete", "project.deleted"]
    assert (entries[2]["actor"], entries[2]["request_id"]) == ("key:x", "r")


async def test_an_environment_whose_deletion_gave_up_is_pressed_again(
    ports: EnvironmentPorts, unprovisioned: Made
) -> None:
    """A dead letter of one environment does not hold the project for ever: another job is queued, and only one."""
    job = await ask(ports, unprovisioned.id)
    await rows(
        ports,
        "update control.platform_job set state = 'dead_letter'"
        " where kind = 'environment.delete' and environment_id = $1 returning id",
        unprovisioned.id,
    )
    for _ in range(2):
        with pytest.raises(Later):
            await delete(job, ports.database, ports.valkey)
    jobs = await rows(
        ports,
        "select state from control.platform_job where kind = 'environment.delete' and environment_id = $1 order by id",
        unprovisioned.id,
    )
    assert len(jobs) == 2
    assert jobs[0]["state"] == "dead_letter"


async def test_a_project_that_nobody_asked_to_delete_is_left_alone(
    ports: EnvironmentPorts, unprovisioned: Made
) -> None:
    """Nor one that never was."""
    (row,) = await rows(ports, "select project_id from control.environment where id = $1", unprovisioned.id)
    for subject in (row["project_id"], ids.new_id()):
        await delete(
            PlatformJob(ids.new_id(), DELETE_PROJECT, None, subject, "running", 1, 5, None),
            ports.database,
            ports.valkey,
        )
    (project,) = await rows(ports, "select status from control.project where id = $1", row["project_id"])
    assert project["status"] == "active"
