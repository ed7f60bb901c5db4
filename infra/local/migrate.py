"""`waypost migrate`: how the control schema stands to this program, and bringing it there (decision 8)."""

import asyncio
from pathlib import Path

from infra.local.folder import DataFolder
from infra.local.problem import ExitCode, LocalError


def own_url(root: Path) -> str:
    """waypost_owner's login of a platform that runs on this machine."""
    folder = DataFolder(root)
    if not folder.is_running():
        raise LocalError(
            f"Nothing is running on {folder.root}: start it (`waypost up` migrates by itself), or give --url.",
            ExitCode.NOT_FOUND,
        )
    return f"postgresql://waypost_owner:{folder.passwords()['waypost_owner']}@/waypost?host={folder.socket_dir}"


def check(url: str) -> tuple[str, int]:
    """(sentence, exit code): 0 when the schema is at this program's version, 10 when it is not."""
    from storage.postgres.version import required_control_version

    found, needed = asyncio.run(_found(url)), required_control_version()
    if found == needed:
        return f"The control schema is at version {found}, as this program needs.", 0
    if found is not None and found > needed:
        return f"The control schema is at version {found}, newer than this program's {needed}.", ExitCode.VERSION
    return f"The control schema is at version {found or 'none'}; `waypost migrate --apply` brings it to {needed}.", 10


def apply(url: str) -> tuple[str, int]:
    """Run what is missing; raises LocalError when the database is of a newer program or cannot be reached."""
    from storage.postgres.migration import upgrade_control
    from storage.postgres.version import required_control_version
    from waypost.errors import WaypostError

    before = asyncio.run(_found(url))
    try:
        changed = upgrade_control(url)
    except WaypostError as error:
        raise LocalError(error.detail, ExitCode.VERSION) from error
    needed = required_control_version()
    if changed:
        return f"The control schema went from version {before or 'none'} to {needed}.", 0
    return f"The control schema is at version {needed} already.", 0


async def _found(url: str) -> str | None:
    from storage.postgres.database import Database
    from storage.postgres.version import control_version
    from waypost.errors import WaypostError

    database = await Database.open(url, name="waypost-migrate", pool_size=1)
    try:
        async with database.unit() as connection:
            return await control_version(connection)
    except WaypostError as error:
        raise LocalError("PostgreSQL cannot be reached at the given address.", ExitCode.SERVER) from error
    finally:
        await database.close()
