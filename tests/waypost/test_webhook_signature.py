"""Verification of webhooks: the schemes' own published vectors, and everything that is nearly right."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding as KeyEncoding
from cryptography.hazmat.primitives.serialization import PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from waypost.errors import WaypostError
from waypost.trigger.model import Algorithm, Encoding, Scheme, Verification
from waypost.trigger.signature import MAX_SIGNATURES, Verdict, Verifier, check_secret, make_secret

GENUINE, STALE, WRONG = Verdict.GENUINE, Verdict.STALE, Verdict.WRONG

# standard-webhooks' own test: libraries/python/tests/test_webhooks.py
STANDARD_SECRET = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STANDARD_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
STANDARD_AT = 1614265330
STANDARD_BODY = b'{"test": 2432232314}'
STANDARD_SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

# docs.github.com, "Validating webhook deliveries", "Testing the webhook payload validation"
GITHUB_SECRET = "It's a Secret to Everybody"
GITHUB_BODY = b"Hello, World!"
GITHUB_SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"

# api.slack.com, "Verifying requests from Slack"
SLACK_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
SLACK_AT = 1531420618
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
    b"803a0bc887a14d10d2c447fce8b6703c"
)
SLACK_SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"

# Stripe publishes no fixed vector; this is its description ("t.body", v1 = HMAC-SHA256 hex), worked out by hand.
STRIPE_SECRET = "whsec_test_secret"
STRIPE_BODY = b'{\n  "id": "evt_test_webhook",\n  "object": "event"\n}'


def verifier(scheme: Scheme, *secrets: str, **how: object) -> Verifier:
    return Verifier(Verification(scheme, **how), secrets)  # type: ignore[arg-type]


def instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def headers(**named: str) -> dict[bytes, bytes]:
    return {name.replace("_", "-").encode(): value.encode() for name, value in named.items()}


def standard(signature: str, at: int = STANDARD_AT, identifier: str = STANDARD_ID) -> dict[bytes, bytes]:
    return headers(webhook_id=identifier, webhook_timestamp=str(at), webhook_signature=signature)


def stripe(at: int, *signatures: str) -> dict[bytes, bytes]:
    return headers(stripe_signature=",".join([f"t={at}", *(f"v1={one}" for one in signatures)]))


def stripe_digest(at: int, secret: str = STRIPE_SECRET, body: bytes = STRIPE_BODY) -> str:
    return hmac.new(secret.encode(), b"%d.%s" % (at, body), hashlib.sha256).hexdigest()


# --- published vectors ------------------------------------------------------------------------------------------------


def test_the_vector_of_standard_webhooks_is_genuine() -> None:
    """The signature that the standard's own test suite expects."""
    for secret in (STANDARD_SECRET, "whsec_" + STANDARD_SECRET):
        found = verifier(Scheme.STANDARD, secret).verify(
            standard(STANDARD_SIGNATURE), STANDARD_BODY, instant(STANDARD_AT)
        )
        assert found is GENUINE


def test_the_vector_of_github_is_genuine() -> None:
    """The digest that GitHub's documentation tells to test with."""
    one = verifier(Scheme.GITHUB, GITHUB_SECRET)
    assert one.verify(headers(x_hub_signature_256=GITHUB_SIGNATURE), GITHUB_BODY, instant(0)) is GENUINE
    assert one.verify(headers(x_hub_signature=GITHUB_SIGNATURE), GITHUB_BODY, instant(0)) is WRONG


def test_the_vector_of_slack_is_genuine() -> None:
    """The request that Slack's documentation takes apart."""
    given_headers = headers(x_slack_signature=SLACK_SIGNATURE, x_slack_request_timestamp=str(SLACK_AT))
    one = verifier(Scheme.SLACK, SLACK_SECRET)
    assert one.verify(given_headers, SLACK_BODY, instant(SLACK_AT)) is GENUINE
    assert one.verify(given_headers, SLACK_BODY, instant(SLACK_AT + 301)) is STALE


