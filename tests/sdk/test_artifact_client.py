# ruff: noqa: S603 -- every process here is our own command
"""Artifacts from Python and with `waypost artifacts`: whole, in parts, resumed, checked (native contract §6, §8)."""

import asyncio
import hashlib
import io
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from waypost_sdk import AsyncClient, Client, ConflictError, NotFoundError
from waypost_sdk.http import artifact as module

WAYPOST = [sys.executable, "-P", "-m", "waypost_sdk.command.main"]
PART = 8 << 20


@pytest.fixture
async def sdk(platform: Any, shared_environment: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(platform.api_url, platform.admin_key, shared_environment.place) as client:
        yield client


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything over a mebibyte goes by presigned addresses, as it does over 64 MiB."""
    monkeypatch.setattr(module, "MAX_UPLOAD_BYTES", 1 << 20)


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@pytest.mark.parametrize("form", ["bytes", "path", "file"])
async def test_content_comes_back_as_it_was(sdk: AsyncClient, tmp_path: Path, form: str) -> None:
    """Bytes, a path, an open file; read, or written to a file that appears when it is whole."""
    data = secrets.token_bytes(300_000)
    path = tmp_path / "core.dump"
    path.write_bytes(data)
    source: Any = {"bytes": data, "path": path, "file": io.BytesIO(data)}[form]
    made = await sdk.artifacts.upload(source, type="diagnostic", labels={"a": "b"})
    assert (made.size_bytes, made.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert made.name == {"bytes": "", "path": "core.dump", "file": ""}[form]
    assert (await sdk.artifacts.wait(made.id, 15)).state == "ingested"
    assert (await sdk.artifacts.upload(data, type="diagnostic")).id == made.id
    assert await sdk.artifacts.read(made.id) == data
    target = tmp_path / "copy"
    assert await sdk.artifacts.download(made.id, target) == len(data)
    assert target.read_bytes() == data
    assert [one.id async for one in sdk.artifacts.list(sha256=made.sha256, labels={"a": "b"})] == [made.id]
    address = await sdk.artifacts.address(made.id)
    async with httpx.AsyncClient(timeout=30) as bare:
        assert (await bare.get(address.url)).content == data
    await sdk.artifacts.delete(made.id)
    with pytest.raises(NotFoundError):
        await sdk.artifacts.get(made.id)
    with pytest.raises(NotFoundError):
        await sdk.artifacts.download(made.id, tmp_path / "nothing")
    assert names_in(tmp_path) == ["copy", "core.dump"]


async def test_what_is_too_large_for_one_request_goes_in_parts(sdk: AsyncClient, in_parts: None) -> None:
    """By itself, and no less transparent: of one PUT, and of several."""
    for size in (PART, 2 * PART + 5):
        data = secrets.token_bytes(size)
        made = await sdk.artifacts.upload(data, name="large.bin")
        assert made.state == "received"
        found = await sdk.artifacts.wait(made.id, 20)
        assert (found.state, found.verified) == ("ingested", True)
        assert await sdk.artifacts.read(made.id) == data
        assert (await sdk.artifacts.upload(data)).id == made.id


async def test_an_upload_that_was_cut_off_goes_on(
    sdk: AsyncClient, in_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the parts that are there already; of other content it does not."""
    data = secrets.token_bytes(2 * PART + 5)
    puts: list[int] = []
    put = module.Artifacts._put

    def failing(self: Any, url: str, content: Any, start: int, length: int) -> Any:
        if len(puts) == 1:
            raise asyncio.CancelledError
        puts.append(start)
        return (yield from put(self, url, content, start, length))

    monkeypatch.setattr(module.Artifacts, "_put", failing)
    with pytest.raises(asyncio.CancelledError):
        await sdk.artifacts.upload(data, name="cut.bin")
    uploading = [one async for one in sdk.artifacts.list(state="uploading") if one.name == "cut.bin"]
    assert len(uploading) == 1
    sent: list[int] = []

    def counting(self: Any, url: str, content: Any, start: int, length: int) -> Any:
        sent.append(start)
        return (yield from put(self, url, content, start, length))

    monkeypatch.setattr(module.Artifacts, "_put", counting)
    with pytest.raises(ConflictError):
        await sdk.artifacts.upload(data[:-1], resume=uploading[0].id)
    made = await sdk.artifacts.upload(data, resume=uploading[0].id)
    assert made.id == uploading[0].id
    assert sent == [PART, 2 * PART]
    assert (await sdk.artifacts.wait(made.id, 20)).state == "ingested"
    assert (await sdk.artifacts.upload(data, resume=made.id)).state == "ingested"


def test_a_download_that_is_cut_off_goes_on(fake_http_in_thread: Any, tmp_path: Path) -> None:
    """From the byte where it stopped, and only when the content is still the same."""
    data, served = secrets.token_bytes(100_000), []
    tag = f'"{hashlib.sha256(data).hexdigest()}"'

    def answer(_method: str, path: str, headers: dict[str, str], _body: bytes) -> Any:
        if not path.endswith("/content"):
            one = {"id": "x", "type": "file", "size_bytes": len(data), "sha256": tag.strip('"')}
            return 200, {}, json.dumps(one).encode()
        asked = headers.get("range")
        served.append((asked, headers.get("if-range")))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        part = data[start : start + 40_000]
        # Announces all of the rest, and closes before it is there.
        more = {"content-length": str(len(data) - start), "connection": "close", "etag": tag}
        return 206 if asked else 200, more, part

    fake_http_in_thread.answer = answer
    with Client(fake_http_in_thread.url, "wp_x", "a/b/c") as client:
        assert client.artifacts.download("x", tmp_path / "copy") == len(data)
    assert (tmp_path / "copy").read_bytes() == data
    assert served == [(None, None), ("bytes=40000-", tag), ("bytes=80000-", tag)]


def test_the_key_is_never_sent_to_a_presigned_address(
    fake_http_in_thread: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 is somebody else; a part that fails is tried again by itself."""
    monkeypatch.setattr(module, "MAX_UPLOAD_BYTES", 3)
    puts: list[dict[str, str]] = []
    base = fake_http_in_thread.url

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        if method == "PUT":
            puts.append(headers)
            return (500 if len(puts) == 1 else 200), {"etag": '"e"'}, b""
        if path.endswith("/complete"):
            return 200, {}, b'{"id": "x", "type": "file", "state": "received"}'
        made = {"id": "x", "type": "file", "state": "uploading", "upload": {"url": f"{base}/bucket/x?sig=1"}}
        assert headers["authorization"] == "Bearer wp_x"
        return 201, {}, json.dumps(made).encode()

    fake_http_in_thread.answer = answer
    with Client(base, "wp_x", "a/b/c") as client:
        assert client.artifacts.upload(b"abcdef").state == "received"
    assert len(puts) == 2
    assert all("authorization" not in headers and headers["content-length"] == "6" for headers in puts)


def test_a_key_goes_with_every_request_but_no_upload_is_made_twice(fake_http_in_thread: Any) -> None:
    """A form that met a 503 is sent again with the same Idempotency-Key."""
    keys: list[str] = []

    def answer(_method: str, _path: str, headers: dict[str, str], body: bytes) -> Any:
        keys.append(headers["idempotency-key"])
        assert b"abcdef" in body
        return (503, {"retry-after": "0"}, b"{}") if len(keys) == 1 else (201, {}, b'{"id": "x", "type": "file"}')

    fake_http_in_thread.answer = answer
    with Client(fake_http_in_thread.url, "wp_x", "a/b/c") as client:
        assert client.artifacts.upload(b"abcdef").id == "x"
    assert len(keys) == 2
    assert keys[0] == keys[1]


def command(platform: Any, environment: Any, *arguments: str, **more: Any) -> Any:
    variables = {
        **os.environ,
        "WAYPOST_CONFIG": "/nonexistent",
        "WAYPOST_URL": platform.api_url,
        "WAYPOST_KEY": platform.admin_key,
        "WAYPOST_ENVIRONMENT": environment.place,
    }
    return subprocess.run([*WAYPOST, *arguments], capture_output=True, timeout=60, env=variables, check=False, **more)


def test_the_command_does_it_all(platform: Any, shared_environment: Any, tmp_path: Path) -> None:
    """`waypost artifacts upload|list|get|download|delete`, with exit codes for scripts."""

    def run(*arguments: str, **more: Any) -> Any:
        return command(platform, shared_environment, "artifacts", *arguments, **more)

    data = secrets.token_bytes(5_000)
    (tmp_path / "dump.bin").write_bytes(data)
    made = run("upload", "dump.bin", "--label", "host=a-1", "--wait", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    shown = json.loads(made.stdout)
    assert (shown["state"], shown["name"], shown["labels"]) == ("ingested", "dump.bin", {"host": "a-1"})
    listed = json.loads(run("list", "--sha256", shown["sha256"], "--label", "host=a-1").stdout)
    assert [one["id"] for one in listed] == [shown["id"]]
    assert json.loads(run("get", shown["id"]).stdout)["referred_to_by"] == []
    refused = run("download", shown["id"], cwd=tmp_path)
    assert (refused.returncode, b"is there already" in refused.stderr) == (2, True)
    assert run("download", shown["id"], "-o", "copy.bin", cwd=tmp_path).returncode == 0
    assert (tmp_path / "copy.bin").read_bytes() == data
    assert run("download", shown["id"], "-o", "-").stdout == data
    assert run("delete", shown["id"]).returncode == 0
    assert run("get", shown["id"]).returncode == 7
    assert run("upload", "nothing.bin", cwd=tmp_path).returncode == 2
    rejected = run("upload", "-", "--type", "incident_bundle", "--wait", input=secrets.token_bytes(99))
    assert rejected.returncode == 1
    assert json.loads(rejected.stdout)["reasons"][0]["code"] == "not_an_archive"
