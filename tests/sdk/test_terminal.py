# ruff: noqa: S603 -- every process here is our own command
"""What a person sees: the command on a pseudo-terminal, tables instead of JSON, prompts that hide what is typed."""

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

WAYPOST = [sys.executable, "-P", "-m", "waypost_sdk.command.main"]
PASSWORD = "correct horse battery staple"
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a terminal of 200 columns; `type` answers what it asks, `end` gives its exit code."""

    def __init__(self, arguments: tuple[str, ...], variables: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
        self._process = subprocess.Popen(
            [*WAYPOST, *arguments], stdin=slave, stdout=slave, stderr=slave, env=variables, start_new_session=True
        )
        os.close(slave)
        self._seen = b""

    @property
    def text(self) -> str:
        """All that was shown, without colours and cursor movements."""
        return _ESCAPE.sub("", self._seen.decode(errors="replace")).replace("\r", "\n")

    def type(self, after: str, answer: str) -> None:
        """Type a line once the text is there."""
        self._read(lambda: after in self.text)
        os.write(self._master, answer.encode() + b"\n")

    def end(self) -> int:
        self._read(lambda: False)
        return self._process.wait(10)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _read(self, enough: Callable[[], bool]) -> None:
        """Read until it is enough or the other side has closed."""
        until = time.monotonic() + 20
        while not enough():
            ready, _, _ = select.select([self._master], [], [], until - time.monotonic())
            assert ready, f"nothing more was shown after: {self.text}"
            try:
                chunk = os.read(self._master, 65536)
            except OSError:  # Linux's way to say that nobody holds the other side
                return
            if not chunk:
                return
            self._seen += chunk


@pytest.fixture
def terminal(platform, tmp_path) -> Iterator[Callable[..., Terminal]]:
    """Start a command with the administrator's key on a terminal of its own."""
    started: list[Terminal] = []

    def start(*arguments: str, **variables: str) -> Terminal:
        # The terminal's own size counts, not that of whoever runs the tests.
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("WAYPOST_") and key not in ("COLUMNS", "LINES")
        }
        own = {
            "TERM": "xterm-256color",
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            "WAYPOST_CONFIG": str(tmp_path / "config.toml"),
            "WAYPOST_URL": platform.api_url,
            "WAYPOST_KEY": platform.admin_key,
            "WAYPOST_ENVIRONMENT": platform.environment,
        }
        started.append(Terminal(arguments, {**kept, **own, **variables}))
        return started[-1]

    yield start
    for one in started:
        one.close()


def rows(terminal: Terminal) -> list[list[str]]:
    """Lines as columns: what two blanks or more set apart."""
    return [re.split(r"\s{2,}", line.strip()) for line in terminal.text.splitlines() if line.strip()]


def test_whoami_explains_each_permission_in_a_table(terminal, platform):
    """Who speaks, its roles, which of them counts, and for each of the eight permissions whether and why."""
    shown = terminal("whoami")
    assert shown.end() == 0
    table = rows(shown)
    place = platform.environment
    assert f"In {place} counts: role org_admin in organization" in shown.text
    permissions = [row for row in table if row[0] in ("✔", "✘")]
    assert [row[1] for row in permissions] == [
        "ViewOrg", "ManageOrgMemberships", "ViewProject", "ManageProject", "OperateProject",
        "ViewEnvironment", "ManageEnvironment", "OperateEnvironment",
    ]  # fmt: skip
    assert all(row[2] == "that includes it" for row in permissions)


def test_env_create_shows_its_steps_and_asks_before_it_deletes(terminal):
    """Each step has a mark and a time; the steps are not printed twice; a wrong answer deletes nothing."""
    slug = f"t{uuid4().hex[:8]}"
    made = terminal("env", "create", "--name", slug, "--slug", slug, "--wait")
    assert made.end() == 0, made.text
    done = [row for row in rows(made) if row[0] == "✔" and row[-1].endswith(("ms", " s"))]
    assert {row[1] for row in done} >= {"role", "schema", "ready"}
    assert ["status", "ready"] in rows(made)
    assert '"started_at"' not in made.text
    asked = terminal("env", "delete", slug)
    asked.type(f"Type {slug} to go on: ", "no")
    assert asked.end() == 2
    assert "Nothing was done." in asked.text
    still = terminal("env", "get", slug)
    assert still.end() == 0
    assert ["status", "ready"] in rows(still)
    asked = terminal("env", "delete", slug, "--wait")
    asked.type(f"Type {slug} to go on: ", slug)
    assert asked.end() == 0
    assert ["✔", "gone"] in [row[:2] for row in rows(asked)]
    assert asked.text.rstrip().endswith(f"deleted {slug}")


