"""Making and removing what an environment has in S3: bucket, user, policy, key. Worker only, with the
administrator's key.

Every call may be made again. boto3 (0.3 s of imports) is loaded with the first one and works in threads.
"""

import asyncio
import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from storage.objects.store import REGION, S3Credentials, bucket_name
from waypost.errors import unavailable

_A = TypeVar("_A")
_T = TypeVar("_T")

# One policy for the users of all environments: a user is called as its bucket. When each user had a policy of its own,
# SeaweedFS read all policies for each user, and all users for each change: with 140 users a key took 1 s, now 0.1.
POLICY_NAME = "waypost-own-bucket"
_OWN = "arn:aws:s3:::${aws:username}"
_NAME = re.compile("wp-([0-9a-f]{32})")
# Actions that SeaweedFS knows too: it refuses a policy with any other, such as s3:ListMultipartUploadParts.
_ON_BUCKET = ("s3:ListBucket", "s3:GetBucketLocation")
_ON_OBJECTS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")


# What an environment's user may do: read and write objects of its bucket, and nothing of the bucket itself.
_POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": list(_ON_BUCKET), "Resource": [_OWN]},
            {"Effect": "Allow", "Action": list(_ON_OBJECTS), "Resource": [f"{_OWN}/*"]},
        ],
    }
)


class Emptied(msgspec.Struct, frozen=True):
    """What one call of `empty_bucket` deleted."""

    objects: int
    bytes: int
    more: bool


class Measured(msgspec.Struct, frozen=True):
    """What a bucket holds."""

    objects: int
    bytes: int


