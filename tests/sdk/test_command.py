# ruff: noqa: S603 -- every process here is our own command
"""The `waypost` command as a process of its own: output, exit codes, configuration, plug-ins, speed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from waypost_sdk import errors
from waypost_sdk.command import failure
from waypost_sdk.command.main import needs_plugins

WAYPOST = [sys.executable, "-P", "-m", "waypost_sdk.command.main"]
JOB = {"id": "j1", "state": "completed", "function": "echo", "result": {"n": 1}}


def run(*arguments: str, url: str = "", stdin: bytes = b"", **variables: str) -> Any:
    """Run the command without a terminal and without anybody's configuration."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WAYPOST_")}
    place = {"WAYPOST_CONFIG": "/nonexistent", "WAYPOST_ENVIRONMENT": "acme/shop/dev", "WAYPOST_KEY": "wp_key"}
    environment = {**kept, **place, "WAYPOST_URL": url, **variables}
    return subprocess.run(
        [*WAYPOST, *arguments], input=stdin, capture_output=True, timeout=30, env=environment, check=False
    )


def answer_with(server: Any, status: int, document: Any) -> None:
    server.answer = lambda *_: (status, {}, msgspec.json.encode(document))


def test_submit_prints_the_job_as_one_json_object(fake_http_in_thread):
    """Piped stdout is JSON; the payload goes out byte for byte."""
    answer_with(fake_http_in_thread, 202, {**JOB, "state": "queued"})
    done = run(
        "jobs", "submit", "echo", "--payload", '{"price": 12.50}', "--tag", "gpu", "--label", "order=A=1",
        "--delay", "2", "--idempotency-key", "a-17", url=fake_http_in_thread.url,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["id"] == "j1"
    ((_, _, headers, body),) = fake_http_in_thread.requests
    assert headers["idempotency-key"] == "a-17"
    assert b'{"price": 12.50}' in body
    assert json.loads(body)["labels"] == {"order": "A=1"}
    assert json.loads(body)["delay_seconds"] == 2


@pytest.mark.parametrize("arguments", [("--payload", "-"), ("--payload", "@{file}"), ("--payload-file", "{file}")])
def test_payloads_come_from_stdin_and_files(arguments, fake_http_in_thread, tmp_path):
    """`-` is stdin, `@file` and --payload-file a file."""
    answer_with(fake_http_in_thread, 202, JOB)
    file = tmp_path / "payload.json"
    file.write_text('{"from": "file"}')
    given = [argument.format(file=file) for argument in arguments]
    done = run("jobs", "submit", "echo", *given, url=fake_http_in_thread.url, stdin=b'{"from": "file"}')
    assert done.returncode == 0, done.stderr
    assert json.loads(fake_http_in_thread.requests[0][3])["payload"] == {"from": "file"}


ADVICE = {
    401: [b"  The key comes from the variable WAYPOST_KEY."],
    403: [b"  What this credential may do, and why: waypost whoami"],
    412: [b"  Read it again; --if-match takes the `etag` of its JSON."],
}


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, 3), (403, 4), (404, 7), (405, 10), (409, 8), (412, 8), (422, 2), (500, 9), (503, 9), (501, 10)],
)
def test_refusals_become_exit_codes_and_one_sentence(status, code, fake_http_in_thread):
    """stdout stays empty; stderr has the platform's words, its code and the request's id."""
    answer_with(fake_http_in_thread, status, {"code": "some_code", "detail": "Why not.", "request_id": "r-1"})
    done = run("--retry-seconds", "0", "jobs", "get", "j1", url=fake_http_in_thread.url)
    assert (done.returncode, done.stdout) == (code, b"")
    said, *advice = done.stderr.splitlines()
    assert said == b"waypost: Why not. [some_code] (request r-1)"
    assert advice == ADVICE.get(status, [])


