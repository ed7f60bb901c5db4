"""What the ledger forgets, and what it must not: on made-up old ids, whose weeks have partitions of their own."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from storage.postgres.ledger.retention import body
from storage.postgres.ledger.retention import object as bucket
from storage.postgres.ledger.retention.prune import prune
from tests.storage.ledger_ground import Ground, Tenant
from waypost.errors import Category, WaypostError, not_found, unavailable
from waypost.ids import first_id_at, new_id
from waypost.job.model import End

RESULTS, JOBS = 7, 30


class Old:
    """Makes jobs of the past in a tenant's ledger."""

    def __init__(self, ground: Ground, tenant: Tenant) -> None:
        self.ground, self.tenant = ground, tenant
        self._made = 0

    def id_of(self, days: float) -> UUID:
        """A new id as it was made `days` ago."""
        self._made += 1
        return UUID(int=first_id_at(datetime.now(UTC) - timedelta(days=days)).int + self._made)

    async def week(self, days: int) -> date:
        """The Monday of `days` ago, with its partitions."""
        day = datetime.now(UTC).date() - timedelta(days=days)
        monday = day - timedelta(days=day.weekday())
        await self.ground.admin.execute("select control.make_partition($1::date)", monday)
        return monday

    async def job(
        self, days: float, ended: float | None, payload: bytes | None = b"sealed", key: str | None = None
    ) -> UUID:
        """A job made and ended so many days ago (None: not ended), its bodies in rows or, with a `key`, in S3."""
        identifier = self.id_of(days)
        route = await self.tenant.route()
        admin = self.ground.admin
        await admin.execute(
            "insert into control.job (id, environment_id, route, rank, submitted_by, payload, payload_object)"
            " values ($1, $2, $3, 4, 'test', $4, $5)",
            identifier, self.tenant.id, route, None if key else payload, key and f"{key}/payload",
        )  # fmt: skip
        await admin.execute("insert into control.job_label values ($1, 'a=b', $2)", self.tenant.id, identifier)
        if ended is not None:
            await admin.execute(
                "insert into control.job_end (job_id, environment_id, route, state, number, result, result_object,"
                " finished_at) values ($1, $2, $3, 1, 1, $4, $5, now() - make_interval(secs => $6))",
                identifier, self.tenant.id, route, None if key else b"sealed", key and f"{key}/result", ended * 86_400,
            )  # fmt: skip
        return identifier

    async def remains(self, job: UUID) -> None:
        """An attempt and a chunk of its log."""
        await self.ground.admin.execute(
            "insert into control.attempt (environment_id, job_id, number, attempt_id, session, node, started_at,"
            " outcome, retry_key) values ($1, $2, 1, 1, 1, $3, now(), 2, $3)",
            self.tenant.id, job, new_id(),
        )  # fmt: skip
        await self.ground.admin.execute("insert into control.job_log values ($1, $2, 1, 0, 'x')", self.tenant.id, job)

    async def erased_until(self, days: float) -> None:
        await self.ground.admin.execute(
            "update control.erasure set until = now() - make_interval(secs => $1)", days * 86_400
        )

    async def bodies(self, job: UUID) -> tuple[bytes | None, bytes | None]:
        row = await self.ground.admin.fetchrow(
            "select payload, result from control.job j left join control.job_end e on e.job_id = j.id where j.id = $1",
            job,
        )
        return row["payload"], row["result"]

    async def objects(self, job: UUID) -> tuple[str | None, str | None]:
        row = await self.ground.admin.fetchrow(
            "select payload_object, result_object from control.job j"
            " left join control.job_end e on e.job_id = j.id where j.id = $1",
            job,
        )
        return row["payload_object"], row["result_object"]


class Bucket:
    """S3 as retention sees it."""

    def __init__(self) -> None:
        self.deleted: list[str] = []
        self.errors: dict[str, WaypostError] = {}

    async def delete(self, environment_id: UUID, key: str) -> None:
        if key in self.errors:
            raise self.errors[key]
        self.deleted.append(key)


@pytest.fixture
async def old(ground: Ground, tenant: Tenant) -> AsyncIterator[Old]:
    """Leaves no week and no mark of its own."""
    yield Old(ground, tenant)
    weeks = await ground.admin.fetch(
        "select to_date(substr(c.relname, 6), 'YYYYMMDD') as monday"
        " from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'control.job'::regclass and c.relname ~ '^job_w[0-9]{8}$'"
    )
    for row in weeks:
        if row["monday"] < datetime.now(UTC).date() - timedelta(days=7):
            for table in ("job", "job_label", "job_end"):
                await ground.admin.execute(f"drop table control.{table}_w{row['monday']:%Y%m%d}")
    await ground.admin.execute("update control.erasure set until = now(); truncate control.dropped_week")


