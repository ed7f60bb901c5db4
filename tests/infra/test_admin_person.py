"""`waypost admin create-user` and its relatives: how the first administrator comes to be, and who may not sign in."""

import json
import os
import pty
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from gateway.session import CACHE_SECONDS, COOKIE
from tests.own_postgres import OwnPostgres

WAYPOST = str(Path(sys.executable).parent / "waypost")
PASSWORD = "correct horse battery"
READ_SECONDS = 0.5
SESSIONS = 12  # read in turn, one every READ_SECONDS: each only when the gateway's cache keeps it no longer


def admin(platform: Any, *arguments: str, typed: str = "", code: int = 0) -> Any:
    """What the command printed, as JSON; or its stderr where it is to fail."""
    command = [WAYPOST, "admin", *arguments, "--data-dir", str(platform.data_dir)]
    ran = subprocess.run(command, input=typed, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 - ours
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert PASSWORD not in ran.stdout + ran.stderr
    return json.loads(ran.stdout) if code == 0 else ran.stderr


def new_email() -> str:
    return f"a{secrets.token_hex(8)}@example.com"


def sign_in(page: httpx.Client, email: str, password: str = PASSWORD) -> httpx.Response:
    return page.post("/v1/sessions", json={"email": email, "password": password})


@pytest.fixture
def page(platform: Any) -> Any:
    """A browser, from an address of its own: failed sign-ins are counted by address."""
    address = f"127.{secrets.randbelow(250) + 2}.{secrets.randbelow(250) + 2}.9"
    transport = httpx.HTTPTransport(local_address=address)
    with httpx.Client(base_url=platform.api_url, transport=transport, timeout=30) as client:
        yield client


def test_the_first_administrator_is_made_with_a_password_from_stdin(platform: Any, page: httpx.Client) -> None:
    """They sign in, and administer the only organization that there is."""
    email = new_email()
    made = admin(
        platform, "create-user", "--email", email.upper(), "--name", "Ada", "--org", "default", "--password-stdin",
        typed=f"{PASSWORD}\n",
    )  # fmt: skip
    assert (made["email"], made["organization"], made["role"]) == (email.upper(), "default", "org_admin")
    signed_in = sign_in(page, email)
    assert signed_in.status_code == 201
    assert signed_in.json()["person"]["name"] == "Ada"
    invited = page.post(
        "/v1/orgs/default/invitations",
        json={"email": new_email(), "role": "viewer"},
        headers={"X-CSRF-Token": signed_in.json()["csrf_token"]},
    )
    assert invited.status_code == 201


def test_without_terminal_and_password_a_one_time_link_is_printed(platform: Any, page: httpx.Client) -> None:
    """Nobody is made until somebody opens it."""
    email = new_email()
    made = admin(platform, "create-user", "--email", email, "--org", "default", "--role", "operator")
    assert made["link"] == f"{platform.api_url}/invitations/accept#token={made['token']}"
    assert sign_in(page, email).status_code == 401
    accepted = page.post("/v1/invitations/accept", json={"token": made["token"], "password": PASSWORD})
    assert (accepted.status_code, accepted.json()["role"]) == (201, "operator")
    assert sign_in(page, email).status_code == 201


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(platform: Any, page: httpx.Client) -> None:
    """A real terminal: what is typed does not appear on it."""
    email = new_email()
    command = [
        WAYPOST,
        "admin",
        "create-user",
        "--email",
        email,
        "--org",
        "default",
        "--data-dir",
        str(platform.data_dir),
    ]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(WAYPOST, command)  # noqa: S606 - our own command
    seen = b""
    for prompt in (b"Password: ", b"Repeat for confirmation: "):
        seen += _read_until(terminal, prompt)
        os.write(terminal, PASSWORD.encode() + b"\n")
    seen += _read_until(terminal, b"can sign in.")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(terminal)
    assert PASSWORD.encode() not in seen
    assert sign_in(page, email).status_code == 201


def _read_until(terminal: int, text: bytes) -> bytes:
    seen, until = b"", time.monotonic() + 30
    while text not in seen:
        assert time.monotonic() < until, seen
        seen += os.read(terminal, 1024)
    return seen


@pytest.mark.parametrize(
    ("arguments", "typed", "code", "says"),
    [
        (["--email", "nobody", "--password-stdin"], PASSWORD, 2, "e-mail"),
        (["--email", "аda@example.com", "--password-stdin"], PASSWORD, 2, "one script"),
        (["--email", "a@example.com", "--password-stdin"], "short", 2, "12 characters"),
        (["--email", "a@example.com", "--password-stdin"], "", 2, "12 characters"),
        (["--email", "a@example.com", "--role", "owner"], "", 2, "role"),
        (["--email", "a@example.com", "--org", "no-such"], "", 7, "no-such"),
        (["--email", "a@example.com", "--invite", "--password-stdin"], "", 2, "choose one"),
    ],
)
def test_a_bad_person_is_refused_in_one_sentence(
    platform: Any, arguments: list[str], typed: str, code: int, says: str
) -> None:
    """With the exit codes of all commands."""
    with_org = arguments if "--org" in arguments else [*arguments, "--org", "default"]
    said = admin(platform, "create-user", *with_org, typed=typed, code=code)
    assert says in said
    assert "Traceback" not in said


def test_an_address_is_taken_once(platform: Any) -> None:
    """409's exit code; also in another spelling."""
    email = new_email()
    arguments = ["create-user", "--org", "default", "--password-stdin", "--email"]
    admin(platform, *arguments, email, typed=PASSWORD)
    said = admin(platform, *arguments, email.upper(), typed=PASSWORD, code=8)
    assert "already" in said


def _session(page: httpx.Client, email: str) -> str:
    """The cookie's value of a new session; the page forgets it."""
    assert sign_in(page, email).status_code == 201
    token = page.cookies[COOKIE]
    page.cookies.clear()
    return token


def _lives(page: httpx.Client, session: str) -> bool:
    return page.get("/v1/people/me", headers={"Cookie": f"{COOKIE}={session}"}).status_code == 200


def _last_read(page: httpx.Client, sessions: Sequence[str], disabling: "Future[Any]") -> tuple[float, str]:
    """Ask for one session after the other until they are over: which one the gateway read last, and when it began to.

    By the cache alone that one would live for CACHE_SECONDS from then on, however long the command takes.
    """
    read_at, last = time.monotonic(), ""
    for session in cycle(sessions):
        began = time.monotonic()
        if not _lives(page, session):
            break
        read_at, last = began, session
        if disabling.done():
            disabling.result()  # raises what went wrong
        time.sleep(READ_SECONDS)
    return read_at, last


def test_somebody_is_disabled_and_enabled_again(platform: Any, page: httpx.Client) -> None:
    """Their sessions end at once, they cannot sign in, and afterwards they can; the audit says who did it."""
    email = new_email()
    made = admin(platform, "create-user", "--org", "default", "--password-stdin", "--email", email, typed=PASSWORD)
    sessions = [_session(page, email) for _ in range(SESSIONS)]
    with ThreadPoolExecutor() as beside:
        disabling = beside.submit(admin, platform, "disable-user", "--email", email)
        read_at, session = _last_read(page, sessions, disabling)
        _until(lambda: not _lives(page, session), seconds=read_at + CACHE_SECONDS - 0.5 - time.monotonic())
        assert disabling.result()["sessions_ended"] == str(SESSIONS)
    assert sign_in(page, email).status_code == 401
    admin(platform, "enable-user", "--email", email)
    assert sign_in(page, email).status_code == 201
    headers = {"Authorization": f"Bearer {platform.admin_key}"}
    url, params = f"{platform.api_url}/v1/orgs/default/audit", {"target": f"person:{made['id']}"}
    entries = httpx.get(url, params=params, headers=headers, timeout=30).json()["items"]
    actions = [(entry["action"], entry["actor"]) for entry in entries]
    assert ("person.disable", "system:admin") in actions
    assert ("person.enable", "system:admin") in actions
    assert ("person.create", "system:admin") in actions


def test_a_lost_password_is_replaced(platform: Any, page: httpx.Client) -> None:
    """All sessions end; the old one opens nothing."""
    email, new = new_email(), "another horse battery"
    admin(platform, "create-user", "--org", "default", "--password-stdin", "--email", email, typed=PASSWORD)
    sign_in(page, email)
    changed = admin(platform, "set-password", "--email", email, "--password-stdin", typed=new)
    assert changed["sessions_ended"] == "1"
    assert sign_in(page, email).status_code == 401
    assert sign_in(page, email, new).status_code == 201
    assert "12 characters" in admin(platform, "set-password", "--email", email, "--password-stdin", typed="x", code=2)
    assert "nobody" in admin(platform, "set-password", "--email", new_email(), "--password-stdin", typed=new, code=7)


def _until(holds: Any, *, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture
async def empty_database() -> AsyncIterator[OwnPostgres]:
    server = OwnPostgres()
    await server.create()
    yield server
    await server.stop()


async def test_on_an_empty_platform_the_organization_is_founded_too(empty_database: OwnPostgres) -> None:
    """A cluster, by its settings: nobody could make the first organization otherwise."""
    settings = {
        "WAYPOST_DATABASE_URL": empty_database.url("waypost_worker"),
        "WAYPOST_OWNER_DATABASE_URL": empty_database.url("waypost_owner"),
        "WAYPOST_PUBLIC_URL": "https://waypost.example",
    }
    command = [WAYPOST, "admin", "create-user", "--email", "ada@example.com", "--org", "harbour", "--password-stdin"]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            [*command[:-1], *more], input=PASSWORD, capture_output=True, text=True, check=False, timeout=60,
            env=os.environ | settings,
        )  # fmt: skip

    ran = run("--password-stdin")
    assert ran.returncode == 0, ran.stderr
    connection = await asyncpg.connect(empty_database.url("waypost_owner"))
    row = await connection.fetchrow(
        """select o.slug, m.role, p.email, p.password_hash from control.membership m
        join control.person p on p.id = m.person_id join control.organization o on o.id = m.organization_id"""
    )
    await connection.close()
    assert (row["slug"], row["role"], row["email"]) == ("harbour", "org_admin", "ada@example.com")
    assert row["password_hash"].startswith("$argon2id$")
    link = json.loads(run("--email", "grace@example.com", "--invite").stdout)["link"]
    assert link.startswith("https://waypost.example/invitations/accept#token=wpi_")
