"""Artifacts over HTTP: upload, deduplication, ranges, lists, deletion (native contract §6)."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from storage.objects.artifact import PART_BYTES
from tests.gateway.artifact_ground import fresh, objects_of, settled, sha256, tar_of, upload, uploaded
from tests.gateway.conftest import OwnGateway, bearer
from tests.waypost.test_artifact_rules import bundle_files
from waypost.artifact.model import MAX_UPLOAD_BYTES


@pytest.fixture(scope="module")
async def owner(platform: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    yield connection
    await connection.close()


# --- upload ---------------------------------------------------------------------------------------------------------


async def test_an_upload_is_kept_hashed_and_ingested(client: httpx.AsyncClient, path: str) -> None:
    """201 with what is known, its place in Location; then ingest says what it is."""
    data = b"\x00\x7f\x00\x00" + fresh(996)  # which begins like nothing that is known
    answer = await upload(
        client, path, data, file_name="core.dump", type="diagnostic", labels={"host": "a-1"},
        captured_at="2026-11-21T09:00:00Z", sha256=sha256(data),
    )  # fmt: skip
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"].endswith(f"/artifacts/{made['id']}")
    assert (made["state"], made["type"], made["name"]) == ("received", "diagnostic", "core.dump")
    assert (made["size_bytes"], made["sha256"], made["verified"]) == (1_000, sha256(data), True)
    assert made["captured_at"] == "2026-11-21T09:00:00Z"
    found = await settled(client, path, made["id"])
    assert (found["state"], found["content_type"], found["reasons"]) == ("ingested", "application/octet-stream", [])
    assert found["expires_at"] > found["created_at"]
    content = await client.get(f"{path}/artifacts/{made['id']}/content")
    assert content.content == data
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["x-content-type-options"] == "nosniff"
    assert content.headers["content-disposition"] == "attachment; filename*=UTF-8''core.dump"


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 5])
async def test_every_size_comes_back_as_it_was(client: httpx.AsyncClient, path: str, size: int) -> None:
    """None, one byte, and around the bounds of the parts that it travels in."""
    data = fresh(size)
    made = await uploaded(client, path, data, labels={"size": str(size)})
    assert (made["size_bytes"], made["sha256"]) == (size, sha256(data))
    assert (await client.get(f"{path}/artifacts/{made['id']}/content")).content == data


async def test_the_same_content_is_one_artifact(client: httpx.AsyncClient, environment: Any, own_gateway: Any) -> None:
    """Eight at once: one 201, seven 200 with the same id, one object."""
    data = fresh(PART_BYTES // 4)
    answers = await asyncio.gather(*(upload(client, environment.path, data) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await objects_of(own_gateway, environment.id)) == 1


async def test_content_goes_with_the_last_that_has_it(
    client: httpx.AsyncClient, environment: Any, own_gateway: Any, owner: Any
) -> None:
    """Two artifacts of one content share an object, and it is counted."""
    data, path = b'{"a": 1}', environment.path
    one = await uploaded(client, path, data, type="file")
    other = await uploaded(client, path, data, type="payload")
    assert one["id"] != other["id"]
    refs = "select refs from control.artifact_blob where environment_id = $1"
    assert await owner.fetchval(refs, UUID(environment.id)) == 2
    assert (await client.delete(f"{path}/artifacts/{one['id']}")).status_code == 204
    assert (await client.get(f"{path}/artifacts/{other['id']}/content")).content == data
    assert (await client.delete(f"{path}/artifacts/{other['id']}")).status_code == 204
    assert await objects_of(own_gateway, environment.id) == set()
    assert await owner.fetch(refs, UUID(environment.id)) == []
    assert (await client.get(f"{path}/artifacts/{other['id']}")).status_code == 404
    assert (await client.delete(f"{path}/artifacts/{other['id']}")).status_code == 404


async def test_a_repeated_request_makes_one_thing(client: httpx.AsyncClient, path: str) -> None:
    """Same key and content: the first answer again. Same key, other content: 409, and nothing kept."""
    data, key = fresh(), {"Idempotency-Key": fresh(8).hex()}
    first = await upload(client, path, data, headers=key)
    again = await upload(client, path, data, headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["idempotent-replayed"] == "true"
    other = fresh()
    refused = await upload(client, path, other, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    assert (await client.get(f"{path}/artifacts", params={"sha256": sha256(other)})).json()["items"] == []


async def test_content_other_than_declared_is_refused(
    client: httpx.AsyncClient, environment: Any, own_gateway: Any
) -> None:
    """422, and nothing of it stays."""
    answer = await upload(client, environment.path, fresh(), sha256=sha256(b"other"))
    assert (answer.status_code, answer.json()["code"]) == (422, "sha256_mismatch")
    assert (await client.get(f"{environment.path}/artifacts")).json()["items"] == []
    assert await objects_of(own_gateway, environment.id) == set()


@pytest.mark.parametrize(
    ("metadata", "code"),
    [
        ({"type": "other"}, "unknown_artifact_type"),
        ({"sha256": "ABC"}, "invalid_sha256"),
        ({"labels": {"a": "b" * 257}}, "invalid_label"),
        ({"labels": {"": "b"}}, "invalid_label"),
        ({"labels": {str(number): "" for number in range(33)}}, "too_many_labels"),
        ({"name": "x" * 256}, "invalid_name"),
        ({"name": "a\nb"}, "invalid_name"),
        ({"captured_at": "2026-11-21T09:00:00"}, "invalid_instant"),
        ({"captured_at": "yesterday"}, None),
        ({"size_bytes": 3}, "unknown_field"),
        ({"job_id": "x"}, None),
    ],
)
async def test_metadata_that_may_not_be_is_refused(
    client: httpx.AsyncClient, path: str, metadata: dict[str, Any], code: str | None
) -> None:
    """422 with the field, and nothing kept."""
    data = fresh()
    answer = await upload(client, path, data, **metadata)
    assert answer.status_code == 422, answer.text
    if code is not None:
        problem = answer.json()
        assert code in (problem["code"], *(one["code"] for one in problem["errors"]))
    assert (await client.get(f"{path}/artifacts", params={"sha256": sha256(data)})).json()["items"] == []


BOUNDARY = "x1"


def form(*parts: tuple[str, bytes]) -> bytes:
    """A multipart body of parts: (headers, content)."""
    whole = b"".join(b"--x1\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n" for head, data in parts)
    return whole + b"--x1--\r\n"


def part(name: str, more: str = "") -> str:
    return f'Content-Disposition: form-data; name="{name}"{more}'


FILE = (part("file", '; filename="a"'), b"abc")


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "multipart/form-data; boundary=x1", 400),
        (b"--x1", "multipart/form-data; boundary=x1", 400),
        (form(FILE)[:-10], "multipart/form-data; boundary=x1", 400),
        (form(FILE), "multipart/form-data", 400),
        (form(FILE), "multipart/form-data; boundary=other", 400),
        (form(FILE), f"multipart/form-data; boundary={'b' * 300}", 400),
        (form((part("metadata"), b"{}")), "multipart/form-data; boundary=x1", 422),
        (form(FILE, FILE), "multipart/form-data; boundary=x1", 422),
        (form((part("metadata"), b"{}"), (part("metadata"), b"{}"), FILE), "multipart/form-data; boundary=x1", 422),
        (form(FILE, (part("other"), b"")), "multipart/form-data; boundary=x1", 422),
        (form((part("metadata"), b"{" * 70_000), FILE), "multipart/form-data; boundary=x1", 422),
        (form((part("metadata"), b"[]"), FILE), "multipart/form-data; boundary=x1", 422),
        (form((part("metadata"), b"{"), FILE), "multipart/form-data; boundary=x1", 400),
        (form(("Content-Type: text/plain", b"x"), FILE), "multipart/form-data; boundary=x1", 400),
        (b"abc", "text/plain", 415),
        (b"abc", "application/json", 400),
    ],
)
async def test_a_form_that_cannot_be_read_is_refused(
    client: httpx.AsyncClient, path: str, body: bytes, kind: str, status: int
) -> None:
    """As a problem that says why; never a 500."""
    answer = await client.post(f"{path}/artifacts", content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_file_without_metadata_is_enough(client: httpx.AsyncClient, path: str) -> None:
    """It is of type `file`, by the name that it was sent with."""
    headers = {"content-type": "multipart/form-data; boundary=x1"}
    body = form((part("file", '; filename="dir/a \u00e9.txt"'), b"some text"))
    made = (await client.post(f"{path}/artifacts", content=body, headers=headers)).json()
    assert (made["type"], made["name"]) == ("file", "dir/a \u00e9.txt")
    shown = await client.get(f"{path}/artifacts/{made['id']}/content")
    assert shown.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20%C3%A9.txt"


async def test_a_file_over_the_limit_is_refused_unread(client: httpx.AsyncClient, path: str, platform: Any) -> None:
    """By its announced length before a byte is read; without one, as soon as it is over."""
    reader, writer = await asyncio.open_connection(*platform.api_url.removeprefix("http://").split(":"))
    head = (
        f"POST {path}/artifacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {platform.admin_key}\r\n"
        f"Content-Type: multipart/form-data; boundary=x1\r\nContent-Length: {MAX_UPLOAD_BYTES + (1 << 20)}\r\n\r\n"
    )
    writer.write(head.encode())
    answer = b""
    while b"payload_too_large" not in answer and (piece := await asyncio.wait_for(reader.read(4096), 30)):
        answer += piece
    writer.close()
    assert b" 413 " in answer.split(b"\r\n")[0]
    assert b"payload_too_large" in answer

    async def endless() -> AsyncIterator[bytes]:
        yield b"--x1\r\n" + FILE[0].encode() + b"\r\n\r\n"
        for _ in range(80):
            yield bytes(1 << 20)

    headers = {"content-type": "multipart/form-data; boundary=x1"}
    over = await client.post(f"{path}/artifacts", content=endless(), headers=headers)
    assert (over.status_code, over.json()["code"]) == (413, "payload_too_large")


async def test_an_upload_cut_at_any_tenth_leaves_nothing(
    environment: Any, platform: Any, own_gateway: OwnGateway, owner: Any
) -> None:
    """The connection goes away in the middle: no artifact, no object, no part of one."""
    body = form((part("file", '; filename="a"'), fresh(2 * PART_BYTES)))
    head = (
        f"POST {environment.path}/artifacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {platform.admin_key}\r\n"
        f"Content-Type: multipart/form-data; boundary=x1\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    for tenth in range(10):
        _, writer = await asyncio.open_connection(own_gateway.host, own_gateway.port)
        writer.write(head + body[: len(body) * tenth // 10])
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await own_gateway.client.get("/healthz")).status_code == 200  # it has seen those before this
    async with asyncio.timeout(15):
        await own_gateway.services.idle.wait()
    assert await objects_of(own_gateway, environment.id) == set()
    for table in ("artifact", "artifact_blob", "artifact_garbage"):
        count = f"select count(*) from control.{table} where environment_id = $1"  # noqa: S608 - names from above
        assert await owner.fetchval(count, UUID(environment.id)) == 0


# --- download -------------------------------------------------------------------------------------------------------


async def test_ranges_are_served_as_the_standard_says(client: httpx.AsyncClient, path: str) -> None:
    """206 with Content-Range, 416 beyond the end, the whole when the range is of other content."""
    data = fresh(1_000)
    at = f"{path}/artifacts/{(await uploaded(client, path, data))['id']}/content"
    whole = await client.get(at)
    tag = whole.headers["etag"]
    assert (whole.status_code, whole.headers["accept-ranges"], tag) == (200, "bytes", f'"{sha256(data)}"')
    for header, start, end in (("bytes=0-0", 0, 1), ("bytes=990-", 990, 1000), ("bytes=-7", 993, 1000)):
        some = await client.get(at, headers={"range": header})
        assert (some.status_code, some.content) == (206, data[start:end])
        assert some.headers["content-range"] == f"bytes {start}-{end - 1}/1000"
        assert some.headers["content-length"] == str(end - start)
    beyond = await client.get(at, headers={"range": "bytes=1000-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    assert beyond.headers["content-range"] == "bytes */1000"
    resumed = await client.get(at, headers={"range": "bytes=500-", "if-range": tag})
    assert (resumed.status_code, resumed.content) == (206, data[500:])
    other = await client.get(at, headers={"range": "bytes=500-", "if-range": '"other"'})
    assert (other.status_code, other.content) == (200, data)
    same = await client.get(at, headers={"if-none-match": tag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    head = await client.head(at)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "1000")


# --- lists ----------------------------------------------------------------------------------------------------------


async def test_lists_are_narrowed_and_paged(client: httpx.AsyncClient, environment: Any) -> None:
    """By type, state, label, job, content, time and what ingest found; newest first."""
    path = environment.path
    job = (await client.post(f"{path}/jobs", json={"function": "nobody.serves"})).json()["id"]
    kinds = ["file", "diagnostic", "file", "payload"]
    made = [
        await uploaded(
            client, path, fresh() if kind != "payload" else b'{"n": 1}', type=kind, labels={"n": str(number)},
            **({"job_id": job} if number == 2 else {}),
        )
        for number, kind in enumerate(kinds)
    ]  # fmt: skip
    for one in made:
        await settled(client, path, one["id"])
    ids = [one["id"] for one in reversed(made)]

    async def found(**query: Any) -> list[str]:
        answer = await client.get(f"{path}/artifacts", params=query)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["items"]]

    assert await found() == ids
    assert await found(type=["payload", "diagnostic"]) == [ids[0], ids[2]]
    assert await found(state="ingested") == ids
    assert await found(state=["rejected", "uploading"]) == []
    assert await found(**{"label.n": "1"}) == [ids[2]]
    assert await found(job_id=job) == [ids[1]]
    assert await found(sha256=made[0]["sha256"]) == [ids[3]]
    assert await found(created_before=made[1]["created_at"]) == [ids[3]]
    assert await found(created_after=made[1]["created_at"]) == ids[:3]
    assert await found(**{"field.runtime": "x"}) == []
    first = (await client.get(f"{path}/artifacts", params={"limit": 3})).json()
    rest = (await client.get(f"{path}/artifacts", params={"limit": 3, "cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in first["items"] + rest["items"]] == ids
    assert rest["next_cursor"] is None
    for query in ({"type": "x"}, {"state": "x"}, {"sha256": "x"}, {"job_id": "x"}, {"created_after": "x"}, {"x": "1"}):
        assert (await client.get(f"{path}/artifacts", params=query)).status_code == 422


# --- what refers to it ----------------------------------------------------------------------------------------------


async def test_a_job_keeps_what_it_put_until_it_ends(client: httpx.AsyncClient, path: str) -> None:
    """409 that names the job; once that is over the artifact can go."""
    job = (await client.post(f"{path}/jobs", json={"function": "nobody.serves"})).json()["id"]
    made = await uploaded(client, path, fresh(), job_id=job)
    one = f"{path}/artifacts/{made['id']}"
    assert (await client.get(one)).json()["referred_to_by"] == [{"kind": "job", "id": job, "holds": True}]
    refused = await client.delete(one)
    assert (refused.status_code, refused.json()["code"]) == (409, "artifact_in_use")
    assert refused.json()["referred_to_by"] == [f"job:{job}"]
    assert (await client.post(f"{path}/jobs/{job}/cancel")).status_code in (200, 202)
    assert (await client.get(one)).json()["referred_to_by"] == [{"kind": "job", "id": job, "holds": False}]
    assert (await client.delete(one)).status_code == 204


async def test_a_payload_can_be_an_artifact(client: httpx.AsyncClient, path: str) -> None:
    """A job that names one keeps it until it ends; one that is not there is refused, and no job is kept."""
    made = await uploaded(client, path, json.dumps({"text": fresh().hex()}).encode(), type="payload")
    body = {"function": "nobody.serves", "payload": {"$artifact": made["id"]}}
    job = (await client.post(f"{path}/jobs", json=body)).json()["id"]
    one = f"{path}/artifacts/{made['id']}"
    assert (await client.get(one)).json()["referred_to_by"] == [{"kind": "job", "id": job, "holds": True}]
    assert (await client.delete(one)).status_code == 409
    assert (await client.get(f"{path}/jobs/{job}")).json()["payload"] == {"$artifact": made["id"]}
    bulk = await client.post(f"{path}/jobs/bulk", json={"jobs": [body, body]})
    assert bulk.status_code == 202, bulk.text
    assert len((await client.get(one)).json()["referred_to_by"]) == 3
    for other in [job, *(item["id"] for item in bulk.json()["items"])]:
        await client.post(f"{path}/jobs/{other}/cancel")
    assert (await client.delete(one)).status_code == 204
    for single in (True, False):
        document = body if single else {"jobs": [body]}
        gone = await client.post(f"{path}/jobs{'' if single else '/bulk'}", json=document)
        assert (gone.status_code, gone.json()["code"]) == (422, "unknown_artifact")
    wrong = await client.post(f"{path}/jobs", json=body | {"payload": {"$artifact": "x"}})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_artifact")


async def test_a_bulk_replay_keeps_the_artifacts_that_payloads_are(client: httpx.AsyncClient, path: str) -> None:
    """The new job refers to it; a job whose artifact is gone is skipped, with the reason."""
    made = await uploaded(client, path, json.dumps({"text": fresh().hex()}).encode(), type="payload")
    one, function = f"{path}/artifacts/{made['id']}", f"replayed{fresh(4).hex()}"
    first = {"function": function, "payload": {"$artifact": made["id"]}}
    await client.post(f"{path}/jobs/{(await client.post(f'{path}/jobs', json=first)).json()['id']}/cancel")

    async def replayed() -> dict[str, Any]:
        body = {"state": ["canceled"], "function": function}
        begun = (await client.post(f"{path}/jobs/replay", json=body)).json()
        async with asyncio.timeout(60):
            while (now := (await client.get(f"{path}/jobs/replays/{begun['id']}")).json())["finished_at"] is None:  # noqa: ASYNC110 - no signal
                await asyncio.sleep(0.05)
        return dict(now)

    assert (await replayed())["replayed"] == 1
    new = next(found for found in (await client.get(one)).json()["referred_to_by"] if found["holds"])
    assert (await client.delete(one)).status_code == 409
    await client.post(f"{path}/jobs/{new['id']}/cancel")
    assert (await client.delete(one)).status_code == 204
    done = await replayed()
    assert (done["replayed"], done["skipped"]) == (0, 2)
    assert "unknown_artifact" in json.dumps(done)


# --- bundles --------------------------------------------------------------------------------------------------------


async def test_an_incident_bundle_is_described_and_can_be_found(
    client: httpx.AsyncClient, environment: Any, make_key: Any
) -> None:
    """Its specification's hash and its fields are searchable; a viewer sees nothing of the process."""
    path = environment.path
    files = bundle_files(**{"spec.kv": f"pipeline.name={fresh(8).hex()}".encode()})
    made = await uploaded(client, path, tar_of(files), file_name="incident.tar.gz", type="incident_bundle")
    found = await settled(client, path, made["id"])
    assert (found["state"], found["content_type"]) == ("ingested", "application/gzip"), found
    assert found["facts"]["environment"]["env"][0] == ["AGENT_KEY", "[redacted]"]
    for query in ({"spec_hash": found["spec_hash"]}, {"field.runtime": "runtime", "field.policy_mode": "dry_run"}):
        items = (await client.get(f"{path}/artifacts", params=query)).json()["items"]
        assert [one["id"] for one in items] == [made["id"]]
    viewer = bearer((await make_key(path, role="viewer"))["key"])
    seen = await client.get(f"{path}/artifacts/{made['id']}", headers=viewer)
    assert seen.status_code == 200
    assert "environment" not in seen.json()["facts"]
    assert seen.json()["facts"]["runtime"] == {"name": "runtime", "version": "1.2.3"}
    refused = await client.get(f"{path}/artifacts/{made['id']}/content", headers=viewer)
    assert (refused.status_code, refused.json()["permission"]) == (403, "OperateEnvironment")


