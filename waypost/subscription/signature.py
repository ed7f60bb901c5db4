"""Standard Webhooks 1.0: secrets, and the headers of a delivery."""

import base64
import secrets
from collections.abc import Iterable
from datetime import datetime

from standardwebhooks import Webhook

from waypost.subscription.model import SECRET_BYTES

PREFIX = "whsec_"


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signed_headers(event_id: str, at: datetime, body: bytes, signing_secrets: Iterable[str]) -> list[tuple[str, str]]:
    """`webhook-id`, `webhook-timestamp` and `webhook-signature` with one signature a secret, in their order."""
    text = body.decode()
    signatures = [Webhook(secret).sign(event_id, at, text) for secret in signing_secrets]
    return [
        ("webhook-id", event_id),
        ("webhook-timestamp", str(int(at.timestamp()))),
        ("webhook-signature", " ".join(signatures)),
    ]
