"""Every way to a job holds the artifacts that its payload is or contains, until the job ends."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.gateway.artifact_ground import fresh, uploaded
from tests.gateway.hook_ground import FUNCTION, make_hook

Submit = Callable[[httpx.AsyncClient, str, Any], Awaitable[str]]


async def _directly(client: httpx.AsyncClient, path: str, payload: Any) -> str:
    return str((await client.post(f"{path}/jobs", json={"function": FUNCTION, "payload": payload})).json()["id"])


async def _by_webhook(client: httpx.AsyncClient, path: str, payload: Any) -> str:
    hook = await make_hook(client, path, map="body.wanted")
    return str((await hook.send({"wanted": payload})).json()["job_id"])


async def _by_test_of_a_webhook(client: httpx.AsyncClient, path: str, payload: Any) -> str:
    hook = await make_hook(client, path, map="body.wanted")
    return str((await client.post(f"{hook.path}/test", json={"body": {"wanted": payload}})).json()["job_id"])


async def _by_test_of_a_schedule(client: httpx.AsyncClient, path: str, payload: Any) -> str:
    made = {"kind": "schedule", "name": "s", "job": {"function": FUNCTION}, "schedule": {"every_seconds": 86_400}}
    trigger = (await client.post(f"{path}/triggers", json=made)).json()["id"]
    return str((await client.post(f"{path}/triggers/{trigger}/test", json={"body": payload})).json()["job_id"])


async def _ended(client: httpx.AsyncClient, path: str) -> str:
    job = await _directly(client, path, None)
    assert (await client.post(f"{path}/jobs/{job}/cancel")).status_code in (200, 202)
    return job


async def _by_replay(client: httpx.AsyncClient, path: str, payload: Any) -> str:
    asked = {"overrides": {"payload": payload}}
    return str((await client.post(f"{path}/jobs/{await _ended(client, path)}/replay", json=asked)).json()["id"])


async def _by_bulk_replay(client: httpx.AsyncClient, path: str, payload: Any) -> str:
    ended = await _ended(client, path)
    asked = {"ids": [ended], "overrides": {"payload": payload}}
    begun = (await client.post(f"{path}/jobs/replay", json=asked)).json()
    async with asyncio.timeout(60):
        while (await client.get(f"{path}/jobs/replays/{begun['id']}")).json()["state"] != "completed":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return str((await client.get(f"{path}/jobs/{ended}")).json()["replayed_by"])


WAYS = [_directly, _by_webhook, _by_test_of_a_webhook, _by_test_of_a_schedule, _by_replay, _by_bulk_replay]


@pytest.mark.parametrize("contained", [False, True], ids=["is", "contains"])
@pytest.mark.parametrize("submit", WAYS, ids=lambda way: way.__name__.strip("_"))
async def test_a_payload_holds_its_artifacts(
    client: httpx.AsyncClient, path: str, submit: Submit, contained: bool
) -> None:
    """While the job has not ended the artifact names it and cannot be deleted; afterwards it can."""
    made = await uploaded(client, path, json.dumps({"text": fresh().hex()}).encode(), type="payload")
    reference = {"$artifact": made["id"]}
    job = await submit(client, path, {"documents": [1, reference, reference]} if contained else reference)
    one = f"{path}/artifacts/{made['id']}"
    assert (await client.get(one)).json()["referred_to_by"] == [{"kind": "job", "id": job, "holds": True}]
    refused = await client.delete(one)
    assert (refused.status_code, refused.json()["referred_to_by"]) == (409, [f"job:{job}"])
    assert (await client.post(f"{path}/jobs/{job}/cancel")).status_code in (200, 202)
    assert (await client.delete(one)).status_code == 204


async def test_a_webhook_whose_payload_is_no_artifact_to_be_had_is_refused(
    client: httpx.AsyncClient, path: str
) -> None:
    """As a submission is; the firing says why. What a payload contains beside is its function's business."""
    hook = await make_hook(client, path, map="body.wanted")
    gone = {"$artifact": "01890a5d-ac96-774b-bcce-b302099a8057"}
    answer = await hook.send({"wanted": gone})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_artifact")
    (firing,) = await hook.firings(1, outcome="refused")
    assert firing["detail"].startswith("unknown_artifact")
    answer = await hook.send({"wanted": [gone]})
    assert (await hook.job(answer))["payload"] == [gone]
