"""Which schema versions this code needs, and the refusal to run on an older one (decision 8).

Apart from the migrations, so that no process loads what only they need.
"""

from storage.postgres.database import Connection, translate_errors
from waypost.errors import Category, WaypostError

# A test proves that these are the heads of the trees. Versions compare as text.
CONTROL_VERSION = "0005"
ENVIRONMENT_VERSION = "0001"


def required_control_version() -> str:
    """The least version of the control schema that this code runs on."""
    return CONTROL_VERSION


async def control_version(connection: Connection) -> str | None:
    """The control schema's version, or None when there is no schema yet."""
    if await connection.fetchval("SELECT to_regclass('control.alembic_version')") is None:
        return None
    version: str | None = await connection.fetchval("SELECT version_num FROM control.alembic_version")
    return version


async def require_control_version(connection: Connection) -> None:
    """For the start of a process: raises `schema_outdated` below the version it needs; a newer one is fine."""
    with translate_errors():
        found = await control_version(connection)
    if found is None or found < CONTROL_VERSION:
        raise WaypostError(
            "schema_outdated",
            f"The control schema is at version {found or 'none'}, this program needs {CONTROL_VERSION}: "
            "run `waypost migrate` first.",
            Category.INTERNAL,
        )
