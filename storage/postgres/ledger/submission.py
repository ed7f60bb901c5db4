"""Keeping submissions: one statement a batch, idempotency keys resolved, order of the answers kept.

Refuses to validate: what a submission may say was decided before (`waypost.job.specification`).
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from uuid import UUID

from storage.postgres.database import Connection, Database
from storage.postgres.ledger.statement import MAX_ROWS, run
from waypost.errors import unavailable
from waypost.job.model import Accepted, Request, Submission

MAX_ROUNDS = 50  # a key in use that is gone when looked up makes another round; this often it is no race any more

_Key = tuple[UUID, str, str]
_Numbered = list[tuple[int, Submission]]
_COLUMNS = (
    "id",
    "environment_id",
    "route",
    "rank",
    "submitted_by",
    "policy",
    "labels",
    "payload",
    "payload_object",
    "run_at",
    "delay_seconds",
    "expires_in_seconds",
    "concurrency_key",
    "concurrency_limit",
    "traceparent",
    "replay_of",
    "trigger_id",
    "idempotency_scope",
    "idempotency_key",
    "request_hash",
)
# Never null; where all rows of a statement have the same value, submit.sql takes it from one element.
_SHARED = frozenset({"environment_id", "route", "rank", "submitted_by", "idempotency_scope"})
_READ = tuple((name, attrgetter(name)) for name in _COLUMNS)


class _Conflicted(Exception):  # noqa: N818 (ends a transaction, is no fault)
    """Rolls an atomic batch back."""


async def submit(database: Database, batch: Sequence[Submission]) -> list[Accepted]:
    """Keep `batch`, durably, each by itself; the answers are in its order.

    A key in use with the same hash answers the first job (`replayed`), with another hash nothing was kept of that one
    (`conflict`), and nothing is kept of an environment that is being deleted (`closed`).
    Raises `unavailable` (then it is not known what was kept: keys tell) and `unstorable` (then nothing was).
    """
    async with database.hot() as connection:
        return await _resolve(connection, batch)


async def submit_whole(
    database: Database, batch: Sequence[Submission], request: Request | None = None
) -> list[Accepted]:
    """All of `batch`, of one environment, or nothing: where one answer is a conflict, the others are moot.

    With a `request`, one record stands for all: a repeat gets the first answer's jobs, another body under its key makes
    every answer a conflict. A record for each job was half of what a bulk costs. Errors as for `submit`.
    """
    answers: list[Accepted] = []
    try:
        async with database.hot() as connection, connection.transaction():
            if request is not None and (first := await _first_answer(connection, request, batch)) is not None:
                return first
            answers = await _resolve(connection, batch)
            if any(answer.conflict for answer in answers):
                raise _Conflicted  # noqa: TRY301 (leaving by an error is what rolls back)
            if request is not None and any(answer.replayed for answer in answers):
                await connection.execute(_KEEP_JOBS, *_place(request), _packed(answer.id for answer in answers))
    except _Conflicted:
        pass
    return answers


_SCOPE = "jobs.bulk"
_CLAIM_REQUEST = """
insert into control.idempotency as i (environment_id, scope, key, reference, request_hash, job_ids, expires_at)
values ($1, $2, $3, $4, $5, $6, now() + interval '24 hours')
on conflict (environment_id, scope, key) do update
    set reference = excluded.reference, request_hash = excluded.request_hash, job_ids = excluded.job_ids,
        expires_at = excluded.expires_at
    where i.expires_at <= now()
