"""An environment's keys and secrets, opened: data key, database password, S3 credentials, private signing keys.

Data keys are cached in memory, bounded and for a while; everything else is read when asked. Refuses: plain text at
rest, and an answer for an environment whose key is gone.
"""

from collections import OrderedDict
from uuid import UUID

from storage.postgres.database import Connection, Database, translate_errors
from storage.postgres.tenancy import kek
from storage.postgres.tenancy import secret as rows
from waypost import clock, errors
from waypost.secret import DataKey, KeyEncryptionKeys, KeyRing, SealError

DATA_KEY = "data_key"
DATABASE_PASSWORD = "database_password"  # noqa: S105 - a name
S3_CREDENTIALS = "s3_credentials"

_CACHE_SECONDS = 60.0  # how long a deleted environment's key may linger in a process
_CACHE_SIZE = 4096


def place(environment_id: UUID, name: str) -> str:
    """Where a secret of an environment lies, as its associated data."""
    return f"env:{environment_id}:{name}"


class EnvironmentKeys:
    """Keys and secrets of all environments of one process."""

    def __init__(self, database: Database, keks: KeyEncryptionKeys) -> None:
        self._database, self._keks = database, keks
        self._cache: OrderedDict[UUID, tuple[DataKey, float]] = OrderedDict()

    async def data_key(self, environment_id: UUID) -> DataKey:
        """The environment's data key; raises 404 when there is none (never made, or destroyed with its environment)."""
        kept = self._cache.get(environment_id)
        if kept is not None and kept[1] > clock.monotonic():
            return kept[0]
        async with self._database.unit() as connection:
            found = await rows.read_wrapped(connection, environment_id, DATA_KEY)
        if found is None:
            self.forget(environment_id)
            raise errors.not_found("environment")
        wrapped, kek_id = found
        key = DataKey(self._keks.by_id(kek_id).unwrap(place(environment_id, DATA_KEY), wrapped))
        self._cache[environment_id] = (key, clock.monotonic() + _CACHE_SECONDS)
        self._cache.move_to_end(environment_id)
        while len(self._cache) > _CACHE_SIZE:
            self._cache.popitem(last=False)
        return key

    def forget(self, environment_id: UUID) -> None:
        """Drop a cached key: the environment was deleted, or its key changed."""
        self._cache.pop(environment_id, None)

    async def put_secret(self, environment_id: UUID, name: str, plaintext: bytes) -> bool:
        """Seal and keep a secret; False when there is one of that name already, which stays."""
        sealed = (await self.data_key(environment_id)).seal(place(environment_id, name), plaintext)
        async with self._database.unit() as connection:
            return await rows.insert_secret(connection, environment_id, name, sealed)

    async def set_secret(self, environment_id: UUID, name: str, plaintext: bytes) -> None:
        """Seal and keep a secret in the place of one of that name."""
        sealed = (await self.data_key(environment_id)).seal(place(environment_id, name), plaintext)
        async with self._database.unit() as connection:
            if not await rows.insert_secret(connection, environment_id, name, sealed):
                await rows.replace_secret(connection, environment_id, name, sealed)

    async def get_secret(self, environment_id: UUID, name: str) -> bytes | None:
        """The secret's plain text, or None when there is none."""
        async with self._database.unit() as connection:
            sealed = await rows.read_secret(connection, environment_id, name)
        if sealed is None:
            return None
        return (await self.data_key(environment_id)).open(place(environment_id, name), sealed)


async def require_keks(connection: Connection, ring: KeyRing, *, register: bool = True) -> None:
    """For the start of a process: its keys are those of this data. They are registered, unless `register`
    is False. Raises SealError with a sentence for the operator.
    """
    with translate_errors():
        registered = await kek.registered_keks(connection)
        missing = await kek.missing_keks(connection, ring.ids)
        if missing or (registered and registered.isdisjoint(ring.ids)):
            wanted = ", ".join(missing or sorted(registered))
            raise SealError(
                f"the data was sealed with {wanted}, the key that is given is {', '.join(ring.ids)}: "
                "give the key file that belongs to this data"
            )
        if register:
            for kek_id in ring.ids:
                await kek.register_kek(connection, kek_id)
