"""Rules of triggers without I/O: what may be asked of one, what a delivery is called, what payload a request makes."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from waypost import document, errors
from waypost.document import MAX_DEPTH, explain
from waypost.errors import WaypostError
from waypost.job.model import JobSpec
from waypost.job.specification import is_idempotency_key, parse_submission
from waypost.trigger.expression import check_expression, compile_expression
from waypost.trigger.model import Scheme, Verification, WebhookSettings
from waypost.trigger.signature import Headers, read_public_key, signature_headers

MASK = "***"
MAX_SHOWN_HEADERS = 64
MAX_SHOWN_CHARACTERS = 512
_SECRET_WORDS = ("authorization", "cookie", "secret", "password", "token", "api-key", "apikey", "signature")
_HEADER_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
_GIVEN_BY_SENDER = frozenset({Scheme.STRIPE, Scheme.SLACK})

_encode = msgspec.json.Encoder().encode


class _Event(msgspec.Struct):
    id: Any = None
    event_id: Any = None
    type: Any = None
    challenge: Any = None


_EVENT = msgspec.json.Decoder(_Event)


# --- what may be asked ------------------------------------------------------------------------------------------------


def check_job(raw: bytes) -> JobSpec:
    """The specification of a trigger's jobs; raises as a submission would, with pointers below `/job`."""
    try:
        spec = parse_submission(raw)
    except WaypostError as error:
        error.problems = tuple(
            msgspec.structs.replace(problem, path="/job" + problem.path) for problem in error.problems
        )
        raise
    if spec.payload:
        raise errors.invalid("not_in_trigger", "A trigger makes the payload; leave it out of job.", "/job/payload")
    if spec.run_at is not None:
        raise errors.invalid(
            "not_in_trigger", "The trigger says when; use delay_seconds for a while after it.", "/job/run_at"
        )
    return spec


def check_webhook(settings: Mapping[str, Any]) -> WebhookSettings:
    """Settings of a webhook as JSON values, judged; raises 422 with a pointer."""
    if "verify" not in settings:
        raise errors.invalid("missing_field", "The field 'verify' is required; send it.", "/verify")
    try:
        found = msgspec.convert(settings, WebhookSettings)
    except msgspec.ValidationError as error:
        problem = explain(error)
        raise errors.invalid(problem.code, problem.message, problem.path) from None
    _check_verification(found.verify)
    check_expression(found.filter, "/filter")
    check_expression(found.map, "/map")
    return found


def _check_verification(how: Verification) -> None:
    if how.scheme is Scheme.HMAC:
        _check_header(how.header, "/verify/header")
        if len(how.prefix) > 64 or not how.prefix.isascii() or not how.prefix.isprintable():
            raise errors.invalid("invalid_value", "A prefix has at most 64 printable characters.", "/verify/prefix")
    else:
        default = Verification(how.scheme)
        for name in ("header", "algorithm", "encoding", "prefix"):
            if getattr(how, name) != getattr(default, name):
                raise errors.invalid("not_of_scheme", f"{name} is of the scheme hmac alone.", f"/verify/{name}")
    if how.public_keys and how.scheme is not Scheme.STANDARD:
        raise errors.invalid("not_of_scheme", "public_keys are of the scheme standard alone.", "/verify/public_keys")
    for index, key in enumerate(how.public_keys):
        try:
            read_public_key(key)
        except ValueError as error:
            raise errors.invalid("invalid_public_key", f"{error}.", f"/verify/public_keys/{index}") from None
    _check_delivery(how)


def _check_delivery(how: Verification) -> None:
    own = how.scheme in (Scheme.HMAC, Scheme.BEARER)
    for name in ("delivery_header", "delivery_expression"):
        if getattr(how, name) is not None and not own:
            raise errors.invalid(
                "not_of_scheme",
                f"The scheme {how.scheme} says itself what its deliveries are called.",
                f"/verify/{name}",
            )
    if how.delivery_header is not None and how.delivery_expression is not None:
        message = "delivery_header and delivery_expression exclude each other; send one of them."
        raise errors.invalid("exclusive_fields", message, "/verify/delivery_expression")
    if how.delivery_header is not None:
        _check_header(how.delivery_header, "/verify/delivery_header")
    check_expression(how.delivery_expression, "/verify/delivery_expression")


def _check_header(name: str | None, path: str) -> None:
    if name is None:
        raise errors.invalid("missing_field", "The scheme hmac needs the header that holds the signature.", path)
    if not 1 <= len(name) <= 100 or not _HEADER_CHARACTERS.issuperset(name.lower()):
        raise errors.invalid("invalid_value", "A header's name has 1 to 100 letters, digits, - and _.", path)


def needs_given_secret(scheme: Scheme) -> bool:
    """Whether the sender makes the secret, so that it must be given to us."""
    return scheme in _GIVEN_BY_SENDER


# --- what a delivery is called ----------------------------------------------------------------------------------------


