"""Sessions: one row a start of a relay or worker, the only thing that a process renews (decision 12a)."""

from storage.postgres.database import Connection, Database
from storage.postgres.ledger.statement import run

_WORKER_RUNS = """
select exists (select from control.session where kind = 'worker' and ended_at is null and lease_until > now())
"""
_CLOSE = "update control.session set ended_at = now() where id = $1 and ended_at is null"


async def open_session(
    database: Database, process: str, kind: str, address: str, pid: int, lease_seconds: float
) -> int:
    """A new session of `process` ("relay-1") of `kind` ("relay" or "worker"), good for `lease_seconds`."""
    async with database.hot() as connection:
        rows = await run(connection, "open_session", process, kind, address, pid, float(lease_seconds))
    return int(rows[0]["id"])


async def renew_session(database: Database, session: int, lease_seconds: float) -> bool:
    """Live on for `lease_seconds`. False: it ran out or was ended; what it held is lost, start a new one."""
    async with database.hot() as connection:
        return bool(await run(connection, "renew_session", session, float(lease_seconds)))


async def close_session(database: Database, session: int) -> None:
    """End it; whatever it still holds is lost and tried again elsewhere. Ending it twice changes nothing."""
    async with database.hot() as connection:
        await connection.execute(_CLOSE, session)


async def worker_runs(connection: Connection) -> bool:
    """Whether a worker has a session that has not run out, so that platform jobs are run."""
    found: bool = await connection.fetchval(_WORKER_RUNS)
    return found
