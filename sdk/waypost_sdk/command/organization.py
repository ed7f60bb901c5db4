"""`waypost org`: organizations."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from waypost_sdk.command import output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.session import IfMatch, connect

if TYPE_CHECKING:
    from waypost_sdk.tenancy import Organization

app = typer.Typer(help="Organizations.", no_args_is_help=True)

_Given = Annotated[str | None, typer.Argument(metavar="[ORG]", help="Id or slug; default: the configured one.")]
_COLUMNS: tuple[output.Column, ...] = (
    ("ORGANIZATION", lambda org: org.slug),
    ("NAME", lambda org: org.name),
    ("ID", lambda org: org.id),
    ("AGE", lambda org: output.age(org.created_at)),
)


@app.command("list")
def list_(context: typer.Context, as_json: output.Json = False) -> None:
    """List the organizations that the credential sees."""
    with connect(context) as client:
        output.show_list(client.organizations.list(), _COLUMNS, as_json=as_json)


@app.command()
def get(context: typer.Context, org: _Given = None, as_json: output.Json = False) -> None:
    """Show an organization."""
    with connect(context) as client:
        _show(client.organizations.get(org), as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="A name for people.")],
    slug: Annotated[str | None, typer.Option(help="Its name in paths; default: made from the name.")] = None,
    as_json: output.Json = False,
) -> None:
    """Create an organization; its first key is shown this once."""
    with connect(context) as client:
        _show(client.organizations.create(name, slug=slug), as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    org: _Given = None,
    name: Annotated[str | None, typer.Option(help="Another name for people.")] = None,
    slug: Annotated[str | None, typer.Option(help="Another name in paths; the old one leads nowhere.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of your own; NAME= takes one away, others stay.")
    ] = None,
    if_match: IfMatch = None,
    as_json: output.Json = False,
) -> None:
    """Change an organization."""
    with connect(context) as client:
        settings = None
        if setting:
            seen = client.organizations.get(org)
            settings, if_match = _merged(seen.settings, setting), if_match or seen.etag
        changed = client.organizations.update(org, name=name, slug=slug, settings=settings, if_match=if_match)
        _show(changed, as_json=as_json)


def _show(org: "Organization", *, as_json: bool) -> None:
    limits = output.limits(org.limits, org.limit_sources)
    output.show_one(org, as_json=as_json, instead={"limit_sources": None, "limits": limits})


def _merged(settings: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """Settings as they are to be: the platform replaces them as a whole."""
    wrong = next((text for text in texts if "=" not in text), None)
    if wrong is not None:
        raise UsageError(f"--setting is NAME=VALUE, not {wrong!r}.")
    given = dict(text.split("=", 1) for text in texts)
    return {name: value for name, value in {**settings, **given}.items() if value != ""}
