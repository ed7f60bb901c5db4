"""`waypost jobs replay`, `replays` and `diff`: run ended jobs again, watch it, and see what came out differently."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from waypost_sdk.command import failure, output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.instant import ago
from waypost_sdk.command.payload import json_object
from waypost_sdk.command.session import connect

if TYPE_CHECKING:
    from waypost_sdk.difference import Difference, JobDiff, Timing
    from waypost_sdk.http.client import Client
    from waypost_sdk.replay import BulkReplay, ReplayPreview

app = typer.Typer(help="Bulk replays: see how far they are, stop them.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="REPLAY", help="The bulk replay's id.")]
_Wait = Annotated[bool, typer.Option("--wait", help="Wait for its end; exit code 1 unless every job was replayed.")]
_COLUMNS: tuple[output.Column, ...] = (
    ("REPLAY", lambda replay: replay.id),
    ("STATE", lambda replay: replay.state),
    ("MATCHED", lambda replay: replay.matched),
    ("REPLAYED", lambda replay: replay.replayed),
    ("SKIPPED", lambda replay: replay.skipped),
    ("BY", lambda replay: replay.created_by),
    ("AGE", lambda replay: output.age(replay.created_at)),
)


def replay(
    context: typer.Context,
    job_ids: Annotated[list[str] | None, typer.Argument(metavar="[JOB]...", help="Ids of ended jobs.")] = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Instead of ids: completed, failed, dead_letter, canceled, expired.")
    ] = None,
    function: Annotated[list[str] | None, typer.Option(help="Only of this function.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="Only with this label, KEY=VALUE.")] = None,
    trigger: Annotated[list[str] | None, typer.Option(help="Only of this trigger (its id).")] = None,
    created_after: Annotated[str | None, typer.Option(help="RFC 3339, or how long ago: 90m, 12h, 7d.")] = None,
    created_before: Annotated[str | None, typer.Option(help="RFC 3339, or how long ago.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, max=10_000, help="The newest so many; default 10,000.")] = None,
    overrides: Annotated[str | None, typer.Option(help="JSON object of fields that are to be different.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be run again.")] = False,
    wait: _Wait = False,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key is the same replay.")] = None,
    as_json: output.Json = False,
) -> None:
    """Run ended jobs again, each as a new job: one by its id, or many by ids or filters."""
    chosen: dict[str, Any] = {
        "state": state,
        "function": function,
        "label": label,
        "trigger_id": trigger,
        "created_after": ago(created_after, "--created-after"),
        "created_before": ago(created_before, "--created-before"),
        "limit": limit,
    }
    filtered = any(value is not None for value in chosen.values())
    if bool(job_ids) == filtered:
        raise UsageError("Give either ids of jobs or filters, such as --state dead_letter.")
    different = json_object(overrides, "--overrides")
    with connect(context) as client:
        if job_ids and len(job_ids) == 1 and not (dry_run or wait):
            one = client.jobs.replay(job_ids[0], different, idempotency_key=idempotency_key)
            output.show_one(one, as_json=as_json)
            return
        wanted = chosen | {"ids": job_ids or None, "overrides": different}
        if dry_run:
            _show_preview(client.replays.preview(**wanted), as_json=as_json)
            return
        made = client.replays.create(**wanted, idempotency_key=idempotency_key)
        if wait:
            made = _watched(client, made)
    output.show_one(made, as_json=as_json)
    if wait:
        _exit_unless_all(made)


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, newest first.")] = 50,
    as_json: output.Json = False,
) -> None:
    """List bulk replays, newest first."""
    with connect(context) as client:
        output.show_list(client.replays.list(limit=limit), _COLUMNS, as_json=as_json)


@app.command()
def get(context: typer.Context, replay_id: _Id, wait: _Wait = False, as_json: output.Json = False) -> None:
    """Show how far a bulk replay is, and what it skipped."""
    with connect(context) as client:
        found = client.replays.get(replay_id)
        if wait:
            found = _watched(client, found)
    output.show_one(found, as_json=as_json)
    if wait:
        _exit_unless_all(found)


@app.command()
def cancel(context: typer.Context, replay_id: _Id, as_json: output.Json = False) -> None:
    """Stop a bulk replay; jobs that it made stay."""
    with connect(context) as client:
        output.show_one(client.replays.cancel(replay_id), as_json=as_json)


def _watched(client: "Client", made: "BulkReplay") -> "BulkReplay":
    """The replay at its end, with a bar on stderr when somebody looks."""
    with output.progress("replaying", made.matched) as advance:
        for made in client.replays.watch(made.id):  # noqa: B020 -- the last one is what is wanted
            advance(made.replayed + made.skipped)
    return made


def _exit_unless_all(replay: "BulkReplay") -> None:
    if replay.state != "completed" or replay.skipped:
        raise typer.Exit(failure.OTHER)


def _show_preview(preview: "ReplayPreview", *, as_json: bool) -> None:
    if output.wants_json(as_json):
        output.write_json(preview)
        return
    output.show_one(preview, as_json=False)
    if preview.more:
        output.note("Older jobs match, too: more than the limit. Run it again for them, or narrow the filters.")


# --- diff -------------------------------------------------------------------------------------------------------------


def diff(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="A job's id.")],
    second: Annotated[
        str | None, typer.Argument(metavar="[B]", help="Another's; without it, A is compared with what it replays.")
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Compare two runs of a job: payload, result, error, timing. Exit code 0: the same; 1: different."""
    with connect(context) as client:
        if second is None:
            before = client.jobs.get(first).replay_of
            if before is None:
                raise UsageError(f"Job {first} is no replay: name the job to compare it with.")
            first, second = before, first
        found = client.jobs.diff(first, second)
    if output.wants_json(as_json):
        output.write_json(found)
    else:
        _print_diff(found)
    if not found.same:
        raise typer.Exit(failure.OTHER)


def _print_diff(found: "JobDiff") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if found.same:
        console.print("[green]same[/green]: what was asked, and what came of it")
    else:
        table = Table(box=None, header_style="bold")
        for title in ("WHERE", f"A {found.a}", f"B {found.b}"):
            table.add_column(title, overflow="fold")
        for one in found.differences:
            style = {"added": "green", "removed": "red"}.get(one.kind, "yellow")
            table.add_row(Text(one.path, style=style), _value(one, "a", "red"), _value(one, "b", "green"))
        console.print(table)
    console.print(_times(found.timing["a"], found.timing["b"]))


def _value(one: "Difference", side: str, style: str) -> Any:
    import msgspec
    from rich.text import Text

    from waypost_sdk import exact

    value = getattr(one, side)
    return Text("" if value is msgspec.UNSET else exact.encode(value).decode(), style=style)


def _times(a: "Timing", b: "Timing") -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for title in ("TIMING", "A", "B", "B - A"):
        table.add_column(title, justify="left" if title == "TIMING" else "right")
    for name in a.__struct_fields__:
        one, other = getattr(a, name), getattr(b, name)
        delta = "" if None in (one, other) else f"{other - one:+.6g}"
        table.add_row(name, *_numbers((one, other)), delta)
    return table


def _numbers(values: Iterable[float | None]) -> list[str]:
    return ["" if value is None else f"{value:.6g}" for value in values]
