"""A fake keyring backend for tests: it keeps its secrets in the file that FAKE_KEYRING names, across processes.

Named to the `keyring` library by PYTHON_KEYRING_BACKEND, as a user's own choice would be.
"""

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import KeyringError, PasswordDeleteError


class FakeKeyring(KeyringBackend):
    """Keeps what it is given."""

    priority = 9

    def get_password(self, service: str, username: str) -> str | None:
        return self._read().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._write({**self._read(), f"{service} {username}": password})

    def delete_password(self, service: str, username: str) -> None:
        kept = self._read()
        if kept.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError("nothing there")
        self._write(kept)

    def _read(self) -> dict[str, str]:
        file = Path(os.environ["FAKE_KEYRING"])
        return json.loads(file.read_text()) if file.exists() else {}

    def _write(self, kept: dict[str, str]) -> None:
        Path(os.environ["FAKE_KEYRING"]).write_text(json.dumps(kept))


class LockedKeyring(FakeKeyring):
    """Refuses everything, like one whose owner does not unlock it."""

    def get_password(self, service: str, username: str) -> str | None:
        raise KeyringError("the collection is locked")

    def set_password(self, service: str, username: str, password: str) -> None:
        raise KeyringError("the collection is locked")


class ForgetfulKeyring(FakeKeyring):
    """Says yes and keeps nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        pass