async def test_a_bundle_that_is_none_is_rejected_with_reasons(client: httpx.AsyncClient, path: str) -> None:
    """It can still be downloaded, to see why; it stands for nothing."""
    data = tar_of({"../evil": fresh(8)})
    made = await uploaded(client, path, data, type="incident_bundle")
    found = await settled(client, path, made["id"])
    assert (found["state"], [reason["code"] for reason in found["reasons"]]) == ("rejected", ["unsafe_path"])
    assert (await client.get(f"{path}/artifacts/{made['id']}/content")).content == data
    named = await client.post(f"{path}/jobs", json={"function": "nobody.serves", "payload": {"$artifact": made["id"]}})
    assert named.json()["code"] == "unknown_artifact"


async def test_a_file_that_is_not_what_it_says_is_rejected(client: httpx.AsyncClient, path: str) -> None:
    """A program as a picture, say."""
    data = b"MZ\x90\x00" + fresh(300)
    found = await settled(client, path, (await uploaded(client, path, data, kind="image/png"))["id"])
    assert (found["state"], found["reasons"][0]["code"]) == ("rejected", "content_type_mismatch")


# --- who ------------------------------------------------------------------------------------------------------------


async def test_another_environment_sees_nothing(client: httpx.AsyncClient, path: str, environment: Any) -> None:
    """Neither the artifact nor its content, not even that the content is known."""
    data = fresh()
    made = await uploaded(client, path, data)
    for what in ("", "/content"):
        assert (await client.get(f"{environment.path}/artifacts/{made['id']}{what}")).status_code == 404
    assert (await client.delete(f"{environment.path}/artifacts/{made['id']}")).status_code == 404
    known = await client.post(f"{environment.path}/artifacts", json={"size_bytes": len(data), "sha256": sha256(data)})
    assert known.status_code == 201


