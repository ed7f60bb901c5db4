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

Nothing is written, and a file that nobody needs is not read.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

from waypost_sdk.errors import ConfigurationError, MissingCredentialError

VARIABLES = {
    "url": "WAYPOST_URL",
    "key": "WAYPOST_KEY",
    "environment": "WAYPOST_ENVIRONMENT",
    "relay": "WAYPOST_RELAY",
    "client_id": "WAYPOST_CLIENT_ID",
    "client_secret": "WAYPOST_CLIENT_SECRET",
}


def resolve(**given: str | None) -> dict[str, str | None]:
    """The value of each named setting, None where it is nowhere. Raises ConfigurationError for a file that is wrong."""
    values = {name: value or os.environ.get(VARIABLES[name]) or None for name, value in given.items()}
    if all(values.values()):
        return values
    context = _context()
    return {name: value or context.get(name) for name, value in values.items()}


def require(values: dict[str, str | None], name: str) -> str:
    """The value, or an error that says how to give it."""
    value = values.get(name)
    if not value:
        kind = ConfigurationError if name in ("url", "environment", "relay") else MissingCredentialError
        raise kind(
            "not_configured",
            f"No {name.replace('_', ' ')} is configured: pass {name}=…, set {VARIABLES[name]}, "
            f"or put {name} into a context of {file_path()}.",
        )
    return value


def file_path() -> Path:
    """Where the configuration file is looked for."""
    if named := os.environ.get("WAYPOST_CONFIG"):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "waypost" / "config.toml"


def _context() -> dict[str, str]:
    path = file_path()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError("bad_configuration", f"{path} cannot be read: {error}") from error
    return _chosen(document, path)


def _chosen(document: dict[str, Any], path: Path) -> dict[str, str]:
    contexts = document.get("contexts")
    name = os.environ.get("WAYPOST_CONTEXT") or document.get("current")
    if name is None:
        return {}
    context = contexts.get(name) if isinstance(contexts, dict) else None
    if not isinstance(context, dict):
        raise ConfigurationError("bad_configuration", f"{path} has no [contexts.{name}].")
    wrong = next((key for key, value in context.items() if key not in VARIABLES or not isinstance(value, str)), None)
    if wrong is not None:
        raise ConfigurationError("bad_configuration", f"{path}: [contexts.{name}] {wrong} is not a known text setting.")
    return context
