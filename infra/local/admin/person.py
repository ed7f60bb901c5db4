"""`waypost admin create-user` and what else only the operator does with people: disable, enable, set a lost password.

The first administrator of a platform comes from here. Refuses: a password among the arguments, where other users of the
machine and the shell's history would see it.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.local.admin.connection import AsJson, DataDir, Platform, run, write_json
from infra.local.problem import ExitCode, LocalError

if TYPE_CHECKING:
    from storage.postgres.database import Connection
    from storage.postgres.person.person import Login
    from waypost.audit.model import Origin
    from waypost.tenancy.model import Organization

ROLE = "waypost_owner"  # no process may make people or disable them by itself
FIRST_ORGANIZATION = "default"

Email = Annotated[str, typer.Option("--email", help="The person's e-mail address.")]
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from stdin, one line.")]


def register(admin: typer.Typer) -> None:
    admin.command("create-user")(create_user)
    admin.command("set-password")(set_password)
    admin.command("disable-user")(disable_user)
    admin.command("enable-user")(enable_user)


def create_user(
    email: Email,
    name: Annotated[str, typer.Option("--name", help="The person's name.")] = "",
    org: Annotated[
        str | None,
        typer.Option(help="An organization's slug or id (default: the only one; where there is none, it is founded)."),
    ] = None,
    role: Annotated[str, typer.Option(help="org_admin, project_admin, operator or viewer.")] = "org_admin",
    password_stdin: FromStdin = False,
    invite: Annotated[bool, typer.Option("--invite", help="Print a one-time link instead of asking.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a person who can sign in, or without a password a one-time link that makes one (7 days)."""
    if password_stdin and invite:
        raise typer.BadParameter("choose one of --password-stdin and --invite")
    password = _password(password_stdin) if password_stdin or (not invite and sys.stdin.isatty()) else None

    async def work(platform: Platform) -> dict[str, Any]:
        if password is None:
            return await _invite(platform, email, org, role)
        return await _create(platform, email, name, org, role, password)

    answer = run(data_dir, work)
    if as_json or not sys.stdout.isatty():
        write_json(answer)
    elif "link" in answer:
        typer.echo(f"Whoever opens this link first, until {answer['expires_at']}, is {answer['email']}:")
        typer.echo(answer["link"])
    else:
        typer.echo(f"{answer['email']} is {answer['role']} of {answer['organization']} and can sign in.")


