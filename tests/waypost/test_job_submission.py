"""Submissions: what the ledger takes of a specification, and who is told of what was kept."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from waypost.ids import new_id
from waypost.job.model import Accepted, Concurrency, JobSpec, Policy, Submission
from waypost.job.specification import parse_policy
from waypost.job.submission import startable, submission_of

ENVIRONMENT = UUID(int=1)
AT = datetime(2026, 11, 21, 9, tzinfo=UTC)


def submitted(spec: JobSpec, route: int = 7) -> Submission:
    return submission_of(spec, new_id(), ENVIRONMENT, route, "key:x")


def test_what_was_asked_for_is_what_is_kept() -> None:
    """Every field that the ledger has a column for; the payload is the caller's, sealed, never plain."""
    policy = Policy(60, 30, concurrency=Concurrency("customer-42", 2))
    spec = JobSpec("f", b"plain", priority=9, run_at=AT, delay_seconds=3.0, policy=policy, labels={"a": "b"})
    one = submission_of(spec, UUID(int=2), ENVIRONMENT, 7, "key:x", payload=b"sealed", replay_of=UUID(int=3))
    assert (one.id, one.environment_id, one.route, one.submitted_by) == (UUID(int=2), ENVIRONMENT, 7, "key:x")
    assert (one.rank, one.run_at, one.delay_seconds, one.expires_in_seconds) == (spec.rank, AT, 3.0, 30)
    assert (one.concurrency_key, one.concurrency_limit) == ("customer-42", 2)
    assert (parse_policy(one.policy), msgspec.json.decode(one.labels or "")) == (policy, {"a": "b"})
    assert (one.payload, one.payload_object, one.replay_of) == (b"sealed", None, UUID(int=3))


def test_of_defaults_nothing_is_kept() -> None:
    """Null columns cost nothing."""
    one = submitted(JobSpec("f"))
    assert (one.policy, one.labels, one.payload, one.concurrency_key, one.run_at) == (None,) * 5


def test_only_what_was_kept_and_waits_for_no_delay_is_told() -> None:
    """A queue to look into, or a line to move; nothing of repeats and conflicts."""
    now, keyed = submitted(JobSpec("f")), submitted(JobSpec("f", policy=Policy(concurrency=Concurrency("k", 1))))
    later = submitted(JobSpec("f", delay_seconds=1.0))
    kept = [(one, Accepted(one.id)) for one in (now, keyed, later)]
    assert startable(kept) == ([(ENVIRONMENT, 7, now.rank)], {(ENVIRONMENT, "k")})
    left = [(now, Accepted(now.id, replayed=True)), (keyed, Accepted(keyed.id, conflict=True))]
    assert startable(left) == ([], set())
