"""Many environments at once, acting at random through the API: nobody ever sees anything of anybody else.

What an environment makes or is told (ids, names, labels, payloads, notes, cursors, keys) is noted as its own. Every
answer and event that any environment gets is searched for what all the others have. The seed is printed; SEED repeats.
"""

import asyncio
import json
import os
import random
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx
from waypost_sdk import Node

from tests.isolation.conftest import MakeTenant, Tenant
from waypost import ids

ENVIRONMENTS = 6
STEPS = 120  # of each environment
ACTORS = 3  # at once in each environment
SEED = int(os.environ.get("SEED") or secrets.randbits(32))
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_LEFT_OUT = ("x-request-id", "date")


class LeakError(AssertionError):
    """Something of somebody else was in an answer."""


class Actor:
    """One environment: what it knows of itself, and what it saw."""

    def __init__(self, tenant: Tenant, shared: "Shared") -> None:
        self.tenant, self.shared = tenant, shared
        self.mark = f"m{secrets.token_hex(8)}"  # in everything that it names
        self.own: set[str] = {self.mark, str(tenant.id), tenant.organization, tenant.key}
        self.jobs: list[str] = []
        self.replayed: set[str] = set()  # jobs that an answer said to be there already: a first answer named each
        self.things: dict[str, list[str]] = {}  # kind → ids
        self.cursors: list[str] = []
        self.seen = 0
        self.listed: set[str] = set()  # jobs that lists showed; each must turn out to be its own
        self.heard = asyncio.Event()  # an event of its own jobs

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The request, with its answer looked through."""
        answer = await self.tenant.client.request(method, f"{self.tenant.path}{path}", **options)
        self.look(answer.text)
        for name, value in answer.headers.items():
            if name.lower() not in _LEFT_OUT:
                self.look(value)
        assert answer.status_code < 500, (method, path, answer.text)
        return answer

    def look(self, text: str) -> None:
        """Raises LeakError when the text holds anything that is another one's."""
        self.seen += 1
        for other in self.shared.actors:
            if other is not self:
                if other.mark in text:
                    raise LeakError(f"{other.mark} of another environment in {text[:300]}")
                if found := other.own.intersection(_ID.findall(text)):
                    raise LeakError(f"{found} of another environment in {text[:300]}")

    def note(self, value: Any) -> None:
        """All ids in an answer that is its own to see."""
        self.own.update(_ID.findall(json.dumps(value)))

    def keep(self, kind: str, identifier: str) -> None:
        self.things.setdefault(kind, []).append(identifier)
        self.own.add(identifier)


@dataclass
class Shared:
    """What all of them use: the dice, function names, idempotency keys."""

    dice: random.Random
    actors: list[Actor] = field(default_factory=list)
    functions: tuple[str, ...] = ("report.make", "text.count", "image.resize")
    idempotency_keys: tuple[str, ...] = tuple(f"shared-{n}" for n in range(8))


async def submit(a: Actor, dice: random.Random) -> None:
    body = {
        "function": dice.choice(a.shared.functions),
        "payload": {"secret": a.mark},
        "labels": {"whose": a.mark, "same": "for-all"},
        "tags": dice.choice([[], ["gpu"]]),
    }
    headers = {"Idempotency-Key": dice.choice(a.shared.idempotency_keys)} if dice.random() < 0.4 else {}
    answer = await a.call("POST", "/jobs", json=body, headers=headers)
    assert answer.status_code in (202, 409), answer.text
    if answer.status_code == 202:
        made = answer.json()
        a.jobs.append(made["id"])
        if "idempotent-replayed" in answer.headers:
            a.replayed.add(made["id"])
        else:
            a.note(made)


async def submit_many(a: Actor, dice: random.Random) -> None:
    jobs = [{"function": dice.choice(a.shared.functions), "payload": a.mark} for _ in range(dice.randint(1, 5))]
    if dice.random() < 0.5:
        jobs[0]["idempotency_key"] = dice.choice(a.shared.idempotency_keys) + "-bulk"
    answer = await a.call("POST", "/jobs/bulk", json={"jobs": jobs})
    assert answer.status_code in (202, 409), answer.text
    if answer.status_code == 202:
        a.note(answer.json())
        a.jobs += [item["id"] for item in answer.json()["items"]]


