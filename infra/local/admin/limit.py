"""`waypost admin limits`: what an operator allows an organization, and the most that its environments may have.

The only way to raise a limit: over HTTP an environment can give up some of what it may use, and an organization changes
nothing of its own (docs/limits.md).
"""

import sys
from typing import Annotated, Any

import typer

from infra.local.admin.connection import AsJson, DataDir, Platform, run, write_json
from infra.local.problem import ExitCode, LocalError

DEFAULT = "default"


def register(admin: typer.Typer) -> None:
    admin.command("limits")(limits)


def limits(
    organization: Annotated[str, typer.Argument(metavar="ORG", help="Id or slug.")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Limits to set; `NAME=default` takes one back."),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show or set the limits of an organization; what is not set is as the settings say."""
    wanted = dict(_change(text) for text in changes or ())

    async def work(platform: Platform) -> dict[str, Any]:
        return await _apply(platform, organization, wanted)

    answer = run(data_dir, work)
    if as_json or not sys.stdout.isatty():
        write_json(answer)
    else:
        for name, value in answer["limits"].items():
            typer.echo(f"{name:<24}{value}")
        if not answer["limits"]:
            typer.echo(f"{answer['organization']} has the default limits.")


def _change(text: str) -> tuple[str, int | None]:
    name, _, value = text.partition("=")
    if value != DEFAULT and not (value.isascii() and value.isdigit()):
        raise typer.BadParameter(f"{text!r} is not NAME=NUMBER or NAME={DEFAULT}")
    return name, None if value == DEFAULT else int(value)


async def _apply(platform: Platform, reference: str, wanted: dict[str, int | None]) -> dict[str, Any]:
    from storage.postgres.tenancy.organization import read_organization
    from storage.postgres.tenancy.unit import PostgresTenancy
    from waypost.audit.model import Origin
    from waypost.ids import parse_id
    from waypost.tenancy.change import limit_organization

    operator = Origin("system:admin", "system")
    database = await platform.database("waypost_owner")  # no process but the worker may write the column
    async with database.unit() as connection:
        found = await read_organization(connection, parse_id(reference) or reference)
        unit = PostgresTenancy(connection, operator)
        organization = await unit.lock_organization(found.id) if found else None
        if organization is None:
            raise LocalError(f"There is no organization {reference!r}.", ExitCode.NOT_FOUND)
        organization = await limit_organization(unit, organization, wanted, actor=operator.actor)
    if wanted and platform.has("WAYPOST_VALKEY_URL"):
        from jobs.wake import ACCESS_CHANNEL, EnvironmentChanged, encode

        (await platform.valkey()).publish(ACCESS_CHANNEL, encode(EnvironmentChanged(organization.id)))
    return {"id": organization.id, "organization": organization.slug, "limits": organization.limits}