async def has_week(ground: Ground, monday: date) -> bool:
    """All three partitions or none."""
    names = [f"control.{table}_w{monday:%Y%m%d}" for table in ("job", "job_label", "job_end")]
    found = [await ground.admin.fetchval("select to_regclass($1) is not null", name) for name in names]
    assert len(set(found)) == 1
    return bool(found[0])


async def test_weeks_that_are_old_enough_are_dropped_with_all_that_belongs_to_them(ground: Ground, old: Old) -> None:
    """Headers, labels, ends at once; attempts and logs after; a younger week and a younger job's remains stay."""
    gone, kept = await old.week(60), await old.week(21)
    ancient, young = await old.job(60, ended=59), await old.job(21, ended=20)
    for job in (ancient, young):
        await old.remains(job)
    assert await ground.worker.drop_weeks(JOBS, RESULTS) == [gone]
    assert (await has_week(ground, gone), await has_week(ground, kept)) == (False, True)
    while await ground.worker.prune(JOBS, RESULTS):
        pass
    for table in ("job_label", "job_end", "attempt", "job_log"):
        assert await ground.count(table, "job_id = $1", ancient) == 0, table
        assert await ground.count(table, "job_id = $1", young) == 1, table
    assert await ground.count("dropped_week") == 0


async def test_a_second_look_changes_nothing(ground: Ground, old: Old) -> None:
    """What is forgotten is forgotten once; what is kept stays kept."""
    await old.week(60)
    await old.week(21)
    await old.job(60, ended=59)
    job = await old.job(21, ended=3)
    assert len(await ground.worker.drop_weeks(JOBS, RESULTS)) == 1
    await old.erased_until(30)
    for _ in range(2):
        assert not await ground.worker.prune(JOBS, RESULTS)
        assert not await ground.worker.erase_bodies(RESULTS)
        assert await ground.worker.drop_weeks(JOBS, RESULTS) == []
    assert await old.bodies(job) == (b"sealed", b"sealed")


@pytest.mark.parametrize("place", ["ready", "due", "hold", "lease"])
async def test_a_job_that_waits_or_runs_keeps_its_whole_week(ground: Ground, old: Old, place: str) -> None:
    """Wherever it is; once it has ended and its result's time is over, the week goes."""
    monday = await old.week(60)
    job = await old.job(60, ended=None)
    columns = {
        "ready": "(route, rank, key, job_id, environment_id) values (1, 4, $1, $1, $2)",
        "due": "(job_id, due_at, environment_id, route, rank, key) values ($1, now(), $2, 1, 4, $1)",
        "hold": "(environment_id, concurrency_key, rank, key, job_id, route) values ($2, 'c', 4, $1, $1, 1)",
        "lease": "(job_id, attempt_id, session, environment_id, route, rank, key, number, node)"
        " values ($1, 1, 1, $2, 1, 4, $1, 1, $1)",
    }
    await ground.admin.execute(f"insert into control.{place} {columns[place]}", job, old.tenant.id)
    assert await ground.worker.drop_weeks(JOBS, RESULTS) == []
    assert await has_week(ground, monday)
    await ground.admin.execute(f"delete from control.{place}")  # noqa: S608 (names above)
    assert await ground.worker.drop_weeks(JOBS, RESULTS) == [monday]


async def test_a_late_end_keeps_its_result_for_its_time(ground: Ground, old: Old) -> None:
    """A job of two months ago that ended yesterday is still read whole; its week goes a week later."""
    monday = await old.week(60)
    job = await old.job(60, ended=1)
    assert await ground.worker.drop_weeks(JOBS, RESULTS) == []
    assert await old.bodies(job) == (b"sealed", b"sealed")
    await ground.admin.execute("update control.job_end set finished_at = finished_at - interval '7 days'")
    assert await ground.worker.drop_weeks(JOBS, RESULTS) == [monday]


