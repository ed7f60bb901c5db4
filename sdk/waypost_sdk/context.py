"""Contexts of the configuration file, written: `waypost login`, `logout` and `context` change them here.

Comments, order and what other people put into the file stay. Secrets are not written here: `credential` keeps them.
"""

import re
from typing import Any

from waypost_sdk import configuration, private_file
from waypost_sdk.errors import ConfigurationError, NotFoundError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def names() -> list[str]:
    """The names of all contexts, in the file's order."""
    return list(_contexts(configuration.read(configuration.file_path())))


def settings(name: str) -> dict[str, Any]:
    """The settings of a context. Raises NotFoundError."""
    found = _contexts(configuration.read(configuration.file_path())).get(name)
    if not isinstance(found, dict):
        raise missing(name)
    return found


def check_name(name: str) -> str:
    """The name, if it can be one. Raises ConfigurationError."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            "bad_name", f"A context is named with letters, digits, '.', '_' and '-', at most 64, not {name!r}."
        )
    return name


def save(name: str, values: dict[str, str | None], *, make_current: bool = True) -> None:
    """Set these settings of a context, made if it is new; None takes one away. Others stay as they are."""
    import tomlkit

    with private_file.edit(configuration.file_path()) as document:
        if make_current:
            document["current"] = name
        contexts: Any = document.get("contexts")
        if contexts is None:
            contexts = document["contexts"] = tomlkit.table(is_super_table=True)
        if name not in contexts:
            contexts[name] = tomlkit.table()
        entry: Any = contexts[name]
        for key, value in values.items():
            if value is not None:
                entry[key] = value
            elif key in entry:
                del entry[key]


def use(name: str) -> None:
    """Make a context the current one. Raises NotFoundError."""
    settings(name)
    with private_file.edit(configuration.file_path()) as document:
        document["current"] = name


def delete(name: str) -> None:
    """Take a context away; if it was the current one, there is none afterwards. Raises NotFoundError."""
    settings(name)
    with private_file.edit(configuration.file_path()) as document:
        del document["contexts"][name]
        if document.get("current") == name:
            del document["current"]


def missing(name: str) -> NotFoundError:
    known = ", ".join(names()) or "none"
    return NotFoundError("no_such_context", f"{configuration.file_path()} has no context {name!r}; it has: {known}.")


def _contexts(document: dict[str, Any]) -> dict[str, Any]:
    found = document.get("contexts")
    return found if isinstance(found, dict) else {}
