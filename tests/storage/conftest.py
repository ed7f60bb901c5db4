"""Fixtures of the ledger's tests: `ledger_server` (a PostgreSQL of its own), `ground` (an empty ledger), `tenant`."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.own_postgres import OwnPostgres
from tests.storage.audit_ground import Audit, open_audit
from tests.storage.ledger_ground import Ground, Tenant


@pytest.fixture(scope="session")
async def ledger_server() -> AsyncIterator[OwnPostgres]:
    server = OwnPostgres()
    await server.create()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
async def ledger_ground(ledger_server: OwnPostgres) -> AsyncIterator[Ground]:
    ground = await Ground(ledger_server).open()
    yield ground
    await ground.close()


@pytest.fixture
async def ground(ledger_ground: Ground) -> Ground:
    """The ledger, emptied."""
    await ledger_ground.clear()
    return ledger_ground


@pytest.fixture
async def tenant(ground: Ground) -> Tenant:
    """An environment of the test's own."""
    return await Tenant(ground).create()


@pytest.fixture
async def other_tenant(ground: Ground) -> Tenant:
    return await Tenant(ground).create()


@pytest.fixture
async def audit(ledger_server: OwnPostgres, platform: Any) -> AsyncIterator[Audit]:
    """The audit, emptied, with a bucket of the test's own."""
    async with open_audit(ledger_server, platform) as opened:
        yield opened
