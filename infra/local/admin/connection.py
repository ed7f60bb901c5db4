"""The platform that an `admin` command works on: logins, keys and addresses, from a data folder or from the settings.

A data folder that is given with --data-dir, or the default one, must be of a running platform. Where
WAYPOST_DATABASE_URL is set and no folder is given, the settings of a worker are used instead (a cluster), plus
WAYPOST_OWNER_DATABASE_URL for what only waypost_owner may do. Refuses: to start anything, and to show a secret.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

from infra.local.problem import ExitCode, LocalError

if TYPE_CHECKING:
    from infra.local.folder import DataFolder
    from storage.objects.admin import ObjectAdmin
    from storage.objects.store import ObjectStore
    from storage.postgres.database import Database
    from storage.secrets import EnvironmentKeys
    from storage.valkey.client import Valkey
    from waypost.errors import WaypostError
    from waypost.secret.ring import KeyRing

_T = TypeVar("_T")

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        readable=False,
        help="The data folder of a running platform (default: the settings WAYPOST_DATABASE_URL … where they are set, "
        "else $WAYPOST_DATA_DIR, else .waypost).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, also on a terminal.")]

# A login as it is named here → the variable that holds it in a cluster.
_LOGINS = {
    "waypost_owner": "WAYPOST_OWNER_DATABASE_URL",
    "waypost_worker": "WAYPOST_DATABASE_URL",
    "waypost_provisioner": "WAYPOST_PROVISIONER_DATABASE_URL",
    "waypost_auditor": "WAYPOST_AUDITOR_DATABASE_URL",
    "postgres": "WAYPOST_ADMIN_DATABASE_URL",
}


class Platform:
    """Where everything is, opened when first asked for; made by `open_platform`, which closes what was opened.

    `folder` is the data folder of a local platform, None in a cluster. Each property raises LocalError with the name of
    the variable that is missing.
    """

    def __init__(self, values: Mapping[str, str], folder: "DataFolder | None", stack: AsyncExitStack) -> None:
        self._values, self.folder, self._stack = values, folder, stack
        self._databases: dict[str, Database] = {}
        self._kek: KeyRing | None = None
        self._valkey: Valkey | None = None

    def url(self, role: str = "waypost_worker") -> str:
        """The database login of waypost_owner, waypost_worker, waypost_provisioner, waypost_auditor or postgres."""
        return self._value(_LOGINS[role])

    async def database(self, role: str = "waypost_worker") -> "Database":
        """A small pool as that role; does not connect before its first use."""
        if role not in self._databases:
            from storage.postgres.database import Database

            opened = await Database.open(self.url(role), name="waypost-admin", pool_size=4)
            self._stack.push_async_callback(opened.close)
            self._databases[role] = opened
        return self._databases[role]

    @property
    def kek_file(self) -> Path:
        """The file of the key-encryption key."""
        return Path(self._value("WAYPOST_KEK_FILE"))

    @property
    def kek(self) -> "KeyRing":
        """The key-encryption keys; `kek.current()` wraps."""
        if self._kek is None:
            from waypost.secret import SealError
            from waypost.secret.source import VARIABLE, open_ring

            try:
                text = self._values.get(VARIABLE) or None
                self._kek = open_ring(self.kek_file if text is None else None, text)
            except SealError as error:
                raise LocalError(f"The key-encryption key cannot be used: {error}.", ExitCode.CREDENTIALS) from error
        return self._kek

    @property
    def kek_text(self) -> bytes:
        """The keys as a key file holds them."""
        from waypost.secret.source import VARIABLE

        text = self._values.get(VARIABLE)
        return self.kek_file.read_bytes() if not text else "".join(f"{key}\n" for key in text.split(",")).encode()

    async def keys(self) -> "EnvironmentKeys":
        """The environments' data keys and secrets, read as waypost_worker."""
        from storage.secrets import EnvironmentKeys

        return EnvironmentKeys(await self.database(), self.kek)

    @property
    def s3(self) -> tuple[str, str, str]:
        """(endpoint, access key, secret key) of the object store's administrator."""
        names = ("WAYPOST_S3_ENDPOINT", "WAYPOST_S3_ACCESS_KEY", "WAYPOST_S3_SECRET_KEY")
        endpoint, access_key, secret_key = (self._value(name) for name in names)
        return endpoint, access_key, secret_key

    @property
    def object_admin(self) -> "ObjectAdmin":
        """Buckets, users and keys in S3."""
        from storage.objects.admin import ObjectAdmin

        return ObjectAdmin(*self.s3)

    async def objects(self) -> "ObjectStore":
        """The environments' buckets, with the environments' own keys."""
        from storage.objects.store import ObjectStore

        return ObjectStore(self._value("WAYPOST_S3_ENDPOINT"), await self.keys())

    @property
    def valkey_url(self) -> str:
        """Valkey as the worker's user."""
        return self._value("WAYPOST_VALKEY_URL")

    async def valkey(self) -> "Valkey":
        """A connection as the worker's user; a server that is away is no error."""
        if self._valkey is None:
            from storage.valkey.client import Valkey

            self._valkey = await Valkey.open(self.valkey_url)
            self._stack.push_async_callback(self._valkey.close)
        return self._valkey

    def has(self, variable: str) -> bool:
        """Whether a login or address is given."""
        return bool(self._values.get(variable))

    def _value(self, name: str) -> str:
        value = self._values.get(name)
        if not value:
            raise LocalError(f"{name} is not set, and this command needs it.", ExitCode.USAGE)
        return value


