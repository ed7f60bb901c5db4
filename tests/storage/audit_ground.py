"""An audit without other writers, with its sealer, its copies and who tampers with it."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import boto3

from infra.local.folder import DataFolder
from jobs.audit import Sealer
from storage.objects.seal import SealStore
from storage.postgres.audit.entry import insert_audit
from storage.postgres.audit.seal import PostgresChain
from storage.postgres.database import Database
from tests.own_postgres import OwnPostgres
from waypost.audit.model import AuditEntry, Finding
from waypost.audit.operation import Verified, verify
from waypost.clock import now
from waypost.ids import first_id_at, new_id

BATCH = 4  # entries; small, so that few make several


@dataclass
class Audit:
    """An empty audit: `worker` and `auditor` by their logins, `admin` the superuser who tampers, `s3` likewise."""

    worker: Database
    auditor: Database
    admin: Any
    copies: SealStore
    s3: Any
    bucket: str
    sealer: Sealer

    async def add(self, count: int = 1, days_ago: int = 0, environment_id: UUID | None = None) -> list[UUID]:
        """Entries, each in a transaction of its own; in order."""
        made = [_old_id(days_ago) for _ in range(count)]
        for identifier in made:
            async with self.worker.unit() as connection:
                await insert_audit(connection, entry(identifier, environment_id))
        if days_ago:
            await self.admin.execute(
                "update control.audit set at = at - make_interval(days => $2) where id = any ($1)", made, days_ago
            )
        return made

    async def seal(self) -> None:
        """Seal and copy until nothing is left to do."""
        while await self.sealer.tick() < 1:
            pass

    async def verify(self, start: int = 1) -> Verified:
        return await verify(PostgresChain(self.auditor), self.copies, start=start)

    async def finding(self) -> Finding:
        found = (await self.verify()).finding
        assert found is not None
        return found


def _old_id(days_ago: int) -> UUID:
    return UUID(int=first_id_at(now() - timedelta(days=days_ago)).int | secrets.randbits(60)) if days_ago else new_id()


def entry(identifier: UUID, environment_id: UUID | None = None) -> AuditEntry:
    return AuditEntry(
        id=identifier,
        organization_id=UUID(int=1),
        environment_id=environment_id,
        actor="system",
        action="thing.change",
        target=f"thing:{identifier}",
        details={"name": "Größe"},
    )


@asynccontextmanager
async def open_audit(ledger_server: OwnPostgres, platform: Any) -> AsyncIterator[Audit]:
    admin = await asyncpg.connect(ledger_server.admin_url("waypost"))
    await admin.execute(
        "truncate control.audit, control.audit_swept, control.audit_batch, control.audit_stored, control.audit_anchor"
    )
    worker = await Database.open(ledger_server.url("waypost_worker"), name="test")
    auditor = await Database.open(ledger_server.url("waypost_auditor"), name="test")
    passwords = DataFolder(platform.data_dir).passwords()
    place = (f"http://{platform.process('objects')['address']}", passwords["s3_access_key"], passwords["s3_secret_key"])
    bucket = f"audit-{secrets.token_hex(6)}"
    copies = SealStore(*place, bucket)
    s3 = boto3.client(
        "s3", endpoint_url=place[0], region_name="us-east-1", aws_access_key_id=place[1], aws_secret_access_key=place[2]
    )
    sealer = Sealer(worker, copies, seconds=60, keep_days=365, batch=BATCH)
    yield Audit(worker, auditor, admin, copies, s3, bucket, sealer)
    await admin.close()
    await worker.close()
    await auditor.close()
