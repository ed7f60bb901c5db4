"""JSON with exact numbers: `12.50` is read as Decimal("12.50") and written as `12.50`; integers have any size.

Refuses what JSON cannot hold: a Decimal that is not a number is an error, not the word NaN. (A float NaN is written as
null, as msgspec does.)
"""

from decimal import Decimal
from functools import cache
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_PLAIN = msgspec.json.Decoder(float_hook=Decimal)


def encode(value: Any) -> bytes:
    """JSON text of `value`: plain Python, msgspec structs, dataclasses, datetimes, UUIDs, enums.

    Raises TypeError for other types and ValueError for Decimal("NaN") and the infinities.
    """
    text = _ENCODER.encode(value)
    if b"NaN" in text or b"Infinity" in text:
        try:
            _PLAIN.decode(text)
        except msgspec.DecodeError:
            raise ValueError("JSON has no NaN and no Infinity") from None
    return text


def decode(text: bytes | str) -> Any:
    """Plain Python for JSON text: floats as Decimal. Raises msgspec.DecodeError."""
    return _PLAIN.decode(text)


def decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """A decoder for a type; where the type says nothing (`Any`), floats are Decimals. Raises TypeError."""
    return _decoder(kind)


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, float_hook=Decimal)
