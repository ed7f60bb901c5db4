"""Lists of jobs: filters, cursors that are stable under inserts and bound to their list."""

from typing import Any

import httpx
import pytest

from waypost.ids import new_id


async def submit(client: httpx.AsyncClient, path: str, count: int = 1, **spec: Any) -> list[str]:
    """Ids in the order of submission."""
    jobs = [{"function": "never.run"} | spec for _ in range(count)]
    answer = await client.post(f"{path}/jobs/bulk", json={"jobs": jobs})
    assert answer.status_code == 202, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def listed(client: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    answer = await client.get(f"{path}/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_pages_show_everything_once_newest_first_while_more_comes(
    client: httpx.AsyncClient, environment: Any
) -> None:
    """Inserts between two pages move nothing."""
    made = await submit(client, environment.path, 25)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await listed(client, environment.path, limit=7, **cursor)
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        await submit(client, environment.path, 3)
    assert seen == sorted(made, reverse=True)


async def test_filters_are_alternatives_within_and_conditions_between_fields(
    client: httpx.AsyncClient, environment: Any
) -> None:
    """state, function, label, instants: each alone and together."""
    (one,) = await submit(client, environment.path, function="a.one", labels={"order": "A-17", "z": "1"})
    (two,) = await submit(client, environment.path, function="a.two", labels={"order": "B-18"})
    (three,) = await submit(client, environment.path, function="a.three")
    await client.post(f"{environment.path}/jobs/{two}/cancel")

    async def ids(**query: Any) -> list[str]:
        return [item["id"] for item in (await listed(client, environment.path, **query))["items"]]

    assert await ids() == [three, two, one]
    assert await ids(state="canceled") == [two]
    assert await ids(state=["queued", "canceled"]) == [three, two, one]
    assert await ids(function=["a.one", "a.three"]) == [three, one]
    assert await ids(**{"label.order": "A-17"}) == [one]
    assert await ids(**{"label.order": ["A-17", "B-18"]}) == [two, one]
    assert await ids(**{"label.order": ["A-17", "B-18"], "state": "queued", "label.z": "1"}) == [one]
    assert await ids(trigger_id=str(new_id())) == []
    created = (await client.get(f"{environment.path}/jobs/{two}")).json()["created_at"]
    assert await ids(created_after=created, function="a.two") == [two]
    assert await ids(created_before=created, function="a.two") == []


async def test_a_cursor_is_good_for_its_list_only(
    client: httpx.AsyncClient, environment: Any, shared_environment: Any
) -> None:
    """Other filters, another environment, a bit changed: 422 `invalid_cursor`."""
    await submit(client, environment.path, 3)
    cursor = (await listed(client, environment.path, limit=1, state="queued"))["next_cursor"]
    assert cursor is not None
    assert len((await listed(client, environment.path, limit=2, state="queued", cursor=cursor))["items"]) == 2
    changed = cursor[:30] + ("B" if cursor[30] == "A" else "A") + cursor[31:]  # in what it is bound by
    for path, query in (
        (environment.path, {"cursor": cursor}),
        (environment.path, {"cursor": cursor, "state": "running"}),
        (shared_environment.path, {"cursor": cursor, "state": "queued"}),
        (environment.path, {"cursor": changed, "state": "queued"}),
        (environment.path, {"cursor": "%%%", "state": "queued"}),
    ):
        answer = await client.get(f"{path}/jobs", params=query)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor"), query


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_parameter"),
        ("limit=201", "invalid_parameter"),
        ("limit=x", "invalid_parameter"),
        ("limit=1&limit=2", "repeated_parameter"),
        ("state=asleep", "invalid_parameter"),
        ("staet=queued", "unknown_parameter"),
        ("trigger_id=7", "invalid_parameter"),
        ("created_after=yesterday", "invalid_parameter"),
        ("created_after=2026-11-21T09:00:00", "invalid_parameter"),
        ("&".join(f"function=f{n}" for n in range(51)), "too_many_values"),
        ("state=%ff", "invalid_parameter"),
    ],
)
async def test_wrong_parameters_are_refused(
    client: httpx.AsyncClient, shared_environment: Any, query: str, code: str
) -> None:
    """422 with the parameter's name: a misspelt filter must not show everything."""
    answer = await client.get(f"{shared_environment.path}/jobs?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_the_tenancy_tree_can_be_paged_too(client: httpx.AsyncClient) -> None:
    """Projects and environments: newest first, cursors alike."""
    for number in range(3):
        answer = await client.post("/v1/orgs/default/projects", json={"name": f"Paged {number}", "slug": None})
        assert answer.status_code in (201, 409)
    first = (await client.get("/v1/orgs/default/projects?limit=2")).json()
    second = (await client.get(f"/v1/orgs/default/projects?limit=2&cursor={first['next_cursor']}")).json()
    ids = [item["id"] for item in first["items"] + second["items"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids) >= 3
