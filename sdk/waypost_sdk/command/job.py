"""`waypost jobs`: submit, read, wait, cancel, follow."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waypost_sdk.command import failure, output, replay
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.instant import ago, instant
from waypost_sdk.command.payload import json_text
from waypost_sdk.command.session import Yes, confirm, connect
from waypost_sdk.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from waypost_sdk.http.client import Client
    from waypost_sdk.model import Attempt, Job, LogLine, WaitingNodes

app = typer.Typer(help="Submit jobs and see what became of them.", no_args_is_help=True)
app.command()(replay.replay)
app.command()(replay.diff)
app.add_typer(replay.app, name="replays")

_JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
_Timeout = Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait; without it, until it ends.")]
_OPEN = ("queued", "running", "retrying")
_COLUMNS: tuple[output.Column, ...] = (
    ("JOB", lambda job: job.id),
    ("FUNCTION", lambda job: job.function),
    ("STATE", lambda job: job.state),
    ("ATTEMPT", lambda job: job.attempt),
    ("TAGS", lambda job: job.tags),
    ("AGE", lambda job: output.age(job.created_at)),
    ("ERROR", lambda job: job.error and job.error.code),
)


@app.command()
def submit(
    context: typer.Context,
    function: Annotated[str, typer.Argument(help="The function to run.")],
    payload: Annotated[str | None, typer.Option(help="JSON; @FILE reads a file, - reads stdin.")] = None,
    payload_file: Annotated[str | None, typer.Option(help="A file with JSON; - reads stdin.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A selector, all must hold: gpu, 'mem_gb>=16' …")] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE; searchable.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 is first; default 5.")] = None,
    delay: Annotated[float | None, typer.Option(min=0, help="Seconds to wait before it may start.")] = None,
    run_at: Annotated[str | None, typer.Option(help="Not before this instant, RFC 3339.")] = None,
    attempt_timeout: Annotated[float | None, typer.Option(min=1, help="Seconds one attempt may take.")] = None,
    expires_in: Annotated[float | None, typer.Option(help="Seconds within which it must start.")] = None,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, max=100, help="Attempts before it is a dead letter.")
    ] = None,
    concurrency: Annotated[str | None, typer.Option(help="KEY=LIMIT: at most LIMIT of KEY run at once.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key gives the first job again.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; exit code 1 unless it completed.")] = False,
    timeout: _Timeout = None,
    as_json: output.Json = False,
) -> None:
    """Submit one job."""
    fields: dict[str, Any] = {
        "payload": json_text(payload, payload_file),
        "tags": tag or None,
        "labels": _pairs(label, "--label") or None,
        "priority": priority,
        "delay_seconds": delay,
        "run_at": instant(run_at, "--run-at"),
        "timeout_seconds": attempt_timeout,
        "expires_in_seconds": expires_in,
        "retry": {"max_attempts": max_attempts} if max_attempts else None,
        "concurrency": _concurrency(concurrency),
        "idempotency_key": idempotency_key,
    }
    with connect(context) as client:
        job = client.jobs.submit(function, **fields)
        if wait:
            with output.waiting(f"waiting for {job.id}"):
                job = client.jobs.wait(job.id, timeout)
    _show([job], as_json=as_json)
    if wait:
        _exit_by_state([job])


@app.command()
def get(context: typer.Context, job_id: _JobId, as_json: output.Json = False) -> None:
    """Show one job."""
    with connect(context) as client:
        _show([client.jobs.get(job_id)], as_json=as_json)


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[list[str] | None, typer.Option(help="queued, running, retrying, completed, failed …")] = None,
    function: Annotated[list[str] | None, typer.Option(help="Only of this function.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="KEY=VALUE.")] = None,
    trigger: Annotated[str | None, typer.Option(help="Only of this trigger (its id).")] = None,
    created_after: Annotated[str | None, typer.Option(help="RFC 3339.")] = None,
    created_before: Annotated[str | None, typer.Option(help="RFC 3339.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 50,
    as_json: output.Json = False,
) -> None:
    """List jobs, newest first."""
    with connect(context) as client:
        jobs = client.jobs.list(
            state=state,
            function=function,
            labels=_pairs(label, "--label"),
            trigger_id=trigger,
            created_after=instant(created_after, "--created-after"),
            created_before=instant(created_before, "--created-before"),
            limit=limit,
        )
        output.show_list(jobs, _COLUMNS, as_json=as_json)


@app.command()
def wait(
    context: typer.Context,
    job_ids: Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.")],
    timeout: _Timeout = None,
    as_json: output.Json = False,
) -> None:
    """Wait until jobs have ended; exit code 1 unless all completed."""
    jobs = []
    with connect(context) as client:
        for job_id in job_ids:
            with output.waiting(f"waiting for {job_id}"):
                jobs.append(client.jobs.wait(job_id, timeout))
    _show(jobs, as_json=as_json)
    _exit_by_state(jobs)


@app.command()
def cancel(
    context: typer.Context,
    job_ids: Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Ids of jobs.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="Instead of ids: queued, running, retrying.")] = None,
    function: Annotated[list[str] | None, typer.Option(help="Only of this function.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only with this label, KEY=VALUE.")] = None,
    trigger: Annotated[str | None, typer.Option(help="Only of this trigger (its id).")] = None,
    created_after: Annotated[str | None, typer.Option(help="RFC 3339, or how long ago: 90m, 12h, 7d.")] = None,
    created_before: Annotated[str | None, typer.Option(help="RFC 3339, or how long ago.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be canceled.")] = False,
    yes: Yes = False,
    as_json: output.Json = False,
) -> None:
    """Cancel jobs: by their ids, or all that have not ended and that filters let through, counted first."""
    filters: dict[str, Any] = {
        "state": state,
        "function": function,
        "labels": _pairs(label, "--label") or None,
        "trigger_id": trigger,
        "created_after": ago(created_after, "--created-after"),
        "created_before": ago(created_before, "--created-before"),
    }
    if bool(job_ids) == any(value is not None for value in filters.values()):
        raise UsageError("Give either ids of jobs or filters, such as --state queued.")
    if job_ids and dry_run:
        raise UsageError("--dry-run counts what filters let through: it goes with filters, not with ids of jobs.")
    if ended := sorted(set(state or ()) - set(_OPEN)):
        raise UsageError(f"Jobs that are {ended[0]} cannot be canceled: only {', '.join(_OPEN)}.")
    with connect(context) as client:
        if job_ids:
            _show([client.jobs.cancel(job_id) for job_id in job_ids], as_json=as_json)
            return
        chosen = [job.id for job in client.jobs.list(**filters | {"state": state or _OPEN})]
        if chosen and not dry_run:
            confirm(f"{len(chosen):,} jobs that have not ended will be canceled.", str(len(chosen)), yes=yes)
        found = {"matched": len(chosen), "canceled": 0, "ended_before": 0}
        output.show_one(found if dry_run else found | _canceled(client, chosen), as_json=as_json)


@app.command()
def attempts(context: typer.Context, job_id: _JobId, as_json: output.Json = False) -> None:
    """Show a job's attempts."""
    columns: tuple[output.Column, ...] = (
        ("NUMBER", lambda attempt: attempt.number),
        ("OUTCOME", lambda attempt: attempt.outcome or "running"),
        ("NODE", lambda attempt: attempt.node_name or attempt.node),
        ("RELAY", lambda attempt: attempt.relay),
        ("STARTED", lambda attempt: attempt.started_at),
        ("FINISHED", lambda attempt: attempt.finished_at),
        ("ERROR", lambda attempt: attempt.error and f"{attempt.error.code}: {attempt.error.message}"),
    )
    with connect(context) as client:
        output.show_list(client.jobs.attempts(job_id), columns, as_json=as_json)


