"""Keys of organizations and environments: made, read, rotated while they are used, revoked."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import MakeKey, OwnGateway, bearer
from tests.gateway.person_ground import sign_in
from waypost.access.model import Role
from waypost.ids import new_id

WHOLE = "/v1/orgs/default/api-keys"


@pytest.fixture(params=["organization", "environment"])
def keys_path(request: pytest.FixtureRequest, shared_environment: Any) -> str:
    """Where the keys of either family are: both behave alike."""
    return WHOLE if request.param == "organization" else f"{shared_environment.path}/keys"


async def make(client: httpx.AsyncClient, path: str, role: str = "viewer", **more: Any) -> dict[str, Any]:
    answer = await client.post(path, json={"name": "test", "role": role, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def status(client: httpx.AsyncClient, key: dict[str, Any]) -> int:
    return (await client.get("/v1/whoami", headers=bearer(key["key"]))).status_code


async def test_a_key_lives_and_dies(client: httpx.AsyncClient, keys_path: str) -> None:
    """Made with its text once, read and listed without it, used, revoked at once."""
    made = await client.post(keys_path, json={"name": "ci", "role": "operator"})
    key = made.json()
    assert made.headers["cache-control"] == "no-store"
    assert key["key"].startswith("wp_" if keys_path == WHOLE else "wpe_")
    read = await client.get(f"{keys_path}/{key['id']}")
    assert read.json() == {name: value for name, value in key.items() if name != "key"}
    assert read.headers["etag"] == made.headers["etag"]
    listed = (await client.get(keys_path)).json()["items"]
    assert listed[0] == read.json()
    assert await status(client, key) == 200
    assert (await client.delete(f"{keys_path}/{key['id']}")).status_code == 204
    assert await status(client, key) == 401
    assert (await client.get(f"{keys_path}/{key['id']}")).status_code == 404
    assert key["id"] not in {one["id"] for one in (await client.get(keys_path)).json()["items"]}


async def test_the_two_families_do_not_see_each_other(
    client: httpx.AsyncClient, shared_environment: Any, make_key: MakeKey
) -> None:
    """An environment's key is not found below the organization, nor the other way round, nor below a sibling."""
    inner = await make_key(shared_environment.path)
    outer = await make(client, WHOLE)
    for path in (f"{WHOLE}/{inner['id']}", f"{shared_environment.path}/keys/{outer['id']}"):
        assert (await client.get(path)).status_code == 404
        assert (await client.delete(path)).status_code == 404
        assert (await client.post(f"{path}/rotate")).status_code == 404
    assert await status(client, inner) == await status(client, outer) == 200


