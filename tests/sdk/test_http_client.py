"""The HTTP client against a small local server: requests, retries, pages, errors, events; sync and async alike."""

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from waypost_sdk import (
    AsyncClient,
    Client,
    ConfigurationError,
    ConflictError,
    CredentialsError,
    InvalidError,
    JobSpec,
    LimitedError,
    Retry,
    UnavailableError,
    WaitTimeoutError,
)

E = "/v1/orgs/acme/projects/shop/environments/dev"
JOB = b'{"id":"j1","state":"queued","function":"echo","payload":{"a":12.50}}'


@pytest.fixture
def async_client(fake_http) -> AsyncClient:
    return AsyncClient(fake_http.url, "wp_key", "acme/shop/dev", retry_seconds=5)


def script(*answers: Any) -> Callable[..., Any]:
    """Give these answers in turn; the last one for ever."""
    turns = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda *_: next(turns)


async def test_submit_sends_the_specification_with_exact_numbers_and_a_key(async_client, fake_http):
    """Bearer key, Idempotency-Key, only the fields that were given, 12.50 as 12.50."""
    fake_http.answer = script((202, {}, JOB))
    job = await async_client.jobs.submit(
        "echo",
        {"a": Decimal("12.50"), "b": 10**39},
        tags=["gpu"],
        run_at=datetime(2026, 11, 21, 9, tzinfo=UTC),
        retry=Retry(max_attempts=3),
        concurrency={"key": "c", "limit": 1},
        wait_seconds=5,
    )
    assert (job.id, job.state, job.payload) == ("j1", "queued", {"a": Decimal("12.50")})
    ((method, path, headers, body),) = fake_http.requests
    assert (method, path) == ("POST", f"{E}/jobs?wait_seconds=5")
    assert headers["authorization"] == "Bearer wp_key"
    assert headers["idempotency-key"].startswith("sdk-")
    assert b'{"a":12.50,"b":1' + b"0" * 39 in body
    assert set(msgspec.json.decode(body)) == {"function", "payload", "tags", "run_at", "retry", "concurrency"}


def test_the_sync_client_speaks_the_same_requests(fake_http_in_thread):
    """One implementation: the same operation on both clients makes the same request."""
    fake_http_in_thread.answer = script((202, {}, JOB))
    with Client(fake_http_in_thread.url, "wp_key", "acme/shop/dev") as client:
        job = client.jobs.submit("echo", 1, idempotency_key="a-17")
    assert job.id == "j1"
    ((method, path, headers, body),) = fake_http_in_thread.requests
    assert (method, path, headers["idempotency-key"]) == ("POST", f"{E}/jobs", "a-17")
    assert body == b'{"function":"echo","payload":1}'


async def test_503_429_and_cut_connections_are_repeated_with_the_same_key(async_client, fake_http):
    """Each try carries one and the same Idempotency-Key, so the platform makes one job."""
    fake_http.answer = script((503, {"retry-after": "0"}, b"{}"), None, (429, {}, b"{}"), (202, {}, JOB))
    assert (await async_client.jobs.submit("echo")).id == "j1"
    assert len(fake_http.requests) == 4
    assert len({headers["idempotency-key"] for _, _, headers, _ in fake_http.requests}) == 1


async def test_retries_end_with_the_last_error(fake_http):
    """`retry_seconds=0` never repeats; the error has status, code and the pause that the platform asked for."""
    problem = b'{"code":"queue_full","detail":"Too many waiting jobs.","request_id":"r-1","retryable":true}'
    fake_http.answer = script((429, {"retry-after": "7"}, problem))
    async with AsyncClient(fake_http.url, "k", "a/b/c", retry_seconds=0) as client:
        with pytest.raises(LimitedError) as caught:
            await client.jobs.submit("echo")
    error = caught.value
    assert (error.status, error.code, error.request_id, error.retryable) == (429, "queue_full", "r-1", True)
    assert error.retry_after_seconds == 7
    assert len(fake_http.requests) == 1


async def test_refusals_are_typed_and_not_repeated(async_client, fake_http):
    """401, 409 and 422 come at once, with the platform's words and the place of the fault."""
    problem = b'{"code":"unknown_field","detail":"x","errors":[{"path":"/x","code":"unknown_field","message":"?"}]}'
    fake_http.answer = script((401, {}, b"not json"), (409, {}, b'{"code":"job_already_ended"}'), (422, {}, problem))
    with pytest.raises(CredentialsError):
        await async_client.jobs.get("j1")
    with pytest.raises(ConflictError, match="job_already_ended"):
        await async_client.jobs.cancel("j1")
    with pytest.raises(InvalidError) as caught:
        await async_client.jobs.submit("echo")
    assert caught.value.problems[0]["path"] == "/x"
    assert len(fake_http.requests) == 3


async def test_a_platform_that_is_not_there_is_unavailable():
    """No connection at all is an UnavailableError that names the address."""
    client = AsyncClient("http://127.0.0.1:9", "k", "a/b/c", retry_seconds=0)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
        await client.queue.get()


async def test_lists_go_through_all_pages(async_client, fake_http):
    """The cursor is carried with the filters; `limit` ends it early."""

    def page(_method: str, path: str, *_: Any) -> Any:
        number = int(path.partition("cursor=")[2] or 0)
        after = number + 1 if number < 2 else None
        document = {"items": [{"id": f"j{number}", "state": "failed"}], "next_cursor": after and str(after)}
        return 200, {}, msgspec.json.encode(document)

    fake_http.answer = page
    jobs = [job.id async for job in async_client.jobs.list(state=["failed", "expired"], labels={"order": "A 1"})]
    assert jobs == ["j0", "j1", "j2"]
    assert all("state=failed&state=expired&label.order=A" in path for _, path, _, _ in fake_http.requests)
    assert [job.id async for job in async_client.jobs.list(limit=2)] == ["j0", "j1"]
    assert len(fake_http.requests) == 5


