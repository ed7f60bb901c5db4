"""Connections of deliveries, to checked addresses only (native contract §5).

The name is resolved here, every address that it has is checked, and the connection goes to a checked address itself: so
it does not matter how an address was written, nor what a name server says a moment later. Refuses a name as soon as
one of its addresses is refused, and sockets of other kinds.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

from waypost.subscription.address import Address, Network, read_address, refusal

RESOLVERS = 64  # threads: a name server that hangs holds one for each try
CONNECT_SECONDS = 5.0

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class AddressRefusedError(httpcore.ConnectError):
    """The host has an address that nothing may be delivered to."""


class NameNotResolvedError(httpcore.ConnectError):
    """The host has no address."""


class SystemResolver:
    """The operating system's, in threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Addresses in the order in which they are to be tried; raises NameNotResolvedError."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _lookup, host, port)
        except (OSError, UnicodeError):
            raise NameNotResolvedError("the host has no address") from None
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _lookup(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """What httpcore connects with. `allowed` are subnets that the operator allows beside public addresses."""

    def __init__(
        self,
        allowed: Sequence[Network],
        resolve: Resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allowed, self._resolve = allowed, resolve
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers. Raises AddressRefusedError before anything is sent anywhere."""
        addresses = self._checked(await self._resolve(host, port))
        failure: Exception = NameNotResolvedError("the host has no address")
        for address in addresses:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _checked(self, found: Sequence[str]) -> list[Address]:
        addresses: list[Address] = []
        for text in found:
            address = read_address(text)
            kind = refusal(address, self._allowed)
            if kind is not None:
                raise AddressRefusedError(f"the host has a {kind} address")
            addresses.append(address)
        return addresses

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefusedError("deliveries go to no local socket")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
