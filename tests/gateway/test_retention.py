"""An environment's days: shortened and taken back, never beyond the operator's."""

import asyncio
from typing import Any

import httpx
import pytest

MOST = {
    "payload_days": 7, "job_days": 30, "log_days": 30, "firing_days": 30, "delivery_days": 30, "artifact_days": 30,
    "audit_days": 365,
}  # fmt: skip


async def test_days_are_shortened_and_taken_back(client: httpx.AsyncClient, environment: Any) -> None:
    """Those named change; null takes one back; the record says what is in force and where it comes from; a worker
    sweeps at once."""
    before = await client.get(environment.path)
    assert before.json()["retention"] == MOST
    assert set(before.json()["retention_sources"].values()) == {"operator"}
    changed = await client.patch(environment.path, json={"retention": {"payload_days": 3, "log_days": 7}})
    assert changed.status_code == 200, changed.text
    assert changed.json()["retention"] == MOST | {"payload_days": 3, "log_days": 7}
    assert changed.json()["retention_sources"]["log_days"] == "environment"
    assert changed.headers["etag"] != before.headers["etag"]
    back = await client.patch(environment.path, json={"retention": {"payload_days": None}})
    assert back.json()["retention"] == MOST | {"log_days": 7}
    seen = (await client.get(f"{environment.path}/retention")).json()
    assert (seen["retention"], seen["most"]) == (MOST | {"log_days": 7}, MOST)
    assert seen["next_at"] is not None
    async with asyncio.timeout(60):
        while (seen := (await client.get(f"{environment.path}/retention")).json())["swept_at"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert seen["removed"] == {}


@pytest.mark.parametrize(
    ("days", "code"),
    [
        ({"payload_days": 8}, "retention_above_ceiling"),
        ({"payload_days": 0}, "out_of_range"),
        ({"payload_days": -1}, "out_of_range"),
        ({"audit_days": 89}, "out_of_range"),
        ({"audit_days": 366}, "retention_above_ceiling"),
        ({"moon_days": 1}, "unknown_retention"),
        ({"a/b~c": 1}, "unknown_retention"),
        ({"payload_days": 1.5}, "wrong_type"),
        ({"payload_days": "3"}, "wrong_type"),
        ({"payload_days": 10**30}, "retention_above_ceiling"),
    ],
)
async def test_other_days_are_refused_where_they_stand(
    client: httpx.AsyncClient, shared_environment: Any, days: dict[str, Any], code: str
) -> None:
    """By the change and by the preview alike; nothing is kept of them."""
    name = next(iter(days)).replace("~", "~0").replace("/", "~1")
    for method, path in (("PATCH", ""), ("POST", "/retention/preview")):
        answer = await client.request(method, shared_environment.path + path, json={"retention": days})
        assert answer.status_code == 422, answer.text
        problem = answer.json()["errors"][0]
        assert problem["code"] == code
        assert problem["path"] == ("/retention" if code == "wrong_type" else f"/retention/{name}")
    assert (await client.get(shared_environment.path)).json()["retention"] == MOST


async def test_a_viewer_sees_the_days_and_previews_nothing(
    client: httpx.AsyncClient, shared_environment: Any, make_key: Any
) -> None:
    """Reading needs ViewEnvironment, the rest ManageEnvironment."""
    key = (await make_key(shared_environment.path, role="viewer"))["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert (await client.get(f"{shared_environment.path}/retention", headers=headers)).status_code == 200
    refused = await client.post(f"{shared_environment.path}/retention/preview", headers=headers)
    assert (refused.status_code, refused.json()["permission"]) == (403, "ManageEnvironment")
