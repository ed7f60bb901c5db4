"""`waypost key`: API keys of the environment, with --org-wide those of the organization."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from waypost_sdk.command import output
from waypost_sdk.command.instant import expiry, seconds
from waypost_sdk.command.session import IfMatch, connect

if TYPE_CHECKING:
    from waypost_sdk.http.client import Client

app = typer.Typer(help="API keys of the environment, or of the organization.", no_args_is_help=True)

_Key = Annotated[str, typer.Argument(metavar="KEY", help="The key's id (not its text).")]
_Wide = Annotated[bool, typer.Option("--org-wide", help="Keys of the organization (wp_…) instead.")]
_COLUMNS: tuple[output.Column, ...] = (
    ("KEY", lambda key: key.id),
    ("NAME", lambda key: key.name),
    ("ROLE", lambda key: key.role),
    ("EXPIRES", lambda key: key.expires_at or "never"),
    ("LAST USED", lambda key: output.age(key.last_used_at) or "never"),
    ("REPLACED BY", lambda key: key.replaced_by),
)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="A name for people.")],
    role: Annotated[
        str | None,
        typer.Option(metavar="ROLE", help="project_admin, operator or viewer; --org-wide: org_admin too."),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="90m, 12h, 30d, 4w from now, or an instant; default: never.")
    ] = None,
    org_wide: _Wide = False,
    as_json: output.Json = False,
) -> None:
    """Make an API key; it is shown this once."""
    with connect(context) as client:
        made = _keys(client, wide=org_wide).create(name, role=role, expires_at=expiry(expires, "--expires"))
        output.show_one(made, as_json=as_json)


@app.command("list")
def list_(context: typer.Context, org_wide: _Wide = False, as_json: output.Json = False) -> None:
    """List API keys; of none the text is known any more."""
    with connect(context) as client:
        output.show_list(_keys(client, wide=org_wide).list(), _COLUMNS, as_json=as_json)


@app.command()
def get(context: typer.Context, key_id: _Key, org_wide: _Wide = False, as_json: output.Json = False) -> None:
    """Show an API key."""
    with connect(context) as client:
        output.show_one(_keys(client, wide=org_wide).get(key_id), as_json=as_json)


@app.command()
def rotate(
    context: typer.Context,
    key_id: _Key,
    overlap: Annotated[
        str | None, typer.Option(metavar="SPAN", help="How long the old one still works: 0m, 12h … Default 24h.")
    ] = None,
    org_wide: _Wide = False,
    as_json: output.Json = False,
) -> None:
    """Make a new key in the place of one, which is still valid for a while."""
    still = None if overlap is None else seconds(overlap, "--overlap")
    with connect(context) as client:
        output.show_one(_keys(client, wide=org_wide).rotate(key_id, overlap_seconds=still), as_json=as_json)


@app.command()
def delete(context: typer.Context, key_id: _Key, org_wide: _Wide = False, if_match: IfMatch = None) -> None:
    """Revoke an API key; it is refused from now on."""
    with connect(context) as client:
        _keys(client, wide=org_wide).delete(key_id, if_match=if_match)


def _keys(client: "Client", *, wide: bool) -> Any:
    """Both kinds have the same operations."""
    return client.api_keys if wide else client.keys
