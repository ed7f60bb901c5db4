"""The client of one command, made from the options of `waypost` itself, the variables and the configuration file."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from waypost_sdk import configuration
from waypost_sdk.version import VERSION

if TYPE_CHECKING:
    from waypost_sdk.http.client import Client

Org = Annotated[str | None, typer.Option(help="Another organization than the configured one.")]
Project = Annotated[str | None, typer.Option(help="Another project than the configured one.")]
IfMatch = Annotated[
    str | None, typer.Option(metavar="ETAG", help="Only if it is still as you saw it: `etag` of its JSON.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is done, showing each step.")]
Timeout = Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds to wait at most.")]


def versions() -> dict[str, str]:
    """Of the SDK, which the command belongs to, and of Python."""
    return {"sdk": VERSION, "python": sys.version.split()[0]}


def _show_versions(asked: bool) -> None:
    if asked:
        typer.echo("waypost {sdk} (Python {python})".format(**versions()))
        raise typer.Exit


def context_names(incomplete: str) -> list[str]:
    """Names of contexts, for the shell's completion; none when the file cannot be read."""
    from waypost_sdk import context
    from waypost_sdk.errors import WaypostError

    try:
        return [name for name in context.names() if name.startswith(incomplete)]
    except WaypostError:
        return []


def remember(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="The API's address (WAYPOST_URL).")] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="org/project/environment (WAYPOST_ENVIRONMENT).")
    ] = None,
    named: Annotated[
        str | None,
        typer.Option(
            "--context", help="A context of the configuration file (WAYPOST_CONTEXT).", autocompletion=context_names
        ),
    ] = None,
    retry_seconds: Annotated[
        float, typer.Option(min=0, help="How long to try again while the platform is away; 0 = not at all.")
    ] = 10.0,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_versions, help="Show the version and exit.")
    ] = False,
) -> None:
    """Waypost: durable jobs, run by functions on compute nodes that are chosen by tag."""
    if named is not None:
        os.environ[configuration.CONTEXT_VARIABLE] = named
    context.obj = {"url": url, "environment": environment, "retry_seconds": retry_seconds}


def connect(context: typer.Context) -> "Client":
    """The client; use it in a `with`. Raises ConfigurationError."""
    from waypost_sdk.http.client import Client

    return Client(**context.find_root().obj)


def confirm(question: str, word: str, *, yes: bool) -> None:
    """Have a person type `word` before something is destroyed. Raises UsageError when they do not, or nobody can."""
    from waypost_sdk.command.failure import UsageError

    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody can be asked here: repeat with --yes.")
    sys.stderr.write(f"{question}\nType {word} to go on: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != word:
        raise UsageError("Nothing was done.")
