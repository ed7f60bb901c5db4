"""Webhooks as their senders make them: signatures written from the schemes' own descriptions, not with our code."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

import httpx

FUNCTION = "hook.take"


@dataclass
class Hook:
    """A webhook trigger of an environment, the secret that its sender has, and how that sender signs."""

    client: httpx.AsyncClient  # with the environment's credential
    environment: str  # path
    id: str
    scheme: str
    secret: str
    shown: dict[str, Any]

    @property
    def path(self) -> str:
        return f"{self.environment}/triggers/{self.id}"

    async def send(
        self,
        body: bytes | dict[str, Any],
        *,
        query: str = "",
        headers: dict[str, Any] | None = None,
        door: str = "",
        **how: Any,
    ) -> httpx.Response:
        """One signed request; `headers` win over the signed ones, one of None is left out. `door`: another gateway."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        made = {"content-type": "application/json", **signed(self.scheme, self.secret, raw, **how)} | (headers or {})
        url = f"{door or str(self.client.base_url).rstrip('/')}/hooks/{self.id}{query}"
        async with httpx.AsyncClient(timeout=30) as sender:
            return await sender.post(url, content=raw, headers={k: v for k, v in made.items() if v is not None})

    async def firings(self, count: int = 0, *, written: bool = True, **query: Any) -> list[dict[str, Any]]:
        """The list, as soon as it has so many and gateways have written them down, headers and all, a moment later."""
        async with asyncio.timeout(30):
            while True:
                answer = await self.client.get(f"{self.path}/firings", params=query)
                assert answer.status_code == 200, answer.text
                found = answer.json()["items"]
                if len(found) >= count and (not written or all(one["headers"] for one in found)):
                    return list(found)
                await asyncio.sleep(0.03)

    async def job(self, answer: httpx.Response) -> dict[str, Any]:
        """The job that an answer names."""
        found = await self.client.get(f"{self.environment}/jobs/{answer.json()['job_id']}")
        assert found.status_code == 200, found.text
        return dict(found.json())


def signed(
    scheme: str, secret: str, body: bytes, *, at: int | None = None, delivery: str | None = None
) -> dict[str, str]:
    """The headers of a signed request."""
    at = int(time.time()) if at is None else at
    delivery = delivery or secrets.token_hex(8)
    if scheme == "standard":
        return {
            "webhook-id": delivery,
            "webhook-timestamp": str(at),
            "webhook-signature": standard(secret, delivery, at, body),
        }
    digest = hmac.new(secret.encode(), _content(scheme, at, body), hashlib.sha256).hexdigest()
    if scheme == "github":
        return {"x-hub-signature-256": f"sha256={digest}", "x-github-delivery": delivery, "x-github-event": "push"}
    if scheme == "stripe":
        return {"stripe-signature": f"t={at},v1={digest}"}
    if scheme == "slack":
        return {"x-slack-signature": f"v0={digest}", "x-slack-request-timestamp": str(at)}
    if scheme == "hmac":
        return {"x-signature": f"sig={digest}", "x-delivery": delivery}
    return {"authorization": f"Bearer {secret}"}


def _content(scheme: str, at: int, body: bytes) -> bytes:
    return {"stripe": b"%d." % at, "slack": b"v0:%d:" % at}.get(scheme, b"") + body


def standard(secret: str, delivery: str, at: int, body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, b"%s.%d.%s" % (delivery.encode(), at, body), hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


async def make_hook(
    client: httpx.AsyncClient,
    environment: str,
    scheme: str = "standard",
    *,
    verify: dict[str, Any] | None = None,
    **more: Any,
) -> Hook:
    """A trigger of that scheme; its secret is the platform's, or given where the sender makes it."""
    body: dict[str, Any] = {"kind": "webhook", "name": f"{scheme} hook", "job": {"function": FUNCTION}}
    body["verify"] = {"scheme": scheme, **(verify or {})}
    if scheme in ("stripe", "slack"):
        body["secret"] = f"whsec_{secrets.token_hex(16)}"
    if scheme == "hmac" and verify is None:
        body["verify"] |= {"header": "X-Signature", "prefix": "sig=", "delivery_header": "X-Delivery"}
    answer = await client.post(f"{environment}/triggers", json=body | more)
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    secret = shown.get("secret") or (body | more)["secret"]
    return Hook(client, environment, shown["id"], scheme, secret, shown)