async def list_jobs(a: Actor, dice: random.Random) -> None:
    filters = dice.choice(
        [
            {},
            {"label.same": "for-all"},
            {"function": dice.choice(a.shared.functions)},
            {"state": "queued"},
            {"state": "completed"},
        ]
    )
    answer = await a.call("GET", "/jobs", params={"limit": dice.randint(1, 5), **filters})
    assert answer.status_code == 200, answer.text
    a.listed |= {job["id"] for job in answer.json()["items"]}
    if cursor := answer.json()["next_cursor"]:
        a.cursors.append(cursor)
        following = await a.call("GET", "/jobs", params={"limit": 5, "cursor": cursor, **filters})
        assert following.status_code == 200, following.text
        a.listed |= {job["id"] for job in following.json()["items"]}


async def list_others(a: Actor, dice: random.Random) -> None:
    """Every other list and view there is."""
    for path in dice.sample(["/functions", "/queue", "/nodes", "/keys", "/node-credentials", "/audit", ""], 3):
        answer = await a.call("GET", path)
        assert answer.status_code == 200, (path, answer.text)


async def ask_for_anothers(a: Actor, dice: random.Random) -> None:
    """By id: whatever it is, it is not there."""
    other = dice.choice([actor for actor in a.shared.actors if actor is not a])
    ways: list[tuple[str, str, list[str]]] = [
        ("GET", "/jobs/{}", other.jobs),
        ("GET", "/jobs/{}/attempts", other.jobs),
        ("GET", "/jobs/{}/logs", other.jobs),
        ("GET", "/jobs/{}/events", other.jobs),
        ("POST", "/jobs/{}/cancel", other.jobs),
        ("POST", "/jobs/{}/replay", other.jobs),
        ("GET", "/keys/{}", other.things.get("key", [])),
        ("DELETE", "/keys/{}", other.things.get("key", [])),
        ("POST", "/keys/{}/rotate", other.things.get("key", [])),
        ("DELETE", "/node-credentials/{}", other.things.get("credential", [])),
        ("GET", "/nodes/{}", other.things.get("node", [])),
        ("POST", "/nodes/{}/drain", other.things.get("node", [])),
        ("DELETE", "/nodes/{}", other.things.get("node", [])),
    ]
    method, path, known = dice.choice([way for way in ways if way[2]] or [(*ways[0][:2], [str(ids.new_id())])])
    identifier = dice.choice(known)
    answer = await a.call(method, path.format(identifier), json={} if method == "POST" else None)
    assert answer.status_code == 404, (method, path, answer.text)
    assert other.mark not in answer.text


async def use_anothers_cursor(a: Actor, dice: random.Random) -> None:
    """It is refused, whatever the filters."""
    cursors = [cursor for actor in a.shared.actors if actor is not a for cursor in actor.cursors]
    if cursors:
        for path in ("/jobs", "/keys"):
            answer = await a.call("GET", path, params={"cursor": dice.choice(cursors)})
            assert answer.status_code == 422, answer.text
            assert answer.json()["code"] == "invalid_cursor"


async def filter_for_anothers(a: Actor, dice: random.Random) -> None:
    """Its labels, its replays and its triggers match nothing here."""
    other = dice.choice([actor for actor in a.shared.actors if actor is not a])
    answer = await a.call("GET", "/jobs", params={"label.whose": other.mark})
    assert answer.json()["items"] == []
    if other.jobs:
        answer = await a.call("GET", "/jobs", params={"trigger_id": dice.choice(other.jobs)})
        assert answer.json()["items"] == []


async def act_on_own(a: Actor, dice: random.Random) -> None:
    if a.jobs:
        job = dice.choice(a.jobs)
        answer = await a.call("GET", f"/jobs/{job}")
        assert answer.status_code == 200
        what = dice.choice(["cancel", "replay"])
        answer = await a.call("POST", f"/jobs/{job}/{what}", json={} if what == "replay" else None)
        assert answer.status_code in (200, 202, 409), answer.text
        if what == "replay" and answer.status_code == 202:
            a.note(answer.json())
            a.jobs.append(answer.json()["id"])


async def make_key(a: Actor, dice: random.Random) -> None:
    headers = {"Idempotency-Key": dice.choice(a.shared.idempotency_keys)}
    answer = await a.call("POST", "/keys", json={"name": a.mark, "role": "viewer"}, headers=headers)
    assert answer.status_code == 201, answer.text
    a.keep("key", answer.json()["id"])
    a.own.add(answer.json()["key"])


async def make_credential(a: Actor, dice: random.Random) -> None:
    headers = {"Idempotency-Key": dice.choice(a.shared.idempotency_keys)}
    answer = await a.call("POST", "/node-credentials", json={"name": a.mark}, headers=headers)
    assert answer.status_code == 201, answer.text
    a.keep("credential", answer.json()["id"])


