"""`waypost login` and `waypost logout`: a credential is checked with the platform, then kept for a context.

The secret comes from a hidden prompt, from stdin or from a local platform's data folder; never from an argument, which
other processes of the machine could read.
"""

import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import typer

from waypost_sdk import configuration
from waypost_sdk.command import output
from waypost_sdk.command.failure import UsageError
from waypost_sdk.command.session import context_names

if TYPE_CHECKING:
    from waypost_sdk.http.client import Client
    from waypost_sdk.tenancy import WhoAmI

_Name = Annotated[
    str | None,
    typer.Option("--context", metavar="NAME", help="Which context; default: the current one, or one named after the "
                 "address.", autocompletion=context_names),
]  # fmt: skip
_HERE = frozenset({"127.0.0.1", "localhost", "::1"})
_LOCAL_URL = "http://127.0.0.1:8080"


class _Target(NamedTuple):
    """Where to sign in, and the name to keep it under."""

    url: str
    context: str
    environment: str | None


class _Proof(NamedTuple):
    """A credential to be checked. `expires_at` is what signing in said."""

    secret: str
    expires_at: datetime | None = None


def login(
    context: typer.Context,
    url: Annotated[str | None, typer.Option(help="The API's address; default: that of the context.")] = None,
    email: Annotated[str | None, typer.Option(help="Sign in as a person; the password is asked for, hidden.")] = None,
    key_stdin: Annotated[bool, typer.Option("--key-stdin", help="Read an API key from stdin.")] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="With --email: read the password from stdin.")
    ] = False,
    local: Annotated[bool, typer.Option("--local", help="Take the admin key of a `waypost up` here.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="With --local: its data folder (default: $WAYPOST_DATA_DIR, else .waypost).")
    ] = None,
    named: _Name = None,
    environment: Annotated[
        str | None, typer.Option("--environment", "-e", help="org/project/environment to work in, or its first parts.")
    ] = None,
    keyring: Annotated[
        bool, typer.Option("--keyring/--no-keyring", help="Keep it in the system's keyring, or in a 0600 file.")
    ] = True,
    as_json: output.Json = False,
) -> None:
    """Sign in, and keep the credential for a context, which becomes the current one.

    Without --email, --key-stdin and --local it asks.
    """
    if sum((email is not None, key_stdin, local)) > 1:
        raise UsageError("Give one of --email, --key-stdin and --local.")
    if password_stdin and email is None:
        raise UsageError("--password-stdin goes with --email.")
    options = context.find_root().obj
    folder = _data_folder(data_dir) if local else None
    target = _target(url or options["url"], named, environment or options["environment"], folder)
    retry_seconds = options["retry_seconds"]
    if folder is not None:
        proof = _Proof(_admin_key(folder))
    elif key_stdin:
        proof = _Proof(sys.stdin.readline().strip())
    else:
        proof = _ask(target.url, email, retry_seconds, password_stdin=password_stdin)
    _keep(target, proof, retry_seconds, keyring=keyring, as_json=as_json)


def logout(
    context: typer.Context,
    named: _Name = None,
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="End this person's sessions on every machine too.")
    ] = False,
) -> None:
    """Forget the credential of a context; a person's session ends on the platform too. The context itself stays."""
    from waypost_sdk import context as contexts
    from waypost_sdk import credential
    from waypost_sdk.errors import WaypostError

    if named is not None:
        os.environ[configuration.CONTEXT_VARIABLE] = named
    name, settings = configuration.current()
    if name is None:
        raise UsageError("There is no current context: name one with --context.")
    place, address = settings.get(configuration.PLACE), settings.get("url", "")
    if place is None:
        raise UsageError(f"`waypost login` has kept nothing for the context {name!r}.")
    try:
        ended = _end(address, credential.recall(place, name, address), everywhere=everywhere)
    except WaypostError as error:
        ended = f"; the platform was not told: {error.detail}"
    credential.forget(place, name, address)
    contexts.save(name, {configuration.PLACE: None, "expires_at": None}, make_current=False)
    output.note(f"waypost: the credential of the context {name!r} is forgotten{ended}")


def _keep(target: _Target, proof: _Proof, retry_seconds: float, *, keyring: bool, as_json: bool) -> None:
    """Have the platform look at it first: what it refuses is not kept."""
    from waypost_sdk import context as contexts
    from waypost_sdk import credential
    from waypost_sdk.errors import CredentialsError
    from waypost_sdk.http.client import Client

    with Client(target.url, proof.secret, target.environment, retry_seconds=retry_seconds) as client:
        try:
            me = client.whoami.get()
        except CredentialsError as error:  # no 401 of a credential that was kept: nothing to be told about that
            raise CredentialsError(error.code, error.detail, request_id=error.request_id) from error
        environment = target.environment or _home(client, me)
    where, told = credential.keep(target.context, target.url, proof.secret, keyring=keyring)
    ends = proof.expires_at or me.expires_at
    kept = {
        "url": target.url,
        "environment": environment,
        configuration.PLACE: where,
        "expires_at": ends.isoformat(timespec="seconds") if ends else None,
    }
    contexts.save(target.context, kept | {"key": None})
    output.note(f"waypost: the credential is kept {told}")
    if os.environ.get(configuration.VARIABLES["key"]):
        output.note("waypost: WAYPOST_KEY is set and wins over it; unset it to use the context")
    output.show_one({"context": target.context, **kept, "who": me.who}, as_json=as_json)


