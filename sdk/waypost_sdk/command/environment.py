"""`waypost env`: environments and their whole life."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from waypost_sdk.command import failure, output, step
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.session import IfMatch, Org, Project, Timeout, Wait, Yes, confirm, connect

if TYPE_CHECKING:
    from waypost_sdk.http.client import Client
    from waypost_sdk.tenancy import Environment, RetentionPreview

app = typer.Typer(help="Environments: create, suspend, resume, delete.", no_args_is_help=True)

_Given = Annotated[str | None, typer.Argument(metavar="[ENV]", help="Id or slug; default: the configured one.")]
_Posture = typer.Option(metavar="dev|staging|prod", help="How careful the platform is with it.")
_COLUMNS: tuple[output.Column, ...] = (
    ("ENVIRONMENT", lambda environment: environment.slug),
    ("ID", lambda environment: environment.id),
    ("POSTURE", lambda environment: environment.posture),
    ("STATUS", lambda environment: environment.status),
    ("AGE", lambda environment: output.age(environment.created_at)),
)


@app.command("list")
def list_(context: typer.Context, org: Org = None, project: Project = None, as_json: output.Json = False) -> None:
    """List the environments of the project."""
    with connect(context) as client:
        output.show_list(client.environments.list(org=org, project=project), _COLUMNS, as_json=as_json)


@app.command()
def get(
    context: typer.Context,
    environment: _Given = None,
    org: Org = None,
    project: Project = None,
    as_json: output.Json = False,
) -> None:
    """Show an environment, its limits, and the steps of what was last done to it."""
    with connect(context) as client:
        _show(client.environments.get(environment, org=org, project=project), as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="A name for people.")],
    slug: Annotated[str | None, typer.Option(help="Its name in paths; default: made from the name.")] = None,
    posture: Annotated[str, _Posture] = "dev",
    wait: Wait = False,
    timeout: Timeout = None,
    org: Org = None,
    project: Project = None,
    as_json: output.Json = False,
) -> None:
    """Create an environment; with --wait, exit code 1 unless it becomes ready."""
    with connect(context) as client:
        made = client.environments.create(name, slug=slug, posture=posture, org=org, project=project)
        if wait:
            made = _followed(client, made, timeout, org, project) or made
    _show(made, as_json=as_json, steps=not wait)
    _exit_unless(made, "ready", wait=wait)


@app.command()
def update(
    context: typer.Context,
    environment: _Given = None,
    name: Annotated[str | None, typer.Option(help="Another name for people.")] = None,
    slug: Annotated[str | None, typer.Option(help="Another name in paths; the old one leads nowhere.")] = None,
    posture: Annotated[str | None, _Posture] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="NAME=NUMBER; NAME=default takes one back. Names: `waypost env get`.")
    ] = None,
    if_match: IfMatch = None,
    org: Org = None,
    project: Project = None,
    as_json: output.Json = False,
) -> None:
    """Change an environment."""
    with connect(context) as client:
        changed = client.environments.update(
            environment,
            name=name,
            slug=slug,
            posture=posture,
            limits=_numbers(limit, "--limit"),
            if_match=if_match,
            org=org,
            project=project,
        )
        _show(changed, as_json=as_json)


@app.command()
def retention(
    context: typer.Context,
    environment: _Given = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=DAYS, such as payload_days=3; NAME=default takes one back.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, with --set or without.")] = False,
    org: Org = None,
    project: Project = None,
    as_json: output.Json = False,
) -> None:
    """Show how long the environment's things are kept, change it, or see what would go."""
    days = _numbers(set_, "--set")
    with connect(context) as client:
        if dry_run:
            preview = client.environments.preview_retention(environment, retention=days, org=org, project=project)
            _show_going(preview, as_json=as_json)
            return
        if days:
            client.environments.update(environment, retention=days, org=org, project=project)
        found = client.environments.retention(environment, org=org, project=project)
    instead = {"retention": output.limits(found.retention, found.sources), "sources": None}
    output.show_one(found, as_json=as_json, instead=instead)