def test_wrong_use_is_exit_code_2_before_anything_is_sent(fake_http_in_thread):
    """Bad JSON, bad labels, unknown options and commands; nothing reaches the platform."""
    for arguments in (
        ("jobs", "submit", "echo", "--payload", "{"),
        ("jobs", "submit", "echo", "--payload-file", "/nonexistent"),
        ("jobs", "submit", "echo", "--label", "novalue"),
        ("jobs", "submit", "echo", "--nonsense"),
        ("jobs", "list", "--created-after", "yesterday"),
        ("no-such-command",),
        ("node", "run", "/nonexistent.py"),
    ):
        done = run(*arguments, url=fake_http_in_thread.url)
        assert done.returncode == 2, (arguments, done.stderr)
        assert done.stderr
    assert not fake_http_in_thread.requests


def test_the_flags_that_everybody_tries_are_there():
    """`--version` and, at every command, `-h`; nothing is asked of anybody."""
    assert run("--version").stdout.startswith(b"waypost ")
    for arguments in ((), ("jobs",), ("jobs", "submit")):
        done = run(*arguments, "-h")
        assert (done.returncode, b"Usage: waypost" in done.stdout) == (0, True), (arguments, done.stderr)


@pytest.mark.parametrize("option", ["--url", "--context", "--retry-seconds", "-e"])
def test_an_option_of_waypost_behind_a_command_is_shown_its_place(option):
    """Wrong use, and where it goes; an option that nobody has is only unknown."""
    done = run("jobs", "list", option, "5")
    assert done.returncode == 2
    assert f"{option} goes before the command: waypost {option}".encode() in done.stderr
    assert b"goes before" not in run("jobs", "list", "--nonsense").stderr


def test_a_context_that_is_not_there_is_told_with_those_that_are(tmp_path):
    """Wrong use; the names to choose from, and how to make it."""
    config = tmp_path / "config.toml"
    config.write_text('[contexts.local]\nurl = "a"\n[contexts.lab]\nurl = "b"\n')
    done = run("--context", "labb", "queue", WAYPOST_KEY="", WAYPOST_CONFIG=str(config))
    assert done.returncode == 2
    assert b"there is local, lab. `waypost login --context labb` makes it." in done.stderr


def test_missing_configuration_says_what_and_how():
    """No address is wrong use, no key is a missing credential, an address nobody listens at a server problem."""
    assert (run("queue").returncode, run("queue", url="http://127.0.0.1:9", WAYPOST_KEY="").returncode) == (2, 3)
    assert b"WAYPOST_KEY" in run("queue", url="http://127.0.0.1:9", WAYPOST_KEY="").stderr
    assert run("--retry-seconds", "0", "queue", url="http://127.0.0.1:9").returncode == 9


def test_an_expired_credential_of_a_context_says_how_to_sign_in_again(fake_http_in_thread, tmp_path):
    """The sentence is the platform's, the way out names the context."""
    url = fake_http_in_thread.url
    config = tmp_path / "config.toml"
    config.write_text(f'current = "work"\n[contexts.work]\nurl = "{url}"\ncredential = "file"\n')
    (tmp_path / "credentials.toml").write_text(f'[work]\nurl = "{url}"\nkey = "wps_old"\n')
    answer_with(fake_http_in_thread, 401, {"code": "expired_credential", "detail": "This session has expired."})
    done = run("queue", url=url, WAYPOST_KEY="", WAYPOST_CONFIG=str(config))
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.splitlines() == [
        b"waypost: This session has expired. [expired_credential]",
        b"  Sign in again: waypost login --context work",
    ]


def test_too_many_requests_are_repeated_when_the_platform_says(fake_http_in_thread):
    """Retry-After is kept to within --retry-seconds; beyond that the command ends and says how long it would be."""
    left = [(429, {"retry-after": "0.2"}, b"{}"), (200, {}, msgspec.json.encode(JOB))]
    fake_http_in_thread.answer = lambda *_: left.pop(0)
    began = time.monotonic()
    assert run("jobs", "get", "j1", url=fake_http_in_thread.url).returncode == 0
    assert time.monotonic() - began >= 0.2
    fake_http_in_thread.answer = lambda *_: (429, {"retry-after": "60"}, b'{"code": "rate_limited", "detail": "Slow."}')
    done = run("--retry-seconds", "5", "jobs", "get", "j1", url=fake_http_in_thread.url)
    assert done.returncode == 9
    assert b"It asks to wait 60 s" in done.stderr


