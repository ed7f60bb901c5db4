"""Everything an endpoint may need, made once a process, and what all of them do alike."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from gateway.admission import Admission
from gateway.allowance import Allowances
from gateway.auth import Keys, identify
from gateway.cache import Cache
from gateway.call_count import CallCount
from gateway.denial import Denials
from gateway.engine.signing import Signers
from gateway.exchange import Exchange
from gateway.feed import Feed
from gateway.hooks.evaluation import Evaluator
from gateway.hooks.record import Firings
from gateway.hooks.registry import Hooks
from gateway.limit import RateLimit, SharedRate
from gateway.login import Logins
from gateway.node_token import NodeTokens, token_text
from gateway.place import Places
from gateway.session import Sessions
from jobs.lane import MAX_BULK_IN_FLIGHT
from jobs.submission import MAX_IN_FLIGHT, GroupCommitter
from jobs.wake import (
    ACCESS_CHANNEL,
    AccessMessage,
    EnvironmentChanged,
    EnvironmentMessage,
    JobMessage,
    KeyChanged,
    PersonChanged,
    TriggerChanged,
    decode_access,
    encode,
    environment_channel,
    jobs_channel,
    wakes,
)
from storage.objects.artifact import ArtifactObjects
from storage.objects.store import ObjectStore
from storage.postgres.database import Connection, Database
from storage.postgres.ledger.ledger import Ledger
from storage.secrets import EnvironmentKeys
from storage.valkey.client import Valkey
from waypost import errors
from waypost.access.model import Principal
from waypost.errors import WaypostError
from waypost.job.series import Minute
from waypost.limit.decision import defaults, in_force
from waypost.limit.model import REQUESTS, Limits
from waypost.retention.decision import in_force as days_in_force
from waypost.retention.model import Retention, operator_days
from waypost.secret import KeyEncryptionKey, KeyRing, open_ring
from waypost.settings import GatewaySettings
from waypost.telemetry.internal import OK
from waypost.tenancy.model import Environment, Organization, Status

# Wrong client secrets: rate a second and burst, per client id, and per address (many nodes can share one).
CLIENT_FAILURES = (1 / 3, 20)
ADDRESS_FAILURES = (2.0, 200)
SERIES_SECONDS = 5.0  # how old charts may be: many who look at an environment cost what one does


class Services:
    """Made by `open`, ended by `close`."""

    def __init__(self, settings: GatewaySettings, database: Database, valkey: Valkey, key_ring: KeyRing) -> None:
        self.settings = settings
        self.database = database
        self.valkey = valkey
        self.key_ring = key_ring
        self.public_url = settings.public_url
        self.relay_address = settings.relay_address
        self.environment_keys = EnvironmentKeys(database, key_ring)
        self.objects = ObjectStore(settings.s3_endpoint, self.environment_keys)
        self.ledger = Ledger(database)
        self.committer = GroupCommitter(self.ledger, valkey)
        self.artifacts = ArtifactObjects(
            settings.s3_endpoint, self.environment_keys, self.objects, settings.s3_public_endpoint
        )
        self.keys = Keys(database)
        self.node_tokens = NodeTokens(database)
        self.denials = Denials(database)
        self.calls = CallCount(database, settings.usage_seconds)
        self.sessions = Sessions(database)
        self.logins = Logins(database, valkey)
        self.default_limits = defaults({REQUESTS: settings.rate_limit_per_second} | (settings.limits or {}))
        self.operator_days = operator_days(settings)
        self.places = Places(database, self.default_limits)
        self.signers = Signers(database, self.environment_keys)
        self.feed = Feed(valkey)
        self.admission = Admission(database)
        self.rates = SharedRate(valkey)
        self.allowances = Allowances(database, self.rates, self.default_limits, settings.rate_limit_burst)
        self.hooks = Hooks(database, self.environment_keys, self.default_limits)
        self.firings = Firings(database)
        self.evaluator = Evaluator()
        self.series: Cache[tuple[UUID, int, str | None], list[Minute]] = Cache(SERIES_SECONDS, size=200)
        self.client_failures = RateLimit(*CLIENT_FAILURES)
        self.address_failures = RateLimit(*ADDRESS_FAILURES)
        self.in_progress = 0  # requests
        self.idle = asyncio.Event()  # none in progress
        self.idle.set()
        self.stopping = False
        self.document = b"{}"

    @classmethod
    async def open(cls, settings: GatewaySettings) -> "Services":
        """Connect; a server that is away shows in readiness, not here."""
        key_ring = open_ring(settings.kek_file, settings.kek)
        hot = MAX_IN_FLIGHT + MAX_BULK_IN_FLIGHT
        database = await Database.open(settings.database_url, name=settings.process_name, hot_size=hot)
        valkey = await Valkey.open(settings.valkey_url)
        services = cls(settings, database, valkey, key_ring)
        services.keys.start()
        services.denials.start()
        services.calls.start()
        services.firings.start()
        await services.feed.start()
        await valkey.subscribe([ACCESS_CHANNEL], services._access_changed, services._forget)
        return services

    async def close(self) -> None:
        """After the last request: send what is pending, close every connection."""
        await self.committer.close()
        await self.keys.close()
        await self.denials.close()
        await self.calls.close()
        await self.firings.close()
        self.evaluator.close()
        self.logins.close()
        await self.admission.close()
        await self.artifacts.close()
        await self.valkey.close()
        await self.database.close()

    @property
    def kek(self) -> KeyEncryptionKey:
        """The key that wraps now; take its `id` and what it wrapped of one and the same answer."""
        return self.key_ring.current()

    def began(self) -> None:
        """A request is in progress."""
        self.in_progress += 1
        self.idle.clear()

    def ended(self) -> None:
        """A request is over, answered or not."""
        self.in_progress -= 1
        if not self.in_progress:
            self.idle.set()

    # --- what every endpoint does alike -----------------------------------------------------------------------------

    async def authenticate(self, exchange: Exchange, *, nodes: bool = False) -> Principal:
        """Who asks, within its rate; raises 401, 429. The answer's rate headers are set either way.

        `nodes`: a node's token is a credential here.
        """
        token = token_text(exchange.header(b"authorization")) if nodes else None
        if token is not None:
            principal = await self.node_tokens.principal(token)
        else:
            principal = await identify(self.keys, self.sessions, exchange)
        exchange.principal = principal
        await self.allowances.take_request(exchange, principal)
        return principal

    def require_readable(self, environment: Environment) -> None:
        """Raises 409 while the environment is being made: it has no role to read as, and no jobs."""
        if environment.status in (Status.PROVISIONING, Status.FAILED):
            raise errors.conflict(
                "environment_not_ready",
                f"The environment is {environment.status}; its status and steps say what it waits for.",
                environment_status=environment.status.value,
            )

    @asynccontextmanager
    async def reading(self, environment: Environment) -> AsyncIterator[Connection]:
        """The database as the environment's role; 409 while the environment is being made."""
        self.require_readable(environment)
        async with self.database.as_environment(environment.id) as connection:
            yield connection

    def limits_of(self, organization: Organization, environment: Environment | None = None) -> Limits:
        """The limits in force: `Place.limits` for what was read or changed just now."""
        return in_force(self.default_limits, organization.limits, environment.limits if environment else None)

    def retention_of(self, environment: Environment) -> Retention:
        """The days in force."""
        return days_in_force(self.operator_days, environment.retention)

    def openapi(self) -> bytes:
        """The API's description as JSON."""
        return self.document

    async def readiness(self) -> dict[str, str]:
        """Each dependency with "ok" or what is wrong."""
        postgres, objects = await asyncio.gather(_state(self.database.ping()), _state(self.objects.ping()))
        return {"postgres": postgres, "valkey": OK if self.valkey.connected else "away", "s3": objects}

    # --- messages ---------------------------------------------------------------------------------------------------

    def tell_environment(self, environment_id: UUID, message: EnvironmentMessage) -> None:
        self.valkey.publish(environment_channel(environment_id), encode(message))

    def tell_jobs(self, environment_id: UUID, message: JobMessage) -> None:
        self.valkey.publish(jobs_channel(environment_id), encode(message))

    async def release_line(self, environment_id: UUID, concurrency_key: str) -> None:
        """A place in a line of concurrency may be free: let who is next go, and wake the relays."""
        queues = await self.ledger.release_holds([(environment_id, concurrency_key)])
        for channel, payload in wakes(queues, rewind=True):
            self.valkey.publish(channel, payload)

    def tell_access(self, message: AccessMessage) -> None:
        """Tell every gateway and relay, this one at once."""
        self._apply(message)
        self.valkey.publish(ACCESS_CHANNEL, encode(message))

    def tenancy_changed(self, identifier: UUID) -> None:
        """Something of the tree was added or changed: an organization, a project, an environment."""
        self.tell_access(EnvironmentChanged(identifier))

    def _access_changed(self, _channel: str, payload: bytes) -> None:
        message = decode_access(payload)
        if message is not None:
            self._apply(message)

    def _apply(self, message: AccessMessage) -> None:
        if isinstance(message, KeyChanged):
            self.keys.forget(message.public_id)
        elif isinstance(message, PersonChanged):
            self.sessions.forget_person(message.person_id)
        elif isinstance(message, EnvironmentChanged):
            self.places.forget(message.environment_id)
            self.node_tokens.clear()
            self.hooks.forget_within(message.environment_id)
            self.allowances.clear()
            self.environment_keys.forget(message.environment_id)
            self.objects.forget(message.environment_id)
            self.ledger.forget_routes(message.environment_id)
        elif isinstance(message, TriggerChanged):
            self.hooks.forget(message.trigger_id)

    def _forget(self) -> None:
        """Messages may have been missed: believe nothing that was cached."""
        self.keys.clear()
        self.node_tokens.clear()
        self.sessions.clear()
        self.places.clear()
        self.hooks.clear()
        self.allowances.clear()


async def _state(check: object) -> str:
    try:
        async with asyncio.timeout(2):
            await check  # type: ignore[misc]  # a coroutine
    except (WaypostError, TimeoutError, OSError) as error:
        return error.detail if isinstance(error, WaypostError) else "does not answer"
    return OK
