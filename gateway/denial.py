"""Denials for the audit: who was refused, collapsed per actor, action and minute, written in the background.

Kept are every 403, every 401 with a credential that has the form of one, and every 404 that hides another tenant's
things. The first of a minute is written within a second, what follows it in that minute as one further entry with a
count. A flood costs neither memory nor the database: what is told apart within a minute is bounded, beyond that denials
are still counted, for nobody in particular. Refuses to keep a credential: a key's public id is all that is read of one.
"""

import asyncio
import base64
import binascii
import contextlib
import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from gateway.endpoint import Endpoint
from gateway.exchange import Exchange
from storage.postgres.audit.denial import insert_denials
from storage.postgres.database import Database
from waypost.access.key import CLIENT_PREFIX, SESSION_PREFIX, check_key, check_text
from waypost.audit.model import Denial
from waypost.clock import monotonic
from waypost.errors import WaypostError
from waypost.task import stop
from waypost.telemetry.log import get_logger

FLUSH_SECONDS = 1.0
WINDOW_SECONDS = 60.0
MAX_KNOWN = 1_000  # callers × actions told apart within a minute
MAX_UNKNOWN = 200  # credentials that are not valid × actions
MAX_PATH_CHARACTERS = 200

_CREDENTIAL = re.compile(r"\bwp[a-z]*_\w+")
_CLIENT = re.compile(CLIENT_PREFIX + r"[0-9A-Za-z]{12}")
_COOKIE = re.compile(r"\bwaypost_session=([^;\s]+)")
_NOUNS = {"key": "api_key", "org": "organization"}
_VERBS = {"GET": "read", "PATCH": "update", "PUT": "replace", "DELETE": "delete", "POST": "change"}

_log = get_logger("gateway.denial")


class _Key(msgspec.Struct, frozen=True):
    actor: str
    action: str


