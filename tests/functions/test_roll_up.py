"""`usage.roll_up`: the hour's sample and everything that is over, once however often it runs."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from functions.environment.phase import EnvironmentPorts
from functions.usage.roll_up import roll_up
from jobs.usage import catch_up
from storage.postgres.platform.job import PlatformJob
from storage.postgres.usage.roll_up import ensure_roll_up
from waypost import clock
from waypost.ids import first_id_at, instant_of, new_id
from waypost.usage.decision import missed_hours
from waypost.usage.model import BYTES_HELD, ROLL_UP

_BLOB = """
insert into control.artifact_blob (environment_id, id, sha256, size_bytes, refs) values ($1, $2, $3, $4, 1)
"""
_AGED = "update control.artifact_blob set created_at = $3 where environment_id = $1 and size_bytes = $2"
_DONE = "insert into control.platform_job (id, kind, subject, state) values ($2, $1, $2, $3) on conflict do nothing"
_SAMPLES = """
select at, quantity, subject from control.usage_event where environment_id = $1 and meter = $2 and at <= $3 order by at
"""
_SUMS = "select quantity from control.usage_hour where environment_id = $1 and meter = $2"
_JOBS = "select * from control.platform_job where kind = $1 order by id desc limit 1"


async def test_run_twice_it_samples_and_adds_once(make_unprovisioned: Any, ports: EnvironmentPorts) -> None:
    """What artifacts hold is counted once an hour, content that several share once; what was told is in the sums."""
    environment_id: UUID = (await make_unprovisioned()).id
    async with ports.database.unit() as connection:
        for size in (1_000, 2_345):
            digest = hashlib.sha256(str(size).encode()).digest()
            await connection.execute(_BLOB, environment_id, new_id(), digest, size)
        subject = new_id()
    job = PlatformJob(new_id(), ROLL_UP, None, subject, "running", 1, 5, None)
    for _ in range(2):
        await roll_up(job, ports.database)
    assert await catch_up(ports.database, 20)
    async with ports.database.unit() as connection:
        hours = await connection.fetch(_SUMS, environment_id, BYTES_HELD)
    assert {row["quantity"] for row in hours} == {3_345}  # at a full hour the platform's own worker samples the next


async def test_hours_without_a_worker_are_sampled_afterwards(make_unprovisioned: Any, ports: EnvironmentPorts) -> None:
    """By what was there then and still is, marked, once; no hour before the first sample, and none twice."""
    environment_id: UUID = (await make_unprovisioned()).id
    hour = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
    async with ports.database.unit() as connection:
        for size, age in ((1_000, 5), (2_345, 2.5)):
            await connection.execute(_BLOB, environment_id, new_id(), secrets.token_bytes(32), size)
            await connection.execute(_AGED, environment_id, size, hour - timedelta(hours=age))
        for hours, state in ((4, "completed"), (3, "failed")):
            subject = first_id_at(hour - timedelta(hours=hours))
            await connection.execute(_DONE, ROLL_UP, subject, state)
    job = PlatformJob(new_id(), ROLL_UP, None, first_id_at(hour), "running", 1, 5, None)
    for _ in range(2):
        await roll_up(job, ports.database)
    async with ports.database.unit() as connection:
        samples = await connection.fetch(_SAMPLES, environment_id, BYTES_HELD, hour)
    found = [(row["at"], int(row["quantity"]), row["subject"]) for row in samples]
    ago = [hour - timedelta(hours=hours) for hours in (3, 2, 1)]
    assert found == [
        (ago[0], 1_000, "missed"),
        (ago[1], 3_345, "missed"),
        (ago[2], 3_345, "missed"),
        (hour, 3_345, None),
    ]


def test_missed_hours_lie_between_two_samples() -> None:
    """None when one follows the other, nor before there was any; of a long stop the last eight days."""
    hour = datetime(2026, 11, 21, 9, tzinfo=UTC)
    assert missed_hours(None, hour) == []
    assert missed_hours(hour - timedelta(hours=1), hour) == []
    assert missed_hours(hour - timedelta(hours=3), hour) == [hour - timedelta(hours=2), hour - timedelta(hours=1)]
    assert len(missed_hours(hour - timedelta(days=90), hour)) == 8 * 24 - 1


async def test_there_is_one_job_an_hour_however_often_it_is_wanted(ports: EnvironmentPorts) -> None:
    """Its id says which hour it is of."""
    for _ in range(2):
        async with ports.database.unit() as connection:
            await ensure_roll_up(connection)
            hour = await connection.fetchval("select date_trunc('hour', now())")
    async with ports.database.unit() as connection:
        last = await connection.fetchrow(_JOBS, ROLL_UP)
        assert last["id"] == last["subject"]
        assert instant_of(last["id"]) == hour
        count = await connection.fetchval(
            "select count(*) from control.platform_job where kind = $1 and id = $2", ROLL_UP, last["id"]
        )
        assert count == 1
