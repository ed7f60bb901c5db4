"""One real platform for the whole run: PostgreSQL, Valkey, SeaweedFS, gateway, two relays, worker.

Fixtures: `platform` (session), `client` (httpx with the administrator's key), `environment` (a fresh one) and
`shared_environment` (one for all who do not count), `node_credential`, and `make_environment`/`make_node_credential`
for tests that need several. With pytest-xdist all workers share the platform; the last one stops it.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import psutil
import pytest

from infra.local import detached, ending
from infra.local.folder import DataFolder
from infra.local.option import UpOptions
from tests.isolation import secret_scan

READY_SECONDS = 90.0

# The same examples in every run, however busy the machine is; `--hypothesis-profile=default` looks for new ones.
hypothesis.settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

# Run in the background of a shell we were told to ignore Ctrl-C, and so would be all commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Of every platform that a test starts: what runs when its environment is deleted has two seconds, and nobody puts right
# what a test leaves half done on purpose.
os.environ.setdefault("WAYPOST_DELETE_GRACE_SECONDS", "2")
os.environ.setdefault("WAYPOST_RECONCILE_SECONDS", "86400")
os.environ.setdefault("WAYPOST_DELIVERY_ALLOW", "127.0.0.1/32")  # the tests' own receivers


@dataclass(frozen=True)
class Platform:
    """A running platform. `environment` is `org/project/environment` of the first one."""

    api_url: str
    relay_address: str
    admin_key: str
    environment: str
    data_dir: Path
    processes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def environment_path(self) -> str:
        """The first environment's path in the API."""
        return api_path(self.environment)

    def database_url(self, role: str = "waypost_owner", database: str = "waypost") -> str:
        """The login of a role: postgres, waypost_owner, waypost_gateway, waypost_relay, waypost_worker, …"""
        folder = DataFolder(self.data_dir)
        return f"postgresql://{role}:{folder.passwords()[role]}@/{database}?host={folder.socket_dir}"

    def valkey_url(self, user: str) -> str:
        """The login of a kind of process: gateway, relay or worker."""
        address = self.process("valkey")["address"]
        return f"valkey://{user}:{DataFolder(self.data_dir).passwords()[f'valkey_{user}']}@{address}/0"

    def process(self, name: str) -> dict[str, Any]:
        """The record of a process as it is now: name, pid, address, internal_address, state, restarts."""
        state = DataFolder(self.data_dir).read_state() or {"processes": []}
        return next(entry for entry in state["processes"] if entry["name"] == name)

    async def settled(self, name: str, restarts: int) -> dict[str, Any]:
        """The record of a process once it serves again after so many restarts."""
        async with asyncio.timeout(READY_SECONDS):
            while True:
                entry = self.process(name)
                if entry["restarts"] >= restarts and entry["state"] == "ready":
                    return entry
                await asyncio.sleep(0.05)


@dataclass(frozen=True)
class EnvironmentUnderTest:
    """An environment that is ready: `path` in the API, `place` as `org/project/environment`."""

    id: str
    slug: str
    path: str
    place: str


@dataclass(frozen=True)
class NodeCredential:
    id: str
    client_id: str
    client_secret: str
    token_url: str
    relay_address: str


def api_path(place: str) -> str:
    organization, project, environment = place.split("/")
    return f"/v1/orgs/{organization}/projects/{project}/environments/{environment}"


def start_platform(data_dir: Path, **options: Any) -> Platform:
    """Start one of your own, on free ports; `stop_platform` ends it."""
    chosen = {"http_port": 0, "relay_port": 0} | options
    return _platform(detached.start(UpOptions(data_dir=str(data_dir), **chosen)))


def stop_platform(data_dir: Path) -> None:
    """Stop it and make sure that nothing of it is left."""
    ending.stop(data_dir)
    left = processes_of(data_dir)
    assert not left, f"left running: {left}"


def processes_of(data_dir: Path) -> list[str]:
    """Every process that works in a data folder or was told of it."""
    found = []
    for process in psutil.process_iter(["pid", "name", "cwd", "cmdline", "status"]):
        info = process.info
        told = any(str(data_dir) in word for word in info["cmdline"] or ())
        inside = (info["cwd"] or "").startswith(str(data_dir))
        if (told or inside) and info["pid"] != os.getpid() and info["status"] != psutil.STATUS_ZOMBIE:
            found.append(f"{info['pid']} {info['name']} {' '.join(info['cmdline'] or ())[:120]}")
    return found


