"""`Idempotency-Key` for what is not a job: one thing is made, and its first answer is given again for 24 h.

The key is claimed and the answer kept in the transaction of the change, so requests that run at the same moment wait
for the first and then get its answer. Answers can hold a secret that is shown once, so they are kept sealed, each under
a key of its own that the key-encryption key wraps. Jobs have their own way, in the ledger (decision 19).
"""

import hashlib
from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec

from gateway.endpoint import Call
from gateway.exchange import Answer, Exchange
from storage.postgres.database import Connection
from waypost import errors
from waypost.errors import conflict
from waypost.ids import new_id
from waypost.job.specification import is_idempotency_key
from waypost.secret import KeyEncryptionKeys
from waypost.secret.envelope import seal, unseal

_CLAIM = """
insert into control.idempotency as i (environment_id, scope, key, reference, request_hash, expires_at)
values ($1, $2, $3, $4, $5, now() + interval '24 hours')
on conflict (environment_id, scope, key) do update
    set reference = excluded.reference, request_hash = excluded.request_hash, answer = null, kek_id = null,
        expires_at = excluded.expires_at
    where i.expires_at <= now()
returning true
"""
_READ = """
select request_hash, answer, kek_id from control.idempotency where environment_id = $1 and scope = $2 and key = $3
"""
_KEEP = """
update control.idempotency set answer = $4, kek_id = $5 where environment_id = $1 and scope = $2 and key = $3
"""

REPLAYED = (b"idempotent-replayed", b"true")

Work = Callable[[Connection], Awaitable[Answer]]


class _Kept(msgspec.Struct, array_like=True):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    kind: bytes


def key_of(exchange: Exchange) -> str | None:
    """The request's Idempotency-Key; raises 422 when it is not one."""
    key = exchange.header(b"idempotency-key")
    if key is not None and not is_idempotency_key(key):
        raise errors.invalid(
            "invalid_idempotency_key", "An Idempotency-Key has 1 to 255 characters.", "/headers/Idempotency-Key"
        )
    return key


def request_hash(scope: str, *parts: bytes) -> bytes:
    """What must be the same for a repeat: SHA-256 over the operation and what was sent."""
    whole = hashlib.sha256(scope.encode())
    for part in parts:
        whole.update(b"\0%d\0" % len(part))
        whole.update(part)
    return whole.digest()


def reused() -> errors.WaypostError:
    """409: the key belongs to another request."""
    return conflict(
        "idempotency_conflict",
        "This Idempotency-Key was used with another body in the last 24 hours; use a fresh one for a new request.",
    )


async def once(call: Call, owner: UUID, scope: str, work: Work, sent: bytes | None = None) -> Answer:
    """Run `work` in a transaction, at most once a key: a repeat gets the first answer, another body a 409.

    `owner` is the environment or organization within which keys are one's own; `scope` names the operation; `sent`
    stands for a body that was streamed.
    """
    exchange, services = call.exchange, call.services
    key = key_of(exchange)
    if key is None:
        async with services.database.unit() as connection:
            return await work(connection)
    target = "/".join(f"{name}={value}" for name, value in call.parameters.items() if name not in _PLACE)
    asked = request_hash(scope, target.encode(), await exchange.body() if sent is None else sent)
    where = (owner, scope, key)
    async with services.database.unit() as connection:
        if await connection.fetchval(_CLAIM, *where, new_id(), asked) is None:
            return await _again(connection, services.key_ring, where, asked)
        answer = await work(connection)
        kek = services.kek
        await connection.execute(_KEEP, *where, seal(kek, _place(where), _kept(answer)), kek.id)
        return answer


_PLACE = frozenset({"org", "project", "environment"})  # part of the owner, and an id or a slug at will


async def _again(connection: Connection, keks: KeyEncryptionKeys, where: tuple[UUID, str, str], asked: bytes) -> Answer:
    row = await connection.fetchrow(_READ, *where)
    if row is None or bytes(row["request_hash"]) != asked or row["answer"] is None:
        raise reused()
    # Without an id: a gateway of the version before kept it.
    kek = keks.by_id(row["kek_id"]) if row["kek_id"] else keks.current()
    sealed = unseal(kek, _place(where), bytes(row["answer"]))
    kept = msgspec.msgpack.decode(sealed, type=_Kept)
    return Answer(kept.status, kept.body, [*kept.headers, REPLAYED], kept.kind)


def _place(where: tuple[UUID, str, str]) -> str:
    return "idempotency:{}:{}:{}".format(*where)


def _kept(answer: Answer) -> bytes:
    return msgspec.msgpack.encode(_Kept(answer.status, list(answer.headers), answer.body, answer.kind))
