"""PostgreSQL and the object store of a data folder for as long as something is put into it; none of our processes."""

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from infra.local.folder import DataFolder
from infra.local.journal import Journal
from infra.local.port import free_ports
from infra.local.process import Supervised
from infra.local.servers.objects import ObjectsPorts, ObjectsServer
from infra.local.servers.postgres import PostgresServer


@asynccontextmanager
async def serve_storage(folder: DataFolder, epoch: int) -> AsyncIterator[str]:
    """The object store's endpoint, while both serve. The folder is new and locked by the caller. Raises LocalError.

    `epoch` is where PostgreSQL's transaction numbers begin (storage.postgres.backup.snapshot.epoch_after).
    """
    passwords: Mapping[str, str] = folder.passwords()
    postgres = PostgresServer(folder, passwords["postgres"])
    objects = ObjectsServer(folder, ObjectsPorts(*free_ports(4, with_grpc=True)), dict(passwords))
    await asyncio.to_thread(postgres.prepare)  # first: it makes the folder of the sockets
    await asyncio.to_thread(postgres.set_epoch, epoch)
    await asyncio.to_thread(objects.prepare)
    journal = Journal(folder.logs, io.StringIO())
    children = [Supervised(server.program(), journal, lambda: None) for server in (postgres, objects)]
    try:
        await asyncio.gather(*(child.start() for child in children))
        yield objects.endpoint
    finally:
        await asyncio.gather(*(child.stop() for child in reversed(children)))
        journal.close()
