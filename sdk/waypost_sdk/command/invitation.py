"""`waypost invite`: roles offered to people by one-time links."""

from typing import Annotated

import typer

from waypost_sdk.command import output
from waypost_sdk.command.instant import seconds
from waypost_sdk.command.session import Org, connect

app = typer.Typer(help="Invite people by one-time links.", no_args_is_help=True)

_COLUMNS: tuple[output.Column, ...] = (
    ("INVITATION", lambda invitation: invitation.id),
    ("E-MAIL", lambda invitation: invitation.email),
    ("ROLE", lambda invitation: invitation.role),
    ("PROJECT", lambda invitation: invitation.project_id),
    ("EXPIRES", lambda invitation: invitation.expires_at),
)


@app.command()
def create(
    context: typer.Context,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.")],
    role: Annotated[str, typer.Option(metavar="ROLE", help="org_admin, project_admin, operator or viewer.")],
    project: Annotated[
        str | None, typer.Option(help="Id or slug of the project where the role counts; default: the organization.")
    ] = None,
    expires: Annotated[str | None, typer.Option(metavar="SPAN", help="12h, 3d, 2w …; default 7d.")] = None,
    org: Org = None,
    as_json: output.Json = False,
) -> None:
    """Offer a role; the link is shown this once, and nothing is sent: give it to the person."""
    life = None if expires is None else seconds(expires, "--expires", "12h, 3d or 2w")
    with connect(context) as client:
        made = client.invitations.create(email, role, project=project, expires_in_seconds=life, org=org)
        output.show_one(made, as_json=as_json)


@app.command("list")
def list_(context: typer.Context, org: Org = None, as_json: output.Json = False) -> None:
    """List the invitations that are open."""
    with connect(context) as client:
        output.show_list(client.invitations.list(org=org), _COLUMNS, as_json=as_json)


@app.command()
def delete(
    context: typer.Context,
    invitation_id: Annotated[str, typer.Argument(metavar="INVITATION", help="Its id.")],
    org: Org = None,
) -> None:
    """Revoke an invitation; its link leads nowhere from now on."""
    with connect(context) as client:
        client.invitations.delete(invitation_id, org=org)


@app.command()
def accept(
    context: typer.Context,
    link: Annotated[str, typer.Argument(metavar="LINK", help="The link of the invitation, or its token.")],
    name: Annotated[str | None, typer.Option(help="Your name, if you are new.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin.")] = False,
    as_json: output.Json = False,
) -> None:
    """Accept an invitation with a password: a new one, or the one that you have. Then `waypost login`."""
    from waypost_sdk.command.login import anonymous, ask_password

    address, _, token = link.rpartition("#token=")
    url = address.partition("/invitations/")[0] or None
    password = ask_password(password_stdin=password_stdin)
    with anonymous(context, url) as client:
        output.show_one(client.invitations.accept(token, password, name=name), as_json=as_json)
