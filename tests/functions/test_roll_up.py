"""`usage.roll_up`: the hour's sample and everything that is over, once however often it runs."""

import hashlib
from typing import Any
from uuid import UUID

from functions.environment.phase import EnvironmentPorts
from functions.usage.roll_up import roll_up
from jobs.usage import catch_up
from storage.postgres.platform.job import PlatformJob
from storage.postgres.usage.roll_up import ensure_roll_up
from waypost.ids import instant_of, new_id
from waypost.usage.model import BYTES_HELD, ROLL_UP

_BLOB = """
insert into control.artifact_blob (environment_id, id, sha256, size_bytes, refs) values ($1, $2, $3, $4, 1)
"""
_SUMS = "select sum(quantity) from control.usage_hour where environment_id = $1 and meter = $2"
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
        assert await connection.fetchval(_SUMS, environment_id, BYTES_HELD) == 3_345


async def test_there_is_one_job_an_hour_however_often_it_is_wanted(ports: EnvironmentPorts) -> None:
    """Its id says which hour it is of."""
    for _ in range(2):
        async with ports.database.unit() as connection:
            await ensure_roll_up(connection)
    async with ports.database.unit() as connection:
        last = await connection.fetchrow(_JOBS, ROLL_UP)
        assert last["id"] == last["subject"]
        hour = await connection.fetchval("select date_trunc('hour', now())")
        assert instant_of(last["id"]) == hour
        count = await connection.fetchval(
            "select count(*) from control.platform_job where kind = $1 and id = $2", ROLL_UP, last["id"]
        )
        assert count == 1