async def pause(a: Actor, dice: random.Random) -> None:
    """The same functions everywhere: each environment's own pause, note and who paused it."""
    function = dice.choice(a.shared.functions[1:])
    answer = await a.call("POST", f"/functions/{function}/pause", json={"note": a.mark})
    assert answer.status_code in (200, 404), answer.text
    answer = await a.call("GET", f"/functions/{function}")
    assert answer.status_code in (200, 404)
    if dice.random() < 0.7:
        await a.call("POST", f"/functions/{function}/resume")


STEPS_OF: list[Callable[[Actor, random.Random], Awaitable[None]]] = [
    submit, submit, submit, submit_many, list_jobs, list_jobs, list_others, ask_for_anothers, ask_for_anothers,
    use_anothers_cursor, filter_for_anothers, act_on_own, make_key, make_credential, pause,
]  # fmt: skip


async def test_nobody_ever_sees_anything_of_another(make_tenant: MakeTenant, platform: Any) -> None:
    """No row, id, count, cursor, event or error detail."""
    print(f"SEED={SEED}")
    shared = Shared(random.Random(SEED))
    made = await asyncio.gather(*(make_tenant() for _ in range(ENVIRONMENTS)))
    shared.actors = [Actor(tenant, shared) for tenant in made]
    async with asyncio.timeout(150):
        nodes = [asyncio.create_task(await _node(actor, platform)) for actor in shared.actors[:3]]
        listeners = [asyncio.create_task(_listen(actor)) for actor in shared.actors]
        await asyncio.gather(
            *(_act(actor, random.Random(shared.dice.random())) for actor in shared.actors for _ in range(ACTORS))
        )
        events = await asyncio.gather(
            *(_settled(actor, listener) for actor, listener in zip(shared.actors, listeners, strict=True))
        )
        for node in nodes:
            node.cancel()
        await asyncio.gather(*nodes, return_exceptions=True)
    assert all(count > 0 for count in events), "each heard of its own jobs"
    for actor in shared.actors:
        assert actor.replayed <= actor.own, "a first answer of somebody else"
        await _counts_are_its_own(actor)
    assert sum(actor.seen for actor in shared.actors) > ENVIRONMENTS * STEPS


async def _node(actor: Actor, platform: Any) -> Coroutine[Any, Any, None]:
    """A node that works for this environment; a payload of another one ends the test."""
    made = (await actor.call("POST", "/node-credentials", json={"name": actor.mark})).json()
    actor.keep("credential", made["id"])
    node = Node(
        relay=platform.relay_address,
        url=platform.api_url,
        client_id=made["client_id"],
        client_secret=made["client_secret"],
        tags=["gpu"],
        name=actor.mark,
    )

    async def work(job: Any, payload: Any) -> Any:
        actor.look(json.dumps(payload))
        return {"echo": payload}

    for function in actor.shared.functions:
        node.function(function)(work)
    return node.serve()


async def _act(actor: Actor, dice: random.Random) -> None:
    for _ in range(STEPS // ACTORS):
        await dice.choice(STEPS_OF)(actor, dice)


async def _listen(actor: Actor) -> int:
    """Read the environment's events until told to stop; each is looked through."""
    count = 0
    try:
        async with actor.tenant.client.stream("GET", f"{actor.tenant.path}/events", timeout=150) as answer:
            async for line in answer.aiter_lines():
                actor.look(line)
                if line.startswith("data:"):
                    count += 1
                    actor.heard.set()
    except asyncio.CancelledError:
        return count
    return count


async def _settled(actor: Actor, listener: "asyncio.Task[int]") -> int:
    """How many events it got; what was wrong with one is raised."""
    heard = asyncio.create_task(actor.heard.wait())
    await asyncio.wait({heard, listener}, timeout=15, return_when=asyncio.FIRST_COMPLETED)
    heard.cancel()
    listener.cancel()
    return await listener


async def _counts_are_its_own(actor: Actor) -> None:
    """Every job is in the list, no other; the functions' and the queue's counts are no more than these."""
    found: set[str] = set()
    cursor: str | None = ""
    while cursor is not None:
        page = (await actor.call("GET", "/jobs", params={"limit": 200} | ({"cursor": cursor} if cursor else {}))).json()
        found |= {job["id"] for job in page["items"]}
        cursor = page["next_cursor"]
    assert found == set(actor.jobs)
    assert actor.listed
    assert actor.listed <= found, "a job that nobody here submitted"
    states = (await actor.call("GET", "/queue")).json()["states"]
    assert sum(states.values()) - states["waiting"] <= len(found), states  # which is queued and retrying again
