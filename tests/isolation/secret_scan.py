"""Every secret of a test run, and where none of them may be: logs, audit, metrics, the record of what runs.

Collected from the answers and requests of all HTTP clients (fields that hold secrets, cookies), from the data folder,
and from the database, opened. Only kept in the run's temporary folder. Refuses: to show a secret; it says which kind.
"""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from infra.local.folder import DataFolder
from storage.postgres.database import Database
from storage.secrets import DATA_KEY, EnvironmentKeys, place
from waypost.errors import WaypostError
from waypost.secret import SealError

_FIELD = re.compile(r"(^|_)(key|secret|token|password|csrf|link|code)$|^(admin_key|client_secret|access_token)$")
_PUBLIC = re.compile(r"^(label|idempotency|sort)_key$|^code$")
_TENANTS = ("payload", "result", "labels", "error", "details")  # what tenants wrote, under names of their own
MIN_LENGTH = 16  # shorter values are words that may be anywhere
MIN_KINDS = 6  # of characters: a row of the same one is no secret
_METRICS = ("gateway", "relay", "worker")


class Collected:
    """Secrets by what they are, in memory and in a file of this process's own, so that all of a run's can be read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.known: dict[str, str] = {}

    def note(self, what: str, value: str) -> None:
        if len(value) >= MIN_LENGTH and len(set(value)) >= MIN_KINDS and value not in self.known:
            self.known[value] = what
            with self._file.open("a") as out:
                out.write(json.dumps([value, what]) + "\n")

    def look_at(self, exchange: httpx.Response) -> None:
        """What an answer shows once, what its request held, what it set as a cookie."""
        place = f"{exchange.request.method} {exchange.request.url.path}"
        for name, value in exchange.cookies.items():
            self.note(f"cookie {name} of {place}", value)
        for content in (self._content(exchange), self._content(exchange.request)):
            for name, value in _fields(_parsed(content)):
                self.note(f"{name} of {place}", value)

    @staticmethod
    def _content(message: httpx.Response | httpx.Request) -> bytes:
        try:
            return message.content
        except (httpx.ResponseNotRead, httpx.RequestNotRead):
            return b""


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content) if content[:1] in (b"{", b"[") else None
    except ValueError:
        return None


def _fields(value: Any) -> Iterator[tuple[str, str]]:
    """Every text under a name that says secret, at any depth; not what lies in a payload, which is the tenant's."""
    if isinstance(value, list):
        for item in value:
            yield from _fields(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, str) and _FIELD.search(name) and not _PUBLIC.search(name):
                yield name, item
            elif name not in _TENANTS:
                yield from _fields(item)


def watch_clients(collected: Collected, patch: Any) -> None:
    """From now on every answer that an httpx client of this process gets is looked at."""
    sync_send, async_send = httpx.Client.send, httpx.AsyncClient.send

    def send(self: httpx.Client, *arguments: Any, **options: Any) -> httpx.Response:
        answer = sync_send(self, *arguments, **options)
        collected.look_at(answer)
        return answer

    async def asend(self: httpx.AsyncClient, *arguments: Any, **options: Any) -> httpx.Response:
        answer = await async_send(self, *arguments, **options)
        collected.look_at(answer)
        return answer

    patch.setattr(httpx.Client, "send", send)
    patch.setattr(httpx.AsyncClient, "send", asend)


def secrets_of_run(base: Path) -> dict[str, str]:
    """What all processes of a run have noted in `base`."""
    lines = [json.loads(line) for file in base.glob("secrets.*.jsonl") for line in file.read_text().splitlines()]
    return dict(lines)


async def secrets_of_platform(platform: Any) -> dict[str, str]:
    """Passwords and keys of the data folder; data keys, passwords and S3 secrets of its environments."""
    folder = DataFolder(platform.data_dir)
    found = {value: f"passwords.json: {name}" for name, value in folder.passwords().items() if name != "s3_access_key"}
    found |= dict.fromkeys(folder.kek_file.read_text().split(), "the key-encryption key")
    found[platform.admin_key] = "the first administrator's key"
    database = await Database.open(platform.database_url("waypost_worker"), name="test")
    keys, ring = EnvironmentKeys(database, folder.key_ring()), folder.key_ring()
    async with database.unit() as connection:
        rows = await connection.fetch("select environment_id, name, sealed, kek_id from control.environment_secret")
    for row in rows:
        if row["kek_id"] is not None:
            if row["kek_id"] in ring.ids:
                key = ring.by_id(row["kek_id"]).unwrap(place(row["environment_id"], DATA_KEY), bytes(row["sealed"]))
                found |= dict.fromkeys((key.hex(), base64.b64encode(key).decode()), "a data key")
                found[base64.urlsafe_b64encode(key).rstrip(b"=").decode()] = "a data key"
        elif value := await _opened(keys, row["environment_id"], row["name"]):
            texts = [text for name, text in _fields(_parsed(value))] or [value.decode("ascii", "replace")]
            found |= dict.fromkeys(texts, f"{row['name']} of an environment")
    async with database.unit() as connection:
        signing = await connection.fetch("select kid, environment_id, sealed_private from control.signing_key")
    for row in signing:
        with suppress(SealError, WaypostError):  # tests keep nonsense here
            pem = (await keys.data_key(row["environment_id"])).open(
                f"signing:{row['kid']}", bytes(row["sealed_private"])
            )
            found[pem.decode().splitlines()[2]] = "a private signing key"
    await database.close()
    return {value: what for value, what in found.items() if len(value) >= MIN_LENGTH}


async def _opened(keys: EnvironmentKeys, environment_id: UUID, name: str) -> bytes | None:
    """None for what a test of its own sealed, or deleted meanwhile."""
    with suppress(SealError, WaypostError):
        return await keys.get_secret(environment_id, name)
    return None


async def places_of(platform: Any) -> list[tuple[str, str]]:
    """(where, text) of everything that others may read: logs, audit, metrics, what runs."""
    folder = DataFolder(platform.data_dir)
    found = []
    for path in sorted(folder.logs.iterdir()):
        with suppress(FileNotFoundError):  # renamed meanwhile: it is full
            found.append((f"logs/{path.name}", path.read_text("utf-8", "replace")))
    found.append(("state.json", folder.state_file.read_text()))
    admin = await asyncpg.connect(platform.database_url("postgres"))
    for table in ("audit", "platform_job", "environment_step"):
        text = await admin.fetchval(f"select string_agg(row_to_json(t)::text, e'\\n') from control.{table} t")
        found.append((f"control.{table}", text or ""))
    await admin.close()
    async with httpx.AsyncClient(timeout=10) as client:
        for entry in (folder.read_state() or {"processes": []})["processes"]:
            if entry["name"].startswith(_METRICS) and entry.get("internal_address"):
                address = entry["internal_address"]
                address = address if "://" in address else f"http://{address}"
                found.append((f"/metrics of {entry['name']}", (await client.get(f"{address}/metrics")).text))
    return found


def leaks(secrets: dict[str, str], places: list[tuple[str, str]]) -> list[str]:
    """Sentences: which kind of secret is where."""
    return [
        f"{what} is in {where}, line {text[: text.index(secret)].count(chr(10)) + 1}"
        for where, text in places
        for secret, what in secrets.items()
        if secret in text
    ]


async def check_platform(platform: Any, base: Path) -> None:
    """AssertionError naming every place where a secret of this run is."""
    secrets = secrets_of_run(base) | await secrets_of_platform(platform)
    found = leaks(secrets, await places_of(platform))
    assert not found, "secrets are shown:\n" + "\n".join(found)
