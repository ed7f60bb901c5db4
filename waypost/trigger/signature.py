"""Whether a webhook is genuine: the schemes' signatures over its raw bytes, compared in constant time.

Pure: secrets, headers, body and the instant come in, a verdict goes out. Every secret that is valid is tried, and every
signature that came (at most `MAX_SIGNATURES`), so that neither which secret nor which signature matched shows in time.

`standardwebhooks` is not called here: it takes text alone, reads the clock itself, and fails with ValueError on a
signature without a comma. The tests hold its answers against these.

Sources: github.com/standard-webhooks/standard-webhooks (1.0), docs.github.com "Validating webhook deliveries",
docs.stripe.com/webhooks/signature, api.slack.com/authentication/verifying-requests-from-slack.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from waypost import errors
from waypost.trigger.model import TOLERANCE, Encoding, Scheme, Verification

SECRET_PREFIX = "whsec_"  # noqa: S105 - of the standard's secrets
PUBLIC_KEY_PREFIX = "whpk_"
MAX_SIGNATURES = 16
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 8, 512
STANDARD_SECRET_BYTES = 24, 64

Headers = Mapping[bytes, bytes]


class Verdict(Enum):
    GENUINE = "genuine"
    STALE = "stale"  # signed well, outside of the tolerance
    WRONG = "wrong"  # missing, wrong, truncated, of another secret


class Verifier:
    """One trigger's scheme with its open secrets. Shows neither in a log nor in a trace."""

    __slots__ = ("_check", "_keys", "_secrets", "how")

    def __init__(self, how: Verification, secrets: Iterable[str]) -> None:
        """`secrets`: those that are valid, as they were given. Raises 422 for one that the scheme cannot use."""
        self.how = how
        self._secrets = tuple(_secret_bytes(how.scheme, secret) for secret in secrets)
        self._keys = tuple(read_public_key(key) for key in how.public_keys)
        self._check = _CHECKS[how.scheme]

    def __repr__(self) -> str:
        return f"Verifier({self.how.scheme.value}, …)"

    def verify(self, headers: Headers, body: bytes, now: datetime) -> Verdict:
        """`headers` by lower-case names; `body` as it came."""
        return self._check(self, headers, body, now)

    # --- schemes ----------------------------------------------------------------------------------------------------

    def _standard(self, headers: Headers, body: bytes, now: datetime) -> Verdict:
        identifier, timestamp = headers.get(b"webhook-id", b""), headers.get(b"webhook-timestamp", b"")
        signatures = headers.get(b"webhook-signature", b"").split(b" ")[:MAX_SIGNATURES]
        if not identifier or not _is_timestamp(timestamp):
            return Verdict.WRONG
        signed = b"%s.%s.%s" % (identifier, timestamp, body)
        by_hmac = [text[3:] for text in signatures if text.startswith(b"v1,")]
        by_key = [text[4:] for text in signatures if text.startswith(b"v1a,")]
        genuine = _any(_same_base64(self._digests(signed, "sha256"), text) for text in by_hmac)
        genuine |= _any(_is_signed(key, text, signed) for key in self._keys for text in by_key)
        return _judge(genuine, timestamp, now)

    def _github(self, headers: Headers, body: bytes, _: datetime) -> Verdict:
        given = headers.get(b"x-hub-signature-256", b"")
        genuine = given.startswith(b"sha256=") and _same_hex(self._digests(body, "sha256"), given[7:])
        return Verdict.GENUINE if genuine else Verdict.WRONG

    def _stripe(self, headers: Headers, body: bytes, now: datetime) -> Verdict:
        parts = [part.strip().partition(b"=") for part in headers.get(b"stripe-signature", b"").split(b",")]
        timestamps = [value for name, _, value in parts if name == b"t"]
        signatures = [value for name, _, value in parts if name == b"v1"][:MAX_SIGNATURES]
        if len(timestamps) != 1 or not _is_timestamp(timestamps[0]):
            return Verdict.WRONG
        digests = self._digests(b"%s.%s" % (timestamps[0], body), "sha256")
        return _judge(_any(_same_hex(digests, text) for text in signatures), timestamps[0], now)

    def _slack(self, headers: Headers, body: bytes, now: datetime) -> Verdict:
        given, timestamp = headers.get(b"x-slack-signature", b""), headers.get(b"x-slack-request-timestamp", b"")
        if not given.startswith(b"v0=") or not _is_timestamp(timestamp):
            return Verdict.WRONG
        digests = self._digests(b"v0:%s:%s" % (timestamp, body), "sha256")
        return _judge(_same_hex(digests, given[3:]), timestamp, now)

    def _hmac(self, headers: Headers, body: bytes, _: datetime) -> Verdict:
        how, prefix = self.how, self.how.prefix.encode()
        given = headers.get((how.header or "").lower().encode(), b"")
        if not given or not given.startswith(prefix):
            return Verdict.WRONG
        same = _same_hex if how.encoding is Encoding.HEX else _same_base64
        genuine = same(self._digests(body, how.algorithm.value), given[len(prefix) :])
        return Verdict.GENUINE if genuine else Verdict.WRONG

    def _bearer(self, headers: Headers, _: bytes, __: datetime) -> Verdict:
        scheme, _space, token = headers.get(b"authorization", b"").partition(b" ")
        genuine = scheme.lower() == b"bearer" and _any(hmac.compare_digest(one, token) for one in self._secrets)
        return Verdict.GENUINE if genuine else Verdict.WRONG

    def _digests(self, signed: bytes, algorithm: str) -> list[bytes]:
        return [hmac.digest(secret, signed, algorithm) for secret in self._secrets]


