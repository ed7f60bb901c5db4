"""The receiver that docs/subscriptions.md shows does what the page says."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from waypost import clock
from waypost.subscription.model import DELAYS_SECONDS, EVENTS
from waypost.subscription.signature import new_secret, signed_headers

PAGE = (Path(__file__).parents[2] / "docs" / "subscriptions.md").read_text()


@pytest.fixture
def secret() -> str:
    return new_secret()


@pytest.fixture
def url(tmp_path: Path, secret: str) -> Iterator[str]:
    """Where the page's receiver answers."""
    source = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    program = tmp_path / "receiver.py"
    program.write_text(source)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603 - the page's
        [sys.executable, "-P", str(program)],
        env=os.environ | {"WEBHOOK_SECRET": secret, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def status(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """What the receiver answers."""
    return httpx.post(url, content=body, headers=headers, timeout=30).status_code


def test_the_receiver_of_the_page_takes_what_is_signed_and_nothing_else(url: str, secret: str) -> None:
    """204 for what we sign, also the second time; 401 for one byte more, another secret, and an old timestamp."""
    body = b'{"type":"job.completed","data":{"id":"x"}}'
    now = clock.now()
    headers = dict(signed_headers("msg_1", now, body, [secret]))
    for _ in range(2):
        assert status(url, body, headers) == 204
    both = dict(signed_headers("msg_2", now, body, [new_secret(), secret]))
    assert status(url, body, both) == 204
    assert status(url, body + b" ", headers) == 401
    other = dict(signed_headers("msg_1", now, body, [new_secret()]))
    assert status(url, body, other) == 401
    old = dict(signed_headers("msg_1", now - timedelta(days=365), body, [secret]))
    assert status(url, body, old) == 401


def test_the_page_names_every_event_and_every_delay() -> None:
    """The tables are those of the code."""
    for event in EVENTS:
        noun, _, word = event.partition(".")
        assert f"`{event}`" in PAGE or (f"`{noun}.ready`" in PAGE and f"`.{word}`" in PAGE), event
    (row,) = re.findall(r"\| after \| (.*) \|\n", PAGE)
    units = {"s": 1, "min": 60, "h": 3600}
    shown = [0 if cell == "at once" else int(cell.split()[0]) * units[cell.split()[1]] for cell in row.split(" | ")]
    assert shown == list(DELAYS_SECONDS)
