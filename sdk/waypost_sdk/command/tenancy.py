"""`waypost env` and `waypost keys`."""

import time
from typing import Annotated

import typer

from waypost_sdk.command import failure, output
from waypost_sdk.command.session import connect

environments = typer.Typer(help="Environments.", no_args_is_help=True)
keys = typer.Typer(help="API keys of the environment.", no_args_is_help=True)

POLL_SECONDS = 0.2

_KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The key's id (not its text).")]
_Org = Annotated[str | None, typer.Option(help="Another organization than the configured one.")]
_Project = Annotated[str | None, typer.Option(help="Another project than the configured one.")]
_ENVIRONMENT_COLUMNS: tuple[output.Column, ...] = (
    ("ENVIRONMENT", lambda environment: environment.slug),
    ("ID", lambda environment: environment.id),
    ("POSTURE", lambda environment: environment.posture),
    ("STATUS", lambda environment: environment.status),
    ("AGE", lambda environment: output.age(environment.created_at)),
)
_KEY_COLUMNS: tuple[output.Column, ...] = (
    ("KEY", lambda key: key.id),
    ("NAME", lambda key: key.name),
    ("ROLE", lambda key: key.role),
    ("EXPIRES", lambda key: key.expires_at),
    ("LAST USED", lambda key: output.age(key.last_used_at)),
)


@environments.command("list")
def list_environments(
    context: typer.Context, org: _Org = None, project: _Project = None, as_json: output.Json = False
) -> None:
    """List the environments of the project."""
    with connect(context) as client:
        found = client.environments.list(org=org, project=project)
        output.show_list(found, _ENVIRONMENT_COLUMNS, as_json=as_json)


@environments.command("get")
def get_environment(
    context: typer.Context,
    environment: Annotated[str | None, typer.Argument(help="Id or slug; default: the configured one.")] = None,
    org: _Org = None,
    project: _Project = None,
    as_json: output.Json = False,
) -> None:
    """Show an environment and how its provisioning goes."""
    with connect(context) as client:
        output.show_one(client.environments.get(environment, org=org, project=project), as_json=as_json)


@environments.command("create")
def create_environment(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="A name for people.")],
    slug: Annotated[str | None, typer.Option(help="Its name in paths; default: made from the name.")] = None,
    posture: Annotated[str, typer.Option(help="dev, staging or prod.")] = "dev",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is ready.")] = False,
    org: _Org = None,
    project: _Project = None,
    as_json: output.Json = False,
) -> None:
    """Create an environment; exit code 1 with --wait when it fails."""
    with connect(context) as client:
        made = client.environments.create(name, slug=slug, posture=posture, org=org, project=project)
        with output.waiting(f"provisioning {made.slug}"):
            while wait and made.status == "provisioning":
                time.sleep(POLL_SECONDS)
                made = client.environments.get(made.id, org=org, project=project)
    output.show_one(made, as_json=as_json)
    if wait and made.status != "ready":
        raise typer.Exit(failure.OTHER)


@keys.command("create")
def create_key(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="A name for people.")],
    role: Annotated[str | None, typer.Option(help="project_admin, operator or viewer.")] = None,
    as_json: output.Json = False,
) -> None:
    """Make an API key of the environment; it is shown this once."""
    with connect(context) as client:
        output.show_one(client.keys.create(name, role=role), as_json=as_json)


@keys.command("list")
def list_keys(context: typer.Context, as_json: output.Json = False) -> None:
    """List the API keys of the environment."""
    with connect(context) as client:
        output.show_list(client.keys.list(), _KEY_COLUMNS, as_json=as_json)


@keys.command("rotate")
def rotate_key(context: typer.Context, key_id: _KeyId, as_json: output.Json = False) -> None:
    """Make a new key in the place of one; the old one is valid for 24 h more."""
    with connect(context) as client:
        output.show_one(client.keys.rotate(key_id), as_json=as_json)


@keys.command("delete")
def delete_key(context: typer.Context, key_id: _KeyId) -> None:
    """Delete an API key; it is refused from now on."""
    with connect(context) as client:
        client.keys.delete(key_id)
