"""`waypost`: the SDK's own commands, and those that installed distributions add through entry points.

The group `waypost.commands` holds callables `register(app: typer.Typer) -> None`. They are loaded only when they may be
needed (an unknown first word, help, completion), so that `waypost jobs …` imports no server code.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from waypost_sdk.command import failure, fleet, job, node, output, tenancy
from waypost_sdk.command.session import remember
from waypost_sdk.errors import WaypostError
from waypost_sdk.version import VERSION

ENTRY_POINTS = "waypost.commands"
COMPLETION_VARIABLE = "_WAYPOST_COMPLETE"
_OWN = frozenset({"jobs", "nodes", "node", "node-credentials", "functions", "queue", "env", "keys", "version"})


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its code (see `failure`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    app = build()
    if needs_plugins(given):
        add_plugins(app)
    try:
        app(given, prog_name="waypost")
    except WaypostError as error:
        sys.exit(failure.report(error))
    sys.exit(failure.OK)


def build() -> typer.Typer:
    """The application with the SDK's own commands."""
    app = typer.Typer(name="waypost", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(remember)
    for name, group in (
        ("jobs", job.app),
        ("functions", fleet.functions),
        ("nodes", fleet.nodes),
        ("node", node.app),
        ("node-credentials", fleet.credentials),
        ("env", tenancy.environments),
        ("keys", tenancy.keys),
    ):
        app.add_typer(group, name=name)
    app.command()(fleet.queue)
    app.command()(version)
    return app


def version(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, also on a terminal.")] = False,
) -> None:
    """Show the versions of this command and of Python."""
    if output.wants_json(as_json):
        output.write_json({"sdk": VERSION, "python": sys.version.split()[0]})
    else:
        typer.echo(f"waypost {VERSION} (Python {sys.version.split()[0]})")


def needs_plugins(arguments: Sequence[str]) -> bool:
    """Whether a command of another distribution may be meant, or all of them are to be listed."""
    words = [word for word in arguments if not word.startswith("-")]
    return COMPLETION_VARIABLE in os.environ or not words or words[0] not in _OWN


def add_plugins(app: typer.Typer) -> None:
    """Let every entry point of the group register its commands; one that cannot be loaded is named and left out."""
    from importlib.metadata import entry_points

    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        try:
            point.load()(app)
        except Exception as error:  # noqa: BLE001 -- whatever another distribution does must not break ours
            output.note(f"waypost: the commands of {point.value} cannot be loaded: {type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
