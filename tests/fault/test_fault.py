"""A short fault run, and the tools of the long ones."""

import socket

import pytest

from tests.fault.chaos import WEIGHTS, plan
from tests.fault.proxy import Proxy
from tests.fault.run import ENOUGH, run


@pytest.mark.fault
@pytest.mark.timeout(480)
def test_every_acknowledged_job_reaches_exactly_one_end_whatever_dies() -> None:
    """Every kind of fault once under load: nothing lost, nothing doubled, nothing left, counts agree."""
    said: list[str] = []
    report = run(seed=7, seconds=16, say=said.append)
    assert report.acknowledged > ENOUGH
    assert set(report.faults) == set(WEIGHTS), "every kind of fault has happened"
    assert report.findings == [], "\n".join([*said, *report.lines()])
    assert report.ended == report.acknowledged


def test_a_plan_is_the_seeds_and_has_every_kind() -> None:
    """The same seed repeats the same plan; even a short one holds every kind of fault."""
    assert plan(3, 16) == plan(3, 16)
    assert plan(3, 16) != plan(4, 16)
    assert {step.kind for step in plan(3, 16)} == set(WEIGHTS)


def test_the_proxy_passes_cuts_silences_and_refuses() -> None:
    """The network faults are real ones: a cut resets, silence passes nothing and loses nothing, refusal closes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(f"127.0.0.1:{server.getsockname()[1]}")
        host, _, port = proxy.address.rpartition(":")
        near = socket.create_connection((host, int(port)), 20)
        far, _ = server.accept()
        near.sendall(b"one")
        assert far.recv(16) == b"one"
        proxy.silence(True)
        near.sendall(b"two")
        far.settimeout(0.2)
        with pytest.raises(TimeoutError):
            far.recv(16)
        proxy.silence(False)
        far.settimeout(20)
        assert far.recv(16) == b"two"
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            near.recv(16)
        proxy.refuse(True)
        # The reset may come while the connection is still being made.
        with pytest.raises(ConnectionResetError), socket.create_connection((host, int(port)), 20) as again:
            again.recv(16)
        proxy.close()
        near.close()
        far.close()
