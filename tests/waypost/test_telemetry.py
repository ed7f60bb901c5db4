"""The internal listener, the ready line and the logs."""

import asyncio
import json
import os
import subprocess
import sys

import pytest

from waypost.telemetry.internal import serve_internal
from waypost.telemetry.ready import announce


async def ask(port: int, request: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


async def test_readiness_names_each_dependency() -> None:
    """200 when all are ok; 503 as soon as one is not, with what is wrong."""
    states = {"postgres": "ok"}

    async def readiness() -> dict[str, str]:
        return states

    server, port = await serve_internal(0, readiness)
    async with server:
        assert (await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n"))[0] == 200
        states["valkey"] = "connection refused"
        status, body = await ask(port, b"GET /readyz HTTP/1.1\r\n\r\n")
        assert status == 503
        assert json.loads(body)["dependencies"] == {"postgres": "ok", "valkey": "connection refused"}
        assert (await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n"))[0] == 200
        status, body = await ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert status == 200
        assert b"python_info" in body
        assert (await ask(port, b"GET /secret HTTP/1.1\r\n\r\n"))[0] == 404
        assert (await ask(port, b"POST /metrics HTTP/1.1\r\n\r\n"))[0] == 405
        assert (await ask(port, b"nonsense\r\n\r\n"))[0] == 400


def test_the_ready_line_is_written_once_and_the_descriptor_closed() -> None:
    """The reader sees one JSON object, then the end."""
    reading, writing = os.pipe()
    assert announce("127.0.0.1:1", "127.0.0.1:2", name="relay-1", fd=writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"name": "relay-1", "pid": os.getpid(), "address": "127.0.0.1:1", "internal_address": "127.0.0.1:2"}
    ]
    assert not announce("a", "b", fd=writing)  # nobody to tell is no error


def test_logs_are_json_lines_on_stderr() -> None:
    """Also those of libraries; nothing goes to stdout."""
    code = """if True:
        import logging
        from waypost.telemetry.log import configure, get_logger
        configure("json", "info", "worker-1")
        get_logger("a").info("job.end", number=1)
        get_logger("a").debug("quiet")
        logging.getLogger("lib").warning("careful %s", "x")
    """
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    ours, theirs = [json.loads(line) for line in done.stderr.splitlines()]
    assert (ours["event"], ours["process"], ours["number"], ours["level"]) == ("job.end", "worker-1", 1, "info")
    assert (theirs["event"], theirs["process"]) == ("careful x", "worker-1")
    assert done.stdout == ""


@pytest.mark.parametrize("form", ["console", "json"])
def test_an_error_that_is_logged_shows_no_variable(form: str) -> None:
    """Variables hold keys and payloads; the lines of the traceback are enough."""
    code = f"""if True:
        from waypost.telemetry.log import configure, get_logger
        configure({form!r}, "info", "gateway-1")
        def fail(key):
            raise ValueError("no")
        try:
            fail("wp_" + "secret")
        except ValueError:
            get_logger("x").exception("it.failed")
    """
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert "ValueError: no" in done.stderr
    assert "wp_secret" not in done.stderr
