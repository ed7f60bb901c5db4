"""`waypost`: the SDK's own commands, and those that installed distributions add through entry points.

The group `waypost.commands` holds callables `register(app: typer.Typer) -> None`. They are loaded only when they may be
needed (an unknown first word, help, completion), so that `waypost jobs …` imports no server code. Of its own commands,
too, it loads only the one that is meant.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from waypost_sdk.command import failure, output
from waypost_sdk.command.session import remember, versions
from waypost_sdk.errors import WaypostError

ENTRY_POINTS = "waypost.commands"
COMPLETION_VARIABLE = "_WAYPOST_COMPLETE"
_GROUPS = {  # word → module and name of its group
    "jobs": "job:app",
    "functions": "fleet:functions",
    "nodes": "fleet:nodes",
    "node": "node:app",
    "node-credentials": "fleet:credentials",
    "org": "organization:app",
    "project": "project:app",
    "env": "environment:app",
    "member": "member:app",
    "invite": "invitation:app",
    "key": "key:app",
    "audit": "audit:app",
    "artifacts": "artifact:app",
    "triggers": "trigger:app",
    "usage": "usage:app",
    "schedules": "schedule:app",
    "subscriptions": "subscription:app",
    "context": "context:app",
}
_COMMANDS = {  # word → module and name of its function
    "queue": "fleet:queue",
    "whoami": "whoami:whoami",
    "login": "login:login",
    "logout": "login:logout",
    "listen": "listen:listen",
    "version": "main:version",
}
_WITH_VALUE = frozenset({"--url", "--environment", "-e", "--context", "--retry-seconds"})  # see session.remember
_OWN = frozenset({*_GROUPS, *_COMMANDS})


class Root(TyperGroup):
    """`waypost` itself: says where its own options go when they stand behind a command that does not have them."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            option = getattr(error, "option_name", None)
            if option in _WITH_VALUE and hasattr(error, "possibilities"):  # there is no such option
                error.message = f"{option} goes before the command: waypost {option} … {ctx.invoked_subcommand} …"  # type: ignore[attr-defined]
            raise


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its code (see `failure`)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    app = build(None if needs_plugins(given) else first_word(given))
    if needs_plugins(given):
        add_plugins(app)
    try:
        app(given, prog_name="waypost")
    except WaypostError as error:
        sys.exit(failure.report(error))
    sys.exit(failure.OK)


def build(only: str | None = None) -> typer.Typer:
    """The application with the SDK's own commands; with `only` one of them, which spares importing the others."""
    app = typer.Typer(
        name="waypost",
        cls=Root,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(remember)
    for word, home in _GROUPS.items():
        if only in (None, word):
            app.add_typer(_load(home), name=word)
    for word, home in _COMMANDS.items():
        if only in (None, word):
            app.command(word)(_load(home))
    return app


def first_word(arguments: Sequence[str]) -> str | None:
    """The word that names the command: the first that is neither an option nor the value of one."""
    before = ""
    for word in arguments:
        if not word.startswith("-") and before not in _WITH_VALUE:
            return word
        before = word
    return None


def version(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout, also on a terminal.")] = False,
) -> None:
    """Show the versions of this command and of Python."""
    if output.wants_json(as_json):
        output.write_json(versions())
    else:
        typer.echo("waypost {sdk} (Python {python})".format(**versions()))


def needs_plugins(arguments: Sequence[str]) -> bool:
    """Whether a command of another distribution may be meant, or all of them are to be listed."""
    return COMPLETION_VARIABLE in os.environ or first_word(arguments) not in _OWN


def _load(home: str) -> Any:
    module, _, name = home.partition(":")
    return version if module == "main" else getattr(import_module(f"waypost_sdk.command.{module}"), name)


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