_CHECKS: Mapping[Scheme, Callable[[Verifier, Headers, bytes, datetime], Verdict]] = {
    Scheme.STANDARD: Verifier._standard,  # noqa: SLF001 - of this module
    Scheme.GITHUB: Verifier._github,  # noqa: SLF001
    Scheme.STRIPE: Verifier._stripe,  # noqa: SLF001
    Scheme.SLACK: Verifier._slack,  # noqa: SLF001
    Scheme.HMAC: Verifier._hmac,  # noqa: SLF001
    Scheme.BEARER: Verifier._bearer,  # noqa: SLF001
}


def signature_headers(how: Verification) -> frozenset[str]:
    """The headers of a request that prove it: they are shown to nobody."""
    return frozenset({(how.header or "").lower()}) if how.scheme is Scheme.HMAC else _PROOFS[how.scheme]


_PROOFS: Mapping[Scheme, frozenset[str]] = {
    Scheme.STANDARD: frozenset({"webhook-signature"}),
    Scheme.GITHUB: frozenset({"x-hub-signature-256", "x-hub-signature"}),
    Scheme.STRIPE: frozenset({"stripe-signature"}),
    Scheme.SLACK: frozenset({"x-slack-signature"}),
    Scheme.BEARER: frozenset({"authorization"}),
}


# --- secrets and keys -------------------------------------------------------------------------------------------------


def check_secret(scheme: Scheme, secret: str, path: str = "/secret") -> str:
    """The secret; raises 422 `invalid_secret`, without showing it, for one that the scheme cannot use."""
    try:
        _secret_bytes(scheme, secret)
    except ValueError as error:
        raise errors.invalid("invalid_secret", f"{error}.", path) from None
    return secret


def _secret_bytes(scheme: Scheme, secret: str) -> bytes:
    if scheme is Scheme.STANDARD:
        least, most = STANDARD_SECRET_BYTES
        try:
            key = base64.b64decode(_padded(secret.removeprefix(SECRET_PREFIX)), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not least <= len(key) <= most:
            raise ValueError(f"A secret of Standard Webhooks is whsec_ and base64 of {least} to {most} bytes")
        return key
    if not secret.isprintable() or not secret.isascii() or secret != secret.strip():
        raise ValueError("A secret has printable ASCII characters, without blanks at its ends")
    if not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
        raise ValueError(f"A secret has {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} characters")
    return secret.encode()


def read_public_key(text: str) -> Ed25519PublicKey:
    """The ed25519 key of `whpk_` and base64; raises ValueError."""
    if not text.startswith(PUBLIC_KEY_PREFIX):
        raise ValueError("a public key of Standard Webhooks begins with whpk_")
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(_padded(text[5:]), validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("a public key of Standard Webhooks is whpk_ and base64 of 32 bytes") from None


def _padded(text: str) -> str:
    return text + "=" * (-len(text) % 4)


# --- comparing --------------------------------------------------------------------------------------------------------


def _any(found: Iterable[bool]) -> bool:
    """Whether any is true, having looked at all of them."""
    genuine = False
    for one in found:
        genuine |= one
    return genuine


def _same_hex(digests: Sequence[bytes], given: bytes) -> bool:
    text = given.lower()
    return _any(hmac.compare_digest(digest.hex().encode(), text) for digest in digests)


def _same_base64(digests: Sequence[bytes], given: bytes) -> bool:
    return _any(hmac.compare_digest(base64.b64encode(digest), given) for digest in digests)


def _is_signed(key: Ed25519PublicKey, given: bytes, signed: bytes) -> bool:
    try:
        key.verify(base64.b64decode(given, validate=True), signed)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _is_timestamp(text: bytes) -> bool:
    """Seconds since 1970: digits alone, no sign, no blank."""
    return 0 < len(text) <= 12 and text.isdigit()


def _judge(genuine: bool, timestamp: bytes, now: datetime) -> Verdict:
    if not genuine:
        return Verdict.WRONG
    apart = abs(now.timestamp() - int(timestamp))
    return Verdict.GENUINE if apart <= TOLERANCE.total_seconds() else Verdict.STALE


def make_secret(scheme: Scheme, random: bytes) -> str:
    """The text of a new secret from 32 random bytes, as senders of that scheme take it."""
    if scheme is Scheme.STANDARD:
        return SECRET_PREFIX + base64.b64encode(random).decode()
    return random.hex()
