"""Celery with a Redis broker and a Redis result backend."""

import os

from celery import Celery

from tests.bench.peers.latency import note

app = Celery("peer", broker=os.environ["PEER_BROKER"], backend=os.environ["PEER_RESULTS"])
app.conf.update(
    task_ignore_result=False,
    task_acks_late=True,  # at least once, as all the others here
    worker_prefetch_multiplier=64,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
    result_expires=3600,
)


@app.task(name="peer.echo")
def echo(at_ns: int) -> int:
    return note(at_ns)


def submit(at_ns: int) -> None:
    echo.apply_async((at_ns,))


def close() -> None:
    app.close()