@pytest.mark.parametrize("status", [200, 301, 404])
def test_a_server_that_is_not_waypost_is_told_from_one_that_is(status, fake_http_in_thread):
    """HTML, a redirect, a bare 404: never a traceback, always the question whether the address is right."""
    fake_http_in_thread.answer = lambda *_: (status, {"content-type": "text/html"}, b"<html>hello</html>")
    done = run("env", "get", url=fake_http_in_thread.url)
    assert (done.returncode, done.stdout) == (7 if status == 404 else 9, b"")
    assert b"Traceback" not in done.stderr
    assert b"Is the address right, and does the platform run?" in done.stderr


def test_the_shell_completes_commands_and_contexts(tmp_path):
    """Words of a group, and the names of contexts wherever one is meant; a broken file completes nothing."""
    config = tmp_path / "config.toml"
    config.write_text('[contexts.local]\nurl = "a"\n[contexts.lab]\nurl = "b"\n[contexts.work]\nurl = "c"\n')

    def completed(words: str) -> list[str]:
        variables = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
        done = run(_WAYPOST_COMPLETE="complete_bash", WAYPOST_CONFIG=str(config), **variables)
        return done.stdout.decode().split()

    assert {"suspend", "resume", "delete"} <= set(completed("waypost env "))
    assert completed("waypost context use l") == ["local", "lab"]
    assert completed("waypost --context w") == ["work"]
    assert completed("waypost login --context l") == ["local", "lab"]
    config.write_text("not = [toml")
    assert completed("waypost context use l") == []


def test_waiting_for_a_job_that_did_not_complete_is_exit_code_1(fake_http_in_thread):
    """The job is printed all the same."""
    page = {"items": [{"number": 1, "outcome": "failed"}], "next_cursor": None}
    failed = {**JOB, "state": "failed", "error": {"code": "boom", "message": "m"}}
    fake_http_in_thread.answer = lambda _method, path, *_: (
        200, {}, msgspec.json.encode(page if path.partition("?")[0].endswith("/attempts") else failed)
    )  # fmt: skip
    done = run("jobs", "wait", "j1", url=fake_http_in_thread.url)
    assert done.returncode == 1
    printed = json.loads(done.stdout)
    assert (printed["state"], printed["attempts"][0]["outcome"]) == ("failed", "failed")


def test_lists_are_arrays_and_streams_are_lines(fake_http_in_thread):
    """`jobs list` prints one array; `jobs events` one object a line."""
    answer_with(fake_http_in_thread, 200, {"items": [JOB, JOB], "next_cursor": None})
    assert len(json.loads(run("jobs", "list", "--trigger", "t1", url=fake_http_in_thread.url).stdout)) == 2
    assert "trigger_id=t1" in fake_http_in_thread.requests[0][1]
    events = b'event: job.state\ndata: {"state": "running"}\n\nevent: job.state\ndata: {"state": "completed"}\n\n'
    fake_http_in_thread.answer = lambda *_: (200, {"content-type": "text/event-stream"}, events)
    lines = run("jobs", "events", "j1", url=fake_http_in_thread.url).stdout.splitlines()
    assert [json.loads(line)["data"]["state"] for line in lines] == ["running", "completed"]


