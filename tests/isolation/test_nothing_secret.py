"""Nothing secret in logs, errors, audit or metrics. The platform's end looks for every secret of the whole run; here it
is made to err in every way we know first, and the search itself is tested.
"""

import base64
import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import MakeCredential
from tests.isolation import secret_scan
from tests.isolation.conftest import Tenant
from tests.isolation.secret_scan import Collected


def test_what_clients_are_told_is_collected(tmp_path: Path) -> None:
    """Keys, secrets and tokens at any depth of an answer or request, and cookies; a payload is the tenant's own."""
    collected = Collected(tmp_path / "secrets.1.jsonl")
    told = {
        "id": "1" * 20,
        "key": "k-234567890123456789",
        "items": [{"client_secret": "s-234567890123456789", "token_url": "http://not-a-secret"}],
        "access_token": "t-234567890123456789",
        "code_verifier_key": "x" * 20,  # no secret: one character
        "payload": {"token": "p" * 20},
        "label_key": "l" * 20,
    }
    request = httpx.Request("POST", "http://x/login", json={"password": "correct horse battery"})
    answer = httpx.Response(200, json=told, headers={"set-cookie": "session=c-234567890123456789"}, request=request)
    collected.look_at(answer)
    assert set(collected.known) == {
        "k-234567890123456789",
        "s-234567890123456789",
        "t-234567890123456789",
        "c-234567890123456789",
        "correct horse battery",
    }
    assert secret_scan.secrets_of_run(tmp_path) == collected.known


def test_the_search_names_the_kind_and_the_place_and_not_the_secret() -> None:
    """One line for each secret in each place."""
    found = secret_scan.leaks({"hush" * 5: "a key"}, [("logs/x", f"one\ntwo {'hush' * 5}\n"), ("logs/y", "nothing")])
    assert found == ["a key is in logs/x, line 2"]


async def test_everything_is_searched(platform: Any, client: httpx.AsyncClient) -> None:
    """Logs of every process, the audit, the metrics of all three kinds; and much is known to be searched for."""
    places = dict(await secret_scan.places_of(platform))
    for name in ("gateway-1", "relay-1", "worker-1", "postgres", "valkey", "objects"):
        assert any(where.startswith("logs/") and name in where for where in places), (name, list(places))
    for name in ("gateway-1", "relay-1", "relay-2", "worker-1"):
        assert "# TYPE" in places[f"/metrics of {name}"]
    assert len(places["control.audit"]) > 200
    kinds = set((await secret_scan.secrets_of_platform(platform)).values())
    assert {"the key-encryption key", "a data key", "a private signing key", "the first administrator's key"} <= kinds
    assert {"database_password of an environment", "secret_key of an environment"} <= {
        kind.replace("s3_credentials", "secret_key") for kind in kinds
    }


@pytest.fixture
async def provoked(
    platform: Any, client: httpx.AsyncClient, tenants: tuple[Tenant, Tenant], make_node_credential: MakeCredential
) -> None:
    """Mistakes with real secrets in them: in headers, bodies, forms and paths; refused, unreadable, too large."""
    mine, other = tenants
    key = (await mine.client.post(f"{mine.path}/keys", json={"name": "k", "role": "operator"})).json()["key"]
    credential = (await mine.client.post(f"{mine.path}/node-credentials", json={"name": "n"})).json()
    identifier, secret = credential["client_id"], credential["client_secret"]
    token_url = credential["token_url"]
    for headers in (
        {"Authorization": f"Bearer {key}x"},
        {"Authorization": f"Basic {key}"},
        {"Authorization": key},
        {"Authorization": f"Bearer {key}", "Idempotency-Key": key},
        {"Authorization": f"Bearer {key}", "traceparent": key},
        {"Authorization": f"Bearer {key}", "If-Match": key},
        {"Authorization": f"Bearer {key}", "X-Request-Id": secrets.token_hex(8)},
    ):
        for path in (mine.path, other.path, f"{mine.path}/jobs", "/v1/nowhere"):
            await client.request("PATCH", path, headers=headers, json={"unknown": key})
    for body in (b'{"name": "' + key.encode(), b'{"function": "' + key.encode() + b'"}', b"\xff" + key.encode()):
        await mine.client.post(f"{mine.path}/jobs", content=body, headers={"Authorization": f"Bearer {key}"})
    await mine.client.post(f"{mine.path}/keys", json={"name": "k", "role": "operator", "key": key})
    for user, word in ((identifier, secret + "x"), (identifier, secret), ("nobody", secret)):
        basic = base64.b64encode(f"{user}:{word}".encode()).decode()
        await client.post(
            token_url, data={"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {basic}"}
        )
        await client.post(token_url, data={"grant_type": secret}, headers={"Authorization": f"Basic {basic}"})
    await client.post("/v1/session", json={"email": "nobody@example.org", "password": secrets.token_urlsafe(24)})
    await client.post("/v1/invitations/accept", json={"token": secrets.token_urlsafe(32), "password": "a" * 40})
    await client.get(f"{mine.path}/jobs", params={"cursor": key})
    await client.get(f"/v1/orgs/{key}")


async def test_mistakes_with_secrets_in_them_show_none(
    platform: Any, provoked: None, shared_folder: Path, noted_secrets: Collected
) -> None:
    """After all of that, no secret of this run is anywhere."""
    assert len(noted_secrets.known) >= 5
    await secret_scan.check_platform(platform, shared_folder)


async def test_an_error_repeats_no_secret(client: httpx.AsyncClient, tenants: tuple[Tenant, Tenant]) -> None:
    """What was sent as a credential, or under a name that says secret, is in no answer's error."""
    mine = tenants[0]
    key = (await mine.client.post(f"{mine.path}/keys", json={"name": "k", "role": "viewer"})).json()["key"]
    answers = [
        await client.get(mine.path, headers={"Authorization": f"Bearer {key[:-2]}"}),
        await client.get(mine.path, headers={"Authorization": f"Digest {key}"}),
        await client.get("/v1/orgs", headers={"Authorization": f"Bearer {key}", "Idempotency-Key": key}),
    ]
    assert all(key[:-2] not in answer.text for answer in answers)
