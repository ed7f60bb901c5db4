"""Another's bucket with one's own S3 key, another's door with one's own signing key: refused by the server."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from joserfc import jwt
from joserfc.jwk import RSAKey

from gateway.engine.signing import claims_of
from storage.objects.store import REGION, bucket_name
from storage.secrets import EnvironmentKeys
from tests.gateway.conftest import bearer
from tests.isolation.conftest import Tenant
from tests.relay.fake_node import FakeNode
from waypost.access.model import NodeCredential
from waypost.secret import SealError

OBJECT = "payload/of-the-other"


def _client(platform: Any, tenant: Tenant, service: str = "s3") -> Any:
    """boto3 with the environment's own key."""
    return boto3.client(
        service,
        endpoint_url=f"http://{platform.process('objects')['address']}",
        aws_access_key_id=tenant.s3.access_key,
        aws_secret_access_key=tenant.s3.secret_key,
        region_name=REGION,
        config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
    )


Call = Callable[[Any, str, str], Any]
BUCKET_ATTACKS: dict[str, Call] = {
    "get": lambda s3, theirs, mine: s3.get_object(Bucket=theirs, Key=OBJECT),
    "head": lambda s3, theirs, mine: s3.head_object(Bucket=theirs, Key=OBJECT),
    "put": lambda s3, theirs, mine: s3.put_object(Bucket=theirs, Key="mine", Body=b"x"),
    "overwrite": lambda s3, theirs, mine: s3.put_object(Bucket=theirs, Key=OBJECT, Body=b"x"),
    "delete": lambda s3, theirs, mine: s3.delete_object(Bucket=theirs, Key=OBJECT),
    "list": lambda s3, theirs, mine: s3.list_objects_v2(Bucket=theirs),
    "list versions": lambda s3, theirs, mine: s3.list_object_versions(Bucket=theirs),
    "copy from": lambda s3, theirs, mine: s3.copy_object(
        Bucket=mine, Key="stolen", CopySource={"Bucket": theirs, "Key": OBJECT}
    ),
    "copy to": lambda s3, theirs, mine: s3.copy_object(
        Bucket=theirs, Key="planted", CopySource={"Bucket": mine, "Key": "own"}
    ),
    "begin parts": lambda s3, theirs, mine: s3.create_multipart_upload(Bucket=theirs, Key="parts"),
    "bucket policy": lambda s3, theirs, mine: s3.put_bucket_policy(Bucket=theirs, Policy="{}"),
    "bucket acl": lambda s3, theirs, mine: s3.put_bucket_acl(Bucket=theirs, ACL="public-read"),
    "delete bucket": lambda s3, theirs, mine: s3.delete_bucket(Bucket=theirs),
    "new bucket": lambda s3, theirs, mine: s3.create_bucket(Bucket="wp-another"),
}


@pytest.mark.parametrize("attack", BUCKET_ATTACKS)
async def test_an_environments_s3_key_reaches_no_other_bucket(
    platform: Any, tenants: tuple[Tenant, Tenant], attack: str
) -> None:
    """Reading, writing, copying in either direction, and changing what a bucket lets through."""
    mine, other = tenants
    theirs, own = bucket_name(other.id), bucket_name(mine.id)
    owner, stranger = _client(platform, other), _client(platform, mine)

    def attempt() -> None:
        owner.put_object(Bucket=theirs, Key=OBJECT, Body=b"of the other")
        stranger.put_object(Bucket=own, Key="own", Body=b"own")
        with pytest.raises(ClientError) as caught:
            BUCKET_ATTACKS[attack](stranger, theirs, own)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 405), caught.value
        assert owner.get_object(Bucket=theirs, Key=OBJECT)["Body"].read() == b"of the other"
        assert [item["Key"] for item in owner.list_objects_v2(Bucket=theirs)["Contents"]] == [OBJECT]

    await asyncio.to_thread(attempt)


async def test_a_presigned_address_reaches_no_other_bucket(platform: Any, tenants: tuple[Tenant, Tenant]) -> None:
    """One can sign any address with one's own key; the server looks whose bucket it is."""
    stranger = _client(platform, tenants[0])
    address = stranger.generate_presigned_url("get_object", {"Bucket": bucket_name(tenants[1].id), "Key": OBJECT})
    answer = await tenants[0].client.get(address, headers={"Authorization": ""})
    assert answer.status_code in (400, 403)
    assert "of the other" not in answer.text


async def test_an_environments_s3_key_sees_no_other_bucket(platform: Any, tenants: tuple[Tenant, Tenant]) -> None:
    """Not even its name; and it administers nothing."""

    def look() -> None:
        try:
            names = {bucket["Name"] for bucket in _client(platform, tenants[0]).list_buckets()["Buckets"]}
        except ClientError:
            names = set()
        assert names <= {bucket_name(tenants[0].id)}
        iam, own, other = _client(platform, tenants[0], "iam"), bucket_name(tenants[0].id), bucket_name(tenants[1].id)
        statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        everything = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam_attacks: list[Callable[[], Any]] = [
            iam.list_users,
            lambda: iam.list_access_keys(UserName=other),
            lambda: iam.create_access_key(UserName=other),
            lambda: iam.list_attached_user_policies(UserName=other),
            lambda: iam.put_user_policy(UserName=own, PolicyName="more", PolicyDocument=everything),
            lambda: iam.create_policy(PolicyName="more", PolicyDocument=everything),
            lambda: iam.create_user(UserName=f"{other}/"),
            lambda: iam.delete_user(UserName=other),
            lambda: iam.create_user(UserName="stranger"),
        ]
        for attempt in iam_attacks:
            with pytest.raises(ClientError) as caught:
                attempt()
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, caught.value

    await asyncio.to_thread(look)


