"""The client of one command, made from the options of `waypost` itself, the variables and the configuration file."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from waypost_sdk.http.client import Client


def remember(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="The API's address (WAYPOST_URL).")] = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="org/project/environment (WAYPOST_ENVIRONMENT).")
    ] = None,
    named: Annotated[
        str | None, typer.Option("--context", help="A context of the configuration file (WAYPOST_CONTEXT).")
    ] = None,
    retry_seconds: Annotated[
        float, typer.Option(min=0, help="How long to try again while the platform is away; 0 = not at all.")
    ] = 10.0,
) -> None:
    """Waypost: durable jobs, run by functions on compute nodes that are chosen by tag."""
    if named is not None:
        os.environ["WAYPOST_CONTEXT"] = named
    context.obj = {"url": url, "environment": environment, "retry_seconds": retry_seconds}


def connect(context: typer.Context) -> "Client":
    """The client; use it in a `with`. Raises ConfigurationError."""
    from waypost_sdk.http.client import Client

    return Client(**context.find_root().obj)
