"""Making what an environment has in S3: bucket, user, policy, key. Worker only, with the administrator's key.

Every call may be made again. boto3 (0.3 s of imports) is loaded with the first one and works in threads.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from storage.objects.store import REGION, S3Credentials, bucket_name
from waypost.errors import unavailable

_A = TypeVar("_A")
_T = TypeVar("_T")

POLICY_NAME = "own-bucket"
# Actions that SeaweedFS knows too: it refuses a policy with any other, such as s3:ListMultipartUploadParts.
_ON_BUCKET = ("s3:ListBucket", "s3:GetBucketLocation")
_ON_OBJECTS = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")


def policy(environment_id: UUID) -> str:
    """What the environment's user may do: read and write objects of its bucket, and nothing of the bucket itself."""
    bucket = f"arn:aws:s3:::{bucket_name(environment_id)}"
    statements = [
        {"Effect": "Allow", "Action": list(_ON_BUCKET), "Resource": [bucket]},
        {"Effect": "Allow", "Action": list(_ON_OBJECTS), "Resource": [f"{bucket}/*"]},
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


class ObjectAdmin:
    """S3 and IAM at one endpoint."""

    def __init__(self, endpoint: str, access_key: str, secret_key: str) -> None:
        self._endpoint, self._access_key, self._secret_key = endpoint, access_key, secret_key
        self._clients: dict[str, Any] = {}

    async def make_bucket(self, environment_id: UUID) -> None:
        """The environment's bucket; no error when it is there."""
        await self._run(self._make_bucket, bucket_name(environment_id))

    async def make_key(self, environment_id: UUID) -> S3Credentials:
        """The environment's user with its policy and one fresh key; keys that it had before stop working."""
        return await self._run(self._make_key, environment_id)

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
        iam.put_user_policy(UserName=user, PolicyName=POLICY_NAME, PolicyDocument=policy(environment_id))
        made = iam.create_access_key(UserName=user)["AccessKey"]
        return S3Credentials(made["AccessKeyId"], made["SecretAccessKey"])