def _platform(summary: dict[str, Any]) -> Platform:
    return Platform(
        api_url=summary["api_url"],
        relay_address=summary["relay_address"],
        admin_key=summary["admin_key"],
        environment="/".join((summary["org"], summary["project"], summary["environment"])),
        data_dir=Path(summary["data_dir"]),
        processes=summary["processes"],
    )


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this run, over all its workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def noted_secrets(shared_folder: Path) -> Iterator[secret_scan.Collected]:
    """Every secret that any client of this run is told or sends; the platform's end looks for them."""
    collected = secret_scan.Collected(shared_folder / f"secrets.{os.getpid()}.jsonl")
    with pytest.MonkeyPatch.context() as patch:
        secret_scan.watch_clients(collected, patch)
        yield collected


@pytest.fixture(scope="session")
def platform(shared_folder: Path) -> Iterator[Platform]:
    """The platform of this run; asserts at the end that no process of it is left, and that it showed no secret."""
    base = shared_folder
    data_dir = base / "platform"
    with _held(base / "platform.lock"):
        summary = base / "platform.json"
        if not summary.exists():
            counts = {"relays": 2, "gateways": 1, "workers": 1}
            if os.environ.get("WAYPOST_TEST_SERVERS_ONLY"):  # PostgreSQL, Valkey and SeaweedFS, without the processes
                counts = dict.fromkeys(counts, 0)
            options = UpOptions(data_dir=str(data_dir), http_port=0, relay_port=0, log_level="debug", **counts)
            summary.write_text(json.dumps(detached.start(options)))
        me = base / f"platform.user.{os.getpid()}"
        me.touch()
    yield _platform(json.loads(summary.read_text()))
    with _held(base / "platform.lock"):
        me.unlink()
        if not list(base.glob("platform.user.*")):
            running = _platform(json.loads(summary.read_text()))
            summary.unlink()
            try:
                asyncio.run(secret_scan.check_platform(running, base))
            finally:
                stop_platform(data_dir)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
async def client(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP with the administrator's key."""
    headers = {"Authorization": f"Bearer {platform.admin_key}"}
    async with httpx.AsyncClient(base_url=platform.api_url, headers=headers, timeout=30) as session:
        yield session


@pytest.fixture(scope="session")
def make_environment(client: httpx.AsyncClient) -> Callable[[], Awaitable[EnvironmentUnderTest]]:
    """Make an environment in project `default/default` and wait until it is ready."""

    async def make() -> EnvironmentUnderTest:
        slug = f"t{secrets.token_hex(6)}"
        answer = await client.post(
            "/v1/orgs/default/projects/default/environments", json={"name": slug, "slug": slug, "posture": "dev"}
        )
        assert answer.status_code == 202, answer.text
        path = f"/v1/orgs/default/projects/default/environments/{slug}"
        until = time.monotonic() + READY_SECONDS
        while (found := (await client.get(path)).json())["status"] != "ready":
            assert found["status"] == "provisioning", found
            assert time.monotonic() < until, found
            await asyncio.sleep(0.03)
        return EnvironmentUnderTest(found["id"], slug, path, f"default/default/{slug}")

    return make


@pytest.fixture
async def environment(make_environment: Callable[[], Awaitable[EnvironmentUnderTest]]) -> EnvironmentUnderTest:
    """A fresh environment, ready."""
    return await make_environment()


@pytest.fixture(scope="session")
async def shared_environment(
    make_environment: Callable[[], Awaitable[EnvironmentUnderTest]],
) -> EnvironmentUnderTest:
    """One environment for every test that neither counts nor lists everything."""
    return await make_environment()


MakeCredential = Callable[..., Awaitable[NodeCredential]]


@pytest.fixture(scope="session")
def make_node_credential(client: httpx.AsyncClient) -> MakeCredential:
    """`await make(environment_path, allowed_tags=[…], functions=[…])`."""

    async def make(path: str, **limits: Any) -> NodeCredential:
        answer = await client.post(f"{path}/node-credentials", json={"name": "test", **limits})
        assert answer.status_code == 201, answer.text
        fields = ("id", "client_id", "client_secret", "token_url", "relay_address")
        return NodeCredential(**{name: answer.json()[name] for name in fields})

    return make


@pytest.fixture
async def node_credential(environment: EnvironmentUnderTest, make_node_credential: MakeCredential) -> NodeCredential:
    """A credential for nodes of `environment`, without limits on tags and functions."""
    return await make_node_credential(environment.path)
