"""The object store of a process: what it promises when things are there, missing, or away."""

import time
from typing import Any
from uuid import UUID

import msgspec
import pytest

from infra.local.folder import DataFolder
from storage.objects.admin import ObjectAdmin
from storage.objects.store import ObjectStore, S3Credentials
from waypost import ids
from waypost.errors import WaypostError


class KeptKeys:
    """The secrets of some environments, as EnvironmentKeys would give them."""

    def __init__(self) -> None:
        self.kept: dict[UUID, S3Credentials] = {}

    async def get_secret(self, environment_id: UUID, name: str) -> bytes | None:
        found = self.kept.get(environment_id)
        return None if found is None else msgspec.json.encode(found)


@pytest.fixture(scope="session")
def endpoint(platform: Any) -> str:
    return f"http://{platform.process('objects')['address']}"


@pytest.fixture(scope="session")
def admin(platform: Any, endpoint: str) -> ObjectAdmin:
    passwords = DataFolder(platform.data_dir).passwords()
    return ObjectAdmin(endpoint, passwords["s3_access_key"], passwords["s3_secret_key"])


async def test_what_is_put_is_got_until_it_is_deleted(admin: ObjectAdmin, endpoint: str) -> None:
    """To the byte, up to a megabyte; over what was there; deleting twice is no error."""
    environment, keys = ids.new_id(), KeptKeys()
    await admin.make_bucket(environment)
    keys.kept[environment] = await admin.make_key(environment)
    store = ObjectStore(endpoint, keys)  # type: ignore[arg-type]
    await store.put(environment, "payload/1", b"first")
    await store.put(environment, "payload/1", bytes(range(256)) * 4096)
    assert await store.get(environment, "payload/1") == bytes(range(256)) * 4096
    for _ in range(2):
        await store.delete(environment, "payload/1")
    with pytest.raises(WaypostError) as caught:
        await store.get(environment, "payload/1")
    assert caught.value.code == "not_found"


async def test_administration_may_be_repeated(admin: ObjectAdmin, endpoint: str) -> None:
    """The bucket keeps what it holds; a fresh key replaces the former one, which opens nothing any more."""
    environment, keys = ids.new_id(), KeptKeys()
    await admin.make_bucket(environment)
    old = keys.kept[environment] = await admin.make_key(environment)
    await ObjectStore(endpoint, keys).put(environment, "a", b"kept")  # type: ignore[arg-type]
    await admin.make_bucket(environment)
    keys.kept[environment] = await admin.make_key(environment)
    assert keys.kept[environment] != old
    assert await ObjectStore(endpoint, keys).get(environment, "a") == b"kept"  # type: ignore[arg-type]
    keys.kept[environment] = old
    with pytest.raises(WaypostError) as caught:
        await ObjectStore(endpoint, keys).get(environment, "a")  # type: ignore[arg-type]
    assert caught.value.code == "object_store_refused"


async def test_an_environment_without_credentials_is_not_found(endpoint: str) -> None:
    """Not provisioned, or gone."""
    with pytest.raises(WaypostError) as caught:
        await ObjectStore(endpoint, KeptKeys()).get(ids.new_id(), "a")  # type: ignore[arg-type]
    assert caught.value.code == "not_found"


async def test_a_store_that_is_away_is_unavailable_soon() -> None:
    """503 within seconds, for reading, writing, and administration."""
    environment, keys = ids.new_id(), KeptKeys()
    keys.kept[environment] = S3Credentials("a", "b")
    store = ObjectStore("http://127.0.0.1:1", keys)  # type: ignore[arg-type]
    began = time.monotonic()
    for work in (
        store.get(environment, "a"),
        store.put(environment, "a", b""),
        store.ping(),
        ObjectAdmin("http://127.0.0.1:1", "a", "b").make_bucket(environment),
    ):
        with pytest.raises(WaypostError) as caught:
            await work
        assert (caught.value.code, caught.value.retryable) == ("unavailable", True)
    assert time.monotonic() - began < 15
