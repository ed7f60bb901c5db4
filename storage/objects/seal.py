"""Copies of the audit's seals in a bucket of the platform's own, out of the database's reach (decision 30).

`batch/<number>` holds the batch as JSON, `anchor/<number>` the root of the last batch that retention dropped. An object
is written once: one that is there already is compared, never replaced. The bucket keeps versions, so that one which was
replaced all the same is still to be found.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypeVar

import msgspec

from storage.objects.store import REGION
from waypost.audit.model import Anchor, Seal
from waypost.errors import Category, WaypostError, unavailable

BUCKET = "waypost-audit"

_BATCH, _ANCHOR = "batch/", "anchor/"
_T = TypeVar("_T")


class SealStore:
    """The bucket, with the object store's administrator's key. boto3 works in threads and is loaded when first used."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str, bucket: str = BUCKET) -> None:
        self._endpoint, self._access_key, self._secret_key, self._bucket = endpoint, access_key, secret_key, bucket
        self._kept: Any = None
        self._made = False

    async def put_batch(self, batch: Seal) -> bool:
        """Keep a batch; False when another one of its number is there, which stays. Raises 503 `unavailable`."""
        return await self._run(lambda: self._put(batch_key(batch.number), msgspec.json.encode(batch)))

    async def put_anchor(self, anchor: Anchor) -> bool:
        """Keep where the chain begins; as `put_batch`."""
        return await self._run(lambda: self._put(f"{_ANCHOR}{anchor.number:020d}", msgspec.json.encode(anchor)))

    async def batches(self, after: int) -> AsyncIterator[Seal]:
        """Every batch with a greater number, in order of numbers. One that cannot be read raises `seal_unreadable`."""
        numbers = await self._run(lambda: list(self._numbers(_BATCH, after)))
        for number in numbers:
            found = await self._run(lambda number=number: self._get(batch_key(number)))  # type: ignore[misc]
            if found is not None:
                yield _decoded(found, Seal, number)

    async def anchor(self) -> Anchor | None:
        """The newest anchor."""

        def read() -> bytes | None:
            numbers = list(self._numbers(_ANCHOR, 0))
            return self._get(f"{_ANCHOR}{numbers[-1]:020d}") if numbers else None

        found = await self._run(read)
        return None if found is None else _decoded(found, Anchor, 0)

    async def batch(self, number: int) -> Seal | None:
        """One batch; None when it is not there."""
        found = await self._run(lambda: self._get(batch_key(number)))
        return None if found is None else _decoded(found, Seal, number)

    async def forget_batches(self, until: int) -> None:
        """Delete batches up to that number, and the anchors before it: retention dropped them."""

        def forget() -> None:
            for prefix, last in ((_BATCH, until), (_ANCHOR, until - 1)):
                for number in [number for number in self._numbers(prefix, 0) if number <= last]:
                    self._client().delete_object(Bucket=self._bucket, Key=f"{prefix}{number:020d}")

        await self._run(forget)

    # --- blocking -----------------------------------------------------------------------------------------------------

    async def _run(self, work: Callable[[], _T]) -> _T:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return await asyncio.to_thread(work)
        except BotoCoreError as error:
            raise unavailable("The object store") from error
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500:
                raise unavailable("The object store") from error
            raise

    def _client(self) -> Any:
        if self._kept is None:
            import boto3
            from botocore.config import Config

            session = boto3.session.Session(self._access_key, self._secret_key, region_name=REGION)
            config = Config(
                connect_timeout=3,
                read_timeout=30,
                retries={"max_attempts": 2, "mode": "standard"},
                s3={"addressing_style": "path"},
            )
            self._kept = session.client("s3", endpoint_url=self._endpoint, config=config)
        return self._kept

    def _make(self) -> None:
        """The bucket, keeping versions; once a process."""
        s3 = self._client()
        try:
            s3.create_bucket(Bucket=self._bucket)
        except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
            s3.head_bucket(Bucket=self._bucket)  # raises when it is somebody else's
        s3.put_bucket_versioning(Bucket=self._bucket, VersioningConfiguration={"Status": "Enabled"})
        self._made = True

    def _put(self, key: str, data: bytes) -> bool:
        if not self._made:
            self._make()
        try:
            self._client().put_object(Bucket=self._bucket, Key=key, Body=data, IfNoneMatch="*")
        except self._client().exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
                raise
            return self._get(key) == data
        return True

    def _get(self, key: str) -> bytes | None:
        s3 = self._client()
        try:
            data: bytes = s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except (s3.exceptions.NoSuchKey, s3.exceptions.NoSuchBucket):
            return None
        return data

    def _numbers(self, prefix: str, after: int) -> Iterator[int]:
        """Numbers of the keys under a prefix that are greater, ascending."""
        pages = self._client().get_paginator("list_objects_v2")
        start = f"{prefix}{after:020d}"
        try:
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, StartAfter=start):
                for item in page.get("Contents", ()):
                    name = item["Key"].removeprefix(prefix)
                    if name.isdigit():
                        yield int(name)
        except self._client().exceptions.NoSuchBucket:
            return


def batch_key(number: int) -> str:
    """Keys sort as their numbers do."""
    return f"{_BATCH}{number:020d}"


def _decoded(data: bytes, kind: type[_T], number: int) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        what = f"batch {number}" if number else "where the chain begins"
        raise WaypostError(
            "seal_unreadable",
            f"The object store's copy of {what} was altered: it cannot be read.",
            Category.INTERNAL,
            extra={"batch": number},
        ) from error
