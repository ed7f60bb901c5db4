"""Where the credentials of contexts are kept: in the system's keyring, else in a 0600 file beside the configuration.

Each is kept under its context and address, so that a changed address finds nothing. Only `waypost login` keeps, and
only what the platform has accepted. A keyring that merely pretends (a null or plain text one) is not used.
"""

from pathlib import Path
from typing import Any

from waypost_sdk import configuration
from waypost_sdk.errors import ConfigurationError, MissingCredentialError

SERVICE = "waypost"
KEYRING, FILE = "keyring", "file"
_REAL = 1  # keyring's own bound: a priority below it is not recommended


def keep(name: str, url: str, secret: str, *, keyring: bool = True) -> tuple[str, str]:
    """Keep a credential; answers the place, `keyring` or `file`, and a phrase for the person."""
    reason = "as asked"
    if keyring:
        kept, reason = _keep_in_keyring(name, url, secret)
        if kept:
            _forget_in_file(name)
            return KEYRING, f"in the system's keyring ({reason})"
    from waypost_sdk import private_file

    with private_file.edit(file_path()) as document:
        document[name] = {"url": url, "key": secret}
    return FILE, f"in {file_path()}, which only you can read ({reason})"


def recall(place: str, name: str, url: str) -> str:
    """The credential of a context. Raises MissingCredentialError when it is gone, ConfigurationError otherwise."""
    if place == KEYRING:
        secret = _recall_from_keyring(name, url)
    elif place == FILE:
        entry = configuration.read(file_path()).get(name)
        mine = isinstance(entry, dict) and entry.get("url") == url
        secret = entry.get("key") if mine and isinstance(entry, dict) else None
    else:
        raise ConfigurationError("bad_configuration", f'credential = "{place}" is neither "keyring" nor "file".')
    if not isinstance(secret, str) or not secret:
        where = "the system's keyring" if place == KEYRING else str(file_path())
        raise MissingCredentialError(
            "not_signed_in",
            f"There is no credential for the context {name!r} in {where}: run `waypost login --context {name}`.",
        )
    return secret


def forget(place: str | None, name: str, url: str) -> bool:
    """Drop a context's credential; answers whether there was one."""
    if place == KEYRING:
        return _forget_in_keyring(name, url)
    return _forget_in_file(name)


def file_path() -> Path:
    """Where credentials are kept that no keyring takes."""
    return configuration.file_path().with_name("credentials.toml")


def _user(name: str, url: str) -> str:
    return f"{name}@{url}"


def _backend() -> Any:
    """The system's keyring, or None."""
    import keyring

    backend = keyring.get_keyring()
    return backend if backend.priority >= _REAL else None


def _keep_in_keyring(name: str, url: str, secret: str) -> tuple[bool, str]:
    try:
        backend = _backend()
        if backend is None:
            return False, "this machine has no keyring"
        backend.set_password(SERVICE, _user(name, url), secret)
        if backend.get_password(SERVICE, _user(name, url)) != secret:
            return False, f"{backend.name} did not keep it"
    except Exception as error:  # noqa: BLE001 -- backends raise whatever their bus or library raises
        return False, f"the keyring refused: {error}"
    return True, backend.name


def _recall_from_keyring(name: str, url: str) -> Any:
    try:
        backend = _backend()
        return None if backend is None else backend.get_password(SERVICE, _user(name, url))
    except Exception as error:
        raise ConfigurationError(
            "keyring_unavailable", f"The system's keyring cannot be read: {error}; unlock it, or set WAYPOST_KEY."
        ) from error


def _forget_in_keyring(name: str, url: str) -> bool:
    try:
        backend = _backend()
        if backend is None or backend.get_password(SERVICE, _user(name, url)) is None:
            return False
        backend.delete_password(SERVICE, _user(name, url))
    except Exception as error:
        raise ConfigurationError(
            "keyring_unavailable", f"The system's keyring cannot be changed: {error}; the credential is still in it."
        ) from error
    return True


def _forget_in_file(name: str) -> bool:
    if name not in configuration.read(file_path()):
        return False
    from waypost_sdk import private_file

    with private_file.edit(file_path()) as document:
        del document[name]
    return True