def test_stripe_takes_any_of_several_v1() -> None:
    """While Stripe rolls a secret it signs with both; v0 counts for nothing."""
    one = verifier(Scheme.STRIPE, STRIPE_SECRET)
    good = stripe_digest(1_000)
    assert one.verify(stripe(1_000, good), STRIPE_BODY, instant(1_000)) is GENUINE
    assert one.verify(stripe(1_000, "0" * 64, good), STRIPE_BODY, instant(1_000)) is GENUINE
    assert one.verify(stripe(1_000, "0" * 64), STRIPE_BODY, instant(1_000)) is WRONG
    assert one.verify(headers(stripe_signature=f"t=1000,v0={good}"), STRIPE_BODY, instant(1_000)) is WRONG
    assert one.verify(headers(stripe_signature=f"t=1000,t=1001,v1={good}"), STRIPE_BODY, instant(1_000)) is WRONG


@given(st.text(min_size=1), st.integers(0, 600))
def test_our_answer_is_that_of_the_standards_library(text: str, late: int) -> None:
    """What `standardwebhooks` signs is genuine here, to the second of its tolerance; its words are our measure."""
    body = text.encode("utf-8", "replace")
    secret = base64.b64encode(b"k" * 32).decode()
    signature = standardwebhooks.Webhook(secret).sign("msg_1", instant(STANDARD_AT), body.decode())
    found = verifier(Scheme.STANDARD, secret).verify(
        standard(signature, identifier="msg_1"), body, instant(STANDARD_AT + late)
    )
    assert found is (GENUINE if late <= 300 else STALE)


# --- standard webhooks ------------------------------------------------------------------------------------------------


def ed25519() -> tuple[Ed25519PrivateKey, str]:
    key = Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes(KeyEncoding.Raw, PublicFormat.Raw)
    return key, "whpk_" + base64.b64encode(raw).decode()


def test_an_ed25519_signature_is_genuine_with_its_public_key_alone() -> None:
    """`v1a`: of any of the public keys, and of no other."""
    (key, public), (_, other) = ed25519(), ed25519()
    signed = b"%s.%d.%s" % (STANDARD_ID.encode(), STANDARD_AT, STANDARD_BODY)
    signature = "v1a," + base64.b64encode(key.sign(signed)).decode()
    at = instant(STANDARD_AT)
    assert (
        verifier(Scheme.STANDARD, public_keys=(other, public)).verify(standard(signature), STANDARD_BODY, at) is GENUINE
    )
    assert verifier(Scheme.STANDARD, public_keys=(other,)).verify(standard(signature), STANDARD_BODY, at) is WRONG
    mine = verifier(Scheme.STANDARD, public_keys=(public,))
    assert mine.verify(standard(signature.replace("v1a,", "v1,")), STANDARD_BODY, at) is WRONG
    assert mine.verify(standard(signature[:-4]), STANDARD_BODY, at) is WRONG
    assert mine.verify(standard(signature), STANDARD_BODY + b" ", at) is WRONG


def test_several_signatures_need_one_that_is_right_among_the_first() -> None:
    """A space between them, in any order, unknown versions passed over; a long list is not tried to its end."""
    one = verifier(Scheme.STANDARD, STANDARD_SECRET)
    wrong, at = "v1," + base64.b64encode(b"0" * 32).decode(), instant(STANDARD_AT)
    for text in (f"{wrong} {STANDARD_SIGNATURE}", f"{STANDARD_SIGNATURE} {wrong}", f"v2,zz {STANDARD_SIGNATURE}"):
        assert one.verify(standard(text), STANDARD_BODY, at) is GENUINE
    flood = " ".join([wrong] * MAX_SIGNATURES)
    assert one.verify(standard(f"{flood} {STANDARD_SIGNATURE}"), STANDARD_BODY, at) is WRONG


@pytest.mark.parametrize("missing", ["webhook_id", "webhook_timestamp", "webhook_signature"])
def test_a_missing_header_is_a_wrong_signature(missing: str) -> None:
    """Each of the three is needed."""
    left = {
        name: value
        for name, value in standard(STANDARD_SIGNATURE).items()
        if name != missing.replace("_", "-").encode()
    }
    assert verifier(Scheme.STANDARD, STANDARD_SECRET).verify(left, STANDARD_BODY, instant(STANDARD_AT)) is WRONG


@pytest.mark.parametrize("text", ["", "+1614265330", " 1614265330", "1614265330.0", "1e9", "-1", "१६", "9" * 13])
def test_a_timestamp_is_digits_alone(text: str) -> None:
    """No sign, blank, fraction or other script: else one instant would have several spellings."""
    given_headers = standard(STANDARD_SIGNATURE) | {b"webhook-timestamp": text.encode()}
    assert (
        verifier(Scheme.STANDARD, STANDARD_SECRET).verify(given_headers, STANDARD_BODY, instant(STANDARD_AT)) is WRONG
    )


