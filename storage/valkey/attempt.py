"""Counted attempts at something that is guessed, shared by all gateways: after some free ones each makes the next wait.

An attempt is counted before its outcome is known, so that guesses made at the same moment do not all go free; who
succeeded takes it back. Keys are forgotten after an hour without attempts. Refuses to know what is guessed.
"""

from collections.abc import Sequence

import msgspec

from storage.valkey.client import Valkey
from waypost.person.model import Patience

TIMEOUT_SECONDS = 0.5  # a gateway that gets no answer counts for itself
_PREFIX = "wp:attempt:"

# All keys or none: an attempt that one of them makes wait is counted for none. Milliseconds of the server's clock.
_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local wait = 0
for _, key in ipairs(KEYS) do
    wait = math.max(wait, tonumber(redis.call('HGET', key, 'until') or '0') - now)
end
if wait > 0 then return wait end
for i, key in ipairs(KEYS) do
    local free, longest = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
    local count = redis.call('HINCRBY', key, 'count', 1)
    if count >= free then
        local delay = math.min(longest, 1000 * 2 ^ math.min(count - free, 60))
        redis.call('HSET', key, 'until', string.format('%.0f', now + delay))
    end
    redis.call('PEXPIRE', key, ARGV[1])
end
return 0
"""
_REFUND = """
for _, key in ipairs(KEYS) do
    if redis.call('EXISTS', key) == 1 then
        redis.call('HDEL', key, 'until')
        if redis.call('HINCRBY', key, 'count', -1) <= 0 then redis.call('DEL', key) end
    end
end
return 0
"""


class Attempts:
    """Raises `unavailable` when Valkey is away."""

    def __init__(self, valkey: Valkey) -> None:
        self._valkey = valkey

    @property
    def connected(self) -> bool:
        return self._valkey.connected

    async def take(self, culprits: Sequence[tuple[str, Patience]]) -> float:
        """Count one attempt for each; or, when any of them has to wait still, count none: how many seconds."""
        limits = [text for _, p in culprits for text in (str(p.free), str(round(p.longest_seconds * 1000)))]
        window = str(round(culprits[0][1].window_seconds * 1000))
        return float(await self._run(_TAKE, [key for key, _ in culprits], window, *limits)) / 1000

    async def refund(self, keys: Sequence[str]) -> None:
        """The last attempt was no failure."""
        await self._run(_REFUND, keys)

    async def clear(self, key: str) -> None:
        """Forget what was counted."""
        await self._valkey.execute("DEL", _PREFIX + key, timeout_seconds=TIMEOUT_SECONDS)

    async def _run(self, script: str, keys: Sequence[str], *arguments: str) -> int:
        named = [_PREFIX + key for key in keys]
        answer = await self._valkey.execute(
            "EVAL", script, str(len(named)), *named, *arguments, timeout_seconds=TIMEOUT_SECONDS
        )
        return msgspec.convert(answer, int)
