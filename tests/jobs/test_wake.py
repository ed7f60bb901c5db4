"""The bytes of messages between processes are those that were agreed."""

from uuid import UUID

from jobs import wake
from waypost.job.model import JobState

JOB = UUID("0193e2a0-0000-7000-8000-000000000001")
ENVIRONMENT = UUID("0193e2a0-0000-7000-8000-00000000000e")


def test_messages_are_json_arrays_that_begin_with_their_kind() -> None:
    """Each message's bytes, literally, and read back equal."""
    job = str(JOB)
    environment: list[tuple[wake.EnvironmentMessage, str]] = [
        (wake.Wake(((7, 4), (9, 0))), '["wake",[[7,4],[9,0]]]'),
        (wake.Rewind(((7, 4),)), '["rewind",[[7,4]]]'),
        (wake.CancelJob(JOB), f'["cancel","{job}"]'),
        (wake.DrainNode(JOB), f'["drain","{job}"]'),
        (wake.RevokeCredential(JOB), f'["revoke","{job}"]'),
        (wake.FunctionChanged("text.count"), '["function","text.count"]'),
        (wake.EnvironmentClosed(), '["closed"]'),
    ]
    for message, text in environment:
        assert wake.encode(message) == text.encode()
        assert wake.decode_environment(text.encode()) == message
    jobs: list[tuple[wake.JobMessage, str]] = [
        (wake.States(((JOB, JobState.RUNNING, 2),)), f'["state",[["{job}","running",2]]]'),
        (wake.Progress(JOB, 0.5, "half"), f'["progress","{job}",0.5,"half"]'),
        (wake.LogLine(JOB, 1, 1700000000000, "info", "hi"), f'["log","{job}",1,1700000000000,"info","hi"]'),
    ]
    for said, text in jobs:
        assert wake.encode(said) == text.encode()
        assert wake.decode_job(text.encode()) == said
    access: list[tuple[wake.AccessMessage, str]] = [
        (wake.KeyChanged("abc"), '["key","abc"]'),
        (wake.CredentialChanged(JOB), f'["credential","{job}"]'),
        (wake.EnvironmentChanged(JOB), f'["environment","{job}"]'),
    ]
    for change, text in access:
        assert wake.encode(change) == text.encode()
        assert wake.decode_access(text.encode()) == change


def test_what_cannot_be_read_is_no_message() -> None:
    """Garbage, other kinds and wrong shapes are ignored: every message may be lost anyway."""
    for garbage in (b"", b"{}", b'["later",1]', b'["wake"]', b'["wake","x"]', b"\xff"):
        assert wake.decode_environment(garbage) is None
        assert wake.decode_job(garbage) is None
        assert wake.decode_access(garbage) is None


def test_work_of_one_batch_makes_one_wake_an_environment() -> None:
    """Queues are named once, however many jobs came into them."""
    other = UUID(int=5)
    places = [(ENVIRONMENT, 2, 4), (ENVIRONMENT, 1, 4), (other, 9, 0), (ENVIRONMENT, 2, 4)]
    assert wake.wakes(places) == [
        (f"wp:env:{ENVIRONMENT.hex}", b'["wake",[[1,4],[2,4]]]'),
        (f"wp:env:{other.hex}", b'["wake",[[9,0]]]'),
    ]


def test_states_of_one_batch_make_one_message_an_environment_in_order() -> None:
    """A reader sees the changes of a job in the order in which they happened."""
    published = wake.states([(ENVIRONMENT, JOB, JobState.RUNNING, 1), (ENVIRONMENT, JOB, JobState.COMPLETED, 1)])
    assert [channel for channel, _ in published] == [f"wp:jobs:{ENVIRONMENT.hex}"]
    message = wake.decode_job(published[0][1])
    assert message == wake.States(((JOB, JobState.RUNNING, 1), (JOB, JobState.COMPLETED, 1)))
