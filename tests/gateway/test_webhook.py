"""The public door of webhook triggers: who gets in, what becomes of it, and what is said to those who do not."""

from typing import Any

import httpx
import pytest

from tests.gateway.hook_ground import make_hook

SCHEMES = ("standard", "github", "stripe", "slack", "hmac", "bearer")


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_signed_webhook_makes_a_job(client: httpx.AsyncClient, shared_environment: Any, scheme: str) -> None:
    """`202 {"job_id"}`; the job has the trigger's id and the payload that the request makes."""
    hook = await make_hook(client, shared_environment.path, scheme)
    answer = await hook.send(b'{"id":"evt_1","amount":12.50}', query="?a=1&b=x%20y&b=z")
    assert answer.status_code == 202, answer.text
    job = (await client.get(f"{hook.environment}/jobs/{answer.json()['job_id']}")).json()
    assert job["trigger_id"] == hook.id
    assert job["submitted_by"] == f"trigger:{hook.id}"
    assert job["payload"]["query"] == {"a": "1", "b": ["x y", "z"]}
    assert job["payload"]["body"] == {"id": "evt_1", "amount": 12.5}