@asynccontextmanager
async def open_platform(data_dir: Path | None) -> AsyncIterator[Platform]:
    """The platform of the folder or of the settings. Raises LocalError (7) when nothing runs on the folder."""
    async with AsyncExitStack() as stack:
        if data_dir is None and os.environ.get("WAYPOST_DATABASE_URL"):
            yield Platform(os.environ, None, stack)
        else:
            from infra.local import option
            from infra.local.folder import DataFolder

            folder = DataFolder(option.data_dir(data_dir))
            yield Platform(of_folder(folder, _addresses(folder)), folder, stack)


def _addresses(folder: "DataFolder") -> dict[str, str]:
    state = folder.read_state()
    if state is None or not folder.is_running():
        raise LocalError(
            f"Nothing is running on {folder.root}: start it with `waypost up --data-dir {folder.root}`, "
            "or name another folder with --data-dir.",
            ExitCode.NOT_FOUND,
        )
    addresses = {entry["name"]: entry["address"] for entry in state["processes"]}
    values = {}
    if valkey := addresses.get("valkey"):
        values["WAYPOST_VALKEY_URL"] = f"valkey://worker:{folder.passwords()['valkey_worker']}@{valkey}/0"
    if objects := addresses.get("objects"):
        values["WAYPOST_S3_ENDPOINT"] = f"http://{objects}"
    return values


def of_folder(folder: "DataFolder", addresses: Mapping[str, str]) -> dict[str, str]:
    """A local platform's logins and keys under the names of the settings, beside the given addresses."""
    passwords = folder.passwords()
    logins = {
        variable: f"postgresql://{role}:{passwords[role]}@/waypost?host={folder.socket_dir}"
        for role, variable in _LOGINS.items()
    }
    return {
        **addresses,
        **logins,
        "WAYPOST_S3_ACCESS_KEY": passwords["s3_access_key"],
        "WAYPOST_S3_SECRET_KEY": passwords["s3_secret_key"],
        **folder.kek_variables(),
    }


def run(data_dir: Path | None, work: Callable[[Platform], Awaitable[_T]]) -> _T:
    """What a command's body is: open the platform, do the work, close; any refusal ends the command with one sentence
    on stderr and the exit code of the native contract §8."""

    async def opened() -> _T:
        async with open_platform(data_dir) as platform:
            return await work(platform)

    return guarded(lambda: asyncio.run(opened()))


def guarded(work: Callable[[], _T]) -> _T:
    """Run it; LocalError and WaypostError become a sentence and an exit code."""
    try:
        return work()
    except LocalError as problem:
        refuse(problem.sentence, problem.code)
    except Exception as error:
        from waypost.errors import WaypostError

        if not isinstance(error, WaypostError):
            raise
        refuse(error.detail, code_of(error))


def code_of(error: "WaypostError") -> ExitCode:
    """The exit code of an error."""
    from waypost.errors import Category

    codes: dict[Category, ExitCode] = {
        Category.UNAUTHENTICATED: ExitCode.CREDENTIALS,
        Category.FORBIDDEN: ExitCode.FORBIDDEN,
        Category.NOT_FOUND: ExitCode.NOT_FOUND,
        Category.CONFLICT: ExitCode.CONFLICT,
        Category.PRECONDITION: ExitCode.CONFLICT,
        Category.MALFORMED: ExitCode.USAGE,
        Category.INVALID: ExitCode.USAGE,
        Category.TOO_LARGE: ExitCode.USAGE,
        Category.UNAVAILABLE: ExitCode.SERVER,
        Category.TIMEOUT: ExitCode.SERVER,
        Category.LIMITED: ExitCode.SERVER,
        Category.INTERNAL: ExitCode.SERVER,
    }
    if error.code.startswith("schema_"):
        return ExitCode.VERSION
    return codes.get(error.category, ExitCode.OTHER)


def refuse(sentence: str, code: ExitCode) -> NoReturn:
    """One sentence on stderr, and the end."""
    typer.echo(f"waypost: {sentence}", err=True)
    raise typer.Exit(int(code))


def write_json(answer: Any) -> None:
    """One JSON value on stdout."""
    import json

    typer.echo(json.dumps(answer, default=str))