def test_jobs_are_canceled_by_filter_once_somebody_agreed(fake_http_in_thread):
    """Counted first; without --yes nobody can be asked here, so nothing is canceled. One that ended meanwhile is no
    failure, the oldest comes first, and states that have ended are refused before anything is sent."""
    sent: list[tuple[str, str]] = []

    def answer(method: str, path: str, *_: Any) -> tuple[int, dict[str, str], bytes]:
        sent.append((method, path))
        if method == "GET":
            return 200, {}, msgspec.json.encode({"items": [{**JOB, "id": f"j{n}"} for n in (3, 2, 1)]})
        if "/j2/" in path:
            return 409, {}, b'{"code": "job_already_ended", "detail": "It has ended."}'
        return 202, {}, msgspec.json.encode(JOB)

    fake_http_in_thread.answer = answer
    filters = ("--function", "echo", "--label", "order=A=1")
    refused = run("jobs", "cancel", *filters, url=fake_http_in_thread.url)
    assert refused.returncode == 2
    assert b"3 jobs that have not ended will be canceled." in refused.stderr
    counted = run("jobs", "cancel", *filters, "--dry-run", url=fake_http_in_thread.url)
    assert json.loads(counted.stdout) == {"matched": 3, "canceled": 0, "ended_before": 0}
    assert {method for method, _ in sent} == {"GET"}
    sent.clear()
    done = run("jobs", "cancel", *filters, "--yes", url=fake_http_in_thread.url)
    assert json.loads(done.stdout) == {"matched": 3, "canceled": 2, "ended_before": 1}
    assert all(f"state={state}" in sent[0][1] for state in ("queued", "running", "retrying"))
    assert [path.split("/")[-2] for _, path in sent[1:]] == ["j1", "j2", "j3"]
    for wrong in ((), ("j1", "--state", "queued"), ("--state", "failed"), ("j1", "--dry-run")):
        assert run("jobs", "cancel", *wrong, url=fake_http_in_thread.url).returncode == 2
    assert len(sent) == 4


def test_every_error_has_an_exit_code_of_the_contract():
    """One place maps errors; nothing else than 1, 2, 3, 4, 7, 8, 9, 10 comes out."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.WaypostError)]
    assert len(kinds) > 15
    assert {failure.exit_code(kind("c", "d")) for kind in kinds} <= {1, 2, 3, 4, 7, 8, 9, 10}


def test_commands_of_the_sdk_do_not_load_those_of_others():
    """Other distributions are asked only for unknown words, help and completion; a command loads only its own group."""
    assert not needs_plugins(["jobs", "list", "--help"])
    assert not needs_plugins(["--context", "up", "-e", "a/b/c", "jobs", "list"])
    assert all(needs_plugins(words) for words in ([], ["--help"], ["up", "--detach"], ["unheard-of"], ["--url", "x"]))
    code = "import sys, waypost_sdk.command.main as m; m.build({}); print(*sys.modules)"
    heavy = {"httpx", "grpc", "rich.table", "infra", "waypost", "google.protobuf", "keyring", "tomlkit"}
    own = {"waypost_sdk.command.login", "waypost_sdk.command.environment"}
    for only, refused in (("", heavy), ("'jobs'", heavy | own)):
        loaded = subprocess.run(
            [sys.executable, "-P", "-c", code.format(only)], capture_output=True, check=True, text=True
        ).stdout.split()
        assert not refused & set(loaded)


def test_a_context_loads_the_keyring_only_when_its_credential_is_there(fake_http_in_thread, tmp_path):
    """A key in a variable or a file costs no import of keyring or tomlkit."""
    url = fake_http_in_thread.url
    config = tmp_path / "config.toml"
    config.write_text(f'current = "work"\n[contexts.work]\nurl = "{url}"\ncredential = "file"\n')
    (tmp_path / "credentials.toml").write_text(f'[work]\nurl = "{url}"\nkey = "wp_key"\n')
    code = "import sys; from waypost_sdk import Client; Client(); print(*sys.modules)"
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WAYPOST_")}
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True, check=True, text=True, env={**kept, "WAYPOST_CONFIG": str(config)},
    ).stdout.split()  # fmt: skip
    assert not {"keyring", "tomlkit"} & set(loaded)


def test_importing_the_sdk_is_cheap():
    """`import waypost_sdk` loads neither grpc nor httpx; names come when they are used."""
    code = "import sys, waypost_sdk; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()
    assert not {"grpc", "httpx", "msgspec", "typer"} & set(loaded)
    import waypost_sdk

    assert all(getattr(waypost_sdk, name) is not None for name in waypost_sdk.__all__)
    with pytest.raises(AttributeError):
        _ = waypost_sdk.Nonsense


APP = """
from waypost_sdk import Node
node = Node(tags=["t"], name="run-{version}")
@node.function("echo")
async def echo(job, payload):
    return payload
