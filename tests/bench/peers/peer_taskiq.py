"""Taskiq with a Redis stream broker (acknowledged, so at least once) and a Redis result backend."""

import asyncio
import os

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from tests.bench.peers.latency import note

broker = RedisStreamBroker(os.environ["PEER_BROKER"]).with_result_backend(
    RedisAsyncResultBackend(os.environ["PEER_RESULTS"], result_ex_time=3600)
)
_loop = asyncio.new_event_loop()
_started = False


@broker.task(task_name="peer.echo")
async def echo(at_ns: int) -> int:
    return note(at_ns)


def submit(at_ns: int) -> None:
    submit_many([at_ns])


def submit_many(moments: list[int]) -> None:
    """Several at once: an asyncio client is slow one by one."""
    global _started
    if not _started:
        _loop.run_until_complete(broker.startup())
        _started = True
    _loop.run_until_complete(_kick(moments))


async def _kick(moments: list[int]) -> None:
    await asyncio.gather(*(echo.kiq(moment) for moment in moments))


def close() -> None:
    if _started:
        _loop.run_until_complete(broker.shutdown())
