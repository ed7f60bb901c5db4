"""Bulk replays: run many ended jobs again, watch it, stop it (native contract §3.2)."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from gateway.audit import record
from gateway.endpoint import PAGE, Call, E, Endpoint, endpoint, ok
from gateway.exchange import Answer
from gateway.idempotency import once
from gateway.page import page_of, paged
from gateway.v1.view import page_view
from jobs.platform import nudge
from storage.postgres.database import Connection
from storage.postgres.platform.job import insert_platform_job
from storage.postgres.replay import replay as rows
from storage.postgres.replay.replay import Chosen
from waypost import errors
from waypost.access.model import Permission
from waypost.ids import instant_of, new_id
from waypost.job.decision import not_taking
from waypost.job.model import JobState
from waypost.job.replay import MAX_REPLAY, REPLAY, BulkReplay, Skip, ended_filter, not_ended, overrides_place
from waypost.job.specification import parse_overrides
from waypost.tenancy.model import Status

PATH = E + "/jobs/replays"
ONE = PATH + "/{replay}"

_Words = str | list[str]


class NewReplay(Struct, forbid_unknown_fields=True):
    """Which ended jobs: those of `ids`, or the newest `limit` that the filters let through (values of one filter are
    alternatives). `overrides` as of a single replay. A dry run replays nothing."""

    state: _Words | UnsetType = UNSET
    function: _Words | UnsetType = UNSET
    label: Annotated[_Words, Meta(description="KEY=VALUE")] | UnsetType = UNSET
    trigger_id: _Words | UnsetType = UNSET
    created_after: datetime | UnsetType = UNSET
    created_before: datetime | UnsetType = UNSET
    ids: Annotated[list[UUID], Meta(min_length=1, max_length=MAX_REPLAY)] | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_REPLAY)] | UnsetType = UNSET
    overrides: dict[str, Any] | UnsetType = UNSET
    dry_run: bool = False


class _Overrides(Struct):
    overrides: Raw


class BulkReplayView(Struct, frozen=True, kw_only=True):
    """A bulk replay. `skips` are the first of the skipped jobs, each with its reason."""

    id: UUID
    state: str
    matched: int
    replayed: int
    skipped: int
    skips: list[Skip]
    selection: Raw
    error: str | None
    created_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class ReplayPreview(Struct, frozen=True, kw_only=True):
    """What a bulk replay would run again. `more`: further jobs match beyond `limit`, older ones."""

    dry_run: bool = True
    matched: int
    replayed: int = 0
    more: bool
    by_function: dict[str, int]
    by_state: dict[str, int]
    oldest: datetime | None
    newest: datetime | None


class BulkReplayPage(Struct):
    items: list[BulkReplayView]
    next_cursor: str | None


@endpoint(
    "POST",
    E + "/jobs/replay",
    summary="Run up to 10,000 jobs that have ended again, each as a new job",
    permission=Permission.OPERATE_ENVIRONMENT,
    body=NewReplay,
    answer=BulkReplayView,
    status=202,
    also={200: "Of a dry run: how many jobs match, by function and by state."},
    also_answer=ReplayPreview,
    idempotent=True,
    example={"state": "dead_letter", "function": "image.thumbnail", "created_after": "2026-11-21T09:00:00Z"},
)
async def replay_many(call: Call) -> Answer:
    """The jobs are chosen now and replayed by a platform job, oldest first; `Location` tells how far it is. The same
    Idempotency-Key is the same bulk replay, so a job is run again once for it."""
    asked = await call.read(NewReplay)
    call.services.require_readable(call.environment)
    overrides = await _overrides(call, asked)
    if asked.dry_run:
        return ok(_preview(*await _choose(call, asked)))
    if call.environment.status is not Status.READY:
        raise not_taking(call.environment.status)
    key = await call.services.environment_keys.data_key(call.environment.id)

    async def work(connection: Connection) -> Answer:
        chosen, _ = await _choose(call, asked)
        replay_id = new_id()
        made = await rows.insert_replay(
            connection,
            call.environment.id,
            replay_id,
            [one.id for one in chosen],
            selection=_selection(asked),
            overrides=None if overrides is None else key.seal(overrides_place(replay_id), overrides),
            created_by=call.principal.actor,
            traceparent=call.exchange.traceparent,
        )
        await insert_platform_job(connection, new_id(), REPLAY, call.environment.id, replay_id)
        await record(connection, call, "job.replay", f"replay:{replay_id}", {"matched": str(len(chosen))})
        where = f"{call.place.path}/jobs/replays/{replay_id}".encode()
        return ok(bulk_replay_view(made), 202, [(b"location", where)])

    answer = await once(call, call.environment.id, "jobs.replay_many", work)
    nudge(call.services.valkey)
    return answer


async def _overrides(call: Call, asked: NewReplay) -> bytes | None:
    """Checked, and as they were written: numbers in a payload are not read and written again."""
    if not asked.overrides:
        return None
    raw = bytes(msgspec.json.decode(await call.exchange.body(), type=_Overrides).overrides)
    parse_overrides(b'{"overrides":' + raw + b"}")
    return raw


async def _choose(call: Call, asked: NewReplay) -> tuple[Sequence[Chosen], bool]:
    """The jobs, oldest first, and whether more match. Raises 422, and 409 for one by id that has not ended."""
    if asked.ids is not UNSET:
        return await _given(call, asked, asked.ids), False
    wanted = ended_filter(
        states=_words(asked.state),
        functions=_words(asked.function),
        labels=_words(asked.label),
        triggers=_words(asked.trigger_id),
        created_after=None if asked.created_after is UNSET else asked.created_after,
        created_before=None if asked.created_before is UNSET else asked.created_before,
    )
    limit = MAX_REPLAY if asked.limit is UNSET else asked.limit
    async with call.services.reading(call.environment) as connection:
        found = await rows.choose(connection, call.environment.id, wanted, limit + 1)
    return found[-limit:], len(found) > limit


async def _given(call: Call, asked: NewReplay, ids: list[UUID]) -> list[Chosen]:
    named = [name for name in (*_FILTERS, "limit") if getattr(asked, name) is not UNSET]
    if named:
        raise errors.invalid("ids_and_filter", "Give either ids or a filter.", f"/{named[0]}")
    async with call.services.reading(call.environment) as connection:
        found = await rows.choose_given(connection, call.environment.id, ids)
    if missing := set(ids) - {one.id for one in found}:
        first = next(index for index, one in enumerate(ids) if one in missing)
        raise errors.invalid("unknown_job", f"There is no job {ids[first]} here.", f"/ids/{first}")
    if any(one.state is None for one in found):
        raise not_ended(JobState.QUEUED)
    return found


_FILTERS = ("state", "function", "label", "trigger_id", "created_after", "created_before")


def _words(value: _Words | UnsetType) -> list[str]:
    return [] if value is UNSET else [value] if isinstance(value, str) else value


def _selection(asked: NewReplay) -> bytes:
    """What was asked for, to be shown; of ids and overrides only how many, and of what."""
    kept: dict[str, Any] = {name: getattr(asked, name) for name in _FILTERS if getattr(asked, name) is not UNSET}
    if asked.ids is not UNSET:
        kept["ids"] = len(set(asked.ids))
    if asked.overrides:
        kept["overrides"] = sorted(asked.overrides)
    return msgspec.json.encode(kept)


def _preview(chosen: Sequence[Chosen], more: bool) -> ReplayPreview:
    return ReplayPreview(
        matched=len(chosen),
        more=more,
        by_function=dict(Counter(one.function for one in chosen).most_common()),
        by_state=dict(Counter(one.state.value for one in chosen if one.state is not None).most_common()),
        oldest=instant_of(chosen[0].id) if chosen else None,
        newest=instant_of(chosen[-1].id) if chosen else None,
    )


def bulk_replay_view(found: BulkReplay) -> BulkReplayView:
    return BulkReplayView(**{name: getattr(found, name) for name in BulkReplayView.__struct_fields__})


@endpoint(
    "GET",
    PATH,
    summary="Bulk replays, newest first",
    permission=Permission.VIEW_ENVIRONMENT,
    query=PAGE,
    answer=BulkReplayPage,
)
async def read_replays(call: Call) -> Answer:
    page = page_of(call.query, "bulk_replays", call.environment.id)
    async with call.services.reading(call.environment) as connection:
        found = await rows.list_replays(connection, call.environment.id, before=page.after, limit=page.limit + 1)
    shown, cursor = paged(page, found, lambda one: one.id)
    return ok(page_view([bulk_replay_view(one) for one in shown], cursor))


@endpoint(
    "GET",
    ONE,
    summary="One bulk replay, and how far it is",
    permission=Permission.VIEW_ENVIRONMENT,
    answer=BulkReplayView,
)
async def read_one_replay(call: Call) -> Answer:
    """It is over when `state` is `completed`, `canceled` or `failed`; `replayed` + `skipped` of `matched` are done."""
    async with call.services.reading(call.environment) as connection:
        found = await rows.read_replay(connection, call.environment.id, _replay_id(call))
    if found is None:
        raise errors.not_found("replay")
    return ok(bulk_replay_view(found))


def _replay_id(call: Call) -> UUID:
    return call.identifier("replay", "replay")


@endpoint(
    "POST",
    ONE + "/cancel",
    summary="Stop a bulk replay: jobs that it made stay, no more are made",
    permission=Permission.OPERATE_ENVIRONMENT,
    answer=BulkReplayView,
    status=202,
    idempotent=True,
)
async def cancel_replay(call: Call) -> Answer:
    environment_id, replay_id = call.environment.id, _replay_id(call)

    async def work(connection: Connection) -> Answer:
        canceled = await rows.cancel_replay(connection, environment_id, replay_id)
        if canceled is None:
            found = await rows.read_replay(connection, environment_id, replay_id)
            if found is None:
                raise errors.not_found("replay")
            raise errors.conflict(
                "replay_already_ended", f"The replay has already ended as {found.state}.", state=found.state.value
            )
        await record(connection, call, "job.cancel_replay", f"replay:{replay_id}")
        return ok(bulk_replay_view(canceled), 202)

    return await once(call, environment_id, "jobs.replays.cancel", work)


ENDPOINTS: list[Endpoint] = [replay_many, read_replays, read_one_replay, cancel_replay]