# --- all schemes alike ------------------------------------------------------------------------------------------------


def sent(scheme: Scheme, secret: str, body: bytes, at: int) -> dict[bytes, bytes]:
    """A rightly signed request of a scheme, by its description."""
    if scheme is Scheme.STANDARD:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.new(key, b"m.%d.%s" % (at, body), hashlib.sha256).digest()
        return standard("v1," + base64.b64encode(digest).decode(), at, "m")
    if scheme is Scheme.BEARER:
        return headers(authorization=f"Bearer {secret}")
    content = {Scheme.STRIPE: b"%d." % at, Scheme.SLACK: b"v0:%d:" % at}.get(scheme, b"") + body
    digest = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
    return {
        Scheme.GITHUB: headers(x_hub_signature_256=f"sha256={digest}"),
        Scheme.STRIPE: stripe(at, digest),
        Scheme.SLACK: headers(x_slack_signature=f"v0={digest}", x_slack_request_timestamp=str(at)),
        Scheme.HMAC: headers(x_signature=digest),
    }[scheme]


def built(scheme: Scheme, *secrets: str) -> Verifier:
    return verifier(scheme, *secrets, **({"header": "X-Signature"} if scheme is Scheme.HMAC else {}))


SIGNED = [scheme for scheme in Scheme if scheme is not Scheme.BEARER]
BODY = b'{"amount":100,"to":"alice"}'


@pytest.mark.parametrize("scheme", SIGNED)
def test_a_body_that_changes_by_one_byte_is_wrong(scheme: Scheme) -> None:
    """At every place: changed, dropped, added."""
    secret = make_secret(scheme, b"s" * 32)
    one, given_headers, at = built(scheme, secret), sent(scheme, secret, BODY, 1_000), instant(1_000)
    assert one.verify(given_headers, BODY, at) is GENUINE
    for place in range(len(BODY)):
        for changed in (BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :], BODY[:place] + BODY[place + 1 :]):
            assert one.verify(given_headers, changed, at) is WRONG
    assert one.verify(given_headers, BODY + b"\n", at) is WRONG


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_truncated_signature_is_wrong(scheme: Scheme) -> None:
    """However much of it is there."""
    secret = make_secret(scheme, b"s" * 32)
    one, good, at = built(scheme, secret), sent(scheme, secret, BODY, 1_000), instant(1_000)
    name = next(name for name in good if b"signature" in name or name == b"authorization")
    for length in range(len(good[name])):
        assert one.verify(good | {name: good[name][:length]}, BODY, at) is WRONG
    assert one.verify({}, BODY, at) is WRONG


_NAMES = [
    b"webhook-id", b"webhook-timestamp", b"webhook-signature", b"x-hub-signature-256", b"stripe-signature",
    b"x-slack-signature", b"x-slack-request-timestamp", b"x-signature", b"authorization",
]  # fmt: skip
_VALUE = st.binary(max_size=40) | st.sampled_from(
    [b"v1,", b"v1a,", b"v1, v1a, ,", b"sha256=", b"t=1,v1=", b"t=,v1=,", b"v0=", b"Bearer ", b"1000", b"\xff" * 64]
)


