"""`waypost member`: people and their roles."""

from typing import TYPE_CHECKING, Annotated

import typer

from waypost_sdk.command import output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.session import IfMatch, Org, connect

if TYPE_CHECKING:
    from waypost_sdk.http.client import Client
    from waypost_sdk.tenancy import Member

app = typer.Typer(help="People and their roles.", no_args_is_help=True)

_Member = Annotated[str, typer.Argument(metavar="MEMBER", help="The member's id, or the person's e-mail address.")]
_Role = Annotated[str, typer.Option(metavar="ROLE", help="org_admin, project_admin, operator or viewer.")]
_Only = Annotated[str | None, typer.Option(help="Id or slug of the project where the role counts.")]


@app.command("list")
def list_(context: typer.Context, project: _Only = None, org: Org = None, as_json: output.Json = False) -> None:
    """List the members of the organization and of its projects."""
    with connect(context) as client:
        found = list(client.members.list(project=project, org=org))
        if output.wants_json(as_json):
            output.write_json(found)
            return
        projects = _slugs(client, found, org)
    columns: tuple[output.Column, ...] = (
        ("MEMBER", lambda member: member.id),
        ("PERSON", lambda member: member.person.email),
        ("NAME", lambda member: member.person.name),
        ("ROLE", lambda member: member.role),
        ("WHERE", lambda member: projects.get(member.project_id, member.project_id) or "organization"),
        ("SINCE", lambda member: output.age(member.created_at)),
    )
    output.show_list(found, columns, as_json=False)


@app.command()
def add(
    context: typer.Context,
    person: Annotated[str, typer.Argument(metavar="PERSON", help="E-mail address or id of a person.")],
    role: _Role,
    project: _Only = None,
    org: Org = None,
    as_json: output.Json = False,
) -> None:
    """Give a person a role; somebody new is invited instead: `waypost invite create`."""
    with connect(context) as client:
        if "@" in person:
            made = client.members.add(role, email=person, project=project, org=org)
        else:
            made = client.members.add(role, person_id=person, project=project, org=org)
        output.show_one(made, as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    member: _Member,
    role: _Role,
    project: _Only = None,
    org: Org = None,
    if_match: IfMatch = None,
    as_json: output.Json = False,
) -> None:
    """Give a member another role."""
    with connect(context) as client:
        member_id = _member_id(client, member, project, org)
        output.show_one(client.members.update(member_id, role, org=org, if_match=if_match), as_json=as_json)


@app.command()
def remove(
    context: typer.Context, member: _Member, project: _Only = None, org: Org = None, if_match: IfMatch = None
) -> None:
    """Take a member's role away."""
    with connect(context) as client:
        client.members.remove(_member_id(client, member, project, org), org=org, if_match=if_match)


def _member_id(client: "Client", member: str, project: str | None, org: str | None) -> str:
    """The id, also for an e-mail address. Raises UsageError when that names none or several."""
    if "@" not in member:
        return member
    listed = client.members.list(project=project, org=org)
    mine = [found for found in listed if found.person.email.casefold() == member.casefold()]
    if len(mine) == 1:
        return mine[0].id
    if not mine:
        raise UsageError(f"{member} has no role here: see `waypost member list`.")
    ids = ", ".join(f"{found.id} ({found.role})" for found in mine)
    raise UsageError(f"{member} has several roles: name one by its id, or give --project: {ids}.")


def _slugs(client: "Client", members: "list[Member]", org: str | None) -> dict[str | None, str]:
    """Slugs of the projects that occur."""
    if not any(member.project_id for member in members):
        return {}
    return {project.id: project.slug for project in client.projects.list(org)}
