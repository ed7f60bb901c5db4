"""`waypost up | down | status | migrate | admin`: the local commands, added to the SDK's `waypost` (decision 34).

stdout holds what was asked for, stderr the logs and reasons. Exit codes are those of the native contract §8. Everything
heavy is imported inside the commands.
"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from infra.local import admin

_DataDir = Annotated[
    Path | None,
    # `readable` asks access(2), which knows nothing of capabilities; opening the folder finds out.
    typer.Option("--data-dir", readable=False, help="The data folder (default: $WAYPOST_DATA_DIR, else .waypost)."),
]


class _LogForm(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class _LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def register(app: typer.Typer) -> None:
    """Add the commands to the application; called through the entry point `waypost.commands`."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)
    app.command("migrate")(migrate)
    admin.register(app)


def up(
    data_dir: _DataDir = None,
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="The API's port; 0 = any free one.")] = 8080,
    relay_port: Annotated[int, typer.Option(min=0, max=65535, help="The nodes' port; 0 = any free one.")] = 9090,
    relays: Annotated[int, typer.Option(min=0, max=32, help="How many relays share the port.")] = 1,
    gateways: Annotated[int, typer.Option(min=0, max=32, help="How many gateways share the port.")] = 1,
    workers: Annotated[int, typer.Option(min=0, max=32, help="How many workers.")] = 1,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is ready; it runs on.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout when it is ready.")] = False,
    log_format: Annotated[_LogForm, typer.Option(help="Form of the log lines on stderr.")] = _LogForm.CONSOLE,
    log_level: Annotated[_LogLevel, typer.Option(help="Least level that is logged.")] = _LogLevel.INFO,
) -> None:
    """Start the platform on this machine: servers, gateway, relays, worker."""
    from infra.local import option
    from infra.local.problem import LocalError

    options = option.UpOptions(
        data_dir=str(option.data_dir(data_dir)),
        http_port=http_port,
        relay_port=relay_port,
        relays=relays,
        gateways=gateways,
        workers=workers,
        json_lines=log_format is _LogForm.JSON,
        log_level=log_level.value,
    )
    is_new = not Path(options.data_dir, "secrets", "admin-key").exists()

    def report(summary: dict[str, Any]) -> None:
        _print_summary(summary, as_json=as_json, is_new=is_new)

    try:
        if detach:
            from infra.local import detached

            report(detached.start(options))
        else:
            from infra.local import supervisor
            from infra.local.journal import Journal

            supervisor.run(
                options, lambda folder: Journal(folder.logs, sys.stderr, json_lines=options.json_lines), report
            )
    except LocalError as problem:
        _refuse(problem.sentence, int(problem.code))


def _print_summary(summary: dict[str, Any], *, as_json: bool, is_new: bool) -> None:
    if as_json:
        import json

        typer.echo(json.dumps(summary))
    else:
        key_file = Path(summary["data_dir"]) / "secrets" / "admin-key"
        typer.echo(f"API      {summary['api_url']}")
        typer.echo(f"console  {summary['api_url']}/")
        typer.echo(f"relay    {summary['relay_address']}")
        typer.echo(f"place    {summary['org']}/{summary['project']}/{summary['environment']}")
        if not summary["admin_key"]:
            typer.echo("key      none is kept here: any that you have works, as does `waypost admin create-user`")
        elif is_new:
            typer.echo(f"key      {summary['admin_key']}   (shown this once; kept in {key_file})")
        else:
            typer.echo(f"key      in {key_file}")
    sys.stdout.flush()


def down(data_dir: _DataDir = None) -> None:
    """Stop the platform of a data folder; the data stays."""
    from infra.local import ending, option
    from infra.local.problem import LocalError

    try:
        typer.echo(ending.stop(option.data_dir(data_dir)), err=True)
    except LocalError as problem:
        _refuse(problem.sentence, int(problem.code))


def status(
    data_dir: _DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show each process: readiness, memory, restarts, addresses."""
    from infra.local import option
    from infra.local import status as state
    from infra.local.problem import LocalError

    try:
        found = state.read(option.data_dir(data_dir))
    except LocalError as problem:
        _refuse(problem.sentence, int(problem.code))
    if as_json or not sys.stdout.isatty():
        import json

        typer.echo(json.dumps(found))
    else:
        state.show(found)
    if not found["ready"]:
        raise typer.Exit(9)


def migrate(
    check: Annotated[bool, typer.Option("--check", help="Only say whether something is to do (exit code 10).")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Bring the schemas to this program's version.")] = False,
    url: Annotated[
        str,
        typer.Option(
            envvar="WAYPOST_OWNER_DATABASE_URL",
            help="Login of waypost_owner (default: of the data folder); environments need a worker's settings too.",
        ),
    ] = "",
    data_dir: _DataDir = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, also on a terminal.")] = False,
) -> None:
    """Compare the schemas of control and of every environment with this program's versions, or bring them there."""
    from infra.local import migrate as migration
    from infra.local.admin.connection import guarded

    if check == apply:
        _refuse("Say either --check or --apply.", 2)

    def tell(text: str) -> None:
        typer.echo(f"migrated    {text}", err=True)

    standing, code = guarded(lambda: migration.run(url, data_dir, None if check else tell))
    if as_json or not sys.stdout.isatty():
        import msgspec

        typer.echo(msgspec.json.encode(standing))
    else:
        migration.show(standing)
    raise typer.Exit(code)


def _refuse(sentence: str, code: int) -> NoReturn:
    typer.echo(f"waypost: {sentence}", err=True)
    raise typer.Exit(code)
