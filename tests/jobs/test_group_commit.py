"""The group committer: fair bounded lanes, natural batches, nobody answered before the commit, nobody dragged along."""

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

import pytest

from jobs.lane import MAX_BULK_IN_FLIGHT, MAX_LANE_ROWS, QUANTUM_BYTES, Lanes, size_of
from jobs.submission import MAX_BATCH_ROWS, GroupCommitter
from jobs.wake import Rewind, Wake, decode_environment, environment_channel
from waypost.errors import Category, WaypostError, no_room, unavailable
from waypost.ids import new_id
from waypost.job.model import Accepted, Request, Submission

A, B = new_id(), new_id()


def _job(environment_id: UUID = A, **more: object) -> Submission:
    return Submission(new_id(), environment_id, 7, 4, "key:test", **more)  # type: ignore[arg-type]


class FakeLedger:
    """Keeps batches; `gate` holds commits back; rows with the label "bad" cannot be stored."""

    def __init__(self) -> None:
        self.batches: list[list[Submission]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.away: WaypostError | None = None
        self.released: list[set[tuple[UUID, str]]] = []
        self.started = asyncio.Event()

    async def submit_whole(self, batch: Sequence[Submission], request: Request | None = None) -> list[Accepted]:
        return await self.submit(batch)

    async def submit(self, batch: Sequence[Submission]) -> list[Accepted]:
        self.batches.append(list(batch))
        self.started.set()
        await self.gate.wait()
        if self.away is not None:
            raise self.away
        if any(submission.labels == "bad" for submission in batch):
            raise WaypostError("unstorable", "bad", Category.INVALID)
        return [Accepted(submission.id) for submission in batch]

    async def release_holds(self, lines: Iterable[tuple[UUID, str]]) -> list[tuple[UUID, int, int]]:
        self.released.append(set(lines))
        return [(environment_id, 9, 0) for environment_id, _ in lines]


class FakeValkey:
    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []

    def publish(self, channel: str, payload: bytes) -> None:
        self.published.append((channel, payload))


async def test_what_comes_while_a_batch_is_out_is_the_next_batch() -> None:
    """The first leaves alone at once; the hundred that come meanwhile share one statement."""
    ledger, valkey = FakeLedger(), FakeValkey()
    committer = GroupCommitter(ledger, valkey, max_in_flight=1)
    ledger.gate.clear()
    first = asyncio.create_task(committer.submit(_job()))
    await ledger.started.wait()
    jobs = [_job() for _ in range(100)]
    rest = [asyncio.create_task(committer.submit(job)) for job in jobs]
    await asyncio.sleep(0)
    assert not first.done()
    ledger.gate.set()
    assert [answer.id for answer in await asyncio.gather(*rest)] == [job.id for job in jobs]
    assert [len(batch) for batch in ledger.batches] == [1, 100]


async def test_one_wake_an_environment_after_the_commit() -> None:
    """It names each queue once; a job that waits for its time wakes nobody, a held one goes through its line."""
    ledger, valkey = FakeLedger(), FakeValkey()
    committer = GroupCommitter(ledger, valkey)
    jobs = [_job(A), _job(A), _job(B), _job(B, delay_seconds=5.0), _job(B, concurrency_key="c", concurrency_limit=1)]
    await asyncio.gather(*(committer.submit(job) for job in jobs))
    await committer.close()
    assert [(channel, decode_environment(payload)) for channel, payload in valkey.published] == [
        (environment_channel(A), Wake(((7, 4),))),
        (environment_channel(B), Wake(((7, 4),))),
        (environment_channel(B), Rewind(((9, 0),))),
    ]
    assert ledger.released == [{(B, "c")}]


async def test_a_row_that_cannot_be_stored_takes_no_neighbour_along() -> None:
    """It alone is refused; the others are kept."""
    ledger = FakeLedger()
    committer = GroupCommitter(ledger, FakeValkey())
    jobs = [_job(labels="bad" if number == 5 else None) for number in range(12)]
    answers = await asyncio.gather(*(committer.submit(job) for job in jobs), return_exceptions=True)
    for number, answer in enumerate(answers):
        if number == 5:
            assert isinstance(answer, WaypostError)
            assert answer.code == "unstorable"
        else:
            assert answer == Accepted(jobs[number].id)


async def test_a_database_that_is_away_is_said_to_everybody_as_unknown() -> None:
    """Retryable, and it does not claim that nothing was kept; afterwards the committer works on."""
    ledger = FakeLedger()
    committer = GroupCommitter(ledger, FakeValkey())
    ledger.away = unavailable("PostgreSQL")
    answers = await asyncio.gather(*(committer.submit(_job()) for _ in range(3)), return_exceptions=True)
    for answer in answers:
        assert isinstance(answer, WaypostError)
        assert answer.retryable
        assert "not known" in answer.detail
    ledger.away = None
    job = _job()
    assert await committer.submit(job) == Accepted(job.id)


async def test_a_full_disk_is_said_as_such() -> None:
    """Nothing was kept, which is known; retryable."""
    ledger = FakeLedger()
    ledger.away = no_room("PostgreSQL")
    with pytest.raises(WaypostError, match="disk of PostgreSQL is full; nothing was kept") as caught:
        await GroupCommitter(ledger, FakeValkey()).submit(_job())
    assert caught.value.retryable


async def test_a_full_lane_refuses_its_environment_and_no_other() -> None:
    """429 with Retry-After; when the batch is out there is room again."""
    ledger = FakeLedger()
    committer = GroupCommitter(ledger, FakeValkey(), max_in_flight=1)
    ledger.gate.clear()
    tasks = [asyncio.create_task(committer.submit(_job(A))) for _ in range(MAX_LANE_ROWS)]
    await ledger.started.wait()
    with pytest.raises(WaypostError, match="submission_lane_full") as caught:
        await committer.submit(_job(A))
    assert (caught.value.category, caught.value.retry_after_seconds) == (Category.LIMITED, 1)
    with pytest.raises(WaypostError, match="submission_lane_full"):
        await committer.submit_bulk([_job(A)])
    other = asyncio.create_task(committer.submit(_job(B)))
    ledger.gate.set()
    await asyncio.gather(*tasks, other)
    await committer.submit(_job(A))
    assert max(map(len, ledger.batches)) == MAX_BATCH_ROWS


async def test_a_client_that_leaves_takes_nothing_back() -> None:
    """Its job is kept, and the others of its batch get their answers."""
    ledger = FakeLedger()
    committer = GroupCommitter(ledger, FakeValkey())
    ledger.gate.clear()
    leaving, staying = _job(), _job()
    gone = asyncio.create_task(committer.submit(leaving))
    here = asyncio.create_task(committer.submit(staying))
    await ledger.started.wait()
    gone.cancel()
    ledger.gate.set()
    assert await here == Accepted(staying.id)
    assert ledger.batches == [[leaving, staying]]


async def test_closing_answers_everybody_and_takes_nobody_more() -> None:
    """What was taken is committed; later requests are refused as retryable."""
    ledger = FakeLedger()
    committer = GroupCommitter(ledger, FakeValkey(), max_in_flight=1)
    tasks = [asyncio.create_task(committer.submit(_job())) for _ in range(MAX_BATCH_ROWS + 3)]
    await asyncio.sleep(0)
    await committer.close()
    assert all(task.done() for task in tasks)
    with pytest.raises(WaypostError, match="unavailable"):
        await committer.submit(_job())


async def test_a_bulk_request_is_one_atomic_batch_and_wakes_once() -> None:
    """Answers in order; an empty one asks nothing."""
    ledger, valkey = FakeLedger(), FakeValkey()
    committer = GroupCommitter(ledger, valkey)
    jobs = [_job() for _ in range(1_000)]
    assert await committer.submit_bulk(jobs) == [Accepted(job.id) for job in jobs]
    assert await committer.submit_bulk([]) == []
    assert len(ledger.batches) == 1
    assert len(valkey.published) == 1


async def test_bulk_requests_of_environments_take_turns() -> None:
    """However many one of them has sent before; and few are under way at once."""
    ledger = FakeLedger()
    committer = GroupCommitter(ledger, FakeValkey())
    ledger.gate.clear()
    tasks = [asyncio.create_task(committer.submit_bulk([_job(one)])) for one in (A, A, A, A, A, A, B)]
    await asyncio.sleep(0)
    assert len(ledger.batches) == MAX_BULK_IN_FLIGHT
    ledger.gate.set()
    await asyncio.gather(*tasks)
    first = [batch[0].environment_id for batch in ledger.batches].index(B)
    assert first <= MAX_BULK_IN_FLIGHT
    assert len(ledger.batches) == 7


async def test_lanes_take_turns_by_bytes() -> None:
    """A neighbour with a thousand waiting, or with large bodies, does not delay a lone small submission."""
    lanes, loop = Lanes(), asyncio.get_running_loop()
    for _ in range(1_000):
        lanes.put((_job(A, payload=b"x" * 10_000), loop.create_future()))
    lone = _job(B)
    lanes.put((lone, loop.create_future()))
    batch = lanes.take(500, 4 << 20)
    place = [submission.id for submission, _ in batch].index(lone.id)
    assert sum(size_of(submission) for submission, _ in batch[:place]) <= QUANTUM_BYTES
    assert sum(size_of(submission) for submission, _ in batch) <= 4 << 20


async def test_a_submission_larger_than_a_turn_still_leaves() -> None:
    """Credit gathers turn by turn; one larger than a whole batch goes alone."""
    lanes, loop = Lanes(), asyncio.get_running_loop()
    large, small = _job(A, payload=b"x" * 1_000_000), _job(B)
    lanes.put((large, loop.create_future()))
    lanes.put((small, loop.create_future()))
    taken = [submission.id for submission, _ in lanes.take(500, 100_000)]
    while lanes:
        taken += [submission.id for submission, _ in lanes.take(500, 100_000)]
    assert sorted(taken) == sorted([large.id, small.id])
