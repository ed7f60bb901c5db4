"""`POST /api/oauth/token` (client credentials, HTTP Basic) and the JWKS (data-plane contract §6.3).

Errors are OAuth's flat shape; which of client id and secret was wrong is never told. Wrong tries are limited by client
id and by address.
"""

import base64
import binascii
from urllib.parse import parse_qs, unquote

import msgspec

from gateway.endpoint import Call, Endpoint, Parameter, endpoint, ok
from gateway.engine.signing import TOKEN_SECONDS
from gateway.exchange import Answer
from gateway.limit import limited
from storage.postgres.access.node_credential import (
    KeptCredential,
    environment_path,
    find_credential,
    touch_credential,
)
from storage.postgres.tenancy.signing_key import public_key_by_kid, public_keys
from waypost import errors
from waypost.access.key import digest, same_secret
from waypost.errors import Category, WaypostError
from waypost.ids import parse_id

_NOBODY = digest("nobody")
_NO_STORE = [(b"cache-control", b"no-store"), (b"pragma", b"no-cache")]


class TokenAnswer(msgspec.Struct):
    access_token: str
    token_type: str
    expires_in: int
    environment_path: str | None = None  # of the API: where this node puts and gets artifacts


class Jwks(msgspec.Struct):
    keys: list[dict[str, str]]


@endpoint(
    "POST",
    "/api/oauth/token",
    summary="A token for a compute node, for its client id and secret by HTTP Basic",
    public="the client's credentials are in the request",
    answer=TokenAnswer,
    body_kind="application/x-www-form-urlencoded",
    body=dict[str, str],
    example={"grant_type": "client_credentials"},
)
async def token(call: Call) -> Answer:
    client_id, secret = _basic(call.exchange.header(b"authorization"))
    kept = await _client(call, client_id, secret)
    form = await _form(call)
    if form.get("grant_type") != "client_credentials":
        raise WaypostError("unsupported_grant_type", "The grant_type is client_credentials.", Category.MALFORMED)
    text = await call.services.signers.token(kept.credential)
    async with call.services.database.unit() as connection:
        await touch_credential(connection, kept.credential.id)
        path = await environment_path(connection, kept.credential.environment_id)
    return ok(TokenAnswer(text, "Bearer", TOKEN_SECONDS, path), headers=_NO_STORE)


def _refused(detail: str) -> WaypostError:
    return WaypostError("invalid_client", detail, Category.UNAUTHENTICATED)


def _basic(header: str | None) -> tuple[str, str]:
    """Client id and secret, each percent-decoded (RFC 6749 §2.3.1)."""
    scheme, _, coded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        raise _refused("Send the client id and secret by HTTP Basic.")
    try:
        pair = base64.b64decode(coded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _refused("The Basic credentials cannot be read.") from None
    client_id, colon, secret = pair.partition(":")
    if not colon:
        raise _refused("The Basic credentials cannot be read.")
    return unquote(client_id), unquote(secret)


async def _client(call: Call, client_id: str, secret: str) -> KeptCredential:
    services = call.services
    culprits = ((services.client_failures, client_id[:64]), (services.address_failures, call.exchange.address))
    for failures, culprit in culprits:
        if failures.empty(culprit):
            raise limited(failures.wait_seconds(culprit))
    kept = None
    if client_id.isascii() and len(client_id) <= 100 and "\0" not in client_id:
        async with call.services.database.unit() as connection:
            kept = await find_credential(connection, client_id)
    if not same_secret(secret, kept.secret_hash if kept else _NOBODY) or kept is None:
        for failures, culprit in culprits:
            failures.take(culprit)
        raise _refused("The client is not known, or its secret is wrong.")
    return kept


async def _form(call: Call) -> dict[str, str]:
    try:
        fields = parse_qs((await call.exchange.body()).decode(), max_num_fields=20)
    except (UnicodeDecodeError, ValueError):
        raise WaypostError("invalid_request", "The form cannot be read.", Category.MALFORMED) from None
    return {name: values[-1] for name, values in fields.items()}


@endpoint(
    "GET",
    "/api/.well-known/jwks.json",
    summary="Public signing keys of an environment, or the one of a key id",
    public="public keys",
    query=(
        Parameter("kid", "The key id in a token's header; it is unique among all environments."),
        Parameter("environment", "An environment's id: all its keys."),
    ),
    answer=Jwks,
)
async def jwks(call: Call) -> Answer:
    """One of the two must be named: a list of all keys would tell how many environments there are."""
    kid, environment = call.query.get("kid", [""])[0], call.query.get("environment", [""])[0]
    if bool(kid) == bool(environment):
        raise errors.invalid("missing_parameter", "Name either kid or environment.", "/kid")
    async with call.services.database.unit() as connection:
        if kid:
            found = await public_key_by_kid(connection, kid) if "\0" not in kid else None
            keys = [found[1]] if found else []
        else:
            environment_id = parse_id(environment)
            keys = await public_keys(connection, environment_id) if environment_id else []
    return ok({"keys": keys}, headers=[(b"cache-control", b"public, max-age=60")])


ENDPOINTS: list[Endpoint] = [token, jwks]
