"""ETag and If-Match (RFC 9110 §13): a change is made only to what its sender has seen."""

from gateway.exchange import Exchange
from waypost.errors import Category, WaypostError


def etag(*parts: object) -> bytes:
    """A strong entity tag of whatever makes a resource's changeable part what it is."""
    return f'"{"-".join(str(part) for part in parts)}"'.encode()


def tagged(tag: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"etag", tag)]


def check_match(exchange: Exchange, tag: bytes) -> None:
    """Raises 412 when the request has an If-Match that does not name the current tag."""
    wanted = exchange.header(b"if-match")
    if wanted is None or wanted.strip() == "*":
        return
    if tag.decode() not in [part.strip() for part in wanted.split(",")]:
        raise WaypostError(
            "precondition_failed",
            "It has changed since it was read; read it again and repeat with the new ETag.",
            Category.PRECONDITION,
            extra={"etag": tag.decode()},
        )
