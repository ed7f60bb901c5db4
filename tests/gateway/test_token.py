"""The token endpoint and the published keys (compute-node contract §3.1, data-plane contract §6.3)."""

import base64
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet, RSAKey

from tests.gateway.conftest import MakeGateway

PATH = "/api/oauth/token"
GRANT = {"grant_type": "client_credentials"}


async def token(client: httpx.AsyncClient, credential: Any, **form: str) -> httpx.Response:
    auth = httpx.BasicAuth(credential.client_id, credential.client_secret)
    return await client.post(PATH, data=form or GRANT, auth=auth)


async def test_a_token_says_who_may_open_a_stream(
    client: httpx.AsyncClient, shared_environment: Any, make_node_credential: Any
) -> None:
    """RS256 under a published key; claims of the contract, and what the credential allows."""
    credential = await make_node_credential(
        shared_environment.path, allowed_tags=["gpu", "region=*"], functions=["a.*"]
    )
    answer = await token(client, credential)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    keys = (await client.get(f"/api/.well-known/jwks.json?environment={shared_environment.id}")).json()
    assert set(keys["keys"][0]) == {"kty", "kid", "use", "alg", "n", "e"}
    read = jwt.decode(body["access_token"], KeySet.import_key_set(keys), algorithms=["RS256"])
    assert read.header["alg"] == "RS256"
    assert read.header["kid"] == keys["keys"][0]["kid"]
    claims = read.claims
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["jti"]
    expected = {
        "sub": credential.client_id,
        "iss": "waypost",
        "caas_org_id": shared_environment.id,
        "scopes": ["ROLE_M2M"],
        "waypost_credential": credential.id,
        "waypost_tags": ["gpu", "region=*"],
        "waypost_functions": ["a.*"],
    }
    assert {name: claims[name] for name in expected} == expected
    by_kid = (await client.get(f"/api/.well-known/jwks.json?kid={read.header['kid']}")).json()
    assert by_kid == keys


async def test_each_environment_has_a_key_of_its_own(
    client: httpx.AsyncClient, shared_environment: Any, environment: Any, make_node_credential: Any
) -> None:
    """A token of one does not verify with the other's key."""
    text = (await token(client, await make_node_credential(environment.path))).json()["access_token"]
    other = (await client.get(f"/api/.well-known/jwks.json?environment={shared_environment.id}")).json()
    with pytest.raises(BadSignatureError):
        jwt.decode(text, RSAKey.import_key(other["keys"][0]), algorithms=["RS256"])


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer x",
        "Basic",
        "Basic %%%",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"wpn_unknownclien:x").decode(),
        "Basic " + base64.b64encode(b"\x00:x").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
    ],
)
async def test_bad_client_credentials_are_invalid_client(platform: Any, authorization: str | None) -> None:
    """401 in OAuth's flat shape."""
    async with httpx.AsyncClient(base_url=platform.api_url, timeout=30) as client:
        headers = {"Authorization": authorization} if authorization else {}
        answer = await client.post(PATH, data=GRANT, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert set(answer.json()) == {"error", "error_description"}
    assert answer.headers["www-authenticate"].startswith("Basic")


async def test_unknown_client_and_wrong_secret_read_the_same(
    client: httpx.AsyncClient, shared_environment: Any, make_node_credential: Any
) -> None:
    """Nobody learns which client ids there are."""
    credential = await make_node_credential(shared_environment.path)
    wrong = await client.post(PATH, data=GRANT, auth=(credential.client_id, "wpns_" + "0" * 43))
    unknown = await client.post(PATH, data=GRANT, auth=("wpn_" + "0" * 12, credential.client_secret))
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()


async def test_other_grants_and_unreadable_forms(
    client: httpx.AsyncClient, shared_environment: Any, make_node_credential: Any
) -> None:
    """400 with OAuth's words."""
    credential = await make_node_credential(shared_environment.path)
    other = await token(client, credential, grant_type="password")
    assert (other.status_code, other.json()["error"]) == (400, "unsupported_grant_type")
    auth = httpx.BasicAuth(credential.client_id, credential.client_secret)
    bad = await client.post(PATH, content=b"\xff\xfe", auth=auth)
    assert (bad.status_code, bad.json()["error"]) == (400, "invalid_request")
    large = await client.post(PATH, content=b"a" * ((4 << 20) + 1), auth=auth)
    assert (large.status_code, large.json()["error"]) == (413, "invalid_request")


async def test_a_deleted_credential_gets_no_token(
    client: httpx.AsyncClient, shared_environment: Any, make_node_credential: Any
) -> None:
    """From the moment of its deletion."""
    credential = await make_node_credential(shared_environment.path)
    assert (await token(client, credential)).status_code == 200
    path = f"{shared_environment.path}/node-credentials/{credential.id}"
    assert (await client.delete(path)).status_code == 204
    assert (await token(client, credential)).status_code == 401
    assert (await client.delete(path)).status_code == 404


async def test_guessing_is_slowed_by_client_id(
    make_gateway: MakeGateway, shared_environment: Any, make_node_credential: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After twenty wrong secrets the client is told to wait, whatever it sends then; successes never count."""
    one = await make_node_credential(shared_environment.path)
    async with make_gateway() as own:
        monkeypatch.setattr(own.services.client_failures, "rate", 1 / 3_600)  # no further guess while this runs
        for _ in range(25):
            assert (await token(own.client, one)).status_code == 200
        for _ in range(20):
            answer = await own.client.post(PATH, data=GRANT, auth=(one.client_id, "wrong"))
            assert answer.status_code == 401
        answer = await token(own.client, one)
        assert (answer.status_code, answer.json()["error"]) == (429, "temporarily_unavailable")
        assert int(answer.headers["retry-after"]) >= 1


async def test_the_key_set_must_be_named(client: httpx.AsyncClient) -> None:
    """Without kid or environment: refused; unknown ones: an empty set."""
    assert (await client.get("/api/.well-known/jwks.json")).status_code == 422
    for query in ("kid=nobody", "kid=%00", "environment=nobody", "environment=01a1fde1-d479-768f-b2d9-f8f542368382"):
        answer = await client.get(f"/api/.well-known/jwks.json?{query}")
        assert (answer.status_code, answer.json()) == (200, {"keys": []})
