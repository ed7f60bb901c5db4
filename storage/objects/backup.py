"""All buckets as one stream and back, with the administrator's key. Blocking: runs in a thread.

The stream is a tar whose members carry bucket, key, type and metadata in their extended headers; its names are for
people. An object that goes while it is copied is left out: whoever deleted it did not want it.
"""

import io
import json
import tarfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO, Protocol, cast

import msgspec

from storage.objects.store import REGION

_SMALL_BYTES = 4 << 20  # fetched ahead and whole; larger ones are streamed
_THREADS = 8
_AHEAD = 16
_MISSING = ("NoSuchKey", "NoSuchBucket", "404")

Told = Callable[[int, int], None]  # objects and bytes so far


class Listed(msgspec.Struct, frozen=True):
    """An object as a listing shows it."""

    bucket: str
    key: str
    size_bytes: int


class _Fetched(msgspec.Struct, frozen=True):
    listed: Listed
    body: Any  # with `read`
    size_bytes: int
    kind: str
    metadata: dict[str, str]


class Sink(Protocol):
    def write(self, data: bytes, /) -> Any: ...


def connect(endpoint: str, access_key: str, secret_key: str) -> Any:
    """A client for S3 that may be used from several threads."""
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(access_key, secret_key, region_name=REGION)
    config = Config(
        connect_timeout=3,
        read_timeout=60,
        max_pool_connections=_THREADS * 2,
        retries={"max_attempts": 5, "mode": "standard"},
        s3={"addressing_style": "path"},
    )
    return session.client("s3", endpoint_url=endpoint, config=config)


def list_buckets(s3: Any) -> list[str]:
    """Every bucket, by name."""
    return sorted(bucket["Name"] for bucket in s3.list_buckets().get("Buckets", ()))


def list_objects(s3: Any, bucket: str) -> Iterator[Listed]:
    """Every object of a bucket; none when the bucket has gone."""
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for entry in page.get("Contents", ()):
                yield Listed(bucket, entry["Key"], entry["Size"])
    except s3.exceptions.ClientError as error:
        if not _is_missing(error):
            raise


def save(s3: Any, buckets: list[str], sink: Sink, told: Told) -> tuple[int, int]:
    """Write every object of the buckets into `sink`; (objects, bytes)."""
    count = size = 0
    with tarfile.open(fileobj=cast(BinaryIO, sink), mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for found in _fetch_all(s3, (one for bucket in buckets for one in list_objects(s3, bucket))):
            archive.addfile(_member(found), found.body)
            count, size = count + 1, size + found.size_bytes
            told(count, size)
    return count, size


def load(
    s3: Any, buckets: list[str], source: BinaryIO, wanted: Callable[[str, str], bool], told: Told
) -> tuple[int, int]:
    """Make the buckets and put the objects of the stream whose (bucket, key) is wanted; (objects, bytes)."""
    for bucket in buckets:
        _make_bucket(s3, bucket)
    count = size = 0
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool, tarfile.open(fileobj=source, mode="r|") as archive:
        for member in archive:
            body = archive.extractfile(member)
            if body is None or not wanted(member.pax_headers["WAYPOST.bucket"], member.pax_headers["WAYPOST.key"]):
                continue
            if member.size <= _SMALL_BYTES:
                waiting.append(pool.submit(_put, s3, member, io.BytesIO(body.read())))
            else:
                _put(s3, member, body)
            if len(waiting) > _AHEAD:
                waiting.popleft().result()
            count, size = count + 1, size + member.size
            told(count, size)
        for future in waiting:
            future.result()
    return count, size


def _fetch_all(s3: Any, listed: Iterator[Listed]) -> Iterator[_Fetched]:
    """In order, small ones some way ahead."""
    waiting: deque[Future[_Fetched | None] | Listed] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for one in listed:
            waiting.append(pool.submit(_fetch, s3, one) if one.size_bytes <= _SMALL_BYTES else one)
            if len(waiting) > _AHEAD and (found := _taken(s3, waiting.popleft())) is not None:
                yield found
        while waiting:
            if (found := _taken(s3, waiting.popleft())) is not None:
                yield found


def _taken(s3: Any, waiting: "Future[_Fetched | None] | Listed") -> _Fetched | None:
    return waiting.result() if isinstance(waiting, Future) else _fetch(s3, waiting, whole=False)


def _fetch(s3: Any, listed: Listed, *, whole: bool = True) -> _Fetched | None:
    try:
        answer = s3.get_object(Bucket=listed.bucket, Key=listed.key)
    except s3.exceptions.ClientError as error:
        if _is_missing(error):
            return None
        raise
    body = io.BytesIO(answer["Body"].read()) if whole else answer["Body"]
    return _Fetched(listed, body, answer["ContentLength"], answer.get("ContentType", ""), answer.get("Metadata", {}))


def _member(found: _Fetched) -> tarfile.TarInfo:
    member = tarfile.TarInfo(f"{found.listed.bucket}/{found.listed.key}")
    member.size = found.size_bytes
    member.mode = 0o600
    member.pax_headers = {
        "WAYPOST.bucket": found.listed.bucket,
        "WAYPOST.key": found.listed.key,
        "WAYPOST.type": found.kind,
        "WAYPOST.metadata": json.dumps(found.metadata),
    }
    return member


def _put(s3: Any, member: tarfile.TarInfo, body: Any) -> None:
    headers = member.pax_headers
    extra: dict[str, Any] = {"Metadata": json.loads(headers.get("WAYPOST.metadata", "{}"))}
    if headers.get("WAYPOST.type"):
        extra["ContentType"] = headers["WAYPOST.type"]
    s3.upload_fileobj(body, headers["WAYPOST.bucket"], headers["WAYPOST.key"], ExtraArgs=extra)


def _make_bucket(s3: Any, bucket: str) -> None:
    try:
        s3.create_bucket(Bucket=bucket)
    except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
        s3.head_bucket(Bucket=bucket)


def _is_missing(error: Any) -> bool:
    return error.response.get("Error", {}).get("Code") in _MISSING
