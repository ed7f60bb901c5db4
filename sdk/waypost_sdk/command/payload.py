"""JSON that a command is given: as an option's text, from a file, from stdin; checked here, sent byte for byte."""

import sys
from pathlib import Path
from typing import Any

from waypost_sdk.command.failure import UsageError


def json_text(text: str | None, file: str | None) -> Any:
    """`@FILE` and `-` read a file and stdin; None when there is none. Raises UsageError."""
    import msgspec

    from waypost_sdk import exact

    if text is not None and file is not None:
        raise UsageError("Give either --payload or --payload-file.")
    if text is not None and (text == "-" or text.startswith("@")):
        file = text.removeprefix("@")
    if text is None and file is None:
        return None
    content = _read(file) if file is not None else (text or "").encode()
    try:
        exact.decode(content)
    except msgspec.DecodeError as error:
        raise UsageError(f"The payload is not JSON: {error}") from None
    return msgspec.Raw(content)


def json_object(text: str | None, option: str) -> dict[str, Any] | None:
    """The members of a JSON object, each as it is written. Raises UsageError."""
    raw = json_text(text, None)
    if raw is None:
        return None
    import msgspec

    try:
        return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as error:
        raise UsageError(f"{option} must be a JSON object: {error}") from None


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
