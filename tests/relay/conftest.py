"""Fixtures of the relay's tests: one PostgreSQL and one Valkey for all of them, an environment and relays for each."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.relay.ground import Environment, Ground, RelayProcess


@pytest_asyncio.fixture(scope="session")
async def ground(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    made = Ground(tmp_path_factory.mktemp("relay"))
    await made.start()
    yield made
    await made.stop()


@pytest_asyncio.fixture
async def environment(ground: Ground) -> Environment:
    made = Environment(ground)
    await made.create()
    return made


@pytest_asyncio.fixture
async def start_relay(ground: Ground) -> AsyncIterator[Callable[..., Awaitable[RelayProcess]]]:
    """A relay with settings as `WAYPOST_…="…"`; stopped at the end of the test."""
    started: list[RelayProcess] = []

    async def start(name: str = "relay-1", port: int = 0, **settings: str) -> RelayProcess:
        process = RelayProcess(ground, name, port, **settings)
        started.append(process)
        return await process.serving()

    yield start
    for process in started:
        process.kill()


@pytest_asyncio.fixture(scope="session")
async def relay(ground: Ground) -> AsyncIterator[Any]:
    """A relay shared by the tests that neither stop it nor need other settings."""
    process = await RelayProcess(ground, "relay-shared", WAYPOST_DRAIN_SECONDS="1").serving()
    yield process
    assert await process.stop() == 0, process.log.read_text()