@given(st.sampled_from(list(Scheme)), st.dictionaries(st.sampled_from(_NAMES), _VALUE), st.binary(max_size=20))
def test_whatever_is_sent_is_judged(scheme: Scheme, sent_headers: dict[bytes, bytes], body: bytes) -> None:
    """Any bytes in any header: wrong, and never an error that would tell something."""
    _, public = ed25519()
    keys = {"public_keys": (public,)} if scheme is Scheme.STANDARD else {}
    header = {"header": "X-Signature"} if scheme is Scheme.HMAC else {}
    one = verifier(scheme, make_secret(scheme, b"s" * 32), **keys, **header)
    assert one.verify(sent_headers, body, instant(1_000)) is WRONG


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("answer", [True, False])
def test_the_comparison_in_constant_time_alone_decides(
    scheme: Scheme, answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says of a right or a wrong signature is the verdict, and every valid secret is looked at, also after one
    that fits: neither bytes nor the number of secrets show in the time."""
    asked = []

    def compare(one: bytes, other: bytes) -> bool:
        asked.append((one, other))
        return answer

    valid = [make_secret(scheme, bytes([number]) * 32) for number in (1, 2)]
    monkeypatch.setattr("waypost.trigger.signature.hmac.compare_digest", compare)
    for secret in (*valid, make_secret(scheme, b"x" * 32)):
        verdict = built(scheme, *valid).verify(sent(scheme, secret, BODY, 1_000), BODY, instant(1_000))
        assert verdict is (GENUINE if answer else WRONG)
    assert len(asked) == 3 * len(valid)


@pytest.mark.parametrize("scheme", list(Scheme))
def test_two_secrets_are_valid_while_rotating_and_no_third(scheme: Scheme) -> None:
    """Either of those that are valid; a verifier without any takes nothing."""
    old, new, other = (make_secret(scheme, letter * 32) for letter in (b"o", b"n", b"x"))
    one, at = built(scheme, new, old), instant(1_000)
    assert one.verify(sent(scheme, old, BODY, 1_000), BODY, at) is GENUINE
    assert one.verify(sent(scheme, new, BODY, 1_000), BODY, at) is GENUINE
    assert one.verify(sent(scheme, other, BODY, 1_000), BODY, at) is WRONG
    assert built(scheme).verify(sent(scheme, new, BODY, 1_000), BODY, at) is WRONG


@pytest.mark.parametrize("scheme", [Scheme.STANDARD, Scheme.STRIPE, Scheme.SLACK])
@pytest.mark.parametrize(
    ("late", "expected"),
    [(-301, STALE), (-300, GENUINE), (-299, GENUINE), (299, GENUINE), (300, GENUINE), (301, STALE)],
)
def test_the_tolerance_is_five_minutes_to_the_second(scheme: Scheme, late: int, expected: Verdict) -> None:
    """Either way; a wrong signature is wrong, however old."""
    secret = make_secret(scheme, b"s" * 32)
    now = instant(10_000) + timedelta(seconds=late)
    assert built(scheme, secret).verify(sent(scheme, secret, BODY, 10_000), BODY, now) is expected
    assert built(scheme, secret).verify(sent(scheme, secret, BODY, 10_000), BODY + b"x", now) is WRONG


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_generic_hmac_is_what_it_was_said_to_be(algorithm: Algorithm, encoding: Encoding) -> None:
    """Header, algorithm, encoding and prefix are taken at their word; hexadecimal in either case."""
    one = verifier(
        Scheme.HMAC, "a-secret-text", header="X-My-Sign", algorithm=algorithm, encoding=encoding, prefix="k="
    )
    digest = hmac.new(b"a-secret-text", BODY, algorithm.value)
    text = digest.hexdigest() if encoding is Encoding.HEX else base64.b64encode(digest.digest()).decode()
    at = instant(0)
    assert one.verify(headers(x_my_sign=f"k={text}"), BODY, at) is GENUINE
    assert one.verify(headers(x_my_sign=text), BODY, at) is WRONG
    assert one.verify(headers(x_signature=f"k={text}"), BODY, at) is WRONG
    upper = one.verify(headers(x_my_sign=f"k={text.upper()}"), BODY, at)
    assert upper is (GENUINE if encoding is Encoding.HEX else WRONG)


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        (Scheme.STANDARD, "whsec_short"),
        (Scheme.STANDARD, "whsec_" + "ü" * 40),
        (Scheme.STANDARD, "not base64 at all, but long enough for one"),
        (Scheme.GITHUB, "seven77"),
        (Scheme.HMAC, " leading blank"),
        (Scheme.BEARER, "line\nbreak in it"),
        (Scheme.SLACK, "x" * 513),
        (Scheme.STRIPE, "schlüssel-text"),
    ],
)
def test_a_secret_that_the_scheme_cannot_use_is_refused_unseen(scheme: Scheme, secret: str) -> None:
    """422 with a pointer, and the secret is not in the answer."""
    with pytest.raises(WaypostError) as caught:
        check_secret(scheme, secret)
    assert caught.value.code == "invalid_secret"
    assert caught.value.problems[0].path == "/secret"
    assert secret not in str(caught.value)


def test_a_verifier_shows_no_secret() -> None:
    """Neither as text nor in a trace's locals."""
    assert "topsecret-text" not in repr(verifier(Scheme.GITHUB, "topsecret-text"))
