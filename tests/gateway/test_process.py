"""The process: announces itself, shares its port, finishes what it has, refuses wrong settings in one line."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tests.gateway.conftest import settings_of
from waypost.settings import variable

ROOT = Path(__file__).parents[2]


def environ_of(platform: Any, **changes: str) -> dict[str, str]:
    """The variables of a gateway process on the platform's servers."""
    settings = msgspec.structs.asdict(settings_of(platform, http_port=0))
    named = {variable(name): str(value) for name, value in settings.items() if value is not None}
    return {"PATH": os.environ["PATH"]} | named | changes


@asynccontextmanager
async def process(platform: Any, **changes: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """A gateway process and what it announced; killed at the end if it still runs."""
    reader, writer = os.pipe()
    environ = environ_of(platform, **changes) | {"WAYPOST_READY_FD": str(writer)}
    started = subprocess.Popen(  # noqa: ASYNC220 - starting takes a moment; waiting for it does not block
        [sys.executable, "-P", "-m", "gateway"], cwd=ROOT, env=environ, pass_fds=[writer], stderr=subprocess.PIPE
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as pipe:
            line = await asyncio.to_thread(pipe.readline)
        assert line, started.communicate(timeout=10)[1].decode()
        yield started, json.loads(line)
    finally:
        if started.poll() is None:
            started.kill()
        started.wait()


async def test_it_announces_itself_and_finishes_what_it_has_when_told_to_stop(
    platform: Any, shared_environment: Any
) -> None:
    """SIGTERM: a wait gets its 202, a stream ends cleanly, the exit code is 0."""
    async with process(platform) as (started, told):
        assert (told["name"], told["pid"]) == (f"gateway-test-{os.getpid()}", started.pid)
        headers = {"Authorization": f"Bearer {platform.admin_key}"}
        events, listed = f"{shared_environment.path}/events", f"{shared_environment.path}/jobs?limit=1"
        async with (
            httpx.AsyncClient(base_url=told["internal_address"], timeout=30) as internal,
            httpx.AsyncClient(base_url=told["address"], headers=headers, timeout=30) as client,
            client.stream("GET", events) as stream,
        ):
            lines = stream.aiter_lines()
            assert await anext(lines) == ": connected"
            before = (await client.get(listed)).json()["items"]
            path = f"{shared_environment.path}/jobs?wait_seconds=30"
            wait = asyncio.create_task(client.post(path, json={"function": "never.run"}))
            while (await client.get(listed)).json()["items"] == before:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
            assert "waypost_http_event_streams 1.0" in (await internal.get("/metrics")).text
            started.send_signal(signal.SIGTERM)
            assert (await wait).status_code == 202
            told_states = [line for line in [line async for line in lines] if line.startswith("event:")]
            assert set(told_states) <= {"event: job.state"}
        assert await asyncio.to_thread(started.wait, 30) == 0


async def test_several_share_one_port(platform: Any) -> None:
    """A second one listens on the same port; one that stops takes nothing along."""
    async with process(platform) as (first, told):
        port = told["address"].rsplit(":", 1)[1]
        async with process(platform, WAYPOST_HTTP_PORT=port) as (_, other):
            assert other["address"] == told["address"]
            first.send_signal(signal.SIGTERM)
            await asyncio.to_thread(first.wait, 30)
            for _ in range(5):
                async with httpx.AsyncClient(base_url=told["address"], timeout=30) as client:
                    assert (await client.get("/healthz")).json() == {"status": "alive"}


@pytest.mark.parametrize(
    ("name", "value"), [("WAYPOST_HTTP_PORT", "eighty"), ("WAYPOST_RATE_LIMIT_BURST", "0"), ("WAYPOST_KEK_FILE", "/no")]
)
def test_a_wrong_setting_is_one_line_that_names_it(platform: Any, name: str, value: str) -> None:
    """Exit code 2, the variable and its value, nothing else."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "gateway"], cwd=ROOT, env=environ_of(platform, **{name: value}),
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.decode().count("\n") == 1
    assert name in done.stderr.decode()
    assert value in done.stderr.decode()
