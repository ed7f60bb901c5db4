"""`Client` and `AsyncClient`: the same resources, driven sync or async."""

from types import TracebackType
from typing import Any, Generic

import httpx

from waypost_sdk import configuration
from waypost_sdk.errors import ConfigurationError, CredentialsError
from waypost_sdk.http.access import ApiKeys, Invitations, Keys, Members, Sessions, Who
from waypost_sdk.http.artifact import Artifacts
from waypost_sdk.http.audit import Audit
from waypost_sdk.http.drive import AsyncDriver, SyncDriver
from waypost_sdk.http.jobs import Jobs
from waypost_sdk.http.nodes import Functions, NodeCredentials, Nodes, Queues
from waypost_sdk.http.replay import Replays
from waypost_sdk.http.resource import Async, M, Scope, Sync
from waypost_sdk.http.subscription import Subscriptions
from waypost_sdk.http.tenancy import Environments, Organizations, Projects
from waypost_sdk.http.trigger import Triggers
from waypost_sdk.http.usage import Usage
from waypost_sdk.version import VERSION

DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_RETRY_SECONDS = 30.0


class _Resources(Generic[M]):
    """What both clients have."""

    def __init__(self, driver: Any, scope: Scope, place: str | None) -> None:
        self.place = place  # org/project/environment or its first parts, as configured
        self.jobs: Jobs[M] = Jobs(driver, scope)
        self.functions: Functions[M] = Functions(driver, scope)
        self.nodes: Nodes[M] = Nodes(driver, scope)
        self.node_credentials: NodeCredentials[M] = NodeCredentials(driver, scope)
        self.queue: Queues[M] = Queues(driver, scope)
        self.organizations: Organizations[M] = Organizations(driver, scope)
        self.projects: Projects[M] = Projects(driver, scope)
        self.environments: Environments[M] = Environments(driver, scope)
        self.members: Members[M] = Members(driver, scope)
        self.invitations: Invitations[M] = Invitations(driver, scope)
        self.keys: Keys[M] = Keys(driver, scope)
        self.api_keys: ApiKeys[M] = ApiKeys(driver, scope)
        self.sessions: Sessions[M] = Sessions(driver, scope)
        self.whoami: Who[M] = Who(driver, scope)
        self.audit: Audit[M] = Audit(driver, scope)
        self.replays: Replays[M] = Replays(driver, scope)
        self.triggers: Triggers[M] = Triggers(driver, scope)
        self.artifacts: Artifacts[M] = Artifacts(driver, scope)
        self.usage: Usage[M] = Usage(driver, scope)
        self.subscriptions: Subscriptions[M] = Subscriptions(driver, scope)


class Client(_Resources[Sync]):
    """The HTTP API, blocking. Threads may share one.

        with Client() as client:
            job = client.jobs.submit("text.count", {"text": "…"}, tags=["gpu"])
            job = client.jobs.wait(job.id, timeout_seconds=30)

    `url`, `key` and `environment` (org/project/environment) come from WAYPOST_URL, WAYPOST_KEY and WAYPOST_ENVIRONMENT
    or the configuration file where not given. 429, 502, 503 and connection failures are tried again for
    `retry_seconds` (0: never). An `anonymous` client sends no key: for signing in. Raises ConfigurationError when there
    is no address or key.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        environment: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        retry_seconds: float = DEFAULT_RETRY_SECONDS,
        anonymous: bool = False,
    ) -> None:
        address, headers, place = _settings(url, key, environment, anonymous=anonymous)
        self._driver = SyncDriver(address, headers, timeout_seconds)
        super().__init__(self._driver, Scope(place, retry_seconds), place)

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
        anonymous: bool = False,
    ) -> None:
        address, headers, place = _settings(url, key, environment, anonymous=anonymous)
        self._driver = AsyncDriver(address, headers, timeout_seconds)
        super().__init__(self._driver, Scope(place, retry_seconds), place)

    async def close(self) -> None:
        """Give the connections back."""
        await self._driver.close()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _settings(
    url: str | None, key: str | None, environment: str | None, *, anonymous: bool
) -> tuple[str, dict[str, str], str | None]:
    wanted = {"url": url, "environment": environment} | ({} if anonymous else {"key": key})
    values = configuration.resolve(**wanted)
    headers = {"user-agent": f"waypost-python/{VERSION}"}
    if not anonymous:
        headers["authorization"] = f"Bearer {_header(configuration.require(values, 'key'))}"
    return _address(configuration.require(values, "url")), headers, values["environment"]


def _address(url: str) -> str:
    """The API's address. Raises ConfigurationError for what no request could go to."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError("bad_url", f"{url!r} is not an address: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError("bad_url", f"{url!r} is not an address like https://waypost.example.com.")
    return url.rstrip("/")


def _header(key: str) -> str:
    """The key, if a header can carry it. Raises CredentialsError, without repeating it."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise CredentialsError("invalid_credential", "The key holds characters that no key has: was it pasted whole?")
    return key
