"""Artifacts as their readers see them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from waypost.artifact.model import Artifact, Reason, Reference

_PRIVATE = frozenset({"environment"})  # facts that only operators see (decision 22)


class UploadView(msgspec.Struct):
    """Where to put the content: `part_count` parts of `part_size_bytes` each (the last: fewer); a lone one at `url`."""

    expires_at: datetime | None
    url: str | None = None
    part_size_bytes: int | None = None
    part_count: int | None = None


class ArtifactView(msgspec.Struct, kw_only=True):
    """One artifact. `referred_to_by` only where one is read; `upload` only while its content is to come."""

    id: UUID
    type: str
    name: str
    state: str
    size_bytes: int
    sha256: str
    verified: bool
    content_type: str | None
    reasons: Sequence[Reason]
    facts: dict[str, Any]
    spec_hash: str | None
    labels: dict[str, str]
    captured_at: datetime | None
    job_id: UUID | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    referred_to_by: Sequence[Reference] | None = None
    upload: UploadView | None = None


class ArtifactPage(msgspec.Struct):
    items: list[ArtifactView]
    next_cursor: str | None


class ContentAddress(msgspec.Struct):
    """An address that anybody may read the content at until it expires."""

    url: str
    expires_in_seconds: int


class PartAddress(msgspec.Struct):
    number: int
    url: str
    size_bytes: int


class PartView(msgspec.Struct):
    """A part that is there."""

    number: int
    size_bytes: int
    etag: str


class PartPage(msgspec.Struct):
    parts: list[PartView]


class PartAddresses(msgspec.Struct):
    parts: list[PartAddress]
    expires_in_seconds: int


def artifact_view(
    artifact: Artifact,
    *,
    operates: bool,
    references: Sequence[Reference] | None = None,
    upload: UploadView | None = None,
) -> ArtifactView:
    """`operates`: the reader may see what the content says of the process that it came from."""
    facts = artifact.facts if operates else {k: v for k, v in artifact.facts.items() if k not in _PRIVATE}
    return ArtifactView(
        id=artifact.id,
        type=artifact.type,
        name=artifact.name,
        state=artifact.state.value,
        size_bytes=artifact.size_bytes,
        sha256=artifact.sha256.hex(),
        verified=artifact.verified,
        content_type=artifact.content_type,
        reasons=artifact.reasons,
        facts=facts,
        spec_hash=artifact.spec_hash,
        labels=artifact.labels,
        captured_at=artifact.captured_at,
        job_id=artifact.job_id,
        created_by=artifact.created_by,
        created_at=artifact.created_at,
        updated_at=artifact.updated_at,
        expires_at=artifact.expires_at,
        referred_to_by=references,
        upload=upload,
    )


def part_size(artifact: Artifact, number: int) -> int:
    """Bytes of part `number` (from 1) of an upload in parts."""
    whole = artifact.part_size_bytes or artifact.size_bytes
    return min(whole, artifact.size_bytes - (number - 1) * whole)


def part_count(artifact: Artifact) -> int:
    whole = artifact.part_size_bytes or artifact.size_bytes or 1
    return max(1, -(-artifact.size_bytes // whole))
