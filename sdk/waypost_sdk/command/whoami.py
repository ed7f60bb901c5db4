"""`waypost whoami`: who the credential speaks for, and what it may do where, and why."""

from typing import TYPE_CHECKING, Annotated

import typer

from waypost_sdk.command import output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.session import connect

if TYPE_CHECKING:
    from waypost_sdk.http.client import Client
    from waypost_sdk.tenancy import Allowed, Place, WhoAmI


def whoami(
    context: typer.Context,
    at: Annotated[
        str | None,
        typer.Argument(
            metavar="[PLACE]", help="org, org/project or org/project/environment; default: the configured environment."
        ),
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Say who the credential speaks for and, in a place, what it may do and why."""
    with connect(context) as client:
        place = at or client.place
        found = _ask(client, place, given=at is not None)
    if output.wants_json(as_json):
        output.write_json(found)
    else:
        _show(found, place)


def _ask(client: "Client", place: str | None, *, given: bool) -> "WhoAmI":
    """A configured place that the credential may not see is a remark; one that was asked for is an error."""
    from waypost_sdk.errors import NotFoundError

    parts = place.split("/") if place else []
    if len(parts) > 3 or not all(parts):
        raise UsageError(f"A place is org, org/project or org/project/environment, not {place!r}.")
    try:
        return client.whoami.get(**dict(zip(("org", "project", "environment"), parts, strict=False)))
    except NotFoundError:
        if given:
            raise
    output.note(f"waypost: this credential sees nothing called {place}, which is configured")
    return client.whoami.get()


def _show(found: "WhoAmI", place: str | None) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    expires = found.expires_at.astimezone().isoformat(sep=" ", timespec="seconds") if found.expires_at else "never"
    name = f" ({found.name})" if found.email and found.name else ""
    console.print(f"[bold]{found.who}[/]{name}, {found.actor}, expires {expires}", highlight=False)
    for role in found.roles:
        console.print(f"  {role.role} in {role.where}", highlight=False)
    if found.place is None:
        console.print("Name a place to see what it may do there: waypost whoami org/project/environment")
        return
    console.print(f"\nIn [bold]{place or found.home}[/] counts: {found.place.because}", highlight=False)
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for title in ("", "PERMISSION", "WHY"):
        table.add_column(title, overflow="fold", no_wrap=title == "PERMISSION")
    for entry in found.permissions:
        mark = "[green]✔[/]" if entry.allowed else "[red]✘[/]"
        table.add_row(mark, entry.permission, _why(entry, found.place), style="" if entry.allowed else "dim")
    console.print(table)


def _why(entry: "Allowed", place: "Place") -> str:
    """The reason, without the part that was said for all of them."""
    if entry.reason == place.because:
        return "that includes it" if entry.allowed else "that does not include it"
    return entry.reason.removeprefix(f"{place.because}: ")
