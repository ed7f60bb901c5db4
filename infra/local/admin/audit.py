"""`waypost admin audit verify`: whether the audit is as it was sealed; names the first row that is not.

Reads as waypost_auditor and from the object store. Exit code 0: all is as it was sealed; 1: something is not.
"""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from infra.local.admin.connection import AsJson, DataDir, Platform, run, write_json
from infra.local.admin.progress import Progress

if TYPE_CHECKING:
    from waypost.audit.operation import Verified

ALTERED = 1  # exit code


def register(admin: typer.Typer) -> None:
    audit = typer.Typer(help="The audit log's seals.", no_args_is_help=True)
    audit.callback()(_group)
    audit.command("verify")(verify)
    admin.add_typer(audit, name="audit")


def _group() -> None:
    """A group, though it has one command."""


def verify(
    start: Annotated[int, typer.Option("--from", min=1, help="The first batch to look at; before it nothing is.")] = 1,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Recompute every seal; compare entries, batches and copies in the object store. Exit code 1 when any differs."""

    async def work(platform: Platform) -> "Verified":
        return await check(platform, start)

    seen = run(data_dir, work)
    if as_json or not sys.stdout.isatty():
        write_json(document(seen))
    else:
        typer.echo(sentence(seen))
    if seen.finding is not None:
        if not sys.stdout.isatty():
            typer.echo(f"waypost: {seen.finding.sentence}", err=True)
        raise typer.Exit(ALTERED)


async def check(platform: Platform, start: int = 1) -> "Verified":
    """Verify with progress on stderr; raises LocalError or WaypostError when something is away."""
    from storage.objects.seal import SealStore
    from storage.postgres.audit.seal import PostgresChain
    from waypost.audit import operation

    progress = Progress()
    progress.stage("audit")
    chain = PostgresChain(await platform.database("waypost_auditor"))
    seen = await operation.verify(
        chain,
        SealStore(*platform.s3),
        start=start,
        told=lambda seen: progress.tell(f"batch {seen.last}, {seen.entries} entries"),
    )
    progress.done(f"{seen.batches} batches, {seen.entries} entries")
    return seen


def document(seen: "Verified") -> dict[str, object]:
    """What `--json` prints."""
    finding = seen.finding
    return {
        "intact": finding is None,
        "batches": seen.batches,
        "entries": seen.entries,
        "swept": seen.swept,
        "first_batch": seen.first or None,
        "last_batch": seen.last or None,
        "root": seen.root or None,
        "not_copied": seen.not_copied,
        "unsealed": seen.unsealed,
        "finding": None
        if finding is None
        else {
            "fault": finding.fault.value,
            "batch": finding.batch,
            "entry": None if finding.entry is None else str(finding.entry),
            "sentence": finding.sentence,
        },
    }


def sentence(seen: "Verified") -> str:
    """The same for people."""
    if seen.finding is not None:
        return seen.finding.sentence
    if not seen.batches:
        return f"Nothing is sealed yet; {seen.unsealed} entries wait for their batch."
    swept = f"{seen.swept} of them went as their environments' days say; " if seen.swept else ""
    return (
        f"Intact: {seen.entries} entries in batches {seen.first} to {seen.last}, root {seen.root}; {swept}"
        f"{seen.unsealed} entries wait for their batch, {seen.not_copied} batches for their copy."
    )
