"""An environment's keys and secrets, opened: data key, database password, S3 credentials, private signing keys.

Data keys are cached in memory, bounded and for a while; everything else is read when asked. Refuses: plain text at
rest, and an answer for an environment whose key is gone.
"""

from collections import OrderedDict
from uuid import UUID

from storage.postgres.database import Database
from storage.postgres.tenancy import secret as rows
from waypost import clock, errors
from waypost.secret import DataKey, KeyEncryptionKey

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

    def __init__(self, database: Database, kek: KeyEncryptionKey) -> None:
        self._database, self._kek = database, kek
        self._cache: OrderedDict[UUID, tuple[DataKey, float]] = OrderedDict()

    async def data_key(self, environment_id: UUID) -> DataKey:
        """The environment's data key; raises 404 when there is none (never made, or destroyed with its environment)."""
        kept = self._cache.get(environment_id)
        if kept is not None and kept[1] > clock.monotonic():
            return kept[0]
        async with self._database.unit() as connection:
            wrapped = await rows.read_secret(connection, environment_id, DATA_KEY)
        if wrapped is None:
            self.forget(environment_id)
            raise errors.not_found("environment")
        key = DataKey(self._kek.unwrap(place(environment_id, DATA_KEY), wrapped))
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

    async def get_secret(self, environment_id: UUID, name: str) -> bytes | None:
        """The secret's plain text, or None when there is none."""
        async with self._database.unit() as connection:
            sealed = await rows.read_secret(connection, environment_id, name)
        if sealed is None:
            return None
        return (await self.data_key(environment_id)).open(place(environment_id, name), sealed)
