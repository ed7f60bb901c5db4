"""`client.replays`: running many ended jobs again, watching it, stopping it (docs/replay.md)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Generic

from waypost_sdk.http.plan import Item, Plan, Sleep, Stream
from waypost_sdk.http.resource import M, Resource, given, iteration, operation, read, segment
from waypost_sdk.replay import BulkReplay, ReplayPreview

FIRST_POLL_SECONDS = 0.05
LONGEST_POLL_SECONDS = 1.0

_Words = str | Iterable[str]


class Replays(Resource[M], Generic[M]):
    """`client.replays`. One job alone: `client.jobs.replay`."""

    @operation
    def preview(
        self,
        *,
        state: _Words | None = None,
        function: _Words | None = None,
        label: _Words | None = None,
        trigger_id: _Words | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        ids: Iterable[str] | None = None,
        limit: int | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Plan[ReplayPreview]:
        """How many jobs `create` would run again, by function and state; nothing is run."""
        body = _body(state, function, label, trigger_id, created_after, created_before, ids, limit, overrides)
        answer = yield from self._post(f"{self._jobs}/replay", {**body, "dry_run": True})
        return read(answer, ReplayPreview)

    @operation
    def create(
        self,
        *,
        state: _Words | None = None,
        function: _Words | None = None,
        label: _Words | None = None,
        trigger_id: _Words | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        ids: Iterable[str] | None = None,
        limit: int | None = None,
        overrides: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[BulkReplay]:
        """Run ended jobs again, each as a new job: those of `ids`, or the newest `limit` (10,000) that the filters let
        through. A label is KEY=VALUE. The same `idempotency_key` is the same bulk replay."""
        body = _body(state, function, label, trigger_id, created_after, created_before, ids, limit, overrides)
        answer = yield from self._post(f"{self._jobs}/replay", body, key=idempotency_key)
        return read(answer, BulkReplay)

    @operation
    def get(self, replay_id: str) -> Plan[BulkReplay]:
        """How far it is."""
        return self._read(replay_id)

    @iteration
    def list(self, *, limit: int | None = None) -> Stream[BulkReplay]:
        """Bulk replays, newest first."""
        return self._pages(f"{self._jobs}/replays", BulkReplay, limit=limit)

    @operation
    def cancel(self, replay_id: str) -> Plan[BulkReplay]:
        """Stop it; jobs that it made stay. ConflictError when it has ended."""
        answer = yield from self._post(f"{self._at(replay_id)}/cancel")
        return read(answer, BulkReplay)

    @iteration
    def watch(self, replay_id: str) -> Stream[BulkReplay]:
        """Where it stands, again and again until it has ended."""
        return self._watch(replay_id)

    def _watch(self, replay_id: str) -> Stream[BulkReplay]:
        pause = FIRST_POLL_SECONDS
        while True:
            found = yield from self._read(replay_id)
            yield Item(found)
            if found.ended:
                return
            yield Sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_SECONDS)

    def _read(self, replay_id: str) -> Plan[BulkReplay]:
        answer = yield from self._get(self._at(replay_id))
        return read(answer, BulkReplay)

    @property
    def _jobs(self) -> str:
        return f"{self._scope.environment()}/jobs"

    def _at(self, replay_id: str) -> str:
        return f"{self._jobs}/replays/{segment(replay_id)}"


def _body(
    state: _Words | None,
    function: _Words | None,
    label: _Words | None,
    trigger_id: _Words | None,
    created_after: datetime | None,
    created_before: datetime | None,
    ids: Iterable[str] | None,
    limit: int | None,
    overrides: Mapping[str, Any] | None,
) -> dict[str, Any]:
    return given(
        state=_words(state),
        function=_words(function),
        label=_words(label),
        trigger_id=_words(trigger_id),
        created_after=_aware(created_after),
        created_before=_aware(created_before),
        ids=None if ids is None else list(ids),
        limit=limit,
        overrides=None if overrides is None else dict(overrides),
    )


def _words(value: _Words | None) -> Any:
    return value if value is None or isinstance(value, str) else list(value)


def _aware(instant: datetime | None) -> datetime | None:
    if instant is not None and instant.tzinfo is None:
        raise ValueError("an instant needs a time zone: datetime(…, tzinfo=UTC)")
    return instant