async def test_the_database_refuses_what_is_younger_than_thirty_days_and_everybody_but_workers(
    ground: Ground, old: Old
) -> None:
    """Whatever a process asks for; the default partition has no Monday."""
    call = "select control.drop_partition($1::date, now())"
    worker = ground.databases["worker"]
    for monday in (await old.week(21), await old.week(0), await old.week(60) + timedelta(days=1)):
        with pytest.raises(asyncpg.RaiseError):
            async with worker.unit() as connection:
                await connection.execute(call, monday)
    for name in ("gateway", "relay"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with ground.databases[name].unit() as connection:
                await connection.execute(call, await old.week(60))


async def test_a_locked_ledger_is_not_waited_for(ground: Ground, old: Old) -> None:
    """The week stays, and goes the next time."""
    monday = await old.week(60)
    async with ground.admin.acquire() as connection, connection.transaction():
        await connection.execute("lock table control.job_end in row exclusive mode")
        async with asyncio.timeout(20):
            assert await ground.worker.drop_weeks(JOBS, RESULTS) == []
    assert await has_week(ground, monday)
    assert await ground.worker.drop_weeks(JOBS, RESULTS) == [monday]


async def test_bodies_go_seven_days_after_the_end_and_the_rest_of_the_job_stays(ground: Ground, old: Old) -> None:
    """By the end, not by the creation; a payload that was never there is not marked as erased."""
    await old.week(21)
    over, without = await old.job(21, ended=8), await old.job(21, ended=9, payload=None)
    fresh, waiting = await old.job(21, ended=6), await old.job(21, ended=None)
    await old.erased_until(30)
    while await ground.worker.erase_bodies(RESULTS):
        pass
    assert await old.bodies(over) == (b"", None)
    assert await old.bodies(without) == (None, None)
    assert await old.bodies(fresh) == (b"sealed", b"sealed")
    assert await old.bodies(waiting) == (b"sealed", None)
    assert (await ground.ends())[over] is End.COMPLETED


async def test_bodies_are_erased_in_slices_by_several_workers_at_once(
    ground: Ground, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice looks at few ends, the mark moves with it, and no end is left out whoever took it."""
    monkeypatch.setattr(body, "SLICE_ROWS", 10)
    monkeypatch.setattr(body, "MAX_ROWS", 3)
    await old.week(21)
    jobs = [await old.job(21, ended=8 + n / 100) for n in range(40)]
    await old.erased_until(30)
    assert await ground.worker.erase_bodies(RESULTS)
    first = await ground.count("job", "payload = ''")
    assert first <= 10

    async def work() -> None:
        for _ in range(60):
            await ground.worker.erase_bodies(RESULTS)

    await asyncio.gather(work(), work())
    assert [await old.bodies(job) for job in jobs] == [(b"", None)] * 40
    until = await ground.admin.fetchval("select until from control.erasure")
    assert until > datetime.now(UTC) - timedelta(days=RESULTS, minutes=5)


async def test_more_ends_in_a_millisecond_than_a_slice_holds_do_not_stop_it(
    ground: Ground, old: Old, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are taken together."""
    monkeypatch.setattr(body, "SLICE_ROWS", 5)
    await old.week(21)
    jobs = [await old.job(21, ended=8) for _ in range(12)]
    await ground.admin.execute(
        "update control.job_end set finished_at = (select min(finished_at) from control.job_end)"
    )
    await old.erased_until(10)
    async with asyncio.timeout(20):
        while await ground.worker.erase_bodies(RESULTS):
            pass
    assert [await old.bodies(job) for job in jobs] == [(b"", None)] * 12


async def test_an_object_goes_before_the_row_that_names_it(ground: Ground, old: Old) -> None:
    """While S3 is away nothing is forgotten and the week stays; then objects, references, week go in turn."""
    monday = await old.week(60)
    job = await old.job(60, ended=50, key="big")
    store = Bucket()
    store.errors = {"big/payload": unavailable("The object store")}
    with pytest.raises(WaypostError):
        await ground.worker.erase_objects(store, RESULTS)
    assert await old.objects(job) == ("big/payload", "big/result")
    assert await ground.worker.drop_weeks(JOBS, RESULTS) == []
    store.errors = {}
    assert await ground.worker.erase_objects(store, RESULTS) == bucket.ErasedObjects(erased=2)
    assert sorted(store.deleted) == ["big/payload", "big/result"]
    assert await old.objects(job) == (None, None)
    assert (await old.bodies(job))[0] == b""
    assert await ground.worker.drop_weeks(JOBS, RESULTS) == [monday]


async def test_an_object_that_s3_refuses_holds_up_no_other(ground: Ground, old: Old) -> None:
    """It stays known; that of an environment which is gone is forgotten; a younger one is left alone."""
    await old.week(21)
    stuck, gone, fine, fresh, waiting = [
        await old.job(21, ended=ended, key=key)
        for key, ended in (("stuck", 8), ("gone", 8), ("fine", 8), ("fresh", 6), ("waiting", None))
    ]
    store = Bucket()
    refused = WaypostError("object_store_refused", "No.", Category.INTERNAL)
    for name in ("payload", "result"):
        store.errors |= {f"stuck/{name}": refused, f"gone/{name}": not_found("environment")}
    done = await bucket.erase_objects(ground.databases["worker"], store, RESULTS, limit=1)
    assert done == bucket.ErasedObjects(erased=4, stuck=2)
    assert await old.objects(stuck) == ("stuck/payload", "stuck/result")
    assert await old.objects(gone) == await old.objects(fine) == (None, None)
    assert await old.objects(fresh) == ("fresh/payload", "fresh/result")
    assert await old.objects(waiting) == ("waiting/payload", None)


async def test_two_workers_at_once_forget_each_thing_once(ground: Ground, old: Old) -> None:
    """Neither fails; afterwards there is nothing left to forget."""
    mondays = [await old.week(days) for days in (74, 67, 60)]
    for days in (74, 67, 60):
        for _ in range(10):
            await old.remains(await old.job(days, ended=days - 1))
    database = ground.databases["worker"]

    dropped: list[date] = []

    async def work() -> None:
        while len(dropped) < len(mondays):  # each gives a week up that the other one holds, and comes back to it
            dropped.extend(await ground.worker.drop_weeks(JOBS, RESULTS))
            while await prune(database, JOBS, RESULTS, limit=4):
                pass

    async with asyncio.timeout(60):
        await asyncio.gather(work(), work())
    assert sorted(dropped) == mondays
    while await ground.worker.prune(JOBS, RESULTS):
        pass
    assert [await ground.count(table) for table in ("attempt", "job_log", "dropped_week")] == [0, 0, 0]


async def test_jobs_without_a_week_of_their_own_are_deleted_in_bounded_batches(ground: Ground, old: Old) -> None:
    """The default partition is never dropped; of it goes what has ended and is old, with its remains."""
    ended = [await old.job(60, ended=50) for _ in range(5)]
    waiting, bulky, late = await old.job(60, None), await old.job(60, 50, key="big"), await old.job(60, 1)
    await old.remains(ended[0])
    database = ground.databases["worker"]
    assert await prune(database, JOBS, RESULTS, limit=3)
    assert await ground.count("job_default") == 5
    assert not await prune(database, JOBS, RESULTS, limit=3)
    left = {row["id"] for row in await ground.admin.fetch("select id from control.job_default")}
    assert left == {waiting, bulky, late}
    assert [await ground.count(table) for table in ("job_label", "job_end", "attempt", "job_log")] == [3, 2, 0, 0]


async def test_records_of_processes_nodes_and_minutes_go_after_their_time(ground: Ground, old: Old) -> None:
    """Ended ones only: a live session, a connected node and an open platform job stay however old they are."""
    admin, environment = ground.admin, old.tenant.id
    await admin.execute("delete from control.node; delete from control.platform_job")
    await old.tenant.route()
    for days in (31, 29, None):
        ended = None if days is None else datetime.now(UTC) - timedelta(days=days)
        await admin.execute(
            "insert into control.session (process, kind, address, pid, lease_until, started_at, ended_at)"
            " values ('relay-1', 'relay', 'x', 1, now(), now() - interval '90 days', $1)", ended
        )  # fmt: skip
        await admin.execute(
            "insert into control.node (id, environment_id, session, credential_id, name, tags, functions,"
            " max_in_flight, disconnected_at) values ($1, $2, 1, $2, 'n', '{}', '[]', 1, $3)",
            old.id_of(90), environment, ended,
        )  # fmt: skip
        await admin.execute(
            "insert into control.platform_job (id, kind, subject, state, finished_at)"
            " values ($1, 'test', $1, case when $2::timestamptz is null then 'queued' else 'completed' end, $2)",
            old.id_of(90), ended,
        )  # fmt: skip
    for hours in (1, 47, 49, 50):
        await admin.execute(
            "insert into control.route_minute (route, minute, environment_id)"
            " select id, now() - make_interval(hours => $1), environment_id from control.route limit 1", hours
        )  # fmt: skip
    assert await prune(ground.databases["worker"], JOBS, RESULTS, limit=1)
    assert await ground.count("route_minute") == 3
    while await ground.worker.prune(JOBS, RESULTS):
        pass
    assert [await ground.count(table) for table in ("session", "node", "platform_job", "route_minute")] == [2, 2, 2, 2]
