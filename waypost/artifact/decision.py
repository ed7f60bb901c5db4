"""Rules about artifacts: their metadata, byte ranges, entity tags, what content is. No I/O."""

import re
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from waypost import errors
from waypost.artifact.model import MAX_NAME_CHARACTERS, MAX_UPLOAD_BYTES, REFERENCE_FIELD, Artifact, ArtifactType
from waypost.errors import Category, WaypostError, invalid
from waypost.ids import parse_id
from waypost.job.model import MAX_LABEL_CHARACTERS, MAX_LABELS

_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_FIELD = f'"{REFERENCE_FIELD}"'.encode()
_WITHIN = re.compile(rb'\{\s*"' + re.escape(REFERENCE_FIELD).encode() + rb'"\s*:\s*"([0-9a-fA-F-]{36})"\s*\}')
_MAX_REFERENCE_BYTES = 200  # an id with its field, however it is spaced
_TYPES = tuple(kind.value for kind in ArtifactType)


class Metadata(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is said of an artifact that is uploaded."""

    type: str = ArtifactType.FILE.value
    name: str = ""
    captured_at: datetime | None = None
    sha256: str | None = None
    job_id: UUID | None = None
    labels: dict[str, str] = {}


def check_metadata(given: Metadata) -> bytes | None:
    """Raises 422 for what may not be; answers the declared SHA-256, None where none is."""
    if given.type not in _TYPES:
        raise invalid("unknown_artifact_type", f"The type is one of {', '.join(_TYPES)}.", "/type")
    if given.name != file_name(given.name):
        raise invalid(
            "invalid_name", f"A name has at most {MAX_NAME_CHARACTERS} characters, none of them control.", "/name"
        )
    if given.captured_at is not None and given.captured_at.tzinfo is None:
        raise invalid("invalid_instant", "The instant needs an offset, such as Z.", "/captured_at")
    if len(given.labels) > MAX_LABELS:
        raise invalid("too_many_labels", f"There are at most {MAX_LABELS} labels.", "/labels")
    for key, value in given.labels.items():
        if not 0 < len(key) <= MAX_LABEL_CHARACTERS or len(value) > MAX_LABEL_CHARACTERS or "\0" in key + value:
            raise invalid("invalid_label", f"A label has 1 to {MAX_LABEL_CHARACTERS} characters and no NUL.", "/labels")
    return None if given.sha256 is None else read_sha256(given.sha256, "/sha256")


def file_name(given: str) -> str:
    """A name as it may be kept: its last 255 characters, `_` for control characters and half surrogates."""
    return _NOT_IN_NAMES.sub("_", given[-MAX_NAME_CHARACTERS:])


def read_sha256(text: str, path: str) -> bytes:
    """64 lower-case hexadecimal digits, `sha256:` before them or not; raises 422."""
    found = _SHA256.fullmatch(text)
    if found is None:
        raise invalid("invalid_sha256", "A SHA-256 is 64 lower-case hexadecimal digits.", path)
    return bytes.fromhex(found[1])


def sha256_mismatch(declared: bytes, found: bytes) -> WaypostError:
    """422: what came is not what was announced."""
    return invalid(
        "sha256_mismatch",
        f"The content's SHA-256 is {found.hex()}, not {declared.hex()} as declared: it was damaged on its way, or is "
        "another file.",
        "/sha256",
    )


def upload_too_large() -> WaypostError:
    """413 for a file over the cap."""
    return WaypostError(
        "payload_too_large",
        f"An upload has at most {MAX_UPLOAD_BYTES} bytes; ask for a presigned one with its size_bytes and sha256.",
        Category.TOO_LARGE,
        extra={"limit_bytes": MAX_UPLOAD_BYTES},
    )


def entity_tag(artifact: Artifact) -> str:
    """Of the content: its SHA-256."""
    return f'"{artifact.sha256.hex()}"'


def not_modified(if_none_match: str | None, tag: str) -> bool:
    """Whether the caller has this content already (RFC 9110 §13.1.2; the weak comparison)."""
    if if_none_match is None:
        return False
    tags = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return "*" in tags or tag in tags


def read_range(header: str | None, if_range: str | None, tag: str, size: int) -> tuple[int, int] | None:
    """`(start, end)`, end exclusive, of a Range header; None: the whole. Several ranges, other units and what cannot be
    read are ignored, as RFC 9110 §14.2 allows. Raises 416 for a range that begins after the end.
    """
    found = _RANGE.fullmatch(header.strip()) if header else None
    if found is None or (if_range is not None and if_range.strip() != tag):
        return None
    first, last = found[1], found[2]
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= size or start >= end:
        raise WaypostError(
            "range_not_satisfiable", f"The content has {size} bytes.", Category.RANGE, extra={"size_bytes": size}
        )
    return start, end


def reference_in(payload: bytes) -> UUID | None:
    """The artifact that a payload stands for, `{"$artifact": "<id>"}`; None for every other payload.

    Raises 422 for an object with that field alone whose value is no id.
    """
    if len(payload) > _MAX_REFERENCE_BYTES or not _named(payload):
        return None
    try:
        document: Any = msgspec.json.decode(payload)
    except msgspec.MsgspecError:
        return None
    if not isinstance(document, dict) or set(document) != {REFERENCE_FIELD}:
        return None
    value = document[REFERENCE_FIELD]
    found = parse_id(value) if isinstance(value, str) else None
    if found is None:
        raise invalid("invalid_artifact", "The payload names an artifact by something that is no id.", "/payload")
    return found


def references_within(payload: bytes) -> list[UUID]:
    """The artifacts that a payload names anywhere in it by `{"$artifact": "<id>"}`, each once, in order.

    Found by their text: inside a JSON string every quote has a backslash before it, so none is taken for one. A name
    with escapes in it is not found here: nobody's encoder writes one.
    """
    if _FIELD not in payload:
        return []
    ids = (parse_id(found[1].decode()) for found in _WITHIN.finditer(payload))
    return list(dict.fromkeys(found for found in ids if found is not None))


def _named(payload: bytes) -> bool:
    return _FIELD in payload or b"\\u" in payload  # the field's name may be written with escapes


def unknown_reference() -> WaypostError:
    """422 for a payload that names an artifact which cannot be read."""
    return invalid(
        "unknown_artifact",
        "The payload names an artifact that is not there, not completely uploaded, or was rejected.",
        "/payload",
    )


def still_referred_to(kinds: list[str]) -> WaypostError:
    """409 for an artifact that something needs."""
    return errors.conflict(
        "artifact_in_use",
        f"The artifact is referred to by {', '.join(kinds)}; it can be deleted when that is over.",
        referred_to_by=kinds,
    )
