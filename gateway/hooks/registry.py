"""Webhook triggers as the door needs them: verifier with open secrets, place, expressions; cached for 5 s.

Changes are heard at once by message (`TriggerChanged`), else within those 5 s. Refuses to show a secret: what is open
lives in a `Verifier` alone.
"""

from uuid import UUID

from gateway.cache import Cache
from gateway.limit import Policy
from gateway.place import Place, place_of
from storage.postgres.database import Database
from storage.postgres.tenancy.environment import read_environment
from storage.postgres.tenancy.organization import read_organization
from storage.postgres.tenancy.project import read_project
from storage.postgres.trigger.trigger import find_trigger, read_secrets
from storage.secrets import EnvironmentKeys
from waypost.access.model import Principal, PrincipalKind
from waypost.limit.model import BURST_SECONDS
from waypost.tenancy.model import Status
from waypost.trigger.expression import Expression, compile_expression
from waypost.trigger.model import Kind, Trigger, job_scope, secret_place
from waypost.trigger.operation import webhook_settings
from waypost.trigger.signature import Verifier

CACHE_SECONDS = 5.0


class Hook:
    """One webhook trigger, ready to be fired."""

    __slots__ = ("delivery", "filter", "map", "place", "policy", "principal", "scope", "trigger", "verifier")

    def __init__(self, trigger: Trigger, verifier: Verifier, place: Place) -> None:
        settings = webhook_settings(trigger)
        rate = settings.rate_per_second
        self.trigger, self.verifier, self.place = trigger, verifier, place
        self.filter, self.map = _compiled(settings.filter), _compiled(settings.map)
        self.delivery = _compiled(settings.verify.delivery_expression)
        self.policy = Policy("trigger", rate, rate * BURST_SECONDS)
        self.principal = Principal(PrincipalKind.TRIGGER, trigger.id, (), name=trigger.name)
        self.scope = job_scope(trigger.id, trigger.kind)


def _compiled(text: str | None) -> Expression | None:
    return None if text is None else compile_expression(text)


class Hooks:
    """Webhook triggers by id, of all environments."""

    def __init__(self, database: Database, keys: EnvironmentKeys, default_limits: dict[str, int]) -> None:
        self._database, self._keys, self._default_limits = database, keys, default_limits
        self._cache: Cache[UUID, Hook] = Cache(CACHE_SECONDS)

    async def find(self, trigger_id: UUID) -> Hook | None:
        """None when there is no such webhook trigger, or its environment is gone."""
        return self._cache.peek(trigger_id) or await self._cache.get(trigger_id, lambda: self.load(trigger_id))

    async def load(self, trigger_id: UUID) -> Hook | None:
        """As it is now."""
        async with self._database.hot() as connection:
            trigger = await find_trigger(connection, trigger_id)
            if trigger is None or trigger.kind is not Kind.WEBHOOK:
                return None
            secrets = await read_secrets(connection, trigger_id)
            environment = await read_environment(connection, trigger.environment_id)
            if environment is None or environment.status is Status.DELETED:
                return None
            organization = await read_organization(connection, environment.organization_id)
            project = await read_project(connection, environment.organization_id, environment.project_id)
        if organization is None:
            return None
        opened = []
        if secrets:
            key = await self._keys.data_key(environment.id)
            opened = [key.open(secret_place(trigger_id, one.ordinal), one.sealed).decode() for one in secrets]
        place = place_of(organization, project, environment, self._default_limits)
        return Hook(trigger, Verifier(webhook_settings(trigger).verify, opened), place)

    @staticmethod
    def unsigned(trigger: Trigger, place: Place) -> Hook:
        """A webhook trigger that nothing can be verified with: for its filter and map."""
        return Hook(trigger, Verifier(webhook_settings(trigger).verify, ()), place)

    def forget(self, trigger_id: UUID) -> None:
        """The trigger was changed, deleted, or made."""
        self._cache.forget(lambda hook: hook.trigger.id == trigger_id)

    def forget_within(self, identifier: UUID) -> None:
        """An organization, a project or an environment changed."""
        self._cache.forget(
            lambda hook: (
                identifier
                in (hook.place.scope.environment_id, hook.place.scope.project_id, hook.place.scope.organization_id)
            )
        )

    def clear(self) -> None:
        self._cache.clear()