def delivery_id(how: Verification, headers: Headers, body: bytes) -> str | None:
    """What is the same when the sender repeats a delivery; None when nothing says. Of `delivery_expression` the caller
    takes care, with `name_delivery`."""
    if how.scheme is Scheme.STANDARD:
        return name_delivery(headers.get(b"webhook-id"))
    if how.scheme is Scheme.GITHUB:
        return name_delivery(headers.get(b"x-github-delivery"))
    if how.scheme is Scheme.STRIPE:
        return name_delivery(_event(body).id)
    if how.scheme is Scheme.SLACK:  # an event that Slack repeats is signed anew; a slash command has no id
        signed = headers.get(b"x-slack-request-timestamp", b"") + b" " + headers.get(b"x-slack-signature", b"")
        return name_delivery(_event(body).event_id) or name_delivery(signed)
    return name_delivery(headers.get(how.delivery_header.lower().encode())) if how.delivery_header else None


def name_delivery(found: Any) -> str | None:
    """What was found as an idempotency key; None for nothing, and for what is no name."""
    if isinstance(found, bytes):
        found = found.decode("latin-1")
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str) or not found:
        return None
    return found if is_idempotency_key(found) else "sha256:" + hashlib.sha256(found.encode()).hexdigest()


def _event(body: bytes) -> _Event:
    try:
        return _EVENT.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _Event()


def greeting(how: Verification, headers: Headers, body: bytes) -> tuple[str, bytes] | None:
    """What a sender asks when it is set up, which is no event: (what it was, the answer's body)."""
    if how.scheme is Scheme.SLACK:
        event = _event(body)
        if event.type == "url_verification" and isinstance(event.challenge, str):
            return "url_verification", _encode({"challenge": event.challenge})
    if how.scheme is Scheme.GITHUB and headers.get(b"x-github-event") == b"ping":
        return "ping", _encode({"job_id": None})
    return None


# --- what a request becomes -------------------------------------------------------------------------------------------


def shown_headers(how: Verification, headers: Headers) -> dict[str, str]:
    """A request's headers with everything masked that could let somebody in."""
    proofs = signature_headers(how)
    known = [(*_named(name), value) for name, value in headers.items()]
    return {name: MASK if is_secret or name in proofs else value.decode("latin-1") for name, is_secret, value in known}


@lru_cache(maxsize=4_096)
def _named(name: bytes) -> tuple[str, bool]:
    """A header's name as text, and whether it holds a credential, whatever the scheme."""
    text = name.decode("latin-1")
    return text, any(word in text for word in _SECRET_WORDS)


def kept_headers(shown: Mapping[str, str]) -> dict[str, str]:
    """The part of `shown_headers` that a firing keeps: bounded."""
    some = list(shown.items())[:MAX_SHOWN_HEADERS]
    return {name[:MAX_SHOWN_CHARACTERS]: value[:MAX_SHOWN_CHARACTERS] for name, value in some}


def payload_of(shown: Mapping[str, str], query: bytes, body: bytes) -> bytes:
    """`{"headers", "query", "body"}` with a JSON body exactly as it was sent; other bodies as text, what is no text as
    base64 with `"encoding": "base64"` beside it.

    Raises 400, 422 for a body that says it is JSON and is none, 415 for one that is compressed.
    """
    if shown.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise WaypostError(
            "unsupported_encoding",
            "A compressed body is not read here; send it as it is.",
            errors.Category.MEDIA_TYPE,
        )
    raw, encoding = _body(shown.get("content-type", ""), body)
    start = b'{"headers":%s,"query":%s,"body":%s' % (_encode(shown), _encode(_query(query)), raw)
    return start + (b',"encoding":"base64"}' if encoding else b"}")


def _body(content_type: str, body: bytes) -> tuple[bytes, bool]:
    """The body as JSON text, and whether it is in base64."""
    kind = content_type.partition(";")[0].strip().lower()
    is_json = kind == "application/json" or kind.endswith("+json")
    if not body.strip():
        return b"null", False
    if is_json or not kind:
        try:
            document.verify(body, MAX_DEPTH - 1)
        except WaypostError:
            if is_json:
                raise
        else:
            return body.strip(), False
    try:
        return _encode(body.decode()), False
    except UnicodeDecodeError:
        return b'"%s"' % base64.b64encode(body), True


def _query(query: bytes) -> dict[str, str | list[str]]:
    """Parameters by name; one that is repeated has a list."""
    found: dict[str, list[str]] = {}
    for name, value in _pairs(query):
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _pairs(query: bytes) -> Iterable[tuple[str, str]]:
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100, errors="replace")
    except ValueError:
        raise errors.invalid("invalid_parameter", "The query string cannot be read.") from None


def compiled(settings: WebhookSettings) -> None:
    """Compile its expressions now, so that the first webhook does not pay for it."""
    for text in (settings.filter, settings.map, settings.verify.delivery_expression):
        if text is not None:
            compile_expression(text)
