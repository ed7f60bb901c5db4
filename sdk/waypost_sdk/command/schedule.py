"""`waypost schedules`: work that starts by the clock. What schedules share with webhooks is `command.trigger`'s."""

from typing import Annotated, Any

import typer

from waypost_sdk.command import output, trigger
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.instant import seconds
from waypost_sdk.command.session import connect

app = typer.Typer(help="Work that starts by the clock.", no_args_is_help=True)

_COLUMNS: tuple[output.Column, ...] = (
    ("SCHEDULE", lambda one: one.id),
    ("NAME", lambda one: one.name),
    ("FUNCTION", lambda one: one.job.get("function")),
    ("WHEN", lambda one: trigger.when(one.schedule)),
    ("ZONE", lambda one: (one.schedule or {}).get("timezone")),
    ("OVERLAP", lambda one: one.overlap),
    ("CATCH UP", lambda one: one.catch_up),
    ("STATE", lambda one: one.state),
    ("NEXT", lambda one: one.next_fire_times[0] if one.next_fire_times and one.state == "active" else None),
)


@app.command("list")
def list_(context: typer.Context, as_json: output.Json = False) -> None:
    """List schedules, newest first."""
    with connect(context) as client:
        output.show_list(client.triggers.list(kind="schedule"), _COLUMNS, as_json=as_json)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Option(help="A name for people.")],
    function: Annotated[str, typer.Option(help="The function that its jobs run.")],
    cron: Annotated[str | None, typer.Option(help="Five fields, or six with seconds first: '*/5 * * * *'.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of cron: Europe/Helsinki … Default UTC.")] = None,
    every: Annotated[str | None, typer.Option(metavar="SPAN", help="In place of cron: 30s, 5m, 1h, 1d.")] = None,
    overlap: Annotated[
        str | None, typer.Option(help="While a job of it has not ended: allow (default), skip, cancel_running.")
    ] = None,
    catch_up: Annotated[
        str | None, typer.Option(help="Of what was missed, make good: none (default), last, all (at most 1,000).")
    ] = None,
    jitter: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Spread over so long after each time: 30s.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A selector of its jobs, all must hold: gpu …")] = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=100, help="Attempts of its jobs.")] = None,
    as_json: output.Json = False,
) -> None:
    """Make a schedule; shows when it is due next."""
    if (cron is None) == (every is None):
        raise UsageError("Give --cron or --every.")
    timing = trigger.given(cron=cron, timezone=timezone, every_seconds=None if every is None else _whole(every))
    with connect(context) as client:
        made = client.triggers.create(
            "schedule", name, trigger.job_of(function, tag, max_attempts), schedule=timing, overlap=overlap,
            catch_up=catch_up, jitter_seconds=None if jitter is None else _seconds(jitter, "--jitter"),
        )  # fmt: skip
        output.show_one(made, as_json=as_json)


@app.command("next")
def next_(
    context: typer.Context,
    cron: Annotated[str, typer.Argument(help="Five fields, or six with seconds first: '*/5 * * * *'.")],
    timezone: Annotated[str | None, typer.Option(help="Of cron: Europe/Helsinki … Default UTC.")] = None,
    as_json: output.Json = False,
) -> None:
    """Say when a schedule would be due next, without making one."""
    with connect(context) as client:
        found = client.triggers.preview("schedule", {"schedule": trigger.given(cron=cron, timezone=timezone)})
        output.show_list(found.next_fire_times, (("DUE", lambda at: at),), as_json=as_json)


def _seconds(text: str, option: str) -> float:
    return seconds(text, option, "30s, 5m, 12h or 7d")


def _whole(text: str) -> int:
    return int(_seconds(text, "--every"))


_SHARED: dict[str, Any] = {
    "get": trigger.get,
    "update": trigger.update,
    "delete": trigger.delete,
    "pause": trigger.pause,
    "resume": trigger.resume,
    "test": trigger.fire_once,
    "firings": trigger.firings,
}
for _name, _command in _SHARED.items():
    app.command(_name)(_command)