@app.command()
def logs(
    context: typer.Context,
    job_id: _JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until the job ends.")] = False,
    attempt: Annotated[int | None, typer.Option(min=1, help="Only of this attempt.")] = None,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last so many lines; of the last attempt.")] = None,
    as_json: output.Json = False,
) -> None:
    """Show what the handlers of a job logged, and printed where that is captured."""
    with connect(context) as client:
        start = None
        if tail is not None:
            start, attempt = -tail, attempt or client.jobs.get(job_id).attempt or 1
        with _until_interrupted():
            for line in client.jobs.logs(job_id, attempt=attempt, start=start, follow=follow):
                _log_line(line, as_json=as_json)
        for one in client.jobs.log_standing(job_id):
            if one.truncated and attempt in (None, one.attempt):
                output.note(
                    f"waypost: {one.dropped_lines} more lines of attempt {one.attempt} were said and are not kept."
                )


@app.command()
def why(context: typer.Context, job_id: _JobId, as_json: output.Json = False) -> None:
    """Say why a job is not running."""
    with connect(context) as client:
        job = client.jobs.get(job_id)
    if output.wants_json(as_json):
        output.write_json({"id": job.id, "state": job.state, "waiting": job.waiting})
    elif job.waiting is None:
        typer.echo(f"{job.id} is {job.state}; it does not wait.")
    else:
        counts = _counts(job.waiting.nodes)
        typer.echo(f"{job.waiting.reason}: {job.waiting.detail or ''}{counts}")


