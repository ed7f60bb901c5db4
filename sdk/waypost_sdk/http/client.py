"""`Client` and `AsyncClient`: the same resources, driven sync or async."""

from types import TracebackType
from typing import Any, Generic

from waypost_sdk import configuration
from waypost_sdk.http.drive import AsyncDriver, SyncDriver
from waypost_sdk.http.jobs import Jobs
from waypost_sdk.http.nodes import Functions, NodeCredentials, Nodes, Queues
from waypost_sdk.http.resource import Async, M, Scope, Sync
from waypost_sdk.http.tenancy import Environments, Keys, Organizations, Projects
from waypost_sdk.version import VERSION

DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_RETRY_SECONDS = 30.0


class _Resources(Generic[M]):
    """What both clients have."""

    def __init__(self, driver: Any, scope: Scope) -> None:
        self.jobs: Jobs[M] = Jobs(driver, scope)
        self.functions: Functions[M] = Functions(driver, scope)
        self.nodes: Nodes[M] = Nodes(driver, scope)
        self.node_credentials: NodeCredentials[M] = NodeCredentials(driver, scope)
        self.queue: Queues[M] = Queues(driver, scope)
        self.keys: Keys[M] = Keys(driver, scope)
        self.environments: Environments[M] = Environments(driver, scope)
        self.projects: Projects[M] = Projects(driver, scope)
        self.orgs: Organizations[M] = Organizations(driver, scope)


class Client(_Resources[Sync]):
    """The HTTP API, blocking. Threads may share one.

        with Client() as client:
            job = client.jobs.submit("text.count", {"text": "…"}, tags=["gpu"])
            job = client.jobs.wait(job.id, timeout_seconds=30)

    `url`, `key` and `environment` (org/project/environment) come from WAYPOST_URL, WAYPOST_KEY and WAYPOST_ENVIRONMENT
    or the configuration file where not given. 429, 502, 503 and connection failures are tried again for
    `retry_seconds` (0: never). Raises ConfigurationError when there is no address or key.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        environment: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
    ) -> None:
        address, headers, place = _settings(url, key, environment)
        self._driver = SyncDriver(address, headers, timeout_seconds)
        super().__init__(self._driver, Scope(place, retry_seconds))

    def close(self) -> None:
        """Give the connections back."""
        self._driver.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient(_Resources[Async]):
    """The HTTP API for asyncio: as `Client`, with every operation awaited and every iteration `async for`."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        environment: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
    ) -> None:
        address, headers, place = _settings(url, key, environment)
        self._driver = AsyncDriver(address, headers, timeout_seconds)
        super().__init__(self._driver, Scope(place, retry_seconds))

    async def close(self) -> None:
        """Give the connections back."""
        await self._driver.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _settings(url: str | None, key: str | None, environment: str | None) -> tuple[str, dict[str, str], str | None]:
    values = configuration.resolve(url=url, key=key, environment=environment)
    headers = {
        "authorization": f"Bearer {configuration.require(values, 'key')}",
        "user-agent": f"waypost-python/{VERSION}",
    }
    return configuration.require(values, "url").rstrip("/"), headers, values["environment"]
