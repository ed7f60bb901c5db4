"""Presigned addresses: upload in one or in parts, resumed or given up, download (native contract §6)."""

from typing import Any

import httpx
import pytest

from storage.objects.artifact import PART_BYTES
from tests.gateway.artifact_ground import fresh, objects_of, presigned, put, settled, sha256, upload, uploaded
from waypost.artifact.model import MAX_PRESIGNED_BYTES


async def test_a_presigned_upload_is_verified_by_ingest(client: httpx.AsyncClient, path: str) -> None:
    """PUT to the address without any credential, say that it is there, and ingest looks at the hash."""
    data = fresh(5_000)
    made = await presigned(client, path, data, name="big.bin", labels={"a": "b"})
    one = f"{path}/artifacts/{made['id']}"
    assert (made["state"], made["verified"]) == ("uploading", False)
    missing = await client.post(f"{one}/complete", json={})
    assert (missing.status_code, missing.json()["code"]) == (409, "content_missing")
    assert (await client.get(f"{one}/content")).json()["code"] == "content_missing"
    assert (await put(made["upload"]["url"], data)).status_code == 200
    done = await client.post(f"{one}/complete", json={})
    assert (done.status_code, done.json()["state"]) == (200, "received")
    found = await settled(client, path, made["id"])
    assert (found["state"], found["verified"], found["labels"]) == ("ingested", True, {"a": "b"})
    assert (await client.get(f"{one}/content")).content == data
    again = await client.post(f"{one}/complete", json={})
    assert (again.status_code, again.json()["code"]) == (409, "upload_complete")


async def test_presigned_content_other_than_declared_is_rejected(client: httpx.AsyncClient, path: str) -> None:
    """Of another length at once; of another hash by ingest, with the reason. It never stands for the declared hash."""
    data = fresh(100)
    short = await presigned(client, path, data)
    await put(short["upload"]["url"], data[:-1])
    answer = await client.post(f"{path}/artifacts/{short['id']}/complete", json={})
    assert (answer.status_code, answer.json()["code"]) == (422, "size_mismatch")
    await put(short["upload"]["url"], data)  # it can be put again
    answer = await client.post(f"{path}/artifacts/{short['id']}/complete", json={})
    assert answer.status_code == 200, answer.text
    assert (await settled(client, path, short["id"]))["state"] == "ingested"
    data = fresh(100)
    made = await presigned(client, path, data)
    await put(made["upload"]["url"], bytes(100))
    await client.post(f"{path}/artifacts/{made['id']}/complete", json={})
    found = await settled(client, path, made["id"])
    assert (found["state"], found["verified"]) == ("rejected", False)
    assert [reason["code"] for reason in found["reasons"]] == ["sha256_mismatch"]
    fresh_one = await upload(client, path, data)
    assert fresh_one.status_code == 201
    assert fresh_one.json()["id"] != made["id"]


async def test_content_is_not_changed_after_it_was_completed(client: httpx.AsyncClient, path: str) -> None:
    """The address that it was put at works for an hour, but not once the upload is complete."""
    for size in (1_000, PART_BYTES + 1):
        data = fresh(size)
        made = await presigned(client, path, data)
        one = f"{path}/artifacts/{made['id']}"
        numbers = {"numbers": list(range(1, made["upload"]["part_count"] + 1))}
        addresses = (await client.post(f"{one}/parts", json=numbers)).json()["parts"]
        for number, address in enumerate(addresses):
            start = number * made["upload"]["part_size_bytes"]
            assert (await put(address["url"], data[start : start + address["size_bytes"]])).status_code == 200
        assert (await client.post(f"{one}/complete", json={})).json()["state"] == "received"
        await settled(client, path, made["id"])
        for address in addresses:
            assert (await put(address["url"], bytes(address["size_bytes"]))).status_code == 404
        assert (await client.get(f"{one}/content")).content == data


async def test_nothing_at_all_can_be_announced(client: httpx.AsyncClient, path: str) -> None:
    """An upload of no bytes is one of a single, empty part."""
    made = await presigned(client, path, b"", type="diagnostic")
    assert (await put(made["upload"]["url"], b"")).status_code == 200
    assert (await client.post(f"{path}/artifacts/{made['id']}/complete", json={})).status_code == 200
    assert (await settled(client, path, made["id"]))["state"] == "ingested"
    assert (await client.get(f"{path}/artifacts/{made['id']}/content")).content == b""


async def test_content_that_is_known_needs_no_upload(client: httpx.AsyncClient, path: str) -> None:
    """200 with the first artifact: nobody has to send it again. One that merely claims to have it does not count."""
    data = fresh()
    claimed = await presigned(client, path, data)
    assert claimed["state"] == "uploading"
    first = await uploaded(client, path, data)
    body = {"size_bytes": len(data), "sha256": sha256(data)}
    known = await client.post(f"{path}/artifacts", json=body)
    assert (known.status_code, known.json()["id"]) == (200, first["id"])
    await put(claimed["upload"]["url"], data)
    await client.post(f"{path}/artifacts/{claimed['id']}/complete", json={})
    assert (await settled(client, path, claimed["id"]))["state"] == "ingested"


