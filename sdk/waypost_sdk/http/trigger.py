"""`client.triggers`: webhooks that come in and schedules, and each time that they fired (native contract §5)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Generic

from waypost_sdk.http.plan import Plan, Stream
from waypost_sdk.http.resource import M, Resource, given, iteration, operation, read, segment, tagged
from waypost_sdk.trigger import Firing, Tested, Trigger, TriggerPreview


class Triggers(Resource[M], Generic[M]):
    """`client.triggers`."""

    @operation
    def create(
        self,
        kind: str,
        name: str,
        job: Mapping[str, Any] | str,
        *,
        verify: Mapping[str, Any] | str | None = None,
        filter: str | None = None,  # noqa: A002 -- the contract's word
        map: str | None = None,  # noqa: A002 -- the contract's word
        rate_per_second: int | None = None,
        secret: str | None = None,
        schedule: Mapping[str, Any] | str | None = None,
        overlap: str | None = None,
        catch_up: str | None = None,
        jitter_seconds: float | None = None,
        idempotency_key: str | None = None,
    ) -> Plan[Trigger]:
        """A new trigger. `job` is a function's name or a job without payload; `verify` a scheme's name or all of it;
        `schedule` a cron expression or all of it. The secret of a webhook is told this once, unless you gave it."""
        body = given(
            kind=kind,
            name=name,
            job={"function": job} if isinstance(job, str) else dict(job),
            verify={"scheme": verify} if isinstance(verify, str) else verify,
            filter=filter,
            map=map,
            rate_per_second=rate_per_second,
            secret=secret,
            schedule={"cron": schedule} if isinstance(schedule, str) else schedule,
            overlap=overlap,
            catch_up=catch_up,
            jitter_seconds=jitter_seconds,
        )
        answer = yield from self._post(self._path, body, key=idempotency_key)
        return tagged(answer, Trigger)

    @operation
    def preview(self, kind: str, settings: Mapping[str, Any], *, trigger_id: str | None = None) -> Plan[TriggerPreview]:
        """Whether these settings (`schedule`, or `verify`, `filter`, `map` …) are good, and when a schedule with them
        would be due. Keeps nothing. `trigger_id`: of which they are to be."""
        answer = yield from self._post(self._path + "/preview", {**settings, **given(kind=kind, trigger_id=trigger_id)})
        return read(answer, TriggerPreview)

    @iteration
    def list(self, *, kind: str | None = None) -> Stream[Trigger]:
        """All of them, newest first; with `kind` webhooks or schedules alone."""
        return self._pages(self._path, Trigger, tuple(given(kind=kind).items()))

    @operation
    def get(self, trigger_id: str) -> Plan[Trigger]:
        answer = yield from self._get(self._one(trigger_id))
        return tagged(answer, Trigger)

    @operation
    def update(self, trigger_id: str, changes: Mapping[str, Any], *, if_match: str | None = None) -> Plan[Trigger]:
        """Change what is named: name, job, and the settings of its kind; None is a setting's default."""
        answer = yield from self._patch(self._one(trigger_id), dict(changes), if_match)
        return tagged(answer, Trigger)

    @operation
    def delete(self, trigger_id: str, *, if_match: str | None = None) -> Plan[None]:
        """It fires no more; its jobs stay."""
        yield from self._delete(self._one(trigger_id), if_match)

    @operation
    def pause(self, trigger_id: str) -> Plan[Trigger]:
        answer = yield from self._post(self._one(trigger_id) + "/pause")
        return tagged(answer, Trigger)

    @operation
    def resume(self, trigger_id: str) -> Plan[Trigger]:
        """Fires again, from now on."""
        answer = yield from self._post(self._one(trigger_id) + "/resume")
        return tagged(answer, Trigger)

    @operation
    def rotate_secret(
        self, trigger_id: str, *, secret: str | None = None, overlap_seconds: float | None = None
    ) -> Plan[Trigger]:
        """A new secret, told this once; the one before is valid for `overlap_seconds` more (24 h)."""
        body = given(secret=secret, overlap_seconds=overlap_seconds)
        answer = yield from self._post(self._one(trigger_id) + "/rotate-secret", body)
        return tagged(answer, Trigger)

    @operation
    def test(
        self,
        trigger_id: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Plan[Tested]:
        """Fire once with this body, without a signature."""
        sent = {"body": body, **given(headers=headers, query=query)}
        answer = yield from self._post(self._one(trigger_id) + "/test", sent)
        return read(answer, Tested)

    @iteration
    def firings(
        self,
        trigger_id: str,
        *,
        outcome: str | Sequence[str] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Stream[Firing]:
        """Each time that it fired or should have, newest first."""
        outcomes = [outcome] if isinstance(outcome, str) else outcome or ()
        query = [("outcome", one) for one in outcomes]
        query += [(name, at.isoformat()) for name, at in (("from", since), ("to", until)) if at is not None]
        return self._pages(self._one(trigger_id) + "/firings", Firing, tuple(query), limit)

    @property
    def _path(self) -> str:
        return f"{self._scope.environment()}/triggers"

    def _one(self, trigger_id: str) -> str:
        return f"{self._path}/{segment(trigger_id)}"