@app.command()
def suspend(
    context: typer.Context,
    environment: _Given = None,
    wait: Wait = False,
    timeout: Timeout = None,
    org: Org = None,
    project: Project = None,
    as_json: output.Json = False,
) -> None:
    """Take no more work; what the environment holds stays."""
    with connect(context) as client:
        found = client.environments.suspend(environment, org=org, project=project)
        if wait:
            found = _followed(client, found, timeout, org, project) or found
    _show(found, as_json=as_json, steps=not wait)
    _exit_unless(found, "suspended", wait=wait)


@app.command()
def resume(
    context: typer.Context,
    environment: _Given = None,
    wait: Wait = False,
    timeout: Timeout = None,
    org: Org = None,
    project: Project = None,
    as_json: output.Json = False,
) -> None:
    """Take work again."""
    with connect(context) as client:
        found = client.environments.resume(environment, org=org, project=project)
        if wait:
            found = _followed(client, found, timeout, org, project) or found
    _show(found, as_json=as_json, steps=not wait)
    _exit_unless(found, "ready", wait=wait)


@app.command()
def delete(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(metavar="ENV", help="Id or slug.")],
    wait: Wait = False,
    timeout: Timeout = None,
    if_match: IfMatch = None,
    yes: Yes = False,
    org: Org = None,
    project: Project = None,
) -> None:
    """Delete an environment with everything in it; with --wait, exit code 1 unless it is gone at the end."""
    with connect(context) as client:
        found = client.environments.get(environment, org=org, project=project)
        question = f"The environment {found.slug} ({found.name}, {found.posture}) will go, with everything in it."
        confirm(question, found.slug, yes=yes)
        client.environments.delete(found.id, org=org, project=project, if_match=if_match)
        last = _followed(client, found, timeout, org, project) if wait else None
    if last is not None and last.settled and last.status != "deleted":
        _exit_unless(last, "deleted", wait=True)
    output.note(f"{'deleted' if wait else 'deleting'} {found.slug}")


def _show(environment: "Environment", *, as_json: bool, steps: bool = True) -> None:
    """The environment; its steps as a table of their own, unless they have just been seen."""
    limits = output.limits(environment.limits, environment.limit_sources)
    instead = {"steps": None, "limit_sources": None, "limits": limits, "retention_sources": None}
    instead["retention"] = output.limits(environment.retention, environment.retention_sources)
    output.show_one(environment, as_json=as_json, instead=instead)
    if steps and environment.steps and not output.wants_json(as_json):
        from rich.console import Console

        Console().print(step.table(environment.steps))


def _show_going(preview: "RetentionPreview", *, as_json: bool) -> None:
    if output.wants_json(as_json):
        output.write_json(preview)
        return
    columns: tuple[output.Column, ...] = (
        ("KEPT", lambda one: one[0]),
        ("DAYS", lambda one: preview.retention.get(one[0])),
        ("WOULD GO", lambda one: f"more than {one[1].count}" if one[1].more else one[1].count),
        ("OLDEST", lambda one: one[1].oldest),
    )
    output.show_list(preview.going.items(), columns, as_json=False)


def _followed(
    client: "Client", environment: "Environment", timeout: float | None, org: str | None, project: str | None
) -> "Environment | None":
    """The last state of it, once nothing is being done to it; by its id, because a slug may be used again."""
    states: Iterator[Environment] = client.environments.watch(environment.id, timeout, org=org, project=project)
    return step.follow(states)


def _exit_unless(environment: "Environment", status: str, *, wait: bool) -> None:
    failed = any(one.state == "failed" for one in environment.steps or ())
    if wait and (environment.status != status or failed):
        reason = f": {environment.status_reason}" if environment.status_reason else ""
        output.note(f"waypost: {environment.slug} is {environment.status}{reason}")
        raise typer.Exit(failure.OTHER)


def _numbers(texts: list[str] | None, option: str) -> dict[str, int | None] | None:
    """None for one that goes back to its default."""
    found: dict[str, int | None] = {}
    for text in texts or ():
        name, _, value = text.partition("=")
        if not value.isdigit() and value != "default":
            raise UsageError(f"{option} is NAME=NUMBER or NAME=default, not {text!r}.")
        found[name] = None if value == "default" else int(value)
    return found or None