async def test_bulk_submissions_are_cut_into_requests_the_platform_takes(async_client, fake_http):
    """1,000 a request, each job with a key of its own, ids in order."""

    def accept(_method: str, _path: str, _headers: Any, body: bytes) -> Any:
        jobs = msgspec.json.decode(body)["jobs"]
        items = [{"id": job["idempotency_key"], "state": "queued"} for job in jobs]
        return 202, {}, msgspec.json.encode({"items": items})

    fake_http.answer = accept
    specs = [JobSpec("echo", number) for number in range(1_500)] + [{"function": "echo", "idempotency_key": "mine"}]
    accepted = await async_client.jobs.submit_many(specs)
    assert len(fake_http.requests) == 2
    assert accepted[-1].id == "mine"
    assert len({item.id for item in accepted}) == 1_501


async def test_wait_returns_the_end_with_its_attempts(async_client, fake_http):
    """`wait` looks again until an end; a time-out says the state, and leaves the job alone."""
    attempts = b'{"items":[{"number":1,"id":"a","outcome":"lost"},{"number":2,"id":"b","outcome":"completed"}]}'
    fake_http.answer = script(
        (200, {}, JOB), (200, {}, b'{"id":"j1","state":"completed","result":1.50}'), (200, {}, attempts)
    )
    job = await async_client.jobs.wait("j1", timeout_seconds=5)
    assert (job.ended, job.result) == (True, Decimal("1.50"))
    assert [attempt.outcome for attempt in job.attempts or []] == ["lost", "completed"]
    waiting = b'{"id":"j1","state":"queued","waiting":{"reason":"no_node_connected"}}'
    fake_http.answer = script((200, {}, waiting))
    with pytest.raises(WaitTimeoutError, match="no_node_connected"):
        await async_client.jobs.wait("j1", timeout_seconds=0.05)


async def test_events_resume_after_the_last_one_that_was_seen(async_client, fake_http):
    """A broken stream is opened again with Last-Event-ID, and the iterator ends with the job."""
    first = b': hello\n\nid: 1\nevent: job.state\ndata: {"state": "running"}\n\nid: 2\nevent: job.progress\ndata: {"fr'
    rest = b'id: 2\nevent: job.progress\ndata: {"fraction": 0.5}\n\n'
    rest += b'id: 3\nevent: job.state\ndata: {"state": "completed"}\n\n'
    stream = {"content-type": "text/event-stream"}
    broken = {**stream, "content-length": "9999", "connection": "close"}
    fake_http.answer = script((200, broken, first), (503, {}, b"{}"), (200, stream, rest))
    events = [(event.type, event.id) async for event in async_client.jobs.events("j1")]
    assert events == [("job.state", "1"), ("job.progress", "2"), ("job.state", "3")]
    asked = [headers.get("last-event-id") for _, _, headers, _ in fake_http.requests]
    assert asked == [None, "1", "1"]


async def test_deleting_what_a_lost_answer_had_deleted_is_no_error(async_client, fake_http):
    """The first DELETE worked and its answer was lost: 404 at the repetition means done."""
    fake_http.answer = script(None, (404, {}, b'{"code":"not_found"}'))
    await async_client.node_credentials.delete("c1")
    assert [request[0] for request in fake_http.requests] == ["DELETE", "DELETE"]


async def test_many_requests_at_once_share_one_client(async_client, fake_http):
    """The async client is safe to use from many tasks."""
    fake_http.answer = script((200, {}, JOB))
    jobs = await asyncio.gather(*(async_client.jobs.get("j1") for _ in range(50)))
    assert len(jobs) == 50


def test_configuration_is_arguments_then_variables_then_the_file(tmp_path, monkeypatch):
    """Each place is asked only for what the ones before it do not say; what is nowhere is named."""
    file = tmp_path / "config.toml"
    monkeypatch.setenv("WAYPOST_CONFIG", str(file))
    for name in ("WAYPOST_URL", "WAYPOST_KEY", "WAYPOST_ENVIRONMENT", "WAYPOST_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="WAYPOST_KEY"):
        Client("http://127.0.0.1:1")
    file.write_text(
        'current = "local"\n[contexts.local]\nurl = "http://127.0.0.1:1"\nkey = "from-file"\nenvironment = "a/b/file"\n'
        '[contexts.other]\nkey = "other"\n'
    )
    monkeypatch.setenv("WAYPOST_KEY", "from-variable")
    client = Client(environment="a/b/argument")
    assert client._driver._client.headers["authorization"] == "Bearer from-variable"
    assert client.jobs._path == "/v1/orgs/a/projects/b/environments/argument/jobs"
    monkeypatch.setenv("WAYPOST_CONTEXT", "missing")
    with pytest.raises(ConfigurationError, match="missing"):
        Client()
    file.write_text("not = [toml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Client()


async def test_a_naive_instant_is_refused(async_client, fake_http):
    """An instant without a time zone is a mistake that nobody would notice."""
    with pytest.raises(ValueError, match="time zone"):
        await async_client.jobs.submit("echo", run_at=datetime(2026, 1, 1))  # noqa: DTZ001 -- the mistake
    assert not fake_http.requests
