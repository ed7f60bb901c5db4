"""`waypost admin usage verify`: whether the sums of usage are those of the ledger and the events; names the first that
is not.

Reads as waypost_worker. Exit code 0: every sum is right; 1: one is not.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.local.admin.connection import AsJson, DataDir, Platform, run, write_json

if TYPE_CHECKING:
    from storage.postgres.usage.verify import Compared, Difference, Verified

DIFFERENT = 1  # exit code
DEFAULT_HOURS = 22  # no environment can keep anything for less than a day
CATCH_UP_SECONDS = 10.0


def register(admin: typer.Typer) -> None:
    usage = typer.Typer(help="What is metered.", no_args_is_help=True)
    usage.callback()(_group)
    usage.command("verify")(verify)
    admin.add_typer(usage, name="usage")


def _group() -> None:
    """A group, though it has one command."""


def verify(
    hours: Annotated[
        int, typer.Option(min=1, max=744, help="How far back; no further than payloads and events are kept.")
    ] = DEFAULT_HOURS,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Add up what is over, then compare: sums of hours with ledger and events, sums of days with those of hours. Exit
    code 1 when any differs."""

    async def work(platform: Platform) -> "Verified":
        return await check(platform, hours)

    seen = run(data_dir, work)
    if as_json or not sys.stdout.isatty():
        write_json(document(seen))
    else:
        typer.echo(sentence(seen))
    if not seen.intact:
        if not sys.stdout.isatty():
            typer.echo(f"waypost: {sentence(seen)}", err=True)
        raise typer.Exit(DIFFERENT)


async def check(platform: Platform, hours: int) -> "Verified":
    """Catch up, as far as transactions in progress let it, and compare."""
    from jobs.usage import catch_up
    from storage.postgres.usage.verify import verify as compare

    database = await platform.database()
    await catch_up(database, CATCH_UP_SECONDS)
    async with database.unit() as connection:
        return await compare(connection, hours)


def document(seen: "Verified") -> dict[str, Any]:
    """What `--json` prints; quantities are strings."""
    return {
        "intact": seen.intact,
        "since": seen.since.isoformat(),
        "hours": _compared(seen.hours),
        "days": _compared(seen.days),
    }


def _compared(one: "Compared") -> dict[str, Any]:
    first = one.first
    return {
        "sums": one.sums,
        "facts": one.facts,
        "differences": one.differences,
        "first": None
        if first is None
        else {
            "environment_id": str(first.environment_id),
            "meter": first.meter,
            "at": first.at.isoformat(),
            "summed": _shown(first.summed),
            "summed_facts": first.summed_facts,
            "told": _shown(first.told),
            "told_facts": first.told_facts,
        },
    }


def sentence(seen: "Verified") -> str:
    """The same for people."""
    for one, what, against in (
        (seen.hours, "hour", "ledger and events say"),
        (seen.days, "day", "its hours say"),
    ):
        if one.first is not None:
            return f"{one.differences} sums differ. The first: {_difference(one.first, what, against)}"
    return (
        f"Every sum is right: {seen.hours.sums} of hours since {seen.since:%Y-%m-%d %H:%M} UTC are those of "
        f"{seen.hours.facts} facts, {seen.days.sums} of days are those of their hours."
    )


def _difference(first: "Difference", what: str, against: str) -> str:
    summed = f"{_shown(first.summed)} of {first.summed_facts} facts"
    told = f"{_shown(first.told)} of {first.told_facts}"
    return (
        f"{first.meter} of {first.environment_id} in the {what} of {first.at:%Y-%m-%d %H:%M} UTC is {summed}, "
        f"{against} {told}."
    )


def _shown(quantity: Any) -> str | None:
    return None if quantity is None else f"{quantity:f}"
