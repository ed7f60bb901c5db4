"""What workers tell each other of endpoints: one that is dead, or wants to be left alone, is so for all of them.

Endpoints that are held lie in one hash of Valkey, and each change is one message to every worker: a delivery costs no
round trip, and a worker that has just begun knows what the others know. Only who may test a broken endpoint is asked
there, so that one of all workers does. Without Valkey each goes by what it saw itself (`jobs.endpoint`).
Refuses: to decide when an endpoint is broken, and to hold anything whose loss would lose a delivery.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Protocol
from uuid import UUID

import msgspec
import structlog

from storage.valkey.client import ReplyError, Subscription
from waypost.subscription.model import REQUEST_SECONDS

CHANNEL = "wp:endpoints"
TEST_SECONDS = REQUEST_SECONDS + 5.0  # that whoever may test has it for himself; then he is taken for dead
ASK_SECONDS = 0.5  # an answer of Valkey that takes longer counts as none
HELD = "wp:endpoint:held"
TEST = "wp:endpoint:test:"

# KEYS: the hash, the test's key. ARGV: id, failures (0: it is well), milliseconds of the hold, channel, message.
_TELL = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
if ARGV[2] == '0' then
    redis.call('HDEL', KEYS[1], ARGV[1])
else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now + ARGV[3]))
    redis.call('PEXPIRE', KEYS[1], 7200000)
end
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 0
"""
# Those whose hold was over an hour ago are forgotten: nobody has anything for them.
_READ = """
local at = redis.call('TIME')
local now = at[1] * 1000 + math.floor(at[2] / 1000)
local held, found = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #held, 2 do
    local failures, till = string.match(held[i + 1], '(%d+) (%d+)')
    if tonumber(till) < now - 3600000 then
        redis.call('HDEL', KEYS[1], held[i])
    else
        found[#found + 1] = {held[i], tonumber(failures), math.max(0, tonumber(till) - now)}
    end
end
return found
"""
_MAY_TEST = """
local granted = {}
for i, key in ipairs(KEYS) do
    if redis.call('SET', key, '1', 'NX', 'PX', ARGV[1]) then granted[#granted + 1] = i end
end
return granted
"""

Heard = Callable[[UUID, int, float], None]
_log = structlog.get_logger("jobs.breaker")


class Store(Protocol):
    """What is used of Valkey."""

    @property
    def connected(self) -> bool: ...
    async def execute(self, *arguments: str | bytes, timeout_seconds: float) -> Any: ...
    async def subscribe(
        self, channels: list[str], callback: Callable[[str, bytes], None], on_reconnect: Callable[[], None]
    ) -> Subscription: ...


class _Told(msgspec.Struct, frozen=True, array_like=True):
    """An endpoint (by its subscription) failed so often in a row and is held for so many seconds; or is well: 0."""

    subscription_id: UUID
    failures: int
    seconds: float


_message = msgspec.json.Decoder(_Told)


class Breakers:
    """`heard(subscription, failures, seconds)` is called for what others tell, and for one's own words."""

    def __init__(self, store: Store, heard: Heard) -> None:
        self._store, self._heard = store, heard
        self._listening: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen from now on, and hear what was told before."""
        try:
            self._listening = await self._store.subscribe([CHANNEL], self._listen, lambda: self._spawn(self._read()))
        except ReplyError as error:  # whoever operates Valkey does not let its user listen here
            _log.warning("breaker.alone", error=str(error))
        await self._read()

    def tell(self, subscription_id: UUID, failures: int, seconds: float) -> None:
        """Tell everybody, in the background; 0 failures: it is well. What Valkey does not take is lost."""
        self._spawn(self._tell(_Told(subscription_id, failures, seconds)))

    async def may_test(self, subscriptions: Collection[UUID]) -> set[UUID]:
        """Those that this worker alone may send one delivery now; all of them while Valkey is away."""
        asked = list(subscriptions)
        keys = [f"{TEST}{one.hex}" for one in asked]
        granted = await self._ask(_MAY_TEST, keys, str(round(TEST_SECONDS * 1000)))
        return set(asked) if granted is None else {asked[index - 1] for index in granted}

    async def close(self) -> None:
        """Listen no more, and return when everything was told."""
        if self._listening is not None:
            self._listening.close()
        await asyncio.gather(*self._tasks)

    async def _tell(self, told: _Told) -> None:
        keys = (HELD, f"{TEST}{told.subscription_id.hex}")
        hold = str(round(told.seconds * 1000))
        message = msgspec.json.encode(told)
        await self._ask(_TELL, keys, told.subscription_id.hex, str(told.failures), hold, CHANNEL, message)

    async def _read(self) -> None:
        for key, failures, milliseconds in await self._ask(_READ, [HELD]) or ():
            self._heard(UUID(key.decode()), failures, milliseconds / 1000)

    def _listen(self, _channel: str, payload: bytes) -> None:
        try:
            told = _message.decode(payload)
        except msgspec.MsgspecError:
            return
        self._heard(told.subscription_id, told.failures, told.seconds)

    async def _ask(self, script: str, keys: Collection[str], *arguments: str | bytes) -> Any:
        """The script's answer; None when there is none."""
        if not self._store.connected:
            return None
        try:
            return await self._store.execute(
                "EVAL", script, str(len(keys)), *keys, *arguments, timeout_seconds=ASK_SECONDS
            )
        except Exception as error:  # noqa: BLE001 - nothing here is a reason not to deliver: refused, full, slow or gone
            _log.debug("breaker.alone", error=str(error))
            return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="breaker")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
