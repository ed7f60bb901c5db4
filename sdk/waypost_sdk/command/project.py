"""`waypost project`: projects of an organization."""

from typing import Annotated

import typer

from waypost_sdk.command import output
from waypost_sdk.command.session import IfMatch, Org, Timeout, Yes, confirm, connect

app = typer.Typer(help="Projects.", no_args_is_help=True)

_Given = Annotated[str | None, typer.Argument(metavar="[PROJECT]", help="Id or slug; default: the configured one.")]
_Description = Annotated[str | None, typer.Option(help="What it is for.")]
_COLUMNS: tuple[output.Column, ...] = (
    ("PROJECT", lambda project: project.slug),
    ("NAME", lambda project: project.name),
    ("ID", lambda project: project.id),
    ("DESCRIPTION", lambda project: project.description),
    ("STATUS", lambda project: project.status),
    ("AGE", lambda project: output.age(project.created_at)),
)


@app.command("list")
def list_(context: typer.Context, org: Org = None, as_json: output.Json = False) -> None:
    """List the projects of the organization."""
    with connect(context) as client:
        output.show_list(client.projects.list(org), _COLUMNS, as_json=as_json)


@app.command()
def get(context: typer.Context, project: _Given = None, org: Org = None, as_json: output.Json = False) -> None:
    """Show a project."""
    with connect(context) as client:
        output.show_one(client.projects.get(project, org=org), as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="A name for people.")],
    slug: Annotated[str | None, typer.Option(help="Its name in paths; default: made from the name.")] = None,
    description: _Description = None,
    org: Org = None,
    as_json: output.Json = False,
) -> None:
    """Create a project."""
    with connect(context) as client:
        made = client.projects.create(name, slug=slug, description=description, org=org)
        output.show_one(made, as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    project: _Given = None,
    name: Annotated[str | None, typer.Option(help="Another name for people.")] = None,
    slug: Annotated[str | None, typer.Option(help="Another name in paths; the old one leads nowhere.")] = None,
    description: _Description = None,
    org: Org = None,
    if_match: IfMatch = None,
    as_json: output.Json = False,
) -> None:
    """Change a project."""
    with connect(context) as client:
        changed = client.projects.update(
            project, name=name, slug=slug, description=description, org=org, if_match=if_match
        )
        output.show_one(changed, as_json=as_json)


@app.command()
def delete(
    context: typer.Context,
    project: Annotated[str, typer.Argument(help="Id or slug.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is gone.")] = False,
    timeout: Timeout = None,
    org: Org = None,
    if_match: IfMatch = None,
    yes: Yes = False,
) -> None:
    """Delete a project with all of its environments; they go in the background."""
    with connect(context) as client:
        found = client.projects.get(project, org=org)
        confirm(f"The project {found.slug} ({found.name}) and all of its environments will go.", found.slug, yes=yes)
        client.projects.delete(found.id, org=org, if_match=if_match)
        if wait:
            with output.waiting(f"deleting {found.slug}"):
                client.projects.wait_until_deleted(found.id, timeout, org=org)
    output.note(f"{'deleted' if wait else 'deleting'} {found.slug}")
