"""Jobs: submit, read, wait, cancel, replay, follow (native contract §3)."""

import builtins
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Generic

import msgspec

from waypost_sdk import exact
from waypost_sdk.artifact import MAX_INLINE_BYTES, reference, referred, referred_in
from waypost_sdk.difference import JobDiff, compare
from waypost_sdk.errors import TooLargeError, WaitTimeoutError
from waypost_sdk.http.artifact import Artifacts
from waypost_sdk.http.event import follow
from waypost_sdk.http.plan import Item, Plan, Request, Sleep, Stream, collect, new_key, send
from waypost_sdk.http.resource import M, Query, Resource, given, iteration, operation, read, segment
from waypost_sdk.model import (
    ENDS,
    Attempt,
    AttemptLog,
    Concurrency,
    Job,
    JobEvent,
    JobSpec,
    LogLine,
    LogPage,
    Page,
    Retry,
    Submitted,
    Waiting,
)

MAX_BULK_JOBS = 1_000
MAX_BULK_BYTES = 3_500_000  # the platform takes 4 MiB a body
FIRST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 0.5
LOG_PAGE = 1_000
LOG_WAIT_SECONDS = 20


class Jobs(Resource[M], Generic[M]):
    """`client.jobs`. Every method raises WaypostError and its subclasses."""

    @operation
    def submit(
        self,
        function: str,
        payload: Any = None,
        *,
        tags: Iterable[str] | None = None,
        priority: int | None = None,
        run_at: datetime | None = None,
        delay_seconds: float | None = None,
        timeout_seconds: float | None = None,
        expires_in_seconds: float | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        concurrency: Concurrency | Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        wait_seconds: float | None = None,
    ) -> Plan[Job]:
        """Submit one job; it is durable when this returns. Fields as in the native contract §3.1.

        The same `idempotency_key` gives the first job again; without one the SDK makes one, so that its own repeats
        make one job. With `wait_seconds` (up to 60) the answer is the ended job if it ends in time. A payload over
        1 MiB, or over the environment's own limit, is uploaded as an artifact, which the job names instead.
        """
        spec = JobSpec(
            function=function,
            payload=payload,
            tags=None if tags is None else list(tags),
            priority=priority,
            run_at=_aware(run_at),
            delay_seconds=delay_seconds,
            timeout_seconds=timeout_seconds,
            expires_in_seconds=expires_in_seconds,
            retry=retry if retry is None or isinstance(retry, Retry) else dict(retry),
            concurrency=concurrency
            if concurrency is None or isinstance(concurrency, Concurrency)
            else dict(concurrency),
            labels=None if labels is None else dict(labels),
        )
        return self._submit(spec, idempotency_key, wait_seconds)

    @operation
    def submit_text(
        self, body: bytes, *, idempotency_key: str | None = None, wait_seconds: float | None = None
    ) -> Plan[Job]:
        """Submit a specification that is JSON text already; it is sent as it is."""
        return self._submit(msgspec.Raw(body), idempotency_key, wait_seconds)

    @operation
    def submit_many(self, jobs: Iterable[JobSpec | Mapping[str, Any]]) -> Plan[list[Submitted]]:
        """Submit any number of jobs, in order, up to 1,000 a request; each request is all or nothing.

        A job without an `idempotency_key` gets one. When a later request is refused, the earlier ones stand.
        """
        prefix, accepted = new_key(), []
        for batch in _batches(jobs, prefix):
            for place, text in enumerate(batch):
                if len(text) > MAX_INLINE_BYTES:
                    batch[place] = yield from self._shrunk(text)
            answer = yield from self._post(f"{self._path}/bulk", {"jobs": batch})
            accepted += read(answer, Page[Submitted]).items
        return accepted

    @operation
    def get(self, job_id: str) -> Plan[Job]:
        """One job, with `waiting` while it waits."""
        return self._read_job(job_id)

    @iteration
    def list(
        self,
        *,
        state: str | Iterable[str] | None = None,
        function: str | Iterable[str] | None = None,
        labels: Mapping[str, str] | None = None,
        trigger_id: str | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        limit: int | None = None,
    ) -> Stream[Job]:
        """Jobs, newest first, page after page; at most `limit`."""
        query: list[tuple[str, str]] = []
        for name, values in (("state", state), ("function", function)):
            query += [(name, value) for value in ([values] if isinstance(values, str) else values or ())]
        query += [(f"label.{name}", value) for name, value in (labels or {}).items()]
        query += [("trigger_id", trigger_id)] if trigger_id else []
        for name, instant in (("created_after", created_after), ("created_before", created_before)):
            query += [(name, _instant(instant))] if instant else []
        return self._pages(self._path, Job, tuple(query), limit)

    @operation
    def wait(self, job_id: str, timeout_seconds: float | None = None) -> Plan[Job]:
        """The job once it has ended, with its `attempts`; WaitTimeoutError after `timeout_seconds` (None: never).

        A `result` that was too large for the job's record is fetched from its artifact.
        """
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        pause = FIRST_POLL_SECONDS
        while True:
            job = yield from self._read_job(job_id)
            if job.ended:
                job.attempts = yield from self._read_attempts(job_id)
                return (yield from self._resolved(job))
            if end is not None and time.monotonic() >= end:
                why = f" ({job.waiting.reason})" if job.waiting else ""
                raise WaitTimeoutError(
                    "wait_timeout", f"Job {job_id} is still {job.state}{why} after {timeout_seconds} s; it goes on."
                )
            yield Sleep(pause if end is None else max(0.0, min(pause, end - time.monotonic())))
            pause = min(pause * 1.4, LONGEST_POLL_SECONDS)

    @operation
    def result(self, job_id: str) -> Plan[Any]:
        """What a completed job answered; None before that. A result that is an artifact is fetched."""
        job = yield from self._read_job(job_id)
        return (yield from self._resolved(job)).result

    @operation
    def cancel(self, job_id: str) -> Plan[Job]:
        """Cancel: a waiting job ends at once, a running one after its grace. ConflictError when it has ended."""
        answer = yield from self._post(f"{self._at(job_id)}/cancel")
        return read(answer, Job)

    @operation
    def replay(
        self, job_id: str, overrides: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None
    ) -> Plan[Job]:
        """Run an ended job again, as a new job with `replay_of`; `overrides` are fields of the specification."""
        body = {"overrides": dict(overrides)} if overrides else {}
        answer = yield from self._post(f"{self._at(job_id)}/replay", body, key=idempotency_key)
        return read(answer, Job)

    @operation
    def diff(self, first: str, second: str) -> Plan[JobDiff]:
        """What two runs differ in: specification, payload, state, result, error; and their times."""
        one = yield from self._read_job(first)
        other = yield from self._read_job(second)
        attempts = yield from self._read_attempts(first)
        return compare(one, other, attempts, (yield from self._read_attempts(second)))

    @operation
    def attempts(self, job_id: str) -> "Plan[builtins.list[Attempt]]":
        """Its attempts, in order."""
        return self._read_attempts(job_id)

    @iteration
    def logs(
        self,
        job_id: str,
        *,
        attempt: int | None = None,
        start: int | None = None,
        limit: int | None = None,
        follow: bool = False,
    ) -> Stream[LogLine]:
        """What its handlers logged, oldest first: at most `limit` lines, of one attempt, from its line `start` on
        (-100: the last 100). With `follow` it goes on until nothing more will come."""
        query = given(attempt=attempt, **{"from": start})
        return self._lines(job_id, tuple((name, str(value)) for name, value in query.items()), limit, follow=follow)

    @operation
    def log_standing(self, job_id: str) -> "Plan[builtins.list[AttemptLog]]":
        """How much each attempt has said, and whether all of it is kept."""
        answer = yield from self._get(f"{self._at(job_id)}/logs", (("limit", "1"),))
        return read(answer, LogPage).attempts

    @iteration
    def events(self, job_id: str | None = None, *, last_event_id: str | None = None) -> Stream[JobEvent]:
        """Events as they happen: of one job until it ends, of the whole environment for ever. Resumes by itself."""
        path = f"{self._at(job_id)}/events" if job_id else f"{self._scope.environment()}/events"
        return self._follow(path, last_event_id, job_id)

    @operation
    def why(self, job_id: str) -> Plan[Waiting | None]:
        """Why it is not running; None when it does not wait."""
        job = yield from self._read_job(job_id)
        return job.waiting

    @property
    def _path(self) -> str:
        return f"{self._scope.environment()}/jobs"

    def _at(self, job_id: str) -> str:
        return f"{self._path}/{segment(job_id)}"

    def _submit(self, spec: Any, key: str | None, wait_seconds: float | None) -> Plan[Job]:
        query: Query = () if wait_seconds is None else (("wait_seconds", f"{wait_seconds:g}"),)
        text, key = msgspec.Raw(exact.encode(spec)), key or new_key()
        if len(text) > MAX_INLINE_BYTES:
            text = yield from self._shrunk(text)
        try:
            answer = yield from self._post(self._path, text, key=key, query=query, extra_seconds=wait_seconds or 0.0)
        except TooLargeError:
            small = yield from self._shrunk(text, least_bytes=0)
            if small == text:
                raise
            answer = yield from self._post(self._path, small, key=key, query=query, extra_seconds=wait_seconds or 0.0)
        return (yield from self._resolved(read(answer, Job)))

    def _shrunk(self, text: msgspec.Raw, least_bytes: int = MAX_INLINE_BYTES) -> Plan[msgspec.Raw]:
        """A specification whose payload, when it has more than so many bytes, is an artifact instead."""
        try:
            fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except msgspec.DecodeError:  # the platform will say what is wrong
            return text
        payload = bytes(fields.get("payload", b""))
        if len(payload) <= least_bytes or referred_in(payload) is not None:
            return text
        about = {"type": "payload", "name": "payload.json", "labels": {"function": _function(fields)}}
        artifact = yield from Artifacts(self._driver, self._scope).store(payload, about)
        return msgspec.Raw(exact.encode(fields | {"payload": reference(artifact.id)}))

    def _resolved(self, job: Job) -> Plan[Job]:
        """The job with its result, where that was too large for its record."""
        artifact_id = referred(job.result)
        if artifact_id is not None:
            text = yield from Artifacts(self._driver, self._scope).load(artifact_id)
            job.result = exact.decode(text)
        return job

    def _read_job(self, job_id: str) -> Plan[Job]:
        answer = yield from self._get(self._at(job_id))
        return read(answer, Job)

    def _read_attempts(self, job_id: str) -> "Plan[builtins.list[Attempt]]":
        return collect(self._whole(f"{self._at(job_id)}/attempts", Attempt))

    def _lines(self, job_id: str, query: Query, limit: int | None, *, follow: bool) -> Stream[LogLine]:
        path, left, waits = f"{self._at(job_id)}/logs", limit, False
        kept = tuple((name, value) for name, value in query if name != "from")
        while left is None or left > 0:
            size = ("limit", str(LOG_PAGE if left is None else min(left, LOG_PAGE)))
            wait = (("wait_seconds", f"{LOG_WAIT_SECONDS}"),) if waits else ()
            extra = LOG_WAIT_SECONDS if waits else 0.0
            request = Request("GET", path, (*query, size, *wait), extra_seconds=extra)
            page = read((yield from send(request, self._scope.retry_seconds)), LogPage)
            for line in page.items:
                yield Item(line)
            left = None if left is None else left - len(page.items)
            cursor = page.next_cursor or (page.follow_cursor if follow else None)
            if cursor is None:
                return
            query, waits = (*kept, ("cursor", cursor)), page.next_cursor is None

    def _follow(self, path: str, last_event_id: str | None, job_id: str | None) -> Stream[JobEvent]:
        def is_last(event: JobEvent) -> bool:
            ended = isinstance(event.data, dict) and event.data.get("state") in ENDS
            return job_id is not None and event.type == "job.state" and ended

        return follow(path, last_event_id, self._scope.retry_seconds, is_last)


