"""`waypost usage`: what was used, as a table, CSV or JSON; `waypost usage send` counts events of your own."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from waypost_sdk.command import output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.instant import instant
from waypost_sdk.command.session import connect

app = typer.Typer(help="What was used, in exact sums.")

_Since = Annotated[
    str | None, typer.Option("--from", metavar="INSTANT", help="From this day or hour, UTC: 2026-11-01. This month.")
]
_Until = Annotated[str | None, typer.Option("--to", metavar="INSTANT", help="To before this day or hour. Now.")]
_COLUMNS: dict[str, tuple[output.Column, ...]] = {
    "day": (("DAY", lambda one: one.day),),
    "hour": (("HOUR (UTC)", lambda one: one.hour and f"{one.hour:%Y-%m-%d %H:%M}"),),
    "project": (("PROJECT", lambda one: one.project or one.project_id or "-"),),
    "environment": (("ENVIRONMENT", lambda one: one.environment or one.environment_id or "-"),),
}
_ALWAYS: tuple[output.Column, ...] = (
    ("METER", lambda one: one.meter),
    ("QUANTITY", lambda one: f"{one.quantity:,f}"),
    ("OF IT LATE", lambda one: f"{one.adjustment:,f}" if one.adjustment else ""),
)


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    group_by: Annotated[
        str, typer.Option("--group-by", help="Tell apart by project, environment, day, hour; several with commas.")
    ] = "",
    meter: Annotated[list[str] | None, typer.Option(help="Only this meter; repeat for several.")] = None,
    since: _Since = None,
    until: _Until = None,
    org_wide: Annotated[bool, typer.Option("--org-wide", help="The whole organization's.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on stdout.")] = False,
    as_json: output.Json = False,
) -> None:
    """What was used: of the environment, with --org-wide of the organization."""
    if context.invoked_subcommand is not None:
        return
    groups = [word.strip() for word in group_by.split(",") if word.strip() not in ("", "meter")]
    if unknown := set(groups) - set(_COLUMNS):
        raise UsageError(f"--group-by takes {', '.join(_COLUMNS)}, not {', '.join(sorted(unknown))}.")
    wanted: dict[str, Any] = {
        "since": instant(since, "--from"),
        "until": instant(until, "--to"),
        "group_by": groups,
        "meter": meter or (),
        "org_wide": org_wide,
    }
    with connect(context) as client:
        if as_csv:
            sys.stdout.write(client.usage.csv(**wanted))
            return
        columns = [column for name, some in _COLUMNS.items() if name in groups for column in some]
        output.show_list(client.usage.sums(**wanted), (*columns, *_ALWAYS), as_json=as_json)


@app.command()
def send(
    context: typer.Context,
    meter: Annotated[str | None, typer.Argument(help="What is counted: images.megapixels.")] = None,
    quantity: Annotated[str, typer.Argument(help="How much, an exact decimal.")] = "1",
    identifier: Annotated[
        str | None, typer.Option("--id", help="Names what happened: told again, it is not counted again.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where it happened; part of its name.")] = None,
    at: Annotated[str | None, typer.Option("--time", metavar="INSTANT", help="When it happened; default: now.")] = None,
    subject: Annotated[str | None, typer.Option(help="Whom or what it is about.")] = None,
    file: Annotated[
        str | None, typer.Option(metavar="FILE", help="CloudEvents instead, one a line; - reads stdin.")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Count an event under a meter of your own, or the CloudEvents of a file."""
    if (file is None) == (meter is None):
        raise UsageError("Give a METER, or --file with events.")
    with connect(context) as client:
        if file is not None:
            output.show_one(client.usage.send(_events(file)), as_json=as_json)
        else:
            more = {"source": source} if source is not None else {}
            told = client.usage.count(
                meter or "", quantity, id=identifier, time=instant(at, "--time"), subject=subject, **more
            )
            output.show_one(told, as_json=as_json)


def _events(file: str) -> list[dict[str, Any]]:
    """One JSON object a line; blank lines are nothing."""
    import msgspec

    from waypost_sdk import exact

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}.") from None
    events = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            event = exact.decode(line)
        except msgspec.DecodeError as error:
            raise UsageError(f"Line {number} of {file} is no JSON: {error}.") from None
        if not isinstance(event, dict):
            raise UsageError(f"Line {number} of {file} is no CloudEvent.")
        events.append(event)
    return events
