"""Where a Valkey server is and as whom to speak to it: the one reading of `WAYPOST_VALKEY_URL`."""

from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

DEFAULT_PORT = 6379


class Address(msgspec.Struct, frozen=True):
    """A unix socket (`path`) or `host` and `port`; `user` and `password` of an ACL, or neither."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    path: str | None = None
    user: str | None = None
    password: str | None = None
    database: int = 0

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.path else f"{self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """`valkey://[user:password@]host[:port][/db]` (or `redis://`), or `unix://[user:password@]/path[?db=0]`.

    A password alone is the default user's. ValueError says which part is wrong; it never holds the password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("valkey", "redis", "unix"):
        raise ValueError(f"scheme {parts.scheme!r} is none of valkey, unix")
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if parts.scheme == "unix":
        query = parse_qs(parts.query)
        user = user or query.get("user", query.get("username", [None]))[0]
        password = password or query.get("password", [None])[0]
        if not parts.path.startswith("/"):
            raise ValueError("a unix address needs an absolute path")
        database = _number(query.get("db", ["0"])[0])
        return Address(path=unquote(parts.path), user=user, password=password, database=database)
    database = _number(parts.path.strip("/") or "0")
    host = parts.hostname or "127.0.0.1"
    return Address(host=host, port=parts.port or DEFAULT_PORT, user=user, password=password, database=database)


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"database {text!r} is not a number")
    return int(text)
