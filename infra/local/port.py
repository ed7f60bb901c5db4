"""Ports on the loopback: free ones for the embedded servers, and public ones that several processes share.

A shared port is kept by a socket that is bound with SO_REUSEPORT and never listens: it takes no connection, and nobody
else can take the port while every process that served it is being started again.
"""

import errno
import random
import socket

from infra.local.problem import ExitCode, LocalError

GRPC_OFFSET = 10_000  # SeaweedFS derives its gRPC ports so
# Below the range from which the kernel gives ports to outgoing connections, so that a restart finds its port free.
# And no wider than the offset, so that none of them is the sibling of another.
_FREE_RANGE = range(11_000, 11_000 + GRPC_OFFSET)


def reserve(host: str, port: int, option: str) -> socket.socket:
    """A bound, not listening SO_REUSEPORT socket on `port` (0 = any free one); keep it until everything has stopped.

    Raises LocalError naming `option` when somebody listens there or the port may not be used.
    """
    try:
        if port:
            with socket.socket(_family(host)) as probe:
                # Without SO_REUSEPORT this fails beside any listener, also one that would share with us.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
                probe.listen(1)
        held = socket.socket(_family(host))
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except OSError as error:
        raise _problem(host, port, option, error) from error
    return held


def port_of(held: socket.socket) -> int:
    return int(held.getsockname()[1])


def free_ports(count: int, *, with_grpc: bool = False) -> list[int]:
    """Ports that nobody has at this moment; `with_grpc`: their siblings at +10,000 neither."""
    found: list[int] = []
    for port in random.sample(_FREE_RANGE, len(_FREE_RANGE)):
        if _is_free(port) and (not with_grpc or _is_free(port + GRPC_OFFSET)):
            found.append(port)
            if len(found) == count:
                return found
    raise LocalError("There is no free port on 127.0.0.1 for the embedded servers.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _problem(host: str, port: int, option: str, error: OSError) -> LocalError:
    if error.errno == errno.EADDRINUSE:
        return LocalError(
            f"Port {port} of {host} is in use by another program: choose another with {option} (0 = any free one).",
            ExitCode.CONFLICT,
        )
    if error.errno == errno.EACCES:
        return LocalError(
            f"Port {port} may not be used by this user: choose one above 1023 with {option}.", ExitCode.USAGE
        )
    return LocalError(f"The address {host}:{port} cannot be used: {error.strerror} ({option}).", ExitCode.USAGE)