def _batches(jobs: Iterable[JobSpec | Mapping[str, Any]], prefix: str) -> "Iterable[list[msgspec.Raw]]":
    """Encoded jobs with a key each, in requests that the platform takes."""
    batch: list[msgspec.Raw] = []
    size = 0
    for number, job in enumerate(jobs):
        text = exact.encode(_with_key(job, f"{prefix}-{number}"))
        if batch and (len(batch) == MAX_BULK_JOBS or size + len(text) > MAX_BULK_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(msgspec.Raw(text))
        size += len(text) + 1
    if batch:
        yield batch


def _function(fields: Mapping[str, msgspec.Raw]) -> str:
    """Its name, as a label may be."""
    return bytes(fields.get("function", b"")).decode(errors="replace").strip('" ')[:256]


def _with_key(job: JobSpec | Mapping[str, Any], key: str) -> Any:
    if isinstance(job, JobSpec):
        return (
            job if job.idempotency_key else msgspec.structs.replace(job, idempotency_key=key, run_at=_aware(job.run_at))
        )
    return dict(job) if job.get("idempotency_key") else {**job, "idempotency_key": key}


def _aware(instant: datetime | None) -> datetime | None:
    if instant is not None and instant.tzinfo is None:
        raise ValueError("an instant needs a time zone: datetime(…, tzinfo=UTC)")
    return instant


def _instant(instant: datetime) -> str:
    aware = _aware(instant)
    assert aware is not None  # noqa: S101 -- it was given
    return aware.astimezone(UTC).isoformat().replace("+00:00", "Z")