def set_password(
    email: Email, password_stdin: FromStdin = False, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Give somebody who lost it a new password; all their sessions end."""
    if not password_stdin and not sys.stdin.isatty():
        raise typer.BadParameter("without a terminal the password is read with --password-stdin")
    password = _password(password_stdin)

    async def change(connection: "Connection", login: "Login", by: "Origin") -> dict[str, str]:
        from storage.postgres.person.person import change_password
        from waypost.person.decision import checked_password
        from waypost.person.password import hash_password

        fresh = hash_password(checked_password(password, login.person.email_folded))
        if not await change_password(connection, login.person.id, fresh, login.password_hash):
            raise LocalError("The person is disabled, or changed the password just now.", ExitCode.CONFLICT)
        return await _end_sessions(connection, login)

    _changed(data_dir, email, "person.set_password", change, as_json)


def disable_user(email: Email, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Keep somebody from signing in; their sessions end at once. Roles stay, for `enable-user`."""

    async def change(connection: "Connection", login: "Login", by: "Origin") -> dict[str, str]:
        from storage.postgres.person.person import set_disabled

        await set_disabled(connection, login.person.id, True)
        return await _end_sessions(connection, login)

    _changed(data_dir, email, "person.disable", change, as_json)


def enable_user(email: Email, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Let somebody who was disabled sign in again."""

    async def change(connection: "Connection", login: "Login", by: "Origin") -> dict[str, str]:
        from storage.postgres.person.person import set_disabled

        await set_disabled(connection, login.person.id, False)
        return {}

    _changed(data_dir, email, "person.enable", change, as_json)


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))


async def _create(
    platform: Platform, email: str, name: str, org: str | None, role: str, password: str
) -> dict[str, Any]:
    from storage.postgres.person.unit import PostgresPeople
    from waypost.person.decision import checked_email, checked_password
    from waypost.person.operation import create_person
    from waypost.person.password import hash_password

    wanted = _role(role)
    kept = hash_password(checked_password(password, checked_email(email)[1]))
    database = await platform.database(ROLE)
    async with database.unit() as connection:
        organization = await _organization(connection, org)
        person = await create_person(
            PostgresPeople(connection),
            _operator(),
            email=email,
            name=name,
            password_hash=kept,
            organization_id=organization.id,
            role=wanted,
        )
    return {"id": person.id, "email": person.email, "organization": organization.slug, "role": role}


async def _invite(platform: Platform, email: str, org: str | None, role: str) -> dict[str, Any]:
    from storage.postgres.person.unit import PostgresPeople
    from waypost.person import operation
    from waypost.person.decision import invitation_link

    wanted, public_url = _role(role), _public_url(platform)
    database = await platform.database(ROLE)
    async with database.unit() as connection:
        organization = await _organization(connection, org)
        invitation, token = await operation.invite(
            PostgresPeople(connection),
            _operator(),
            organization_id=organization.id,
            project_id=None,
            email=email,
            role=wanted,
        )
    return {
        "invitation": invitation.id,
        "email": invitation.email,
        "organization": organization.slug,
        "role": role,
        "expires_at": invitation.expires_at.isoformat(),
        "link": invitation_link(public_url, token),
        "token": token,
    }


async def _organization(connection: "Connection", reference: str | None) -> "Organization":
    """The one that is named, or the only one; where there is none yet, it is founded."""
    from storage.postgres.tenancy.organization import list_organizations, read_organization
    from storage.postgres.tenancy.unit import PostgresTenancy
    from waypost.ids import parse_id
    from waypost.tenancy.operation import create_organization

    first = await list_organizations(connection, only=None, before=None, limit=2)
    if not first:
        slug = reference or FIRST_ORGANIZATION
        unit = PostgresTenancy(connection, _operator())
        return await create_organization(unit, actor=_operator().actor, name=slug, slug=slug)
    if reference is None and len(first) == 1:
        return first[0]
    if reference is None:
        some = ", ".join(organization.slug for organization in first)
        raise LocalError(f"There are several organizations ({some} …): name one with --org.", ExitCode.USAGE)
    found = await read_organization(connection, parse_id(reference) or reference)
    if found is None:
        raise LocalError(f"There is no organization {reference!r}.", ExitCode.NOT_FOUND)
    return found


def _changed(
    data_dir: Any,
    email: str,
    action: str,
    change: Callable[["Connection", "Login", "Origin"], Awaitable[dict[str, str]]],
    as_json: bool,
) -> None:
    """Find the person, change them with an audit entry in each of their organizations, tell the gateways."""

    async def work(platform: Platform) -> dict[str, Any]:
        from gateway.person_audit import organizations_of, record_for
        from storage.postgres.person.person import find_login
        from waypost.person.decision import folded_email

        database = await platform.database(ROLE)
        async with database.unit() as connection:
            login = await find_login(connection, folded_email(email))
            if login is None:
                raise LocalError(f"There is nobody with the address {email}.", ExitCode.NOT_FOUND)
            by = _operator()
            details = await change(connection, login, by)
            organizations = await organizations_of(connection, login.person.id)
            await record_for(connection, organizations, by, action, f"person:{login.person.id}", details=details)
        await _tell(platform, login)
        return {"id": login.person.id, "email": login.person.email, "changed": action, **details}

    answer = run(data_dir, work)
    if as_json or not sys.stdout.isatty():
        write_json(answer)
    else:
        typer.echo(f"{answer['changed']}: {answer['email']}")


async def _end_sessions(connection: "Connection", login: "Login") -> dict[str, str]:
    from storage.postgres.person.session import end_sessions

    return {"sessions_ended": str(await end_sessions(connection, login.person.id))}


async def _tell(platform: Platform, login: "Login") -> None:
    """Gateways forget the person's sessions at once; without Valkey within 5 s."""
    from jobs.wake import ACCESS_CHANNEL, PersonChanged, encode

    if platform.has("WAYPOST_VALKEY_URL"):
        valkey = await platform.valkey()
        valkey.publish(ACCESS_CHANNEL, encode(PersonChanged(login.person.id)))


def _role(text: str) -> Any:
    from waypost.access.model import Role

    try:
        return Role(text)
    except ValueError:
        raise LocalError(f"The role is one of {', '.join(Role)}.", ExitCode.USAGE) from None


def _operator() -> "Origin":
    from waypost.audit.model import Origin

    return Origin("system:admin", "system")


def _public_url(platform: Platform) -> str:
    import os

    state = platform.folder.read_state() if platform.folder else None
    url = state["api_url"] if state else os.environ.get("WAYPOST_PUBLIC_URL", "").rstrip("/")
    if not url:
        raise LocalError("WAYPOST_PUBLIC_URL is not set, and the link needs it.", ExitCode.USAGE)
    return str(url)