# --- tokens ---------------------------------------------------------------------------------------------------------


class Signer:
    """An environment's real signing key, opened as its gateway opens it, and a credential of it."""

    def __init__(self, tenant: Tenant, kid: str, key: RSAKey, credential: NodeCredential) -> None:
        self.tenant, self.kid, self.key, self.credential = tenant, kid, key, credential

    def token(self, *, kid: str | None = None, **claims: Any) -> str:
        whole = claims_of(self.credential) | claims
        return str(jwt.encode({"alg": "RS256", "kid": kid or self.kid, "typ": "JWT"}, whole, self.key, ["RS256"]))


@pytest.fixture(scope="session")
async def signers(platform: Any, tenants: tuple[Tenant, Tenant], environment_keys: EnvironmentKeys) -> Any:
    admin = await asyncpg.connect(platform.database_url("postgres"))
    made = []
    for tenant in tenants:
        row = await admin.fetchrow(
            "select kid, sealed_private from control.signing_key where environment_id = $1", tenant.id
        )
        data_key = await environment_keys.data_key(tenant.id)
        key = RSAKey.import_key(data_key.open(f"signing:{row['kid']}", bytes(row["sealed_private"])))
        answer = (await tenant.client.post(f"{tenant.path}/node-credentials", json={"name": "n"})).json()
        credential = NodeCredential(
            **dict.fromkeys(NodeCredential.__struct_fields__)
            | {"id": answer["id"], "environment_id": tenant.id, "client_id": answer["client_id"]}
        )
        made.append(Signer(tenant, row["kid"], key, credential))
    await admin.close()
    return tuple(made)


async def _outcome(platform: Any, token: str) -> str:
    """`joined`, or the status of the refusal."""
    node = FakeNode(platform.relay_address, token)
    try:
        async with asyncio.timeout(10):
            await node.join(["report.make"])
            return "joined"
    except (AssertionError, EOFError, TimeoutError):
        async with asyncio.timeout(10):
            return (await node.status())[0]
    finally:
        await node.close()


async def test_a_node_joins_with_its_own_environments_key(platform: Any, signers: tuple[Signer, Signer]) -> None:
    """The control: what follows is refused for a reason."""
    assert await _outcome(platform, signers[0].token()) == "joined"


async def test_another_environments_signing_key_opens_no_relay(platform: Any, signers: tuple[Signer, Signer]) -> None:
    """Its signature under another's key id, another's credential under its own, both swapped, and none at all."""
    mine, other = signers
    forged = {
        "another's key id": mine.token(kid=other.kid),
        "another's key id and claims": mine.token(
            kid=other.kid, waypost_credential=str(other.credential.id), caas_org_id=str(other.tenant.id)
        ),
        "another's credential": mine.token(waypost_credential=str(other.credential.id)),
        "another's credential and tenant": mine.token(
            waypost_credential=str(other.credential.id), caas_org_id=str(other.tenant.id)
        ),
        "no credential": mine.token(waypost_credential=None),
        "an unknown key id": mine.token(kid="0" * 32),
        "expired": mine.token(exp=int(time.time()) - 3600),
    }
    for what, token in forged.items():
        assert await _outcome(platform, token) == "UNAUTHENTICATED", what


async def test_a_tenant_claim_leads_to_no_other_environment(platform: Any, signers: tuple[Signer, Signer]) -> None:
    """The key id names the environment, whatever the token says of its tenant: jobs of the other do not reach it."""
    mine, other = signers
    node = FakeNode(platform.relay_address, mine.token(caas_org_id=str(other.tenant.id)))
    try:
        async with asyncio.timeout(10):
            await node.join(["isolated.work"])
    except EOFError:
        return  # refused at the door is as good
    async with asyncio.timeout(20):
        job = (await other.tenant.client.post(f"{other.tenant.path}/jobs", json={"function": "isolated.work"})).json()
        seen = (await other.tenant.client.get(f"{other.tenant.path}/jobs/{job['id']}")).json()
        listed = (await other.tenant.client.get(f"{other.tenant.path}/nodes")).json()["items"]
    await node.close()
    assert seen["state"] == "queued"
    assert seen["waiting"]["reason"] == "no_node_connected"
    assert listed == []


async def test_a_nodes_token_is_no_key_of_the_gateway(signers: tuple[Signer, Signer]) -> None:
    """Neither for its own environment nor for another; nor is an API key a token of a node (see above)."""
    mine, other = signers
    for tenant in (mine.tenant, other.tenant):
        for token in (mine.token(), mine.token(kid=other.kid), mine.token(caas_org_id=str(other.tenant.id))):
            answer = await tenant.client.get(tenant.path, headers=bearer(token))
            assert answer.status_code == 401, answer.text


async def test_sealed_signing_keys_open_with_their_own_data_key_only(
    platform: Any, signers: tuple[Signer, Signer], environment_keys: EnvironmentKeys
) -> None:
    """What one reads of another's row is noise."""
    mine, other = signers
    admin = await asyncpg.connect(platform.database_url("postgres"))
    sealed = bytes(await admin.fetchval("select sealed_private from control.signing_key where kid = $1", other.kid))
    await admin.close()
    with pytest.raises(SealError):
        (await environment_keys.data_key(mine.tenant.id)).open(f"signing:{other.kid}", sealed)
