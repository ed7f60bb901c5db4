"""`waypost admin audit verify` on the platform that runs: intact, altered, and intact again."""

import asyncio
import json
import subprocess
import sys
from typing import Any

import asyncpg

from infra.local.folder import DataFolder
from jobs.audit import Sealer
from storage.objects.seal import SealStore
from storage.postgres.database import Database

WAYPOST = [sys.executable, "-P", "-m", "waypost_sdk.command.main", "admin", "audit", "verify"]


def verified(platform: Any, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, what stdout says, and stderr."""
    command = [*WAYPOST, "--data-dir", str(platform.data_dir), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


_SEALED = """
select exists (select from control.audit where environment_id = $1 and action = 'environment.create'
    and transaction <= (select max(until_transaction) from control.audit_batch))
"""


async def sealed(platform: Any, identifier: str) -> None:
    """All up to the making of an environment, without waiting for the worker's next time; no leader, so anybody may.

    What is above a transaction in progress, be it another test's, cannot be sealed before that ends.
    """
    passwords = DataFolder(platform.data_dir).passwords()
    endpoint = f"http://{platform.process('objects')['address']}"
    database = await Database.open(platform.database_url("waypost_worker"), name="test")
    copies = SealStore(endpoint, passwords["s3_access_key"], passwords["s3_secret_key"])
    sealer = Sealer(database, copies, seconds=60, keep_days=365)
    owner = await asyncpg.connect(platform.database_url())
    async with asyncio.timeout(30):
        while await sealer.tick() < 1 or not await owner.fetchval(_SEALED, identifier):  # noqa: ASYNC110 - no signal
            await asyncio.sleep(0.05)
    await owner.close()
    await database.close()


async def test_the_command_verifies_and_names_what_was_altered(platform: Any, environment: Any) -> None:
    """Exit code 0 with what was looked at; 1 with the entry and its batch, in JSON and in words on stderr."""
    await sealed(platform, environment.id)
    code, seen, _ = verified(platform)
    assert (code, seen["intact"], seen["finding"]) == (0, True, None)
    assert seen["entries"] > 0
    assert len(seen["root"]) == 64
    owner = await asyncpg.connect(platform.database_url("postgres"))
    identifier = await owner.fetchval(
        "select id from control.audit where environment_id = $1 and action = 'environment.create'", environment.id
    )
    change = "update control.audit set actor = $2 where id = $1"
    actor = await owner.fetchval("select actor from control.audit where id = $1", identifier)
    try:
        await owner.execute(change, identifier, "nobody")
        code, seen, said = verified(platform)
    finally:
        await owner.execute(change, identifier, actor)
        await owner.close()
    assert (code, seen["intact"], seen["finding"]["fault"]) == (1, False, "altered")
    assert seen["finding"]["entry"] == str(identifier)
    assert f"Entry {identifier} of batch {seen['finding']['batch']} was altered" in said
    code, seen, _ = verified(platform, "--from", str(seen["finding"]["batch"]))
    assert (code, seen["intact"]) == (0, True)