async def test_rotation_overlaps_for_a_day_unless_told_otherwise(client: httpx.AsyncClient, keys_path: str) -> None:
    """The old key says when it ends and what replaced it; the new one has its name and role."""
    old = await make(client, keys_path, "operator")
    new = (await client.post(f"{keys_path}/{old['id']}/rotate")).json()
    assert (new["name"], new["role"]) == ("test", "operator")
    read = (await client.get(f"{keys_path}/{old['id']}")).json()
    assert read["replaced_by"] == new["id"]
    left = datetime.fromisoformat(read["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < left <= timedelta(hours=24)
    assert await status(client, old) == await status(client, new) == 200
    cut = await client.post(f"{keys_path}/{new['id']}/rotate", json={"overlap_seconds": 0})
    assert (await status(client, new), await status(client, cut.json())) == (401, 200)


async def test_a_rotation_never_lengthens_a_keys_life(client: httpx.AsyncClient, keys_path: str) -> None:
    """An expiry that comes before the overlap ends stays, and is the new key's too."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    old = await make(client, keys_path, expires_at=soon.isoformat())
    new = (await client.post(f"{keys_path}/{old['id']}/rotate")).json()
    read = (await client.get(f"{keys_path}/{old['id']}")).json()
    assert datetime.fromisoformat(read["expires_at"]) == datetime.fromisoformat(new["expires_at"]) == soon


async def test_a_key_works_without_a_gap_while_it_is_rotated(
    client: httpx.AsyncClient, own_gateway: OwnGateway, keys_path: str
) -> None:
    """Used on two gateways all the time: not one request is refused, before, during or after."""
    old = await make(client, keys_path)
    done = asyncio.Event()

    async def use(gateway: httpx.AsyncClient) -> list[int]:
        seen: list[int] = []
        while not done.is_set() or len(seen) < 20:
            seen.append(await status(gateway, old))
        return seen

    using = [asyncio.create_task(use(gateway)) for gateway in (client, own_gateway.client) for _ in range(2)]
    new = (await client.post(f"{keys_path}/{old['id']}/rotate", json={"overlap_seconds": 60})).json()
    assert await status(own_gateway.client, new) == 200
    done.set()
    for seen in await asyncio.gather(*using):
        assert set(seen) == {200}


async def test_two_rotations_at_once_make_one_key(client: httpx.AsyncClient, keys_path: str) -> None:
    """One wins, the others are 409 `already_rotated`, and nothing of them is kept."""
    old = await make(client, keys_path)
    before = {one["id"] for one in (await client.get(f"{keys_path}?limit=200")).json()["items"]}
    answers = await asyncio.gather(*(client.post(f"{keys_path}/{old['id']}/rotate") for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 5
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"already_rotated"}
    after = {one["id"] for one in (await client.get(f"{keys_path}?limit=200")).json()["items"]}
    assert len(after - before) == 1


async def test_a_key_that_is_revoked_while_it_is_rotated_leaves_no_half(
    client: httpx.AsyncClient, keys_path: str
) -> None:
    """Whichever comes first: the old key is dead, and a new one is there only if the rotation said so."""
    for _ in range(5):
        old = await make(client, keys_path)
        path = f"{keys_path}/{old['id']}"
        rotated, revoked = await asyncio.gather(client.post(f"{path}/rotate"), client.delete(path))
        assert revoked.status_code == 204
        assert rotated.status_code in (201, 404, 409)
        assert await status(client, old) == 401
        if rotated.status_code == 201:
            assert await status(client, rotated.json()) == 200


async def test_a_repeated_rotation_answers_the_same_key(client: httpx.AsyncClient, keys_path: str) -> None:
    """With an Idempotency-Key; and If-Match guards a key that was rotated since it was read."""
    old = await make(client, keys_path)
    path = f"{keys_path}/{old['id']}"
    seen = (await client.get(path)).headers["etag"]
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    first, again = [await client.post(f"{path}/rotate", headers=headers) for _ in range(2)]
    assert first.json()["key"] == again.json()["key"]
    stale = {"If-Match": seen}
    assert (await client.delete(path, headers=stale)).status_code == 412
    assert (await client.delete(path, headers={"If-Match": '"x", *'})).status_code == 412
    current = (await client.get(path)).headers["etag"]
    assert (await client.delete(path, headers={"If-Match": current})).status_code == 204


async def test_the_last_use_is_told(client: httpx.AsyncClient, own_gateway: OwnGateway, keys_path: str) -> None:
    """Null until it is used; then when, as soon as the gateway wrote it."""
    key = await make(client, keys_path)
    path = f"{keys_path}/{key['id']}"
    assert (await client.get(path)).json()["last_used_at"] is None
    assert await status(own_gateway.client, key) == 200
    await own_gateway.services.keys._flush()
    async with asyncio.timeout(20):  # the gateway's own task may have taken it, and be writing it
        while (last := (await client.get(path)).json()["last_used_at"]) is None:  # noqa: ASYNC110 - a server's state
            await asyncio.sleep(0.05)
    used = datetime.fromisoformat(last)
    assert abs(datetime.now(UTC) - used) < timedelta(minutes=1)


@pytest.mark.parametrize("role", ["project_admin", "operator", "viewer"])
async def test_no_key_is_made_above_its_makers_role(
    client: httpx.AsyncClient, platform: Any, shared_environment: Any, role: str
) -> None:
    """Keys of the organization only by its administrators; keys of the environment up to one's own role."""
    key = bearer((await make(client, WHOLE, role))["key"])
    for wanted in Role:
        answer = await client.post(WHOLE, json={"name": "x", "role": wanted}, headers=key)
        assert (answer.status_code, answer.json()["permission"]) == (403, "ManageOrgMemberships")
        answer = await client.post(f"{shared_environment.path}/keys", json={"name": "x", "role": wanted}, headers=key)
        if role != "project_admin":
            assert (answer.status_code, answer.json()["permission"]) == (403, "ManageEnvironment")
        else:
            assert answer.status_code == (422 if wanted is Role.ORG_ADMIN else 201), answer.text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "x", "role": "root"}, "invalid_value"),
        ({"name": "x", "role": ""}, "invalid_value"),
        ({"name": "x", "role": None}, "wrong_type"),
        ({"name": "", "role": "viewer"}, "invalid_name"),
        ({"name": "a\u0000b"}, "invalid_name"),
        ({"name": "x" * 101}, "invalid_name"),
        ({"role": "viewer"}, "missing_field"),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "invalid_expiry"),
        ({"name": "x", "expires_at": "2099-01-01T00:00:00"}, "invalid_expiry"),
        ({"name": "x", "expires_at": "soon"}, "invalid_value"),
        ({"name": "x", "secret": "mine"}, "unknown_field"),
    ],
)
async def test_bad_keys_are_refused(client: httpx.AsyncClient, keys_path: str, body: dict[str, Any], code: str) -> None:
    """422 with a stable code."""
    answer = await client.post(keys_path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == code, answer.text


@pytest.mark.parametrize("seconds", [-1, 2_592_001, "10", True])
async def test_bad_overlaps_are_refused(client: httpx.AsyncClient, keys_path: str, seconds: Any) -> None:
    """From nothing to 30 days."""
    key = await make(client, keys_path)
    answer = await client.post(f"{keys_path}/{key['id']}/rotate", json={"overlap_seconds": seconds})
    assert answer.status_code == 422
    assert await status(client, key) == 200


async def test_names_are_only_ever_data(client: httpx.AsyncClient, keys_path: str) -> None:
    """SQL metacharacters and look-alikes are kept as they are."""
    for name in ("'; drop table control.api_key; --", '" or ""="', "%_\\", "раураl", "${jndi:ldap://x}", "\u202eabc"):
        made = await client.post(keys_path, json={"name": name})
        if made.status_code == 201:
            assert (await client.get(f"{keys_path}/{made.json()['id']}")).json()["name"] == name
        else:
            assert made.json()["code"] == "invalid_name"
    assert (await client.get(keys_path)).status_code == 200
    for wrong in ("'", "x' or '1'='1", "%00", "*", str(new_id())):
        assert (await client.get(f"{keys_path}/{wrong}")).status_code == 404


async def test_wrong_credentials_say_only_what_helps(
    client: httpx.AsyncClient, own_gateway: OwnGateway, keys_path: str, platform: Any
) -> None:
    """A typing error, an unknown key, a session's token as a key, several words: all 401 with a challenge."""
    key = (await make(client, keys_path))["key"]
    typed = key[:-1] + ("a" if key[-1] != "a" else "b")
    unknown = await make(client, keys_path)
    await client.delete(f"{keys_path}/{unknown['id']}")
    person = await sign_in(platform)
    for text, code in (
        (typed, "invalid_credential"),
        (f"{key} {key}", "invalid_credential"),
        (key.swapcase(), "invalid_credential"),
        (unknown["key"], "invalid_credential"),
        (person.headers["Authorization"][len("Bearer wps_") :], "invalid_credential"),
        ("' or 1=1 --", "invalid_credential"),
        ("x", "invalid_credential"),
    ):
        answer = await own_gateway.client.get("/v1/whoami", headers={"Authorization": f"Bearer {text}"})
        assert (answer.status_code, answer.json()["code"]) == (401, code), text
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert key not in answer.text
