"""Artifacts as structs: native contract, section 6. Fields that this version does not know are ignored."""

from datetime import datetime
from typing import Any

import msgspec

MAX_UPLOAD_BYTES = 64 << 20  # in one request; larger ones go into the bucket by presigned addresses
REFERENCE_FIELD = "$artifact"  # of a payload or a result that is an artifact: {"$artifact": "<id>"}
MAX_INLINE_BYTES = 1 << 20  # of a payload or a result; larger ones travel as artifacts


class Reason(msgspec.Struct):
    """Why an artifact was rejected."""

    code: str
    message: str = ""


class Reference(msgspec.Struct):
    """Something that refers to an artifact; `holds` while it cannot be deleted for it."""

    kind: str
    id: str
    holds: bool = True


class Upload(msgspec.Struct):
    """Where the content of an artifact that is being uploaded goes."""

    expires_at: datetime | None = None
    url: str | None = None
    part_size_bytes: int | None = None
    part_count: int | None = None


class Artifact(msgspec.Struct, kw_only=True):
    """Stored evidence. `state` is uploading, received, ingested or rejected; `facts` what ingest found in it."""

    id: str
    type: str
    name: str = ""
    state: str = ""
    size_bytes: int = 0
    sha256: str = ""
    verified: bool = False
    content_type: str | None = None
    reasons: list[Reason] = []
    facts: dict[str, Any] = {}
    spec_hash: str | None = None
    labels: dict[str, str] = {}
    captured_at: datetime | None = None
    job_id: str | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    expires_at: datetime | None = None
    referred_to_by: list[Reference] | None = None
    upload: Upload | None = None


class PartAddress(msgspec.Struct):
    """Where one part of an upload goes."""

    number: int
    url: str
    size_bytes: int


class PartAddresses(msgspec.Struct):
    parts: list[PartAddress]


class Part(msgspec.Struct):
    """A part that is there."""

    number: int
    etag: str
    size_bytes: int = 0


class Parts(msgspec.Struct):
    parts: list[Part]


class Address(msgspec.Struct):
    """Where content can be read without a credential, for a while."""

    url: str
    expires_in_seconds: int = 0


def reference(artifact_id: str) -> dict[str, str]:
    """The payload or result that stands for an artifact's content."""
    return {REFERENCE_FIELD: artifact_id}


def referred(value: Any) -> str | None:
    """The artifact that a payload or result stands for; None for every other one."""
    if not isinstance(value, dict) or set(value) != {REFERENCE_FIELD}:
        return None
    found = value[REFERENCE_FIELD]
    return found if isinstance(found, str) else None


def referred_in(text: bytes) -> str | None:
    """`referred`, of JSON text that may be long."""
    if len(text) > 200 or REFERENCE_FIELD.encode() not in text:
        return None
    try:
        return referred(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return None