def test_a_person_types_address_and_password_and_the_password_is_not_shown(terminal, tmp_path):
    """Without options `login` asks; what is kept is the session, never the password; `member list` is a table."""
    email = f"grace{uuid4().hex[:8]}@example.com"
    invited = terminal("invite", "create", email, "--role", "viewer")
    assert invited.end() == 0
    link = "".join(re.findall(r"(?m)^ token\s+(\S+)", invited.text))
    accepted = terminal("invite", "accept", link, "--name", "Grace")
    accepted.type("Password: ", PASSWORD)
    assert accepted.end() == 0, accepted.text
    nobody: dict[str, Any] = {"WAYPOST_KEY": ""}
    login = terminal("login", "--context", "grace", **nobody)
    login.type("E-mail (empty: an API key): ", email)
    login.type("Password: ", PASSWORD)
    assert login.end() == 0, login.text
    assert PASSWORD not in login.text + accepted.text
    assert PASSWORD not in "".join(file.read_text() for file in tmp_path.glob("*.toml"))
    listed = terminal("member", "list", **nobody)
    assert listed.end() == 0
    # Whoever else is a member may make the columns narrow.
    (row,) = [row for row in rows(listed) if any(cell.startswith(email[:12]) for cell in row)]
    assert {"Grace", "viewer"} <= set(row)


def test_lists_of_jobs_are_tables_and_one_job_is_its_fields(terminal):
    """A heading and a row each, without brackets for what is empty; `why` says it in words."""
    function = f"nobody.serves_{uuid4().hex[:8]}"
    made = terminal("jobs", "submit", function, "--payload", '{"n": 1}')
    assert made.end() == 0
    fields = dict(row[:2] for row in rows(made) if len(row) > 1)
    assert (fields["state"], fields["function"], fields["payload"]) == ("queued", function, "n=1")
    assert "tags" not in fields
    listed = terminal("jobs", "list", "--function", function)
    assert listed.end() == 0
    heading, row = rows(listed)
    assert heading == ["JOB", "FUNCTION", "STATE", "ATTEMPT", "TAGS", "AGE", "ERROR"]
    assert row[:4] == [fields["id"], function, "queued", "0"]
    assert "[]" not in listed.text
    none = terminal("jobs", "list", "--function", "nobody.asked")
    assert (none.end(), none.text.strip()) == (0, "none")
    assert terminal("jobs", "cancel", fields["id"]).end() == 0


def test_each_attempt_of_a_job_is_one_line(terminal, fake_http_in_thread):
    """How it ended, where, how long it took and what was wrong; no JSON."""
    begun, ended = "2026-11-21T20:00:00Z", "2026-11-21T20:00:01.250Z"
    attempts = [
        {"number": 2, "outcome": "completed", "node_name": "b", "started_at": begun, "finished_at": ended},
        {"number": 1, "outcome": "failed", "node_name": "a", "error": {"code": "boom", "message": "It broke."}},
    ]
    job = {"id": "j1", "state": "completed", "function": "echo"}
    fake_http_in_thread.answer = lambda _method, path, *_: (
        200, {}, json.dumps({"items": attempts, "next_cursor": None} if "/attempts" in path else job).encode()
    )  # fmt: skip
    shown = terminal("jobs", "wait", "j1", WAYPOST_URL=fake_http_in_thread.url)
    assert shown.end() == 0
    words = [" ".join(row) for row in rows(shown)]
    assert [line for line in words if " on " in line] == [
        "attempts 2 completed on b 1.250 s",
        "1 failed on a boom: It broke.",
    ]
    assert "{" not in shown.text