class ObjectAdmin:
    """S3 and IAM at one endpoint."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self._endpoint, self._access_key, self._secret_key = endpoint, access_key, secret_key
        self._clients: dict[str, Any] = {}
        self._policy: str | None = None  # the ARN, once it is known

    async def make_bucket(self, environment_id: UUID) -> None:
        """The environment's bucket; no error when it is there."""
        await self._run(self._make_bucket, bucket_name(environment_id))

    async def make_key(self, environment_id: UUID) -> S3Credentials:
        """The environment's user with its policy and one fresh key; keys that it had before stop working."""
        return await self._run(self._make_key, environment_id)

    async def measure_bucket(self, environment_id: UUID) -> Measured | None:
        """How much the bucket holds; None when there is no such bucket."""
        return await self._run(self._measure_bucket, bucket_name(environment_id))

    async def empty_bucket(self, environment_id: UUID) -> Emptied:
        """Delete up to a thousand objects of the bucket; answers what that was, and whether there may be more."""
        return await self._run(self._empty_bucket, bucket_name(environment_id))

    async def delete_bucket(self, environment_id: UUID) -> bool:
        """The bucket itself; no error when there is none. False when somebody has put something into it meanwhile."""
        return await self._run(self._delete_bucket, bucket_name(environment_id))

    async def delete_user(self, environment_id: UUID) -> None:
        """The environment's user with its policy and keys; no error when there is none."""
        await self._run(self._delete_user, bucket_name(environment_id))

    async def environments_with_buckets(self) -> set[UUID]:
        """Environments that have a bucket here."""
        return await self._run(self._buckets, None)

    async def environments_with_users(self) -> set[UUID]:
        """Environments that have a user here."""
        return await self._run(self._users, None)

    async def _run(self, work: Callable[[_A], _T], argument: _A) -> _T:
        from botocore.exceptions import BotoCoreError

        try:
            return await asyncio.to_thread(work, argument)
        except BotoCoreError as error:  # no connection, time-out; a refusal is a ClientError and our own fault
            raise unavailable("The object store") from error

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            import boto3
            from botocore.config import Config

            session = boto3.session.Session(self._access_key, self._secret_key, region_name=REGION)
            config = Config(
                connect_timeout=3,
                read_timeout=30,
                retries={"max_attempts": 3, "mode": "standard"},
                s3={"addressing_style": "path"},
            )
            self._clients[service] = session.client(service, endpoint_url=self._endpoint, config=config)
        return self._clients[service]

    def _make_bucket(self, bucket: str) -> None:
        s3 = self._client("s3")
        try:
            s3.create_bucket(Bucket=bucket)
        except (s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
            s3.head_bucket(Bucket=bucket)  # raises when it is somebody else's

    def _make_key(self, environment_id: UUID) -> S3Credentials:
        iam, user = self._client("iam"), bucket_name(environment_id)
        try:
            iam.create_user(UserName=user)
        except iam.exceptions.EntityAlreadyExistsException:
            for old in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
                iam.delete_access_key(UserName=user, AccessKeyId=old["AccessKeyId"])
        iam.attach_user_policy(UserName=user, PolicyArn=self._own_bucket())
        made = iam.create_access_key(UserName=user)["AccessKey"]
        return S3Credentials(made["AccessKeyId"], made["SecretAccessKey"])

    def _own_bucket(self) -> str:
        """The policy's ARN; it is made when it is not there."""
        if self._policy is None:
            iam = self._client("iam")
            try:
                self._policy = iam.create_policy(PolicyName=POLICY_NAME, PolicyDocument=_POLICY)["Policy"]["Arn"]
            except iam.exceptions.EntityAlreadyExistsException:
                pages = iam.get_paginator("list_policies").paginate(Scope="Local")
                known = {one["PolicyName"]: one["Arn"] for page in pages for one in page["Policies"]}
                self._policy = known[POLICY_NAME]
        return self._policy

    def _measure_bucket(self, bucket: str) -> Measured | None:
        s3, objects, size = self._client("s3"), 0, 0
        try:
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                found = page.get("Contents", [])
                objects, size = objects + len(found), size + sum(one["Size"] for one in found)
        except s3.exceptions.NoSuchBucket:
            return None
        return Measured(objects, size)

    def _empty_bucket(self, bucket: str) -> Emptied:
        s3 = self._client("s3")
        try:
            listed = s3.list_objects_v2(Bucket=bucket)
            found = listed.get("Contents", [])
            if found:
                answer = s3.delete_objects(
                    Bucket=bucket, Delete={"Objects": [{"Key": one["Key"]} for one in found], "Quiet": True}
                )
                if answer.get("Errors"):
                    raise unavailable("The object store")
            else:
                for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
                    s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except s3.exceptions.NoSuchBucket:
            return Emptied(0, 0, more=False)
        return Emptied(len(found), sum(one["Size"] for one in found), more=bool(listed.get("IsTruncated")))

    def _delete_bucket(self, bucket: str) -> bool:
        s3 = self._client("s3")
        try:
            s3.delete_bucket(Bucket=bucket)
        except s3.exceptions.NoSuchBucket:
            return True
        except s3.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "BucketNotEmpty":
                raise
            return False
        return True

    def _delete_user(self, user: str) -> None:
        iam = self._client("iam")
        gone = iam.exceptions.NoSuchEntityException
        with suppress(gone):
            for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
                iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
        with suppress(gone):
            for attached in iam.list_attached_user_policies(UserName=user)["AttachedPolicies"]:
                iam.detach_user_policy(UserName=user, PolicyArn=attached["PolicyArn"])
        with suppress(gone):  # earlier versions gave each user a policy of its own
            for name in iam.list_user_policies(UserName=user)["PolicyNames"]:
                iam.delete_user_policy(UserName=user, PolicyName=name)
        with suppress(gone):
            iam.delete_user(UserName=user)

    def _buckets(self, _: None) -> set[UUID]:
        return _environments(one["Name"] for one in self._client("s3").list_buckets()["Buckets"])

    def _users(self, _: None) -> set[UUID]:
        pages = self._client("iam").get_paginator("list_users").paginate()
        return _environments(one["UserName"] for page in pages for one in page["Users"])


def _environments(names: Iterable[str]) -> set[UUID]:
    """Of names as `bucket_name` makes them; others are somebody else's."""
    return {UUID(hex=found[1]) for name in names if (found := _NAME.fullmatch(name))}
