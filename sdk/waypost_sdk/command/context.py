"""`waypost context`: the contexts of the configuration file. Secrets are never shown."""

from typing import Annotated, Any

import typer

from waypost_sdk import configuration
from waypost_sdk.command import output
from waypost_sdk.command.session import Yes, confirm, context_names

app = typer.Typer(help="Platforms and credentials that are configured, side by side.", no_args_is_help=True)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The context's name.", autocompletion=context_names)]
_COLUMNS: tuple[output.Column, ...] = (
    ("CONTEXT", lambda entry: entry["context"] + (" *" if entry["current"] else "")),
    ("URL", lambda entry: entry["url"]),
    ("ENVIRONMENT", lambda entry: entry["environment"]),
    ("CREDENTIAL", lambda entry: entry["credential"]),
    ("EXPIRES", lambda entry: entry["expires_at"]),
)


@app.command("list")
def list_(as_json: output.Json = False) -> None:
    """List the contexts; * marks the current one."""
    from waypost_sdk import context as contexts

    output.show_list([_entry(name) for name in contexts.names()], _COLUMNS, as_json=as_json)


@app.command()
def use(name: _Name) -> None:
    """Make a context the current one."""
    import os

    from waypost_sdk import context as contexts

    contexts.use(name)
    if os.environ.get(configuration.CONTEXT_VARIABLE) not in (None, "", name):
        output.note("waypost: WAYPOST_CONTEXT is set and wins over it")


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Default: the current one.", autocompletion=context_names),
    ] = None,
    as_json: output.Json = False,
) -> None:
    """Show a context, and where its credential is."""
    from waypost_sdk.command.failure import UsageError

    chosen = name or configuration.current().name
    if chosen is None:
        raise UsageError("There is no current context: name one, or `waypost login`.")
    output.show_one(_entry(chosen) | {"file": str(configuration.file_path())}, as_json=as_json)


@app.command()
def delete(name: _Name, yes: Yes = False) -> None:
    """Delete a context with the credential that was kept for it."""
    from waypost_sdk import context as contexts
    from waypost_sdk import credential

    settings = contexts.settings(name)
    confirm(f"The context {name} ({settings.get('url', 'no address')}) and its credential will go.", name, yes=yes)
    if configuration.PLACE in settings:
        credential.forget(settings[configuration.PLACE], name, settings.get("url", ""))
    contexts.delete(name)


def _entry(name: str) -> dict[str, Any]:
    from waypost_sdk import context as contexts

    settings = contexts.settings(name)
    place = settings.get(configuration.PLACE)
    return {
        "context": name,
        "current": configuration.current_name(configuration.read(configuration.file_path())) == name,
        "url": settings.get("url"),
        "environment": settings.get("environment"),
        "credential": place or ("in the configuration file" if "key" in settings else "none"),
        "expires_at": settings.get("expires_at"),
    }
