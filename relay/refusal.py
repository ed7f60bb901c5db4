"""Answers that came too late: the database notes when, so that who looks at the attempt sees where its work went.

An answer may be refused before what became of its attempt is a row: another process may still have to find that its
relay is gone. It is told again for a while. Bounded, and lost with the process: the refusal itself needs no note.
"""

from uuid import UUID

import structlog

from storage.postgres.database import Database
from storage.postgres.ledger.refused import note_refused
from waypost.clock import now
from waypost.job.model import RefusedAnswer

TRIES = 60  # flushes, one a second; a relay's lease is over and swept in less
MAX_HELD = 2_000

_log = structlog.get_logger("relay.refusal")


class Refusals:
    """What this relay has refused and the database has no row for yet."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[tuple[UUID, int], tuple[RefusedAnswer, int]] = {}

    def add(self, environment_id: UUID, job_id: bytes, attempt_id: int, *, result: bool) -> None:
        """`job_id` as a node said it; what cannot be one, and what is too much, is left out."""
        if len(job_id) != 16 or len(self._held) >= MAX_HELD:
            return
        answer = RefusedAnswer(environment_id, UUID(bytes=job_id), attempt_id, result, now())
        self._held.setdefault((environment_id, attempt_id), (answer, TRIES))

    async def flush(self) -> None:
        """Note what is held; what has no row is kept for the next time."""
        if not self._held:
            return
        told = list(self._held.items())
        try:
            found = await note_refused(self._database, [answer for _, (answer, _) in told])
        except Exception as error:  # noqa: BLE001 - whatever the database says, it is told again
            _log.warning("refusal.delayed", answers=len(told), error=str(error))
            found = set()
        for key, (answer, tries) in told:
            if key[1] in found or tries <= 1:
                del self._held[key]
            else:
                self._held[key] = (answer, tries - 1)