"""


@pytest.fixture
def node_variables(fake_relay, fake_http):
    return {
        **os.environ,
        "WAYPOST_URL": fake_http.url,
        "WAYPOST_RELAY": fake_relay.address,
        "WAYPOST_CLIENT_ID": "id",
        "WAYPOST_CLIENT_SECRET": "secret",
    }


@pytest.mark.parametrize("last", ["", "node.run()"], ids=["declares", "runs"])
async def test_node_run_serves_a_file_and_leaves_at_sigterm(last, tmp_path, fake_relay, node_variables):
    """Exit code 0 after a drain; the relay was told before. It is served once, also where the file runs it itself."""
    app = tmp_path / "app.py"
    app.write_text(APP.format(version=1) + last)
    process = subprocess.Popen([*WAYPOST, "node", "run", f"{app}:node"], env=node_variables, stderr=subprocess.PIPE)  # noqa: ASYNC220 -- started, not waited for
    try:
        stream = await fake_relay.joined()
        await stream.assign("echo", b"7")
        assert (await stream.answer()).result == b"7"
        if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
            assert os.sched_getscheduler(process.pid) == os.SCHED_BATCH  # beside a platform on the same machine
        await stream.settle(1)
        process.send_signal(signal.SIGTERM)
        assert (await stream.event("CalculationMemberDrainEvent"))["reason"] == "SIGTERM"
        assert await _ended(process) == 0
    finally:
        process.kill()


async def test_an_unknown_node_credential_is_code_3_and_says_which_variables(
    tmp_path, fake_relay, node_variables, fake_http
):
    """Not that somebody should sign in: a node has a credential of its own."""
    fake_http.answer = lambda *_: (401, {}, b'{"error": "invalid_client"}')
    app = tmp_path / "app.py"
    app.write_text(APP.format(version=1))
    process = subprocess.Popen([*WAYPOST, "node", "run", str(app)], env=node_variables, stderr=subprocess.PIPE)  # noqa: ASYNC220
    assert await _ended(process) == 3
    said = process.communicate()[1].splitlines()
    assert said[-1] == (
        b"  Are WAYPOST_CLIENT_ID and WAYPOST_CLIENT_SECRET right? Another one: waypost node-credentials create"
    )


async def test_node_run_reloads_after_a_change(tmp_path, fake_relay, node_variables):
    """--reload drains the old node and starts the new file; SIGTERM ends both."""
    app = tmp_path / "app.py"
    app.write_text(APP.format(version=1))
    process = subprocess.Popen([*WAYPOST, "node", "run", str(app), "--reload"], env=node_variables)  # noqa: ASYNC220
    try:
        assert (await fake_relay.joined()).join["name"] == "run-1"
        app.write_text(APP.format(version=2))
        os.utime(app, ns=(time.time_ns(), time.time_ns() + 1_000_000))
        assert (await fake_relay.joined()).join["name"] == "run-2"
        process.send_signal(signal.SIGTERM)
        assert await _ended(process) == 0
    finally:
        process.terminate()


async def _ended(process: subprocess.Popen[bytes]) -> int:
    import asyncio

    return await asyncio.to_thread(process.wait, 20)


def test_examples_can_be_loaded():
    """Each example imports and holds what it says."""
    from waypost_sdk.command.node import load

    node = load(str(Path(__file__).parents[2] / "examples" / "text_count.py"))
    assert node.functions == ("text.count", "text.digest")