async def test_more_than_the_environment_may_store_is_refused(client: httpx.AsyncClient, environment: Any) -> None:
    """409 before anything is read, for both ways of uploading."""
    path = environment.path
    assert (await client.patch(path, json={"limits": {"stored_bytes": 10_000}})).status_code == 200
    refused = await upload(client, path, fresh(20_000))
    assert (refused.status_code, refused.json()["code"]) == (409, "quota_exceeded")
    body = {"size_bytes": 20_000, "sha256": "0" * 64}
    assert (await client.post(f"{path}/artifacts", json=body)).json()["code"] == "quota_exceeded"
    assert (await upload(client, path, fresh(1_000))).status_code == 201


async def test_a_nodes_token_puts_and_gets_artifacts_of_its_environment_only(
    client: httpx.AsyncClient,
    path: str,
    platform: Any,
    make_node_credential: Any,
    environment: Any,
    own_gateway: OwnGateway,
) -> None:
    """With the token of its stream; nothing else of the API, and no other environment."""
    credential = await make_node_credential(path)
    async with httpx.AsyncClient(base_url=own_gateway.url, timeout=30) as bare:
        token = (
            await bare.post(
                "/api/oauth/token", data={"grant_type": "client_credentials"},
                auth=(credential.client_id, credential.client_secret),
            )
        ).json()  # fmt: skip
        own, data = token["environment_path"], fresh()
        bare.headers["authorization"] = f"Bearer {token['access_token']}"
        made = (await upload(bare, own, data)).json()
        assert made["created_by"].startswith("node:")
        assert (await bare.get(f"{own}/artifacts/{made['id']}/content")).content == data
        assert (await bare.get(f"{environment.path}/artifacts/{made['id']}")).status_code == 404
        assert (await bare.get(f"{own}/artifacts")).status_code == 401
        assert (await bare.delete(f"{own}/artifacts/{made['id']}")).status_code == 401
        assert (await bare.get(f"{own}/jobs")).status_code == 401
        assert (await bare.post(f"{own}/jobs", json={"function": "a"})).status_code == 401
        forged = token["access_token"][:-6] + "AAAAAA"
        assert (await upload(bare, own, data, headers=bearer(forged))).status_code == 401
        assert (await client.delete(f"{path}/node-credentials/{credential.id}")).status_code == 204
        own_gateway.services.node_tokens.clear()  # what five seconds do
        assert (await upload(bare, own, data)).status_code == 401
