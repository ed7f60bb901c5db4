"""The web console's files: its pages under a few paths of their own, its assets, and the word that it was not built.

Responsible for: which paths are the console's, compressed answers, caching (assets carry a digest in their name and
never change; pages are asked for anew) and the pages' Content-Security-Policy. Refuses to shadow the API: a path that
is not the console's goes on to the application, and is unknown in the API's own words when nobody has it.
"""

import mimetypes
import re
import zlib
from pathlib import Path
from typing import Any

import msgspec

from gateway.exchange import Answer, Exchange, Headers, Receive, Send, exchange_of

FOLDER = Path(__file__).parent / "static"  # written by console.build
INDEX = "index.html"

# Pages are all one file: the console reads the address itself.
_PAGE = re.compile(r"/|/sign-in|/invitations/accept|/(?:e|orgs)/.*")
_ASSET = re.compile(r"/(assets/[\w.-]+|icon\.svg)")
_ENCODINGS = (("br", ".br"), ("gzip", ".gz"))  # the better one first

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
_SAFE: Headers = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_UNBUILT = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Waypost</title>
<h1>The console is not built</h1>
<p>The platform runs, and its <a href="/docs">API</a> answers. The console's pages are missing: run
<code>make console</code>, which needs the npm registry once, and load this page again.</p>
</html>"""


class Asset(msgspec.Struct, frozen=True):
    """One file: its body as it is and compressed, by encoding."""

    kind: bytes
    etag: bytes
    bodies: dict[str, bytes]  # "" = as it is

    def answer(self, exchange: Exchange, cache: bytes) -> Answer:
        """The file in the best encoding that the client takes; 304 when it has it."""
        headers = [(b"cache-control", cache), (b"etag", self.etag), (b"vary", b"accept-encoding"), *_SAFE]
        if exchange.headers.get(b"if-none-match") == self.etag:
            return Answer(304, b"", headers, self.kind)
        accepted = exchange.header(b"accept-encoding") or ""
        words = {part.split(";")[0].strip() for part in accepted.split(",") if not part.strip().endswith(";q=0")}
        for encoding, body in self.bodies.items():
            if encoding in words:
                return Answer(200, body, [*headers, (b"content-encoding", encoding.encode())], self.kind)
        return Answer(200, self.bodies[""], headers, self.kind)


class Console:
    """An ASGI application: the console's files where they are asked for, and the one behind it for all else."""

    def __init__(self, application: Any, folder: Path = FOLDER) -> None:
        self._application, self._folder = application, folder
        self._assets: dict[str, Asset] = {}
        self._built = 0  # when the index was written that the assets were read with

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        name = _name(scope["path"]) if scope["method"] in ("GET", "HEAD") else None
        if name is None:
            await self._application(scope, receive, send)
            return
        exchange = exchange_of(scope)
        exchange.name = "console"
        await exchange.send(self.answer(exchange, name), send)

    def answer(self, exchange: Exchange, name: str) -> Answer:
        """A file by its name in the folder; 404 for an asset of another build, 503 for a page of none."""
        if name == INDEX:
            self._look()
        asset = self._assets.get(name) or self._read(name)
        if asset is not None:
            lasting = name.startswith("assets/")
            return asset.answer(exchange, b"public, max-age=31536000, immutable" if lasting else b"no-cache")
        if name == INDEX:
            return Answer(503, _UNBUILT, [(b"cache-control", b"no-store"), *_SAFE], b"text/html; charset=utf-8")
        return Answer(404, b"", [(b"cache-control", b"no-store"), *_SAFE], b"text/plain")

    def _look(self) -> None:
        """Forget what was read when the console was built anew: one stat for each page."""
        try:
            built = (self._folder / INDEX).stat().st_mtime_ns
        except OSError:
            built = 0
        if built != self._built:
            self._built, self._assets = built, {}

    def _read(self, name: str) -> Asset | None:
        path = self._folder / name
        try:
            body = path.read_bytes()
        except OSError:
            return None
        bodies = {}
        for encoding, suffix in _ENCODINGS:
            compressed = path.with_name(path.name + suffix)
            if compressed.is_file():
                bodies[encoding] = compressed.read_bytes()
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        text = kind.startswith("text/") or kind.endswith("javascript")
        etag = f'"{zlib.crc32(body):08x}-{len(body):x}"'.encode()
        asset = Asset((kind + "; charset=utf-8" * text).encode(), etag, {**bodies, "": body})
        self._assets[name] = asset
        return asset


def _name(path: str) -> str | None:
    """The file that a path asks for; None for a path that is not the console's."""
    if _PAGE.fullmatch(path):
        return INDEX
    found = _ASSET.fullmatch(path)
    return found[1] if found else None
