"""Bulk replays over HTTP: what is chosen, how far it is, and that each job is run again once."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import pytest

from storage.postgres.replay.replay import choose
from waypost.errors import WaypostError
from waypost.ids import new_id
from waypost.job.record import JobFilter

WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
async def owner(platform: Any) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(platform.database_url("waypost_owner"))
    yield connection
    await connection.close()


async def canceled_jobs(client: httpx.AsyncClient, path: str, count: int, **spec: Any) -> list[str]:
    """Jobs that have ended, oldest first."""
    spec = {"function": f"f{secrets.token_hex(4)}"} | spec
    made = await client.post(f"{path}/jobs/bulk", json={"jobs": [spec | {"payload": {"n": n}} for n in range(count)]})
    assert made.status_code == 202, made.text
    ids = [one["id"] for one in made.json()["items"]]
    for job in ids:
        assert (await client.post(f"{path}/jobs/{job}/cancel")).status_code == 202
    return ids


async def ended(client: httpx.AsyncClient, path: str, replay: dict[str, Any]) -> dict[str, Any]:
    async with asyncio.timeout(WAIT_SECONDS):
        while (now := (await client.get(f"{path}/jobs/replays/{replay['id']}")).json())["finished_at"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return dict(now)


async def test_ended_jobs_are_run_again_each_once(
    client: httpx.AsyncClient, shared_environment: Any, owner: Any
) -> None:
    """Chosen by function and state, oldest first, each a new job with `replay_of`, the same payload, and the overrides;
    the same Idempotency-Key is the same bulk replay."""
    path, function = shared_environment.path, f"again{secrets.token_hex(4)}"
    ids = await canceled_jobs(client, path, 5, function=function, labels={"order": "A"})
    body = {"state": ["canceled"], "function": function, "label": "order=A", "overrides": {"priority": 9}}
    key = {"Idempotency-Key": secrets.token_hex(8)}
    answer = await client.post(f"{path}/jobs/replay", json=body, headers=key)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["matched"], answer.json()["state"]) == (5, "queued")
    done = await ended(client, path, answer.json())
    assert (done["state"], done["matched"], done["replayed"], done["skipped"]) == ("completed", 5, 5, 0)
    assert answer.headers["location"].endswith(f"/jobs/replays/{done['id']}")
    again = await client.post(f"{path}/jobs/replay", json=body, headers=key)
    assert (again.json()["id"], again.headers["idempotent-replayed"]) == (done["id"], "true")
    made = await owner.fetch(
        "select j.id, j.replay_of, j.rank from control.job j join control.route r on r.id = j.route"
        " where r.function = $1 and j.replay_of is not null order by j.id",
        function,
    )
    assert [str(row["replay_of"]) for row in made] == ids
    assert {row["rank"] for row in made} == {0}
    first = (await client.get(f"{path}/jobs/{made[0]['id']}")).json()
    assert (first["payload"], first["labels"], first["replay_of"]) == ({"n": 0}, {"order": "A"}, ids[0])


async def test_a_dry_run_counts_and_replays_nothing(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """By function and by state; it says when older jobs match, too; the newest are meant."""
    path, label = shared_environment.path, f"batch={secrets.token_hex(4)}"
    labels = dict([label.split("=")])
    first = await canceled_jobs(client, path, 2, function="count.a", labels=labels)
    second = await canceled_jobs(client, path, 3, function="count.b", labels=labels)
    body = {"state": "canceled", "label": [label], "dry_run": True}
    before = len((await client.get(f"{path}/jobs/replays")).json()["items"])
    answer = await client.post(f"{path}/jobs/replay", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["matched"], found["replayed"], found["more"]) == (5, 0, False)
    assert found["by_function"] == {"count.b": 3, "count.a": 2}
    assert found["by_state"] == {"canceled": 5}
    assert datetime.fromisoformat(found["oldest"]) <= datetime.fromisoformat(found["newest"])
    few = (await client.post(f"{path}/jobs/replay", json=body | {"limit": 3})).json()
    assert (few["matched"], few["more"], few["by_function"]) == (3, True, {"count.b": 3})
    none = (await client.post(f"{path}/jobs/replay", json=body | {"state": ["failed", "expired"]})).json()
    assert (none["matched"], none["oldest"]) == (0, None)
    late = {"created_after": "2999-01-01T00:00:00Z"}
    assert (await client.post(f"{path}/jobs/replay", json=body | late)).json()["matched"] == 0
    given = {"ids": [*first, second[0], first[0]], "dry_run": True}
    assert (await client.post(f"{path}/jobs/replay", json=given)).json()["matched"] == 3
    assert len((await client.get(f"{path}/jobs/replays")).json()["items"]) == before


async def test_a_replay_of_nothing_is_over_at_once(client: httpx.AsyncClient, shared_environment: Any) -> None:
    """It is a replay like others, in the list, newest first; canceling it is too late."""
    made = await client.post(f"{shared_environment.path}/jobs/replay", json={"state": "failed", "function": "no.such"})
    done = await ended(client, shared_environment.path, made.json())
    assert (done["state"], done["matched"], done["selection"]) == (
        "completed",
        0,
        {"state": "failed", "function": "no.such"},
    )
    listed = (await client.get(f"{shared_environment.path}/jobs/replays")).json()["items"]
    assert done["id"] in [one["id"] for one in listed]
    assert listed == sorted(listed, key=lambda one: one["id"], reverse=True)
    late = await client.post(f"{shared_environment.path}/jobs/replays/{done['id']}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "replay_already_ended")


UNKNOWN = "01a1ff1f-e780-7477-8f52-4344687d9e8e"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "/state"),
        ({"function": "a.b"}, "/state"),
        ({"state": []}, "/state"),
        ({"state": "running"}, "/state"),
        ({"state": ["failed", "nonsense"]}, "/state"),
        ({"state": "failed", "label": "nothing"}, "/label"),
        ({"state": "failed", "trigger_id": "nothing"}, "/trigger_id"),
        ({"state": "failed", "created_after": "2026-11-21T09:00:00"}, "/created_after"),
        ({"state": "failed", "created_after": "yesterday"}, "/created_after"),
        ({"state": "failed", "limit": 10_001}, "/limit"),
        ({"state": "failed", "limit": 0}, "/limit"),
        ({"state": "failed", "function": ["f"] * 51}, "/function"),
        ({"state": "failed", "unknown": 1}, "/unknown"),
        ({"state": "failed", "overrides": {"function": "c.d"}}, "/overrides/function"),
        ({"state": "failed", "overrides": {"priority": 10}}, "/overrides/priority"),
        ({"state": "failed", "overrides": {"tags": ["a b"]}}, "/overrides/tags/0"),
        ({"ids": []}, "/ids"),
        ({"ids": [UNKNOWN]}, "/ids/0"),
        ({"ids": [UNKNOWN], "state": "failed"}, "/state"),
        ({"ids": [UNKNOWN], "limit": 5}, "/limit"),
    ],
)
async def test_what_cannot_be_meant_is_refused_where_it_stands(
    client: httpx.AsyncClient, shared_environment: Any, body: dict[str, Any], path: str
) -> None:
    """With a dry run and without; nothing is kept."""
    for more in ({}, {"dry_run": True}):
        answer = await client.post(f"{shared_environment.path}/jobs/replay", json=body | more)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["path"] == path


async def test_only_ended_jobs_of_this_environment_are_replayed(
    client: httpx.AsyncClient, shared_environment: Any, environment: Any
) -> None:
    """One that waits is 409, one of another environment is as unknown as one that nobody has."""
    waiting = (await client.post(f"{shared_environment.path}/jobs", json={"function": "nobody.serves"})).json()["id"]
    answer = await client.post(f"{shared_environment.path}/jobs/replay", json={"ids": [waiting]})
    assert (answer.status_code, answer.json()["code"]) == (409, "job_not_ended")
    foreign = (await canceled_jobs(client, environment.path, 1))[0]
    answer = await client.post(f"{shared_environment.path}/jobs/replay", json={"ids": [foreign]})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_job")
    made = await client.post(f"{environment.path}/jobs/replay", json={"ids": [foreign]})
    elsewhere = await client.get(f"{shared_environment.path}/jobs/replays/{made.json()['id']}")
    assert elsewhere.status_code == 404


async def test_a_selection_that_takes_too_long_says_how_to_narrow_it() -> None:
    """A rare state in a long ledger: the database gives up, the request does not fail without a word."""

    class Slow:
        async def fetch(self, *_: Any) -> None:
            raise asyncpg.QueryCanceledError("canceling statement due to statement timeout")

    with pytest.raises(WaypostError, match="selection_too_wide") as refused:
        await choose(Slow(), new_id(), JobFilter(), 10)
    assert "created_after" in refused.value.detail