@app.command()
def events(
    context: typer.Context,
    job_id: Annotated[str | None, typer.Argument(metavar="[JOB]", help="One job; without it, all jobs.")] = None,
    last_event_id: Annotated[str | None, typer.Option(help="Go on after this event.")] = None,
    as_json: output.Json = False,
) -> None:
    """Follow events as they happen: of one job until it ends, or of the environment until Ctrl-C."""
    with connect(context) as client, _until_interrupted():
        for event in client.jobs.events(job_id, last_event_id=last_event_id):
            if output.wants_json(as_json):
                output.write_json(event, line=True)
            else:
                from waypost_sdk import exact

                typer.echo(f"{event.type:13} {exact.encode(event.data).decode()}")


def _canceled(client: "Client", job_ids: list[str]) -> dict[str, int]:
    """How many were canceled and how many had ended, or were gone, when it was their turn. The oldest comes first: it
    would be the next to start."""
    canceled = over = 0
    with output.progress("canceling", len(job_ids)) as advance:
        for job_id in reversed(job_ids):
            try:
                client.jobs.cancel(job_id)
                canceled += 1
            except (ConflictError, NotFoundError):
                over += 1
            advance(canceled + over)
    return {"canceled": canceled, "ended_before": over}


def _show(jobs: "list[Job]", *, as_json: bool) -> None:
    """One job as one object, several as a list."""
    if len(jobs) == 1:
        attempts = "\n".join(map(_attempt, jobs[0].attempts or ()))
        output.show_one(jobs[0], as_json=as_json, instead={"attempts": attempts})
    else:
        output.show_list(jobs, _COLUMNS, as_json=as_json)


def _attempt(attempt: "Attempt") -> str:
    """In one line: how it ended, where, in how long, and why not better."""
    words = [
        f"{attempt.number}  {attempt.outcome or 'running'}",
        f"on {attempt.node_name or attempt.node or 'no node'}",
    ]
    if attempt.started_at and attempt.finished_at:
        words.append(f"{(attempt.finished_at - attempt.started_at).total_seconds():.3f} s")
    if attempt.error:
        words.append(f"{attempt.error.code}: {attempt.error.message}")
    if attempt.answer_refused_at and attempt.finished_at:
        late = (attempt.answer_refused_at - attempt.finished_at).total_seconds()
        words.append(f"Its answer came {late:.1f} s later and was refused.")
    return "  ".join(words)


def _counts(nodes: "WaitingNodes | None") -> str:
    if nodes is None:
        return ""
    return f" ({nodes.connected} connected, {nodes.serving} serve it, {nodes.matching} match, {nodes.free} free)"


def _exit_by_state(jobs: "Iterable[Job]") -> None:
    if any(job.state != "completed" for job in jobs):
        raise typer.Exit(failure.OTHER)


def _log_line(line: "LogLine", *, as_json: bool) -> None:
    if output.wants_json(as_json):
        output.write_json(line, line=True)
        return
    typer.echo(f"{output.clock(line.at)} {line.level.upper():7} {line.message}")


@contextmanager
def _until_interrupted() -> Iterator[None]:
    """Ctrl-C is the ordinary way out of something endless."""
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(failure.OK) from None


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    pairs = dict(text.split("=", 1) for text in texts or () if "=" in text)
    wrong = next((text for text in texts or () if "=" not in text), None)
    if wrong is not None:
        raise UsageError(f"{option} is KEY=VALUE, not {wrong!r}.")
    return pairs


def _concurrency(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    key, _, limit = text.rpartition("=")
    if not key or not limit.isdigit():
        raise UsageError(f"--concurrency is KEY=LIMIT, not {text!r}.")
    return {"key": key, "limit": int(limit)}
