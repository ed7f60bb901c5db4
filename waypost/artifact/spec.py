"""The canonical form of a specification, so that the same specification has the same hash however it was written.

JSON becomes RFC 8785 (keys in UTF-16 order, the shortest numbers, no blanks); key-value text one `key=value` a line,
sorted, each ended by a newline, blanks kept. Refuses: what is neither, repeated keys, and numbers that JSON's readers
do not agree on.
"""

import hashlib
import json
import re
import sys
from decimal import Decimal
from typing import Any

from waypost import document
from waypost.errors import WaypostError

MOST_EXACT = 2**53  # integers beyond it need not be the same number everywhere (RFC 7493)
LARGEST = int(sys.float_info.max)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")


class SpecError(Exception):
    """The text is no specification; the message says why."""


def spec_hash(canonical: bytes) -> str:
    """`sha256:` and the digest of a canonical form."""
    return f"sha256:{hashlib.sha256(canonical).hexdigest()}"


def canonical_spec(text: bytes) -> bytes:
    """The canonical form; raises SpecError."""
    return canonical_json(text) if text.lstrip()[:1] in (b"{", b"[") else canonical_pairs(text)


def canonical_pairs(text: bytes) -> bytes:
    """Of `key=value` lines: blank lines and line ends of other systems carry no meaning, the order neither."""
    try:
        lines = text.decode().removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise SpecError(f"byte {error.start} is not UTF-8") from None
    pairs: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        key, equals, value = line.partition("=")
        if not equals or _KEY.fullmatch(key) is None or any(ord(character) < 32 for character in value):
            raise SpecError(f"line {number} is not key=value")
        if key in pairs:
            raise SpecError(f"the key {key} comes twice")
        pairs[key] = value
    if not pairs:
        raise SpecError("it says nothing")
    return "".join(f"{key}={pairs[key]}\n" for key in sorted(pairs)).encode()


def canonical_json(text: bytes) -> bytes:
    """RFC 8785 of a JSON text; raises SpecError for what is not I-JSON."""
    try:
        document.verify(text)
    except WaypostError as error:
        raise SpecError(error.detail) from None
    return _write(json.loads(text)).encode()


def _write(value: Any) -> str:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_text(name)}:{_write(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_write, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    return _number(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _number(value: int | float) -> str:
    """As ECMAScript writes it (RFC 8785 §3.2.2.3)."""
    if isinstance(value, int) and abs(value) <= MOST_EXACT:
        return str(value)
    if abs(value) > LARGEST:
        raise SpecError("a number is too large")
    written = _double(float(value))
    if isinstance(value, int) and int(float(value)) != value and written != str(value):
        raise SpecError("a number is not exact in JSON; write it as a string")
    return written


def _double(value: float) -> str:
    if value == 0:
        return "0"
    _, digits, exponent = Decimal(repr(abs(value))).normalize().as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - a finite number
    figures, point = "".join(map(str, digits)), len(digits) + exponent
    return ("-" if value < 0 else "") + _placed(figures, point)


def _placed(figures: str, point: int) -> str:
    """Figures with the decimal point after so many of them."""
    count = len(figures)
    if count <= point <= 21:
        return figures + "0" * (point - count)
    if 0 < point <= 21:
        return f"{figures[:point]}.{figures[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + figures
    power = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return figures[0] + (f".{figures[1:]}" if count > 1 else "") + power
