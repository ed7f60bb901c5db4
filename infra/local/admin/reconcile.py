"""`waypost admin reconcile`: what a crash left of environments, shown, and with --fix put right at once.

Workers do the same every few minutes. Refuses: to remove what belongs to no environment of this platform without
--unknown, because another platform may use the same servers.
"""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from infra.local.admin.connection import AsJson, DataDir, Platform, run, write_json
from infra.local.problem import ExitCode

if TYPE_CHECKING:
    from functions.environment.reconcile import Finding


def register(admin: typer.Typer) -> None:
    admin.command("reconcile")(reconcile)


def reconcile(
    data_dir: DataDir = None,
    fix: Annotated[bool, typer.Option("--fix", help="Finish or remove what is found.")] = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="With --fix: also remove what no environment of this platform ever had.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find roles, schemas, buckets, S3 users and rows without a live environment, and environments that lack one.

    Exit code 1 when something is found and left as it is.
    """
    if unknown and not fix:
        raise typer.BadParameter("--unknown goes with --fix")
    findings = run(data_dir, lambda platform: find(platform, fix=fix, unknown=unknown))
    if as_json or not sys.stdout.isatty():
        write_json([finding.texts() for finding in findings])
    else:
        _show(findings)
    if any(not finding.done for finding in findings):
        raise typer.Exit(int(ExitCode.OTHER))


async def find(platform: Platform, *, fix: bool, unknown: bool) -> "list[Finding]":
    """The findings; raises LocalError or WaypostError."""
    from functions.environment.phase import EnvironmentPorts
    from functions.environment.reconcile import reconcile as look

    ports = EnvironmentPorts(
        await platform.database(),
        await platform.database("waypost_provisioner"),
        await platform.keys(),
        platform.object_admin,
        await platform.valkey(),
    )
    return await look(ports, fix=fix, unknown=unknown)


def _show(findings: "list[Finding]") -> None:
    if not findings:
        typer.echo("Everything is as the records say.")
    for finding in findings:
        what = f"{finding.kind} {finding.name} is {finding.fault}"
        typer.echo(f"{what}: {finding.error or finding.done or 'left as it is'}")