async def test_an_upload_in_parts_can_be_resumed(client: httpx.AsyncClient, environment: Any, own_gateway: Any) -> None:
    """Parts in any order, one again, addresses asked for again; all of them are one object in the end."""
    path, data = environment.path, fresh(2 * PART_BYTES + 777)
    made = await presigned(client, path, data)
    one = f"{path}/artifacts/{made['id']}"
    assert (made["upload"]["url"], made["upload"]["part_count"]) == (None, 3)
    size = made["upload"]["part_size_bytes"]
    over = await client.post(f"{one}/parts", json={"numbers": [4]})
    assert (over.status_code, over.json()["code"]) == (422, "no_such_part")
    tags: dict[int, str] = {}
    for numbers in ([3, 1], [1, 2]):
        answer = await client.post(f"{one}/parts", json={"numbers": numbers})
        for address in answer.json()["parts"]:
            start = (address["number"] - 1) * size
            answered = await put(address["url"], data[start : start + address["size_bytes"]])
            assert answered.status_code == 200
            tags[address["number"]] = answered.headers["etag"]
        there = (await client.get(f"{one}/parts")).json()["parts"]
        assert {part["number"]: part["etag"] for part in there} == tags
        done = [{"number": number, "etag": tag} for number, tag in tags.items()]
        answer = await client.post(f"{one}/complete", json={"parts": done})
        if len(tags) < 3:
            assert (answer.status_code, answer.json()["code"]) == (422, "parts_missing")
    assert (answer.status_code, answer.json()["state"]) == (200, "received"), answer.text
    assert (await settled(client, path, made["id"]))["state"] == "ingested"
    assert (await client.get(f"{one}/content")).content == data
    assert await objects_of(own_gateway, environment.id) == {f"artifacts/{made['id']}"}


async def test_an_upload_in_parts_can_be_given_up(client: httpx.AsyncClient, path: str) -> None:
    """Deleting it forgets the parts; the addresses lead nowhere then."""
    made = await presigned(client, path, fresh(PART_BYTES + 1))
    one = f"{path}/artifacts/{made['id']}"
    address = (await client.post(f"{one}/parts", json={"numbers": [1]})).json()["parts"][0]
    assert (await put(address["url"], fresh(PART_BYTES))).status_code == 200
    assert (await client.delete(one)).status_code == 204
    assert (await put(address["url"], fresh(PART_BYTES))).status_code == 404
    assert (await client.post(f"{one}/complete", json={})).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {"size_bytes": MAX_PRESIGNED_BYTES + 1, "sha256": "0" * 64},
        {"size_bytes": -1, "sha256": "0" * 64},
        {"size_bytes": 1, "sha256": "0" * 63},
        {"size_bytes": 1},
        {"sha256": "0" * 64},
        {"size_bytes": 1, "sha256": "0" * 64, "other": 1},
    ],
)
async def test_an_upload_that_cannot_be_is_not_begun(client: httpx.AsyncClient, path: str, body: Any) -> None:
    """422 with the field; 5 GiB is the most."""
    assert (await client.post(f"{path}/artifacts", json=body)).status_code == 422


async def test_content_can_be_read_at_a_presigned_address(client: httpx.AsyncClient, path: str) -> None:
    """Without a credential, as an attachment, whole or in ranges; a changed address is refused."""
    data = fresh(1_000)
    made = await uploaded(client, path, data, file_name="a b.bin")
    answer = await client.get(f"{path}/artifacts/{made['id']}/content", params={"presigned": "true"})
    assert answer.headers["cache-control"] == "no-store"
    url = answer.json()["url"]
    async with httpx.AsyncClient(timeout=30) as bare:
        got = await bare.get(url)
        assert got.content == data
        assert got.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.bin"
        assert (await bare.get(url, headers={"range": "bytes=0-9"})).content == data[:10]
        assert (await bare.get(url.replace("artifacts/", "artifacts/0"))).status_code == 403
        assert (await bare.put(url, content=b"x")).status_code == 403
    wrong = await client.get(f"{path}/artifacts/{made['id']}/content", params={"presigned": "1"})
    assert wrong.status_code == 422


async def test_presigned_addresses_are_where_callers_reach_the_object_store(
    make_gateway: Any, path: str, platform: Any
) -> None:
    """Under another name than the one that the gateway uses itself, and signed for it."""
    port = platform.process("objects")["address"].rpartition(":")[2]
    data = fresh()
    async with make_gateway(s3_public_endpoint=f"http://localhost:{port}") as own:
        made = await presigned(own.client, path, data)
        assert made["upload"]["url"].startswith(f"http://localhost:{port}/wp-")
        assert (await put(made["upload"]["url"], data)).status_code == 200
        assert (await own.client.post(f"{path}/artifacts/{made['id']}/complete", json={})).status_code == 200
