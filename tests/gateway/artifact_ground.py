"""Uploading, and waiting for ingest, as any client does it."""

import asyncio
import hashlib
import io
import json
import secrets
import tarfile
import time
from typing import Any
from uuid import UUID

import httpx

from tests.gateway.conftest import OwnGateway

INGEST_SECONDS = 60.0


def fresh(size: int = 1_000) -> bytes:
    """Content that no other test has."""
    return secrets.token_bytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def upload(
    client: httpx.AsyncClient,
    path: str,
    data: bytes,
    *,
    file_name: str = "file.bin",
    kind: str = "application/octet-stream",
    headers: dict[str, str] | None = None,
    **metadata: Any,
) -> httpx.Response:
    """`POST E/artifacts` as a form."""
    return await client.post(
        f"{path}/artifacts",
        data={"metadata": json.dumps(metadata)} if metadata else {},
        files={"file": (file_name, data, kind)},
        headers=headers or {},
    )  # fmt: skip


async def uploaded(client: httpx.AsyncClient, path: str, data: bytes, **more: Any) -> dict[str, Any]:
    """The artifact, once it is kept."""
    answer = await upload(client, path, data, **more)
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


async def settled(client: httpx.AsyncClient, path: str, identifier: str) -> dict[str, Any]:
    """The artifact once ingest has looked at it."""
    until = time.monotonic() + INGEST_SECONDS
    while (found := (await client.get(f"{path}/artifacts/{identifier}")).json())["state"] == "received":
        assert time.monotonic() < until, found
        await asyncio.sleep(0.03)
    return dict(found)


async def presigned(client: httpx.AsyncClient, path: str, data: bytes, **more: Any) -> dict[str, Any]:
    """Announce an upload of that content."""
    body = {"size_bytes": len(data), "sha256": sha256(data), **more}
    answer = await client.post(f"{path}/artifacts", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def put(url: str, data: bytes) -> httpx.Response:
    """What anybody with the address can do."""
    async with httpx.AsyncClient(timeout=30) as bare:
        return await bare.put(url, content=data)


def tar_of(files: dict[str, bytes]) -> bytes:
    """A gzipped tar."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


async def objects_of(own: OwnGateway, environment_id: str) -> set[str]:
    """Keys in the environment's bucket."""
    found: set[str] = set()
    async for page in own.services.artifacts.list(UUID(environment_id), "artifacts/"):
        found |= {one.key for one in page}
    return found
