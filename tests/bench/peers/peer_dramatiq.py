"""Dramatiq alone, with its Redis broker and result backend."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from tests.bench.peers.latency import note

broker = RedisBroker(url=os.environ["PEER_BROKER"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["PEER_RESULTS"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True, max_retries=5)
def echo(at_ns: int) -> int:
    return note(at_ns)


def submit(at_ns: int) -> None:
    echo.send(at_ns)


def close() -> None:
    broker.close()
