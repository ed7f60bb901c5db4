"""Signing keys made before somebody needs one: an RSA key costs 50 to 400 ms of CPU, most of a provisioning.

A key in reserve belongs to nobody and is in the memory of this process only. Refuses: to hand one out twice.
"""

import asyncio
from collections import deque

from waypost.secret.signing import SigningKey, generate_signing_key


class SigningKeys:
    """At most `most` keys in reserve; 0 makes each when it is asked for."""

    def __init__(self, most: int = 0) -> None:
        self._most = most
        self._kept: deque[SigningKey] = deque()
        self._short = asyncio.Event()  # first set by the first `take`: a start has better things to do

    async def take(self) -> SigningKey:
        """A key that nobody has had."""
        self._short.set()
        if self._kept:
            return self._kept.popleft()
        return await asyncio.to_thread(generate_signing_key)

    async def fill(self) -> None:
        """Keep the reserve full, until canceled."""
        while True:
            await self._short.wait()
            self._short.clear()
            while len(self._kept) < self._most:
                self._kept.append(await asyncio.to_thread(generate_signing_key))
