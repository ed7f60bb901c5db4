"""`waypost triggers`: webhooks that come in, and what became of each; schedules have `waypost schedules` beside."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost_sdk.command import output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.instant import instant, seconds
from waypost_sdk.command.session import IfMatch, connect

app = typer.Typer(help="Work that starts by itself: webhooks that come in.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="TRIGGER", help="The trigger's id.")]
_SecretFile = Annotated[
    str | None, typer.Option(metavar="FILE", help="A file with the sender's secret (Stripe, Slack); - reads stdin.")
]
_COLUMNS: tuple[output.Column, ...] = (
    ("TRIGGER", lambda trigger: trigger.id),
    ("KIND", lambda trigger: trigger.kind),
    ("NAME", lambda trigger: trigger.name),
    ("FUNCTION", lambda trigger: trigger.job.get("function")),
    ("HOW", lambda trigger: (trigger.verify or {}).get("scheme") or when(trigger.schedule)),
    ("STATE", lambda trigger: trigger.state),
    ("NEXT", lambda trigger: trigger.next_fire_times[0] if trigger.next_fire_times else None),
)
_FIRINGS: tuple[output.Column, ...] = (
    ("FIRING", lambda firing: firing.id),
    ("WHEN", lambda firing: firing.at),
    ("OUTCOME", lambda firing: firing.outcome),
    ("JOB", lambda firing: firing.job_id),
    ("DETAIL", lambda firing: firing.detail),
)


@app.command("list")
def list_(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option(help="webhook or schedule.")] = None,
    as_json: output.Json = False,
) -> None:
    """List triggers, newest first."""
    with connect(context) as client:
        output.show_list(client.triggers.list(kind=kind), _COLUMNS, as_json=as_json)


@app.command()
def get(context: typer.Context, trigger_id: _Id, as_json: output.Json = False) -> None:
    """Show a trigger."""
    with connect(context) as client:
        output.show_one(client.triggers.get(trigger_id), as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="A name for people.")],
    function: Annotated[str, typer.Option(help="The function that its jobs run.")],
    scheme: Annotated[str, typer.Option(help="standard, github, stripe, slack, hmac or bearer.")] = "standard",
    tag: Annotated[list[str] | None, typer.Option(help="A selector of its jobs, all must hold: gpu …")] = None,
    filter_: Annotated[str | None, typer.Option("--filter", help="JMESPath: only what it finds true fires.")] = None,
    map_: Annotated[str | None, typer.Option("--map", help="JMESPath that makes the payload.")] = None,
    header: Annotated[str | None, typer.Option(help="hmac: the header with the signature.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="hmac: sha256, sha512 or sha1.")] = None,
    encoding: Annotated[str | None, typer.Option(help="hmac: hex or base64.")] = None,
    prefix: Annotated[str | None, typer.Option(help="hmac: what stands before the signature, such as sha256=.")] = None,
    delivery_header: Annotated[str | None, typer.Option(help="hmac, bearer: the header that names a delivery.")] = None,
    delivery_expression: Annotated[str | None, typer.Option(help="The same as JMESPath: body.id.")] = None,
    public_key: Annotated[list[str] | None, typer.Option(help="standard: an ed25519 key, whpk_….")] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Webhooks a second; default 1,000.")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=100, help="Attempts of its jobs.")] = None,
    secret_file: _SecretFile = None,
    as_json: output.Json = False,
) -> None:
    """Make a webhook trigger; the secret that the platform makes is shown this once."""
    verify = given(
        scheme=scheme, header=header, algorithm=algorithm, encoding=encoding, prefix=prefix,
        delivery_header=delivery_header, delivery_expression=delivery_expression,
        public_keys=public_key or None,
    )  # fmt: skip
    with connect(context) as client:
        made = client.triggers.create(
            "webhook", name, job_of(function, tag, max_attempts), verify=verify, filter=filter_, map=map_,
            rate_per_second=rate, secret=_secret(secret_file),
        )  # fmt: skip
        output.show_one(made, as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    trigger_id: _Id,
    changes: Annotated[str, typer.Argument(help='JSON of what changes: \'{"name": "Pushes", "filter": null}\'.')],
    if_match: IfMatch = None,
    as_json: output.Json = False,
) -> None:
    """Change a trigger's name, job or settings; null is a setting's default."""
    found = _json(changes, "CHANGES")
    if not isinstance(found, dict):
        raise UsageError("CHANGES is a JSON object.")
    with connect(context) as client:
        output.show_one(client.triggers.update(trigger_id, found, if_match=if_match), as_json=as_json)


@app.command()
def delete(context: typer.Context, trigger_id: _Id, if_match: IfMatch = None) -> None:
    """Delete a trigger and its secrets; its jobs stay."""
    with connect(context) as client:
        client.triggers.delete(trigger_id, if_match=if_match)


@app.command()
def pause(context: typer.Context, trigger_id: _Id, as_json: output.Json = False) -> None:
    """Let it fire no more until it is resumed."""
    with connect(context) as client:
        output.show_one(client.triggers.pause(trigger_id), as_json=as_json)


@app.command()
def resume(context: typer.Context, trigger_id: _Id, as_json: output.Json = False) -> None:
    """Let it fire again, from now on."""
    with connect(context) as client:
        output.show_one(client.triggers.resume(trigger_id), as_json=as_json)


@app.command("rotate-secret")
def rotate_secret(
    context: typer.Context,
    trigger_id: _Id,
    overlap: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long the old one is still valid: 0m, 12h … Default 24h.")
    ] = None,
    secret_file: _SecretFile = None,
    as_json: output.Json = False,
) -> None:
    """Give a webhook a new secret, shown this once; the one before is valid for a while longer."""
    still = None if overlap is None else seconds(overlap, "--overlap")
    with connect(context) as client:
        made = client.triggers.rotate_secret(trigger_id, secret=_secret(secret_file), overlap_seconds=still)
        output.show_one(made, as_json=as_json)


@app.command("test")
def fire_once(
    context: typer.Context,
    trigger_id: _Id,
    body: Annotated[str, typer.Option(help="JSON; @FILE reads a file, - reads stdin.")] = "null",
    header: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of a header.")] = None,
    as_json: output.Json = False,
) -> None:
    """Fire once with a given body, without a signature; shows what the job gets."""
    pairs = [text.partition("=") for text in header or ()]
    if any(not middle for _, middle, _ in pairs):
        raise UsageError("--header is NAME=VALUE.")
    headers = {name: value for name, _, value in pairs}
    with connect(context) as client:
        output.show_one(client.triggers.test(trigger_id, _json(body, "--body"), headers=headers), as_json=as_json)


@app.command()
def firings(
    context: typer.Context,
    trigger_id: _Id,
    outcome: Annotated[list[str] | None, typer.Option(help="accepted, duplicate, bad_signature, missed …")] = None,
    since: Annotated[str | None, typer.Option("--from", metavar="INSTANT", help="2026-11-21T09:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Before.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: output.Json = False,
) -> None:
    """List each time that it fired or should have, newest first."""
    with connect(context) as client:
        found = client.triggers.firings(
            trigger_id, outcome=outcome, since=instant(since, "--from"), until=instant(until, "--to"), limit=limit
        )
        output.show_list(found, _FIRINGS, as_json=as_json)


def when(schedule: dict[str, Any] | None) -> str:
    """The timing of a schedule in a word or two."""
    if not schedule:
        return ""
    return str(schedule.get("cron") or f"every {schedule.get('every_seconds')} s")


def job_of(function: str, selectors: list[str] | None, max_attempts: int | None) -> dict[str, Any]:
    """What a trigger submits."""
    retry = {"max_attempts": max_attempts} if max_attempts else None
    return given(function=function, tags=selectors or None, retry=retry)


def given(**fields: Any) -> dict[str, Any]:
    """Those that are not None."""
    return {name: value for name, value in fields.items() if value is not None}


def _secret(name: str | None) -> str | None:
    """From a file, never from the command line, which others can read."""
    return None if name is None else _read(name).strip()


def _json(text: str, what: str) -> Any:
    import msgspec

    from waypost_sdk import exact

    text = _read(text[1:]) if text.startswith("@") else _read(text) if text == "-" else text
    try:
        return exact.decode(text.encode())
    except msgspec.DecodeError as error:
        raise UsageError(f"{what} is not JSON: {error}.") from None


def _read(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text()
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}.") from None
