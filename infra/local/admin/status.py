"""`waypost admin status`: what this platform consists of, and whether the operator's logins and keys reach it."""

import sys
from pathlib import Path
from typing import Any

import typer

from infra.local.admin.connection import AsJson, DataDir, Platform, run, write_json


def register(admin: typer.Typer) -> None:
    admin.command("status")(status)


def status(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show schema version, environments by status, database size and the key in use."""
    found = run(data_dir, read)
    if as_json or not sys.stdout.isatty():
        write_json(found)
        return
    for name, value in found.items():
        shown = ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else value
        typer.echo(f"{name.replace('_', ' '):<24}{shown}")


async def read(platform: Platform) -> dict[str, Any]:
    """The facts, read as waypost_worker; raises LocalError or WaypostError."""
    from storage.postgres.version import control_version, required_control_version

    database = await platform.database()
    async with database.unit() as connection:
        version = await control_version(connection)
        environments = await connection.fetch(
            "select status, count(*) from control.environment group by status order by status"
        )
        size_bytes = await connection.fetchval("select pg_database_size(current_database())")
        sealed_by = await connection.fetch(
            "select kek_id, count(*) from control.environment_secret where kek_id is not null group by kek_id"
        )
    valkey = await platform.valkey()
    return {
        "data_dir": None if platform.folder is None else str(Path(platform.folder.root)),
        "control_version": version,
        "needed_control_version": required_control_version(),
        "environments": {row["status"]: row["count"] for row in environments},
        "database_bytes": size_bytes,
        "kek_id": platform.kek.current().id,
        "data_keys_by_kek": {row["kek_id"]: row["count"] for row in sealed_by},
        "valkey": "connected" if valkey.connected else "not connected",
        "objects": platform.s3[0],
    }
