"""A platform of its own in a temporary folder, started and stopped by the same command that everybody uses.

Used by the bench and by the fault runs. What it needs beyond the public API (the database, processes to kill) it takes
from the processes that it started itself.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString, Self
from urllib.parse import urlsplit

import httpx
import psycopg
from psycopg.rows import dict_row

from infra.local.folder import DataFolder

WAYPOST = str(Path(sys.executable).with_name("waypost"))


class StackError(RuntimeError):
    """The platform did not start, stop or answer as it should; the message holds what it said."""


@dataclass(frozen=True)
class Credential:
    """A node credential, with the environment it is for."""

    client_id: str
    client_secret: str
    token_url: str


@dataclass(frozen=True)
class Place:
    """An environment: where to submit, and with which key."""

    id: str
    path: str  # /v1/orgs/…/environments/…
    key: str


class Stack:
    """A running platform. `close()` (or leaving the `with`) takes it down and removes its folder."""

    def __init__(self, data_dir: Path, about: dict[str, Any], *, up_seconds: float) -> None:
        self.data_dir = data_dir
        self.about = about
        self.up_seconds = up_seconds
        self.api_url: str = about["api_url"]
        self.relay_address: str = about["relay_address"]
        self.http = httpx.Client(
            base_url=self.api_url,
            headers={"authorization": f"Bearer {about['admin_key']}"},
            timeout=30,
        )
        self._database: psycopg.Connection[dict[str, Any]] | None = None

    @classmethod
    def start(
        cls,
        data_dir: Path | None = None,
        *,
        gateways: int | None = None,
        relays: int | None = None,
        workers: int | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 180,
    ) -> Self:
        """`waypost up --detach --json` on free ports; counts that are not given are the command's defaults."""
        folder = data_dir or Path(tempfile.mkdtemp(prefix="waypost-bench-"))
        command = [
            WAYPOST,
            "up",
            "--detach",
            "--json",
            "--data-dir",
            str(folder),
            "--http-port",
            "0",
            "--relay-port",
            "0",
        ]
        for name, count in (("--gateways", gateways), ("--relays", relays), ("--workers", workers)):
            command += [name, str(count)] if count is not None else []
        began = time.monotonic()
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            env=os.environ | dict(environment or {}),
            check=False,
        )
        if done.returncode != 0:
            if data_dir is None:
                shutil.rmtree(folder, ignore_errors=True)
            raise StackError(f"waypost up ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
        return cls(folder, json.loads(done.stdout), up_seconds=time.monotonic() - began)

    def down(self) -> None:
        """Stop the platform and keep its folder."""
        self.http.close()
        if self._database is not None:
            self._database.close()
        command = [WAYPOST, "down", "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603
        if done.returncode != 0:
            raise StackError(f"waypost down ended with {done.returncode}: {done.stderr.strip()[-2000:]}")

    def close(self) -> None:
        """Stop the platform and remove its folder."""
        try:
            self.down()
        finally:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- processes ---------------------------------------------------------------------------------------------------

    def pids(self) -> dict[str, int]:
        """Process name → pid as of now, the supervisor's included; a restarted process has a new pid."""
        state = DataFolder(self.data_dir).read_state()
        if state is None:
            raise StackError(f"nothing runs on {self.data_dir}")
        entries = [state["supervisor"], *state["processes"]]
        return {entry["name"]: entry["pid"] for entry in entries if entry["pid"]}

    def groups(self) -> dict[str, list[int]]:
        """Pids by kind (`relay-1` and `relay-2` are one group), for the meter."""
        found: dict[str, list[int]] = {}
        for name, pid in self.pids().items():
            found.setdefault(name.rstrip("0123456789").rstrip("-"), []).append(pid)
        return found

    # --- tenancy through the public API ------------------------------------------------------------------------------

    @property
    def project_path(self) -> str:
        return f"/v1/orgs/{self.about['org']}/projects/{self.about['project']}"

    @property
    def host(self) -> str:
        return urlsplit(self.api_url).hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        return urlsplit(self.api_url).port or 80

    def call(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Any:
        """One API call with the admin key (or another); raises StackError for anything but success."""
        headers = {"idempotency-key": str(uuid.uuid4())} if method == "POST" else {}
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        answer = self.http.request(method, path, json=body, headers=headers)
        if answer.status_code >= 300:
            raise StackError(f"{method} {path} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json() if answer.content else None

    def default_place(self) -> Place:
        """The first environment, with an environment key of its own."""
        return self.place(f"{self.project_path}/environments/{self.about['environment']}")

    def place(self, path: str) -> Place:
        """The environment at that path, with a fresh operator key."""
        key = self.call("POST", f"{path}/keys", {"name": f"bench-{uuid.uuid4().hex[:8]}", "role": "operator"})
        return Place(self.call("GET", path)["id"], path, key["key"])

    def new_environments(self, count: int, timeout_seconds: float = 240) -> list[Place]:
        """Create that many environments and wait until all are ready."""
        base = f"{self.project_path}/environments"
        mark = uuid.uuid4().hex[:6]
        paths = []
        for number in range(count):
            slug = f"b{mark}-{number}"
            self.call("POST", base, {"name": slug, "slug": slug, "posture": "dev"})
            paths.append(f"{base}/{slug}")
        end = time.monotonic() + timeout_seconds
        for path in paths:
            while (about := self.call("GET", path))["status"] != "ready":
                if about["status"] == "failed" or time.monotonic() > end:
                    raise StackError(f"{path} is {about['status']}: {about.get('status_reason')}")
                time.sleep(0.1)
        return [self.place(path) for path in paths]

    def credential(self, place: Place) -> Credential:
        """A node credential without bounds."""
        made = self.call("POST", f"{place.path}/node-credentials", {"name": f"bench-{uuid.uuid4().hex[:8]}"})
        return Credential(made["client_id"], made["client_secret"], made["token_url"])

    def token(self, credential: Credential) -> str:
        """A node token, fetched as a node does."""
        answer = self.http.post(
            credential.token_url,
            data={"grant_type": "client_credentials"},
            auth=(credential.client_id, credential.client_secret),
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def node_environment(self, credential: Credential, relay: str | None = None) -> dict[str, str]:
        """The variables that the SDK's `Node` reads."""
        return {
            "WAYPOST_URL": self.api_url,
            "WAYPOST_RELAY": relay or self.relay_address,
            "WAYPOST_CLIENT_ID": credential.client_id,
            "WAYPOST_CLIENT_SECRET": credential.client_secret,
        }

    def active_nodes(self, place: Place) -> int:
        """Connected nodes of the environment, up to one page."""
        items = self.call("GET", f"{place.path}/nodes?limit=200", key=place.key)["items"]
        return sum(1 for node in items if node["state"] == "active")

    # --- the database, to check what the API says --------------------------------------------------------------------

    def database_url(self, role: str = "waypost_worker") -> str:
        """The login of a role; the worker's may read the whole ledger."""
        folder = DataFolder(self.data_dir)
        return f"postgresql://{role}:{folder.passwords()[role]}@/waypost?host={folder.socket_dir}"

    def query(self, sql: LiteralString, *arguments: object) -> list[dict[str, Any]]:
        """Rows of one statement (`$1` …), as the worker's role; StackError while the database is away.

        One connection is kept: a new one for every look would be load of its own.
        """
        try:
            if self._database is None or self._database.closed:
                url = self.database_url()
                self._database = psycopg.connect(url, autocommit=True, row_factory=dict_row, connect_timeout=10)
            with psycopg.RawCursor(self._database) as cursor:
                return cursor.execute(sql, arguments).fetchall()
        except psycopg.OperationalError as error:
            raise StackError(f"the database is away: {error}") from error
