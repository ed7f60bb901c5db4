# ruff: noqa: S603 -- every process here is our own command
"""`waypost jobs replay`, `replays`, `diff` and `waypost env retention`, on the whole platform."""

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from waypost_sdk import Client

WAYPOST = [sys.executable, "-P", "-m", "waypost_sdk.command.main"]


@pytest.fixture
def variables(platform, environment) -> dict[str, str]:
    return os.environ | {
        "WAYPOST_CONFIG": "/nonexistent",
        "WAYPOST_URL": platform.api_url,
        "WAYPOST_KEY": platform.admin_key,
        "WAYPOST_ENVIRONMENT": environment.place,
        "COLUMNS": "160",
    }


def run(variables: dict[str, str], *arguments: str) -> Any:
    return subprocess.run([*WAYPOST, *arguments], capture_output=True, timeout=60, env=variables, check=False)


def on_terminal(variables: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit code, and what a person sees."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*WAYPOST, *arguments], stdout=theirs, stderr=theirs, stdin=theirs, env=variables)
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65_536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    return process.wait(60), seen.decode()


def test_many_jobs_are_replayed_and_two_runs_compared(platform, environment, variables):
    """Counted first, then run with a bar; exit code 0 when nothing was skipped; a diff is 0 for the same and 1 for what
    differs, with exact numbers."""
    with Client(platform.api_url, platform.admin_key, environment.place) as client:
        payload = {"exact": 9_007_199_254_740_993}
        jobs = [client.jobs.submit("a.b", payload, labels={"order": "A"}).id for _ in range(3)]
        for job in jobs:
            client.jobs.cancel(job)
    filters = ("--state", "canceled", "--label", "order=A", "--created-after", "1h")
    counted = run(variables, "jobs", "replay", *filters, "--dry-run")
    assert (counted.returncode, json.loads(counted.stdout)["matched"]) == (0, 3), counted.stderr
    override = ("--overrides", '{"payload": {"exact": 9007199254740992}, "labels": {"order": "B"}}')
    code, seen = on_terminal(variables, "jobs", "replay", *filters, *override, "--wait")
    assert code == 0, seen
    assert "replaying" in seen
    assert "3/3" in seen
    assert "completed" in seen
    listed = json.loads(run(variables, "jobs", "replays", "list").stdout)
    assert [(one["matched"], one["replayed"], one["state"]) for one in listed] == [(3, 3, "completed")]
    assert json.loads(run(variables, "jobs", "replays", "get", listed[0]["id"]).stdout)["id"] == listed[0]["id"]
    late = run(variables, "jobs", "replays", "cancel", listed[0]["id"])
    assert (late.returncode, b"replay_already_ended" in late.stderr) == (8, True)
    # Compared: a job with itself, with its replay, and a replay with what it replays.
    assert run(variables, "jobs", "diff", jobs[0], jobs[1]).returncode == 0
    again = json.loads(run(variables, "jobs", "list", "--label", "order=B").stdout)
    [replayed] = [one["id"] for one in again if one["replay_of"] == jobs[0]]
    differs = run(variables, "jobs", "diff", jobs[0], replayed)
    assert differs.returncode == 1
    found = json.loads(differs.stdout)
    assert b"9007199254740993" in differs.stdout
    paths = [(one["path"], one["kind"]) for one in found["differences"]]
    assert paths == [("/labels/order", "changed"), ("/payload/exact", "changed"), ("/state", "changed")]
    code, seen = on_terminal(variables, "jobs", "diff", replayed)
    assert code == 1
    assert all(word in seen for word in ("/payload/exact", "9007199254740993", "9007199254740992", "queue_seconds"))
    assert run(variables, "jobs", "diff", jobs[0], "01a1ff1f-e780-7477-8f52-4344687d9e8e").returncode == 7
    assert run(variables, "jobs", "diff", jobs[0]).returncode == 2, "it is no replay"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("01a1ff1f-e780-7477-8f52-4344687d9e8e", "--state", "failed"),
        ("--state", "failed", "--overrides", "[1]"),
        ("--state", "failed", "--created-after", "soon"),
    ],
)
def test_a_replay_that_cannot_be_meant_is_wrong_use(arguments):
    """Before anything is sent."""
    place = {"WAYPOST_CONFIG": "/nonexistent", "WAYPOST_URL": "http://127.0.0.1:9", "WAYPOST_KEY": "k"}
    done = run(os.environ | place | {"WAYPOST_ENVIRONMENT": "a/b/c"}, "jobs", "replay", *arguments)
    assert done.returncode == 2, done.stderr


def test_days_are_shown_changed_and_tried_out(variables):
    """--dry-run says what would go, also with other days, and changes nothing."""
    tried = run(variables, "env", "retention", "--set", "log_days=2", "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert json.loads(tried.stdout)["retention"]["log_days"] == 2
    assert json.loads(tried.stdout)["going"]["log_days"] == {"count": 0, "more": False, "oldest": None}
    shown = json.loads(run(variables, "env", "retention").stdout)
    assert (shown["retention"]["log_days"], shown["sources"]["log_days"]) == (30, "operator")
    changed = json.loads(run(variables, "env", "retention", "--set", "log_days=2").stdout)
    assert (changed["retention"]["log_days"], changed["sources"]["log_days"]) == (2, "environment")
    code, seen = on_terminal(variables, "env", "retention", "--dry-run")
    assert (code, "WOULD GO" in seen, "log_days" in seen) == (0, True, True)
    back = json.loads(run(variables, "env", "retention", "--set", "log_days=default").stdout)
    assert back["retention"]["log_days"] == 30
    assert run(variables, "env", "retention", "--set", "log_days=31").returncode == 2
    assert run(variables, "env", "retention", "--set", "log_days=few").returncode == 2