def _home(client: "Client", me: "WhoAmI") -> str | None:
    """Where its role is, and below that as far as there is only one: a project, an environment."""
    from itertools import islice

    parts = me.home.split("/") if me.home else []
    if len(parts) == 1:
        projects = list(islice(client.projects.list(parts[0]), 2))
        parts += [projects[0].slug] if len(projects) == 1 else []
    if len(parts) == 2:
        environments = list(islice(client.environments.list(org=parts[0], project=parts[1]), 2))
        parts += [environments[0].slug] if len(environments) == 1 else []
    return "/".join(parts) or None


def _target(url: str | None, named: str | None, environment: str | None, folder: Path | None) -> _Target:
    """The address given, else the folder's, else that of the context. Raises UsageError when there is none."""
    from waypost_sdk import context as contexts

    state = _state(folder) if folder is not None else {}
    wanted = named or os.environ.get(configuration.CONTEXT_VARIABLE)
    known = {name: contexts.settings(name) for name in contexts.names()}
    current = configuration.current_name(configuration.read(configuration.file_path()))
    like = known.get(wanted or current or "", {})
    fallback = _LOCAL_URL if folder is not None else os.environ.get(configuration.VARIABLES["url"]) or like.get("url")
    address = (url or state.get("api_url") or fallback or "").rstrip("/")
    if not address:
        raise UsageError("Where to? Give --url, for example --url https://waypost.example.com.")
    name = wanted or (current if like.get("url") == address and current else _name_for(address, known))
    kept = known.get(name, {}).get("environment") if known.get(name, {}).get("url") == address else None
    return _Target(address, contexts.check_name(name), environment or kept)


def _name_for(url: str, known: dict[str, dict[str, Any]]) -> str:
    """A name made of the address: `local` for this machine, else the host; with the port when that is another's."""
    parts = urlsplit(url)
    host = "local" if parts.hostname in _HERE else (parts.hostname or "default").replace(":", "-")
    taken = host in known and known[host].get("url") != url
    return f"{host}-{parts.port or parts.scheme}" if taken else host


def _ask(url: str, email: str | None, retry_seconds: float, *, password_stdin: bool) -> _Proof:
    """Ask the person for what is missing. Raises UsageError where there is nobody to ask."""
    from waypost_sdk.http.client import Client

    if not password_stdin and not sys.stdin.isatty():
        raise UsageError("Nobody can be asked here: give --key-stdin, or --email with --password-stdin, or --local.")
    if email is None:
        sys.stderr.write(f"Sign in to {url}\n")
        email = typer.prompt("E-mail (empty: an API key)", default="", show_default=False, err=True).strip()
        if not email:
            return _Proof(typer.prompt("API key", hide_input=True, err=True).strip())
    password = ask_password(password_stdin=password_stdin)
    with Client(url, retry_seconds=retry_seconds, anonymous=True) as client:
        session = client.sessions.create(email, password)
    return _Proof(session.access_token or "", session.expires_at)


def ask_password(*, password_stdin: bool) -> str:
    """A password: a line of stdin, else asked for without showing it. Raises UsageError where nobody can be asked."""
    if password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise UsageError("Nobody can be asked for the password here: give --password-stdin.")
    return str(typer.prompt("Password", hide_input=True, err=True))


def anonymous(context: typer.Context, url: str | None) -> "Client":
    """A client without a credential, of the address given or the configured one."""
    from waypost_sdk.http.client import Client

    options = context.find_root().obj
    return Client(url or options["url"], retry_seconds=options["retry_seconds"], anonymous=True)


def _end(url: str, secret: str, *, everywhere: bool) -> str:
    """End a person's session; a key stays valid, which is said."""
    from waypost_sdk.http.client import Client

    if not secret.startswith("wps_"):
        return "; the key itself stays valid: `waypost key delete` revokes it"
    with Client(url, secret, retry_seconds=0) as client:
        if everywhere:
            client.sessions.end_all()
        else:
            client.sessions.end()
    return ", and every session of this person has ended" if everywhere else ", and its session has ended"


def _data_folder(given: Path | None) -> Path:
    return (given or Path(os.environ.get("WAYPOST_DATA_DIR") or ".waypost")).expanduser()


def _admin_key(folder: Path) -> str:
    file = folder / "secrets" / "admin-key"
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}; name the data folder of `waypost up` with --data-dir."
        ) from error


def _state(folder: Path) -> dict[str, Any]:
    """What a running platform says of itself, empty when none does."""
    import msgspec

    try:
        found = msgspec.json.decode((folder / "state.json").read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return found if isinstance(found, dict) else {}
