"""Bytes in S3: a bucket per environment, reached with that environment's own key and no other (design, Isolation).

Refuses: listing, and anything the caller did not seal: what is put here is what the bucket shows. obstore is loaded
with the first object, so that a process which never sees a large payload does not pay for it.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from storage.secrets import S3_CREDENTIALS, EnvironmentKeys
from waypost.errors import Category, WaypostError, not_found, unavailable

if TYPE_CHECKING:
    from obstore.store import S3Store

REGION = "us-east-1"  # S3 wants one; ours has one place
REQUEST_SECONDS = 30.0  # for a request with its whole answer
_STORES = 256
_BUCKET = re.compile("wp-[0-9a-f]{32}")


class S3Credentials(msgspec.Struct, frozen=True):
    """What `s3_credentials` of an environment holds, as JSON."""

    access_key: str
    secret_key: str


def bucket_name(environment_id: UUID) -> str:
    """`wp-<32 hex digits>`."""
    return f"wp-{environment_id.hex}"


def is_bucket_name(name: str) -> bool:
    """Whether a bucket is, or was, an environment's."""
    return _BUCKET.fullmatch(name) is not None


class ObjectStore:
    """All environments' buckets as one process uses them. Keys are chosen by the caller: `payload/<job id>`."""

    def __init__(self, endpoint: str, keys: EnvironmentKeys) -> None:
        self._endpoint, self._keys = endpoint, keys
        self._stores: OrderedDict[UUID, S3Store] = OrderedDict()

    async def put(self, environment_id: UUID, key: str, data: bytes) -> None:
        """Keep `data` under `key`, durable on return, over anything that was there. Raises 503 `unavailable`."""
        from obstore import put_async

        store = await self.bucket(environment_id)
        with translated():
            await put_async(store, key, data, use_multipart=False)

    async def get(self, environment_id: UUID, key: str) -> bytes:
        """The bytes; raises 404 when there are none, 503 `unavailable`."""
        from obstore import get_async

        store = await self.bucket(environment_id)
        with translated():
            answer = await get_async(store, key)
            return bytes(await answer.bytes_async())

    async def delete(self, environment_id: UUID, key: str) -> None:
        """Remove it; no error when there was none. Raises 503 `unavailable`."""
        from obstore import delete_async

        store = await self.bucket(environment_id)
        with translated():
            await delete_async(store, key)

    def forget(self, environment_id: UUID) -> None:
        """Drop the cached credentials of an environment that was deleted or got new ones."""
        self._stores.pop(environment_id, None)

    async def ping(self) -> None:
        """Raises `unavailable` when nothing listens at the endpoint; for readiness."""
        parts = urlsplit(self._endpoint)
        try:
            async with asyncio.timeout(2):
                _, writer = await asyncio.open_connection(parts.hostname, parts.port or 443)
        except (OSError, TimeoutError) as error:
            raise unavailable("The object store") from error
        writer.close()

    async def bucket(self, environment_id: UUID) -> "S3Store":
        """The environment's bucket, opened with its own key; for the modules beside this one. Raises 404."""
        store = self._stores.get(environment_id)
        if store is None:
            kept = await self._keys.get_secret(environment_id, S3_CREDENTIALS)
            if kept is None:
                raise not_found("environment")
            store = open_store(self._endpoint, environment_id, msgspec.json.decode(kept, type=S3Credentials))
            self._stores[environment_id] = store
            if len(self._stores) > _STORES:
                self._stores.popitem(last=False)
        self._stores.move_to_end(environment_id)
        return store


def open_store(endpoint: str, environment_id: UUID, credentials: S3Credentials) -> "S3Store":
    """The environment's bucket with the given key; connects when first used."""
    from obstore.store import S3Store

    return S3Store(
        bucket_name(environment_id),
        endpoint=endpoint,
        region=REGION,
        access_key_id=credentials.access_key,
        secret_access_key=credentials.secret_key,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "timeout": timedelta(seconds=REQUEST_SECONDS),
            "connect_timeout": "3s",
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=10)},
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn what obstore raises into our errors: 404, 503, or 500 for a refused key."""
    from obstore import exceptions

    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError) as error:
        raise not_found("object") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise _refused() from error
    except exceptions.BaseError as error:
        if "AccessDenied" in str(error):  # deletion goes by a batch request, whose refusals have no class of their own
            raise _refused() from error
        raise unavailable("The object store") from error


def _refused() -> WaypostError:
    return WaypostError("object_store_refused", "The object store refused the environment's key.", Category.INTERNAL)
