"""The nodes' listener: a grpc.aio server with the options of the compute-node contract, appendix A.9.

Several relays on one machine share one port (SO_REUSEPORT): a node whose relay died lands on another. Plaintext, or TLS
when a certificate is given.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

MAX_MESSAGE_BYTES = 104_857_600
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Without these a client that pings every 15 s is cut after 90 s with GOAWAY too_many_pings.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # A peer that is stopped or cut off without a FIN: its connection, and what waits to be written to it, go.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.so_reuseport", 1),
)


def make_server(service: str, handlers: Mapping[str, Any]) -> Any:
    """A server with the handlers of one service; it listens nowhere yet."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(handlers)),))
    server.add_registered_method_handlers(service, dict(handlers))
    return server


def listen(server: Any, host: str, port: int, certificate: Path | None, key: Path | None) -> int:
    """Add the port (0: any free one) and answer its number. OSError when it is taken by somebody who does not share
    it.
    """
    address = f"{host}:{port}"
    try:
        if certificate is not None and key is not None:
            credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
            bound = server.add_secure_port(address, credentials)
        else:
            bound = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address}: {error}") from error
    if bound == 0:
        raise OSError(f"cannot listen on {address}")
    return int(bound)
