"""Senders as they are: a push of GitHub and an event of Stripe run on a node; what senders ask when they are set up."""

import asyncio
import time
from datetime import datetime
from typing import Any

import httpx
import pytest
from waypost_sdk import Node

from tests.gateway.hook_event import GITHUB_HEADERS, GITHUB_PUSH, STRIPE_EVENT, STRIPE_HEADERS, github_body, stripe_body
from tests.gateway.hook_ground import FUNCTION, make_hook
from tests.sdk.test_platform import served

PUSHES = """
headers."x-github-event" == 'push' && body.ref == join('', ['refs/heads/', body.repository.default_branch])
"""
BUILD = """
body.{repository: repository.full_name, commit: after, by: pusher.name, files: commits[].[added, modified][][]}
"""


@pytest.fixture
async def node(platform: Any, shared_environment: Any, make_node_credential: Any) -> Any:
    """A node that runs what webhooks submit, and answers what it was given."""
    credential = await make_node_credential(shared_environment.path)
    one = Node(
        relay=platform.relay_address, url=platform.api_url, client_id=credential.client_id,
        client_secret=credential.client_secret, tags=["linux"],
    )  # fmt: skip

    @one.function(FUNCTION)
    async def take(job: Any, payload: Any) -> Any:
        return {"given": payload}

    async with served(one):
        yield one


async def ended(client: httpx.AsyncClient, environment: str, job_id: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            job = (await client.get(f"{environment}/jobs/{job_id}")).json()
            if job["state"] in ("completed", "failed", "dead_letter"):
                return dict(job)
            await asyncio.sleep(0.05)


async def test_a_push_of_github_runs_on_a_node(client: httpx.AsyncClient, shared_environment: Any, node: Node) -> None:
    """Signed as GitHub signs it; the filter takes pushes to the default branch, the map says what to build."""
    hook = await make_hook(
        client,
        shared_environment.path,
        "github",
        job={"function": FUNCTION, "tags": ["linux"], "retry": {"max_attempts": 3}},
        filter=PUSHES,
        map=BUILD,
    )
    delivery = "5f0c2a1e-c7b1-11f0-9d4c-4a9d1f6e7b21"
    answer = await hook.send(github_body(GITHUB_PUSH), headers=GITHUB_HEADERS, delivery=delivery)
    assert answer.status_code == 202, answer.text
    job = await ended(client, hook.environment, answer.json()["job_id"])
    assert job["state"] == "completed"
    assert job["result"]["given"] == {
        "repository": "northwind/ledger", "commit": GITHUB_PUSH["after"], "by": "ainov",
        "files": ["2026/11.csv", "2026/10.csv"],
    }  # fmt: skip
    again = await hook.send(github_body(GITHUB_PUSH), headers=GITHUB_HEADERS, delivery=delivery)
    assert (again.status_code, again.json()) == (200, answer.json())
    branch = github_body(GITHUB_PUSH | {"ref": "refs/heads/idea"})
    left = await hook.send(branch, headers=GITHUB_HEADERS)
    assert (left.status_code, left.json()) == (200, {"job_id": None})


async def test_a_schedule_runs_on_a_node_with_its_tags(
    client: httpx.AsyncClient, shared_environment: Any, node: Node
) -> None:
    """From its due time to the result, by itself; the job says which trigger, its payload when it was due."""
    made = {"kind": "schedule", "name": "each second", "schedule": {"every_seconds": 1}}
    made["job"] = {"function": FUNCTION, "tags": ["linux"], "expires_in_seconds": 60}
    answer = await client.post(f"{shared_environment.path}/triggers", json=made)
    assert answer.status_code == 201, answer.text
    trigger = f"{shared_environment.path}/triggers/{answer.json()['id']}"
    async with asyncio.timeout(20):
        fired: list[dict[str, Any]] = []
        while not fired:
            firings = (await client.get(f"{trigger}/firings")).json()["items"]
            fired = [firing for firing in firings if firing["job_id"]]  # none: missed by a worker that stood still
            await asyncio.sleep(0.05)
    assert (await client.delete(trigger)).status_code == 204
    job = await ended(client, shared_environment.path, fired[-1]["job_id"])
    assert (job["state"], job["trigger_id"]) == ("completed", answer.json()["id"])
    given = job["result"]["given"]
    assert given["trigger_id"] == answer.json()["id"]
    assert datetime.fromisoformat(given["due_at"]) == datetime.fromisoformat(fired[-1]["due_at"])


async def test_an_event_of_stripe_runs_on_a_node(
    client: httpx.AsyncClient, shared_environment: Any, node: Node
) -> None:
    """Signed as Stripe signs it; a retry of the same event, signed anew, makes no second job."""
    hook = await make_hook(
        client,
        shared_environment.path,
        "stripe",
        filter="body.type == 'payment_intent.succeeded' && body.livemode == `false`",
        map="body.data.object.{order: metadata.order_id, cents: amount_received, currency: currency}",
    )
    answer = await hook.send(stripe_body(STRIPE_EVENT), headers=STRIPE_HEADERS)
    assert answer.status_code == 202, answer.text
    job = await ended(client, hook.environment, answer.json()["job_id"])
    assert job["result"]["given"] == {"order": "6735", "cents": 109900, "currency": "eur"}
    retried = stripe_body(STRIPE_EVENT | {"pending_webhooks": 1})
    again = await hook.send(retried, headers=STRIPE_HEADERS)
    assert (again.status_code, again.json()) == (200, answer.json())


async def test_what_senders_ask_when_they_are_set_up_is_answered_and_runs_nothing(
    client: httpx.AsyncClient, shared_environment: Any
) -> None:
    """GitHub's ping, Slack's challenge: 200, no job, a firing that says what it was. Unsigned they are 401."""
    github = await make_hook(client, shared_environment.path, "github")
    ping = await github.send({"zen": "Keep it logically awesome.", "hook_id": 1}, headers={"x-github-event": "ping"})
    assert (ping.status_code, ping.json()) == (200, {"job_id": None})
    slack = await make_hook(client, shared_environment.path, "slack")
    asked = {
        "token": "x",
        "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
        "type": "url_verification",
    }
    answered = await slack.send(asked)
    assert (answered.status_code, answered.json()) == (200, {"challenge": asked["challenge"]})
    assert (await slack.send(asked, headers={"x-slack-signature": "v0=0"})).status_code == 401
    for hook, word in ((github, "ping"), (slack, "url_verification")):
        firing = (await hook.firings(1, outcome="filtered"))[0]
        assert firing["detail"].startswith(word)
        assert firing["job_id"] is None


async def test_a_command_of_slack_is_a_form(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """Slash commands come as forms: the text reaches the job, and the same signed request again is a repeat."""
    hook = await make_hook(client, shared_environment.path, "slack")
    form = b"token=x&team_id=T0001&command=%2Fdeploy&text=main&user_name=aino"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    at = int(time.time())
    first = await hook.send(form, headers=headers, at=at)
    assert first.status_code == 202
    assert (await hook.job(first))["payload"]["body"] == form.decode()
    again = await hook.send(form, headers=headers, at=at)
    assert (again.status_code, again.json()) == (200, first.json())
