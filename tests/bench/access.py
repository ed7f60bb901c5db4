"""What it costs to know who asks and whether they may: with everything cached, and with nothing.

The gateway's own code in this process, against the platform's PostgreSQL: who a credential is (`identify`), what the
path means (`find_place`), whether the role allows it (`require`). Reading the request and counting its rate are not.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

import psutil

from gateway.auth import identify
from gateway.endpoint import find_place
from gateway.exchange import Exchange
from gateway.services import Services
from tests.bench.context import Bench
from tests.bench.report import Row
from waypost import ids
from waypost.access.decision import require
from waypost.access.key import SESSION_PREFIX, make_key
from waypost.access.model import Permission
from waypost.settings import gateway_settings

TARGET_CACHED_US = 5.0
TARGET_UNCACHED_MS = 2.0
PROJECTS = 50  # in which the person has a role
BATCH = 2_000

Authorize = Callable[[], Awaitable[None]]


def cost(bench: Bench) -> None:
    """A key of an environment, and a person with a role in fifty projects."""
    asyncio.run(_measure(bench, psutil.Process(bench.stack.pids()["gateway-1"]).environ()))


async def _measure(bench: Bench, environ: dict[str, str]) -> None:
    services = await Services.open(gateway_settings(environ | {"WAYPOST_PROCESS_NAME": "bench-access"}))
    try:
        person = await _person(services, bench)
        tokens = {"key of an environment": bench.place.key, f"person with {PROJECTS + 1} roles": person}
        for name, token in tokens.items():
            authorize = _authorize(services, bench, token)
            await authorize()
            cached = [await _cached_us(authorize) for _ in range(int(bench.seconds(25, 8)))]
            uncached = [await _uncached_ms(services, authorize) for _ in range(int(bench.seconds(400, 100)))]
            bench.rows += [_cached_row(name, cached), _uncached_row(name, uncached)]
    finally:
        services.feed.close()
        await services.close()


def _authorize(services: Services, bench: Bench, token: str) -> Authorize:
    """What a request does before its endpoint's own work, here a submission's."""
    path = f"{bench.place.path}/jobs"
    scope = {
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer " + token.encode())],
    }
    exchange = Exchange(scope, _nothing)
    parts = path.split("/")
    parameters = {"org": parts[3], "project": parts[5], "environment": parts[7]}

    async def authorize() -> None:
        principal = await identify(services.keys, services.sessions, exchange)
        place = await find_place(services, principal, parameters, Permission.OPERATE_ENVIRONMENT)
        require(principal, Permission.OPERATE_ENVIRONMENT, place.scope)

    return authorize


async def _nothing() -> None:
    raise RuntimeError("no body is read")


async def _cached_us(authorize: Authorize) -> float:
    """Microseconds of one, over a batch. Of this process's CPU: nothing is waited for, and neighbours do not count."""
    began = time.process_time()
    for _ in range(BATCH):
        await authorize()
    return (time.process_time() - began) / BATCH * 1e6


async def _uncached_ms(services: Services, authorize: Authorize) -> float:
    """Milliseconds of one that has to ask PostgreSQL for everything."""
    services.keys.clear()
    services.sessions.clear()
    services.places.clear()
    began = time.perf_counter()
    await authorize()
    return (time.perf_counter() - began) * 1000


def _cached_row(name: str, taken: list[float]) -> Row:
    middle = statistics.median(taken)
    return Row(
        "access",
        f"authorization, cached: {name}",
        f"{middle:.1f} µs of CPU",
        {"p50_us": middle, "worst_us": max(taken)},
        target=f"≤ {TARGET_CACHED_US:.0f} µs",
        met=middle <= TARGET_CACHED_US,
        note=f"median of {len(taken)} batches of {BATCH:,}",
    )


def _uncached_row(name: str, taken: list[float]) -> Row:
    ordered = sorted(taken)
    middle, late = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    return Row(
        "access",
        f"authorization, nothing cached: {name}",
        f"p50 {middle:.2f} · p99 {late:.2f} ms",
        {"p50_ms": middle, "p99_ms": late},
        target=f"p50 ≤ {TARGET_UNCACHED_MS:.0f} ms",
        met=middle <= TARGET_UNCACHED_MS,
    )


_OWN = "select organization_id, project_id from control.environment where id = $1"
_PERSON = "insert into control.person (id, email, email_folded) values ($1, $2, $2)"
_SESSION = """
insert into control.person_session (id, person_id, public_id, token_hash, bearer, expires_at)
values ($1, $2, $3, $4, true, now() + interval '12 hours')
"""
_PROJECTS = """
insert into control.project (id, organization_id, slug, name)
select i, $2, 'bench-' || right(i::text, 12), 'bench' from unnest($1::uuid[]) i
"""
_MEMBERS = """
insert into control.membership (id, organization_id, project_id, person_id, role, created_by)
select i, $4, p, $3, 'operator', 'bench' from unnest($1::uuid[], $2::uuid[]) as u (i, p)
"""


async def _person(services: Services, bench: Bench) -> str:
    """Somebody signed in, an operator of the bench's project and of fifty others; the session's token."""
    public_id, token, token_hash = make_key(SESSION_PREFIX)
    person, others = ids.new_id(), [ids.new_id() for _ in range(PROJECTS)]
    async with services.database.unit() as connection:
        organization, own = await connection.fetchrow(_OWN, bench.place.id)
        await connection.execute(_PERSON, person, f"{person}@example.com")
        await connection.execute(_SESSION, ids.new_id(), person, public_id, token_hash)
        await connection.execute(_PROJECTS, others, organization)
        members = [ids.new_id() for _ in (own, *others)]
        await connection.execute(_MEMBERS, members, [own, *others], person, organization)
    return token