returning true
"""
_READ_REQUEST = """
select request_hash, job_ids from control.idempotency where environment_id = $1 and scope = $2 and key = $3
"""
_KEEP_JOBS = "update control.idempotency set job_ids = $4 where environment_id = $1 and scope = $2 and key = $3"
_ID_BYTES = 16


def _place(request: Request) -> _Key:
    return request.environment_id, _SCOPE, request.key


def _packed(ids: Iterable[UUID]) -> bytes:
    return b"".join(identifier.bytes for identifier in ids)


async def _first_answer(connection: Connection, request: Request, batch: Sequence[Submission]) -> list[Accepted] | None:
    """None when the request is the first under its key, which is now its own until the end of the transaction: whoever
    comes with it meanwhile waits."""
    jobs = _packed(item.id for item in batch)
    if await connection.fetchval(_CLAIM_REQUEST, *_place(request), batch[0].id, request.hash, jobs):
        return None
    row = await connection.fetchrow(_READ_REQUEST, *_place(request))
    if row is None or row["request_hash"] != request.hash:
        return [Accepted(item.id, conflict=True) for item in batch]
    kept = row["job_ids"]
    ids = (UUID(bytes=kept[start : start + _ID_BYTES]) for start in range(0, len(kept), _ID_BYTES))
    return [Accepted(identifier, replayed=True) for identifier in ids]


async def submit_within(connection: Connection, batch: Sequence[Submission]) -> list[Accepted]:
    """As `submit`, in the transaction of `connection` (a `hot` one), and kept with its commit: what else is done there
    happens exactly when the jobs are. A deadlock or `unstorable` fails the transaction."""
    return await _resolve(connection, batch)


async def _resolve(connection: Connection, batch: Sequence[Submission]) -> list[Accepted]:
    answers: dict[int, Accepted] = {}
    pending = list(enumerate(batch))
    for _ in range(MAX_ROUNDS + len(batch)):
        if not pending:
            return [answers[index] for index in range(len(batch))]
        now, later = _one_round(pending)
        rows = await run(connection, "submit", *_columns(item for _, item in now))
        kept = {row["id"] for row in rows if not row["closed"]}
        answers.update((index, Accepted(item.id)) for index, item in now if item.id in kept)
        met = [(index, item) for index, item in now if item.id not in kept]
        if len(kept) < len(rows):
            closed = {row["id"] for row in rows if row["closed"]}  # environments
            refused = [(index, item) for index, item in met if item.environment_id in closed]
            answers.update((index, Accepted(item.id, conflict=True, closed=True)) for index, item in refused)
            met = [(index, item) for index, item in met if item.environment_id not in closed]
        known = await _first_requests(connection, [item for _, item in met]) if met else {}
        answers.update((index, _answer(item, *known[_key(item)])) for index, item in met if _key(item) in known)
        pending = [pair for pair in met if _key(pair[1]) not in known] + later
    raise unavailable("PostgreSQL")


def _one_round(
    pending: _Numbered,
) -> tuple[_Numbered, _Numbered]:
    """As many as fit into one statement, each idempotency key once; the rest comes after."""
    now: _Numbered = []
    later: _Numbered = []
    keys: set[_Key] = set()
    for pair in pending:
        key = _key(pair[1]) if pair[1].idempotency_key is not None else None
        if len(now) == MAX_ROWS or key in keys:
            later.append(pair)
            continue
        now.append(pair)
        if key is not None:
            keys.add(key)
    return now, later


def _columns(items: Iterable[Submission]) -> list[list[object]]:
    """Encoding every element of every array is what a batch costs here: what all rows share is sent once."""
    rows = list(items)
    columns: list[list[object]] = []
    for name, read in _READ:
        values = list(map(read, rows))
        first = values[0]
        if (first is None or name in _SHARED) and values.count(first) == len(values):
            values = [] if first is None else [first]
        columns.append(values)
    return columns


def _key(item: Submission) -> _Key:
    return item.environment_id, item.idempotency_scope, item.idempotency_key or ""


async def _first_requests(connection: Connection, items: list[Submission]) -> dict[_Key, tuple[UUID, bytes]]:
    keys = [_key(item) for item in items]
    rows = await run(connection, "idempotent", *([key[part] for key in keys] for part in range(3)))
    return {keys[row["ordinal"] - 1]: (row["reference"], row["request_hash"]) for row in rows}


def _answer(item: Submission, reference: UUID, request_hash: bytes) -> Accepted:
    same = item.request_hash == request_hash
    return Accepted(reference, replayed=same, conflict=not same)