class Denials:
    """What was refused in this process and is not written yet. `note` is called for
    every error and costs microseconds."""

    def __init__(self, database: Database, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self._database, self._window_seconds = database, window_seconds
        self._open: dict[_Key, Denial] = {}
        self._seen: dict[_Key, bool] = {}  # of this window: whether the caller was known
        self._written: set[_Key] = set()  # of this window
        self._room = {True: MAX_KNOWN, False: MAX_UNKNOWN}
        self._window = 0
        self._actions: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None

    def learn(self, endpoints: Iterable[Endpoint]) -> None:
        """What refused requests of each endpoint are called."""
        self._actions = {declared.name: action_of(declared.method, declared.path) for declared in endpoints}

    def start(self) -> None:
        """Write from now on."""
        self._task = asyncio.create_task(self._run(), name="denials")

    async def close(self) -> None:
        """Stop, after writing what is pending; a database that is away loses it."""
        await stop(self._task)
        await self._write(list(self._open))

    def refused(self, exchange: Exchange, error: Exception) -> None:
        """Note a request that ended in `error`, if that is a denial of somebody."""
        if not isinstance(error, WaypostError) or not error.is_denial:
            return
        principal = exchange.principal
        if principal is not None:
            actor, kind, public_id = principal.actor, principal.kind.value, None
            organizations = principal.organizations
            organization_id = next(iter(organizations)) if len(organizations) == 1 else None
        else:
            kind, public_id = recognised(exchange)
            if public_id is None:
                return
            actor, kind, organization_id = f"{kind}:{public_id}", f"unknown_{kind}", None
        path = shown_path(exchange.path)
        details = {"code": error.code, "method": exchange.method, "path": path}
        if isinstance(permission := error.extra.get("permission"), str):
            details["permission"] = str(permission)
        scope = exchange.scope
        self.note(
            Denial(
                actor=actor,
                actor_kind=kind,
                action=self._actions.get(exchange.name, "request.send"),
                target=f"path:{path}",
                organization_id=scope.organization_id if scope else organization_id,
                project_id=scope.project_id if scope else None,
                environment_id=scope.environment_id if scope else None,
                request_id=exchange.request_id,
                source_address=exchange.address or None,
                details=details,
                public_id=public_id,
            ),
            known=principal is not None,
        )

    def note(self, denial: Denial, *, known: bool) -> None:
        """Count it. `known`: whether the actor is somebody, rather than whatever a stranger typed."""
        window = int(monotonic() / self._window_seconds)
        if window != self._window:
            self._window = window
            self._seen.clear()
            self._written.clear()
            self._room = {True: MAX_KNOWN, False: MAX_UNKNOWN}
        key = _Key(denial.actor, denial.action)
        if key not in self._seen:
            if self._room[known] == 0:
                denial = beyond(denial)
                key = _Key(denial.actor, denial.action)
            else:
                self._room[known] -= 1
            self._seen[key] = known
        kept = self._open.get(key)
        self._open[key] = denial if kept is None else msgspec.structs.replace(kept, count=kept.count + denial.count)

    async def flush(self) -> None:
        """Write what is due: what was first seen in this minute, and what followed in minutes that are over."""
        window = int(monotonic() / self._window_seconds)
        over = window != self._window
        due = [key for key in self._open if over or key not in self._written]
        if over:
            self._written.clear()
        else:
            self._written.update(due)
        await self._write(due)

    async def _write(self, due: list[_Key]) -> None:
        taken = {key: self._open.pop(key) for key in due}
        if not taken:
            return
        try:
            async with self._database.unit() as connection:
                await insert_denials(connection, list(taken.values()))
        except WaypostError as error:  # to be written later; what came meanwhile is counted with it
            for key, denial in taken.items():
                later = self._open.get(key)
                self._open[key] = denial if later is None else msgspec.structs.replace(
                    denial, count=denial.count + later.count
                )  # fmt: skip
                self._written.discard(key)
            _log.warning("denial.not_written", error=error.code, entries=len(taken))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Exception:  # noqa: BLE001 - one that cannot be written must not end it for all the others
                _log.exception("denial.failed")


def shown_path(path: str) -> str:
    """A path without credentials and controls, and not too long."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in path[: 2 * MAX_PATH_CHARACTERS])
    return _CREDENTIAL.sub("wp…", plain)[:MAX_PATH_CHARACTERS]


def beyond(denial: Denial) -> Denial:
    """A denial that is counted without being told apart from others of its action."""
    return Denial(actor="many", actor_kind="many", action=denial.action, target="path:", count=denial.count)


def recognised(exchange: Exchange) -> tuple[str, str | None]:
    """What kind of credential a request brings, and its public id; None when it brings nothing of the form of one."""
    scheme, _, text = (exchange.header(b"authorization") or "").partition(" ")
    if scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            client_id = base64.b64decode(text.strip(), validate=True).decode().partition(":")[0]
            return "node_credential", client_id if _CLIENT.fullmatch(client_id) else None
        return "node_credential", None
    if scheme.lower() == "bearer" and text.startswith(SESSION_PREFIX):
        return "session", check_text(text, SESSION_PREFIX)
    if scheme:
        return "key", check_key(text)
    found = _COOKIE.search(exchange.header(b"cookie") or "")
    return "session", check_text(found[1], SESSION_PREFIX) if found else None


@lru_cache(maxsize=1024)
def action_of(method: str, path: str) -> str:
    """What a request to an endpoint is, as `noun.verb`: `api_key.rotate` of `POST …/keys/{key}/rotate`."""
    words = [word for word in path.split("/") if word not in ("", "v1", "api")]
    last, before = words[-1], [word for word in words if not word.startswith("{")]
    if last.startswith("{"):
        return f"{_noun(before[-1])}.{_VERBS[method]}"
    if method == "POST" and not last.endswith("s") and len(before) > 1:
        return f"{_noun(before[-2])}.{_word(last)}"
    if method == "POST":
        return f"{_noun(last)}.create"
    return f"{_noun(last)}.{'list' if method == 'GET' else _VERBS[method]}"


def _word(text: str) -> str:
    return text.replace("-", "_").replace(".", "_")


def _noun(plural: str) -> str:
    word = _word(plural)
    word = word[:-3] + "y" if word.endswith("ies") else word.removesuffix("s")
    return _NOUNS.get(word, word)
