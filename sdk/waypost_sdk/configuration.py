"""Where addresses and credentials come from: arguments, WAYPOST_* variables, the configuration file, in that order.

The file is TOML at `$WAYPOST_CONFIG`, else `waypost/config.toml` in `$XDG_CONFIG_HOME` or `~/.config`:

    current = "local"                  # or the variable WAYPOST_CONTEXT

    [contexts.local]
    url = "http://127.0.0.1:8080"
    key = "wp_…"
    environment = "acme/shop/dev"
    relay = "127.0.0.1:9090"
    client_id = "…"
    client_secret = "…"

Instead of `key`, a context of `waypost login` says where the credential is: `credential = "keyring"` or "file". Such a
credential is given only to the address for which it was kept. Nothing is written here (`waypost_sdk.context` writes),
and a file that nobody needs is not read.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

from waypost_sdk.errors import ConfigurationError, MissingCredentialError

VARIABLES = {
    "url": "WAYPOST_URL",
    "key": "WAYPOST_KEY",
    "environment": "WAYPOST_ENVIRONMENT",
    "relay": "WAYPOST_RELAY",
    "client_id": "WAYPOST_CLIENT_ID",
    "client_secret": "WAYPOST_CLIENT_SECRET",
}
CONTEXT_VARIABLE = "WAYPOST_CONTEXT"
PLACE = "credential"  # the setting that says where `waypost login` kept the credential
SECRETS = frozenset({"key", "client_secret"})


class Context(NamedTuple):
    """A named group of settings of the file; `name` is None when the file has no current one."""

    name: str | None
    settings: dict[str, str]


def resolve(**given: str | None) -> dict[str, str | None]:
    """The value of each named setting, None where it is nowhere. Raises ConfigurationError for a file that is wrong."""
    values = {name: value or os.environ.get(VARIABLES[name]) or None for name, value in given.items()}
    if all(values.values()):
        return values
    context = current()
    found = {name: value or context.settings.get(name) for name, value in values.items()}
    if "key" in found and not found["key"] and PLACE in context.settings:
        found["key"] = _kept(context, found.get("url"))
    return found


def require(values: dict[str, str | None], name: str) -> str:
    """The value, or an error that says how to give it."""
    value = values.get(name)
    if not value:
        kind = ConfigurationError if name in ("url", "environment", "relay") else MissingCredentialError
        login = "run `waypost login`, " if name in ("url", "key") else ""
        raise kind(
            "not_configured",
            f"No {name.replace('_', ' ')} is configured: {login}pass {name}=…, set {VARIABLES[name]}, "
            f"or put {name} into a context of {file_path()}.",
        )
    return value


def file_path() -> Path:
    """Where the configuration file is looked for."""
    if named := os.environ.get("WAYPOST_CONFIG"):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "waypost" / "config.toml"


def current() -> Context:
    """The context that counts now. Raises ConfigurationError when the one that is named is not there, or is wrong."""
    path = file_path()
    document = read(path)
    name = current_name(document)
    if name is None:
        return Context(None, {})
    contexts = document.get("contexts")
    settings = contexts.get(name) if isinstance(contexts, dict) else None
    if not isinstance(settings, dict):
        raise ConfigurationError("bad_configuration", _no_context(path, name, contexts))
    known = (*VARIABLES, PLACE, "expires_at")
    wrong = next((key for key, value in settings.items() if key not in known or not isinstance(value, str)), None)
    if wrong is not None:
        raise ConfigurationError("bad_configuration", f"{path}: [contexts.{name}] {wrong} is not a known text setting.")
    return Context(name, settings)


def _no_context(path: Path, name: str, contexts: Any) -> str:
    there = ", ".join(contexts) if isinstance(contexts, dict) and contexts else "none"
    return f"{path} has no [contexts.{name}]; there is {there}. `waypost login --context {name}` makes it."


def current_name(document: dict[str, Any]) -> str | None:
    """The name of the context that counts now: the variable's, else the file's `current`."""
    name = os.environ.get(CONTEXT_VARIABLE) or document.get("current")
    return name if isinstance(name, str) else None


def read(path: Path) -> dict[str, Any]:
    """A TOML file as a dict, empty where there is none. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("bad_configuration", f"{path} cannot be read: {error}") from error
    import tomllib  # 5 ms, which a command without a configuration file need not pay

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError("bad_configuration", f"{path} cannot be read: {error}") from error


def _kept(context: Context, url: str | None) -> str | None:
    """What `waypost login` kept for this context, unless the request would go elsewhere than it was kept for."""
    from waypost_sdk import credential

    own = context.settings.get("url", "")
    if context.name is None or (url or "").rstrip("/") != own.rstrip("/"):
        raise MissingCredentialError(
            "other_address",
            f"The credential of the context {context.name!r} is for {own} and is not sent to {url}: "
            f"set {VARIABLES['key']}, or run `waypost login --url {url}`.",
        )
    return credential.recall(context.settings[PLACE], context.name, own)
