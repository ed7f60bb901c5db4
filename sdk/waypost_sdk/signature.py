"""Standard Webhooks 1.0: making secrets, and the headers of a webhook that is sent from here."""

import base64
import binascii
import hashlib
import hmac
import secrets

PREFIX = "whsec_"
SECRET_BYTES = 32


def new_secret() -> str:
    """`whsec_` and 32 random bytes in base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The bytes of a secret, with or without `whsec_`; raises ValueError unless they are base64 of 16 to 64 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("a signing secret is whsec_ and base64") from None
    if not 16 <= len(key) <= 64:
        raise ValueError("a signing secret has 16 to 64 bytes")
    return key


def signed_headers(secret: str, webhook_id: str, timestamp_seconds: int, body: bytes) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` and `webhook-signature` of a body."""
    text = b"%s.%d.%s" % (webhook_id.encode(), timestamp_seconds, body)
    signature = base64.b64encode(hmac.new(key_of(secret), text, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp_seconds),
        "webhook-signature": f"v1,{signature}",
    }
