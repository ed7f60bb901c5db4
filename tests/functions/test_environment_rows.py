"""Which rows go with an environment: every table that names environments is known, and only its own rows go."""

from typing import Any
from uuid import UUID

from functions.environment.phase import EnvironmentPorts
from functions.environment.provision import provision
from storage.postgres.environment import rows
from tests.functions.life_ground import begin, fill

# Of a job that waits for its key, that runs; what a worker folds or fans out at any time.
UNFILLED = {"permit", "lease", "route_delta", "environment_event"}

MOVING = {"route_delta", "artifact_garbage"}  # a worker of the platform takes them at any time
GROWING = ("route_count", "route_minute", "usage_event")  # it adds to them

_TABLES = """
select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attname = 'environment_id' and not a.attisdropped
where n.nspname = 'control' and c.relkind in ('r', 'p') and not c.relispartition
"""


async def test_every_table_that_names_environments_is_known(ports: EnvironmentPorts) -> None:
    """A new table must say whether its rows go with the environment or stay."""
    async with ports.database.unit() as connection:
        found = {row["name"] for row in await connection.fetch(_TABLES)}
    known = set(rows.ALL) | rows.KEPT
    assert found <= known, f"say in storage.postgres.environment.rows what becomes of {found - known}"
    assert known - found == {"environment"}, "these tables are gone"


async def test_only_its_own_rows_go(make_unprovisioned: Any, ports: EnvironmentPorts) -> None:
    """Every table of a used environment is emptied, its neighbour keeps every row."""
    one, other = [await make_unprovisioned() for _ in range(2)]
    for made in (one, other):
        await provision(made.job, ports)
        await fill(ports, made.id)
    await begin(ports, one.id)  # from then on nobody gives it rows again
    before = await counts(ports, other.id)
    assert set(before) | MOVING >= set(rows.ALL) - UNFILLED
    for table in rows.ALL:
        async with ports.database.unit() as connection:
            await rows.delete_rows(connection, one.id, table)
    assert await counts(ports, one.id) == {}
    assert await counts(ports, other.id) == before


async def counts(ports: EnvironmentPorts, environment_id: UUID) -> dict[str, int]:
    """Rows by table, without what moves by itself; of what grows by itself only that the environment has some."""
    async with ports.database.unit() as connection:
        found = await rows.count_rows(connection, environment_id)
    return {name: 1 if name in GROWING else count for name, count in found.items() if name not in MOVING}
