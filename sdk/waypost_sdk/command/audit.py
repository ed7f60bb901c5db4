"""`waypost audit`: the environment's audit log, with --org-wide the organization's."""

from typing import Annotated, Any

import typer

from waypost_sdk.command import output
from waypost_sdk.command.instant import instant
from waypost_sdk.command.session import connect

app = typer.Typer(help="Who did what: the audit log, newest first.", no_args_is_help=True)

_Actor = Annotated[str | None, typer.Option(help="Who: key:<id>, person:<id>, system …")]
_Action = Annotated[str | None, typer.Option(help="What: api_key.create, or 'api_key.*' for all of a noun.")]
_Target = Annotated[str | None, typer.Option(help="On what: api_key:<id>, function:<name> …")]
_Outcome = Annotated[str | None, typer.Option(help="done, denied or failed.")]
_RequestId = Annotated[str | None, typer.Option(help="The X-Request-Id of the request.")]
_Since = Annotated[str | None, typer.Option("--from", metavar="INSTANT", help="Not before: 2026-11-21T09:00:00Z.")]
_Until = Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="Before.")]
_Wide = Annotated[bool, typer.Option("--org-wide", help="The whole organization's log.")]
_Project = Annotated[str | None, typer.Option(help="The organization's, within a project (id or slug).")]
_Environment = Annotated[
    str | None, typer.Option("--env", help="The organization's, within an environment (id or slug).")
]

_COLUMNS: tuple[output.Column, ...] = (
    ("WHEN", lambda entry: f"{entry.timestamp:%Y-%m-%d %H:%M:%S}"),
    ("ACTOR", lambda entry: entry.actor),
    ("ACTION", lambda entry: entry.action),
    ("ON", lambda entry: f"{entry.target_type}:{entry.target_id}"),
    ("OUTCOME", lambda entry: entry.outcome if entry.count == 1 else f"{entry.outcome} ×{entry.count}"),
    ("FROM", lambda entry: entry.source_ip),
)


@app.command("list")
def list_(
    context: typer.Context,
    actor: _Actor = None,
    action: _Action = None,
    target: _Target = None,
    outcome: _Outcome = None,
    request_id: _RequestId = None,
    since: _Since = None,
    until: _Until = None,
    org_wide: _Wide = False,
    project: _Project = None,
    environment: _Environment = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: output.Json = False,
) -> None:
    """List entries, newest first."""
    filters = _filters(actor, action, target, outcome, request_id, since, until, org_wide, project, environment)
    with connect(context) as client:
        output.show_list(client.audit.list(**filters, limit=limit), _COLUMNS, as_json=as_json)


@app.command()
def export(
    context: typer.Context,
    form: Annotated[str, typer.Option("--format", help="jsonl or csv.")] = "jsonl",
    to_file: Annotated[typer.FileTextWrite, typer.Option("--output", "-o", help="A file; default: stdout.")] = "-",  # type: ignore[assignment]
    actor: _Actor = None,
    action: _Action = None,
    target: _Target = None,
    outcome: _Outcome = None,
    request_id: _RequestId = None,
    since: _Since = None,
    until: _Until = None,
    org_wide: _Wide = False,
    project: _Project = None,
    environment: _Environment = None,
) -> None:
    """Write every entry, one a line: JSON, or CSV with a header."""
    filters = _filters(actor, action, target, outcome, request_id, since, until, org_wide, project, environment)
    with connect(context) as client:
        for line in client.audit.export(form, **filters):
            to_file.write(line + "\n")


def _filters(
    actor: str | None,
    action: str | None,
    target: str | None,
    outcome: str | None,
    request_id: str | None,
    since: str | None,
    until: str | None,
    org_wide: bool,
    project: str | None,
    environment: str | None,
) -> dict[str, Any]:
    return {
        "actor": actor,
        "action": action,
        "target": target,
        "outcome": outcome,
        "request_id": request_id,
        "since": instant(since, "--from"),
        "until": instant(until, "--to"),
        "org_wide": org_wide or project is not None or environment is not None,
        "project": project,
        "environment": environment,
    }
