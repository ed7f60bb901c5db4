"""Long logs on their way into the bucket: killed in the middle, two workers at once, a storage that is full."""

import secrets
from typing import Any
from uuid import UUID

import msgspec
import pytest

from functions.environment.phase import EnvironmentPorts
from storage.objects.store import ObjectStore
from storage.postgres.log import spill as spilling
from storage.postgres.log.log import Chunk, Standing, keep_logs, read_pieces, read_standings
from storage.postgres.log.spill import INLINE_BYTES, Long, long_logs, spill
from tests.functions.life_ground import Killed
from waypost.ids import new_id
from waypost.job.record import log_place

LINES, CHUNKS = 20, 12  # a chunk has about 16 kB
ROOM = 1 << 40


class Ground:
    """An attempt that has said more than stays in rows."""

    def __init__(self, ports: EnvironmentPorts, objects: ObjectStore, environment_id: UUID, key: Any) -> None:
        self.database, self.objects, self.key = ports.database, objects, key
        self.log = Long(environment_id, new_id(), 1)

    async def say(self) -> None:
        chunks = []
        for number in range(CHUNKS):
            first = number * LINES
            lines = [
                {"at": 5, "level": "info", "message": f"{first + n}:{secrets.token_hex(400)}"} for n in range(LINES)
            ]
            sealed = self.key.seal(log_place(self.log.job_id, 1, first), msgspec.json.encode(lines))
            chunks.append(Chunk(self.log.environment_id, self.log.job_id, 1, first, sealed))
        standing = Standing(self.log.environment_id, self.log.job_id, 1, LINES * CHUNKS, 200_000, 0, True)
        for _ in range(2):  # told again it changes nothing
            await keep_logs(self.database, chunks, [standing])

    async def move(self, objects: Any = None, room: int = ROOM) -> int:
        return await spill(self.database, objects or self.objects, self.key, self.log, room)

    async def read(self) -> list[int]:
        """The numbers of all lines, as a reader finds them."""
        async with self.database.as_environment(self.log.environment_id) as connection:
            pieces = await read_pieces(connection, self.log.environment_id, self.log.job_id, None, (0, 0), 100)
        found = []
        for piece in pieces:
            sealed, in_bucket = piece.lines, piece.object_key is not None
            if piece.object_key is not None:
                sealed = await self.objects.get(self.log.environment_id, piece.object_key)
            place = log_place(self.log.job_id, piece.number, piece.first_line, in_bucket=in_bucket)
            lines = msgspec.json.decode(self.key.open(place, sealed or b""))
            found += [int(line["message"].partition(":")[0]) for line in lines]
        return found

    async def inline(self) -> tuple[int, int]:
        """What lies in rows, and what is noted of it."""
        async with self.database.unit() as connection:
            where = self.log.environment_id, self.log.job_id
            lies = await connection.fetchval(
                "select sum(octet_length(lines)) from control.job_log where environment_id = $1 and job_id = $2", *where
            )
            noted = await connection.fetchval(
                "select inline_bytes from control.attempt_log where environment_id = $1 and job_id = $2", *where
            )
        return int(lies), int(noted)


@pytest.fixture
async def ground(ports: EnvironmentPorts, s3: tuple[str, str, str], shared_environment: Any) -> Ground:
    environment_id = UUID(shared_environment.id)
    key = await ports.keys.data_key(environment_id)
    made = Ground(ports, ObjectStore(s3[0], ports.keys), environment_id, key)
    made.log = Long(environment_id, made.log.job_id, 1)
    return made


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's own worker moves long logs, too: what it finds is more than this."""
    monkeypatch.setattr(f"{__name__}.CHUNKS", 7)


async def test_what_is_old_moves_and_is_read_in_order(ground: Ground, unseen: None) -> None:
    """64 KiB stay in rows, whole chunks; moving again changes nothing; every line is there, once."""
    await ground.say()
    assert (await ground.move()) > 0
    lies, noted = await ground.inline()
    assert lies == noted
    assert INLINE_BYTES <= lies < 2 * INLINE_BYTES
    assert await ground.move() == 0
    assert await ground.read() == list(range(LINES * CHUNKS))


async def test_a_kill_between_object_and_rows_loses_and_doubles_nothing(
    ground: Ground, unseen: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are still the truth; the object is an orphan under the job's name, which goes with it."""
    await ground.say()

    class Dies:
        async def put(self, environment_id: UUID, key: str, data: bytes) -> None:
            await ground.objects.put(environment_id, key, data)
            raise Killed

        async def delete(self, environment_id: UUID, key: str) -> None:
            raise AssertionError

    with pytest.raises(Killed):
        await ground.move(Dies())
    assert await ground.read() == list(range(LINES * CHUNKS))
    assert await ground.move() > 0
    assert await ground.read() == list(range(LINES * CHUNKS))


async def test_of_two_workers_one_moves_and_the_other_takes_its_object_back(ground: Ground, unseen: None) -> None:
    """Both have put an object; one is named."""
    await ground.say()
    deleted = []

    class Late:
        async def put(self, environment_id: UUID, key: str, data: bytes) -> None:
            await ground.objects.put(environment_id, key, data)
            assert await ground.move() > 0  # the other one

        async def delete(self, environment_id: UUID, key: str) -> None:
            deleted.append(key)
            await ground.objects.delete(environment_id, key)

    assert await ground.move(Late()) == 0
    assert len(deleted) == 1
    assert await ground.read() == list(range(LINES * CHUNKS))


async def test_where_the_storage_is_full_old_lines_are_given_up_and_counted(ground: Ground, unseen: None) -> None:
    """The newest stay; the reader is told how many are missing."""
    await ground.say()
    assert await ground.move(room=10) == 0
    left = await ground.read()
    assert left == list(range(LINES * CHUNKS - len(left), LINES * CHUNKS))
    assert 0 < len(left) < LINES * CHUNKS
    async with ground.database.as_environment(ground.log.environment_id) as connection:
        (standing,) = await read_standings(connection, ground.log.environment_id, ground.log.job_id)
    assert standing.dropped_lines == LINES * CHUNKS - len(left)


async def test_a_worker_finds_long_logs_by_itself(ground: Ground) -> None:
    """Those over 128 KiB; until it has moved them."""
    assert spilling.LONG_BYTES == 131_072
    await ground.say()
    async with ground.database.unit() as connection:
        found = await long_logs(connection, 1_000)
    assert ground.log in found or (await ground.inline())[0] < spilling.LONG_BYTES  # the platform's own was faster
    assert await ground.read() == list(range(LINES * CHUNKS))
